"""How curvature goes with robustness (§7.3, §7.4, Figs. 8 to 10): functions of plain arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import ndtri

from noiseproof.checks import check_range, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.intervals import Interval, accuracy_interval, check_correct

__all__ = [
    "Correlation",
    "CurvatureByCount",
    "RetainedAccuracy",
    "accuracy_by_retained",
    "curvature_by_count",
    "lowest_share",
]

SHARES = tuple(tenths / 10 for tenths in range(1, 11))


@dataclass(frozen=True, eq=False)
class RetainedAccuracy:
    """Noisy accuracy on the samples of lowest curvature (Fig. 8).

    Attributes:
        shares: (P,) the p of each subset D(p), in [0, 1].
        sizes: (P,) how many samples are in it.
        accuracies: (P,) their mean accuracy over draws, in [0, 1]; NaN for none.
        intervals: (P, 2) its 95 % interval for the choice of samples and of draws together; NaN for none. Subsets
            hold each other, so their accuracies vary together.
    """

    shares: NDArray[np.float64]
    sizes: NDArray[np.int64]
    accuracies: NDArray[np.float64]
    intervals: NDArray[np.float64]


class Correlation(NamedTuple):
    """A coefficient of correlation in [−1, 1], NaN where one side is constant; its 95 % interval; its pairs."""

    value: float
    interval: Interval
    pairs: int


@dataclass(frozen=True, eq=False)
class CurvatureByCount:
    """Curvature of the samples that were classified rightly in k of K draws (Fig. 9).

    Attributes:
        counts: (K + 1,) the k of each group, from 0 to K.
        sizes: (K + 1,) how many samples are in it.
        means: (K + 1,) mean curvature, the paper's Λ̄(k); NaN for none.
        stderrs: (K + 1,) standard error of that mean over the group's samples; NaN for fewer than two.
        medians: (K + 1,) median curvature; NaN for none. Curvatures spread over decades, where the mean is that of a
            few samples.
        of_groups: Pearson's correlation of k and Λ̄(k) over the groups that are not empty, which is the paper's. All
            that varies within a group is averaged away, and a group of few counts like one of many, so it comes out
            far closer to ±1 than that of the samples.
        of_samples: Pearson's correlation of count and log₁₀ Λ over the samples with Λ > 0.
        of_ranks: Spearman's correlation of count and Λ over all samples.
    """

    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    means: NDArray[np.float64]
    stderrs: NDArray[np.float64]
    medians: NDArray[np.float64]
    of_groups: Correlation
    of_samples: Correlation
    of_ranks: Correlation


def accuracy_by_retained(
    curvature: ArrayLike, correct: ArrayLike, shares: Sequence[float] = SHARES
) -> RetainedAccuracy:
    """Accuracy under noise on D(p) = {x_i: Λ(x_i) < Quantile(Λ, p)}, for several p (§7.3, Fig. 8).

    As the inequality is strict, samples of the same curvature are all in D(p) or all out of it: where many share the
    quantile's, D(p) is smaller than p N, and may be empty. p = 1 takes every sample, also that of the largest
    curvature.

    Args:
        curvature: (N,) Λ(x_i) ≥ 0 of the clean inputs.
        correct: (draws, N) of bool, whether sample i was classified rightly in draw k of the noise, such as
            ``report["gaussian:0.06"].correct``.
        shares: p, each in [0, 1].

    Returns:
        A :class:`RetainedAccuracy`, in the order of ``shares``.

    Raises:
        InvalidArgumentError: arrays of other shapes or types, no samples, or a number outside its range.
    """
    curvature = _check_curvature(curvature)
    correct = check_correct("correct", correct)
    if correct.shape[1] != len(curvature):
        raise InvalidArgumentError(
            f"correct must be (draws, {len(curvature)}), as many samples as curvature has, got {correct.shape}"
        )
    for share in shares:
        check_range("share", share, 0, 1)
    kept = [correct[:, (curvature < np.quantile(curvature, share)) | (share == 1)] for share in shares]
    return RetainedAccuracy(
        np.array(shares, dtype=np.float64),
        np.array([part.shape[1] for part in kept], dtype=np.int64),
        np.array([part.mean() if part.size else math.nan for part in kept]),
        np.array([accuracy_interval(part) if part.size else (math.nan, math.nan) for part in kept]).reshape(-1, 2),
    )


def curvature_by_count(curvature: ArrayLike, counts: ArrayLike, draws: int) -> CurvatureByCount:
    """Curvature of the groups G(k) = {i: count(i) = k} for k = 0 … K, and how it goes with k (§7.3, Fig. 9).

    Intervals are Fisher's, tanh(artanh r ± 1.96 / √(n − 3)), for Spearman's coefficient with the variance
    (1 + r²/2) / (n − 3) of Bonett & Wright (Psychometrika 65, 2000); NaN for fewer than four pairs. They are those of
    normal pairs, which groups and counts are not: take them as rough.

    Args:
        curvature: (N,) Λ(x_i) ≥ 0 of the clean inputs.
        counts: (N,) integers in [0, K], in how many draws sample i was classified rightly, such as
            ``report["gaussian:0.06"].correct_counts``.
        draws: K ≥ 1.

    Returns:
        A :class:`CurvatureByCount`.

    Raises:
        InvalidArgumentError: arrays of other shapes or types, no samples, or a number outside its range.
    """
    curvature, draws = _check_curvature(curvature), check_whole("draws", draws, 1)
    count = np.asarray(counts)
    if count.shape != curvature.shape or count.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"counts must be {len(curvature)} integers, one per sample, got {count.dtype} of shape {count.shape}"
        )
    if count.min() < 0 or count.max() > draws:
        raise InvalidArgumentError(f"counts must lie in [0, {draws}], got {count.min()} to {count.max()}")
    groups = [curvature[count == k] for k in range(draws + 1)]
    ks, sizes = np.arange(draws + 1), np.array([len(group) for group in groups], dtype=np.int64)
    means = np.array([group.mean() if len(group) else math.nan for group in groups])
    there, positive = sizes > 0, curvature > 0
    return CurvatureByCount(
        ks,
        sizes,
        means,
        np.array([_standard_error(group) for group in groups]),
        np.array([np.median(group) if len(group) else math.nan for group in groups]),
        _pearson(ks[there], means[there]),
        _pearson(count[positive], np.log10(curvature[positive])),
        _spearman(count, curvature),
    )


def lowest_share(curvature: ArrayLike, share: float = 0.9) -> NDArray[np.float64]:
    """The lowest curvatures, ``share`` of all to the nearest whole number and at least one (§7.4, Fig. 10).

    Args:
        curvature: (N,) Λ(x_i) ≥ 0.
        share: in (0, 1].

    Returns:
        (M,) of them, rising.

    Raises:
        InvalidArgumentError: an array of another shape, no samples, or a number outside its range.
    """
    curvature = _check_curvature(curvature)
    check_range("share", share, 0, 1, open_low=True)
    return np.sort(curvature)[: max(1, round(share * len(curvature)))]


def _pearson(x: NDArray[np.int64], y: NDArray[np.float64]) -> Correlation:
    if _is_constant(x) or _is_constant(y):
        return _unknown(len(x))
    r = float(stats.pearsonr(x, y).statistic)
    return Correlation(r, _fisher(r, len(x), 1.0), len(x))


def _spearman(x: NDArray[np.int64], y: NDArray[np.float64]) -> Correlation:
    if _is_constant(x) or _is_constant(y):
        return _unknown(len(x))
    r = float(stats.spearmanr(x, y).statistic)
    return Correlation(r, _fisher(r, len(x), 1 + r**2 / 2), len(x))


def _fisher(r: float, pairs: int, variance: float) -> Interval:
    """95 % interval of a correlation whose artanh has ``variance`` / (n − 3)."""
    if pairs < 4:
        return Interval(math.nan, math.nan)
    if abs(r) >= 1:
        return Interval(r, r)
    half = float(ndtri(0.975)) * math.sqrt(variance / (pairs - 3))
    return Interval(math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))


def _unknown(pairs: int) -> Correlation:
    return Correlation(math.nan, Interval(math.nan, math.nan), pairs)


def _is_constant(values: NDArray[np.int64] | NDArray[np.float64]) -> bool:
    return len(values) < 2 or bool((values == values[0]).all())


def _standard_error(group: NDArray[np.float64]) -> float:
    return float(group.std(ddof=1)) / math.sqrt(len(group)) if len(group) > 1 else math.nan


def _check_curvature(curvature: ArrayLike) -> NDArray[np.float64]:
    """Return ``curvature`` as an array where it is (N,), N > 0, finite and ≥ 0."""
    array = np.asarray(curvature, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise InvalidArgumentError(f"curvature must be of shape (N,) with N > 0, got {array.shape}")
    if not (np.isfinite(array) & (array >= 0)).all():
        raise InvalidArgumentError("curvature must be finite and >= 0")
    return array
