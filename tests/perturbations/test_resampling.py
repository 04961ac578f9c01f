"""Reducing and enlarging again, pixel by pixel against loops and against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import noiseproof as npf
from tests.oracles.pictures import resize_bilinear, resize_box


def by_channel(x: Tensor, function: object, *sizes: tuple[int, int]) -> Tensor:
    """Resize each channel of each image to the sizes, one after the other."""
    expected = x.double().numpy().copy()
    for n, c in np.ndindex(x.shape[:2]):
        picture = x[n, c].double().numpy()
        for height, width in sizes:
            picture = function(picture, height, width)  # type: ignore[operator]
        expected[n, c] = picture
    return torch.from_numpy(expected)


# downup


@pytest.mark.parametrize(
    ("factor", "shape", "small"),
    [
        ("1/3", (2, 3, 12, 15), (4, 5)),
        ("1/3", (1, 1, 33, 30), (11, 10)),
        ("1/3", (1, 2, 32, 28), (10, 9)),
        ("1/3", (2, 1, 2, 7), (1, 2)),
        ("1/3", (2, 1, 1, 1), (1, 1)),
        ("0.5", (2, 1, 8, 9), (4, 4)),
        ("0.75", (2, 1, 8, 9), (6, 6)),
        ("0.01", (2, 1, 8, 9), (1, 1)),
        ("1", (2, 1, 8, 9), (8, 9)),
    ],
)
def test_downup_is_bilinear_both_ways(factor: str, shape: tuple[int, ...], small: tuple[int, int]) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    expected = by_channel(x, resize_bilinear, small, shape[2:])  # type: ignore[arg-type]
    torch.testing.assert_close(npf.perturbation(f"downup:{factor}")(x), expected, rtol=0, atol=1e-12)


def test_downup_reduces_to_a_third_unless_told_otherwise() -> None:
    x = torch.rand(2, 3, 30, 21)
    torch.testing.assert_close(npf.perturbation("downup")(x), npf.perturbation("downup:1/3")(x))


@pytest.mark.parametrize(
    ("factor", "side", "small"),
    [
        ("1/3", 30, 10),
        ("1/3", 33, 11),
        ("1/3", 300, 100),
        ("1/3", 399, 133),
        ("1/3", 500, 166),
        ("0.29", 100, 29),
        ("0.57", 100, 57),
        ("0.07", 300, 21),
        ("0.1", 30, 3),
        ("1/49", 49, 1),
        ("2/3", 3, 2),
        ("0.299", 100, 29),
    ],
)
def test_no_pixel_is_lost_to_rounding(factor: str, side: int, small: int) -> None:
    x = torch.rand(1, 1, 1, side, dtype=torch.float64)
    expected = by_channel(x, resize_bilinear, (1, small), (1, side))
    torch.testing.assert_close(npf.perturbation(f"downup:{factor}")(x), expected, rtol=0, atol=1e-12)


# pixelate

SIZES = [
    (0.95, (32, 32), (30, 30)),
    (0.65, (32, 32), (20, 20)),
    (0.6, (21, 34), (12, 20)),
    (0.5, (16, 12), (8, 6)),
    (0.25, (17, 23), (4, 5)),
    (0.9, (11, 7), (9, 6)),
    (1.0, (7, 5), (7, 5)),
    (0.5, (13, 26), (6, 13)),  # a box ends at the centre of a pixel, which rounding decides on
    (0.6, (20, 34), (12, 20)),
]


@pytest.mark.parametrize(("factor", "size", "small"), SIZES)
def test_the_oracle_of_the_box_filter_is_pillows(factor: float, size: tuple[int, int], small: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random(size).astype(np.float32)
    for height, width in (small, size):
        expected = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
        np.testing.assert_allclose(resize_box(picture.astype(np.float64), height, width), expected, rtol=0, atol=1e-6)
        picture = expected


@pytest.mark.parametrize(("factor", "size", "small"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixelate_is_the_box_filter_both_ways(
    factor: float, size: tuple[int, int], small: tuple[int, int], channels: int
) -> None:
    x = torch.rand(2, channels, *size, dtype=torch.float64)
    expected = by_channel(x, resize_box, small, size)
    torch.testing.assert_close(npf.perturbation(f"pixelate:{factor}")(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("factor", "size", "small"), SIZES)
def test_pixelate_is_as_hendrycks_and_dietterichs_but_for_pillows_rounding(
    factor: float, size: tuple[int, int], small: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(small[::-1], Image.Resampling.BOX)
    image = image.resize(size[::-1], Image.Resampling.BOX)
    expected = torch.from_numpy(np.asarray(image) / 255.0).movedim(-1, 0)
    x = torch.from_numpy(pixels / 255.0).movedim(-1, 0)
    perturbed = npf.perturbation(f"pixelate:{factor}")(x.unsqueeze(0))[0]
    assert float((perturbed - expected).abs().max()) < 2.001 / 255
    assert float((perturbed - expected).abs().mean()) < 0.6 / 255


def test_pixelate_by_a_half_is_the_mean_of_blocks() -> None:
    x = torch.rand(2, 3, 8, 6)
    blocks = x.view(2, 3, 4, 2, 3, 2).mean((3, 5))
    expected = blocks.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(npf.perturbation("pixelate:0.5")(x), expected)


@pytest.mark.parametrize("spec", ["downup", "downup:0.3", "pixelate:0.4", "pixelate:0.95"])
def test_a_flat_image_stays_flat(spec: str) -> None:
    x = torch.rand(3, 3, 1, 1).expand(-1, -1, 19, 23)
    torch.testing.assert_close(npf.perturbation(spec)(x), x.contiguous(), rtol=0, atol=1e-6)
