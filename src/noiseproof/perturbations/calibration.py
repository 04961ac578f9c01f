"""Sensors whose scale is wrong: moved, stretched, too coarse or too short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range
from noiseproof.perturbations.base import Kind, Perturbation, register

__all__ = ["Clipping", "Gain", "Offset", "Quantization"]


@register
@dataclass(frozen=True)
class Offset(Perturbation):
    """x + b with b ~ N(0, std²) drawn once for each channel of each sample: a zero that has moved.

    Every component of a vector is a channel, so that on vectors this is Gaussian noise.

    Attributes:
        std: ≥ 0 in units of the input.
    """

    name: ClassVar[str] = "offset"
    level_key: ClassVar[str] = "std"

    std: float

    def __post_init__(self) -> None:
        check_range("std of the perturbation 'offset'", self.std, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.add(x, _one_each_channel(x, generator), alpha=self.std)


@register
@dataclass(frozen=True)
class Gain(Perturbation):
    """x (1 + g) with g ~ N(0, std²) drawn once for each channel of each sample: a sensitivity that has changed.

    Attributes:
        std: ≥ 0, relative to the value.
    """

    name: ClassVar[str] = "gain"
    level_key: ClassVar[str] = "std"

    std: float

    def __post_init__(self) -> None:
        check_range("std of the perturbation 'gain'", self.std, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.addcmul(x, x, _one_each_channel(x, generator), value=self.std)


@register
@dataclass(frozen=True)
class Clipping(Perturbation):
    """Values beyond ±limit cut off there: a range that is too short.

    Attributes:
        limit: > 0 in units of the input.
    """

    name: ClassVar[str] = "clipping"
    random: ClassVar[bool] = False
    takes: ClassVar[tuple[Kind, ...]] = ("vectors", "series")

    limit: float

    def __post_init__(self) -> None:
        check_range("limit of the perturbation 'clipping'", self.limit, 0, open_low=True)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        return x.clamp(-self.limit, self.limit)


@register
@dataclass(frozen=True)
class Quantization(Perturbation):
    """Values rounded to whole multiples of ``step``: a converter of few bits.

    Attributes:
        step: ≥ 1e-6, in units of the input. Images of b bits have steps of 1/(2^b − 1).
    """

    name: ClassVar[str] = "quantization"
    random: ClassVar[bool] = False

    step: float

    def __post_init__(self) -> None:
        check_range("step of the perturbation 'quantization'", self.step, 1e-6)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (wide / self.step).round().mul(self.step).to(x.dtype)


def _one_each_channel(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws, one for each channel of each sample of (N, C, …): (N, C, 1, …)."""
    shape = (*x.shape[:2], *(1 for _ in x.shape[2:]))
    return torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
