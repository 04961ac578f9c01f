"""Theorem 6.2 by hand, and that its bound says nothing that its assumptions do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from noiseproof.analysis.theory import Generalisation, generalisation, generalisation_of
from noiseproof.analysis.theory.features import Features
from noiseproof.analysis.theory.generalisation import complexity, margin_loss
from noiseproof.errors import DataError, InvalidArgumentError
from tests.analysis.theory.problems import clusters, plain, softmax_layer
from tests.oracles import loss_loops


def features(q: Tensor, y: Tensor) -> Features:
    return Features(q, q, y)


def phi(tau: float, rho: float) -> float:
    """Eq. 17, case by case."""
    if tau <= 0:
        return 1.0
    return 1 - tau / rho if tau <= rho else 0.0


def by_hand(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], c: int, m: list[float], r: float, rho: float,
    delta: float,
) -> dict[str, float]:  # fmt: skip
    own, held_out = (
        [q for q, y in zip(*(part.tolist() for part in each), strict=True) if y == c] for each in (train, test)
    )
    N = len(own)
    R, largest = math.hypot(*m), max(math.hypot(*q) for q in own + held_out)
    first = sum(phi(r**2 - math.dist(q, m) ** 2, rho) for q in own) / N
    second = 2 / rho * (largest**2 + 2 * R * largest + R**2 / math.sqrt(N))
    third = 3 * math.sqrt(math.log(2 / delta) / (2 * N))
    return {
        "empirical": first,
        "feature_norm": largest,
        "centroid_norm": R,
        "complexity": second,
        "deviation": third,
        "bound": first + second + third,
        "train_error": sum(math.dist(q, m) > r for q in own) / N,
        "test_error": sum(math.dist(q, m) > r for q in held_out) / len(held_out),
        "sizes": N,
        "test_sizes": len(held_out),
        "radius_trivial": largest + R,
    }  # fmt: skip


@pytest.mark.parametrize("given_centroids", [False, True])
@pytest.mark.parametrize(("radius", "rho"), [(0.4, 0.1), (1.0, 0.999), (9.0, 0.5)])
def test_everything_by_hand(given_centroids: bool, radius: float, rho: float) -> None:
    train, test = clusters([20, 7, 40], 3, spread=0.3), clusters([5, 9, 6], 3, spread=0.4)
    m = train[0][:3] if given_centroids else None
    found = generalisation_of(
        features(*train), features(*test), 3, radius=radius, rho=rho, confidence=0.1, centroids=m
    )
    assert found.own_centroids is not given_centroids
    for c in range(3):
        centre = loss_loops.class_means(*train)[c] if m is None else m[c]
        for name, value in by_hand(train, test, c, centre.tolist(), radius, rho, 0.1).items():
            assert getattr(found, name)[c] == pytest.approx(value, rel=1e-9), (name, c)
    assert found.vacuous.tolist() == [bound >= 1 for bound in found.bound]
    assert (found.radius, found.rho, found.confidence) == (radius, rho, 0.1)


def test_the_margin_loss_is_equations_17_and_18() -> None:
    r, rho = 1.5, 0.8
    distances = torch.linspace(0, 3, 301, dtype=torch.float64)
    expected = [phi(r**2 - d**2, rho) for d in distances.tolist()]
    np.testing.assert_allclose(margin_loss(distances, r, rho).numpy(), expected, atol=1e-12)
    edge = math.sqrt(r**2 - rho)
    ends = margin_loss(torch.tensor([edge, r], dtype=torch.float64), r, rho)
    np.testing.assert_allclose(ends.numpy(), [0, 1], atol=1e-12)


def test_features_within_delta_v_cost_nothing_where_the_paper_says_so() -> None:
    """The remark after Theorem 6.2: δ_v ≤ √(r² − ρ) and L_compact = 0 make the first term 0."""
    q, y = clusters([30, 30], 2, spread=0.05)
    widest = max(float((q[y == c] - q[y == c].mean(0)).norm(dim=1).max()) for c in (0, 1))
    found = generalisation_of(features(q, y), features(q, y), 2, radius=math.sqrt(widest**2 + 0.3), rho=0.3 - 1e-9)
    assert (found.empirical == 0).all()
    assert (found.test_error == 0).all()


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 4), st.floats(1e-3, 1.0), st.floats(0.01, 1 - 1e-9),
    st.floats(0.0, 20.0), st.sampled_from([3, 1000, 100_000]),
)  # fmt: skip
def test_up_to_lambda_plus_r_the_bound_is_never_below_one(
    seed: int, dim: int, share: float, rho_share: float, far: float, copies: int
) -> None:
    """For any features, any centre however far, any N: what the docstring proves."""
    q, y = clusters([3, 2], dim, spread=0.5, seed=seed)
    m = torch.stack([q[0] * far, q[1] + far])
    trivial = generalisation_of(features(q, y), features(q, y), 2, radius=1, rho=0.5, centroids=m).radius_trivial.min()
    radius = share * float(trivial)
    rho = rho_share * radius**2
    found = generalisation_of(features(q, y), features(q, y), 2, radius=radius, rho=rho, centroids=m)
    # The same features in any number of copies change N, and with it the second and the third term, alone.
    sizes = found.sizes * copies
    two_terms = found.empirical + complexity(found.feature_norm, found.centroid_norm, sizes, rho)
    assert (two_terms >= 1 - 1e-9).all()
    assert (found.bound >= 1).all()
    assert found.vacuous.all()


def test_beyond_lambda_plus_r_no_feature_is_outside_whatever_the_model() -> None:
    q, y = clusters([2000, 2000], 2)
    m = torch.stack([q[y == c].mean(0) for c in (0, 1)])
    radius = 3.0 * float(q.norm(dim=1).max() + m.norm(dim=1).max())
    found = generalisation_of(features(q, y), features(q, y), 2, radius=radius, rho=0.99 * radius**2)
    assert not found.vacuous.any()
    assert (found.radius_trivial < radius).all()
    assert (found.test_error == 0).all()


def test_the_radius_needed_is_where_two_terms_reach_one() -> None:
    q, y = clusters([400, 300], 2)
    options: dict[str, Any] = {"rho": 0.1, "confidence": 0.05}
    found = generalisation_of(features(q, y), features(q, y), 2, radius=1.0, **options)
    for c in (0, 1):
        r = float(found.radius_needed[c])
        assert r > found.radius_trivial[c]
        at = generalisation_of(features(q, y), features(q, y), 2, radius=r, rho=r**2 * (1 - 1e-12))
        assert at.complexity[c] + at.deviation[c] == pytest.approx(1)
    few = generalisation_of(features(q[:6], y[:6]), features(q, y), 2, radius=1.0, **options)
    assert np.isinf(few.radius_needed).all()


def test_what_held_out_samples_alone_say() -> None:
    q, y = clusters([50, 50], 2, spread=0.3)
    held_out = clusters([30, 12], 2, spread=0.3)
    found = generalisation_of(features(q, y), features(*held_out), 2, radius=0.35, rho=0.1, confidence=0.05)
    for c, n in enumerate((30, 12)):
        errors = round(found.test_error[c] * n)
        assert 0 < errors < n
        # The p at which so few errors or fewer have the probability 0.05.
        assert binom.cdf(errors, n, found.test_upper[c]) == pytest.approx(0.05)
        assert found.test_upper[c] > found.test_error[c]
    none = generalisation_of(features(q, y), features(*held_out), 2, radius=50, rho=0.1, confidence=0.05)
    np.testing.assert_allclose(none.test_upper, [1 - 0.05 ** (1 / 30), 1 - 0.05 ** (1 / 12)])


def test_classes_that_are_absent() -> None:
    q, y = clusters([5, 5, 5], 2)
    seen, unseen = y != 1, y != 2
    found = generalisation_of(features(q[seen], y[seen]), features(q[unseen], y[unseen]), 3, radius=0.5, rho=0.1)
    assert found.sizes.tolist() == [5, 0, 5]
    assert found.test_sizes.tolist() == [5, 5, 0]
    for name in ("empirical", "feature_norm", "centroid_norm", "complexity", "deviation", "bound", "train_error"):
        assert np.isnan(getattr(found, name)).tolist() == [False, True, False], name
    assert np.isnan(found.test_error).tolist() == [False, True, True]
    assert np.isnan(found.test_upper).tolist() == [False, True, False]
    assert found.test_upper[2] == 1
    assert not found.vacuous[1]
    assert "for 2 of 2 classes" in dict(found.summary())["Eq. 19, bound"]


def test_a_model_and_two_data_sets() -> None:
    model = plain(*softmax_layer(3, 2))
    train, test = clusters([30, 20, 25], 2), clusters([9, 9, 9], 2, seed=1)
    found = generalisation(model, train, test, radius=0.5, rho=0.2)
    expected = generalisation_of(features(*train), features(*test), 3, radius=0.5, rho=0.2)
    assert isinstance(found, Generalisation)
    np.testing.assert_allclose(found.bound, expected.bound)
    np.testing.assert_allclose(found.test_error, expected.test_error)
    few = generalisation(model, train, test, radius=0.5, rho=0.2, limit=15)
    assert few.sizes.sum() == few.test_sizes.sum() == 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0.0}, "radius must be > 0"),
        ({"radius": -1.0}, "radius must be > 0"),
        ({"rho": 0.0}, "rho must be > 0 and < 1"),
        ({"rho": 1.0}, "rho must be > 0 and < 1"),
        ({"confidence": 0.0}, "confidence must be > 0 and < 1"),
        ({"confidence": 1.0}, "confidence must be > 0 and < 1"),
        ({"centroids": torch.zeros(4, 2)}, "centroids has 4 rows"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    train = clusters([3, 3, 3], 2)
    options = {"radius": 1.0, "rho": 0.5, **options}
    with pytest.raises(InvalidArgumentError, match=message):
        generalisation(plain(*softmax_layer(3, 2)), train, train, **options)
    with pytest.raises(InvalidArgumentError, match=message):
        generalisation_of(features(*train), features(*train), 3, **options)


def test_models_and_data_that_do_not_fit() -> None:
    q, y = clusters([3, 3, 3], 2)
    with pytest.raises(InvalidArgumentError, match="model must be a FeatureClassifier"):
        generalisation(torch.nn.Linear(2, 3), (q, y), (q, y), radius=1, rho=0.5)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="label 3"):
        generalisation(plain(*softmax_layer(3, 2)), (q, y), (q, y + 1), radius=1, rho=0.5)
