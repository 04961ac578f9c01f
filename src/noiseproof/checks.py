"""Checks of arguments, each answering with a one-line error that names the argument, its value and what is allowed.

Checks of *values* (not shapes) need the numbers on the host. They are made on CPU tensors only, since on an
accelerator they would stall it at every step; `evaluate` and `train` check all data on the CPU as it is loaded.
"""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor

from noiseproof.errors import InvalidArgumentError, UnknownNameError

__all__ = [
    "check_choice",
    "check_device",
    "check_labels",
    "check_matrix",
    "check_range",
    "check_unit_interval",
    "check_whole",
]

_ROUNDING = 1e-6


def check_range(
    name: str, value: float, low: float = -math.inf, high: float = math.inf, *, open_low: bool = False,
    open_high: bool = False,
) -> float:  # fmt: skip
    """Return ``value`` where it is finite and lies between ``low`` and ``high``."""
    if not isinstance(value, numbers.Real):
        raise InvalidArgumentError(f"{name} must be a number, got {value!r}")
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if above and below and math.isfinite(value):
        return value
    bounds = []
    if low > -math.inf:
        bounds.append(f"{'>' if open_low else '>='} {low:g}")
    if high < math.inf:
        bounds.append(f"{'<' if open_high else '<='} {high:g}")
    raise InvalidArgumentError(f"{name} must be {' and '.join(bounds) or 'finite'}, got {value!r}")


def check_whole(name: str, value: float, low: int) -> int:
    """Return ``value`` as an integer where it is a whole number and at least ``low``."""
    check_range(name, value, low)
    if value != int(value):
        raise InvalidArgumentError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` where it is one of ``choices``."""
    if value not in choices:
        raise UnknownNameError(name, value, choices)
    return value


def check_device(device: torch.device | str | None) -> torch.device | None:
    """Return ``device`` where torch knows it and it is there; None for None."""
    if device is None:
        return None
    try:
        known = torch.device(device)
        torch.empty(0, device=known)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidArgumentError(f"device {str(device)!r} is not there: {str(error).splitlines()[0]}") from error
    if known.type == "meta":
        raise InvalidArgumentError("device 'meta' holds no numbers")
    return known


def check_matrix(name: str, value: Tensor, width: int | None = None, what: str = "embedding_dim") -> None:
    """Raise unless ``value`` is a floating (N, ``width``) matrix with N > 0."""
    if value.ndim != 2:
        raise InvalidArgumentError(f"{name} must have shape (N, {what}), got {tuple(value.shape)}")
    if not value.is_floating_point():
        raise InvalidArgumentError(f"{name} must be of a floating type, got {value.dtype}")
    if value.shape[0] == 0:
        raise InvalidArgumentError(f"{name} is an empty batch: at least one sample is needed")
    if width is not None and value.shape[1] != width:
        raise InvalidArgumentError(f"{name} has width {value.shape[1]}, but {what} is {width}")


def check_labels(name: str, labels: Tensor, num_classes: int, num_samples: int | None = None) -> None:
    """Raise unless ``labels`` is a vector of integers in [0, num_classes), one per sample.

    Whether they lie in that range is checked on the CPU only (see the module's docstring).
    """
    if labels.ndim != 1:
        raise InvalidArgumentError(
            f"{name} must have shape (N,) of class indices, got {tuple(labels.shape)}"
            + ("; turn one-hot rows into indices with .argmax(1)" if labels.ndim == 2 else "")
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InvalidArgumentError(f"{name} must be integers (torch.long), got {labels.dtype}")
    if num_samples is not None and labels.shape[0] != num_samples:
        raise InvalidArgumentError(f"{name} has {labels.shape[0]} entries for {num_samples} samples")
    if labels.device.type != "cpu" or labels.numel() == 0 or torch.compiler.is_compiling():
        return
    low, high = (int(bound) for bound in torch.aminmax(labels))
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise InvalidArgumentError(f"{name} must lie in [0, {num_classes}), got {wrong}")


def check_unit_interval(name: str, images: Tensor) -> None:
    """Raise unless every pixel lies in [0, 1] (within 1e-6 for rounding); NaN does not. CPU tensors only."""
    if not images.is_floating_point():
        raise InvalidArgumentError(f"{name} must be floating with values in [0, 1], got {images.dtype}; divide by 255")
    if images.device.type != "cpu" or images.numel() == 0 or torch.compiler.is_compiling():
        return
    low, high = (float(bound) for bound in torch.aminmax(images.detach()))
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        hint = "; divide by 255" if 1 < high <= 255 and low >= 0 else ""
        raise InvalidArgumentError(f"{name} must have values in [0, 1], got values from {low:g} to {high:g}{hint}")
