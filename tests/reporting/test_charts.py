"""A page's charts show the numbers: places are read back and compared with what was measured."""

from __future__ import annotations

import re

import numpy as np
import pytest

from noiseproof.evaluation import Comparison
from noiseproof.reporting.charts import AccuracyChart, accuracy_chart
from noiseproof.reporting.classes import class_accuracies
from noiseproof.reporting.pictures import data_uri, picture
from noiseproof.reporting.rendering import map_markup, range_markup
from noiseproof.reporting.shapes import feature_map_marks, range_chart
from tests.evaluation.problems import comparison, report
from tests.reporting.test_figures import mapped


def one(*keys: str, draws: int = 2) -> Comparison:
    counts = {key: [9 - index] * (1 if key in ("clean", "jpeg:20") else draws) for index, key in enumerate(keys)}
    return Comparison("t", {"a": {0: report(counts)}}, {"a": "A"})


def value(chart: AccuracyChart, place: float) -> float:
    """The accuracy in percent at a place on the axis."""
    first, last = (float(tick.text.removesuffix(" %")) for tick in (chart.accuracy[0], chart.accuracy[-1]))
    return first + place / 100 * (last - first)


def test_curves_go_through_the_means_at_their_levels() -> None:
    made = comparison()
    chart = accuracy_chart(made)
    assert [line.title for line in chart.lines] == ["Plain training", "Robust training"]
    for line, method in zip(chart.lines, made.methods, strict=True):
        assert [mark.across for mark in line.marks] == pytest.approx([0, 20, 100])
        cells = [made.cell(method, key) for key in made.perturbations]
        assert [value(chart, mark.up) for mark in line.marks] == pytest.approx([100 * cell.mean for cell in cells])
        for mark, cell in zip(line.marks, cells, strict=True):
            low, high = (100 * (cell.mean + side * cell.std_over_seeds) for side in (-1, 1))
            assert value(chart, mark.low) == pytest.approx(max(low, 0))
            assert value(chart, mark.high) == pytest.approx(min(high, 100))
            assert f"{100 * cell.mean:.1f} %" in mark.words
        points = np.array([point.split() for point in line.path.removeprefix("M").split("L")], dtype=float)
        expected = np.array([(10 * mark.across, 10 * (100 - mark.up)) for mark in line.marks])
        assert points == pytest.approx(expected, abs=0.06)
        assert line.band.endswith("Z")
    assert "σ" in chart.level
    assert [tick.text for tick in chart.levels] == ["clean", "0.1", "0.5"]
    assert chart.words.count(" from ") == 3


def test_levels_are_drawn_in_order() -> None:
    marks = accuracy_chart(one("gaussian:0.5", "clean", "gaussian:0.1")).lines[0].marks
    assert [mark.across for mark in marks] == pytest.approx([0, 20, 100])
    assert [mark.words.split(":")[0] for mark in marks] == ["A, clean", "A, σ 0.1", "A, σ 0.5"]


@pytest.mark.parametrize("keys", [("uniform:0.1", "uniform:0.2"), ("clean", "speckle:0.1", "speckle:0.3")])
def test_levels_of_any_kind_of_noise_make_a_curve(keys: tuple[str, ...]) -> None:
    chart = accuracy_chart(one(*keys))
    assert chart.level.startswith(keys[-1].split(":")[0])
    assert not chart.categories


@pytest.mark.parametrize(
    "keys",
    [("clean",), ("clean", "gaussian:0.1", "uniform:0.1"), ("gaussian:1+uniform:1", "clean"), ("clean", "jpeg:20")],
)
def test_other_perturbations_stand_side_by_side(keys: tuple[str, ...]) -> None:
    chart = accuracy_chart(one(*keys))
    assert len(chart.categories) == len(keys)
    assert chart.levels == ()
    assert [mark.up for mark in chart.lines[0].marks] == list(range(len(keys)))
    assert [value(chart, mark.across) for mark in chart.lines[0].marks] == pytest.approx(
        [90 - 10 * index for index in range(len(keys))]
    )


def test_an_attack_is_no_level_of_a_noise() -> None:
    counts = {"clean": [9], "gaussian:0.1": [8]}
    made = report(counts)
    made._results["pgd:8/255"] = made._results.pop("gaussian:0.1")
    assert accuracy_chart(Comparison("t", {"a": {0: made}}, {"a": "A"})).categories == ("clean", "pgd:8/255")


def test_levels_too_near_to_be_read_lose_their_text_but_not_their_place() -> None:
    keys = ("clean", "gaussian:2/255", "gaussian:4/255", "gaussian:80/255")
    ticks = accuracy_chart(one(*keys)).levels
    assert [tick.text for tick in ticks] == ["clean", "", "", "80/255"]
    assert len(ticks) == 4


@pytest.mark.parametrize("counts", [[0], [10], [5], [9, 10], [0, 10]])
def test_the_axis_of_accuracy_holds_every_band(counts: list[int]) -> None:
    made = Comparison("t", {"a": {0: report({"gaussian:0.1": counts, "gaussian:0.2": counts})}}, {"a": "A"})
    ticks = [float(tick.text.removesuffix(" %")) for tick in accuracy_chart(made).accuracy]
    assert 0 <= ticks[0] <= 10 * min(counts)
    assert 10 * max(counts) <= ticks[-1] <= 100
    assert 2 <= len(ticks) <= 6
    assert len(set(np.diff(ticks))) == 1


def test_ranges_are_quantiles_on_a_logarithmic_axis() -> None:
    values = 10 ** np.linspace(-4, 2, 601)
    chart = range_chart({"A": values, "B": 10 * values})
    assert chart.ticks[0].text == "10⁻⁴"
    low, high = -4, 3
    for each, found in zip(chart.ranges, (values, 10 * values), strict=True):
        expected = np.log10(np.quantile(found, [0.05, 0.25, 0.5, 0.75, 0.95]))
        assert each.places == pytest.approx(100 * (expected - low) / (high - low), abs=0.02)
    assert chart.ranges[0].median == "0.1"
    assert "<script" not in range_markup({"<script>": values}, "<b>")


def test_values_of_nothing_but_zero_can_be_drawn() -> None:
    assert range_chart({"A": np.zeros(5)}).ranges[0].places[0] <= 100


def test_maps_hold_a_dot_for_every_sample_and_both_views_have_one_scale() -> None:
    found = mapped()
    clean, noisy = feature_map_marks(found)
    for drawn, points in ((clean, found.clean), (noisy, found.noisy)):
        assert points is not None
        assert sum(dots.count("M") for dots in drawn.dots) == len(points)
        assert len(drawn.centres) == 3
    places = np.array(
        [
            tuple(map(int, point))
            for drawn in (clean, noisy)
            for dots in drawn.dots
            for point in re.findall(r"M(\d+) (\d+)h0", dots)
        ]
    )
    assert places.min(axis=0).tolist() == [40, 40]
    assert places.max(axis=0).tolist() == [960, 960]
    markup = map_markup({"<b>A</b>": found})
    assert "<b>" not in markup
    assert "0 cat" in re.sub("<[^>]+>", "", markup)


def test_class_accuracies_are_means_over_seeds() -> None:
    made = comparison()
    table = class_accuracies(made, "gaussian:0.5")
    assert table.columns == ("even", "odd")
    for (title, cells), method in zip(table.rows, made.methods, strict=True):
        expected = np.mean([each.per_class("gaussian:0.5") for each in made.reports[method].values()], axis=0)
        assert title == made.method_titles[method]
        assert [cell.text for cell in cells] == [f"{100 * share:.0f}" for share in expected]
        assert [cell.depth for cell in cells] == [round(10 * (1 - share)) for share in expected]


@pytest.mark.parametrize(("classes", "rows", "left_out"), [(12, 1, 0), (13, 13, 0), (50, 30, 20)])
def test_many_classes_go_down_the_page_and_the_best_of_them_are_left_out(
    classes: int, rows: int, left_out: int
) -> None:
    made = report({"clean": [60]}, samples=100)
    made.labels = np.arange(100) % classes
    made.class_names = tuple(f"c{number}" for number in range(classes))
    table = class_accuracies(Comparison("t", {"a": {0: made}}, {"a": "A"}), "clean")
    assert (len(table.rows), table.left_out) == (rows, left_out)
    if left_out:
        kept = made.per_class("clean")[[int(name.removeprefix("c")) for name, _ in table.rows]]
        assert sorted(kept) == sorted(made.per_class("clean"))[:30]


def test_a_class_without_samples_is_an_empty_place() -> None:
    made = report({"clean": [6]})
    made.class_names = ("even", "odd", "none")
    (row,) = class_accuracies(Comparison("t", {"a": {0: made}}, {"a": "A"}), "clean").rows
    assert [cell.text for cell in row[1]] == ["60", "60", ""]


@pytest.mark.parametrize("shape", [(5,), (2, 4, 4), (1, 1)])
def test_what_is_no_picture(shape: tuple[int, ...]) -> None:
    assert picture(np.zeros(shape, dtype=np.float32)) is None


def test_large_pictures_are_made_smaller_and_smooth() -> None:
    drawn = picture(np.random.default_rng(0).random((3, 400, 200), dtype=np.float32))
    assert drawn is not None
    assert drawn.smooth
    assert len(drawn.uri) < 100_000
    small = picture(np.zeros((1, 8, 8), dtype=np.float32))
    assert small is not None
    assert not small.smooth
    assert small.uri == data_uri(np.zeros((8, 8), dtype=np.float32))
