"""Accuracy against the strength of one kind of noise, and two numbers that sum it up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noiseproof.checks import check_range
from noiseproof.perturbations import Perturbation

__all__ = ["NoiseCurve", "noise_curves"]


@dataclass(frozen=True, eq=False)
class NoiseCurve:
    """Mean accuracy at rising levels of one kind of noise.

    Attributes:
        name: of the perturbation, such as ``"gaussian"``.
        levels: (K,) rising, in the perturbation's own units; the first is 0 if clean inputs were measured too.
        accuracies: (K,) in [0, 1].
    """

    name: str
    levels: NDArray[np.float64]
    accuracies: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve from 0 to the highest level, by trapezoids, over that level: a mean accuracy.

        In [0, 1]; NaN if clean inputs were not measured.
        """
        if self.levels[0] > 0:
            return math.nan
        return float(np.trapezoid(self.accuracies, self.levels) / self.levels[-1])

    def level_at_drop(self, drop: float = 0.05) -> float:
        """Return the lowest level at which accuracy is ``drop`` below that of clean inputs, between measured ones.

        Args:
            drop: in (0, 1].

        Returns:
            The level, by linear interpolation; infinite if no measured accuracy is that low, NaN if clean inputs were
            not measured.
        """
        check_range("drop", drop, 0, 1, open_low=True)
        if self.levels[0] > 0:
            return math.nan
        lost = self.accuracies[0] - self.accuracies
        reached = np.flatnonzero(lost >= drop - 1e-12)
        if not len(reached):
            return math.inf
        after, before = int(reached[0]), int(reached[0]) - 1
        share = (drop - lost[before]) / (lost[after] - lost[before])
        return float(self.levels[before] + share * (self.levels[after] - self.levels[before]))


def noise_curves(measured: Iterable[tuple[Perturbation, float]]) -> dict[str, NoiseCurve]:
    """Arrange mean accuracies as curves.

    Args:
        measured: perturbations with the accuracy under them, in any order.

    Returns:
        By name, a curve for every kind of noise that has a level and differs in nothing else, measured at least once
        above 0. A kind that was measured with other settings too gets a curve for each, named by its text.
    """
    points: dict[str, dict[float, float]] = {}
    clean: float | None = None
    for noise, accuracy in measured:
        if noise.name == "clean":
            clean = accuracy
        elif noise.level is not None:
            points.setdefault(_kind(noise), {})[noise.level] = accuracy
    curves = {}
    for name, by_level in points.items():
        if clean is not None:
            by_level.setdefault(0.0, clean)
        levels = sorted(by_level)
        if levels[-1] > 0:
            curves[name] = NoiseCurve(name, np.array(levels), np.array([by_level[level] for level in levels]))
    return curves


def _kind(noise: Perturbation) -> str:
    """The text of a perturbation without its level: ``gaussian``, or ``gaussian:clamp=no``."""
    name, _, settings = noise.spec.partition(":")
    others = [part for part in settings.split(",") if part and not part.startswith(f"{noise.level_key}=")]
    return f"{name}:{','.join(others)}" if others else name
