"""The plot shows the numbers of the table."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure

from noiseproof.evaluation import Comparison
from noiseproof.reporting import accuracy_plot
from noiseproof.reporting.plots import to_svg
from tests.evaluation.problems import comparison, report


def one_method(*keys: str, seeds: int = 1, draws: int = 2) -> Comparison:
    counts = {key: [9 - index] * (1 if key == "clean" else draws) for index, key in enumerate(keys)}
    return Comparison("t", {"a": {seed: report(counts) for seed in range(seeds)}}, {"a": "A"})


def band(figure: Figure, index: int) -> np.ndarray:
    """(places, 2) lowest and highest value of a method's band."""
    points = figure.axes[0].collections[index].get_paths()[0].vertices
    return np.array(
        [(points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()) for x in set(points[:, 0])]
    )


def test_one_line_per_method_at_the_noise_levels() -> None:
    made = comparison()
    lines = accuracy_plot(made).axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["Plain training", "Robust training"]
    for line, method in zip(lines, made.methods, strict=True):
        assert line.get_xdata().tolist() == [0, 0.1, 0.5]
        expected = [100 * made.cell(method, column).mean for column in made.perturbations]
        assert line.get_ydata().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [1, 2])
def test_bands_are_one_std_over_seeds_or_else_over_draws(seeds: int) -> None:
    made = comparison(seeds=seeds)
    cells = [made.cell("plain", column) for column in made.perturbations]
    stds = [cell.std_over_seeds if seeds > 1 else cell.std_over_draws for cell in cells]
    expected = {
        (round(100 * (cell.mean - std), 6), round(100 * (cell.mean + std), 6))
        for cell, std in zip(cells, stds, strict=True)
    }
    assert {tuple(np.round(pair, 6)) for pair in band(accuracy_plot(made), 0)} == expected


def test_lines_are_told_apart_by_colour_and_marker() -> None:
    lines = accuracy_plot(comparison()).axes[0].get_lines()
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 2


def test_axes_say_what_they_show() -> None:
    axes = accuracy_plot(comparison()).axes[0]
    assert "%" in axes.get_ylabel()
    assert "σ" in axes.get_xlabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Plain training", "Robust training"]


@pytest.mark.parametrize(
    "keys",
    [
        ("clean", "uniform:0.1"),
        ("uniform:0.1", "gaussian:0.1"),
        ("gaussian:1+uniform:1",),
        ("clean", "gaussian:1+uniform:1"),
    ],
)
def test_other_perturbations_stand_side_by_side(keys: tuple[str, ...]) -> None:
    axes = accuracy_plot(one_method(*keys)).axes[0]
    assert axes.get_lines()[0].get_xdata().tolist() == list(range(len(keys)))
    shown = [text.get_text() for text in axes.get_xticklabels()]
    assert shown == [key if key != "gaussian:0.1" else "σ 0.1" for key in keys]
    assert "σ" not in axes.get_xlabel()


@pytest.mark.parametrize(("seeds", "draws"), [(1, 1), (2, 1), (1, 3)])
def test_a_spread_that_is_not_known_is_no_obstacle(seeds: int, draws: int) -> None:
    assert "<svg" in to_svg(accuracy_plot(one_method("clean", "gaussian:0.1", seeds=seeds, draws=draws)))


def test_clean_alone_can_be_plotted() -> None:
    assert "<svg" in to_svg(accuracy_plot(one_method("clean")))


def test_levels_are_drawn_in_order() -> None:
    line = accuracy_plot(one_method("gaussian:0.5", "clean", "gaussian:0.1")).axes[0].get_lines()[0]
    assert line.get_xdata().tolist() == [0, 0.1, 0.5]
    assert line.get_ydata().tolist() == pytest.approx([80, 70, 90])


def test_more_methods_than_colours() -> None:
    names = [f"m{index}" for index in range(20)]
    made = Comparison("t", {name: {0: report({"clean": [5]})} for name in names}, {name: name for name in names})
    assert len(accuracy_plot(made).axes[0].get_lines()) == 20


def test_svg_is_the_same_every_time_and_scales() -> None:
    one, other = (to_svg(accuracy_plot(comparison())) for _ in range(2))
    assert one == other
    opening = re.match(r"<svg[^>]*>", one).group()
    assert "viewBox=" in opening
    assert "height=" not in opening
    assert "width=" not in opening


def test_drawing_changes_no_global_setting() -> None:
    before = dict(rcParams)
    to_svg(accuracy_plot(comparison()))
    assert dict(rcParams) == before
