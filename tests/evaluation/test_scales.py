"""Vectors and series have no fixed range: what is of another size than a model or its noise was made for is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import noiseproof as npf
from noiseproof.evaluation.scales import (
    channel_deviations,
    foreign_inputs,
    normalisation_of,
    outsized_noise,
    unlike_scales,
)
from noiseproof.models import Normalize


@pytest.mark.parametrize(
    ("noises", "std", "told"),
    [
        (["clean", "gaussian:0.5"], [1.0, 2.0], None),
        (["clean"], [1e-6], None),
        (["gaussian:0"], [1.0], None),
        (["gaussian:0.1", "gaussian:2"], [1000.0], "gaussian:std=2.0, the strongest noise here, is next to nothing"),
        (["gaussian:0.1", "uniform:2"], [0.001], "uniform:amplitude=2.0 leaves nothing of inputs that"),
        (["gaussian-varying:30"], [1.0, 2.0], "(std 1 to 2)"),
        (["missing:0.3+offset:0.001"], [1.0], "offset:std=0.001, the strongest"),
        (["pgd:8/255", "jpeg:10", "speckle:99", "dead-channels"], [1.0], None),
    ],
)  # fmt: skip
def test_noise_beside_what_inputs_vary_by(noises: list[str], std: list[float], told: str | None) -> None:
    found = outsized_noise(noises, std)
    assert (found is None) == (told is None)
    assert (told or "") in (found or "")


def test_channels_of_unlike_scale() -> None:
    assert unlike_scales([1.0, 50.0]) is None
    assert "with stds from 0.01 to 50" in (unlike_scales([0.01, 50.0]) or "")


def test_deviations_are_mean_squares_in_stds_of_the_training() -> None:
    layer = Normalize([1.0, -2.0], [0.5, 4.0])
    x = torch.tensor([1.0, -2.0]).view(1, 2, 1) + torch.tensor([0.5, 4.0]).view(1, 2, 1) * torch.randn(200, 2, 50)
    torch.testing.assert_close(
        channel_deviations(layer, x), torch.ones(2, dtype=torch.float64), atol=0.1, rtol=0, check_dtype=False
    )
    assert channel_deviations(layer, x[:, :, 0]).shape == (2,)


@pytest.mark.parametrize(
    ("factor", "shift", "samples", "told"),
    [
        (1.0, 0.0, 100, ""),
        (4.0, 3.0, 100, ""),
        (1.0, 1e5, 100, "on average they lie 1e+05 stds (1) from what its first layer subtracts (number 2"),
        (1000.0, 0.0, 1, "stds (1) from what its first layer subtracts"),
        (1.0, 14.0, 1, ""),  # one may lie far off, as a feature that is hardly ever 1 does where it is
        (1.0, 14.0, 20, "stds (1) from"),
        (0.001, 0.0, 100, "vary by less than a hundredth"),
        (0.02, 0.0, 100, ""),  # such as normal samples, where the training had events too
        (0.001, 0.0, 3, ""),  # few may be close to the mean by chance
    ],
)
def test_inputs_beside_those_of_the_training(factor: float, shift: float, samples: int, told: str) -> None:
    layer = Normalize([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    x = factor * torch.randn(samples, 3, generator=torch.Generator().manual_seed(0))
    x[:, 2] += shift
    found = foreign_inputs(layer, channel_deviations(layer, x), samples)
    assert (found is not None) is bool(told)
    assert told in (found or "")


def test_only_a_layer_that_keeps_them_knows_mean_and_std() -> None:
    assert normalisation_of(nn.Linear(2, 2)) is None
    assert normalisation_of(npf.build_model("mlp", 2, 4, in_channels=3)) is None
    model = npf.build_model("mlp", 2, 4, in_channels=3, mean=[0, 1, 2], std=[1, 1, 1])
    assert normalisation_of(model) is model.normalize
