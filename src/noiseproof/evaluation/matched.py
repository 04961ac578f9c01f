"""Matched answers of two classifiers, sample by sample and draw by draw: tests and intervals on plain arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, chdtrc, stdtrit

from noiseproof import seeding
from noiseproof.checks import check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.intervals import Interval, check_correct, check_level

__all__ = [
    "bootstrap_interval",
    "check_pair",
    "mcnemar",
    "net_wins",
    "standard_deviation",
    "student_interval",
]


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Return the two-sided p-value of the hypothesis that two classifiers are equally accurate.

    With bᵢ the draws in which only a is right about sample i, and cᵢ those in which only b is:

    - one draw: the exact test, in which Σbᵢ is Binomial(Σ(bᵢ + cᵢ), ½);
    - several draws: χ² = (Σ(bᵢ − cᵢ))² / Σ(bᵢ − cᵢ)² with one degree of freedom. The draws of one sample are not
      independent answers, so samples are the clusters of a clustered test. For a single draw it would be McNemar's
      (b − c)² / (b + c). It is a limit for many samples: with fewer than about ten where bᵢ ≠ cᵢ, take it as rough.

    Args:
        correct_a: (draws, N) of bool, whether a classified sample i rightly in draw k.
        correct_b: the same of b, for the same samples and, draw by draw, the same noise.

    Returns:
        The p-value, in [0, 1]; 1 where bᵢ = cᵢ for every sample.

    Raises:
        InvalidArgumentError: arrays that are not bool, are empty or differ in shape.

    Source:
        Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
        Psychometrika 12, 1947. V. L. Durkalski, Y. Y. Palesch, S. R. Lipsitz and P. F. Rust, "Analysis of clustered
        matched-pair data", Statistics in Medicine 22, 2003, whose weights by cluster size cancel here.
    """
    a, b = check_pair(correct_a, correct_b)
    net = net_wins(a, b)
    if not net.any():
        return 1.0
    if len(a) == 1:
        only_a, only_b = int((net > 0).sum()), int((net < 0).sum())
        return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return float(chdtrc(1, int(net.sum()) ** 2 / int(net @ net)))


def net_wins(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Σ over draws of a − b, which is bᵢ − cᵢ of :func:`mcnemar`: (N,), from −draws to draws."""
    net: NDArray[np.int64] = a.sum(axis=0, dtype=np.int64) - b.sum(axis=0, dtype=np.int64)
    return net


def bootstrap_interval(sums: NDArray[np.int64], terms: int, level: float, resamples: int, seed: int) -> Interval:
    """Percentile interval of the mean of dᵢ = sumsᵢ / terms over resampled samples i.

    A resample of N samples matters only through how often it holds each value of d, and these counts are multinomial.
    """
    tail, resamples = (1 - check_level(level)) / 2, check_whole("resamples", resamples, 1)
    if sums.sum() < 0:  # the same random numbers, whichever of the two is called a
        low, high = bootstrap_interval(-sums, terms, level, resamples, seed)
        return Interval(-high, -low)
    values, counts = np.unique(sums, return_counts=True)
    random = np.random.default_rng(seeding.derive_seed(seed, "bootstrap"))
    resampled = random.multinomial(len(sums), counts / len(sums), size=resamples) @ values
    low, high = np.quantile(resampled / (terms * len(sums)), [tail, 1 - tail])
    return Interval(float(low), float(high))


def student_interval(values: NDArray[np.float64], level: float) -> Interval:
    """Mean ± t √(s² / n), the interval of the mean of n normal ``values``; NaN for one."""
    if len(values) == 1:
        return Interval(math.nan, math.nan)
    t = float(stdtrit(len(values) - 1, (1 + check_level(level)) / 2))
    mean, half = float(values.mean()), t * standard_deviation(values) / math.sqrt(len(values))
    return Interval(mean - half, mean + half)


def standard_deviation(values: NDArray[np.float64]) -> float:
    """With n − 1; NaN for one value."""
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def check_pair(correct_a: ArrayLike, correct_b: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return both as (draws, N) of bool, of one shape."""
    a, b = check_correct("correct_a", correct_a), check_correct("correct_b", correct_b)
    if a.shape != b.shape:
        raise InvalidArgumentError(f"correct_a and correct_b must be of one shape, got {a.shape} and {b.shape}")
    return a, b
