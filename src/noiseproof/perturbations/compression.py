"""What lossy compression leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.perturbations.base import Perturbation, register

__all__ = ["Jpeg"]


@register
@dataclass(frozen=True)
class Jpeg(Perturbation):
    """Rounded to 8 bits and passed through JPEG, with its colours at half resolution as is usual.

    Attributes:
        quality: 1 (worst) to 100.
    """

    name: ClassVar[str] = "jpeg"
    random: ClassVar[bool] = False
    images_only: ClassVar[bool] = True

    quality: int

    def __post_init__(self) -> None:
        if check_whole("quality of the perturbation 'jpeg'", self.quality, 1) > 100:
            raise InvalidArgumentError(f"quality of the perturbation 'jpeg' must be <= 100, got {self.quality}")

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        if x.shape[1] not in (1, 3):
            raise InvalidArgumentError(f"jpeg takes images of 1 or 3 channels, got a batch {tuple(x.shape)}")
        from torchvision.io import decode_jpeg, encode_jpeg

        pixels = x.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
        decoded = [decode_jpeg(encode_jpeg(image.contiguous(), int(self.quality))) for image in pixels]
        return torch.stack(decoded).to(x) / 255
