"""Parts of the image that are covered (§7.2, Fig. 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range, check_whole
from noiseproof.perturbations.base import Kind, Perturbation, register
from noiseproof.perturbations.extents import check_extent, covered, places

__all__ = ["Occlusion", "Stripes"]


@register
@dataclass(frozen=True)
class Occlusion(Perturbation):
    """Square patches at random places, wholly inside the image, each image with its own; they may overlap (§7.2).

    Attributes:
        n: how many, ≥ 1.
        size: the side of a patch, in pixels where it is 1 or more, else as a fraction of the image's shorter side.
            The paper's 70 pixels of 400×500 are ``size=0.175``.
        fill: the value of covered pixels, in [0, 1].
    """

    name: ClassVar[str] = "occlusion"
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    n: int = 20
    size: float = 70
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_whole("n of the perturbation 'occlusion'", self.n, 1)
        check_extent("size of the perturbation 'occlusion'", self.size)
        check_range("fill of the perturbation 'occlusion'", self.fill, 0, 1)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        count, _, height, width = x.shape
        side = places(self.size, min(height, width), "occlusion", "size", "image's {} pixels")
        rows, columns = (
            covered(count, self.n, side, length, generator, x.device).to(torch.float32) for length in (height, width)
        )
        hidden = torch.einsum("knh,knw->khw", rows, columns) > 0
        return x.masked_fill(hidden.unsqueeze(1), self.fill)


@register
@dataclass(frozen=True)
class Stripes(Perturbation):
    """Vertical stripes of full height at random places, each image with its own; they may overlap (§7.2).

    Attributes:
        n: how many, ≥ 1.
        width: of a stripe, in pixels where it is 1 or more, else as a fraction of the image's width.
        fill: the value of covered pixels, in [0, 1].
    """

    name: ClassVar[str] = "stripes"
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    n: int = 10
    width: float = 6
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_whole("n of the perturbation 'stripes'", self.n, 1)
        check_extent("width of the perturbation 'stripes'", self.width)
        check_range("fill of the perturbation 'stripes'", self.fill, 0, 1)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        width = places(self.width, x.shape[3], "stripes", "width", "image's {} pixels")
        hidden = covered(len(x), self.n, width, x.shape[3], generator, x.device).any(1)
        return x.masked_fill(hidden[:, None, None, :], self.fill)
