"""What lossy compression leaves."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from noiseproof.checks import check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.perturbations.base import Kind, Perturbation, register

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
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    quality: int

    def __post_init__(self) -> None:
        if check_whole("quality of the perturbation 'jpeg'", self.quality, 1) > 100:
            raise InvalidArgumentError(f"quality of the perturbation 'jpeg' must be <= 100, got {self.quality}")

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        if x.shape[1] not in (1, 3):
            raise InvalidArgumentError(f"jpeg takes images of 1 or 3 channels, got a batch {tuple(x.shape)}")
        pixels = x.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        decoded = torch.empty(pixels.shape, dtype=torch.uint8)
        for index, image in enumerate(pixels):
            decoded[index] = torch.from_numpy(_through_jpeg(image, int(self.quality)))
        return decoded.permute(0, 3, 1, 2).to(x) / 255


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Encode and decode an image (H, W, 1 or 3)."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file)).reshape(image.shape)
