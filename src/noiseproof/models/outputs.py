"""Models that answer with an object which holds the logits, as Hugging Face's do, made to answer with the logits."""

from __future__ import annotations

from typing import Protocol, TypeGuard

from torch import Tensor, nn

__all__ = ["HoldsLogits", "PlainLogits", "holds_logits"]


class HoldsLogits(Protocol):
    """An output with ``logits`` among other things."""

    logits: Tensor


def holds_logits(output: object) -> TypeGuard[HoldsLogits]:
    """Whether ``output`` is no tensor, but has one named ``logits``."""
    return not isinstance(output, Tensor) and isinstance(getattr(output, "logits", None), Tensor)


class PlainLogits(nn.Module):
    """Inputs (N, ...) to the ``logits`` of what ``module`` answers.

    Args:
        module: a model whose output has an attribute ``logits``, such as ``transformers``' image classifiers.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.training = module.training

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.module(x).logits
        return logits
