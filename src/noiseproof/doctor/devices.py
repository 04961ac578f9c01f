"""What torch can compute on."""

from __future__ import annotations

import os
from collections.abc import Iterator

from noiseproof.doctor.findings import Finding, absent, broken, fine

__all__ = ["devices"]

_GIB = 2**30
_TOLERANCE = 1e-2  # of a product that may be computed in TF32


def devices() -> Iterator[Finding]:
    """Look at the CPU, at CUDA and MPS devices, and at what training would choose."""
    import torch

    from noiseproof.training.engine import device_name, native_precision

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield fine("devices", "cpu", f"{cores} cores for this process, {torch.get_num_threads()} torch threads")
    yield from _cuda()
    if torch.backends.mps.is_available():
        yield _computes("mps", "Apple GPU, memory shared with the CPU")
    precision = native_precision()
    told = "bf16 in hardware" if precision == "bf16" else "no bf16 in hardware"
    yield fine("devices", "training", f"on {device_name()}; {told}, so train.precision=auto is {precision}")


def _cuda() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            yield absent("devices", "cuda", "this torch is built without CUDA")
        else:
            yield absent(
                "devices", "cuda", f"torch is built for CUDA {torch.version.cuda}, but finds no GPU",
                "if there is one, look at nvidia-smi and at CUDA_VISIBLE_DEVICES",
            )  # fmt: skip
        return
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        major, minor = torch.cuda.get_device_capability(number)
        name = torch.cuda.get_device_name(number)
        yield _computes(
            f"cuda:{number}",
            f"{name}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free, compute capability {major}.{minor}",
        )


def _computes(device: str, told: str) -> Finding:
    """Multiply two matrices there, and compare with the CPU."""
    import torch

    a = torch.linspace(-1, 1, 64 * 64).reshape(64, 64)
    try:
        there = (a.to(device) @ a.to(device).T).cpu()
    except RuntimeError as error:
        fix = "install a torch that fits the driver, or train on the CPU with ACCELERATE_USE_CPU=true"
        return broken("devices", device, f"{told}; does not compute: {str(error).splitlines()[0]}", fix)
    here = a @ a.T
    if not torch.allclose(there, here, rtol=_TOLERANCE, atol=_TOLERANCE * float(here.abs().max())):
        return broken("devices", device, f"{told}; computes wrong", "train on the CPU with ACCELERATE_USE_CPU=true")
    return fine("devices", device, told)
