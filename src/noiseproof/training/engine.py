"""Accelerate as the engine: devices, mixed precision, compilation, processes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import TorchDynamoPlugin, parse_flag_from_env

__all__ = [
    "accelerate_as_it_was",
    "any_process",
    "device_name",
    "is_main_process",
    "make_accelerator",
    "native_device",
    "native_precision",
    "wait_for_everyone",
]

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(
    precision: str, device: torch.device | str | None = None, compile_mode: str | None = None
) -> Accelerator:
    """Return an accelerator for ``fp32``, ``bf16`` or ``fp16``, on ``device`` or, if that is None, on its own choice.

    What it prepares is compiled in one of the modes of ``torch.compile``, or not, if ``compile_mode`` is None. Shapes
    are compiled as they come, not as variables: an epoch has two, its batches and its last one.

    Accelerate keeps precision and device in a process-wide state that refuses to change; since runs that differ in
    them may follow one another here, that part of the state is made anew. And where it compiles, it lets float32
    products be rounded to TF32 on CUDA from then on, in everything that follows: that is taken back.
    """
    _processes()
    AcceleratorState._reset_state()
    products: Any = torch.backends.cuda.matmul
    before = products.fp32_precision
    accelerator = Accelerator(
        mixed_precision=_MIXED_PRECISION[precision],
        cpu=_on_cpu(),
        dynamo_plugin=TorchDynamoPlugin(
            backend="no" if compile_mode is None else "inductor",
            mode=compile_mode,
            dynamic=False,
            fullgraph=False,
            use_regional_compilation=False,
        ),  # all of it, or the environment would have a say
    )
    if products.fp32_precision != before:
        products.allow_tf32 = before == "tf32"  # as Accelerate set it; torch does not like two ways to be mixed
    if device is not None:
        accelerator.state.device = torch.device(device)
    return accelerator


@contextmanager
def accelerate_as_it_was() -> Iterator[None]:
    """Put the state that Accelerate shares between all accelerators of the process back after the block.

    So one that somebody else made before keeps its device and its precision.
    """
    before = dict(AcceleratorState._shared_state)
    try:
        yield
    finally:
        AcceleratorState._reset_state()
        AcceleratorState._shared_state.update(before)


def native_precision() -> str:
    """Return ``bf16`` where the device multiplies it in hardware, else ``fp32``.

    That is on CUDA GPUs of compute capability 8.0 and more, and on CPUs with AVX512-BF16, AMX or Arm's BF16, by what
    torch says of them. On CPUs without, bf16 is emulated, and slower than fp32 by far.
    """
    if not _on_cpu():
        fast = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
        return "bf16" if fast else "fp32"
    known = getattr(torch.cpu, "get_capabilities", _capabilities_of_older_torch)()
    return "bf16" if any(there and name.endswith("bf16") for name, there in known.items()) else "fp32"


def native_device() -> torch.device:
    """Return where a run is measured, if nobody says where: on the CUDA GPU that it is trained on, else on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and not _on_cpu() else "cpu")


def device_name() -> str:
    """Return what training runs on, for people: the GPU's name, or the processor's."""
    if native_device().type == "cuda":
        return str(torch.cuda.get_device_name())
    name = getattr(torch.cpu, "get_capabilities", _capabilities_of_older_torch)().get("cpu_name")
    return f"{name}, {platform.machine()}" if name else f"{platform.machine()} CPU"


def _capabilities_of_older_torch() -> dict[str, bool]:
    avx, amx = torch.cpu._is_avx512_bf16_supported(), torch.cpu._is_amx_tile_supported()
    return {"avx512_bf16": bool(avx), "amx_bf16": bool(amx)}


def is_main_process() -> bool:
    """Whether this is the one process that writes; true where there is only one."""
    return bool(_processes().is_main_process)


def wait_for_everyone() -> None:
    """Wait until every process is here."""
    _processes().wait_for_everyone()


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is set in any process."""
    state = _processes()
    if state.num_processes == 1:
        return flag
    flags = torch.tensor(int(flag), device=state.device)
    torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
    return bool(flags)


def _processes() -> PartialState:
    """The processes that ``accelerate launch`` or ``torchrun`` started; on a CPU Accelerate has to be told of them."""
    return PartialState(cpu=_on_cpu())


def _on_cpu() -> bool:
    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()
