"""The value of a buffer before a step overwrites it, in compiled graphs too."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["value_before"]


def value_before(buffer: Tensor) -> Tensor:
    """Return ``buffer`` for use in a forward pass that writes to it at its end.

    Eager mode has computed by then what the backward pass needs. A compiled graph may compute it again in the backward
    pass, from the buffer as it is then: with torch 2.15 gradients were silently wrong. An operator that the compiler
    does not know keeps it from that.
    """
    return _snapshot(buffer) if torch.compiler.is_compiling() else buffer


@torch.library.custom_op("noiseproof::snapshot", mutates_args=())
def _snapshot(buffer: Tensor) -> Tensor:
    return buffer.clone()


@_snapshot.register_fake
def _(buffer: Tensor) -> Tensor:
    return torch.empty_like(buffer)
