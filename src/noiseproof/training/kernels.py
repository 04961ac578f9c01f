"""Which kernels a device computes with: the fastest, or those that give the same bits every time; what they refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from noiseproof.errors import InvalidArgumentError

__all__ = ["kernels"]


@contextmanager
def kernels(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Choose kernels inside the block; torch's settings are put back after it.

    On CUDA, cuDNN tries its convolutions out on the first batch of each shape and takes the fastest, unless
    ``deterministic``: then nothing is tried out, and an operator that adds in an order of its own is an error. CPUs
    give the same bits either way, with the same number of threads.

    Raises:
        InvalidArgumentError: ``deterministic``, and an operator inside has no deterministic kernel; or what is
            compiled inside could not be. Both say why.
    """
    cudnn, memory = torch.backends.cudnn, cast("Any", torch.utils.deterministic)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    tried_out, exact = cudnn.benchmark, cudnn.deterministic
    fill = memory.fill_uninitialized_memory
    if deterministic:
        # cuBLAS asks for it, and reads it at its first product
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # it is for finding faults, and takes time
    if device.type == "cuda":
        cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
    try:
        yield
    except RuntimeError as error:
        refused = _refusal(error, device, deterministic=deterministic)
        if refused is None:
            raise
        raise InvalidArgumentError(refused) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = fill
        cudnn.benchmark, cudnn.deterministic = tried_out, exact


def _refusal(error: RuntimeError, device: torch.device, *, deterministic: bool) -> str | None:
    """What to tell users of an error that comes from a setting of theirs; None for any other."""
    told = str(error).strip()
    if deterministic and "does not have a deterministic implementation" in told:
        operator = told.split(" does not have")[0]
        return (
            f"train.deterministic: {operator} has no deterministic kernel on {device.type}; train without it, on a "
            "CPU, or with another network"
        )
    if any(kind.__name__ == "TorchDynamoException" for kind in type(error).__mro__):  # the module is slow to import
        return f"train.compile: {told.splitlines()[0]}; train without it"
    return None
