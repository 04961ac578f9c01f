"""Patches and stripes: their number, size, place and colour."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError
from tests.oracles.pictures import cover_counts

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
each_device = pytest.mark.parametrize("device", DEVICES)


def covered(spec: str, *shape: int, seed: int = 0, device: str = "cpu") -> Tensor:
    """Which pixels (N, H, W) a perturbation with a black fill covers, on images that are black nowhere."""
    x = 0.1 + 0.8 * torch.rand(shape, device=device)
    perturbed = npf.perturbation(spec)(x, seed)
    mask = perturbed == 0
    assert torch.equal(mask.any(1), mask.all(1))
    assert torch.equal(perturbed[~mask], x[~mask])
    return mask.all(1).cpu()


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of the only rectangle in a mask (H, W), which must be full."""
    rows, columns = (mask.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    box = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert int(mask.sum()) == box[2] * box[3]
    return box


def assert_uniform(places: list[int], number: int) -> None:
    assert stats.chisquare(np.bincount(places, minlength=number)).pvalue > 0.001
    assert max(places) < number


def assert_binomial(hits: float, trials: int, share: float) -> None:
    assert abs(hits - trials * share) < 5 * math.sqrt(trials * share * (1 - share)) + 1e-9


# Occlusion


@each_device
@pytest.mark.parametrize(("height", "width"), [(8, 9), (11, 6)])
def test_one_patch_is_a_square_and_lies_uniformly_inside(height: int, width: int, device: str) -> None:
    boxes = [box_of(mask) for mask in covered("occlusion:n=1,size=3", 3000, 2, height, width, device=device)]
    assert {box[2:] for box in boxes} == {(3, 3)}
    assert_uniform([top * (width - 2) + left for top, left, *_ in boxes], (height - 2) * (width - 2))


@pytest.mark.parametrize("n", [2, 5])
def test_patches_are_independent_of_each_other(n: int) -> None:
    masks = covered(f"occlusion:n={n},size=3", 3000, 1, 8, 9)
    counts, places = cover_counts(8, 9, 3, 3)
    shares = 1 - (1 - counts / places) ** n
    for i in range(8):
        for j in range(9):
            assert_binomial(int(masks[:, i, j].sum()), 3000, shares[i, j])
    if n == 2:
        assert_binomial(int((masks.sum((1, 2)) == 9).sum()), 3000, 1 / places)  # one on top of the other
    assert int(masks.sum((1, 2)).max()) <= 9 * n


def test_patches_of_two_images_are_independent() -> None:
    masks = covered("occlusion:n=1,size=2", 4000, 1, 4, 4)
    same = (masks[::2] == masks[1::2]).all(2).all(1)
    assert_binomial(int(same.sum()), 2000, 1 / 9)


@pytest.mark.parametrize(
    ("size", "height", "width", "side"),
    [
        (1, 8, 9, 1),
        (8, 8, 9, 8),
        (6, 11, 6, 6),
        (0.2, 40, 50, 8),
        (0.2, 50, 41, 8),
        (0.34, 10, 20, 3),
        (0.36, 10, 20, 4),
        (0.99, 10, 20, 10),
        (0.01, 10, 20, 1),
        (0.001, 3, 2, 1),
    ],
)
def test_the_size_is_of_pixels_or_a_fraction_of_the_shorter_side(
    size: float, height: int, width: int, side: int
) -> None:
    for mask in covered(f"occlusion:n=1,size={size}", 5, 1, height, width):
        assert box_of(mask)[2:] == (side, side)


def test_a_patch_as_large_as_a_square_image_covers_it() -> None:
    assert bool(covered("occlusion:n=3,size=8", 5, 3, 8, 8).all())


@pytest.mark.parametrize(
    ("spec", "height", "width"),
    [
        ("occlusion", 32, 32),
        ("occlusion", 69, 200),
        ("occlusion:n=1,size=9", 8, 20),
        ("occlusion:n=1,size=9", 20, 8),
        ("stripes", 32, 5),
        ("stripes:n=1,width=9", 20, 8),
    ],
)
def test_what_is_larger_than_the_image_is_told_to_be_a_fraction(spec: str, height: int, width: int) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        npf.perturbation(spec)(torch.rand(2, 3, height, width), 0)
    message = str(caught.value)
    assert spec.partition(":")[0] in message
    assert "size" in message if spec.startswith("occlusion") else "width" in message
    assert re.search(r"0\.\d|fraction", message)
    assert "\n" not in message


@pytest.mark.parametrize(("spec", "height", "width"), [("stripes:n=1,width=9", 4, 9), ("occlusion:n=1,size=4", 4, 9)])
def test_what_just_fits_is_taken(spec: str, height: int, width: int) -> None:
    assert bool(covered(spec, 2, 3, height, width).any())


# Stripes


@each_device
def test_one_stripe_is_of_full_height_and_lies_uniformly_inside(device: str) -> None:
    boxes = [box_of(mask) for mask in covered("stripes:n=1,width=3", 2000, 3, 5, 11, device=device)]
    assert {(top, height, width) for top, _, height, width in boxes} == {(0, 5, 3)}
    assert_uniform([left for _, left, *_ in boxes], 9)


@pytest.mark.parametrize("n", [2, 4])
def test_stripes_are_independent_of_each_other(n: int) -> None:
    masks = covered(f"stripes:n={n},width=3", 3000, 1, 2, 11)
    assert torch.equal(masks[:, 0], masks[:, 1])
    counts, places = cover_counts(2, 11, 2, 3)
    for j in range(11):
        assert_binomial(int(masks[:, 0, j].sum()), 3000, 1 - (1 - counts[0, j] / places) ** n)
    if n == 2:
        assert_binomial(int((masks[:, 0].sum(1) == 3).sum()), 3000, 1 / places)


@pytest.mark.parametrize(
    ("width", "columns", "expected"),
    [(1, 9, 1), (9, 9, 9), (0.1, 50, 5), (0.34, 20, 7), (0.36, 10, 4), (0.01, 10, 1), (0.99, 20, 20)],
)
@pytest.mark.parametrize("height", [4, 100])
def test_the_width_is_of_pixels_or_a_fraction_of_the_image_width(
    width: float, columns: int, expected: int, height: int
) -> None:
    for mask in covered(f"stripes:n=1,width={width}", 5, 1, height, columns):
        assert box_of(mask)[2:] == (height, expected)


# Both


@pytest.mark.parametrize("spec", ["occlusion:n=2,size=3", "stripes:n=2,width=3"])
@pytest.mark.parametrize("fill", [0.0, 0.25, 1.0])
def test_the_fill_is_set_and_does_not_change_the_places(spec: str, fill: float) -> None:
    x = 0.4 + 0.2 * torch.rand(20, 3, 9, 10)
    filled = npf.perturbation(f"{spec},fill={fill}")(x, torch.Generator().manual_seed(0))
    black = npf.perturbation(spec)(x, torch.Generator().manual_seed(0))
    assert torch.equal(filled, torch.where(black == 0, torch.tensor(fill), x))


def test_the_defaults_are_the_papers() -> None:
    masks = covered("occlusion", 3, 3, 400, 500)
    counts, places = cover_counts(40, 50, 7, 7)
    expected = float((1 - (1 - counts / places) ** 20).mean())  # the same picture, ten times smaller
    assert float(masks.float().mean()) == pytest.approx(expected, abs=0.08)
    assert masks.sum((1, 2)).max() <= 20 * 70 * 70
    stripes = covered("stripes", 3, 3, 40, 500)
    assert torch.equal(stripes.all(1), stripes.any(1))
    assert 30 < float(stripes[:, 0].sum(1).float().mean()) <= 60


COMBINATIONS = [
    ("occlusion:n=3,size=0.2+gaussian:0.1", (2, 3, 40, 50)),
    ("downup+occlusion:n=3,size=0.2", (2, 3, 40, 50)),
    ("downup+stripes:n=3,width=0.1", (2, 1, 28, 28)),
    ("occlusion+gaussian:40/255", (1, 3, 400, 500)),
    ("downup+occlusion", (1, 3, 400, 500)),
    ("downup+stripes", (1, 3, 400, 500)),
]


@pytest.mark.parametrize(("spec", "shape"), COMBINATIONS)
def test_the_papers_combinations_are_their_parts_from_left_to_right(spec: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    combined = npf.perturbation(spec)
    assert npf.perturbation(combined.spec) == combined
    g = torch.Generator().manual_seed(3)
    expected = x
    for part in spec.split("+"):
        expected = npf.perturbation(part)(expected, g)
    assert torch.equal(combined(x, torch.Generator().manual_seed(3)), expected)
    assert not torch.equal(expected, x)


def test_in_the_papers_combinations_noise_lies_on_the_patches_and_not_beneath_them() -> None:
    x = torch.full((1, 1, 60, 60), 0.5)
    noisy = npf.perturbation("occlusion:n=1,size=0.5+gaussian:0.1,clamp=no")(x, 0)
    assert float(noisy.min()) < -0.1
    blank = npf.perturbation("gaussian:0.1+occlusion:n=1,size=0.5")(x, 0)
    assert int((blank == 0).sum()) == 900
