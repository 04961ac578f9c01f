"""What a setting is worth, against loops written from the descriptions, SciPy, and truths that are built in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from noiseproof.evaluation import RobustnessReport
from noiseproof.evaluation.intervals import Interval
from noiseproof.studies.correlations import correlations
from noiseproof.studies.designs import Trial, design_trials
from noiseproof.studies.effects import Difference, difference, main_effects, score
from noiseproof.studies.factors import Factor, factor
from tests.oracles.effects import differences_by_sample, differences_by_seed, pairs_that_differ_in, score_by_loops
from tests.studies.problems import random_report, report_of, report_with

# Draws differ between perturbations, as those of clean inputs and of noise do.
DRAWS = {"clean": 1, "gaussian:0.1": 4, "uniform:0.2": 3}
COLUMNS = list(DRAWS)
SAMPLES = 60

Reports = Mapping[int, RobustnessReport]


def random_reports(random: np.random.Generator, seeds: tuple[int, ...], samples: int = SAMPLES) -> Reports:
    return {seed: random_report(random, DRAWS, samples) for seed in seeds}


def grid(*texts: str) -> tuple[list[Factor], list[Trial]]:
    factors = [factor(text) for text in texts]
    return factors, design_trials("grid", factors)


# Scores


@pytest.mark.parametrize("columns", [["clean"], ["gaussian:0.1", "uniform:0.2"], COLUMNS])
@pytest.mark.parametrize("seeds", [(0,), (3, 1, 8)])
def test_a_score_is_the_mean_that_loops_give(seeds: tuple[int, ...], columns: list[str]) -> None:
    reports = random_reports(np.random.default_rng(0), seeds)
    assert score(reports, columns) == pytest.approx(score_by_loops(reports, columns), abs=1e-12)


# Differences


@pytest.mark.parametrize("columns", [["gaussian:0.1"], COLUMNS])
@pytest.mark.parametrize("pairs", [1, 3])
@pytest.mark.parametrize("seeds", [(0,), (0, 1), (2, 0, 5, 7)])
def test_a_difference_is_the_one_that_loops_give(seeds: tuple[int, ...], pairs: int, columns: list[str]) -> None:
    random = np.random.default_rng(len(seeds) + pairs)
    given = [(random_reports(random, seeds), random_reports(random, seeds)) for _ in range(pairs)]
    found = difference(given, columns)
    by_seed = differences_by_seed(given, columns)
    assert found.seeds == len(seeds)
    assert found.mean == pytest.approx(np.mean(by_seed), abs=1e-12)
    assert found.mean == pytest.approx(np.mean(differences_by_sample(given, columns)), abs=1e-12)
    if len(seeds) == 1:
        assert all(math.isnan(end) for end in found.over_seeds)
    else:
        expected = stats.t.interval(0.95, len(seeds) - 1, loc=np.mean(by_seed), scale=stats.sem(by_seed))
        assert found.over_seeds == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("columns", [["clean"], COLUMNS])
@pytest.mark.parametrize(("seeds", "pairs"), [((0,), 1), ((0, 1, 2), 2)])
def test_the_interval_over_samples_is_that_of_scipy(seeds: tuple[int, ...], pairs: int, columns: list[str]) -> None:
    random = np.random.default_rng(7)
    given = [(random_reports(random, seeds, 150), random_reports(random, seeds, 150)) for _ in range(pairs)]
    found = difference(given, columns).over_samples
    of_each = np.array(differences_by_sample(given, columns))
    expected = stats.bootstrap(
        (of_each,), np.mean, method="percentile", n_resamples=8000, rng=np.random.default_rng(1), vectorized=True
    )
    # The ends of a percentile interval from 2000 resamples vary by about 0.06 standard errors.
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.25 * float(expected.standard_error))


def test_the_interval_over_samples_covers_as_often_as_it_says() -> None:
    """For models that stay as they are, and other samples: about 95 of 100 hold the true difference."""
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        a, b = ({"gaussian:0.1": random.random((3, 120)) < rate} for rate in (0.7, 0.6))
        low, high = difference([({0: report_of(a)}, {0: report_of(b)})], ["gaussian:0.1"]).over_samples
        covered += low <= 0.1 <= high
    assert 89 <= covered <= 99


def test_seeds_that_not_all_have_do_not_count() -> None:
    random = np.random.default_rng(3)
    given = [
        (random_reports(random, (0, 1, 2)), random_reports(random, (1, 2, 5))),
        (random_reports(random, (2, 1)), random_reports(random, (2, 1, 0))),
    ]
    found = difference(given, COLUMNS)
    assert found.seeds == 2
    assert found.mean == pytest.approx(np.mean(differences_by_seed(given, COLUMNS)), abs=1e-12)


def test_a_setting_is_as_good_as_itself() -> None:
    reports = random_reports(np.random.default_rng(0), (0, 1))
    found = difference([(reports, reports)], COLUMNS)
    assert found == Difference(0.0, Interval(0.0, 0.0), Interval(0.0, 0.0), 2)
    assert found.verdict == "the same"


def test_changing_sides_changes_the_sign_of_everything() -> None:
    random = np.random.default_rng(5)
    for _ in range(5):
        a, b = random_reports(random, (0, 1, 2)), random_reports(random, (0, 1, 2))
        one, other = difference([(a, b)], COLUMNS), difference([(b, a)], COLUMNS)
        assert other.mean == pytest.approx(-one.mean, abs=1e-15)
        for ours, theirs in ((one.over_seeds, other.over_seeds), (one.over_samples, other.over_samples)):
            assert theirs == pytest.approx((-ours.high, -ours.low), abs=1e-12)


NAN = Interval(math.nan, math.nan)
UP, DOWN, OPEN = Interval(0.1, 0.2), Interval(-0.2, -0.1), Interval(-0.1, 0.2)


@pytest.mark.parametrize(
    ("over_seeds", "over_samples", "seeds", "verdict"),
    [
        (UP, UP, 3, "better"),
        (DOWN, DOWN, 3, "worse"),
        (OPEN, UP, 3, "no difference shown"),
        (UP, OPEN, 3, "no difference shown"),
        (UP, DOWN, 3, "no difference shown"),
        (Interval(0.0, 0.2), UP, 2, "no difference shown"),
        (NAN, UP, 1, "better (one seed)"),
        (NAN, DOWN, 1, "worse (one seed)"),
        (NAN, OPEN, 1, "no difference shown"),
    ],
)
def test_a_verdict_needs_all_intervals_that_there_are(
    over_seeds: Interval, over_samples: Interval, seeds: int, verdict: str
) -> None:
    assert Difference(0.0, over_seeds, over_samples, seeds).verdict == verdict


# Main effects


def compared(factors: list[Factor], trials: list[Trial], reports: Mapping[str, Reports], columns: list[str]) -> None:
    """Hold the effects against the oracle's."""
    levels = {trial.name: dict(trial.levels) for trial in trials if trial.levels}
    expected: dict[tuple[str, Any], tuple[int, float]] = {}
    for each in factors:
        base, *others = each.listed
        for value in others:
            pairs = pairs_that_differ_in(each.path, value, base, levels, reports)
            if pairs:
                expected[each.path, value] = len(pairs), float(np.mean(differences_by_seed(pairs, columns)))
    found = main_effects(factors, trials, reports, columns, COLUMNS)
    assert [(effect.path, effect.value) for effect in found] == list(expected)
    for effect in found:
        pairs, mean = expected[effect.path, effect.value]
        assert effect.pairs == pairs
        assert effect.base == next(each for each in factors if each.path == effect.path).listed[0]
        assert effect.by_column[""].mean == pytest.approx(mean, abs=1e-12)
        assert set(effect.by_column) == {"", *COLUMNS}


@pytest.mark.parametrize("random_seed", range(4))
@pytest.mark.parametrize("columns", [COLUMNS, ["gaussian:0.1", "clean"]])
def test_effects_of_a_grid_are_those_that_loops_give(random_seed: int, columns: list[str]) -> None:
    """Some trials are missing, some have fewer seeds, and some are told apart by values that look alike."""
    random = np.random.default_rng(random_seed)
    factors, trials = grid("m.a=1,2,3", "m.b=x,y", "m.c=null,false")
    reports = {
        trial.name: random_reports(random, ((0, 1), (1, 0, 2), (1,))[random.integers(3)], 30)
        for trial in trials
        if random.random() < 0.8
    }
    compared(factors, trials, reports, columns)


@pytest.mark.parametrize("random_seed", range(3))
def test_effects_of_single_changes_are_those_against_the_base(random_seed: int) -> None:
    random = np.random.default_rng(random_seed)
    factors = [factor("m.a=1,2,3"), factor("m.b=x,y")]
    trials = design_trials("one-at-a-time", factors)
    reports = {trial.name: random_reports(random, (0, 1), 30) for trial in trials}
    compared(factors, trials, reports, COLUMNS)
    found = {(e.path, e.value): e for e in main_effects(factors, trials, reports, COLUMNS, COLUMNS)}
    for trial in trials[1:]:
        ((path, value),) = ((p, v) for p, v in trial.levels.items() if v != trials[0].levels[p])
        expected = score_by_loops(reports[trial.name], COLUMNS) - score_by_loops(reports["base"], COLUMNS)
        assert found[path, value].by_column[""].mean == pytest.approx(expected, abs=1e-12)
        assert found[path, value].pairs == 1


def additive(a: list[int], b: list[int], c: list[int], seeds: tuple[int, ...] = (0, 1)) -> tuple[Any, Any, Any]:
    """A full grid in which every value adds its own number of right answers of 1000."""
    values = {name: ",".join(map(str, range(len(adds)))) for name, adds in zip("abc", (a, b, c), strict=True)}
    factors, trials = grid(*(f"m.{name}={listed}" for name, listed in values.items()))
    reports = {}
    for trial, (i, j, k) in zip(trials, itertools.product(*(range(len(v)) for v in (a, b, c))), strict=True):
        right = 400 + a[i] + b[j] + c[k]
        reports[trial.name] = {
            seed: report_with({"clean": right + 7 * seed, "gaussian:0.1": right - 50}, 1000, 3) for seed in seeds
        }
    return factors, trials, reports


def test_in_a_full_grid_additive_truths_are_found_exactly() -> None:
    a, b, c = [0, 20, -35], [0, 5], [0, -1, 100, 0]
    factors, trials, reports = additive(a, b, c)
    found = main_effects(factors, trials, reports, ["clean", "gaussian:0.1"], ["clean"])
    truth = {f"m.{name}": values for name, values in zip("abc", (a, b, c), strict=True)}
    assert len(found) == 2 + 1 + 3
    for effect in found:
        expected = truth[effect.path][effect.value] / 1000  # type: ignore[index]
        assert effect.by_column[""].mean == pytest.approx(expected, abs=1e-12)
        assert effect.by_column["clean"].mean == pytest.approx(expected, abs=1e-12)
        assert effect.by_column[""].over_seeds == pytest.approx((expected, expected), abs=1e-12)
        assert effect.pairs == 3 * 2 * 4 // len(truth[effect.path])
        low, high = effect.by_column[""].over_samples
        assert low <= effect.by_column[""].mean <= high
        if abs(expected) > 0.01:
            assert effect.by_column[""].verdict == ("better" if expected > 0 else "worse")


def test_an_effect_turns_round_where_the_value_that_comes_first_does() -> None:
    random = np.random.default_rng(2)
    one, trials = grid("m.a=1,2", "m.b=x,y,z")
    by_levels = {tuple(sorted(map(str, t.levels.values()))): random_reports(random, (0, 1)) for t in trials}
    other, turned = grid("m.a=2,1", "m.b=x,y,z")

    def reports(of: list[Trial]) -> dict[str, Reports]:
        return {trial.name: by_levels[tuple(sorted(map(str, trial.levels.values())))] for trial in of}

    effect, *_ = main_effects(one, trials, reports(trials), COLUMNS, COLUMNS)
    back, *_ = main_effects(other, turned, reports(turned), COLUMNS, COLUMNS)
    assert (effect.value, effect.base, back.value, back.base) == (2, 1, 1, 2)
    for column in ("", *COLUMNS):
        ours, theirs = effect.by_column[column], back.by_column[column]
        assert theirs.mean == pytest.approx(-ours.mean, abs=1e-15)
        assert theirs.over_samples == pytest.approx((-ours.over_samples.high, -ours.over_samples.low), abs=1e-12)
        assert theirs.over_seeds == pytest.approx((-ours.over_seeds.high, -ours.over_seeds.low), abs=1e-12)


def test_ranges_and_rivals_have_no_effects() -> None:
    ranged = Factor.model_validate({"path": "m.a", "values": {"low": 0, "high": 1}})
    trials = [Trial("base", {}), *design_trials("random", [ranged], trials=3)]
    reports = {trial.name: random_reports(np.random.default_rng(0), (0,)) for trial in trials}
    assert main_effects([ranged], trials, reports, COLUMNS, COLUMNS) == []


def test_nothing_measured_has_no_effects() -> None:
    factors, trials = grid("m.a=1,2")
    assert main_effects(factors, trials, {}, COLUMNS, COLUMNS) == []
    only_base = {"base": random_reports(np.random.default_rng(0), (0,))}
    assert main_effects(factors, trials, only_base, COLUMNS, COLUMNS) == []


def test_pairs_with_different_seeds_do_not_stop_the_study() -> None:
    """In a grid with two seeds, one trial diverges with the first of them and another one with the second."""
    random = np.random.default_rng(0)
    factors, trials = grid("m.a=1,2", "m.b=x,y")
    seeds = {"base": (0, 1), "m.b=y": (0, 1), "m.a=2": (0,), "m.a=2,m.b=y": (1,)}
    reports = {name: random_reports(random, those) for name, those in seeds.items()}
    found = main_effects(factors, trials, reports, COLUMNS, COLUMNS)
    assert [effect.path for effect in found] == ["m.a", "m.b"]


def test_draws_that_differ_between_trials_are_means_all_the_same() -> None:
    few, many = ({0: report_with({"gaussian:0.1": 30}, draws=draws)} for draws in (2, 3))
    assert difference([(many, few)], ["gaussian:0.1"]).mean == pytest.approx(0, abs=1e-12)


# Correlations


def spearman_by_loops(x: list[float], y: list[float]) -> float:
    """Pearson's correlation of ranks, equal values sharing the mean of theirs."""

    def ranks(values: list[float]) -> list[float]:
        return [
            1 + sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
            for value in values
        ]

    a, b = ranks(x), ranks(y)
    mean = (len(x) + 1) / 2
    products = sum((p - mean) * (q - mean) for p, q in zip(a, b, strict=True))
    return products / math.sqrt(sum((p - mean) ** 2 for p in a) * sum((q - mean) ** 2 for q in b))


def test_correlations_are_spearmans_with_ties() -> None:
    random = np.random.default_rng(0)
    factors = [factor("m.a=0..1"), factor("m.b=1,2,3"), factor("m.c=x,y"), factor("m.d=true,false"), factor("m.e=5")]
    trials = design_trials("random", factors, trials=25)
    scores = [round(float(t.levels["m.a"]) + 0.3 * random.normal(), 1) for t in trials]  # type: ignore[arg-type]
    found = correlations(factors, [(t.levels, s) for t, s in zip(trials, scores, strict=True)])
    assert [each.path for each in found] == ["m.a", "m.b"]  # texts, booleans and what is the same everywhere: none
    for each in found:
        values = [float(trial.levels[each.path]) for trial in trials]  # type: ignore[arg-type]
        assert each.rho == pytest.approx(spearman_by_loops(values, scores), abs=1e-12)
        t = each.rho * math.sqrt(23 / (1 - each.rho**2))
        assert each.p_value == pytest.approx(2 * stats.t.sf(abs(t), 23), rel=1e-9)
        assert each.trials == 25


@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.3], [0.5] * 10, []])
def test_too_few_trials_or_equal_scores_have_no_correlation(scores: list[float]) -> None:
    factors = [factor("m.a=0..1")]
    trials = design_trials("random", factors, trials=max(1, len(scores)))
    assert correlations(factors, [(t.levels, s) for t, s in zip(trials, scores, strict=False)]) == []
