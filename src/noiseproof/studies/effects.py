"""What a setting is worth: differences in score between trials that differ in one factor alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation import RobustnessReport
from noiseproof.evaluation.intervals import Interval
from noiseproof.evaluation.matched import bootstrap_interval, student_interval
from noiseproof.studies.designs import Trial
from noiseproof.studies.factors import Factor, Value

__all__ = ["Difference", "Effect", "difference", "main_effects", "score"]

Reports = Mapping[int, RobustnessReport]  # by training seed

_LEVEL, _RESAMPLES = 0.95, 2000


@dataclass(frozen=True)
class Difference:
    """By how much one setting scores higher than another, or several than as many others.

    Attributes:
        mean: in [−1, 1], over pairs of trials, training seeds, perturbations and draws.
        over_seeds: 95 % interval (Student's t) for other training seeds, these samples; NaN for one seed.
        over_samples: 95 % interval (bootstrap) for other samples and draws, these models.
        seeds: how many training seeds both have.
    """

    mean: float
    over_seeds: Interval
    over_samples: Interval
    seeds: int

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where both intervals exclude 0; one seed shows the samples' side alone.

        ``the same`` where every sample was right as often: a setting without effect.
        """
        both = [self.over_samples] if self.seeds == 1 else [self.over_samples, self.over_seeds]
        shown = "better" if all(each.low > 0 for each in both) else "worse" if all(e.high < 0 for e in both) else ""
        if not shown:
            return "the same" if self.mean == 0 and self.over_samples == (0, 0) else "no difference shown"
        return f"{shown} (one seed)" if self.seeds == 1 else shown


@dataclass(frozen=True)
class Effect:
    """What a value of a factor does in place of the first.

    Attributes:
        path: of the factor.
        value: of the factor.
        base: its first value.
        pairs: how many pairs of trials differ in this alone.
        by_column: the difference by perturbation; under ``""`` that of the score.
    """

    path: str
    value: Value
    base: Value
    pairs: int
    by_column: Mapping[str, Difference]


def score(reports: Reports, columns: Sequence[str]) -> float:
    """Return the mean accuracy in [0, 1] over training seeds and perturbations."""
    return float(np.mean([report[column].mean for report in reports.values() for column in columns]))


def difference(pairs: Sequence[tuple[Reports, Reports]], columns: Sequence[str]) -> Difference:
    """Return by how much the first of each pair is better than the second, on the training seeds that all have.

    Args:
        pairs: at least one; all on the same samples.
        columns: perturbations, each of the same weight.

    Raises:
        InvalidArgumentError: pairs that have no training seed in common.
    """
    seeds = sorted(set.intersection(*(set(reports) for pair in pairs for reports in pair)))
    if not seeds:
        raise InvalidArgumentError("there is no training seed that all reports have")
    everyone = (reports[seed] for pair in pairs for reports in pair for seed in seeds)
    draws = math.lcm(*(len(report[column].correct) for report in everyone for column in columns))
    net = {
        seed: np.sum([_hits(a[seed], columns, draws) - _hits(b[seed], columns, draws) for a, b in pairs], axis=0)
        for seed in seeds
    }
    terms = draws * len(columns) * len(pairs)
    by_seed = np.array([float(np.mean(each)) / terms for each in net.values()])
    total: NDArray[np.int64] = np.sum(list(net.values()), axis=0)
    return Difference(
        float(by_seed.mean()),
        student_interval(by_seed, _LEVEL),
        bootstrap_interval(total, terms * len(seeds), _LEVEL, _RESAMPLES, seed=0),
        len(seeds),
    )


def main_effects(
    factors: Sequence[Factor],
    trials: Sequence[Trial],
    reports: Mapping[str, Reports],
    score_columns: Sequence[str],
    columns: Sequence[str],
) -> list[Effect]:
    """Return the effect of every value but the first of every listed factor, over the trials that are measured.

    A trial counts where there is another that differs from it in nothing but this factor's having its first value. In
    a full grid this is the main effect; where one factor changes at a time it is that of the change from the base.

    Args:
        factors: of the study.
        trials: of its design.
        reports: by trial's name and seed.
        score_columns: the perturbations that the score is the mean of.
        columns: those to show one by one.
    """
    found = []
    for each in factors:
        if not isinstance(each.values, tuple):
            continue
        base, *others = each.values
        for value in others:
            pairs = _pairs(each.path, value, base, trials, reports)
            if pairs:
                by_column = {"": difference(pairs, score_columns)} | {c: difference(pairs, [c]) for c in columns}
                found.append(Effect(each.path, value, base, len(pairs), by_column))
    return found


def _pairs(
    path: str, value: Value, base: Value, trials: Sequence[Trial], reports: Mapping[str, Reports]
) -> list[tuple[Reports, Reports]]:
    """The reports of trials with ``value`` and with ``base``, as many as have a training seed in common."""
    by_levels = {_key(trial.levels): reports.get(trial.name, {}) for trial in trials if trial.levels}
    candidates = [
        (by_levels[_key(trial.levels)], by_levels.get(_key({**trial.levels, path: base}), {}))
        for trial in trials
        if trial.levels and _same(trial.levels[path], value)
    ]
    found = [(a, b, frozenset(a) & frozenset(b)) for a, b in candidates if set(a) & set(b)]
    if not found or frozenset.intersection(*(common for *_, common in found)):
        return [(a, b) for a, b, _ in found]
    most = max((common for *_, common in found), key=lambda common: sum(common <= other for *_, other in found))
    return [(a, b) for a, b, common in found if common >= most]


def _key(levels: Mapping[str, Value]) -> str:
    return repr(sorted((path, repr(value)) for path, value in levels.items()))


def _same(a: Value, b: Value) -> bool:
    return repr(a) == repr(b)


def _hits(report: RobustnessReport, columns: Sequence[str], draws: int) -> NDArray[np.int64]:
    """How often each sample was classified rightly, each perturbation counted as ``draws`` draws: (N,)."""
    hits = [
        report[column].correct.sum(axis=0, dtype=np.int64) * (draws // len(report[column].correct))
        for column in columns
    ]
    summed: NDArray[np.int64] = np.sum(hits, axis=0)
    return summed
