"""Blurs against SciPy, and against loops along a direction that is read off ramps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

import noiseproof as npf
from tests.oracles.pictures import one_sided_weights, smear

# gaussian-blur


@pytest.mark.parametrize("std", [0.1, 0.124, 0.125, 0.4, 0.625, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("shape", [(2, 3, 20, 17), (1, 1, 5, 7), (2, 1, 1, 1), (1, 2, 1, 30)])
def test_gaussian_blur_is_scipys(std: float, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    expected = ndimage.gaussian_filter(x.numpy(), (0, 0, std, std), mode="nearest", truncate=4.0)
    torch.testing.assert_close(
        npf.perturbation(f"gaussian-blur:{std}")(x), torch.from_numpy(expected), rtol=0, atol=1e-12
    )


def test_gaussian_blur_in_single_precision_is_as_exact_as_that() -> None:
    x = torch.rand(2, 3, 20, 17)
    expected = ndimage.gaussian_filter(x.double().numpy(), (0, 0, 1.5, 1.5), mode="nearest", truncate=4.0)
    perturbed = npf.perturbation("gaussian-blur:1.5")(x).double()
    torch.testing.assert_close(perturbed, torch.from_numpy(expected), rtol=0, atol=1e-6)


# motion-blur


def ramps(size: int, images: int) -> Tensor:
    """Channels that rise by 1/100 per column and by 1/100 per row, and one of noise."""
    x = torch.rand(1, 3, size, size, dtype=torch.float64).repeat(images, 1, 1, 1)
    x[:, 0] = torch.arange(size, dtype=torch.float64) / 100
    x[:, 1] = torch.arange(size, dtype=torch.float64).unsqueeze(1) / 100
    return x


def shifts(spec: str, images: int, size: int = 41, seed: int = 0) -> Tensor:
    """By how many rows and columns, (N, 2), each image's middle is a mean of what lies away from it."""
    x, middle = ramps(size, images), size // 2
    moved = 100 * (npf.perturbation(spec)(x, seed) - x)[:, :2, middle, middle]
    return moved.flip(1)


RIGHT = 1


@pytest.mark.parametrize(("radius", "std"), [(6, 1.0), (3, 5.0), (1, 0.7), (8, 2.0)])
@pytest.mark.parametrize("shape", [(2, 3, 6, 24), (1, 1, 5, 7), (1, 1, 1, 1)])
def test_without_an_angle_motion_blur_is_a_one_sided_mean_along_the_row(
    radius: int, std: float, shape: tuple[int, ...]
) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for i, weight in enumerate(one_sided_weights(radius, std)):
        for j in range(shape[3]):
            expected[..., j] += weight * x[..., min(max(j + RIGHT * i, 0), shape[3] - 1)]
    perturbed = npf.perturbation(f"motion-blur:{radius},std={std},max_angle=0")(x, 0)
    torch.testing.assert_close(perturbed, expected, rtol=0, atol=1e-9)


def test_motion_blur_is_a_mean_along_a_line() -> None:
    radius, std, size = 3, 2.0, 31
    x = ramps(size, 4)
    perturbed = npf.perturbation(f"motion-blur:{radius},std={std}")(x, 2)
    length = sum(i * weight for i, weight in enumerate(one_sided_weights(radius, std)))
    for i, (rows, columns) in enumerate(shifts(f"motion-blur:{radius},std={std}", 4, size, seed=2).tolist()):
        assert math.hypot(rows, columns) == pytest.approx(length, rel=1e-5)
        step = rows / length, columns / length
        for channel in range(3):
            expected = smear(x[i, channel].numpy(), step, radius, std)
            torch.testing.assert_close(perturbed[i, channel], torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("key", "limit"), [("", 45), (",max_angle=10", 10)])
def test_angles_are_uniform_up_to_their_limit(key: str, limit: float) -> None:
    rows, columns = shifts(f"motion-blur:3,std=2{key}", 1500, 15).T
    angles = torch.rad2deg(torch.atan2(rows, RIGHT * columns)).numpy()
    assert float(np.abs(angles).max()) <= limit + 1e-3
    assert stats.kstest(angles, "uniform", (-limit, 2 * limit)).pvalue > 0.01
    assert len(np.unique(angles.round(6))) > 1490


@pytest.mark.parametrize("key", ["", ",max_angle=0", ",max_angle=90"])
def test_a_flat_image_stays_flat(key: str) -> None:
    x = torch.rand(5, 3, 1, 1).expand(-1, -1, 12, 15)
    torch.testing.assert_close(npf.perturbation(f"motion-blur:4,std=2{key}")(x, 0), x.contiguous(), rtol=0, atol=1e-6)


def test_the_weights_of_motion_blur_sum_to_one() -> None:
    x = torch.zeros(20, 1, 41, 41, dtype=torch.float64)
    x[:, :, 20, 20] = 1
    perturbed = npf.perturbation("motion-blur:4,std=3")(x, 0)
    torch.testing.assert_close(perturbed.sum((1, 2, 3)), torch.ones(20, dtype=torch.float64), rtol=0, atol=1e-6)
    assert len({tuple(image.flatten().tolist()) for image in perturbed}) == 20
    flat = npf.perturbation("motion-blur:4,std=3,max_angle=0")(x, 0)[0, 0, 20]
    assert sorted(flat[flat > 0].tolist(), reverse=True) == pytest.approx(one_sided_weights(4, 3), abs=1e-9)


def test_motion_blur_keeps_the_mean_and_treats_channels_alike() -> None:
    x = torch.rand(20, 1, 64, 64).expand(-1, 3, -1, -1)
    perturbed = npf.perturbation("motion-blur:6,std=2")(x, 0)
    torch.testing.assert_close(perturbed.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=0.01)
    assert torch.equal(perturbed[:, 0], perturbed[:, 1])
    assert torch.equal(perturbed[:, 0], perturbed[:, 2])


def test_motion_blur_is_linear() -> None:
    noise = npf.perturbation("motion-blur:3,std=2")
    x, y = torch.rand(2, 5, 1, 16, 16, dtype=torch.float64)
    mixed = noise(0.3 * x + 0.7 * y, 0)
    torch.testing.assert_close(mixed, 0.3 * noise(x, 0) + 0.7 * noise(y, 0), rtol=0, atol=1e-6)
