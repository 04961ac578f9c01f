"""Noise drawn value by value or pixel by pixel: its distribution, and what it spares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import noiseproof as npf

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
each_device = pytest.mark.parametrize("device", DEVICES)


def assert_mean(values: Tensor, expected: float, std: float) -> None:
    """The mean of independent values of this standard deviation lies within 5 standard errors of what is expected."""
    assert abs(float(values.double().mean()) - expected) < 5 * std / math.sqrt(values.numel()) + 1e-12


def assert_share(hits: Tensor, expected: float) -> None:
    assert_mean(hits, expected, math.sqrt(expected * (1 - expected)))


# Laplace


@each_device
@pytest.mark.parametrize("std", [8 / 255, 0.5, 3.0])
@pytest.mark.parametrize("shape", [(1000, 200), (10, 40, 500), (50, 2, 40, 50), (1, 1, 400, 500)])
def test_laplace_noise_has_the_moments_of_its_std(std: float, shape: tuple[int, ...], device: str) -> None:
    x = torch.full(shape, 0.25, device=device, dtype=torch.float64)
    noise = (npf.perturbation(f"laplace:{std},clamp=no")(x, 0) - x).cpu() / std
    scale = 1 / math.sqrt(2)
    assert_mean(noise, 0, 1)
    assert_mean(noise.abs(), scale, scale)
    assert_mean(noise**2, 1, math.sqrt(5))  # E ε⁴ = 24 b⁴ = 6
    assert_mean(noise**3, 0, math.sqrt(90))  # E ε⁶ = 720 b⁶ = 90


@each_device
def test_laplace_noise_is_laplace_distributed(device: str) -> None:
    noise = npf.perturbation("laplace:0.25")(torch.zeros(100, 200, device=device), 0).cpu().flatten()
    assert stats.kstest(noise.numpy(), stats.laplace(scale=0.25 / math.sqrt(2)).cdf).pvalue > 0.01
    assert bool(noise.isfinite().all())


def test_laplace_noise_is_finite_in_half_precision() -> None:
    noise = npf.perturbation("laplace:0.25")(torch.zeros(500, 1000, dtype=torch.float16), 0)
    assert bool(noise.isfinite().all())
    assert float(noise.float().std()) == pytest.approx(0.25, rel=0.02)


# Speckle


@each_device
@pytest.mark.parametrize("std", [0.1, 0.6])
@pytest.mark.parametrize("shape", [(1000, 200), (10, 40, 500), (1, 1, 400, 500)])
def test_speckle_noise_is_normal_and_proportional(std: float, shape: tuple[int, ...], device: str) -> None:
    x = (0.1 + 0.9 * torch.rand(shape, dtype=torch.float64)).to(device)
    noise = ((npf.perturbation(f"speckle:{std},clamp=no")(x, 0) - x) / x / std).cpu().flatten()
    assert_mean(noise, 0, 1)
    assert_mean(noise**2, 1, math.sqrt(2))
    assert_mean(noise**3, 0, math.sqrt(15))
    assert stats.kstest(noise[:20000].numpy(), "norm").pvalue > 0.01
    assert abs(float(torch.corrcoef(torch.stack([noise.abs(), x.cpu().flatten()]))[0, 1])) < 5 / math.sqrt(len(noise))


def test_speckle_noise_spares_what_is_black_and_scales_what_is_negative() -> None:
    x = torch.tensor([0.0, -2.0, 2.0]).repeat(1000, 1)
    perturbed = npf.perturbation("speckle:0.3")(x, 0)
    assert bool((perturbed[:, 0] == 0).all())
    assert float(perturbed[:, 1].std()) == pytest.approx(0.6, rel=0.12)
    assert float(perturbed[:, 1].mean()) == pytest.approx(-2, abs=0.1)


# Every value on its own


@pytest.mark.parametrize("spec", ["laplace:1", "speckle:0.5", "shot:100", "impulse:0.4"])
def test_every_value_has_noise_of_its_own(spec: str) -> None:
    x = torch.full((1000, 2, 5, 5), 0.5)
    noise = (npf.perturbation(f"{spec},clamp=no")(x, 0) - x).flatten(1)
    assert float(torch.corrcoef(noise.T).fill_diagonal_(0).abs().max()) < 5 / math.sqrt(1000)


# Shot


@each_device
@pytest.mark.parametrize("photons", [0.5, 3, 60, 500])
@pytest.mark.parametrize("level", [0.1, 0.8])
@pytest.mark.parametrize("shape", [(20, 1, 100, 100), (1, 2, 400, 250)])
def test_shot_noise_has_the_moments_of_poisson_counts(
    photons: float, level: float, shape: tuple[int, ...], device: str
) -> None:
    x = torch.full(shape, level, dtype=torch.float64, device=device)
    counts = npf.perturbation(f"shot:{photons},clamp=no")(x, 0).cpu() * photons
    rate = level * photons
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-9)
    around = counts - rate
    fourth, sixth = rate + 3 * rate**2, rate + 25 * rate**2 + 15 * rate**3
    assert_mean(around, 0, math.sqrt(rate))
    assert_mean(around**2, rate, math.sqrt(fourth - rate**2))
    assert_mean(around**3, rate, math.sqrt(sixth - rate**2))


def test_shot_noise_is_poisson_distributed_pixel_by_pixel() -> None:
    x = torch.tensor([0.2, 1.0]).view(1, 1, 1, 2).repeat(20000, 1, 1, 1)
    counts = (npf.perturbation("shot:10,clamp=no")(x, 0) * 10).round().long()
    for pixel, rate in enumerate((2, 10)):
        law = stats.poisson(rate)
        low, high = int(law.ppf(0.001)), int(law.ppf(0.999))  # what lies beyond counts as these
        seen = torch.bincount(counts[..., pixel].flatten().clamp(low, high)).numpy()[low:]
        expected = 20000 * np.diff([0, *law.cdf(np.arange(low, high)), 1])
        assert stats.chisquare(seen, expected).pvalue > 0.001


def test_shot_noise_leaves_black_black() -> None:
    x = torch.rand(4, 3, 8, 8).round()
    assert bool((npf.perturbation("shot:5")(x, 0)[x == 0] == 0).all())


# Salt and pepper


@each_device
@pytest.mark.parametrize("amount", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(50, 3, 30, 40), (1, 3, 300, 200), (10, 1, 60, 100)])
def test_salt_and_pepper_replaces_its_share_of_whole_pixels(
    amount: float, shape: tuple[int, ...], device: str
) -> None:
    x = 0.1 + 0.8 * torch.rand(shape, device=device)
    perturbed = npf.perturbation(f"salt-and-pepper:{amount}")(x, 0)
    changed = perturbed != x
    assert torch.equal(changed.any(1), changed.all(1))
    replaced = perturbed.movedim(1, -1)[changed.any(1)]
    assert set(replaced.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(replaced.amin(1), replaced.amax(1))  # all channels of a pixel become the same
    assert_share(changed.any(1).cpu(), amount)
    assert_share(replaced[:, 0].cpu(), 0.5)


def test_salt_and_pepper_draws_each_pixel_on_its_own() -> None:
    x = torch.full((4000, 1, 5, 5), 0.5)
    values = npf.perturbation("salt-and-pepper:0.4")(x, 0).flatten(1) - 0.5
    for drawn in (values, values.abs()):
        assert float(torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max()) < 5 / math.sqrt(4000)


# Impulse


@each_device
@pytest.mark.parametrize("amount", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(50, 3, 30, 40), (1, 3, 300, 200)])
def test_impulse_noise_replaces_its_share_of_values_channel_by_channel(
    amount: float, shape: tuple[int, ...], device: str
) -> None:
    x = 0.1 + 0.8 * torch.rand(shape, device=device)
    perturbed = npf.perturbation(f"impulse:{amount}")(x, 0)
    changed = (perturbed != x).cpu()
    replaced = perturbed.cpu()[changed]
    assert set(replaced.unique().tolist()) == {0.0, 1.0}
    assert_share(changed, amount)
    assert_share(changed.all(1), amount**3)
    assert_share(changed.any(1), 1 - (1 - amount) ** 3)
    assert_share(replaced, 0.5)
    if amount == 1.0:
        assert_share(perturbed.cpu().amin(1) == perturbed.cpu().amax(1), 0.25)


@pytest.mark.parametrize("name", ["salt-and-pepper", "impulse"])
def test_replacing_nothing_changes_nothing(name: str) -> None:
    x = torch.rand(20, 3, 30, 30)
    assert torch.equal(npf.perturbation(f"{name}:0")(x, 0), x)
