"""A comparison's cells against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation import Comparison, RobustnessReport
from tests.evaluation.problems import comparison, report


def test_cells_by_hand() -> None:
    cell = comparison().cell("plain", "gaussian:0.1")  # draws 8 7 9 (seed 0) and 7 7 8 (seed 1) of 10
    first, second = 0.8, 22 / 30
    assert cell.mean == pytest.approx((first + second) / 2)
    assert cell.std_over_seeds == pytest.approx(abs(first - second) / math.sqrt(2))
    variance_first, variance_second = 0.1**2, (2 * (1 / 30) ** 2 + (2 / 30) ** 2) / 2
    assert cell.std_over_draws == pytest.approx(math.sqrt((variance_first + variance_second) / 2))
    assert not cell.best


def test_clean_cells_have_no_spread_over_draws() -> None:
    cell = comparison().cell("plain", "clean")
    assert cell.mean == pytest.approx(0.95)
    assert cell.std_over_seeds == pytest.approx(0.1 / math.sqrt(2))
    assert cell.std_over_draws == 0
    assert cell.best


def test_one_seed_has_no_std_over_seeds() -> None:
    cell = comparison(seeds=1).cell("robust", "gaussian:0.5")
    assert math.isnan(cell.std_over_seeds)
    assert cell.std_over_draws == pytest.approx(0.1)


def test_single_draws_have_no_std_over_draws() -> None:
    made = Comparison("t", {"a": {0: report({"gaussian:1": [5]}), 1: report({"gaussian:1": [7]})}}, {"a": "A"})
    cell = made.cell("a", "gaussian:1")
    assert math.isnan(cell.std_over_draws)
    assert cell.std_over_seeds == pytest.approx(0.2 / math.sqrt(2))


def test_best_is_judged_in_every_column() -> None:
    made = comparison()
    best = {column: [name for name in made.methods if made.cell(name, column).best] for column in made.perturbations}
    assert best == {"clean": ["plain"], "gaussian:0.1": ["robust"], "gaussian:0.5": ["robust"]}


def runs(*correct: int) -> dict[int, RobustnessReport]:
    return {seed: report({"clean": [count]}) for seed, count in enumerate(correct)}


@pytest.mark.parametrize(
    ("one", "other"), [((5,), (5,)), ((4, 6), (5, 5)), ((1, 7), (4, 4)), ((2, 4), (3, 3)), ((8, 4), (6, 6))]
)
def test_as_many_right_answers_are_a_tie_and_both_best(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    made = Comparison("t", {"a": runs(*one), "b": runs(*other), "c": runs(1)}, {"a": "A", "b": "B", "c": "C"})
    assert [made.cell(method, "clean").best for method in "abc"] == [True, True, False]


def test_what_was_compared() -> None:
    made = comparison("digits")
    assert made.title == "digits"
    assert made.methods == ["plain", "robust"]
    assert made.perturbations == ("clean", "gaussian:0.1", "gaussian:0.5")
    assert made.seeds == [0, 1]
    assert made.draws == 3


def test_a_method_without_runs_is_left_out() -> None:
    assert Comparison("t", {"a": runs(5), "b": {}}, {"a": "A", "b": "B"}).methods == ["a"]


@pytest.mark.parametrize(
    "other",
    [
        report({"clean": [9]}),
        report({"gaussian:1": [5, 6], "clean": [9]}),
        report({"clean": [9], "gaussian:2": [5, 6]}),
        report({"clean": [90], "gaussian:1": [50, 60]}, samples=100),
    ],
    ids=["fewer", "other order", "other noise", "other samples"],
)
def test_reports_that_do_not_match_are_refused(other: RobustnessReport) -> None:
    one = report({"clean": [9], "gaussian:1": [5, 6]})
    for reports in ({"a": {0: one}, "b": {0: other}}, {"a": {0: one, 1: other}}):
        with pytest.raises(InvalidArgumentError):
            Comparison("t", reports, {"a": "A", "b": "B"})


@pytest.mark.parametrize("reports", [{}, {"a": {}}])
def test_nothing_to_compare_is_refused(reports: dict) -> None:
    with pytest.raises(InvalidArgumentError):
        Comparison("t", reports, {"a": "A"})
