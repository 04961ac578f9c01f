"""Paired comparisons against loops, exact fractions, exact bootstrap distributions and simulated null hypotheses."""

from __future__ import annotations

import dataclasses
import math
import random as python_random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest

from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.evaluation import Comparison, RobustnessReport
from noiseproof.evaluation.intervals import Interval
from noiseproof.evaluation.matched import mcnemar
from noiseproof.evaluation.paired import PairedReport, compare_methods, compare_reports, paired_difference
from tests.evaluation.problems import comparison, report, result

NOTHING = "no difference shown"


def answers(draws: int, samples: int, seed: int = 0, a: float = 0.8, b: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Two (draws, N) of bool: every sample has its own difficulty, which both classifiers share in part."""
    random = np.random.default_rng(seed)
    shared = random.random(samples) < 0.5
    chance_a = np.where(shared, a, random.beta(0.3 * a, 0.3 * (1 - a), samples))
    chance_b = np.where(shared, b, random.beta(0.3 * b, 0.3 * (1 - b), samples))
    return random.random((draws, samples)) < chance_a, random.random((draws, samples)) < chance_b


def net_by_loops(a: np.ndarray, b: np.ndarray) -> list[int]:
    return [sum(int(a[k, i]) - int(b[k, i]) for k in range(len(a))) for i in range(a.shape[1])]


def pair(net: Sequence[int], draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Two (draws, N) of bool of which the first is right in net[i] more draws of sample i."""
    rows, wins = np.arange(draws)[:, None], np.array(net)
    return rows < np.maximum(wins, 0), rows < np.maximum(-wins, 0)


def made(correct: Mapping[str, np.ndarray], seed: int = 0) -> RobustnessReport:
    """A report with these (draws, N) of bool."""
    samples = next(iter(correct.values())).shape[1]
    results = {
        key: dataclasses.replace(result(key, [0] * len(array), samples), correct=array)
        for key, array in correct.items()
    }
    return RobustnessReport(results, np.arange(samples, dtype=np.int64) % 2, ("even", "odd"), seed)


# One perturbation


@pytest.mark.parametrize(("draws", "samples"), [(1, 1), (1, 50), (4, 31), (10, 80)])
def test_means_and_counts_by_loops(draws: int, samples: int) -> None:
    a, b = answers(draws, samples)
    found = paired_difference(a, b, key="gaussian:0.1")
    cells = [(int(a[k, i]), int(b[k, i])) for k in range(draws) for i in range(samples)]
    assert found.a_mean == pytest.approx(sum(right for right, _ in cells) / len(cells))
    assert found.b_mean == pytest.approx(sum(right for _, right in cells) / len(cells))
    assert found.difference == pytest.approx(sum(net_by_loops(a, b)) / len(cells), abs=1e-15)
    assert (found.only_a, found.only_b) == (cells.count((1, 0)), cells.count((0, 1)))
    assert (found.draws, found.samples, found.key, found.level) == (draws, samples, "gaussian:0.1", 0.95)
    assert found.p_value == mcnemar(a, b)
    assert found.low <= found.difference <= found.high


def exact_mcnemar(only_a: int, only_b: int) -> Fraction:
    """The probability, by summing, of a split of fair coins at least as uneven as this one."""
    tosses = only_a + only_b
    uneven = [k for k in range(tosses + 1) if abs(2 * k - tosses) >= abs(only_a - only_b)]
    return Fraction(sum(math.comb(tosses, k) for k in uneven), 2**tosses)


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (1, 0), (5, 0), (3, 3), (4, 3), (10, 2), (2, 10), (60, 41), (0, 40), (500, 430)]
)
def test_one_draw_is_the_exact_test(only_a: int, only_b: int) -> None:
    a, b = pair([1] * only_a + [-1] * only_b + [0] * 17, 1)
    assert mcnemar(a, b) == pytest.approx(float(exact_mcnemar(only_a, only_b)), rel=1e-9)


def clustered_by_loops(a: np.ndarray, b: np.ndarray) -> float:
    net = net_by_loops(a, b)
    chi2 = sum(net) ** 2 / sum(each**2 for each in net)
    return 2 * (1 - NormalDist().cdf(math.sqrt(chi2)))  # χ² with one degree of freedom is a squared normal


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("draws", "samples"), [(2, 20), (3, 200), (10, 57)])
def test_several_draws_are_the_clustered_test(draws: int, samples: int, seed: int) -> None:
    a, b = answers(draws, samples, seed)
    assert mcnemar(a, b) == pytest.approx(clustered_by_loops(a, b), rel=1e-7)


def test_draws_that_repeat_each_other_prove_no_more_than_one() -> None:
    """McNemar's (b − c)² / (b + c) with b = 30 and c = 18 is 3, however often it is repeated."""
    a, b = pair([1] * 30 + [-1] * 18 + [0] * 52, 1)
    for draws in (2, 5, 40):
        assert mcnemar(np.repeat(a, draws, 0), np.repeat(b, draws, 0)) == pytest.approx(0.08326451666, rel=1e-9)


def test_wins_that_cancel_within_their_sample_prove_nothing() -> None:
    a = np.array([[True, False, True], [False, True, True]])
    assert mcnemar(a, ~a | (a.all(0))) == 1
    assert paired_difference(a, ~a | (a.all(0))).only_a == 2


# Type I errors. Under these null hypotheses a sample is either alike for both classifiers or far easier for one, which
# is a or b with even odds; so the draws of a sample agree, and pooling them counts the same evidence again and again.


def null_pairs(draws: int, samples: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(draws)
    pairs = []
    for _ in range(count):
        easier = random.choice([-1, 0, 1], samples, p=[0.15, 0.7, 0.15])
        a, b = (random.random((draws, samples)) < 0.5 + 0.45 * side for side in (easier, -easier))
        pairs.append((a, b))
    return pairs


def rejected(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    return sum(mcnemar(a, b) < 0.05 for a, b in pairs) / len(pairs)


def test_the_exact_test_rejects_a_true_null_at_most_as_often_as_it_says() -> None:
    """4000 nulls: 5 % with a standard error of 0.35 points, less what an exact test gives away."""
    assert 0.025 < rejected(null_pairs(1, 200, 4000)) < 0.055


def test_the_clustered_test_rejects_a_true_null_as_often_as_it_says() -> None:
    pairs = null_pairs(10, 200, 4000)
    assert 0.04 < rejected(pairs) < 0.06
    pooled = [(a.reshape(1, -1), b.reshape(1, -1)) for a, b in pairs[:1000]]
    assert rejected(pooled) > 0.25


def test_a_difference_is_found() -> None:
    a, b = answers(10, 2000, a=0.8, b=0.75)
    found = paired_difference(a, b)
    assert found.p_value < 1e-3
    assert 0 < found.low < 0.05 < found.high
    assert found.verdict == "a better"


# The bootstrap


def exact_bootstrap(net: Sequence[int], draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Every mean that a resample of whole samples can have, and its probability: the N-fold convolution."""
    single = np.bincount(np.array(net) + draws, minlength=2 * draws + 1) / len(net)
    probability = np.ones(1)
    for _ in net:
        probability = np.convolve(probability, single)
    return np.arange(-draws * len(net), draws * len(net) + 1) / (draws * len(net)), probability


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize(("draws", "samples"), [(1, 60), (2, 25), (5, 40)])
def test_the_interval_ends_at_quantiles_of_the_exact_distribution(draws: int, samples: int, level: float) -> None:
    """The share of resamples beyond an end is a tail within four standard errors of 40,000 resamples."""
    a, b = answers(draws, samples, seed=2)
    found = paired_difference(a, b, level=level, resamples=40_000)
    means, probability = exact_bootstrap(net_by_loops(a, b), draws)
    tail, rounding = (1 - level) / 2, 1e-9
    slack = 4 * math.sqrt(tail * (1 - tail) / 40_000)
    assert probability[means < found.low - rounding].sum() <= tail + slack
    assert probability[means <= found.low + rounding].sum() >= tail - slack
    assert probability[means > found.high + rounding].sum() <= tail + slack
    assert probability[means >= found.high - rounding].sum() >= tail - slack


def test_the_interval_is_that_of_resampling_the_samples_one_by_one() -> None:
    a, b = answers(3, 50, seed=1)
    mean = [net / 3 for net in net_by_loops(a, b)]
    random = python_random.Random(0)
    means = sorted(sum(random.choices(mean, k=50)) / 50 for _ in range(20_000))
    found = paired_difference(a, b, resamples=20_000)
    assert (found.low, found.high) == pytest.approx((means[500], means[19_500]), abs=1.01 / 150)  # a step
    assert found.high - found.low > 0.15


def test_many_samples_have_the_normal_interval() -> None:
    a, b = answers(5, 8000)
    net = np.array(net_by_loops(a, b)) / 5
    error = net.std() / math.sqrt(8000)
    found = paired_difference(a, b, resamples=40_000)
    expected = net.mean() + np.array([-1, 1]) * NormalDist().inv_cdf(0.975) * error
    assert (found.low, found.high) == pytest.approx(expected, abs=0.06 * error)


def test_the_interval_covers_the_populations_difference() -> None:
    """Samples on which a is .9 and b .1 right (30 %), the reverse (20 %), and others: 0.08. Pooled draws miss it."""
    random = np.random.default_rng(1)
    covered = pooled = 0
    for _ in range(1000):
        side = random.choice([-1, 0, 1], 200, p=[0.2, 0.5, 0.3])
        a, b = (random.random((8, 200)) < 0.5 + 0.4 * s for s in (side, -side))
        found = paired_difference(a, b, resamples=500)
        covered += found.low <= 0.08 <= found.high
        naive = paired_difference(a.reshape(1, -1), b.reshape(1, -1), resamples=500)
        pooled += naive.low <= 0.08 <= naive.high
    assert 0.925 < covered / 1000 < 0.965
    assert pooled / 1000 < 0.8


def test_a_seed_repeats_and_another_does_not() -> None:
    a, b = answers(3, 200)
    once, again, other = (paired_difference(a, b, resamples=200, seed=seed) for seed in (4, 4, 5))
    assert once == again
    assert (once.low, once.high) != (other.low, other.high)


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    paired_difference(*answers(3, 20))
    assert np.random.random() == expected


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("draws", [1, 4])
def test_swapping_the_two_swaps_everything(draws: int, seed: int) -> None:
    a, b = answers(draws, 60, seed, a=0.7, b=0.7)
    one, other = paired_difference(a, b, resamples=300), paired_difference(b, a, resamples=300)
    assert one.difference != 0
    assert other == dataclasses.replace(
        one, a_mean=one.b_mean, b_mean=one.a_mean, difference=-one.difference, low=-one.high, high=-one.low,
        only_a=one.only_b, only_b=one.only_a,
    )  # fmt: skip


def test_equal_accuracies_have_nearly_the_mirrored_interval() -> None:
    a, b = pair([3] * 5 + [-1] * 15 + [0] * 30, 3)
    one, other = paired_difference(a, b, resamples=40_000), paired_difference(b, a, resamples=40_000)
    assert one.difference == other.difference == 0
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.01)
    assert one.p_value == other.p_value == 1


def test_the_order_of_samples_and_draws_is_nothing_to_it() -> None:
    a, b = answers(5, 60)
    random = np.random.default_rng(0)
    samples, draws = random.permutation(60), random.permutation(5)
    assert paired_difference(a[draws][:, samples], b[draws][:, samples]) == paired_difference(a, b)


def test_pairing_the_samples_matters() -> None:
    """Of two equally accurate classifiers, one that errs on the same samples is known to be equal far better."""
    a = np.random.default_rng(0).random((1, 1000)) < 0.7
    b = a.copy()
    b[0, np.flatnonzero(a[0])[:5]] = False
    b[0, np.flatnonzero(~a[0])[:4]] = True
    alike, shifted = paired_difference(a, b), paired_difference(a, np.roll(b, 500))
    assert alike.difference == shifted.difference
    assert (alike.high - alike.low) * 5 < shifted.high - shifted.low


# Cases at the edge, and verdicts


@pytest.mark.parametrize("draws", [1, 6])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_classifier_does_not_differ_from_itself(draws: int, share: float) -> None:
    a = np.random.default_rng(0).random((draws, 50)) < share
    found = paired_difference(a, a)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert (found.only_a, found.only_b, found.verdict) == (0, 0, NOTHING)


@pytest.mark.parametrize("draws", [1, 6])
def test_all_right_against_all_wrong(draws: int) -> None:
    right = np.ones((draws, 40), dtype=bool)
    found = paired_difference(right, ~right)
    assert (found.difference, found.low, found.high) == (1, 1, 1)
    assert (found.only_a, found.only_b, found.verdict) == (40 * draws, 0, "a better")
    assert paired_difference(~right, right).verdict == "b better"


@pytest.mark.parametrize("draws", [1, 6])
def test_a_single_sample_shows_nothing(draws: int) -> None:
    found = paired_difference(np.ones((draws, 1), dtype=bool), np.zeros((draws, 1), dtype=bool))
    assert (found.low, found.high) == (1, 1)
    assert found.p_value > 0.3
    assert found.verdict == NOTHING


def test_a_verdict_needs_the_test_as_well_as_the_interval() -> None:
    """Five wins to nothing: the bootstrap hardly ever draws none of them, but coins fall so once in 16."""
    found = paired_difference(*pair([1] * 5 + [0] * 95, 1))
    assert found.low > 0
    assert found.p_value == pytest.approx(1 / 16)
    assert found.verdict == NOTHING
    assert dataclasses.replace(found, level=0.9).verdict == "a better"


def test_a_verdict_needs_the_interval_as_well_as_the_test() -> None:
    found = paired_difference(*pair([1] * 20 + [0] * 80, 1))
    assert found.verdict == "a better"
    assert dataclasses.replace(found, low=-0.01).verdict == NOTHING
    assert dataclasses.replace(found, low=0.0).verdict == NOTHING


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones((2, 3), dtype=bool), np.ones((2, 4), dtype=bool), "of one shape, got"),
        (np.ones((2, 3), dtype=bool), np.ones((3, 3), dtype=bool), "of one shape, got"),
        (np.ones((2, 3)), np.ones((2, 3), dtype=bool), "correct_a must be bool"),
        (np.ones((2, 3), dtype=bool), np.ones(3, dtype=bool), "correct_b must be bool"),
        (np.ones((2, 0), dtype=bool), np.ones((2, 0), dtype=bool), "neither of them 0"),
    ],
)
def test_arrays_that_are_no_pairs_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    for compare in (mcnemar, paired_difference):
        with pytest.raises(InvalidArgumentError, match=rf"^[^\n]*{message}[^\n]*$"):
            compare(a, b)


@pytest.mark.parametrize(
    "options", [{"level": 0}, {"level": 1.0}, {"level": 95}, {"resamples": 0}, {"resamples": 1.5}]
)
def test_options_outside_their_range_are_refused(options: dict) -> None:
    a, b = answers(2, 10)
    one, other = made({"clean": a[:1]}), made({"clean": b[:1]})
    for seeds in (1, 2):
        methods = Comparison("t", {"x": dict.fromkeys(range(seeds), one), "y": dict.fromkeys(range(seeds), other)}, {})
        with pytest.raises(InvalidArgumentError, match=rf"^{next(iter(options))} must be"):
            compare_methods(methods, "x", "y", **options)
    with pytest.raises(InvalidArgumentError, match=rf"^{next(iter(options))} must be"):
        paired_difference(a, b, **options)
    with pytest.raises(InvalidArgumentError, match=rf"^{next(iter(options))} must be"):
        compare_reports(one, other, **options)


# Two reports


def test_reports_are_compared_under_every_perturbation() -> None:
    clean, weak, strong = answers(1, 40), answers(3, 40, 1), answers(3, 40, 2)
    a = made({"gaussian:0.1": weak[0], "clean": clean[0], "gaussian:0.5": strong[0]})
    b = made({"clean": clean[1], "gaussian:0.1": weak[1], "gaussian:0.5": strong[1]})
    found = compare_reports(a, b, level=0.9, resamples=500, seed=3)
    assert list(found) == ["gaussian:0.1", "clean", "gaussian:0.5"]
    assert len(found) == 3
    for key, arrays in zip(found, (weak, clean, strong), strict=True):
        assert found[key] == paired_difference(*arrays, level=0.9, resamples=500, seed=3, key=key)


def test_only_what_both_have_is_compared_whatever_its_text() -> None:
    a = report({"clean": [9], "gaussian:8/255": [5, 6], "gaussian:1": [3, 3]})
    b = report({"gaussian:2": [4, 4], "gaussian:std=8/255": [6, 8], "clean": [9]})
    found = compare_reports(a, b)
    assert list(found) == ["clean", "gaussian:8/255"]
    assert found["gaussian:8/255"].difference == pytest.approx(-0.15)
    assert found["gaussian:std=8/255"] is found["gaussian:8/255"]
    assert list(compare_reports(b, a)) == ["gaussian:std=8/255", "clean"]


@pytest.mark.parametrize("key", ["gaussian:1", "gaussian:3", "cleam", "no such thing", 7])
def test_a_perturbation_that_was_not_compared_is_unknown(key: str) -> None:
    found = compare_reports(report({"clean": [9], "gaussian:1": [4]}), report({"clean": [9]}))
    with pytest.raises(UnknownNameError, match=r"^unknown perturbation in this [^\n]*$"):
        found[key]
    assert key not in found
    assert found.get("clean") is found["clean"]


def relabelled(given: RobustnessReport) -> RobustnessReport:
    return RobustnessReport(dict(given), 1 - given.labels, given.class_names, given.seed)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (relabelled(report({"clean": [9]})), "their labels differ"),
        (report({"clean": [9]}, samples=11), "their labels differ"),
        (report({"clean": [9], "gaussian:1": [5, 6]}, seed=8), "one seed of the noise, got 0 and 8"),
        (report({"gaussian:2": [5, 6]}), "a perturbation that both reports have"),
        (
            report({"clean": [9], "gaussian:1": [5, 6, 6]}),
            "as many draws of 'gaussian:1' in both reports, got 2 and 3",
        ),
    ],
    ids=["labels", "samples", "noise", "perturbations", "draws"],
)
def test_reports_that_are_not_paired_are_refused(other: RobustnessReport, message: str) -> None:
    one = report({"clean": [9], "gaussian:1": [5, 6]})
    with pytest.raises(InvalidArgumentError, match=rf"^[^\n]*{message}[^\n]*$"):
        compare_reports(one, other)


# Two methods


def student(degrees: int) -> float:
    """The 97.5 % point of Student's t, where it has a closed form."""
    return {1: math.tan(math.pi * 0.475), 2: 2 * 0.475 * math.sqrt(2 / (4 * 0.975 * 0.025))}[degrees]


def methods(draws: int, samples: int, seeds: Sequence[int], keys: Sequence[str] = ("gaussian:0.1",)) -> Comparison:
    """Methods "x" and "y" trained with some seeds, and how they do under some random perturbations."""
    reports: dict[str, dict[int, RobustnessReport]] = {"x": {}, "y": {}}
    for seed in seeds:
        pairs = {key: answers(draws, samples, 100 * seed + index) for index, key in enumerate(keys)}
        for side, method in enumerate("xy"):
            reports[method][seed] = made({key: both[side] for key, both in pairs.items()}, seed=1)
    return Comparison("t", reports, {"x": "X", "y": "Y"})


def test_methods_by_hand() -> None:
    """Right of 10 in three draws: plain 8 7 9 and 7 7 8, robust 9 8 9 and 9 9 9, so robust wins by 2/30 and 5/30."""
    found = compare_methods(comparison(), "robust", "plain")["gaussian:0.1"]
    assert (found.key, found.a, found.b, found.seeds) == ("gaussian:0.1", "robust", "plain", (0, 1))
    assert (found.draws, found.samples, found.level) == (3, 10, 0.95)
    assert found.a_mean == pytest.approx(53 / 60)
    assert found.b_mean == pytest.approx(46 / 60)
    assert found.differences == pytest.approx((2 / 30, 5 / 30))
    assert found.mean == pytest.approx(7 / 60)
    assert found.std_over_seeds == pytest.approx(0.1 / math.sqrt(2))
    half = student(1) * 0.1 / 2
    assert found.interval_over_seeds == pytest.approx((7 / 60 - half, 7 / 60 + half))
    net = [
        sum((i < r) - (i < p) for r, p in zip((9, 8, 9, 9, 9, 9), (8, 7, 9, 7, 7, 8), strict=True)) for i in range(10)
    ]
    assert sum(net) == 7
    variance = sum((each / 6 - 7 / 60) ** 2 for each in net) / 9
    assert found.error_over_samples == pytest.approx(math.sqrt(variance / 10))


def test_three_training_seeds_by_loops() -> None:
    given = methods(4, 70, (3, 1, 2), ("gaussian:0.1", "gaussian:0.2"))
    found = compare_methods(given, "x", "y")
    assert list(found) == ["gaussian:0.1", "gaussian:0.2"]
    for key in found:
        pairs = [(given.reports["x"][s][key].correct, given.reports["y"][s][key].correct) for s in (1, 2, 3)]
        nets = [net_by_loops(*each) for each in pairs]
        differences = [sum(net) / 280 for net in nets]
        mean = sum(differences) / 3
        std = math.sqrt(sum((each - mean) ** 2 for each in differences) / 2)
        half = student(2) * std / math.sqrt(3)
        by_sample = [sum(net[i] for net in nets) / 12 for i in range(70)]
        variance = sum((each - mean) ** 2 for each in by_sample) / 69
        assert found[key].seeds == (1, 2, 3)
        assert found[key].differences == pytest.approx(differences)
        assert found[key].mean == pytest.approx(mean)
        assert found[key].std_over_seeds == pytest.approx(std)
        assert found[key].interval_over_seeds == pytest.approx((mean - half, mean + half))
        assert found[key].error_over_samples == pytest.approx(math.sqrt(variance / 70))


def test_the_interval_over_samples_resamples_all_trained_models_together() -> None:
    """The models' answers to a sample are resampled with it, as if they were so many draws more."""
    given = methods(4, 70, (0, 1, 2))
    found = compare_methods(given, "x", "y", level=0.9, resamples=700, seed=5)["gaussian:0.1"]
    stacked = [np.concatenate([of["gaussian:0.1"].correct for of in given.reports[m].values()]) for m in "xy"]
    expected = paired_difference(*stacked, level=0.9, resamples=700, seed=5)
    assert found.interval_over_samples == Interval(expected.low, expected.high)
    assert found.mean == pytest.approx(expected.difference)


def test_the_two_sources_of_spread_are_apart() -> None:
    """Models that are the same for each seed have none over seeds, however few the samples."""
    a, b = answers(3, 400)
    same = Comparison("t", {m: dict.fromkeys((0, 1, 2), made({"gaussian:1": x})) for m, x in (("x", a), ("y", b))}, {})
    found = compare_methods(same, "x", "y")["gaussian:1"]
    alone = paired_difference(a, b)
    assert found.std_over_seeds == 0
    assert found.interval_over_seeds == pytest.approx((alone.difference, alone.difference))
    assert found.interval_over_samples == pytest.approx((alone.low, alone.high))
    assert found.error_over_samples == pytest.approx((alone.high - alone.low) / (2 * 1.96), rel=0.05)


def test_seeds_that_contradict_each_other_are_no_spread_over_samples() -> None:
    """One model is right about everything, then the other is: which samples these are is nothing to it."""
    right, wrong = np.ones((1, 50), dtype=bool), np.zeros((1, 50), dtype=bool)
    flips = Comparison(
        "t",
        {"x": {0: made({"clean": right}), 1: made({"clean": wrong})},
         "y": {0: made({"clean": wrong}), 1: made({"clean": right})}},
        {},
    )  # fmt: skip
    found = compare_methods(flips, "x", "y")["clean"]
    assert found.differences == (1, -1)
    assert found.std_over_seeds == pytest.approx(math.sqrt(2))
    assert (found.mean, found.error_over_samples, found.interval_over_samples) == (0, 0, (0, 0))


def test_the_interval_over_seeds_covers_what_more_seeds_would_give() -> None:
    """Four trained models each; the population's mean difference is 0.1. A z in place of t would miss it in 15 %."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(600):
        rights = np.rint(1000 * (0.6 + 0.03 * random.standard_normal((2, 4)))).astype(int) + np.array([[100], [0]])
        reports = {
            m: {s: made({"clean": np.arange(1000)[None] < n}) for s, n in enumerate(row)}
            for m, row in zip("xy", rights.tolist(), strict=True)
        }
        low, high = compare_methods(Comparison("t", reports, {}), "x", "y", resamples=2)["clean"].interval_over_seeds
        covered += low <= 0.1 <= high
    assert 0.925 < covered / 600 < 0.975


def test_one_training_seed_has_no_spread_over_seeds() -> None:
    found = compare_methods(comparison(seeds=1), "robust", "plain")["gaussian:0.5"]
    assert math.isnan(found.std_over_seeds)
    assert all(math.isnan(end) for end in found.interval_over_seeds)
    assert found.differences == pytest.approx((found.mean,))
    assert found.verdict == "not known from one seed"


def test_one_sample_has_no_error_over_samples() -> None:
    found = compare_methods(methods(3, 1, (0, 1)), "x", "y")["gaussian:0.1"]
    assert math.isnan(found.error_over_samples)


def test_only_the_training_seeds_of_both_count() -> None:
    whole = methods(2, 30, (0, 1, 2, 3))
    part = {"x": {s: whole.reports["x"][s] for s in (0, 1, 2)}, "y": {s: whole.reports["y"][s] for s in (3, 2, 1)}}
    found = compare_methods(Comparison("t", part, {}), "x", "y")
    both = {m: {s: whole.reports[m][s] for s in (1, 2)} for m in "xy"}
    assert found["gaussian:0.1"].seeds == (1, 2)
    assert dict(found) == dict(compare_methods(Comparison("t", both, {}), "x", "y"))


def test_swapping_the_methods_swaps_everything() -> None:
    given = methods(3, 60, (0, 1, 2))
    one, other = (compare_methods(given, *names)["gaussian:0.1"] for names in ("xy", "yx"))
    assert one.mean == -other.mean != 0
    assert one.differences == tuple(-each for each in other.differences)
    for mine, yours in (
        (one.interval_over_seeds, other.interval_over_seeds), (one.interval_over_samples, other.interval_over_samples),
    ):  # fmt: skip
        assert mine == pytest.approx((-yours.high, -yours.low))
    assert (one.std_over_seeds, one.error_over_samples) == pytest.approx(
        (other.std_over_seeds, other.error_over_samples)
    )
    assert (one.a, one.a_mean) == (other.b, other.b_mean)


def test_a_verdict_on_methods_needs_both_intervals() -> None:
    found = compare_methods(methods(3, 60, (0, 1, 2)), "x", "y")["gaussian:0.1"]
    above, below, around = Interval(0.01, 0.1), Interval(-0.1, -0.01), Interval(-0.1, 0.1)
    verdicts = {
        (above, above): "x better", (below, below): "y better", (above, below): NOTHING,
        (above, around): NOTHING, (around, above): NOTHING, (around, around): NOTHING,
        (Interval(0, 0), Interval(0, 0)): NOTHING,
    }  # fmt: skip
    for (over_seeds, over_samples), verdict in verdicts.items():
        judged = dataclasses.replace(found, interval_over_seeds=over_seeds, interval_over_samples=over_samples)
        assert judged.verdict == verdict


@pytest.mark.parametrize(("a", "b"), [("plain", "robusst"), ("robusst", "plain"), ("no such thing", "plain")])
def test_unknown_methods_are_refused(a: str, b: str) -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown method in this comparison: [^\n]*$"):
        compare_methods(comparison(), a, b)


def test_methods_without_a_training_seed_in_common_are_refused() -> None:
    given = Comparison("t", {"x": {0: report({"clean": [9]})}, "y": {1: report({"clean": [9]})}}, {})
    with pytest.raises(
        InvalidArgumentError, match=r"^'x' and 'y' have no training seed in common: \[0\] against \[1\]$"
    ):
        compare_methods(given, "x", "y")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ({0: report({"gaussian:1": [5]}), 1: report({"gaussian:1": [5, 6]})}, "as many draws of 'gaussian:1'"),
        ({0: report({"gaussian:1": [5, 6]}, seed=3)}, "one seed of the noise, got 0 and 3"),
    ],
)
def test_methods_that_are_not_paired_are_refused(y: dict, message: str) -> None:
    x = {seed: report({"gaussian:1": [5, 6]}) for seed in (0, 1)}
    with pytest.raises(InvalidArgumentError, match=rf"^[^\n]*{message}[^\n]*$"):
        compare_methods(Comparison("t", {"x": x, "y": y}, {}), "x", "y")


def test_draws_that_differ_from_seed_to_seed_are_refused() -> None:
    runs = {0: report({"gaussian:1": [5, 6]}), 1: report({"gaussian:1": [5, 6, 7]})}
    with pytest.raises(InvalidArgumentError, match=r"^the numbers of draws of 'gaussian:1' differ [^\n]*$"):
        compare_methods(Comparison("t", {"x": runs, "y": runs}, {}), "x", "y")


def test_a_paired_report_is_a_mapping() -> None:
    found = compare_methods(comparison(), "plain", "robust")
    assert isinstance(found, PairedReport)
    assert {key: each.a for key, each in found.items()} == dict.fromkeys(comparison().perturbations, "plain")
