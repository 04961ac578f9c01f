"""Parts of the image that are covered (§7.2, Fig. 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.perturbations.base import Perturbation, register

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
    images_only: ClassVar[bool] = True

    n: int = 20
    size: float = 70
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_whole("n of the perturbation 'occlusion'", self.n, 1)
        _check_extent("size of the perturbation 'occlusion'", self.size)
        check_range("fill of the perturbation 'occlusion'", self.fill, 0, 1)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        count, _, height, width = x.shape
        side = _pixels(self.size, min(height, width), "occlusion", "size")
        rows, columns = (
            _covered(count, self.n, side, length, generator, x.device).to(torch.float32) for length in (height, width)
        )
        covered = torch.einsum("knh,knw->khw", rows, columns) > 0
        return x.masked_fill(covered.unsqueeze(1), self.fill)


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
    images_only: ClassVar[bool] = True

    n: int = 10
    width: float = 6
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_whole("n of the perturbation 'stripes'", self.n, 1)
        _check_extent("width of the perturbation 'stripes'", self.width)
        check_range("fill of the perturbation 'stripes'", self.fill, 0, 1)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        width = _pixels(self.width, x.shape[3], "stripes", "width")
        covered = _covered(len(x), self.n, width, x.shape[3], generator, x.device).any(1)
        return x.masked_fill(covered[:, None, None, :], self.fill)


def _check_extent(name: str, value: float) -> None:
    check_range(name, value, 0, open_low=True)
    if value >= 1:
        check_whole(name, value, 1)


def _pixels(extent: float, whole: int, name: str, key: str) -> int:
    """Return an extent, given in pixels or as a fraction of ``whole``, in pixels."""
    pixels = int(extent) if extent >= 1 else max(1, round(extent * whole))
    if pixels > whole:
        raise InvalidArgumentError(
            f"{key}={pixels} of the perturbation {name!r} is more than the image's {whole} pixels; a fraction means "
            f"the same at any size, as in {name}:{key}=0.175"
        )
    return pixels


def _covered(
    images: int, n: int, extent: int, length: int, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Which of ``length`` positions lie in each of ``n`` intervals of ``extent``: (images, n, length) of bool."""
    first = torch.randint(length - extent + 1, (images, n, 1), generator=generator, device=device)
    position = torch.arange(length, device=device)
    return (first <= position) & (position < first + extent)
