"""Training and evaluation mode, and the state in which a model is analysed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

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
    backends: Any = torch.backends
    places = (
        backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.conv,
        backends.mkldnn.rnn,
    )  # fmt: skip
    precisions = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        with evaluating(module), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)
        for place, precision in zip(places, precisions, strict=True):
            place.fp32_precision = precision
