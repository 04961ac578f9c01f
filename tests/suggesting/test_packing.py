"""The room that centroids need, against arrangements that attain it and random ones that cannot beat it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noiseproof import functional
from noiseproof.errors import InvalidArgumentError
from noiseproof.suggesting import largest_delta_d, spread_needed


def extent(points: Tensor) -> tuple[float, float]:
    """Root mean square and largest distance from the mean."""
    distances = torch.linalg.vector_norm(points - points.mean(0), dim=1)
    return float(distances.square().mean().sqrt()), float(distances.max())


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_a_simplex_attains_it(classes: int) -> None:
    # the corners of a regular simplex, with the softmax layer that has its boundaries half-way between
    corners = 7 * torch.eye(classes, dtype=torch.float64)
    weight = corners - corners.mean(0)
    bias = -(weight @ corners.mean(0))
    delta_d = float(functional.signed_distances(corners, torch.arange(classes), weight, bias).min())
    assert float(functional.margin(corners, weight, bias, delta_d - 1e-9)) == 0
    spread, radius = extent(corners)
    # they span classes − 1 dimensions
    assert spread / delta_d == pytest.approx(spread_needed(classes, classes - 1))
    assert largest_delta_d(classes, classes - 1, spread, radius) == pytest.approx(delta_d)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 8])
def test_a_cross_polytope_attains_it(dimensions: int) -> None:
    points = torch.cat([torch.eye(dimensions), -torch.eye(dimensions)]).double()
    nearest = torch.cdist(points, points).fill_diagonal_(torch.inf).min()
    assert extent(points)[1] / (float(nearest) / 2) == pytest.approx(
        spread_needed(2 * dimensions, dimensions) if dimensions > 1 else 1.0
    )


def test_points_on_a_line_are_as_far_as_they_are_many() -> None:
    assert spread_needed(6, 1) == pytest.approx(5)


@pytest.mark.parametrize(("classes", "dimensions"), [(2, 1), (3, 2), (4, 2), (6, 3), (20, 3), (5, 10), (30, 4)])
def test_no_arrangement_does_with_less(classes: int, dimensions: int) -> None:
    for seed in range(50):
        points = torch.randn(classes, dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        apart = torch.cdist(points, points) + torch.full((classes,), torch.inf).diag()
        assert float(apart.min()) / 2 <= largest_delta_d(classes, dimensions, *extent(points)) * (1 + 1e-9)


@pytest.mark.parametrize(("classes", "dimensions"), [(1, 3), (0, 3), (3, 0), (2.5, 1)])
def test_wrong_numbers(classes: int, dimensions: int) -> None:
    with pytest.raises(InvalidArgumentError):
        spread_needed(classes, dimensions)


def test_the_paper() -> None:
    assert 5 * spread_needed(10, 128) == pytest.approx(5 * math.sqrt(1.8))
