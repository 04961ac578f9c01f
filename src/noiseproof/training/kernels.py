"""Which kernels a device computes with: the fastest, or those that give the same bits every time; what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch

from noiseproof.errors import InvalidArgumentError

__all__ = ["kernels"]


@contextmanager
def kernels(device: torch.device, *, deterministic: bool, compiled: bool = False) -> Iterator[None]:
    """Choose kernels inside the block, for the whole process; torch's settings are put back after it.

    On CUDA, cuDNN tries its convolutions out on the first batch of each shape and takes the fastest, unless
    ``deterministic``: then nothing is tried out, nor by the compiler of what is ``compiled``, and an operator that
    adds in an order of its own is an error. CPUs give the same bits either way, with the same number of threads.

    Raises:
        InvalidArgumentError: ``deterministic``, and an operator inside has no deterministic kernel; or what is
            compiled inside could not be. Both say why.
    """
    cudnn, memory = torch.backends.cudnn, cast("Any", torch.utils.deterministic)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    tried_out, exact = cudnn.benchmark, cudnn.deterministic
    fill = memory.fill_uninitialized_memory
    if deterministic:
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # it is for finding faults, and takes time
    if device.type == "cuda":
        cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
    try:
        with _compiler_as_told() if deterministic and compiled else nullcontext():
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


@contextmanager
def _compiler_as_told() -> Iterator[None]:
    """Inside the block torch's compiler chooses kernels by rules alone, never by timing them.

    Its settings are those of a thread, so the backward pass is compiled here too, not in autograd's own thread later.
    """
    from torch._functorch import config as autograd  # slow to import
    from torch._inductor import config as inductor

    here = cast("Any", autograd).patch(force_non_lazy_backward_lowering=True)
    with here, cast("Any", inductor).patch(deterministic=True):
        yield


def _refusal(error: RuntimeError, device: torch.device, *, deterministic: bool) -> str | None:
    """What to tell users of an error that comes from a setting of theirs; None for any other."""
    told = str(error).strip()
    if deterministic and "does not have a deterministic implementation" in told:
        operator = told.split(" does not have")[0]
        return (
            f"train.deterministic: {operator} has no deterministic kernel on {device.type}; train without it "
            "(--overwrite), on a CPU, or with another network"
        )
    if deterministic and "CUBLAS_WORKSPACE_CONFIG" in told:
        return (
            "train.deterministic: products were computed before noiseproof was imported; import it first, or set "
            "CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts"
        )
    if any(kind.__name__ == "TorchDynamoException" for kind in type(error).__mro__):  # its module is slow to import
        lines = (line.strip() for line in told.splitlines())
        why = next((line for line in lines if line and not line.endswith("raised:")), type(error).__name__)
        return f"train.compile: {why}; train without it (--overwrite)"
    return None
