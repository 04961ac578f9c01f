"""Noise on every value. Images are clamped to [0, 1] afterwards, so very dark or bright pixels get one-sided noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range
from noiseproof.perturbations.base import Kind, Perturbation, register

__all__ = ["Clean", "GaussianNoise", "LaplaceNoise", "ShotNoise", "SpeckleNoise", "UniformNoise"]


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
    level_key: ClassVar[str] = "std"

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
    level_key: ClassVar[str] = "amplitude"

    amplitude: float

    def __post_init__(self) -> None:
        check_range("amplitude of the perturbation 'uniform'", self.amplitude, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + (2 * noise - 1) * self.amplitude


@register
@dataclass(frozen=True)
class LaplaceNoise(Perturbation):
    """x + ε with ε from the Laplace distribution, independent for every value: heavier tails than Gaussian noise.

    Attributes:
        std: standard deviation ≥ 0, so that it compares with Gaussian noise; the distribution's scale is std/√2.
    """

    name: ClassVar[str] = "laplace"
    level_key: ClassVar[str] = "std"

    std: float

    def __post_init__(self) -> None:
        check_range("std of the perturbation 'laplace'", self.std, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        one, other = torch.empty(2, *x.shape, dtype=x.dtype, device=x.device).exponential_(generator=generator)
        return torch.add(x, one - other, alpha=self.std / math.sqrt(2))


@register
@dataclass(frozen=True)
class SpeckleNoise(Perturbation):
    """x + xε with ε ~ N(0, std²), independent for every value: noise that grows with the signal.

    Attributes:
        std: ≥ 0, relative to the value.
    """

    name: ClassVar[str] = "speckle"
    level_key: ClassVar[str] = "std"

    std: float

    def __post_init__(self) -> None:
        check_range("std of the perturbation 'speckle'", self.std, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return torch.addcmul(x, x, noise, value=self.std)


@register
@dataclass(frozen=True)
class ShotNoise(Perturbation):
    """Poisson(photons · x)/photons: what a sensor counts when it is given little light.

    Attributes:
        photons: how many are counted on average where a pixel is white, ≥ 1e-6, which every floating type can tell
            from 0. Fewer mean more noise.
    """

    name: ClassVar[str] = "shot"
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    photons: float

    def __post_init__(self) -> None:
        check_range("photons of the perturbation 'shot'", self.photons, 1e-6)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.poisson(x.clamp_min(0) * self.photons, generator) / self.photons
