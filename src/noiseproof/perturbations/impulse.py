"""Values that are lost: black or white in place of what was there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range
from noiseproof.perturbations.base import Kind, Perturbation, register

__all__ = ["ImpulseNoise", "SaltAndPepper"]


@register
@dataclass(frozen=True)
class SaltAndPepper(Perturbation):
    """Pixels, all channels together, that are black or white: broken sensor elements.

    Attributes:
        amount: probability in [0, 1] that a pixel is replaced, by black and white with equal chance.
    """

    name: ClassVar[str] = "salt-and-pepper"
    takes: ClassVar[tuple[Kind, ...]] = ("images",)
    level_key: ClassVar[str] = "amount"

    amount: float

    def __post_init__(self) -> None:
        check_range("amount of the perturbation 'salt-and-pepper'", self.amount, 0, 1)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return _replaced(x, self.amount, (x.shape[0], 1, *x.shape[2:]), generator)


@register
@dataclass(frozen=True)
class ImpulseNoise(Perturbation):
    """Values, each channel by itself, that are 0 or 1 (the impulse noise of Hendrycks and Dietterich, 2019).

    Attributes:
        amount: probability in [0, 1] that a value is replaced, by 0 and 1 with equal chance.
    """

    name: ClassVar[str] = "impulse"
    takes: ClassVar[tuple[Kind, ...]] = ("images",)
    level_key: ClassVar[str] = "amount"

    amount: float

    def __post_init__(self) -> None:
        check_range("amount of the perturbation 'impulse'", self.amount, 0, 1)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return _replaced(x, self.amount, tuple(x.shape), generator)


def _replaced(x: Tensor, amount: float, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    chance = torch.rand(shape, generator=generator, device=x.device)
    return x.masked_fill(chance < amount / 2, 0).masked_fill((chance >= amount / 2) & (chance < amount), 1)
