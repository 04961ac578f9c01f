"""The numbers behind each figure, from explanations made by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from noiseproof.analysis import accuracy_by_retained, curvature_by_count
from noiseproof.errors import UnknownNameError
from noiseproof.explaining import FIGURES
from noiseproof.explaining.readings import reading
from noiseproof.reporting.tables import Table

RISING = np.arange(1.0, 11.0)  # curvatures of ten samples


def answers(*right: int, draws: int = 2) -> np.ndarray:
    """(draws, 10) of bool: which of ten samples are right in every draw."""
    return np.array([[index in right for index in range(10)]] * draws)


def neighbours(clean: float, noisy: float = math.nan) -> Any:
    return SimpleNamespace(neighbours_clean=clean, neighbours_noisy=noisy)


def surface(loss: list[list[float]], gradient_norm: float = 0.5, extent: float = 1.25) -> Any:
    return SimpleNamespace(values=-np.array(loss), gradient_norm=gradient_norm, extent=extent)


def shown(name: str, **models: dict[str, Any]) -> Table:
    """The reading of explanations that have only what is given, by title."""
    return reading(name, {title: SimpleNamespace(**parts) for title, parts in models.items()})  # type: ignore[misc]


def rows(table: Table) -> list[tuple[str, ...]]:
    return [tuple(entry.text for entry in row) for row in table.rows]


def retained(*right: int, curvature: np.ndarray = RISING) -> dict[str, Any]:
    return {"retained": {"gaussian:0.06": accuracy_by_retained(curvature, answers(*right))}}


# Fig. 1


def test_fig_1_tells_how_often_neighbours_agree_on_clean_and_noisy_inputs() -> None:
    table = shown("fig1", A={"feature_map": neighbours(0.987, 0.5)}, B={"feature_map": neighbours(1.0, 0.0)})
    assert table.columns == ("Model", "clean", "noisy")
    assert rows(table) == [("A", "98.7", "50.0"), ("B", "100.0", "0.0")]
    assert "in %" in table.caption


def test_without_noise_fig_1_says_nothing_of_noisy_inputs() -> None:
    assert rows(shown("fig1", A={"feature_map": neighbours(0.5)})) == [("A", "50.0", "")]


# Figs. 12 and 13


@pytest.mark.parametrize(("name", "of_a"), [("fig12", ("10.0", "20.0", "30.0")), ("fig13", ("5.0", "6.0", "7.0"))])
def test_figs_12_and_13_tell_it_by_block_on_clean_and_on_noisy_inputs(name: str, of_a: tuple[str, ...]) -> None:
    maps = [neighbours(0.1, 0.05), neighbours(0.2, 0.06), neighbours(0.3, 0.07)]
    table = shown(name, A={"stage_maps": maps}, B={"stage_maps": [neighbours(1, 1)] * 3})
    assert table.columns == ("Model", "block 1", "block 2", "block 3")
    assert rows(table) == [("A", *of_a), ("B", "100.0", "100.0", "100.0")]
    assert ("clean sample" if name == "fig12" else "noisy sample") in table.caption


# Fig. 8


def test_fig_8_tells_the_accuracy_of_a_tenth_half_and_all_of_the_samples() -> None:
    table = shown("fig8", A=retained(0, 1, 2, 5))
    assert table.columns == ("Model", "noise", "10 % kept", "50 % kept", "100 % kept", "never rises")
    # by tenths kept: 100, 100, 100, 75, 60, 67, …
    assert rows(table) == [("A", "σ 0.06", "100.0", "60.0", "40.0", "no")]


@pytest.mark.parametrize(
    ("right", "falls"),
    [((0, 1, 2), "yes"), ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9), "yes"), ((), "yes"), ((5,), "no"), ((1, 2, 3), "no")],
)
def test_fig_8_tells_whether_accuracy_falls_with_every_tenth(right: tuple[int, ...], falls: str) -> None:
    assert rows(shown("fig8", A=retained(*right)))[0][-1] == falls


def test_subsets_without_samples_are_no_rise() -> None:
    # Three samples share the smallest curvature, so that the strict D(0.1) and D(0.2) are empty; the others fall.
    curvature = np.array([0.0, 0.0, 0.0, 4, 5, 6, 7, 8, 9, 10])
    found = retained(0, 1, 2, curvature=curvature)
    assert math.isnan(found["retained"]["gaussian:0.06"].accuracies[0])
    assert rows(shown("fig8", A=found)) == [("A", "σ 0.06", "", "60.0", "30.0", "yes")]


def test_fig_8_has_a_row_for_every_noise_of_every_model() -> None:
    of_model = {noise: accuracy_by_retained(RISING, answers(0)) for noise in ("gaussian:0.15", "uniform:0.15")}
    table = shown("fig8", A={"retained": of_model}, B={"retained": of_model})
    assert [row[:2] for row in rows(table)] == [
        ("A", "σ 0.15"), ("A", "uniform:0.15"), ("B", "σ 0.15"), ("B", "uniform:0.15"),
    ]  # fmt: skip


# Fig. 9


def test_fig_9_tells_the_correlation_over_groups_and_over_samples() -> None:
    counts = np.array([10, 10, 10, 10, 5, 5, 5, 0, 0, 0])
    # mean curvature 2.5 of the four with 10, 6 of those with 5, 9 of those with 0
    r = np.corrcoef([10, 5, 0], [2.5, 6, 9])[0, 1]
    ranks = np.corrcoef([8.5, 8.5, 8.5, 8.5, 5, 5, 5, 2, 2, 2], RISING)[0, 1]
    table = shown("fig9", A={"by_count": {"gaussian:0.06": curvature_by_count(RISING, counts, 10)}})
    assert table.columns == ("Model", "noise", "r over groups", "groups", "ρ over samples")
    assert rows(table) == [("A", "σ 0.06", f"{r:.2f}", "3", f"{ranks:.2f}")]
    assert r < ranks < -0.9


def test_fig_9_tells_no_correlation_where_there_is_one_group() -> None:
    table = shown("fig9", A={"by_count": {"uniform:0.06": curvature_by_count(RISING, np.full(10, 7), 10)}})
    assert rows(table) == [("A", "uniform:0.06", "", "1", "")]


# Fig. 10


def test_fig_10_tells_the_quartiles_of_the_90_percent_of_lowest_curvature() -> None:
    parts = {"curvature": SimpleNamespace(values=RISING[::-1]), "space": "normalised"}
    other = {"curvature": SimpleNamespace(values=RISING / 1000), "space": "normalised"}
    table = shown("fig10", A=parts, B=other)
    assert table.columns == ("Model", "lower quartile", "median", "upper quartile", "mean")
    assert rows(table) == [("A", "3", "5", "7", "5"), ("B", "0.003", "0.005", "0.007", "0.005")]
    assert "90 %" in table.caption
    assert "normalised space" in table.caption


# Fig. 11


def test_fig_11_tells_the_loss_at_the_input_and_the_highest_around_it() -> None:
    table = shown("fig11", A={"surface": surface([[0, 0.1, 0.2], [0.3, 0.25, 0.5], [2.5, 0.4, 0.6]])})
    assert table.columns == ("Model", "loss at the input", "highest on the plane", "norm of the gradient")
    assert rows(table) == [("A", "0.25", "2.5", "0.5")]
    assert "within 1.25 of the input" in table.caption


def test_fig_11_has_no_negative_loss() -> None:
    (row,) = rows(shown("fig11", A={"surface": surface([[0.0] * 3] * 3, gradient_norm=0.0)}))
    assert row == ("A", "0", "0", "0")


# All


def test_every_figure_of_the_paper_has_a_reading_and_other_names_none() -> None:
    for name in ("scales", "theory", "fig2", ""):
        with pytest.raises(UnknownNameError, match="unknown figure"):
            reading(name, {})
    with pytest.raises(UnknownNameError) as caught:
        reading("fig21", {})
    assert set(caught.value.known) == set(FIGURES) - {"scales"}


def test_every_row_has_an_entry_for_every_column_and_tables_are_markdown() -> None:
    everything = {
        "feature_map": neighbours(0.5, 0.25), "stage_maps": [neighbours(0.5, 0.25)] * 4, **retained(0),
        "by_count": {"gaussian:0.06": curvature_by_count(RISING, np.arange(10), 10)},
        "curvature": SimpleNamespace(values=RISING), "space": "pixel", "surface": surface([[1.0] * 3] * 3),
    }  # fmt: skip
    for name in ("fig1", "fig8", "fig9", "fig10", "fig11", "fig12", "fig13"):
        table = shown(name, A=everything, B=everything)
        assert {len(row) for row in table.rows} == {len(table.columns)}
        lines = table.to_markdown().strip().splitlines()
        assert lines[0].startswith("| Model |")
        assert sum(line.startswith(("| A ", "| B ")) for line in lines) == len(table.rows)
