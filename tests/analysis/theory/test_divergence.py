"""Theorem 6.3: divergences against numerical integrals and another classifier, its bound and its premise by loops."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from noiseproof import seeding
from noiseproof.analysis.layers import layer_features, stages
from noiseproof.analysis.theory import Divergence, divergence, divergence_of, jensen_shannon
from noiseproof.errors import DataError, InvalidArgumentError, UnknownNameError
from noiseproof.models import FeatureClassifier
from tests.analysis.theory.problems import clusters, plain, same, softmax_layer

LOG2 = math.log(2)


def js_of_gaussians(shift: float, scale: float = 1.0) -> float:
    """D_JS of N(0, 1) and N(shift, scale²) by integration, in nats (Definition G.2)."""

    def integrand(x: float) -> float:
        p, q = norm.pdf(x), norm.pdf(x, shift, scale)
        mean = (p + q) / 2
        return sum(d * math.log(d / mean) / 2 for d in (p, q) if d > 1e-300)

    found: float = quad(integrand, -12, 12 + shift, limit=400)[0]
    return found


def gaussians(n: int, m: int, shift: float, dim: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(n, dim)), rng.normal(size=(m, dim))
    second[:, 0] += shift
    return first, second


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("sizes", [(3000, 3000), (1000, 5000)])
def test_of_gaussians_it_is_below_the_divergence_but_not_by_much(shift: float, sizes: tuple[int, int]) -> None:
    """The log odds of two such Gaussians are linear, so that a logistic regression can be the best classifier."""
    true = js_of_gaussians(shift)
    found = jensen_shannon(*gaussians(*sizes, shift))
    assert 0 < found.stderr < 0.02
    assert found.value < true + 3.5 * found.stderr
    assert found.value > true - 3.5 * found.stderr - 0.005


def test_dimensions_that_tell_nothing_cost_little() -> None:
    found = jensen_shannon(*gaussians(2000, 2000, 2.0, dim=20))
    true = js_of_gaussians(2.0)
    assert true - 0.03 < found.value < true + 3.5 * found.stderr


def test_equal_distributions_have_no_divergence() -> None:
    values = [jensen_shannon(*gaussians(500, 500, 0.0, dim=3, seed=seed)) for seed in range(20)]
    assert all(0 <= found.value < 3.5 * found.stderr + 1e-9 for found in values)
    assert np.mean([found.value for found in values]) < 0.002


def test_distributions_apart_have_nearly_log_two() -> None:
    found = jensen_shannon(*gaussians(300, 300, 30.0))
    assert LOG2 - 0.02 < found.value <= LOG2 - 1e-3  # probabilities are kept that far from 0 and 1
    assert found.stderr < 0.01


def test_what_is_not_linear_is_not_seen() -> None:
    """N(0, 1) against N(0, 3²): a lower estimate only."""
    first, second = gaussians(2000, 2000, 0.0)
    found = jensen_shannon(first, 3 * second)
    assert found.value < 0.01 < js_of_gaussians(0, 3)


def test_the_standard_error_is_that_of_repetitions() -> None:
    found = [jensen_shannon(*gaussians(200, 400, 1.5, seed=seed)) for seed in range(60)]
    spread = np.std([each.value for each in found], ddof=1)
    assert np.mean([each.stderr for each in found]) == pytest.approx(spread, rel=0.35)


def test_against_another_logistic_regression() -> None:
    """The same penalised objective by another optimiser, fold by fold, with losses one by one."""
    first, second = gaussians(60, 90, 1.2, dim=2)
    values, classes = np.concatenate([first, second]), np.repeat([0, 1], [60, 90])
    held_out: dict[int, list[float]] = {0: [], 1: []}
    folds = StratifiedKFold(4, shuffle=True, random_state=seeding.derive_seed(7, "divergence") % 2**32)
    for fitted, left in folds.split(values, classes):
        mean, std = values[fitted].mean(0), values[fitted].std(0)
        a, b = (values[fitted] - mean) / std, classes[fitted]
        weights = np.where(b == 1, len(b) / (2 * b.sum()), len(b) / (2 * (len(b) - b.sum())))

        def objective(w: np.ndarray, a: np.ndarray = a, b: np.ndarray = b, weights: np.ndarray = weights) -> float:
            return float((weights * np.logaddexp(0, -(2 * b - 1) * (a @ w[:-1] + w[-1]))).sum() + w[:-1] @ w[:-1] / 2)

        w = minimize(objective, np.zeros(3), method="BFGS", options={"gtol": 1e-4}).x
        for i in left:
            p = 1 / (1 + math.exp(-((values[i] - mean) / std @ w[:-1] + w[-1])))
            held_out[classes[i]].append(-math.log(min(max(p if classes[i] else 1 - p, 1e-3), 1 - 1e-3)))
    assert [len(held_out[0]), len(held_out[1])] == [60, 90]
    expected = LOG2 - (np.mean(held_out[0]) + np.mean(held_out[1])) / 2
    stderr = math.sqrt(np.var(held_out[0], ddof=1) / 60 + np.var(held_out[1], ddof=1) / 90) / 2
    found = jensen_shannon(first, second, folds=4, seed=7)
    assert found.value == pytest.approx(expected, abs=1e-4)
    assert found.stderr == pytest.approx(stderr, rel=1e-3)


def test_units_and_order_do_not_matter() -> None:
    first, second = gaussians(80, 120, 1.0, dim=3)
    found = jensen_shannon(first, second)
    scaled = jensen_shannon(1e4 * first + 7, 1e4 * second + 7)
    assert scaled.value == pytest.approx(found.value, abs=1e-4)
    # Which is first changes the folds, not what is estimated.
    assert abs(jensen_shannon(second, first).value - found.value) < 3 * found.stderr


def test_a_seed_fixes_the_estimate_and_global_generators_stay() -> None:
    first, second = gaussians(40, 40, 1.0)
    state = np.random.get_state()[1].copy()
    found = [jensen_shannon(first, second, seed=seed) for seed in (0, 0, 1, 2)]
    assert found[0] == found[1]
    assert len({each.value for each in found}) == 3
    assert np.array_equal(state, np.random.get_state()[1])


def test_samples_of_any_shape_and_constant_values() -> None:
    first, second = gaussians(30, 30, 3.0, dim=4)
    expected = jensen_shannon(first, second)
    assert jensen_shannon(first.reshape(30, 2, 2), second.reshape(30, 2, 2)) == expected
    constant = np.ones((30, 1))
    wider = jensen_shannon(np.hstack([first, constant]), np.hstack([second, constant]))
    assert wider.value == pytest.approx(expected.value, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "folds", "message"),
    [
        (np.ones((4, 2)), np.ones((9, 2)), 5, "first must be 5 finite samples or more"),
        (np.ones((9, 2)), np.ones((4, 2)), 5, "second must be 5 finite samples or more"),
        (np.ones((9, 2)), np.ones((9, 3)), 5, "second must be 5 finite samples"),
        (np.ones((9, 2)), np.full((9, 2), np.nan), 5, "second must be 5 finite samples"),
        (np.ones((9, 2)), np.ones((9, 2)), 1, "folds must be >= 2"),
        (np.ones((9, 2)), np.ones((9, 2)), 2.5, "folds must be a whole number"),
    ],
)
def test_samples_that_do_not_fit(first: Any, second: Any, folds: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        jensen_shannon(first, second, folds=folds)


# The premise and the bound


def found_of(q: Tensor, y: Tensor, num_classes: int, delta_v: float, **options: Any) -> Divergence:
    return divergence_of({"early": q[:, :1], "features": q}, y, num_classes, delta_v=delta_v, **options)


def test_premise_and_bounds_by_loops() -> None:
    q, y = clusters([12, 20, 15], 2, spread=0.3, seed=5)
    for delta_v in (0.3, 0.5, 0.8, 3.0):
        found = found_of(q, y, 3, delta_v, folds=2)
        own = {c: [p for p, label in zip(q.tolist(), y.tolist(), strict=True) if label == c] for c in range(3)}
        m = {c: [sum(values) / len(own[c]) for values in zip(*own[c], strict=True)] for c in own}
        tau = {c: sum(math.dist(p, m[c]) <= delta_v for p in own[c]) / len(own[c]) for c in own}
        apart = {pair: math.dist(m[pair[0]], m[pair[1]]) for pair in combinations(range(3), 2)}
        assert found.inside.tolist() == pytest.approx(list(tau.values()))
        assert found.tau == pytest.approx(min(tau.values()))
        assert found.closest == pytest.approx(min(apart.values()))
        assert found.disjoint == (min(apart.values()) > 2 * delta_v)
        assert found.pairs.tolist() == [list(pair) for pair in apart]
        assert found.distances.tolist() == pytest.approx(list(apart.values()))
        for (i, j), distance, bound in zip(apart, apart.values(), found.pair_bounds, strict=True):
            lowest = min(tau[i], tau[j])
            applies = lowest >= 0.5 and distance > 2 * delta_v
            assert bound == pytest.approx((2 * lowest - 1) ** 2 / 2 if applies else math.nan, nan_ok=True)
        holds = found.tau >= 0.5 and found.disjoint
        assert (found.bound is None) != holds
        if found.bound is not None:
            assert found.bound == pytest.approx((2 * found.tau - 1) ** 2 / 2)
            assert (found.pair_bounds >= found.bound).all()
    assert found.sizes.tolist() == [12, 20, 15]


def with_tau(tau: float, disjoint: bool = True) -> Divergence:
    one, pairs = np.array([0.5]), np.array([[0, 1]])
    distance = 3.0 if disjoint else 2.0
    return Divergence(
        1.0, True, np.array([9, 9]), np.array([1.0, tau]), distance, ("features",), pairs, np.array([distance]),
        one[None], one[None], 5, 0,
    )  # fmt: skip


@given(st.floats(0.5, 1.0))
def test_the_sharp_bound_is_the_divergence_of_two_bits_and_never_below_equation_20(tau: float) -> None:
    found = with_tau(tau)
    p, q = (tau, 1 - tau), (1 - tau, tau)
    bits = sum(d[k] * math.log(2 * d[k] / (p[k] + q[k])) / 2 for d in (p, q) for k in (0, 1) if d[k] > 0)
    assert found.sharp_bound == pytest.approx(bits, abs=1e-12)
    assert found.bound is not None
    assert found.bound <= bits + 1e-12


def test_bounds_at_the_ends() -> None:
    assert with_tau(1.0).bound == pytest.approx(0.5)
    assert with_tau(1.0).sharp_bound == pytest.approx(LOG2)
    assert with_tau(0.5).bound == 0
    assert with_tau(0.49).bound is None
    assert with_tau(0.49).sharp_bound is None
    assert math.isnan(with_tau(0.49).pair_bounds[0])


def test_the_theorem_needs_disjoint_spheres() -> None:
    """All classes alike, on one point or in one sphere: τ = 1 and nothing between them, against Eq. 20 as written."""
    g = torch.Generator().manual_seed(0)
    q, y = 0.1 * torch.randn(400, 2, generator=g).double(), torch.arange(400) % 2
    found = found_of(q, y, 2, 1.0)
    assert found.tau == 1
    assert not found.disjoint
    assert found.bound is None
    assert found.estimates.max() < 0.1 < 0.5
    assert with_tau(1.0, disjoint=False).bound is None  # spheres that touch are not disjoint
    assert dict(found.summary())["Eq. 20, (2τ − 1)²/2"] == "none, the spheres are not disjoint"


def test_estimates_are_those_of_each_pair_and_layer() -> None:
    q, y = clusters([15, 12, 18], 3, spread=0.8)
    found = found_of(q, y, 3, 1.0, folds=3, seed=4)
    assert found.layers == ("early", "features")
    assert found.estimates.shape == found.stderr.shape == (2, 3)
    for layer, values in enumerate((q[:, :1], q)):
        for k, (i, j) in enumerate(found.pairs):
            expected = jensen_shannon(values[y == i], values[y == j], folds=3, seed=4)
            assert (found.estimates[layer, k], found.stderr[layer, k]) == expected
    bounds = found.pair_bounds
    for row, estimates in zip(found.rows(), found.estimates, strict=True):
        assert row.mean == pytest.approx(sum(estimates) / 3)
        assert row.smallest == min(estimates)
        above = [e >= b for e, b in zip(estimates, bounds, strict=True) if not math.isnan(b)]
        assert row.above == pytest.approx(sum(above) / len(above) if above else math.nan, nan_ok=True)


def test_separated_classes_are_above_the_bound_at_every_layer_that_tells_them_apart() -> None:
    q, y = clusters([40, 40, 40], 4, spread=0.1, seed=2)
    found = found_of(q, y, 3, 0.5)
    assert found.bound == pytest.approx(0.5)
    assert found.rows()[-1].above == 1
    told = dict(found.summary())
    assert told["Eq. 20, (2τ − 1)²/2"] == "0.5 nats"
    assert told["Divergence at features, at least"].endswith("at or above Eq. 20 for 100.0 % of these pairs")


def test_of_many_pairs_some_are_chosen_by_the_seed() -> None:
    q, y = clusters([3] * 8, 2)
    options: dict[str, Any] = {"folds": 2, "pairs": 6}
    first, second, other = (found_of(q, y, 8, 0.5, **options, seed=seed) for seed in (0, 0, 1))
    assert first.pairs.tolist() == second.pairs.tolist() != other.pairs.tolist()
    for found in (first, other):
        chosen = [tuple(pair) for pair in found.pairs.tolist()]
        assert len(set(chosen)) == 6
        assert chosen == sorted(chosen)
        assert set(chosen) <= set(combinations(range(8), 2))
        assert found.estimates.shape == (2, 6)
    everything = found_of(q, y, 8, 0.5, folds=2)
    assert len(everything.pairs) == 28
    assert first.closest == everything.closest  # whatever pairs were chosen


def test_classes_without_samples_are_left_out() -> None:
    q, y = clusters([6, 6, 6], 2)
    kept = y != 1
    found = found_of(q[kept], y[kept], 4, 0.5)
    assert found.pairs.tolist() == [[0, 2]]
    assert np.isnan(found.inside).tolist() == [False, True, False, True]
    assert not math.isnan(found.tau)
    assert not math.isnan(found.closest)


def test_given_centroids() -> None:
    q, y = clusters([6, 6], 2)
    m = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    found = found_of(q, y, 2, 4.0, centroids=m)
    assert not found.own_centroids
    assert found.closest == found.distances[0] == 9
    assert found.inside[1] == np.mean([math.dist(p, (9, 0)) <= 4 for p in q[y == 1].tolist()])


# On models


def images(n: int = 60) -> tuple[Tensor, Tensor]:
    """Images of three classes that differ in brightness."""
    g = torch.Generator().manual_seed(8)
    labels = torch.randint(3, (n,), generator=g)
    return (torch.rand(n, 1, 8, 8, generator=g) / 3 + labels.view(-1, 1, 1, 1) / 3), labels


def test_layers_of_a_model(tiny_model: FeatureClassifier) -> None:
    x, y = images()
    found = divergence(tiny_model, (x, y), delta_v=0.5, folds=3)
    assert found.layers == (*stages(tiny_model), "features")
    expected = layer_features(tiny_model, x, found.layers)
    for layer, name in enumerate(found.layers):
        for k, (i, j) in enumerate(found.pairs):
            by_hand = jensen_shannon(expected[name][y == i], expected[name][y == j], folds=3)
            assert found.estimates[layer, k] == pytest.approx(by_hand.value, abs=1e-4)
    chosen = divergence(tiny_model, (x, y), delta_v=0.5, folds=3, layers=["backbone.0", "features"])
    assert chosen.layers == ("backbone.0", "features")
    assert same(chosen.estimates[-1], found.estimates[-1])
    alone = divergence(tiny_model, (x, y), delta_v=0.5, folds=3, layers=[])
    assert alone.layers == ("features",)


def test_a_limit_takes_samples_evenly(tiny_model: FeatureClassifier) -> None:
    x, y = images()
    few = divergence(tiny_model, (x, y), delta_v=0.5, folds=2, limit=30)
    chosen = divergence(tiny_model, (x[::2], y[::2]), delta_v=0.5, folds=2)
    np.testing.assert_allclose(few.estimates, chosen.estimates, atol=1e-4)
    assert few.sizes.sum() == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delta_v": 0.0}, "delta_v must be > 0"),
        ({"delta_v": -1.0}, "delta_v must be > 0"),
        ({"pairs": 0}, "pairs must be >= 1"),
        ({"folds": 1}, "folds must be >= 2"),
        ({"centroids": torch.zeros(3, 7)}, "centroids has width 7"),
        ({"layers": "backbone"}, "layers must be a list of names"),
    ],
)
def test_wrong_arguments_are_named(tiny_model: FeatureClassifier, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        divergence(tiny_model, images(), **{"delta_v": 0.5, **options})


def test_models_and_data_that_do_not_fit(tiny_model: FeatureClassifier) -> None:
    x, y = images()
    with pytest.raises(UnknownNameError, match="unknown layer"):
        divergence(tiny_model, (x, y), delta_v=0.5, layers=["layer9"])
    with pytest.raises(DataError, match="two classes, but the data has samples of one only"):
        divergence(tiny_model, (x, y * 0), delta_v=0.5)
    few = torch.cat([torch.nonzero(y != 2).flatten(), torch.nonzero(y == 2).flatten()[:3]])
    with pytest.raises(DataError, match="class 2 has 3 samples, fewer than the 5 folds"):
        divergence(tiny_model, (x[few], y[few]), delta_v=0.5)
    with pytest.raises(DataError, match="label 3"):
        divergence(tiny_model, (x, y + 1), delta_v=0.5)
    with pytest.raises(InvalidArgumentError, match="model must be a FeatureClassifier"):
        divergence(nn.Linear(2, 2), (x, y), delta_v=0.5)  # type: ignore[arg-type]
    q, labels = clusters([6, 6, 6], 2)
    assert divergence(plain(*softmax_layer(3, 2)), (q, labels), delta_v=0.5).layers == ("features",)
