"""Additive noise. Images are clamped to [0, 1] afterwards, so very dark or bright pixels get one-sided noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range
from noiseproof.perturbations.base import Perturbation, register

__all__ = ["Clean", "GaussianNoise", "UniformNoise"]


@register
@dataclass(frozen=True)
class Clean(Perturbation):
    """No perturbation at all."""

    name: ClassVar[str] = "clean"
    random: ClassVar[bool] = False

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        return x


@register
@dataclass(frozen=True)
class GaussianNoise(Perturbation):
    """x + ε with ε ~ N(0, std² I), independent for every value (§7.1).

    Attributes:
        std: σ ≥ 0 in units of the input; for images 1 is the whole range from black to white.
    """

    name: ClassVar[str] = "gaussian"

    std: float

    def __post_init__(self) -> None:
        check_range("std of the perturbation 'gaussian'", self.std, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return torch.add(x, noise, alpha=self.std)


@register
@dataclass(frozen=True)
class UniformNoise(Perturbation):
    """x + ε with ε uniform on [−amplitude, amplitude], independent for every value (§7.3).

    Attributes:
        amplitude: half the width of the distribution, ≥ 0, in units of the input. Its std is amplitude/√3.
    """

    name: ClassVar[str] = "uniform"

    amplitude: float

    def __post_init__(self) -> None:
        check_range("amplitude of the perturbation 'uniform'", self.amplitude, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + (2 * noise - 1) * self.amplitude
