"""The corruptions of Hendrycks and Dietterich, at their severities.

Dan Hendrycks and Thomas Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*,
ICLR 2019. The parameters are those of the scripts that made CIFAR-10-C and ImageNet-C (``make_cifar_c.py`` and
``make_imagenet_c.py`` in the repository hendrycks/robustness).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_choice, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.perturbations.base import Kind, Perturbation, perturbation, register

__all__ = ["SEVERITIES", "Corruption"]

# What stands for severities 1 to 5, by table and kind.
SEVERITIES: dict[str, dict[str, tuple[str, ...]]] = {
    "cifar": {
        "gaussian-noise": ("gaussian:0.04", "gaussian:0.06", "gaussian:0.08", "gaussian:0.09", "gaussian:0.10"),
        "shot-noise": ("shot:500", "shot:250", "shot:100", "shot:75", "shot:50"),
        "impulse-noise": ("impulse:0.01", "impulse:0.02", "impulse:0.03", "impulse:0.05", "impulse:0.07"),
        "speckle-noise": ("speckle:0.06", "speckle:0.1", "speckle:0.12", "speckle:0.16", "speckle:0.2"),
        "gaussian-blur": tuple(f"gaussian-blur:{std}" for std in (0.4, 0.6, 0.7, 0.8, 1)),
        "motion-blur": tuple(
            f"motion-blur:radius={r},std={std}" for r, std in ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))
        ),
        "fog": tuple(
            f"fog:{thickness},decay={decay}"
            for thickness, decay in ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))
        ),
        "brightness": tuple(f"brightness:{shift}" for shift in (0.05, 0.1, 0.15, 0.2, 0.3)),
        "contrast": tuple(f"contrast:{factor}" for factor in (0.75, 0.5, 0.4, 0.3, 0.15)),
        "pixelate": tuple(f"pixelate:{factor}" for factor in (0.95, 0.9, 0.85, 0.75, 0.65)),
        "jpeg": ("jpeg:80", "jpeg:65", "jpeg:58", "jpeg:50", "jpeg:40"),
    },
    "imagenet": {
        "gaussian-noise": ("gaussian:0.08", "gaussian:0.12", "gaussian:0.18", "gaussian:0.26", "gaussian:0.38"),
        "shot-noise": ("shot:60", "shot:25", "shot:12", "shot:5", "shot:3"),
        "impulse-noise": ("impulse:0.03", "impulse:0.06", "impulse:0.09", "impulse:0.17", "impulse:0.27"),
        "speckle-noise": ("speckle:0.15", "speckle:0.2", "speckle:0.35", "speckle:0.45", "speckle:0.6"),
        "gaussian-blur": tuple(f"gaussian-blur:{std}" for std in (1, 2, 3, 4, 6)),
        "motion-blur": tuple(
            f"motion-blur:radius={r},std={std}" for r, std in ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
        ),
        "fog": tuple(
            f"fog:{thickness},decay={decay}"
            for thickness, decay in ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))
        ),
        "brightness": tuple(f"brightness:{shift}" for shift in (0.1, 0.2, 0.3, 0.4, 0.5)),
        "contrast": tuple(f"contrast:{factor}" for factor in (0.4, 0.3, 0.2, 0.1, 0.05)),
        "pixelate": tuple(f"pixelate:{factor}" for factor in (0.6, 0.5, 0.4, 0.3, 0.25)),
        "jpeg": ("jpeg:25", "jpeg:18", "jpeg:15", "jpeg:10", "jpeg:7"),
    },
}


@register
@dataclass(frozen=True)
class Corruption(Perturbation):
    """One of the other perturbations, as strong as Hendrycks and Dietterich have it at a severity.

    Attributes:
        kind: ``gaussian-noise``, ``shot-noise``, ``impulse-noise``, ``speckle-noise``, ``gaussian-blur``,
            ``motion-blur``, ``fog``, ``brightness``, ``contrast``, ``pixelate`` or ``jpeg``.
        severity: 1 to 5.
        table: ``cifar`` for the parameters of CIFAR-10-C (32×32), ``imagenet`` for those of ImageNet-C (224×224).
    """

    name: ClassVar[str] = "corruption"
    takes: ClassVar[tuple[Kind, ...]] = ("images",)

    kind: str
    severity: int
    table: str = "cifar"

    def __post_init__(self) -> None:
        check_choice("table of the perturbation 'corruption'", self.table, tuple(SEVERITIES))
        check_choice("kind of the perturbation 'corruption'", self.kind, tuple(SEVERITIES[self.table]))
        if check_whole("severity of the perturbation 'corruption'", self.severity, 1) > 5:
            raise InvalidArgumentError(f"severity of the perturbation 'corruption' must be <= 5, got {self.severity}")

    @property
    def plain(self) -> Perturbation:
        """The perturbation that this one stands for."""
        return perturbation(SEVERITIES[self.table][self.kind][int(self.severity) - 1])

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether the perturbation draws random numbers."""
        return self.plain.random

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.plain.apply(x, generator)
