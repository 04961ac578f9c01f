"""Networks made for three colours, given another number of channels."""

from __future__ import annotations

import copy

from torch import nn

from noiseproof.errors import InvalidArgumentError

__all__ = ["adapt_channels"]


def adapt_channels(network: nn.Module, in_channels: int) -> nn.Module:
    """Put a convolution for ``in_channels`` channels in place of the network's first one, for 3.

    Each channel gets the sum of the three colours' weights, divided by ``in_channels``: what the network sees of a
    grey picture is what it saw of the same picture in three equal colours, so trained weights keep their use.

    Raises:
        InvalidArgumentError: the network has no convolution of 3 channels.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            adapted = copy.deepcopy(module)
            adapted.in_channels = in_channels
            adapted.weight = nn.Parameter(
                module.weight.detach().sum(1, keepdim=True).div(in_channels).repeat(1, in_channels, 1, 1)
            )
            network.set_submodule(name, adapted)
            return network
    raise InvalidArgumentError(f"{type(network).__name__} has no first convolution of 3 channels to adapt")
