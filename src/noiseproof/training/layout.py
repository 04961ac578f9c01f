"""How the numbers of pictures lie in memory during training."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["layout_for"]


def layout_for(module: nn.Module, device: torch.device) -> torch.memory_format:
    """Return channels-last, which was faster on the CPUs tried, or contiguous where that would crash.

    On CPUs without AVX-512 torch 2.15 writes past its memory in the backward pass of channels-last convolutions of 1×1
    with stride 2 over two to seven channels: the process ends by a signal, or goes on with damaged memory.
    """
    if device.type == "cpu" and any(_crashes(layer) for layer in module.modules()):
        return torch.contiguous_format
    return torch.channels_last


def _crashes(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and 1 < layer.in_channels // layer.groups < 8
    )
