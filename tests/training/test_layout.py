"""How pictures lie in memory during training, and that no network crashes for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import noiseproof as npf
from noiseproof.models import build_model
from noiseproof.training.layout import layout_for

CPU = torch.device("cpu")


@pytest.mark.parametrize("width", [1, 2, 4, 7, 8, 16])
def test_a_residual_network_of_any_width_is_trained(width: int, tmp_path: Path) -> None:
    """Narrow ones ended the process by a signal on CPUs without AVX-512."""
    tiny = {"model.name": "resnet8-cifar", "model.options": {"width": width}, "train.max_steps": 2, "train.epochs": 1}
    run = npf.train("digits", "normal", 0, {**tiny, "train.batch_size": 16}, tmp_path / "run")
    assert run.metrics()[-1]["loss"] > 0


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_narrow_strided_convolutions_of_one_pixel_lie_contiguous_on_the_cpu(channels: int) -> None:
    narrow = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 8, 1, stride=2))
    assert layout_for(narrow, CPU) == torch.contiguous_format
    assert layout_for(narrow, torch.device("cuda")) == torch.channels_last


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 8, 1, stride=2), nn.Conv2d(8, 8, 1, stride=2), nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 3, stride=2),
        nn.Conv2d(4, 4, 1, stride=2, groups=4), nn.Linear(4, 4),
    ],
)  # fmt: skip
def test_all_else_lies_channels_last(layer: nn.Module) -> None:
    assert layout_for(layer, CPU) == torch.channels_last


@pytest.mark.parametrize("name", ["resnet8-cifar", "resnet18-cifar"])
def test_the_networks_of_the_recipes_lie_channels_last(name: str) -> None:
    assert layout_for(build_model(name, num_classes=10), CPU) == torch.channels_last
