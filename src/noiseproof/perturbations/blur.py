"""Loss of focus and motion. Beyond the edge, the pixel at the edge goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from noiseproof.checks import check_range, check_whole
from noiseproof.perturbations.base import Kind, Perturbation, register, unrounded

__all__ = ["GaussianBlur", "MotionBlur"]


@register
@dataclass(frozen=True)
class GaussianBlur(Perturbation):
    """Convolution with a Gaussian, cut off at four standard deviations.

    Attributes:
        std: of the Gaussian, in pixels, > 0.
    """

    name: ClassVar[str] = "gaussian-blur"
    random: ClassVar[bool] = False
    takes: ClassVar[tuple[Kind, ...]] = ("images",)
    level_key: ClassVar[str] = "std"

    std: float

    def __post_init__(self) -> None:
        check_range("std of the perturbation 'gaussian-blur'", self.std, 0, open_low=True)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        radius = int(4 * self.std + 0.5)
        planes = pad(unrounded(x).flatten(0, 1).unsqueeze(1), [radius] * 4, mode="replicate")
        weights = _gaussian_weights(torch.arange(-radius, radius + 1), self.std).to(planes)
        blurred = conv2d(conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
        return blurred.view(x.shape).to(x.dtype)


@register
@dataclass(frozen=True)
class MotionBlur(Perturbation):
    """A trail behind every pixel, in a direction of each image's own.

    The trail's weights are one half of a Gaussian and its places are rounded to whole pixels, as in the tool that
    Hendrycks and Dietterich (2019) used.

    Attributes:
        radius: the trail reaches 2 · ``radius`` pixels, ≥ 1.
        std: of the Gaussian, in pixels, > 0.
        max_angle: the direction is uniform within ± so many degrees of the horizontal, in [0, 180].
    """

    name: ClassVar[str] = "motion-blur"
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    radius: int
    std: float
    max_angle: float = 45.0

    def __post_init__(self) -> None:
        check_whole("radius of the perturbation 'motion-blur'", self.radius, 1)
        check_range("std of the perturbation 'motion-blur'", self.std, 0, open_low=True)
        check_range("max_angle of the perturbation 'motion-blur'", self.max_angle, 0, 180)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        count, channels, height, width = x.shape
        turn = 2 * torch.rand(count, 1, generator=generator, device=x.device) - 1
        angle = math.radians(self.max_angle) * turn
        row, column = (torch.arange(length, device=x.device) for length in (height, width))
        pixels = x.flatten(2)
        blurred = torch.zeros_like(pixels)
        for step, weight in enumerate(_gaussian_weights(torch.arange(2 * self.radius + 1), self.std).tolist()):
            down, right = (torch.ceil(step * part - 0.5).long() for part in (angle.sin(), angle.cos()))
            source = (row + down).clamp(0, height - 1)[:, :, None] * width
            source = (source + (column + right).clamp(0, width - 1)[:, None, :]).view(count, 1, height * width)
            blurred.add_(pixels.gather(2, source.expand(-1, channels, -1)), alpha=weight)
        return blurred.view(x.shape)


def _gaussian_weights(offset: Tensor, std: float) -> Tensor:
    weights = torch.exp(-(offset.double() / std).square() / 2)
    return weights / weights.sum()
