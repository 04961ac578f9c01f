"""Haze of uneven thickness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range
from noiseproof.perturbations.base import Kind, Perturbation, register

__all__ = ["Fog"]

_FIRST_STEP = 100.0  # of the displacement, as in the original; only its falling off matters


@register
@dataclass(frozen=True)
class Fog(Perturbation):
    """A bright fractal over the image, which keeps its largest value (Hendrycks and Dietterich, 2019).

    Attributes:
        thickness: how much is added where the haze is thickest, ≥ 0.
        decay: how fast the fractal's detail fades, > 0; larger is smoother.
    """

    name: ClassVar[str] = "fog"
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    thickness: float
    decay: float = 2.0

    def __post_init__(self) -> None:
        check_range("thickness of the perturbation 'fog'", self.thickness, 0)
        check_range("decay of the perturbation 'fog'", self.decay, 0, open_low=True)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        height, width = x.shape[2:]
        haze = _plasma(len(x), max(height, width), self.decay, generator, x.device)[:, None, :height, :width]
        largest = x.amax((1, 2, 3), keepdim=True)
        whole = (largest + self.thickness).clamp_min(torch.finfo(x.dtype).tiny)
        return (x + self.thickness * haze.to(x)) * largest / whole


def _plasma(count: int, length: int, decay: float, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Fractals in [0, 1], (count, S, S) with S the smallest power of two ≥ ``length``, by diamonds and squares."""
    size = 2 ** max(1, (length - 1).bit_length())
    heights = torch.zeros(count, size, size, dtype=torch.float64, device=device)

    def displaced(neighbours: Tensor, spread: float) -> Tensor:
        noise = torch.rand(neighbours.shape, generator=generator, device=device, dtype=torch.float64)
        return neighbours / 4 + spread**2 * (2 * noise - 1)

    step, spread = size, _FIRST_STEP
    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        below = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = displaced(below + below.roll(-1, 2), spread)
        centres = heights[:, half::step, half::step]
        across, down = centres + centres.roll(1, 1), centres + centres.roll(1, 2)
        heights[:, ::step, half::step] = displaced(across + corners + corners.roll(-1, 2), spread)
        heights[:, half::step, ::step] = displaced(down + corners + corners.roll(-1, 1), spread)
        step, spread = half, spread / decay
    heights -= heights.amin((1, 2), keepdim=True)
    return heights / heights.amax((1, 2), keepdim=True)
