"""Random crop, flip and cutout for a batch at once, where torchvision's transforms draw once for a whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from noiseproof.checks import check_range, check_whole
from noiseproof.data.augmentations.base import Augmentation, register

__all__ = ["Cutout", "RandomCrop", "RandomFlip"]


@register
@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Pad with black, then cut out the original size at a random place, each offset equally likely.

    Attributes:
        padding: pixels added on every side, ≥ 1.
    """

    name: ClassVar[str] = "crop"

    padding: int

    def __post_init__(self) -> None:
        check_whole("padding of the augmentation 'crop'", self.padding, 1)

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = x.shape
        padded = F.pad(x, [self.padding] * 4)
        top, left = torch.randint(2 * self.padding + 1, (2, n, 1), generator=generator, device=x.device)
        rows = (top + torch.arange(height, device=x.device)).view(n, 1, height, 1)
        columns = (left + torch.arange(width, device=x.device)).view(n, 1, 1, width)
        samples = torch.arange(n, device=x.device).view(n, 1, 1, 1)
        channels = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
        return padded[samples, channels, rows, columns]


@register
@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Mirror left and right with probability ``p``.

    Attributes:
        p: probability in [0, 1].
    """

    name: ClassVar[str] = "flip"

    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("p of the augmentation 'flip'", self.p, 0, 1)

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        flipped = torch.rand(x.shape[0], 1, 1, 1, generator=generator, device=x.device) < self.p
        return torch.where(flipped, x.flip(-1), x)


@register
@dataclass(frozen=True)
class Cutout(Augmentation):
    """Blacken a square around a pixel that is drawn anew for every sample; what lies outside the image is cut off.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout" (arXiv 1708.04552).

    Attributes:
        size: pixels along a side, ≥ 1.
    """

    name: ClassVar[str] = "cutout"

    size: int

    def __post_init__(self) -> None:
        check_whole("size of the augmentation 'cutout'", self.size, 1)

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = x.shape
        rows = self._covered(height, n, generator, x.device).unsqueeze(2)
        columns = self._covered(width, n, generator, x.device).unsqueeze(1)
        return x.masked_fill((rows & columns).unsqueeze(1), 0)

    def _covered(self, extent: int, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Which of ``extent`` rows or columns the squares of n samples cover: (n, extent)."""
        first = torch.randint(extent, (n, 1), generator=generator, device=device) - self.size // 2
        place = torch.arange(extent, device=device)
        return (place >= first) & (place < first + self.size)
