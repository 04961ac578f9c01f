"""Accelerate as the engine: devices, mixed precision, processes."""

from __future__ import annotations

from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState

__all__ = ["is_main_process", "make_accelerator", "wait_for_everyone"]

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(precision: str) -> Accelerator:
    """Return an accelerator for ``fp32``, ``bf16`` or ``fp16``.

    Accelerate keeps the precision in a process-wide state that refuses to change; since runs of different precision
    may follow one another here, that part of the state is made anew.
    """
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=_MIXED_PRECISION[precision])


def is_main_process() -> bool:
    """Whether this is the one process that writes; true where there is only one."""
    return bool(PartialState().is_main_process)


def wait_for_everyone() -> None:
    """Wait until every process is here."""
    PartialState().wait_for_everyone()
