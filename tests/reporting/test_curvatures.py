"""Tables of curvatures and of the theorems say what the results say."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np
import pytest

from noiseproof.analysis import InputCurvature
from noiseproof.reporting import curvature_records, curvature_table
from noiseproof.reporting.tables import Entry, to_csv
from noiseproof.reporting.theory import theory_table


def found(
    values: Any,
    stderr: Any = 0.1,
    estimator: Any = "finite-difference",
    step: float | None = 0.01,
    space: Any = "pixel",
    residual: float | None = None,
) -> InputCurvature:
    values = np.array(values, dtype=np.float64)
    places = np.arange(len(values))
    errors = np.broadcast_to(np.array(stderr, dtype=np.float64), values.shape)
    probes = 0 if estimator == "gauss-newton" else 20
    return InputCurvature(values, errors, estimator, space, probes, step, 0, places, places, residual=residual)


SPREAD = found(np.arange(101) ** 2.0)
EXACT = found([1, 2, 6], 0, "gauss-newton", None, residual=0.0)


def rows(*given: InputCurvature) -> list[list[str]]:
    return [[str(entry) for entry in row] for row in curvature_table(given, "A run").rows]


def test_quantiles_of_the_samples() -> None:
    table = curvature_table([SPREAD], "A run")
    assert table.columns == ("Estimator", "Mean", "10 %", "Median", "90 %", "Largest", "Error")
    assert [entry.text for entry in table.rows[0][:6]] == [
        "finite-difference, t = 0.01", "3.35e+03", "100", "2.5e+03", "8.1e+03", "1e+04",
    ]  # fmt: skip


def test_a_row_for_each_estimate() -> None:
    first = [
        row[0] for row in rows(found([1], step=0.1), found([1], step=1e-5), EXACT, found([1], 0.1, "hutchinson", None))
    ]
    assert first == ["finite-difference, t = 0.1", "finite-difference, t = 1e-05", "gauss-newton", "hutchinson"]


def test_the_error_is_the_median_of_relative_ones() -> None:
    assert rows(found([1, 2, 10], [0.5, 0.5, 0.5]))[0][-1] == "25 %"
    assert rows(found([0, 2, 10], [0.0, 0.5, 0.5]))[0][-1] == "15 %"


def test_errors_that_are_none_or_unknown() -> None:
    assert rows(EXACT)[0][-1] == "exact"
    assert rows(found([1, 2], math.nan))[0][-1] == ""
    assert rows(found([0, 0], 0))[0] == ["finite-difference, t = 0.01", "0", "0", "0", "0", "0", ""]


@pytest.mark.parametrize("residual", [0.01, 1.2, None])
def test_a_gauss_newton_part_that_is_not_the_hessian_is_not_exact(residual: float | None) -> None:
    table = curvature_table([found([1, 2, 6], 0, "gauss-newton", None, residual=residual)], "A run")
    assert table.rows[0][-1].text == "Gauss-Newton part"
    assert "gauss-newton its Gauss-Newton part, which is the whole of it (exact) where" in table.caption


def test_the_table_says_whose_and_where() -> None:
    table = curvature_table([found([1, 2], space="normalised")], "A run")
    assert table.title == "A run"
    assert "normalised space" in table.caption
    assert "2 samples" in table.caption


def test_records_for_csv() -> None:
    records = curvature_records([SPREAD, EXACT])
    read = list(csv.DictReader(io.StringIO(to_csv(records))))
    assert [each["estimator"] for each in read] == ["finite-difference", "gauss-newton"]
    assert [each["step"] for each in read] == ["0.01", ""]
    assert [each["samples"] for each in read] == ["101", "3"]
    assert [float(read[1][key]) for key in ("mean", "median", "largest")] == [3, 2, 6]
    assert [each["residual"] for each in read] == ["", "0.0"]
    expected = np.quantile(SPREAD.values, [0.1, 0.9])
    assert [float(read[0][key]) for key in ("quantile_10", "quantile_90")] == pytest.approx(expected.tolist())


# Theorems

TOLD = {
    "A": {"Theorem 1": [("η", "0.5"), ("bound", "3")], "Theorem 2": [("τ", "0.9")]},
    "B": {"Theorem 1": [("bound", "4"), ("only here", "yes")], "Theorem 2": [("τ", "0.8")]},
}


def test_a_column_for_each_model_and_a_row_for_each_quantity() -> None:
    table = theory_table(TOLD)
    assert table.columns == ("What", "A", "B")
    assert [[entry.text for entry in row] for row in table.rows] == [
        ["Theorem 1", "", ""],
        ["η", "0.5", ""],
        ["bound", "3", "4"],
        ["only here", "", "yes"],
        ["Theorem 2", "", ""],
        ["τ", "0.9", "0.8"],
    ]


def test_theorems_head_their_rows() -> None:
    table = theory_table(TOLD)
    assert [row[0].text for row in table.rows if row[0].best] == ["Theorem 1", "Theorem 2"]
    assert not any(entry.best for row in table.rows for entry in row[1:])


def test_one_model_alone() -> None:
    table = theory_table({"A": TOLD["A"]})
    assert table.columns == ("What", "A")
    assert table.rows[1] == (Entry("η"), Entry("0.5"))
    assert "**Theorem 1**" in table.to_markdown()


def test_signs_that_mean_something_to_markdown_are_escaped() -> None:
    assert "K \\| max" in theory_table({"A": {"T": [("K | max", "1")]}}).to_markdown()
