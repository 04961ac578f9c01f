"""Two classifiers on the same samples under the same noise: by how much one is better, and whether that is chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.evaluation.comparison import Comparison
from noiseproof.evaluation.intervals import Interval
from noiseproof.evaluation.matched import (
    bootstrap_interval,
    check_pair,
    mcnemar,
    net_wins,
    standard_deviation,
    student_interval,
)
from noiseproof.evaluation.report import PerturbationResult, RobustnessReport

__all__ = [
    "MethodDifference",
    "PairedDifference",
    "PairedReport",
    "compare_methods",
    "compare_reports",
    "paired_difference",
]

_NOTHING_SHOWN = "no difference shown"


@dataclass(frozen=True)
class PairedDifference:
    """By how much classifier a is better than classifier b under one perturbation.

    Attributes:
        key: the perturbation, as it was asked for in a's report.
        a_mean: mean accuracy of a over samples and draws, in [0, 1].
        b_mean: that of b.
        difference: a_mean − b_mean, in [−1, 1].
        low: lower end of the bootstrap percentile interval of the difference.
        high: its upper end.
        level: of that interval, in (0, 1).
        p_value: of :func:`mcnemar`, in [0, 1]; not corrected for looking at several perturbations.
        only_a: how many answers, over all draws, a got right and b did not.
        only_b: how many b got right and a did not.
        draws: of the noise.
        samples: N.
    """

    key: str
    a_mean: float
    b_mean: float
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    only_a: int
    only_b: int
    draws: int
    samples: int

    @property
    def verdict(self) -> str:
        """``"a better"`` or ``"b better"`` where the interval excludes 0 and the p-value is below 1 − level.

        Else ``"no difference shown"``. Each guards the other: a bootstrap of few samples, or of a handful on which the
        classifiers differ, is too narrow.
        """
        return _verdict("a", "b", Interval(self.low, self.high)) if self.p_value < 1 - self.level else _NOTHING_SHOWN


@dataclass(frozen=True)
class MethodDifference:
    """By how much training method a is better than training method b under one perturbation, seed by seed.

    Two things make the mean difference uncertain, and they are shown apart: that training again with other seeds
    gives other models, and that these models were measured on these samples with this noise.

    Attributes:
        key: the perturbation.
        a: name of the one method.
        b: name of the other.
        seeds: of training, those that both methods have, in ascending order.
        a_mean: mean accuracy of a over these seeds, samples and draws, in [0, 1].
        b_mean: that of b.
        differences: a − b for each training seed, in [−1, 1].
        mean: of the differences.
        std_over_seeds: standard deviation (n − 1) of the differences; NaN for one seed.
        interval_over_seeds: Student's t interval of the mean for other training seeds, these samples and this noise;
            NaN for one seed.
        error_over_samples: standard error (n − 1) of the mean for other samples and noise, these models; NaN for one
            sample.
        interval_over_samples: bootstrap percentile interval of the mean for other samples and noise, these models.
        level: of both intervals, in (0, 1).
        draws: of the noise.
        samples: N.
    """

    key: str
    a: str
    b: str
    seeds: tuple[int, ...]
    a_mean: float
    b_mean: float
    differences: tuple[float, ...]
    mean: float
    std_over_seeds: float
    interval_over_seeds: Interval
    error_over_samples: float
    interval_over_samples: Interval
    level: float
    draws: int
    samples: int

    @property
    def verdict(self) -> str:
        """Which method is better, where both intervals exclude 0 on its side; one training seed decides nothing."""
        if len(self.seeds) == 1:
            return "not known from one seed"
        over_seeds, over_samples = (
            _verdict(self.a, self.b, interval) for interval in (self.interval_over_seeds, self.interval_over_samples)
        )
        return over_seeds if over_seeds == over_samples else _NOTHING_SHOWN


Difference = TypeVar("Difference", bound=PairedDifference | MethodDifference)


class PairedReport(Mapping[str, Difference], Generic[Difference]):
    """Differences by perturbation, in the order of the first report: ``paired["gaussian:8/255"].difference``.

    Args:
        differences: each under another key.
        report: one that has these keys, and knows which other texts stand for the same.
        caveat: what tables have to say of how the classifiers came about; empty for nothing.
    """

    def __init__(self, differences: Sequence[Difference], report: RobustnessReport, caveat: str = "") -> None:
        self._differences = {difference.key: difference for difference in differences}
        self._report = report
        self.caveat = caveat

    def __getitem__(self, key: str) -> Difference:
        """Return the difference under a perturbation, by its key or by any other text for the same perturbation."""
        known = self._report[key].key
        if known not in self._differences:
            raise UnknownNameError("perturbation in this comparison:", str(key), self._differences)
        return self._differences[known]

    def __iter__(self) -> Iterator[str]:
        return iter(self._differences)

    def __repr__(self) -> str:
        told = (f"{key}: {each.verdict}" for key, each in self._differences.items())
        return f"{type(self).__name__}({'; '.join(told)})"

    def __len__(self) -> int:
        return len(self._differences)


def paired_difference(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    key: str = "",
) -> PairedDifference:
    """Compare two classifiers under one perturbation.

    The interval is the bootstrap's percentile interval of the mean of dᵢ, the mean over draws of a − b on sample i.
    Whole samples are resampled, each with its draws, so it covers other samples and other noise. Swapping a and b
    swaps and negates it, exactly unless the accuracies are equal. It needs some tens of samples with dᵢ ≠ 0.

    Args:
        correct_a: (draws, N) of bool, whether a classified sample i rightly in draw k.
        correct_b: the same of b, for the same samples and, draw by draw, the same noise.
        level: of the interval, in (0, 1).
        resamples: of the bootstrap, ≥ 1.
        seed: of the bootstrap.
        key: what the result is to be called.

    Raises:
        InvalidArgumentError: arrays that are not bool, are empty or differ in shape; a level outside (0, 1).

    Source:
        B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall, 1993, chapter 13.
    """
    a, b = check_pair(correct_a, correct_b)
    draws, samples = a.shape
    sums = net_wins(a, b)
    low, high = bootstrap_interval(sums, draws, level, resamples, seed)
    return PairedDifference(
        key=key,
        a_mean=float(a.mean()),
        b_mean=float(b.mean()),
        difference=float(sums.sum() / a.size),
        low=low,
        high=high,
        level=level,
        p_value=mcnemar(a, b),
        only_a=int((a & ~b).sum()),
        only_b=int((b & ~a).sum()),
        draws=draws,
        samples=samples,
    )


def compare_reports(
    a: RobustnessReport,
    b: RobustnessReport,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedReport[PairedDifference]:
    """Compare two classifiers under every perturbation that both were measured under.

    Args:
        a: the report on the one classifier.
        b: that on the other, on the same samples with the same seed of the noise.
        level: of the intervals, in (0, 1).
        resamples: of the bootstrap, ≥ 1.
        seed: of the bootstrap.

    Returns:
        A :class:`PairedDifference` for each, by a's keys in a's order.

    Raises:
        InvalidArgumentError: labels, seeds of the noise or numbers of draws that differ, no perturbation in common,
            or a level outside (0, 1).
    """
    return PairedReport(
        [
            paired_difference(of_a.correct, of_b.correct, level=level, resamples=resamples, seed=seed, key=of_a.key)
            for of_a, of_b in _pairs(a, b)
        ],
        a,
        " ".join(dict.fromkeys(filter(None, (a.caveat, b.caveat)))),
    )


def compare_methods(
    comparison: Comparison,
    a: str,
    b: str,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedReport[MethodDifference]:
    """Compare two training methods over the training seeds that both have, under every perturbation.

    Args:
        comparison: with both methods.
        a: name of the one method.
        b: name of the other.
        level: of the intervals, in (0, 1).
        resamples: of the bootstrap over samples, ≥ 1.
        seed: of that bootstrap.

    Returns:
        A :class:`MethodDifference` for each, in the comparison's order.

    Raises:
        UnknownNameError: a method that is not in the comparison.
        InvalidArgumentError: no training seed in common, reports that :func:`compare_reports` would refuse, numbers
            of draws that differ from seed to seed, or a level outside (0, 1).
    """
    for method in (a, b):
        if method not in comparison.reports:
            raise UnknownNameError("method in this comparison:", method, comparison.methods)
    of_a, of_b = comparison.reports[a], comparison.reports[b]
    shared = sorted(of_a.keys() & of_b.keys())
    if not shared:
        raise InvalidArgumentError(
            f"{a!r} and {b!r} have no training seed in common: {sorted(of_a)} against {sorted(of_b)}"
        )
    by_seed = [_pairs(of_a[training], of_b[training]) for training in shared]
    return PairedReport(
        [
            _method_difference((a, b), tuple(shared), pairs, level, resamples, seed)
            for pairs in zip(*by_seed, strict=True)
        ],
        of_a[shared[0]],
        comparison.caveat,
    )


def _method_difference(
    methods: tuple[str, str],
    training_seeds: tuple[int, ...],
    pairs: Sequence[tuple[PerturbationResult, PerturbationResult]],
    level: float,
    resamples: int,
    seed: int,
) -> MethodDifference:
    """Compare two methods under one perturbation, given their results for each training seed."""
    key = pairs[0][0].key
    if len({of_a.correct.shape for of_a, _ in pairs}) > 1:
        raise InvalidArgumentError(f"the numbers of draws of {key!r} differ from training seed to training seed")
    draws, samples = pairs[0][0].correct.shape
    net = np.stack([net_wins(*check_pair(of_a.correct, of_b.correct)) for of_a, of_b in pairs])  # (seeds, N)
    differences = net.sum(axis=1) / (draws * samples)
    over_samples = net.sum(axis=0) / (len(pairs) * draws)
    return MethodDifference(
        key=key,
        a=methods[0],
        b=methods[1],
        seeds=training_seeds,
        a_mean=float(np.mean([of_a.correct.mean() for of_a, _ in pairs])),
        b_mean=float(np.mean([of_b.correct.mean() for _, of_b in pairs])),
        differences=tuple(differences.tolist()),
        mean=float(net.sum() / (len(pairs) * draws * samples)),
        std_over_seeds=standard_deviation(differences),
        interval_over_seeds=student_interval(differences, level),
        error_over_samples=standard_deviation(over_samples) / math.sqrt(samples),
        interval_over_samples=bootstrap_interval(net.sum(axis=0), len(pairs) * draws, level, resamples, seed),
        level=level,
        draws=draws,
        samples=samples,
    )


def _verdict(a: str, b: str, interval: Interval) -> str:
    if interval.low > 0:
        return f"{a} better"
    return f"{b} better" if interval.high < 0 else _NOTHING_SHOWN


def _pairs(a: RobustnessReport, b: RobustnessReport) -> list[tuple[PerturbationResult, PerturbationResult]]:
    """Return the results under every perturbation that two reports share, in the order of ``a``."""
    if not np.array_equal(a.labels, b.labels):
        raise InvalidArgumentError("a paired comparison needs reports on the same samples, but their labels differ")
    if a.seed != b.seed:
        raise InvalidArgumentError(f"a paired comparison needs one seed of the noise, got {a.seed} and {b.seed}")
    of_b = {result.spec: result for result in b.values()}
    pairs = [(result, of_b[result.spec]) for result in a.values() if result.spec in of_b]
    if not pairs:
        raise InvalidArgumentError("a paired comparison needs a perturbation that both reports have")
    for one, other in pairs:
        if len(one.correct) != len(other.correct):
            raise InvalidArgumentError(
                f"a paired comparison needs as many draws of {one.key!r} in both reports, "
                f"got {len(one.correct)} and {len(other.correct)}"
            )
    return pairs
