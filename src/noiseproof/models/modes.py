"""Training and evaluation mode, and the state in which a model is analysed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from noiseproof.precision import full_float32

__all__ = ["analysed", "evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no graph inside the block; every submodule's mode is put back after it."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def analysed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, gradients for inputs alone, full float32: no autocast, no TF32. All is put back after it."""
    wanted = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        with full_float32(), evaluating(module), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)
