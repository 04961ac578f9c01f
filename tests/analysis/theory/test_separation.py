"""Propositions 5.1 and 5.2 against loops, where premises hold exactly, and where they do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from noiseproof.analysis.theory import Claim, Separation, separation, separation_of
from noiseproof.analysis.theory.separation import _between
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.models import FeatureClassifier
from tests.analysis.theory.problems import clusters, plain, softmax_layer
from tests.oracles import loss_loops

DELTAS = {"delta_v": 0.5, "delta_d": 1.5}


def by_loops(
    q: Tensor, y: Tensor, W: Tensor, b: Tensor, m: dict[int, list[float]], delta_v: float
) -> dict[str, dict[Any, float]]:
    """Def. 3.1 and 5.1, Eq. 10 with its sign and the share within δ_v, class by class and point by point."""
    points, rows, biases = q.tolist(), W.tolist(), b.tolist()
    own = {c: [p for p, label in zip(points, y.tolist(), strict=True) if label == c] for c in sorted(set(y.tolist()))}

    def to_boundary(p: list[float], c: int, i: int) -> float:
        normal = [u - v for u, v in zip(rows[c], rows[i], strict=True)]
        return (sum(u * v for u, v in zip(normal, p, strict=True)) + biases[c] - biases[i]) / math.hypot(*normal)

    others = {c: [i for i in range(len(rows)) if i != c] for c in own}
    return {
        "dispersion": {c: max(math.dist(p, r) for p in own[c] for r in own[c]) for c in own},
        "margin": {c: min(abs(to_boundary(p, c, i)) for p in own[c] for i in others[c]) for c in own},
        "boundary": {c: min(to_boundary(m[c], c, i) for i in others[c]) for c in own},
        "compact": {c: sum(math.dist(p, m[c]) <= delta_v for p in own[c]) / len(own[c]) for c in own},
        "between": {(i, j): min(math.dist(p, r) for p in own[i] for r in own[j]) for i in own for j in own if i != j},
    }


def means(q: Tensor, y: Tensor) -> dict[int, list[float]]:
    return {c: m.tolist() for c, m in loss_loops.class_means(q, y).items()}


def around_corners(delta_v: float, delta_d: float, num_classes: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, labels, W and centroids for which Prop. 5.1 and 5.2.1 are equalities, up to rounding.

    With W the unit matrix, the boundary of c and i is where q_c = q_i, and the centroid s e_c is s/√2 = δ_d from it.
    The samples of a class lie δ_v from their centroid: at opposite ends, one of them straight towards a boundary.
    """
    unit = torch.eye(num_classes, dtype=torch.float64)
    m = delta_d * math.sqrt(2) * (1 + 1e-12) * unit
    towards = torch.stack([(unit[(c + 1) % num_classes] - unit[c]) / math.sqrt(2) for c in range(num_classes)])
    q = torch.cat([m + delta_v * (1 - 1e-12) * towards, m - delta_v * (1 - 1e-12) * towards, m])
    return q, torch.arange(num_classes).repeat(3), unit, m


@pytest.mark.parametrize("given_centroids", [False, True])
def test_everything_against_loops(given_centroids: bool) -> None:
    q, y = clusters([7, 1, 12, 5], 3, spread=0.6)
    W, b = softmax_layer(4, 3)
    m = q[[3, 1, 4, 9]] if given_centroids else None
    found = separation_of(q, y, W, b, **DELTAS, centroids=m)
    centroids = means(q, y) if m is None else dict(enumerate(m.tolist()))
    assert found.own_centroids is not given_centroids
    for name, expected in by_loops(q, y, W, b, centroids, DELTAS["delta_v"]).items():
        for place, value in expected.items():
            assert getattr(found, name)[place] == pytest.approx(value, rel=1e-9), (name, place)
    assert found.sizes.tolist() == [7, 1, 12, 5]
    np.testing.assert_allclose(found.centroids, [centroids[c] for c in range(4)], rtol=1e-12)
    tensors = {c: torch.tensor(row, dtype=torch.float64) for c, row in centroids.items()}
    assert found.compactness_loss == pytest.approx(float(loss_loops.compactness(q, y, tensors, DELTAS["delta_v"])))
    hinges = [max(0.0, DELTAS["delta_d"] - distance) for distance in found.boundary]
    assert found.margin_loss == pytest.approx(sum(hinges) / 4)


def test_claims_against_loops() -> None:
    q, y = clusters([6, 6, 6, 6, 6], 3, spread=0.15, seed=3)
    W, b = softmax_layer(5, 3, seed=2)
    for delta_v, delta_d in [(0.3, 0.4), (0.5, 0.2), (0.45, 1.0), (0.01, 0.1), (3.0, 8.0)]:
        found = separation_of(q, y, W, b, delta_v=delta_v, delta_d=delta_d)
        loops = by_loops(q, y, W, b, means(q, y), delta_v)
        compact = [loops["compact"][c] == 1 for c in range(5)]
        ready = [compact[c] and loops["boundary"][c] >= delta_d for c in range(5)]
        first, second, third = found.claims
        assert first.premise.tolist() == compact
        assert first.conclusion.tolist() == [loops["dispersion"][c] <= 2 * delta_v for c in range(5)]
        assert second.premise.tolist() == [r and delta_d > delta_v for r in ready]
        assert second.conclusion.tolist() == [loops["margin"][c] >= delta_d - delta_v for c in range(5)]
        pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
        assert third.cases.tolist() == [list(pair) for pair in pairs]
        assert third.premise.tolist() == [ready[i] and ready[j] and delta_d > 2 * delta_v for i, j in pairs]
        widest = [max(loops["dispersion"][i], loops["dispersion"][j]) for i, j in pairs]
        assert third.conclusion.tolist() == [w < loops["between"][p] for w, p in zip(widest, pairs, strict=True)]
        assert found.separated == (max(loops["dispersion"].values()) < min(loops["between"].values()))


@pytest.mark.parametrize(("delta_v", "delta_d"), [(0.5, 5.0), (0.5, 1.01), (1.0, 3.0), (2.0, 4.1)])
def test_where_the_premises_hold_exactly_so_do_the_conclusions(delta_v: float, delta_d: float) -> None:
    q, y, W, m = around_corners(delta_v, delta_d)
    found = separation_of(q, y, W, None, delta_v=delta_v, delta_d=delta_d, centroids=m)
    assert found.compactness_loss == found.margin_loss == 0
    assert all(claim.applies and claim.violations == 0 and claim.checked == len(claim.cases) for claim in found.claims)
    # The first two are as tight as they can be.
    np.testing.assert_allclose(found.dispersion, 2 * delta_v)
    np.testing.assert_allclose(found.margin, delta_d - delta_v)
    assert np.nanmin(found.between) >= 2 * (delta_d - delta_v) - 1e-9
    assert found.separated


def test_conditions_on_the_deltas_are_part_of_the_premises() -> None:
    q, y, W, m = around_corners(1.0, 1.5)
    found = separation_of(q, y, W, None, delta_v=1.0, delta_d=1.5, centroids=m)
    assert found.dispersion_claim.applies
    assert found.margin_claim.applies
    assert found.distance_claim.checked == 0  # 1.5 is not more than 2
    q, y, W, m = around_corners(1.0, 0.9)
    found = separation_of(q, y, W, None, delta_v=1.0, delta_d=0.9, centroids=m)
    assert found.dispersion_claim.applies
    assert found.margin_claim.checked == 0


def test_a_centroid_on_the_wrong_side_is_no_premise() -> None:
    q, y, W, m = around_corners(0.5, 2.0)
    found = separation_of(q, y, W.roll(1, 0), None, delta_v=0.5, delta_d=2.0, centroids=m)
    assert (found.boundary < 0).all()
    assert not found.at_margin.any()
    assert found.margin_claim.checked == found.distance_claim.checked == 0
    assert found.margin_loss == pytest.approx(4.0)  # δ_d − (−δ_d)


def test_one_sample_too_far_spoils_its_class_alone() -> None:
    q, y, W, m = around_corners(0.5, 2.0)
    q[2] = m[2] + 3 * (q[2] - m[2])
    found = separation_of(q, y, W, None, delta_v=0.5, delta_d=2.0, centroids=m)
    assert found.all_compact.tolist() == [True, True, False, True]
    assert found.compact[2] == pytest.approx(2 / 3)
    claim = found.dispersion_claim
    assert (claim.checked, claim.violations, claim.applies) == (3, 0, False)
    assert claim.conclusion.tolist() == [True, True, False, True]
    assert found.distance_claim.checked == 3


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 4), st.floats(0.01, 2.0), st.floats(0.01, 3.0),
    st.floats(0.0, 0.5),
)  # fmt: skip
def test_no_conclusion_ever_fails_where_its_premise_holds(
    seed: int, num_classes: int, dim: int, delta_v: float, delta_d: float, spread: float
) -> None:
    q, y = clusters([4] * num_classes, dim, spread=spread, seed=seed)
    # Rows of W towards the centres, so that many of them are on their side.
    m = torch.stack([q[y == c].mean(0) for c in range(num_classes)])
    found = separation_of(q, y, m, -m.square().sum(1) / 2, delta_v=delta_v, delta_d=delta_d)
    assert [claim.violations for claim in found.claims] == [0, 0, 0]


def test_a_violation_would_be_counted() -> None:
    claim = Claim("P", "q", np.arange(4), np.array([True, True, False, False]), np.array([True, False, True, False]))
    assert (claim.checked, claim.violations, claim.applies) == (2, 1, False)
    assert claim.told() == "premise holds in 2 of 4 classes, and q fails in 1 of them; it is true in 2 of all"


def test_classes_that_are_absent_or_alone() -> None:
    W, b = softmax_layer(3, 2)
    q, y = torch.tensor([[0.0, 0.0], [0.3, 0.4]]), torch.tensor([1, 1])
    found = separation_of(q, y, W, b, delta_v=1.0, delta_d=1.0)
    assert found.sizes.tolist() == [0, 2, 0]
    assert found.classes.tolist() == [1]
    for name in ("dispersion", "margin", "compact", "boundary"):
        assert np.isnan(getattr(found, name)).tolist() == [True, False, True], name
    assert np.isnan(found.centroids).all(1).tolist() == [True, False, True]
    assert np.isnan(found.between).all()
    assert found.dispersion_claim.cases.tolist() == [1]
    assert found.distance_claim.cases.shape == (0, 2)
    assert not found.distance_claim.applies
    assert not found.separated
    assert found.summary()


def test_boundaries_to_absent_classes_count() -> None:
    W, b = softmax_layer(3, 2)
    q, y = clusters([5, 5], 2)
    found = separation_of(q, y, W, b, **DELTAS)
    loops = by_loops(q, y, W, b, means(q, y), 0.5)
    np.testing.assert_allclose(found.boundary[:2], [loops["boundary"][c] for c in (0, 1)])


def test_distances_between_classes_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    q, y = clusters([20, 3, 9, 0, 14], 3)
    whole = _between(q, y, 5)
    module = __import__("sys").modules[_between.__module__]
    monkeypatch.setattr(module, "_DISTANCES", 30)
    torch.testing.assert_close(_between(q, y, 5), whole, equal_nan=True)
    assert torch.equal(whole.nan_to_num(), whole.T.nan_to_num())


def test_a_model_and_a_data_set(tiny_model: FeatureClassifier) -> None:
    g = torch.Generator().manual_seed(0)
    data = torch.rand(300, 1, 8, 8, generator=g), torch.randint(3, (300,), generator=g)
    found = separation(tiny_model, data, **DELTAS)
    with torch.no_grad():
        q = tiny_model.eval().embed(data[0]).double()
    W, b = tiny_model.head.weight.detach().double(), tiny_model.head.bias.detach().double()
    expected = separation_of(q, data[1], W, b, **DELTAS)
    for name in ("dispersion", "margin", "between", "boundary", "centroids"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-6)
    few = separation(tiny_model, data, **DELTAS, limit=60)
    places = torch.arange(60) * 5
    assert few.sizes.tolist() == data[1][places].bincount().tolist()
    assert few.dispersion[0] <= found.dispersion[0]


def test_given_centroids_are_not_shared_with_the_result() -> None:
    q, y, W, m = around_corners(0.5, 2.0)
    found = separation_of(q, y, W, None, delta_v=0.5, delta_d=2.0, centroids=m)
    before = found.centroids.copy()
    m.zero_()
    np.testing.assert_array_equal(found.centroids, before)


def test_what_is_told() -> None:
    q, y, W, m = around_corners(0.5, 2.0)

    def told(found: Separation) -> dict[str, str]:
        return dict(found.summary())

    good = told(separation_of(q, y, W, None, delta_v=0.5, delta_d=2.0, centroids=m))
    assert good["Radius δ_v and distance δ_d"] == "0.5 and 2"
    assert good["Centroids"] == "given"
    assert good["Proposition 5.1"] == "premise holds in 4 of 4 classes, and dispersion ≤ 2δ_v = 1 fails in 0 of them"
    assert good["Every distance within a class is below every one between classes"] == "yes"
    bad = told(separation_of(q, y, W, None, delta_v=0.1, delta_d=2.0))
    assert bad["Proposition 5.1"].startswith("premise holds in 0 of 4 classes, so nothing follows")


W3, B3 = softmax_layer(3, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delta_v": 0.0}, "delta_v must be > 0"),
        ({"delta_d": -1.0}, "delta_d must be > 0"),
        ({"delta_v": math.nan}, "delta_v"),
        ({"centroids": torch.zeros(3, 4)}, "centroids has width 4"),
        ({"centroids": torch.zeros(2, 2)}, "centroids has 2 rows, but the model has 3 classes"),
        ({"centroids": torch.full((3, 2), math.inf)}, "centroids holds NaN or infinite values"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    q, y = clusters([3, 3, 3], 2)
    with pytest.raises(InvalidArgumentError, match=message):
        separation_of(q, y, W3, B3, **{**DELTAS, **options})
    with pytest.raises(InvalidArgumentError, match=message):
        separation(plain(W3, B3), (q, y), **{**DELTAS, **options})


def test_models_and_data_that_do_not_fit() -> None:
    q, y = clusters([3, 3, 3], 2)
    with pytest.raises(InvalidArgumentError, match="model must be a FeatureClassifier, got Linear"):
        separation(torch.nn.Linear(2, 3), (q, y), **DELTAS)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="label 3, but the model knows the classes 0 to 2"):
        separation(plain(W3, B3), (q, y + 1), **DELTAS)
    with pytest.raises(InvalidArgumentError, match="gave logits that are NaN"):
        separation(plain(W3 * math.nan, B3), (q, y), **DELTAS)
    with pytest.raises(InvalidArgumentError, match="at least 2 rows"):
        separation(plain(W3[:1], B3[:1]), (q, y * 0), **DELTAS)
