"""What any classifier must answer, checked in one place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.models.outputs import holds_logits

__all__ = ["check_known_labels", "logits_of"]


def logits_of(model: Callable[[Tensor], Tensor], inputs: Tensor, *, least_classes: int = 1) -> Tensor:
    """Return the logits (N, C) of ``inputs`` (N, ...).

    Raises:
        InvalidArgumentError: the model does not take such inputs, or gives something else than (N, C) finite logits
            with C ≥ ``least_classes``.
    """
    try:
        logits = model(inputs)
    except torch.OutOfMemoryError:
        raise  # no fault of the model's or of the inputs' shape
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InvalidArgumentError(f"the model cannot take inputs of shape {tuple(inputs.shape)}: {reason}") from error
    rows = isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == len(inputs)
    if not rows or logits.shape[1] < least_classes:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        remedy = f"; C must be >= {least_classes}" if rows else ""
        if holds_logits(logits):
            remedy = "; FeatureClassifier.from_module(model) makes one that gives its .logits"
        raise InvalidArgumentError(f"the model must give (N, C) logits, got {got} for {len(inputs)} inputs{remedy}")
    if not bool(logits.isfinite().all()):
        raise InvalidArgumentError("the model gave logits that are NaN or infinite")
    return logits


def check_known_labels(labels: Tensor, num_classes: int) -> None:
    """Raise a :class:`DataError` where a label is outside the classes that the model knows."""
    low, high = (int(bound) for bound in torch.aminmax(labels))
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise DataError(f"the data has the label {wrong}, but the model knows the classes 0 to {num_classes - 1}")
