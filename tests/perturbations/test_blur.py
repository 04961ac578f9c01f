"""Blurs against SciPy, and against loops along every direction that the rounding to pixels tells apart."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy import ndimage, stats

import noiseproof as npf
from tests.oracles.pictures import one_sided_weights, smear, trail

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


@pytest.mark.parametrize(("radius", "std"), [(6, 1.0), (3, 5.0), (1, 0.7), (8, 2.0)])
@pytest.mark.parametrize("shape", [(2, 3, 6, 24), (1, 1, 5, 7), (1, 1, 1, 1)])
def test_without_an_angle_motion_blur_is_a_one_sided_mean_along_the_row(
    radius: int, std: float, shape: tuple[int, ...]
) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for i, weight in enumerate(one_sided_weights(radius, std)):
        for j in range(shape[3]):
            expected[..., j] += weight * x[..., min(max(j + i, 0), shape[3] - 1)]
    perturbed = npf.perturbation(f"motion-blur:{radius},std={std},max_angle=0")(x, 0)
    torch.testing.assert_close(perturbed, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("radius", "std", "key", "limit"),
    [(2, 3.0, "", 45), (2, 1.0, ",max_angle=10", 10), (3, 2.0, ",max_angle=180", 180), (6, 2.0, "", 45)],
)
def test_motion_blur_is_a_mean_along_a_line_at_a_uniform_angle(
    radius: int, std: float, key: str, limit: float
) -> None:
    """Every image is one of the oracle's, and each of these occurs as often as its share of the angles says."""
    picture, images, steps = torch.rand(13, 15, dtype=torch.float64), 1500, 20000
    shares = Counter(trail((2 * (k + 0.5) / steps - 1) * limit, radius) for k in range(steps))
    weights = one_sided_weights(radius, std)
    possible = torch.stack([torch.from_numpy(smear(picture.numpy(), points, weights)) for points in shares])
    perturbed = npf.perturbation(f"motion-blur:{radius},std={std}{key}")(picture.expand(images, 1, -1, -1), 0)
    distances = torch.cdist(perturbed.flatten(1), possible.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.min(1)
    assert float(nearest.values.max()) < 1e-9

    seen, expected = [0.0], [0.0]
    found = torch.bincount(nearest.indices, minlength=len(shares)).tolist()
    for count, share in zip(found, shares.values(), strict=True):
        if expected[-1] >= 20:  # else pooled with its neighbours
            seen.append(0.0)
            expected.append(0.0)
        seen[-1] += count
        expected[-1] += share / steps * images
    assert len(seen) > 3
    assert stats.chisquare(seen, expected).pvalue > 0.001


@pytest.mark.parametrize("key", ["", ",max_angle=0", ",max_angle=90"])
def test_a_flat_image_stays_flat(key: str) -> None:
    x = torch.rand(5, 3, 1, 1).expand(-1, -1, 12, 15)
    torch.testing.assert_close(npf.perturbation(f"motion-blur:4,std=2{key}")(x, 0), x.contiguous(), rtol=0, atol=1e-6)


def test_the_weights_of_motion_blur_sum_to_one() -> None:
    x = torch.zeros(20, 1, 41, 41, dtype=torch.float64)
    x[:, :, 20, 20] = 1
    perturbed = npf.perturbation("motion-blur:4,std=3")(x, 0)
    torch.testing.assert_close(perturbed.sum((1, 2, 3)), torch.ones(20, dtype=torch.float64), rtol=0, atol=1e-6)
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
