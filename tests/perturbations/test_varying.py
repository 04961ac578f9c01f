"""Noise of a strength of each sample's own: the distribution of the strengths, and of the noise given its strength."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
each_device = pytest.mark.parametrize("device", DEVICES)
SAMPLES, VALUES = 2000, 4000


def strengths(spec: str, device: str = "cpu") -> np.ndarray:
    """The standard deviation that each sample's noise turns out to have."""
    noise = npf.perturbation(spec)(torch.zeros(SAMPLES, VALUES, device=device), 0)
    return noise.double().cpu().std(dim=1).numpy()


@each_device
def test_uniform_strengths_are_uniform_up_to_the_highest(device: str) -> None:
    found = strengths("gaussian-varying:0.2", device)
    assert stats.kstest(found, "uniform", (0, 0.2)).pvalue > 0.01


@each_device
def test_half_normal_strengths_are_a_half_normal_distribution_that_is_cut_off(device: str) -> None:
    found = strengths("gaussian-varying:0.2,levels=half-normal", device)
    expected = stats.truncnorm(0, 2, scale=0.1)  # |Z| below 2 is Z above 0 and below 2
    assert stats.kstest(found, expected.cdf).pvalue > 0.01
    assert found.max() < 0.2 * 1.05


def test_the_noise_of_a_sample_is_normal_given_its_strength() -> None:
    noise = npf.perturbation("gaussian-varying:0.2")(torch.zeros(20, 20_000), 0).double()
    scaled = (noise / noise.std(dim=1, keepdim=True)).numpy()
    assert min(stats.kstest(row, "norm").pvalue for row in scaled) > 1e-4


def test_the_channels_of_an_image_share_its_strength() -> None:
    noise = npf.perturbation("gaussian-varying:0.5,clamp=no")(torch.zeros(50, 3, 60, 60), 0)
    by_channel = noise.std(dim=(2, 3))
    assert float((by_channel.amax(dim=1) / by_channel.amin(dim=1)).max()) < 1.15


def test_a_drawn_strength_is_no_level() -> None:
    assert npf.perturbation("gaussian-varying:0.2").level is None


def test_the_text_of_it() -> None:
    noise = npf.perturbation("gaussian-varying:51/255,levels=half-normal")
    assert noise.spec == "gaussian-varying:highest=0.2,levels=half-normal"
    assert npf.perturbation(noise.spec) == noise


@pytest.mark.parametrize("spec", ["gaussian-varying:-0.1", "gaussian-varying:0.1,levels=normal"])
def test_wrong_values_are_told(spec: str) -> None:
    with pytest.raises(InvalidArgumentError, match="gaussian-varying"):
        npf.perturbation(spec)
