"""Networks for three colours on grey and on many-channel pictures."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError
from noiseproof.models.channels import adapt_channels


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_32"])
@pytest.mark.parametrize("in_channels", [1, 4])
def test_equal_channels_are_seen_as_a_grey_picture_was(name: str, in_channels: int) -> None:
    colour = torchvision.models.get_model(name, num_classes=4).eval()
    adapted = adapt_channels(copy.deepcopy(colour), in_channels)
    grey = torch.rand(2, 1, 224, 224)
    torch.testing.assert_close(adapted(grey.expand(-1, in_channels, -1, -1)), colour(grey.expand(-1, 3, -1, -1)))


def test_torchvision_models_are_built_for_grey_pictures() -> None:
    model = npf.build_model("torchvision/mobilenet_v3_small", 5, embedding_dim=16, in_channels=1).eval()
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 5)
    sum(p.sum() for p in model.parameters()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_network_without_such_a_convolution_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no first convolution of 3 channels"):
        adapt_channels(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), 1)
