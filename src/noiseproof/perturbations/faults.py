"""What fails in a sensor or on the way from it: values and channels that are lost, and spikes on the line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.perturbations.base import Perturbation, register

__all__ = ["DeadChannels", "Missing", "Spikes", "some_channels"]


@register
@dataclass(frozen=True)
class Missing(Perturbation):
    """Values that never arrived, each by itself, with ``fill`` in their place.

    Attributes:
        amount: probability in [0, 1] that a value is lost.
        fill: what stands in its place, in units of the input; 0 is the mean of standardised inputs.
    """

    name: ClassVar[str] = "missing"
    level_key: ClassVar[str] = "amount"

    amount: float
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_range("amount of the perturbation 'missing'", self.amount, 0, 1)
        check_range("fill of the perturbation 'missing'", self.fill)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x.masked_fill(torch.rand(x.shape, generator=generator, device=x.device) < self.amount, self.fill)


@register
@dataclass(frozen=True)
class DeadChannels(Perturbation):
    """Whole channels of series and images, or components of vectors, that are lost; each sample loses its own.

    Attributes:
        n: how many, ≥ 1.
        fill: what stands in their place, in units of the input; 0 is the mean of standardised inputs.
    """

    name: ClassVar[str] = "dead-channels"

    n: int = 1
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_whole("n of the perturbation 'dead-channels'", self.n, 1)
        check_range("fill of the perturbation 'dead-channels'", self.fill)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x.masked_fill(some_channels(x, self.n, generator, self.name), self.fill)


@register
@dataclass(frozen=True)
class Spikes(Perturbation):
    """Single values that jump, up or down with equal chance: interference on the line, bits that flip.

    Attributes:
        amount: probability in [0, 1] that a value jumps.
        size: how far, ≥ 0, in units of the input.
    """

    name: ClassVar[str] = "spikes"
    level_key: ClassVar[str] = "amount"

    amount: float
    size: float

    def __post_init__(self) -> None:
        check_range("amount of the perturbation 'spikes'", self.amount, 0, 1)
        check_range("size of the perturbation 'spikes'", self.size, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        chance = torch.rand(x.shape, generator=generator, device=x.device)
        sign = 1 - 2 * (chance < self.amount / 2).to(x.dtype)
        return torch.where(chance < self.amount, torch.add(x, sign, alpha=self.size), x)


def some_channels(x: Tensor, n: int, generator: torch.Generator | None, name: str) -> Tensor:
    """Mark ``n`` different channels of each sample of (N, C, …), all sets equally likely: (N, C, 1, …) of bool.

    Raises:
        InvalidArgumentError: more than there are; ``name`` is that of the perturbation.
    """
    samples, channels = x.shape[:2]
    if n > channels:
        raise InvalidArgumentError(f"n={n} of the perturbation {name!r} is more than the input's {channels} channels")
    chosen = torch.rand(samples, channels, generator=generator, device=x.device).topk(n).indices
    marked = torch.zeros(samples, channels, dtype=torch.bool, device=x.device).scatter_(1, chosen, True)
    return marked.reshape(samples, channels, *(1 for _ in x.shape[2:]))
