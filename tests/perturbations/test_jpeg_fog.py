"""JPEG against Pillow's, and fog by the terrain that can be read off the fogged image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError
from tests.oracles.pictures import roughness, through_jpeg

# jpeg


def photographs(channels: int, height: int = 37, width: int = 45, images: int = 3) -> Tensor:
    """Smooth images with a little noise, of whole 256ths."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((images, channels, height, width)), (0, 0, 4, 4))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    noisy = np.clip(smooth + 0.03 * rng.standard_normal(smooth.shape), 0, 1)
    return torch.from_numpy(np.round(255 * noisy) / 255)


def pillow(x: Tensor, quality: int, subsampling: int = 2) -> Tensor:
    return torch.from_numpy(np.stack([through_jpeg(picture.numpy(), quality, subsampling) for picture in x]))


@pytest.mark.parametrize("quality", [1, 7, 25, 58, 80, 95, 100])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_jpeg_is_pillows(quality: int, channels: int, dtype: torch.dtype) -> None:
    x = photographs(channels)
    perturbed = npf.perturbation(f"jpeg:{quality}")(x.to(dtype)).double()
    assert float((perturbed - pillow(x, quality)).abs().mean()) < 2 / 255
    torch.testing.assert_close(255 * perturbed, (255 * perturbed).round(), rtol=0, atol=1e-4)


def test_jpeg_halves_the_resolution_of_colour() -> None:
    x = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    x[:, 0, :, ::2], x[:, 2, :, 1::2] = 1, 1
    perturbed = npf.perturbation("jpeg:90")(x)
    halved, full = (float((perturbed - pillow(x, 90, subsampling)).abs().mean()) for subsampling in (2, 0))
    assert halved < 4 / 255 < 40 / 255 < full


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_of_less_quality_errs_more(channels: int) -> None:
    x = photographs(channels)
    errors = [
        float((npf.perturbation(f"jpeg:{quality}")(x) - x).square().mean()) for quality in (1, 5, 15, 40, 80, 100)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 10 * errors[-1]
    if channels == 1:
        assert math.sqrt(errors[-1]) < 1 / 255


def test_jpeg_rounds_to_the_nearest_of_256_shades() -> None:
    x = photographs(1).clamp(1 / 255, 254 / 255)
    noise = npf.perturbation("jpeg:75")
    for offset in (-0.45, 0.45):
        assert torch.equal(noise(x + offset / 255), noise(x))


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (5, 17), (16, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_of_a_flat_image_is_flat(shape: tuple[int, int], channels: int) -> None:
    x = torch.full((2, channels, *shape), 100 / 255)
    torch.testing.assert_close(npf.perturbation("jpeg:95")(x), x, rtol=0, atol=2 / 255)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("spec", ["jpeg:50", "corruption:jpeg,severity=1"])
def test_jpeg_is_of_grey_or_colour_images(spec: str, channels: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"jpeg.*channels"):
        npf.perturbation(spec)(torch.rand(2, channels, 8, 8))


# fog


def terrains(x: Tensor, thickness: float, decay: float, seed: int = 0) -> Tensor:
    """The plasma of each image, (N, H, W), solved for in what fog makes of it."""
    fogged = npf.perturbation(f"fog:{thickness},decay={decay},clamp=no")(x, seed)
    largest = x.amax((1, 2, 3), keepdim=True)
    plasma = (fogged * (largest + thickness) / largest - x) / thickness
    torch.testing.assert_close(plasma, plasma[:, :1].expand_as(plasma), rtol=0, atol=1e-6)
    return plasma[:, 0]


def images(*shape: int) -> Tensor:
    """Random images each with a largest value of its own."""
    scale = torch.linspace(0.3, 1, shape[0], dtype=torch.float64).view(-1, 1, 1, 1)
    return scale * torch.rand(shape, dtype=torch.float64)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("thickness", "decay"), [(0.2, 3), (1.5, 1.75), (3, 1.4), (1, 1)])
@pytest.mark.parametrize("size", [2, 8, 32])
def test_the_plasma_spans_the_unit_interval_and_is_one_per_image(
    channels: int, thickness: float, decay: float, size: int
) -> None:
    plasma = terrains(images(6, channels, size, size), thickness, decay)
    torch.testing.assert_close(plasma.amin((1, 2)), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(plasma.amax((1, 2)), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-6)
    if size > 2:
        assert all(float((plasma[i] - plasma[j]).abs().max()) > 0.05 for i in range(6) for j in range(i))


@pytest.mark.parametrize(("height", "width"), [(5, 7), (33, 20), (1, 40), (28, 28)])
def test_the_plasma_of_other_sizes_is_cut_from_a_map(height: int, width: int) -> None:
    plasma = terrains(images(20, 3, height, width), 1.0, 2.0)
    assert float(plasma.min()) >= -1e-6
    assert float(plasma.max()) <= 1 + 1e-6
    assert float(plasma.std((1, 2)).mean()) > 0.05


def test_the_map_is_the_smallest_that_covers_the_image() -> None:
    """Where all but the first level is smooth, a quarter of the map and one pixel show its least and greatest."""
    plasma = terrains(images(20, 1, 33, 33), 1.0, 100.0)
    assert float(plasma.amin((1, 2)).max()) < 1e-3
    assert float(plasma.amax((1, 2)).min()) > 1 - 1e-3


@pytest.mark.parametrize("decay", [1.4, 1.75, 3.0])
def test_the_plasma_is_diamond_square_as_hendrycks_and_dietterichs(decay: float) -> None:
    """Their noise is ``wibble * uniform(-wibble, wibble)``, so that it falls by the square of the decay."""
    plasma = terrains(images(60, 1, 16, 16), 1.0, decay).numpy()
    levels: dict[int, list[float]] = {2: [], 4: [], 8: [], 16: []}
    shapes: list[float] = []
    for terrain in plasma:
        finest = roughness(terrain, 2)
        finest_size = math.sqrt(float(np.mean(np.square(finest[0] + finest[1]))))
        for step in levels:
            squares, edges = roughness(terrain, step)
            levels[step] += [value / finest_size for value in squares + edges]
        shapes.append(float(np.mean(np.square(finest[0])) / np.mean(np.square(finest[1]))))
    for depth, values in enumerate(levels.values()):
        square = float(np.mean(np.square(values)))
        assert square == pytest.approx(decay ** (4 * depth), rel=0.02 + 5 * math.sqrt(0.8 / len(values)))
    assert float(np.mean(shapes)) == pytest.approx(1, abs=0.1)
    finest_values = np.array(levels[2])
    assert float(np.mean(finest_values**4)) == pytest.approx(1.8, rel=0.05)  # uniform
    assert abs(float(np.mean(finest_values))) < 5 / math.sqrt(len(finest_values))


def test_neighbours_are_alike_and_a_larger_decay_is_smoother() -> None:
    x = torch.full((30, 1, 64, 64), 0.5, dtype=torch.float64)
    smoothness = []
    for decay in (1.2, 1.6, 2.5):
        plasma = terrains(x, 1.0, decay)
        near = float((plasma[:, :, 1:] - plasma[:, :, :-1]).square().mean())
        far = float((plasma[:, :, 20:] - plasma[:, :, :-20]).square().mean())
        smoothness.append(far / near)
    assert smoothness == sorted(smoothness)
    assert smoothness[0] > 1.2
    assert smoothness[1] > 5
    assert smoothness[2] > 50


def test_fog_is_added_and_kept_below_the_largest_value_of_each_image() -> None:
    x = images(4, 3, 16, 16)
    x[0, 1, 3, 4] = 0.9
    fogged = npf.perturbation("fog:2,decay=2,clamp=no")(x, 0)
    assert bool((fogged.amax((1, 2, 3)) <= x.amax((1, 2, 3)) + 1e-9).all())
    flat = torch.full((4, 3, 16, 16), 0.6, dtype=torch.float64)
    assert float(npf.perturbation("fog:2,decay=2")(flat, 0).amax()) == pytest.approx(0.6, abs=1e-6)
    assert float(npf.perturbation("fog:2,decay=2")(flat, 0).amin()) == pytest.approx(0.6**2 / 2.6, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("thickness", [0, 0.5])
def test_fog_leaves_a_black_image_black(thickness: float, dtype: torch.dtype) -> None:
    x = torch.zeros(2, 3, 8, 8, dtype=dtype)
    assert torch.equal(npf.perturbation(f"fog:{thickness},decay=2")(x, 0), x)


def test_one_image_of_a_fogged_batch_takes_its_own_largest_value() -> None:
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    darker = x.clone()
    darker[1] *= 0.1
    noise = npf.perturbation("fog:0.5,decay=2")
    assert torch.equal(noise(x, 0)[0], noise(darker, 0)[0])
