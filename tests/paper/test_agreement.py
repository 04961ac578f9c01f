"""Agreement with published numbers against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from noiseproof.evaluation import Comparison
from noiseproof.paper import Published
from noiseproof.paper.agreement import CellAgreement, OrderAgreement, cell_agreements, order_agreements
from noiseproof.paper.tables import agreement_table, contradictions, order_table
from tests.evaluation.problems import report

COLUMNS = ("clean", "gaussian:0.1")
TITLES = {"a": "Row A", "b": "Row B", "c": "Row C"}
N = 100  # samples, so that an accuracy in percent counts them

Counts = Mapping[str, Sequence[Mapping[str, Sequence[int]]]]


def compared(counts: Counts, first_seed: Mapping[str, int] | None = None) -> Comparison:
    """A comparison, given the right answers of 100 by row, seed, column and draw."""
    start = first_seed or {}
    reports = {
        row: {start.get(row, 0) + index: report(each, N) for index, each in enumerate(of_row)}
        for row, of_row in counts.items()
    }
    return Comparison("toy", reports, TITLES)


def clean(**counts: Sequence[int]) -> Comparison:
    """One of clean inputs alone: right answers by row and seed."""
    return compared({row: [{"clean": [count]} for count in of_row] for row, of_row in counts.items()})


def paper(**numbers: str) -> dict[str, list[Published]]:
    """The published numbers, with commas between."""
    return {row: [Published.parse(text) for text in of_row.split(",")] for row, of_row in numbers.items()}


TWO_COLUMNS: Counts = {
    "a": [
        {"clean": [90], "gaussian:0.1": [80, 82]},
        {"clean": [92], "gaussian:0.1": [81, 83]},
        {"clean": [94], "gaussian:0.1": [82, 84]},
    ],
    "b": [
        {"clean": [70], "gaussian:0.1": [60, 60]},
        {"clean": [70], "gaussian:0.1": [60, 60]},
        {"clean": [70], "gaussian:0.1": [60, 60]},
    ],
}
IN_PAPER = paper(a="93.5, 84 ± 2.5", b="70.5, 60.25 ± 0.25")


@pytest.fixture(scope="module")
def cells() -> dict[tuple[str, str], CellAgreement]:
    return {(cell.row, cell.column): cell for cell in cell_agreements(compared(TWO_COLUMNS), IN_PAPER, COLUMNS)}


# Cells


def test_every_cell_is_there_row_by_row(cells: dict[tuple[str, str], CellAgreement]) -> None:
    assert list(cells) == [(row, column) for row in ("a", "b") for column in COLUMNS]


def test_a_cell_against_several_seeds(cells: dict[tuple[str, str], CellAgreement]) -> None:
    clean_cell = cells["a", "clean"]  # 90, 92, 94: mean 92, std over seeds 2
    assert clean_cell.ours.mean == pytest.approx(0.92)
    assert clean_cell.ours.std_over_seeds == pytest.approx(0.02)
    assert clean_cell.difference == pytest.approx(-1.5)
    assert (clean_cell.inside_ours, clean_cell.inside_published) == (True, None)

    noisy = cells["a", "gaussian:0.1"]  # seeds 81, 82, 83: std 1; draws ±1: std √2, which does not count here
    assert noisy.ours.std_over_seeds == pytest.approx(0.01)
    assert noisy.ours.std_over_draws == pytest.approx(math.sqrt(2) / 100)
    assert noisy.difference == pytest.approx(-2)
    assert (noisy.inside_ours, noisy.inside_published) == (False, True)


def test_a_difference_that_is_as_large_as_the_spread_is_inside(cells: dict[tuple[str, str], CellAgreement]) -> None:
    noisy = cells["b", "gaussian:0.1"]
    assert noisy.difference == -0.25
    assert (noisy.inside_ours, noisy.inside_published) == (False, True)


@pytest.mark.parametrize("accuracy", [50, 55, 57, 70])
def test_no_difference_is_inside_no_spread(accuracy: int) -> None:
    (cell,) = cell_agreements(clean(a=[accuracy] * 3), paper(a=f"{accuracy}.00 ± 0.00"), ["clean"])
    assert cell.difference == pytest.approx(0)
    assert (cell.inside_ours, cell.inside_published) == (True, True)  # whatever floats make of 100 · 0.57 − 57


@pytest.mark.parametrize(
    ("published", "inside"), [("82.4", True), ("79.7", True), ("82.5", False), ("79.5", False), ("81", True)]
)
def test_one_seed_is_judged_by_its_draws(published: str, inside: bool) -> None:
    made = compared({"a": [{"gaussian:0.1": [80, 82]}]})  # mean 81, std √2 = 1.414
    (cell,) = cell_agreements(made, paper(a=published), ["gaussian:0.1"])
    assert math.isnan(cell.ours.std_over_seeds)
    assert cell.inside_ours is inside


@pytest.mark.parametrize(("published", "inside"), [("80.9 ± 0.2", True), ("81.3 ± 0.2", False), ("81.2 ± 0.2", True)])
def test_the_papers_spread_holds_to_both_sides(published: str, inside: bool) -> None:
    made = compared({"a": [{"gaussian:0.1": [81, 81]}]})
    (cell,) = cell_agreements(made, paper(a=published), ["gaussian:0.1"])
    assert cell.inside_published is inside


def inside_column(made: Comparison, published: Mapping[str, Sequence[Published]], columns: Sequence[str]) -> list[str]:
    """What stands under "inside"."""
    table = agreement_table(cell_agreements(made, published, columns), TITLES)
    return [row[table.columns.index("inside")].text for row in table.rows]


@pytest.mark.parametrize(
    ("published", "inside"),
    [("81.5 ± 1", "both"), ("82 ± 0.5", "ours"), ("83 ± 2.5", "the paper's"), ("83 ± 1", "no"), ("82", "ours"),
     ("83", "no")],
)  # fmt: skip
def test_inside_which_spread(published: str, inside: str) -> None:
    made = compared({"a": [{"gaussian:0.1": [80, 82]}]})
    assert inside_column(made, paper(a=published), ["gaussian:0.1"]) == [inside]


@pytest.mark.parametrize(
    ("column", "counts"), [("clean", [90]), ("gaussian:0.1", [90])], ids=["clean inputs", "a single draw"]
)
def test_where_neither_side_has_a_spread_nothing_is_said_of_spreads(column: str, counts: list[int]) -> None:
    made = compared({"a": [{column: counts}]})  # one seed: what another would give is not known
    assert inside_column(made, paper(a="90.5"), [column]) != ["no"]


def test_the_table_of_cells() -> None:
    table = agreement_table(cell_agreements(compared(TWO_COLUMNS), IN_PAPER, COLUMNS), TITLES)
    assert table.columns == ("Row", "Column", "here", "± seeds", "± draws", "paper", "difference", "inside")
    assert [tuple(entry.text for entry in row) for row in table.rows] == [
        ("Row A", "clean", "92.00", "2.00", "", "93.50", "-1.50", "ours"),
        ("Row A", "σ 0.1", "82.00", "1.00", "1.41", "84.00 ±2.50", "-2.00", "the paper's"),
        ("Row B", "clean", "70.00", "0.00", "", "70.50", "-0.50", "no"),
        ("Row B", "σ 0.1", "60.00", "0.00", "", "60.25 ±0.25", "-0.25", "the paper's"),
    ]


def test_rows_that_are_not_there_are_left_out() -> None:
    made = compared({"b": TWO_COLUMNS["b"]})
    assert [cell.row for cell in cell_agreements(made, IN_PAPER, COLUMNS)] == ["b", "b"]
    for order in order_agreements(made, IN_PAPER, COLUMNS):
        assert (order.ours, order.published, order.pairs) == (("b",), ("b",), ())


def test_published_numbers_for_other_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        cell_agreements(compared(TWO_COLUMNS), paper(a="93.5", b="70"), COLUMNS)


# Order


def the_order(made: Comparison, **published: str) -> OrderAgreement:
    (order,) = order_agreements(made, paper(**published), ["clean"])
    return order


def outcomes(order: OrderAgreement) -> dict[tuple[str, str], str]:
    return {(pair.better, pair.other): pair.outcome for pair in order.pairs}


def test_pairs_are_the_same_open_or_opposite() -> None:
    # c − a is 10 with every seed; b − a is 3, 0, −1: mean 2/3, whose t interval (± 5.17) holds 0; c − b is 7, 10, 11.
    made = clean(a=[60, 61, 62], b=[63, 61, 61], c=[70, 71, 72])
    order = the_order(made, a="50", b="70", c="60")
    assert order.ours == ("c", "b", "a")
    assert order.published == ("b", "c", "a")
    assert outcomes(order) == {("b", "c"): "opposite", ("b", "a"): "open", ("c", "a"): "same"}
    assert [order.count(outcome) for outcome in ("same", "open", "opposite")] == [1, 1, 1]


@pytest.mark.parametrize("rows", ["abc", "cba", "bca"])
def test_the_points_of_a_pair_are_those_of_the_papers_better_row(rows: str) -> None:
    counts = {"a": [60, 61, 62], "b": [63, 61, 61], "c": [70, 71, 72]}
    order = the_order(clean(**{row: counts[row] for row in rows}), a="50", b="70", c="60.5")
    found = {(pair.better, pair.other): (pair.published, pair.points) for pair in order.pairs}
    assert set(found) == {("b", "c"), ("b", "a"), ("c", "a")}
    assert found["b", "c"] == (9.5, pytest.approx(-28 / 3))
    assert found["b", "a"] == (20, pytest.approx(2 / 3))
    assert found["c", "a"] == (10.5, pytest.approx(10))


def test_a_difference_on_few_samples_is_open_however_alike_the_seeds_are() -> None:
    order = the_order(clean(a=[90, 90, 90], b=[92, 92, 92]), a="80", b="90")
    assert outcomes(order) == {("b", "a"): "open"}  # 2 of 100 samples: resampling finds none of them too often


def test_one_seed_decides_nothing() -> None:
    order = the_order(clean(a=[20], b=[90]), a="80", b="90")
    assert outcomes(order) == {("b", "a"): "open"}
    assert order.ours == order.published == ("b", "a")


def test_rows_that_the_paper_has_equal_are_no_pair() -> None:
    order = the_order(clean(a=[60, 61, 62], b=[50, 50, 50], c=[70, 71, 72]), a="80", b="80", c="90")
    assert set(outcomes(order)) == {("c", "a"), ("c", "b")}
    assert sum(order.count(outcome) for outcome in ("same", "open", "opposite")) == len(order.pairs) == 2


def test_every_column_has_its_own_order() -> None:
    made = compared(TWO_COLUMNS)
    first, second = order_agreements(made, paper(a="93, 50 ± 1", b="70, 60 ± 1"), COLUMNS)
    assert (first.column, second.column) == COLUMNS
    assert (first.published, second.published) == (("a", "b"), ("b", "a"))
    assert first.ours == second.ours == ("a", "b")
    assert (outcomes(first), outcomes(second)) == ({("a", "b"): "same"}, {("b", "a"): "opposite"})


def test_rows_with_no_seed_in_common_are_not_set_against_each_other() -> None:
    counts = {"a": [{"clean": [60]}] * 2, "b": [{"clean": [70]}] * 2, "c": [{"clean": [80]}]}
    made = compared(counts, first_seed={"c": 5})  # of c another seed was finished first
    (order,) = order_agreements(made, paper(a="70", b="80", c="90"), ["clean"])
    assert order.ours == ("c", "b", "a")
    assert outcomes(order)["b", "a"] == "same"
    assert {outcomes(order).get(pair, "open") for pair in (("c", "a"), ("c", "b"))} == {"open"}


# In words


def test_what_is_the_other_way_round_is_said_with_both_differences() -> None:
    made = clean(a=[60, 61, 62], b=[63, 61, 61], c=[70, 71, 72])
    order = the_order(made, a="50", b="70", c="60.5")
    assert contradictions([order], TITLES) == [
        "clean: the paper has Row B 9.50 points above Row C; here it is 9.33 points below."
    ]


def test_the_same_and_the_open_are_no_contradiction() -> None:
    made = clean(a=[60, 61, 62], b=[63, 61, 61], c=[70, 71, 72])
    assert contradictions([the_order(made, a="50", b="49", c="60")], TITLES) == []
    assert contradictions([the_order(clean(a=[20], b=[90]), a="90", b="80")], TITLES) == []


def test_contradictions_are_told_column_by_column() -> None:
    orders = order_agreements(compared(TWO_COLUMNS), paper(a="70, 50 ± 1", b="70.5, 60 ± 1"), COLUMNS)
    assert contradictions(orders, TITLES) == [
        "clean: the paper has Row B 0.50 points above Row A; here it is 22.00 points below.",
        "σ 0.1: the paper has Row B 10.00 points above Row A; here it is 22.00 points below.",
    ]


def test_the_table_of_orders() -> None:
    made = clean(a=[60, 61, 62], b=[63, 61, 61], c=[70, 71, 72])
    table = order_table([the_order(made, a="50", b="70", c="60")])
    assert table.columns == ("Column", "here", "in the paper", "pairs the same", "open", "opposite")
    assert [tuple(entry.text for entry in row) for row in table.rows] == [
        ("clean", "c > b > a", "b > c > a", "1", "1", "1")
    ]
