"""Confidence intervals and calibration errors against loops, closed forms, bisection and simulated populations."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest

from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.intervals import (
    Interval,
    accuracy_interval,
    effective_samples,
    expected_calibration_error,
)


def answers(p: float, draws: int, samples: int, random: np.random.Generator, alike: float = 0.3) -> np.ndarray:
    """(draws, N) of bool with accuracy p in the population; the smaller ``alike``, the more draws agree."""
    chance = random.beta(p * alike, (1 - p) * alike, samples)
    return random.random((draws, samples)) < chance


def effective_by_loops(correct: np.ndarray) -> Fraction:
    """p(1−p) / SE² in exact arithmetic, with neither the bounds nor the case of SE = 0."""
    draws, samples = correct.shape
    p = [Fraction(sum(int(correct[k, i]) for k in range(draws)), draws) for i in range(samples)]
    mean = sum(p) / samples
    variance = sum((each - mean) ** 2 for each in p) / samples
    return mean * (1 - mean) / (variance / samples)


def wilson_by_bisection(p: float, n: float, level: float) -> Interval:
    """The accuracies π for which |p − π| ≤ z √(π(1−π)/n): both roots, each by halving."""
    z = NormalDist().inv_cdf((1 + level) / 2)

    def is_covered(pi: float) -> bool:
        return abs(p - pi) <= z * math.sqrt(pi * (1 - pi) / n)

    def root(outside: float) -> float:
        inside = p
        for _ in range(200):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if is_covered(middle) else (inside, middle)
        return inside

    return Interval(0.0 if p == 0 else root(0.0), 1.0 if p == 1 else root(1.0))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("draws", "samples"), [(1, 1), (1, 37), (3, 40), (10, 25)])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_wilsons_interval_with_the_effective_sample_size(p: float, draws: int, samples: int, level: float) -> None:
    correct = answers(p, draws, samples, np.random.default_rng(draws * samples))
    found = accuracy_interval(correct, level)
    expected = wilson_by_bisection(float(correct.mean()), effective_samples(correct), level)
    assert found == pytest.approx(expected, abs=1e-12)


def test_one_draw_is_the_textbooks_interval() -> None:
    """81 of 263 at 95 %, method 3 of R. G. Newcombe, Statistics in Medicine 17, 1998: (0.2553, 0.3662)."""
    correct = np.arange(263)[None] < 81
    assert accuracy_interval(correct) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(("draws", "samples"), [(2, 30), (7, 12), (10, 50)])
def test_effective_samples_by_loops_in_fractions(draws: int, samples: int) -> None:
    correct = answers(0.6, draws, samples, np.random.default_rng(3))
    assert samples < effective_samples(correct) < draws * samples
    assert effective_samples(correct) == pytest.approx(float(effective_by_loops(correct)), rel=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 10, 999])
def test_one_draw_of_n_samples_is_worth_n(samples: int) -> None:
    correct = np.random.default_rng(0).random((1, samples)) < 0.7
    assert effective_samples(correct) == pytest.approx(samples, rel=1e-12)


def test_draws_that_repeat_each_other_are_worth_one() -> None:
    once = np.random.default_rng(0).random((1, 80)) < 0.7
    assert effective_samples(np.repeat(once, 10, axis=0)) == pytest.approx(80, rel=1e-12)
    assert accuracy_interval(np.repeat(once, 10, axis=0)) == pytest.approx(accuracy_interval(once), abs=1e-12)


def test_draws_that_have_nothing_in_common_are_all_worth_something() -> None:
    correct = np.random.default_rng(0).random((10, 20_000)) < 0.7
    assert effective_samples(correct) == pytest.approx(200_000, rel=0.05)


def test_samples_are_never_worth_more_than_all_their_draws() -> None:
    """Rates of ½ and ⅔ alone differ so little that SE² would make 4 samples worth far more than 4 · 6 answers."""
    right = np.array([3, 3, 4, 4])
    correct = np.arange(6)[:, None] < right
    assert effective_by_loops(correct) > 100
    assert effective_samples(correct) == 24


@pytest.mark.parametrize("right", [0, 3, 5, 7, 10])
def test_where_all_samples_do_alike_they_are_worth_one_each(right: int) -> None:
    """Also 3/10 and 7/10, where rounding could leave a variance that is not quite 0."""
    correct = np.repeat(np.arange(10)[:, None] < right, 13, axis=1)
    assert effective_samples(correct) == 13
    assert accuracy_interval(correct) == pytest.approx(wilson_by_bisection(right / 10, 13, 0.95), abs=1e-12)


@pytest.mark.parametrize("draws", [1, 10])
@pytest.mark.parametrize("samples", [1, 5, 10_000])
def test_all_right_and_all_wrong_keep_a_width(draws: int, samples: int) -> None:
    z = NormalDist().inv_cdf(0.975)
    right = accuracy_interval(np.ones((draws, samples), dtype=bool))
    wrong = accuracy_interval(np.zeros((draws, samples), dtype=bool))
    assert right == pytest.approx((samples / (samples + z**2), 1), abs=1e-12)
    assert wrong == pytest.approx((0, z**2 / (samples + z**2)), abs=1e-12)
    assert right.high == 1
    assert wrong.low == 0


def test_it_contains_the_mean_and_lies_in_the_unit_interval() -> None:
    random = np.random.default_rng(0)
    for draws, samples in random.integers(1, 12, (300, 2)):
        correct = answers(float(random.uniform(0.02, 0.98)), int(draws), int(samples), random)
        low, high = accuracy_interval(correct)
        assert 0 <= low <= correct.mean() <= high <= 1
        assert low < high
        assert samples * (1 - 1e-12) <= effective_samples(correct) <= draws * samples


def test_a_higher_level_is_a_wider_interval() -> None:
    correct = answers(0.8, 5, 60, np.random.default_rng(0))
    nested = [accuracy_interval(correct, level) for level in (0.5, 0.8, 0.95, 0.99, 0.9999)]
    assert all(outer.low < inner.low and inner.high < outer.high for inner, outer in itertools.pairwise(nested))


def test_errors_have_the_mirrored_interval() -> None:
    correct = answers(0.8, 5, 60, np.random.default_rng(0))
    low, high = accuracy_interval(~correct)
    assert accuracy_interval(correct) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_the_order_of_samples_and_draws_is_nothing_to_it() -> None:
    random = np.random.default_rng(0)
    correct = answers(0.8, 5, 60, random)
    shuffled = correct[random.permutation(5)][:, random.permutation(60)]
    within = random.permuted(correct, axis=0)  # the draws of each sample by themselves
    assert accuracy_interval(shuffled) == pytest.approx(accuracy_interval(correct), abs=1e-12)
    assert accuracy_interval(within) == pytest.approx(accuracy_interval(correct), abs=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.98])
@pytest.mark.parametrize("draws", [1, 10])
def test_it_covers_the_population_as_often_as_it_says(p: float, draws: int) -> None:
    """3000 samplings of 500 samples: 95 % with a standard error of 0.4 points."""
    random = np.random.default_rng(5)
    covered = naive = 0
    for _ in range(3000):
        correct = answers(p, draws, 500, random)
        covered += accuracy_interval(correct).low <= p <= accuracy_interval(correct).high
        pooled = accuracy_interval(correct.reshape(1, -1))  # every draw an answer of its own
        naive += pooled.low <= p <= pooled.high
    assert 0.935 < covered / 3000 < 0.965
    assert (naive / 3000 < 0.6) == (draws > 1)


@pytest.mark.parametrize(
    "correct", [[True], [[1, 0]], [[0.5]], np.ones((0, 4), dtype=bool), np.ones((4, 0), dtype=bool)]
)
def test_what_is_not_draws_by_samples_is_refused(correct: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^correct must be bool of shape \(draws, N\)[^\n]*$"):
        accuracy_interval(correct)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, math.nan, "0.95"])
def test_levels_outside_the_unit_interval_are_refused(level: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^level must be"):
        accuracy_interval([[True, False]], level)


def ece_by_loops(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    pairs = list(zip(confidence.ravel().tolist(), correct.ravel().tolist(), strict=True))
    error = 0.0
    for m in range(bins):
        inside = [(c, r) for c, r in pairs if (m / bins < c or m == 0) and c <= (m + 1) / bins]
        if inside:
            accuracy = sum(r for _, r in inside) / len(inside)
            mean = sum(c for c, _ in inside) / len(inside)
            error += len(inside) / len(pairs) * abs(accuracy - mean)
    return error


@pytest.mark.parametrize("bins", [1, 2, 10, 15, 100])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 50), (2, 3, 40)])
def test_calibration_error_by_loops(shape: tuple[int, ...], bins: int) -> None:
    random = np.random.default_rng(bins)
    confidence = random.random(shape)
    correct = random.random(shape) < 0.6
    found = expected_calibration_error(confidence, correct, bins)
    assert found == pytest.approx(ece_by_loops(confidence, correct, bins), abs=1e-13)
    assert 0 <= found <= 1


@pytest.mark.parametrize("bins", [2, 3, 10, 15, 49])
def test_calibration_error_by_loops_on_every_edge(bins: int) -> None:
    edges = np.arange(bins + 1) / bins
    confidence = np.concatenate([edges, np.nextafter(edges[1:], 0), np.nextafter(edges[:-1], 1)])
    correct = np.random.default_rng(0).random(len(confidence)) < 0.5
    found = expected_calibration_error(confidence, correct, bins)
    assert found == pytest.approx(ece_by_loops(confidence, correct, bins), abs=1e-13)


def test_an_edge_belongs_to_the_bin_below() -> None:
    """Were 0.5 in the upper of two bins, that bin would be right half of the time, as it claims."""
    confidence = np.array([0.5, np.nextafter(0.5, 1)])
    assert expected_calibration_error(confidence, np.array([False, True]), 2) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("confidence", "correct", "error"),
    [
        ([1.0] * 4, [True] * 4, 0),
        ([1.0] * 4, [False] * 4, 1),
        ([0.0] * 4, [True] * 4, 1),
        ([0.0, 0.0], [False, False], 0),
        ([0.8] * 5, [True] * 4 + [False], 0),
        ([0.9] * 4, [True, True, False, False], 0.4),
        ([0.95, 0.95, 0.55, 0.55], [True, False, True, True], (0.45 + 0.45) / 2),
        ([0.9], [False], 0.9),
    ],
)
def test_calibration_errors_by_hand(confidence: list[float], correct: list[bool], error: float) -> None:
    assert expected_calibration_error(confidence, correct) == pytest.approx(error, abs=1e-12)


def test_one_bin_compares_the_means() -> None:
    random = np.random.default_rng(0)
    confidence, correct = random.random(100), random.random(100) < 0.3
    expected = abs(correct.mean() - confidence.mean())
    assert expected_calibration_error(confidence, correct, 1) == pytest.approx(expected)


def test_large_samples_have_the_populations_error() -> None:
    """Uniform confidence c: right with probability c it is 0, with c² it is E[c − c²] = 1/6."""
    random = np.random.default_rng(0)
    confidence, chance = random.random(400_000), random.random(400_000)
    assert expected_calibration_error(confidence, chance < confidence) < 0.004
    assert expected_calibration_error(confidence, chance < confidence**2) == pytest.approx(1 / 6, abs=0.003)


def test_draws_are_pooled_and_their_order_is_nothing_to_it() -> None:
    random = np.random.default_rng(0)
    confidence, correct = random.random((4, 30)), random.random((4, 30)) < 0.7
    order = random.permutation(120)
    found = expected_calibration_error(confidence, correct)
    flat = expected_calibration_error(confidence.ravel()[order], correct.ravel()[order])
    assert flat == pytest.approx(found, abs=1e-13)


def test_single_precision_may_round_above_one() -> None:
    confidence = np.full(3, np.nextafter(np.float32(1), np.float32(2)))
    assert expected_calibration_error(confidence, np.ones(3, dtype=bool)) == 0
    assert expected_calibration_error(confidence, np.zeros(3, dtype=bool)) == 1


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5], [True, False], "correct must be bool in the shape"),
        ([[0.5, 0.5]], [[True], [False]], "correct must be bool in the shape"),
        ([0.5], [1], "correct must be bool"),
        ([], np.array([], dtype=bool), "not empty"),
        ([1.01], [True], r"confidence must lie in \[0, 1\]"),
        ([0.5, -0.1], [True, True], r"confidence must lie in \[0, 1\]"),
        ([0.5, math.nan], [True, True], r"confidence must lie in \[0, 1\]"),
    ],
)
def test_calibration_of_something_else_is_refused(confidence: list, correct: list, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^[^\n]*{message}[^\n]*$"):
        expected_calibration_error(confidence, correct)


@pytest.mark.parametrize("bins", [0, -1, 1.5])
def test_bins_have_to_be_counted(bins: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^bins must be"):
        expected_calibration_error([0.5], [True], bins)
