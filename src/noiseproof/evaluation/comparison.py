"""Several methods, each trained with several seeds, measured under the same perturbations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.report import RobustnessReport

__all__ = ["Cell", "Comparison"]


_ROUNDING = 1e-9  # far below what one sample is worth


@dataclass(frozen=True)
class Cell:
    """Accuracy of one method under one perturbation, in [0, 1].

    Attributes:
        mean: over seeds and draws.
        std_over_seeds: standard deviation (n − 1) of the seeds' mean accuracies; NaN for one seed.
        std_over_draws: root mean square over seeds of the standard deviation over draws; 0 if nothing is random.
        best: whether no other method has a higher mean under this perturbation.
    """

    mean: float
    std_over_seeds: float
    std_over_draws: float
    best: bool


class Comparison:
    """Robustness reports by method and seed.

    Args:
        title: what was compared.
        reports: ``reports[method][seed]``; all with the same perturbations.
        method_titles: what tables print for each method.
        caveat: what tables have to say of how the models came about; empty for nothing.

    Raises:
        InvalidArgumentError: nothing to compare, or reports on different perturbations.
    """

    def __init__(
        self,
        title: str,
        reports: Mapping[str, Mapping[int, RobustnessReport]],
        method_titles: Mapping[str, str],
        caveat: str = "",
    ) -> None:
        self.title = title
        self.caveat = caveat
        self.reports = {method: dict(by_seed) for method, by_seed in reports.items() if by_seed}
        self.method_titles = dict(method_titles)
        columns = {tuple(report) for by_seed in self.reports.values() for report in by_seed.values()}
        if len(columns) != 1:
            raise InvalidArgumentError("a comparison needs reports that all have the same perturbations")
        self.perturbations = next(iter(columns))
        first, *others = (report for by_seed in self.reports.values() for report in by_seed.values())
        if not all(np.array_equal(first.labels, other.labels) for other in others):
            raise InvalidArgumentError("a comparison needs reports on the same samples, but their labels differ")

    @property
    def methods(self) -> list[str]:
        return list(self.reports)

    @property
    def seeds(self) -> list[int]:
        """Every seed that any method was trained with."""
        return sorted({seed for by_seed in self.reports.values() for seed in by_seed})

    @property
    def draws(self) -> int:
        """The number of draws of the random perturbations."""
        return max(len(result.correct) for by_seed in self.reports.values() for result in _first(by_seed).values())

    @property
    def random(self) -> bool:
        """Whether any of the perturbations is random."""
        reports = (report for by_seed in self.reports.values() for report in by_seed.values())
        return any(result.random for report in reports for result in report.values())

    def __repr__(self) -> str:
        means = (
            f"{method}: " + ", ".join(f"{key} {100 * self._mean(method, key):.1f} %" for key in self.perturbations)
            for method in self.methods
        )
        return f"Comparison({self.title!r}; {'; '.join(means)})"

    def cell(self, method: str, perturbation: str) -> Cell:
        """Return the accuracy of ``method`` under ``perturbation``."""
        results = [report[perturbation] for report in self.reports[method].values()]
        means = np.array([result.mean for result in results])
        over_seeds = float(means.std(ddof=1)) if len(means) > 1 else math.nan
        over_draws = math.sqrt(float(np.mean([result.std**2 for result in results])))
        best = max(self._mean(other, perturbation) for other in self.methods)
        return Cell(float(means.mean()), over_seeds, over_draws, self._mean(method, perturbation) >= best - _ROUNDING)

    def _mean(self, method: str, perturbation: str) -> float:
        return float(np.mean([report[perturbation].mean for report in self.reports[method].values()]))


def _first(by_seed: Mapping[int, RobustnessReport]) -> RobustnessReport:
    return next(iter(by_seed.values()))
