"""Lengths given as a number of places or as a fraction of the whole, and intervals of them at random places."""

from __future__ import annotations

import torch
from torch import Tensor

from noiseproof.checks import check_range, check_whole
from noiseproof.errors import InvalidArgumentError

__all__ = ["check_extent", "covered", "places"]


def check_extent(name: str, value: float) -> None:
    """Raise unless ``value`` is a whole number ≥ 1 or a fraction in (0, 1)."""
    check_range(name, value, 0, open_low=True)
    if value >= 1:
        check_whole(name, value, 1)


def places(extent: float, whole: int, name: str, key: str, unit: str) -> int:
    """Return an extent, in places where it is 1 or more, else as a fraction of ``whole``, in places.

    Args:
        extent: what :func:`check_extent` lets pass.
        whole: how many places there are.
        name: of the perturbation, for the error.
        key: of the extent, likewise.
        unit: what there are, with ``{}`` for how many, as ``image's {} pixels``; likewise.

    Raises:
        InvalidArgumentError: more than there are.
    """
    found = int(extent) if extent >= 1 else max(1, round(extent * whole))
    if found > whole:
        raise InvalidArgumentError(
            f"{key}={found} of the perturbation {name!r} is more than the {unit.format(whole)}; a fraction means "
            f"the same at any size, as in {name}:{key}=0.175"
        )
    return found


def covered(
    samples: int, n: int, extent: int, length: int, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Which of ``length`` places lie in each of ``n`` intervals of ``extent``: (samples, n, length) of bool.

    The intervals lie wholly inside, uniformly and independently; they may overlap.
    """
    first = torch.randint(length - extent + 1, (samples, n, 1), generator=generator, device=device)
    place = torch.arange(length, device=device)
    return (first <= place) & (place < first + extent)
