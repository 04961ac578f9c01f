"""How far a measured accuracy can be trusted, and a classifier's own confidence: functions of plain arrays."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from noiseproof.checks import check_range, check_whole
from noiseproof.errors import InvalidArgumentError

__all__ = [
    "Interval",
    "accuracy_interval",
    "check_correct",
    "check_level",
    "effective_samples",
    "expected_calibration_error",
]

_ROUNDING = 1e-6  # what a softmax in single precision may exceed 1 by


class Interval(NamedTuple):
    """The ends of a confidence interval, low ≤ high."""

    low: float
    high: float


def accuracy_interval(correct: ArrayLike, level: float = 0.95) -> Interval:
    """Confidence interval of the mean accuracy, for other samples of the same population and other noise.

    Wilson's score interval p̂ ± z √(p̂(1−p̂)/n + z²/4n²), around (p̂ + z²/2n) and all over (1 + z²/n), where n is not
    the number of answers but the number of independent ones that are worth as much, :func:`effective_samples`. A
    single draw gives Wilson's interval of N samples. With several draws it needs about ten samples that are wrong in
    some draw, and ten that are right in some, to know what they are worth; with fewer it can be too narrow.

    Args:
        correct: (draws, N) of bool, whether sample i was classified rightly in draw k. Draws of one sample may depend
            on each other through it; samples are independent.
        level: how often such an interval covers the accuracy of the population, in (0, 1).

    Returns:
        The interval, in [0, 1], which contains the mean of ``correct`` and has a width even where all are right.

    Raises:
        InvalidArgumentError: ``correct`` is not (draws, N) of bool or is empty, or a level outside (0, 1).

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22,
        1927; for the effective sample size see there.
    """
    correct = check_correct("correct", correct)
    p, n = float(correct.mean()), effective_samples(correct)
    z = float(ndtri((1 + check_level(level)) / 2))
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Interval(max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def effective_samples(correct: NDArray[np.bool_]) -> float:
    """Kish's effective sample size of ``correct`` (draws, N): p̂(1−p̂) / SE², from N to draws · N.

    SE² = Var(pᵢ) / N with pᵢ the mean over the draws of sample i. Noise is independent from sample to sample, so the
    pᵢ are independent and identically distributed, and their variance holds both sources: which samples these are,
    and which noise they got. That variance is p(1−p) where the draws of a sample always agree, and in the population
    never below p(1−p) / draws, its value where they have nothing in common. Hence the bounds; the upper one has to be
    imposed on an estimate.

    Where all pᵢ are equal, SE = 0 says nothing: all answers are right, or all wrong, or there are too few samples to
    tell (a single one, say). The least that samples can be worth is then taken, N.

    Source: L. Kish, "Survey Sampling", Wiley, 1965, section 8.2 (design effect).
    """
    draws, samples = correct.shape
    right = correct.sum(axis=0)
    if (right == right[0]).all():
        return float(samples)
    p = right / draws
    squared_error = float(p.var() / samples)
    return min(float(p.mean() * (1 - p.mean())) / squared_error, float(draws * samples))


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """ECE = Σ_m (|B_m| / n) |acc(B_m) − conf(B_m)|, B_m the answers with a confidence in ((m−1)/M, m/M].

    Args:
        confidence: (...) in [0, 1], the probability of the class that was answered; all entries count alike. A
            confidence of 0 counts to the first bin.
        correct: (...) of bool, whether each answer was right.
        bins: M, the number of bins of equal width, ≥ 1.

    Returns:
        The expected calibration error, in [0, 1]; 0 where every bin is right as often as it claims.

    Raises:
        InvalidArgumentError: shapes that differ, nothing in them, a confidence outside [0, 1], or ``correct`` that is
            not bool.

    Source:
        C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017, Eq. 3.
    """
    claimed, right = np.asarray(confidence, dtype=np.float64).ravel(), np.asarray(correct)
    bins = check_whole("bins", bins, 1)
    if right.dtype != np.bool_ or right.shape != np.shape(confidence) or not right.size:
        raise InvalidArgumentError(
            f"correct must be bool in the shape {np.shape(confidence)} of confidence and not empty, "
            f"got {right.dtype} of shape {right.shape}"
        )
    if not (claimed.min() >= -_ROUNDING and claimed.max() <= 1 + _ROUNDING):
        raise InvalidArgumentError(
            f"confidence must lie in [0, 1], got values from {claimed.min():g} to {claimed.max():g}"
        )
    claimed = claimed.clip(0, 1)
    bin_of = np.digitize(claimed, np.arange(1, bins) / bins, right=True)
    gaps = np.bincount(bin_of, weights=right.ravel() - claimed)  # |B_m| (acc − conf)
    return float(np.abs(gaps).sum() / len(claimed))


def check_correct(name: str, correct: ArrayLike) -> NDArray[np.bool_]:
    """Return ``correct`` as an array where it is (draws, N) of bool, both at least 1."""
    array = np.asarray(correct)
    if array.dtype != np.bool_ or array.ndim != 2 or not array.size:
        raise InvalidArgumentError(
            f"{name} must be bool of shape (draws, N), neither of them 0, got {array.dtype} of shape {array.shape}"
        )
    return array


def check_level(level: float) -> float:
    """Return ``level`` where it lies in (0, 1)."""
    return check_range("level", level, 0, 1, open_low=True, open_high=True)
