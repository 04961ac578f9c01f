"""Changes of light: brightness and contrast, as Hendrycks and Dietterich (2019) define them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range
from noiseproof.perturbations.base import Kind, Perturbation, register

__all__ = ["Brightness", "Contrast"]


@register
@dataclass(frozen=True)
class Brightness(Perturbation):
    """The value of HSV, the largest of the channels, moved; hue and saturation stay.

    Attributes:
        shift: in [−1, 1]; the moved value is clamped to [0, 1].
    """

    name: ClassVar[str] = "brightness"
    random: ClassVar[bool] = False
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    shift: float

    def __post_init__(self) -> None:
        check_range("shift of the perturbation 'brightness'", self.shift, -1, 1)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        value = x.amax(1, keepdim=True)
        moved = (value + self.shift).clamp(0, 1)
        return torch.where(value > 0, x / value.clamp_min(torch.finfo(x.dtype).tiny), 1) * moved


@register
@dataclass(frozen=True)
class Contrast(Perturbation):
    """Distances from the mean of each channel of an image, scaled.

    Attributes:
        factor: ≥ 0; below 1 for less contrast.
    """

    name: ClassVar[str] = "contrast"
    random: ClassVar[bool] = False
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    factor: float

    def __post_init__(self) -> None:
        check_range("factor of the perturbation 'contrast'", self.factor, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        return torch.lerp(x.mean((2, 3), keepdim=True), x, self.factor)
