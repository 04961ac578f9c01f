"""Perturbations whose strength is in units of each channel's standard deviation, for inputs in their own units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.perturbations.base import Perturbation
from noiseproof.scaling import Scaling

__all__ = ["Scaled"]


@dataclass(frozen=True)
class Scaled(Perturbation):
    """A perturbation of vectors or series that sees them standardised, and gives them back in their own units.

    Attributes:
        inner: what is done to the standardised inputs; its text is this one's, too.
        scaling: what standardises them.
    """

    name: ClassVar[str] = "scaled"

    inner: Perturbation
    scaling: Scaling

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        perturbed = self.inner.clamped(self.scaling.apply(x), generator)
        return self.scaling.inverse().apply(perturbed).to(x.dtype)

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether the inner one draws random numbers."""
        return self.inner.random

    @property
    def spec(self) -> str:
        return self.inner.spec
