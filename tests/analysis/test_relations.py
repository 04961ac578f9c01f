"""Relations of curvature and robustness against loops in exact numbers, scipy by another route, and simulation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

import noiseproof as npf
from noiseproof.analysis.relations import (
    Correlation,
    accuracy_by_retained,
    curvature_by_count,
    lowest_share,
)
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.intervals import accuracy_interval
from tests.evaluation.problems import Linear, samples


def problem(draws: int = 10, size: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Curvatures over several decades, and answers that are right the less often the larger they are."""
    random = np.random.default_rng(seed)
    exponent = random.normal(size=size)
    correct = random.random((draws, size)) < 1 / (1 + np.exp(exponent + random.normal(size=size) - 1))
    return 10.0**exponent, correct


def quantile(values: list[Fraction], p: Fraction) -> Fraction:
    """The p-th quantile, by linear interpolation between the order statistics at (N − 1) p."""
    ordered, place = sorted(values), (len(values) - 1) * p
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


# Fig. 8


def test_retained_accuracy_by_loops_in_fractions() -> None:
    curvature, correct = problem(draws=3, size=53)
    shares = [Fraction(k, 8) for k in range(9)]  # exact as floats
    found = accuracy_by_retained(curvature, correct, [float(share) for share in shares])
    exact = [Fraction(value) for value in curvature.tolist()]
    for place, share in enumerate(shares):
        limit = quantile(exact, share)
        inside = [i for i in range(53) if exact[i] < limit or share == 1]
        assert found.shares[place] == float(share)
        assert found.sizes[place] == len(inside)
        if inside:
            right = sum(int(correct[k, i]) for k in range(3) for i in inside)
            assert found.accuracies[place] == pytest.approx(right / (3 * len(inside)), abs=1e-12)
            interval = accuracy_interval(np.array([[bool(correct[k, i]) for i in inside] for k in range(3)]))
            assert found.intervals[place].tolist() == pytest.approx(list(interval), abs=1e-12)
    assert found.sizes.tolist()[::8] == [0, 53]


def test_retained_accuracy_of_ten_samples_by_hand() -> None:
    curvature = np.array([4.0, 1, 9, 2, 7, 3, 8, 5, 6, 10])
    correct = np.array([curvature <= 5, curvature <= 3])
    found = accuracy_by_retained(curvature, correct, [0.5, 1.0, 0.2])
    assert found.sizes.tolist() == [5, 10, 2]
    assert found.accuracies.tolist() == pytest.approx([8 / 10, 8 / 20, 1.0])
    assert ((found.intervals[:, 0] <= found.accuracies) & (found.accuracies <= found.intervals[:, 1])).all()


def test_shares_are_tenths_unless_told() -> None:
    found = accuracy_by_retained(*problem())
    assert found.shares.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert found.sizes.tolist() == [40, 80, 120, 160, 200, 240, 280, 320, 360, 400]
    assert found.intervals.shape == (10, 2)


def test_the_more_is_retained_the_lower_the_accuracy() -> None:
    """What Fig. 8 shows, where curvature does decide."""
    found = accuracy_by_retained(*problem(size=20_000))
    assert (np.diff(found.accuracies) < 0).all()
    assert found.accuracies[-1] == pytest.approx(problem(size=20_000)[1].mean())


def test_ties_are_in_or_out_together() -> None:
    curvature = np.array([0.0, 1, 1, 1, 1, 1, 1, 1, 1, 2])
    correct = np.arange(10)[None] < 1
    found = accuracy_by_retained(curvature, correct, [0.0, 0.5, 0.9, 1.0])
    assert found.sizes.tolist() == [0, 1, 9, 10]  # the quantile at 0.9 is 1.1
    assert found.accuracies[1:].tolist() == pytest.approx([1, 1 / 9, 1 / 10])


def test_where_all_curvatures_are_equal_only_all_are_retained() -> None:
    found = accuracy_by_retained(np.full(4, 0.3), np.eye(4, dtype=bool)[:2], [0.0, 0.7, 1.0])
    assert found.sizes.tolist() == [0, 0, 4]
    assert np.isnan(found.accuracies[:2]).all()
    assert np.isnan(found.intervals[:2]).all()
    assert found.accuracies[2] == 0.25


def test_reports_of_an_evaluation_fit() -> None:
    report = npf.evaluate(Linear(6), samples(60, 6), ["gaussian:0.4"], draws=4)
    result = report["gaussian:0.4"]
    curvature = np.random.default_rng(0).random(60)
    assert accuracy_by_retained(curvature, result.correct).accuracies[-1] == pytest.approx(result.mean)
    groups = curvature_by_count(curvature, result.correct_counts, 4)
    assert (groups.sizes @ groups.counts) / 240 == pytest.approx(result.mean)


# Fig. 9


def test_groups_by_loops() -> None:
    curvature, correct = problem(draws=6, size=300)
    counts = correct.sum(0)
    found = curvature_by_count(curvature, counts, 6)
    assert found.counts.tolist() == [0, 1, 2, 3, 4, 5, 6]
    for k in range(7):
        group = sorted(float(curvature[i]) for i in range(300) if sum(correct[:, i].tolist()) == k)
        mean = math.fsum(group) / len(group)
        variance = math.fsum((value - mean) ** 2 for value in group) / (len(group) - 1)
        middle = (group[(len(group) - 1) // 2] + group[len(group) // 2]) / 2
        assert found.sizes[k] == len(group)
        assert found.means[k] == pytest.approx(mean, rel=1e-12)
        assert found.stderrs[k] == pytest.approx(math.sqrt(variance / len(group)), rel=1e-10)
        assert found.medians[k] == pytest.approx(middle, rel=1e-12)


def pearson_by_loops(xs: list[float], ys: list[float]) -> float:
    x_mean, y_mean = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    both = math.fsum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return both / math.sqrt(math.fsum((x - x_mean) ** 2 for x in xs) * math.fsum((y - y_mean) ** 2 for y in ys))


def ranks_by_loops(values: list[float]) -> list[float]:
    """Ranks, ties getting their mean."""
    return [sum(o < v for o in values) + (sum(o == v for o in values) + 1) / 2 for v in values]


def test_correlations_by_loops() -> None:
    curvature, correct = problem(size=250)
    counts = correct.sum(0)
    found = curvature_by_count(curvature, counts, 10)
    groups = [k for k in range(11) if (counts == k).any()]
    means = [float(np.mean(curvature[counts == k])) for k in groups]
    assert found.of_groups.value == pytest.approx(pearson_by_loops(groups, means), rel=1e-10)
    assert found.of_samples.value == pytest.approx(
        pearson_by_loops(counts.tolist(), [math.log10(value) for value in curvature]), rel=1e-10
    )
    assert found.of_ranks.value == pytest.approx(
        pearson_by_loops(ranks_by_loops(counts.tolist()), ranks_by_loops(curvature.tolist())), rel=1e-10
    )
    assert (found.of_groups.pairs, found.of_samples.pairs, found.of_ranks.pairs) == (len(groups), 250, 250)


def test_pearsons_intervals_are_scipys() -> None:
    curvature, correct = problem(size=250)
    counts = correct.sum(0)
    found = curvature_by_count(curvature, counts, 10)
    expected = stats.pearsonr(counts, np.log10(curvature)).confidence_interval(0.95)
    assert found.of_samples.interval == pytest.approx((expected.low, expected.high), abs=1e-12)
    there = found.sizes > 0
    expected = stats.pearsonr(found.counts[there], found.means[there]).confidence_interval(0.95)
    assert found.of_groups.interval == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_spearmans_interval_by_hand() -> None:
    """Bonett & Wright: on the scale of artanh it reaches 1.96 √((1 + r²/2) / (n − 3)) to both sides."""
    curvature, correct = problem(size=250)
    r, (low, high), pairs = curvature_by_count(curvature, correct.sum(0), 10).of_ranks
    half = 1.959963984540054 * math.sqrt((1 + r**2 / 2) / (pairs - 3))
    assert (math.atanh(high) - math.atanh(r), math.atanh(r) - math.atanh(low)) == pytest.approx((half, half))


@pytest.mark.parametrize("rho", [0.0, -0.8])
def test_spearmans_interval_covers_the_populations_coefficient(rho: float) -> None:
    """Of normal pairs, 6/π · arcsin(ρ/2). Counts are their ranks, of which there are no ties."""
    random, hits, repeats, size = np.random.default_rng(1), 0, 300, 60
    population = 6 / math.pi * math.asin(rho / 2)
    for _ in range(repeats):
        x = random.normal(size=size)
        y = rho * x + math.sqrt(1 - rho**2) * random.normal(size=size)
        interval = curvature_by_count(np.exp(y), x.argsort().argsort(), size).of_ranks.interval
        hits += interval.low <= population <= interval.high
    assert hits / repeats == pytest.approx(0.95, abs=0.035)


def test_means_of_groups_correlate_more_than_samples_do() -> None:
    """Why the paper's coefficient is not the only one: what scatters within groups is averaged away."""
    random = np.random.default_rng(0)
    counts = random.integers(0, 11, 5000)
    curvature = 10 ** (-0.1 * counts + random.normal(scale=1.0, size=5000) - 2)
    found = curvature_by_count(curvature, counts, 10)
    assert found.of_samples.value == pytest.approx(-0.1 * math.sqrt(10) / math.sqrt(0.1 + 1), abs=0.04)
    assert found.of_groups.value < -0.7
    assert abs(found.of_samples.value) < 0.4
    assert abs(found.of_ranks.value) < 0.4


def test_empty_groups_are_left_out() -> None:
    found = curvature_by_count([5.0, 4, 3, 2, 2], [0, 1, 2, 3, 3], 9)
    assert found.sizes.tolist() == [1, 1, 1, 2, 0, 0, 0, 0, 0, 0]
    assert np.isnan(found.means[4:]).all()
    assert np.isnan(found.medians[4:]).all()
    assert np.isnan(found.stderrs[[0, 1, 2, 4]]).all()
    assert found.stderrs[3] == 0
    assert found.of_groups.value == pytest.approx(-1)
    assert found.of_groups.pairs == 4
    assert found.of_groups.interval == pytest.approx((-1, -1), abs=1e-6)
    assert found.of_ranks.pairs == 5


def test_fewer_than_four_groups_have_no_interval() -> None:
    found = curvature_by_count([5.0, 4, 3, 3.5, 2], [0, 1, 2, 2, 2], 2)
    assert found.of_groups.value < 0
    assert np.isnan(found.of_groups.interval).all()
    assert found.of_samples.interval.low < found.of_samples.value < found.of_samples.interval.high


@pytest.mark.parametrize(
    ("curvature", "counts"),
    [([1.0, 2, 3, 4, 5], [3] * 5), ([2.0] * 5, [0, 1, 2, 3, 3]), ([1.0], [2])],
    ids=["one count", "one curvature", "one sample"],
)
def test_where_one_side_is_constant_there_is_no_correlation(curvature: list[float], counts: list[int]) -> None:
    found = curvature_by_count(curvature, counts, 3)
    for correlation in (found.of_groups, found.of_samples, found.of_ranks):
        assert isinstance(correlation, Correlation)
        assert math.isnan(correlation.value)
        assert np.isnan(correlation.interval).all()


def test_curvatures_of_zero_have_no_logarithm_but_a_rank() -> None:
    curvature, counts = [0.0, 0.0, 1, 10, 100, 1000], [9, 10, 7, 6, 4, 1]
    found = curvature_by_count(curvature, counts, 10)
    assert found.of_samples.pairs == 4
    assert found.of_samples.value == pytest.approx(pearson_by_loops([7, 6, 4, 1], [0, 1, 2, 3]))
    assert found.of_ranks.pairs == 6
    nothing = curvature_by_count([0.0, 0, 0], [1, 2, 3], 3).of_samples
    assert math.isnan(nothing.value)
    assert nothing.pairs == 0


# Fig. 10


@pytest.mark.parametrize(
    ("size", "share", "expected"), [(10, 0.9, 9), (10_000, 0.9, 9000), (100, 0.29, 29), (7, 1.0, 7), (3, 0.01, 1)]
)
def test_the_lowest_share_by_counting(size: int, share: float, expected: int) -> None:
    curvature = np.random.default_rng(size).permutation(size).astype(float)
    before = curvature.copy()
    found = lowest_share(curvature, share)
    assert found.tolist() == [float(value) for value in range(expected)]
    assert (curvature == before).all()


def test_the_lowest_share_is_nine_tenths_unless_told() -> None:
    curvature, _ = problem(size=200)
    found = lowest_share(curvature)
    assert len(found) == 180
    assert set(found) | set(sorted(curvature)[180:]) == set(curvature)


# What they refuse


@pytest.mark.parametrize(
    ("curvature", "message"),
    [
        ([], r"curvature must be of shape \(N,\) with N > 0, got \(0,\)"),
        ([[1.0, 2.0]], r"got \(1, 2\)"),
        ([1.0, math.nan], "curvature must be finite and >= 0"),
        ([1.0, math.inf], "curvature must be finite and >= 0"),
        ([1.0, -1e-9], "curvature must be finite and >= 0"),
    ],
)
def test_curvatures_that_are_none(curvature: list[float], message: str) -> None:
    size = np.size(curvature)
    with pytest.raises(InvalidArgumentError, match=message):
        accuracy_by_retained(curvature, np.ones((1, max(size, 1)), dtype=bool))
    with pytest.raises(InvalidArgumentError, match=message):
        curvature_by_count(curvature, np.ones(size, dtype=int), 1)
    with pytest.raises(InvalidArgumentError, match=message):
        lowest_share(curvature)


@pytest.mark.parametrize(
    ("correct", "shares", "message"),
    [
        (np.ones((2, 3), dtype=bool), [0.5], r"correct must be \(draws, 2\), .* got \(2, 3\)"),
        (np.ones(2, dtype=bool), [0.5], r"correct must be bool of shape \(draws, N\)"),
        (np.ones((2, 2)), [0.5], "correct must be bool"),
        (np.ones((2, 2), dtype=bool), [0.5, 1.1], "share must be >= 0 and <= 1, got 1.1"),
        (np.ones((2, 2), dtype=bool), [-0.1], "share must be >= 0 and <= 1"),
    ],
)
def test_retained_accuracy_refuses(correct: np.ndarray, shares: list[float], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        accuracy_by_retained([1.0, 2.0], correct, shares)


@pytest.mark.parametrize(
    ("counts", "draws", "message"),
    [
        ([1, 2, 3], 3, "counts must be 2 integers, one per sample"),
        ([1.0, 2.0], 3, "got float64"),
        ([1, 4], 3, r"counts must lie in \[0, 3\], got 1 to 4"),
        ([-1, 2], 3, r"counts must lie in \[0, 3\], got -1 to 2"),
        ([0, 0], 0, "draws must be >= 1"),
    ],
)
def test_groups_refuse(counts: list[int], draws: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        curvature_by_count([1.0, 2.0], counts, draws)


@pytest.mark.parametrize("share", [0.0, 1.01, math.nan])
def test_the_lowest_share_refuses(share: float) -> None:
    with pytest.raises(InvalidArgumentError, match="share must be > 0 and <= 1"):
        lowest_share([1.0, 2.0], share)
