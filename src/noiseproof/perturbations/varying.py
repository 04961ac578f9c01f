"""Noise of a strength that every sample draws for itself: for training on all strengths at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range
from noiseproof.errors import InvalidArgumentError
from noiseproof.perturbations.base import Perturbation, register

__all__ = ["VaryingGaussianNoise"]

_HALF_WIDTH = 0.4772498680518208  # P(0 < Z < 2) of a standard normal Z


@register
@dataclass(frozen=True)
class VaryingGaussianNoise(Perturbation):
    """x + σε with ε ~ N(0, I), and σ drawn once for each sample.

    With ``levels=uniform`` σ is uniform on [0, highest]. With ``levels=half-normal`` it is half-normal with the scale
    ``highest``/2, cut off at ``highest``, so that weak noise is more frequent than strong.

    Attributes:
        highest: the largest σ, ≥ 0, in units of the input.
        levels: ``uniform`` or ``half-normal``.
    """

    name: ClassVar[str] = "gaussian-varying"

    highest: float
    levels: str = "uniform"

    def __post_init__(self) -> None:
        check_range("highest of the perturbation 'gaussian-varying'", self.highest, 0)
        if self.levels not in ("uniform", "half-normal"):
            raise InvalidArgumentError(
                f"levels of the perturbation 'gaussian-varying' must be uniform or half-normal, got {self.levels!r}"
            )

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        one_each = (x.shape[0], *(1 for _ in x.shape[1:]))
        share = torch.rand(one_each, generator=generator, device=x.device)
        if self.levels == "half-normal":  # its quantile function, as a share of where it is cut off
            share = torch.special.ndtri(0.5 + _HALF_WIDTH * share) / 2
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return torch.addcmul(x, noise, share.to(x.dtype), value=self.highest)
