"""Loss of resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from noiseproof.checks import check_range
from noiseproof.perturbations.base import Kind, Perturbation, register, unrounded

__all__ = ["DownUp", "Pixelate"]


@register
@dataclass(frozen=True)
class DownUp(Perturbation):
    """Sampled down by ``factor`` in both directions and up again (§7.2), bilinearly and without smoothing before.

    Attributes:
        factor: in (0, 1].
    """

    name: ClassVar[str] = "downup"
    random: ClassVar[bool] = False
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    factor: float = 1 / 3

    def __post_init__(self) -> None:
        check_range("factor of the perturbation 'downup'", self.factor, 0, 1, open_low=True)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        height, width = x.shape[2:]
        small = interpolate(
            x, (_scaled(height, self.factor), _scaled(width, self.factor)), mode="bilinear", align_corners=False
        )
        return interpolate(small, (height, width), mode="bilinear", align_corners=False)


@register
@dataclass(frozen=True)
class Pixelate(Perturbation):
    """Averaged over boxes down to ``factor`` of the size, and shown large again (Hendrycks and Dietterich, 2019).

    Attributes:
        factor: in (0, 1].
    """

    name: ClassVar[str] = "pixelate"
    random: ClassVar[bool] = False
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    factor: float

    def __post_init__(self) -> None:
        check_range("factor of the perturbation 'pixelate'", self.factor, 0, 1, open_low=True)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        pixels = unrounded(x)
        rows, columns = (
            (_box_average(small, length) @ _box_average(length, small)).to(pixels)
            for length, small in ((length, _scaled(length, self.factor)) for length in x.shape[2:])
        )
        return (rows @ pixels @ columns.T).to(x.dtype)


def _scaled(length: int, factor: float) -> int:
    """The whole pixels of ``length`` · ``factor``, at least 1; a third of 30 is 10 in spite of rounding."""
    return max(1, math.floor(length * factor + 1e-9))


def _box_average(length: int, new_length: int) -> Tensor:
    """The matrix (new_length, length) that averages the pixels whose centres lie in each new pixel's box.

    Enlarging, a new pixel takes the old one that its centre lies in. This is Pillow's BOX filter, down to how a box
    that ends at a pixel's centre is rounded.
    """
    scale = length / new_length
    width = max(scale, 1.0)
    pixel = torch.arange(length, dtype=torch.float64)
    centre = (torch.arange(new_length, dtype=torch.float64)[:, None] + 0.5) * scale
    first, end = ((centre + side * width + 0.5).trunc() for side in (-0.5, 0.5))
    offset = (pixel - centre + 0.5) * (1 / width)
    inside = ((pixel >= first) & (pixel < end) & (offset > -0.5) & (offset <= 0.5)).double()
    return inside / inside.sum(1, keepdim=True)
