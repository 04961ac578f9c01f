"""Accelerate as the engine: devices, mixed precision, processes."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.state import AcceleratorState

__all__ = ["make_accelerator"]

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(precision: str) -> Accelerator:
    """Return an accelerator for ``fp32``, ``bf16`` or ``fp16``.

    Accelerate keeps the precision in a process-wide state that refuses to change; since runs of different precision
    may follow one another here, that part of the state is made anew.
    """
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=_MIXED_PRECISION[precision])
