"""What a comparison comes to under one perturbation: who leads, by how much, and whether that can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation import Cell, Comparison, RobustnessReport, compare_methods, compare_reports
from noiseproof.evaluation.intervals import Interval, accuracy_interval

__all__ = ["Findings", "Standing", "Verdict", "clean_key", "findings", "interval_of", "strongest"]

Verdict: TypeAlias = Literal["leads", "behind", "undecided", "models differ", "models alike", "not compared"]


@dataclass(frozen=True)
class Standing:
    """How one method stands under one perturbation.

    Attributes:
        method: its key in the comparison.
        title: what people call it.
        cell: its accuracy.
        interval: 95 % of that accuracy, for other test samples and other noise, these models.
        behind: the leader's accuracy minus this one's, over the training seeds that both have; in [−1, 1], NaN for the
            leader itself and where nothing can be compared.
        low: lower end of the 95 % interval of ``behind``. With several training seeds it is the lower one of two, that
            for other seeds and that for other samples, so that it is above 0 only where both are.
        high: its upper end.
        verdict: ``leads``; ``behind`` or ``undecided`` for methods with several seeds in common; ``models differ`` or
            ``models alike`` for two models of one seed, which say nothing on methods; ``not compared``.
    """

    method: str
    title: str
    cell: Cell
    interval: Interval
    behind: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Findings:
    """The standings under one perturbation, the best first.

    Attributes:
        key: the perturbation that was looked at.
        standings: of every method.
        clean: accuracy of the leader on clean inputs with its interval; None where clean inputs were not measured.
        seeds: how many training seeds the leader has.
        samples: of the test set.
        commonest: share of the test samples that are of the most frequent class, in (0, 1].
        random: whether draws of the perturbation differ.
    """

    key: str
    standings: tuple[Standing, ...]
    clean: tuple[Cell, Interval] | None
    seeds: int
    samples: int
    commonest: float
    random: bool

    @property
    def leader(self) -> Standing:
        return self.standings[0]

    @property
    def next(self) -> Standing | None:
        """The second best; None where there is one method alone."""
        return self.standings[1] if len(self.standings) > 1 else None


def clean_key(comparison: Comparison) -> str | None:
    """The key of clean inputs, if they were measured."""
    report = _any_report(comparison)
    return next((key for key, result in report.items() if result.spec == "clean"), None)


def strongest(comparison: Comparison) -> str:
    """The perturbation under which the methods' mean accuracy is lowest; of equals the last."""
    means = {
        key: float(np.mean([comparison.cell(method, key).mean for method in comparison.methods]))
        for key in comparison.perturbations
    }
    lowest = min(means.values())
    return [key for key, mean in means.items() if mean == lowest][-1]


def interval_of(comparison: Comparison, method: str, key: str) -> Interval:
    """95 % interval of a method's accuracy over its seeds, for other test samples and noise, these models."""
    correct = [report[key].correct for report in comparison.reports[method].values()]
    return accuracy_interval(np.concatenate(correct))


def findings(comparison: Comparison, key: str | None = None) -> Findings:
    """Find out who leads under a perturbation, and by how much.

    Args:
        comparison: the results.
        key: the perturbation; None for the strongest, see :func:`strongest`.

    Raises:
        UnknownNameError: the comparison has no such perturbation.
    """
    report = _any_report(comparison)
    key = strongest(comparison) if key is None else report[key].key
    clean = clean_key(comparison)
    ranked = sorted(comparison.methods, key=lambda method: -comparison.cell(method, key).mean)
    narrowed = Comparison(
        comparison.title,
        {method: {seed: each.only([key]) for seed, each in comparison.reports[method].items()} for method in ranked},
        comparison.method_titles,
    )
    leader = ranked[0]
    return Findings(
        key=key,
        standings=tuple(_standing(comparison, narrowed, leader, method, key) for method in ranked),
        clean=None if clean is None else (comparison.cell(leader, clean), interval_of(comparison, leader, clean)),
        seeds=len(comparison.reports[leader]),
        samples=len(report.labels),
        commonest=float(np.bincount(report.labels).max() / len(report.labels)),
        random=report[key].random,
    )


def _standing(comparison: Comparison, narrowed: Comparison, leader: str, method: str, key: str) -> Standing:
    behind, low, high, verdict = _against(narrowed, leader, method, key)
    return Standing(
        method, comparison.method_titles[method], comparison.cell(method, key), interval_of(comparison, method, key),
        behind, low, high, verdict,
    )  # fmt: skip


def _against(comparison: Comparison, leader: str, method: str, key: str) -> tuple[float, float, float, Verdict]:
    if method == leader:
        return math.nan, math.nan, math.nan, "leads"
    shared = sorted(comparison.reports[leader].keys() & comparison.reports[method].keys())
    try:
        if len(shared) == 1:
            models = compare_reports(*(comparison.reports[each][shared[0]] for each in (leader, method)))[key]
            differ = models.verdict != "no difference shown"
            return models.difference, models.low, models.high, "models differ" if differ else "models alike"
        methods = compare_methods(comparison, leader, method)[key]
    except InvalidArgumentError:  # no training seed in common, or measured with other noise
        return math.nan, math.nan, math.nan, "not compared"
    ends = (methods.interval_over_seeds, methods.interval_over_samples)
    low, high = min(each.low for each in ends), max(each.high for each in ends)
    return methods.mean, low, high, "behind" if low > 0 else "undecided"


def _any_report(comparison: Comparison) -> RobustnessReport:
    return next(iter(next(iter(comparison.reports.values())).values()))
