"""The figures of the analyses say what the results say, read back from what was drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from noiseproof.analysis import (
    CurvatureByCount,
    FeatureMap,
    InputCurvature,
    LossSurface,
    RetainedAccuracy,
    accuracy_by_retained,
    curvature_by_count,
)
from noiseproof.reporting import to_svg
from noiseproof.reporting.figures import (
    box_figure,
    count_figure,
    map_figure,
    retained_figure,
    scale_figure,
    surface_figure,
)

ODD = ("cost_$a_b$", "$x$ & <y>", "a_b^c")  # names that matplotlib or SVG could take for something else
NOISES = ("gaussian:0.3", "uniform:0.3")


def kept(seed: int = 0, **changes: list[float]) -> RetainedAccuracy:
    random = np.random.default_rng(seed)
    found = accuracy_by_retained(random.random(40), random.random((10, 40)) < 0.7)
    fields = {name: np.array(changes.get(name, value)) for name, value in vars(found).items()}
    return RetainedAccuracy(**fields)


def grouped(seed: int = 0, draws: int = 4) -> CurvatureByCount:
    random = np.random.default_rng(seed)
    return curvature_by_count(10 ** random.normal(size=30), random.integers(0, draws + 1, 30), draws)


def measured(
    values: list[float], step: float | None = 0.01, space: Any = "pixel", residual: float | None = None
) -> InputCurvature:
    array, places = np.array(values, dtype=np.float64), np.arange(len(values))
    estimator = "gauss-newton" if step is None else "finite-difference"
    return InputCurvature(
        array, array / 10, estimator, space, 5, step, 0, places, places % 2, residual=residual  # type: ignore[arg-type]
    )  # fmt: skip


def surface(values: np.ndarray, extent: float = 2.0) -> LossSurface:
    axis = np.linspace(-extent, extent, len(values))
    return LossSurface(values, axis, extent, np.zeros(3), np.zeros(3), 1.0, flat=False, label=0, seed=0)


def bowl(points: int = 5, depth: float = 1.0) -> np.ndarray:
    """Negative losses that fall along the rows more than along the columns."""
    a, b = np.meshgrid(np.linspace(-1, 1, points), np.linspace(-1, 1, points), indexing="ij")
    return np.asarray(-depth * (1 + a + 0.2 * b**2))


def mapped(
    layer: str = "features",
    names: tuple[str, ...] = ("cat", "dog", "frog"),
    noise: str = "gaussian:0.1",
    seed: int = 0,
    labels: np.ndarray | None = None,
) -> FeatureMap:
    random = np.random.default_rng(seed)
    clean, noisy = (random.normal(size=(24, 2)).astype(np.float32) for _ in range(2))
    labels = np.arange(24) % len(names) if labels is None else labels
    return FeatureMap(layer, clean, noisy, labels, np.arange(24), names, noise, 5.0, 0, 0.75, 0.5)


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def renders(make: Callable[[], Figure]) -> None:
    """Raise unless a figure becomes a PNG file, and drawn anew the same SVG text."""
    assert png(make()).startswith(b"\x89PNG")
    assert to_svg(make()) == to_svg(make())


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]  # type: ignore[attr-defined]


def title_of_legend(owner: Figure | Axes) -> str:
    legend = owner.legends[0] if isinstance(owner, Figure) else owner.get_legend()
    assert legend is not None
    return str(legend.get_title().get_text())


def legend_of(owner: Figure | Axes) -> list[str]:
    legend = owner.legends[0] if isinstance(owner, Figure) else owner.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


# Every figure

Draw = Callable[[tuple[str, ...]], Figure]
EVERY: dict[str, Draw] = {
    "retained": lambda titles: retained_figure({title: {NOISES[0]: kept()} for title in titles}),
    "count": lambda titles: count_figure({title: {NOISES[0]: grouped()} for title in titles}, space="pixel"),
    "box": lambda titles: box_figure({title: np.arange(1.0, 9) for title in titles}, share=0.9, space="pixel"),
    "scale": lambda titles: scale_figure(
        {title: {0.01: measured([1, 2]), 0.1: measured([3, 4], 0.1)} for title in titles}, {}
    ),
    "surface": lambda titles: surface_figure({title: surface(bowl()) for title in titles}),
    "map": lambda titles: map_figure({title: [mapped()] for title in titles}),
}


@pytest.mark.parametrize("name", EVERY)
def test_renders_to_png_and_to_the_same_svg_twice(name: str) -> None:
    renders(lambda: EVERY[name](("A", "B")))


@pytest.mark.parametrize("name", EVERY)
def test_one_model_alone(name: str) -> None:
    assert png(EVERY[name](("A",)))


@pytest.mark.parametrize("name", EVERY)
def test_titles_of_models_are_no_mathematics(name: str) -> None:
    svg = to_svg(EVERY[name](ODD))
    for title in ("cost_$a_b$", "$x$ &amp; &lt;y&gt;", "a_b^c"):
        assert title in svg
    assert "<y>" not in svg


def test_names_of_classes_are_no_mathematics() -> None:
    figure = map_figure({"A": [mapped(names=ODD)]})
    assert legend_of(figure) == list(ODD)
    svg = to_svg(figure)
    assert all(name in svg for name in ("cost_$a_b$", "$x$ &amp; &lt;y&gt;", "a_b^c"))


def test_a_class_whose_name_begins_with_an_underscore_is_in_the_legend() -> None:
    names = ("yes", "no", "_background_noise_")
    assert legend_of(map_figure({"A": [mapped(names=names)]})) == list(names)


@pytest.mark.parametrize("name", ["retained", "count", "scale"])
def test_more_models_than_colours(name: str) -> None:
    titles = tuple(f"model {index}" for index in range(9))
    shown = " ".join(texts(EVERY[name](titles)))
    assert all(title in shown for title in titles)


# Fig. 8


def test_retained_accuracies_in_percent_with_their_bands() -> None:
    found = {title: {noise: kept(seed + n) for n, noise in enumerate(NOISES)} for seed, title in enumerate("AB")}
    figure = retained_figure(found)
    assert [axes.get_title() for axes in figure.axes] == list(NOISES)
    for axes, noise in zip(figure.axes, NOISES, strict=True):
        assert axes.get_xlabel() == "share of samples kept, lowest curvature first"
        assert axes.get_ylabel() == "noisy accuracy (%)"
        assert [line.get_label() for line in axes.get_lines()] == ["A", "B"]
        for line, band, title in zip(axes.get_lines(), axes.collections, "AB", strict=True):
            each = found[title][noise]
            np.testing.assert_array_equal(line.get_xdata(), each.shares)
            np.testing.assert_allclose(line.get_ydata(), 100 * each.accuracies)
            for share, (low, high) in zip(each.shares, each.intervals, strict=True):
                points = band.get_paths()[0].vertices
                heights = points[points[:, 0] == share, 1]
                assert [heights.min(), heights.max()] == pytest.approx([100 * low, 100 * high])
            assert to_rgba(line.get_color())[:3] == tuple(band.get_facecolor()[0][:3])
    assert legend_of(figure) == ["A", "B"]
    assert title_of_legend(figure) == "bands: 95 % intervals, over samples and draws"


def test_models_are_told_apart_by_colour_and_marker() -> None:
    lines = retained_figure({title: {NOISES[0]: kept()} for title in "ABC"}).axes[0].get_lines()
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 3


def test_the_share_of_samples_is_in_percent() -> None:
    figure = retained_figure({"A": {NOISES[0]: kept()}})
    figure.draw_without_rendering()
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "100%" in shown


def test_an_empty_share_and_an_unknown_interval_leave_a_gap() -> None:
    each = accuracy_by_retained([1.0, 1.0, 1.0, 2.0], np.ones((1, 4), dtype=bool))
    assert np.isnan(each.accuracies).any()
    figure = retained_figure({"A": {"clean": each}})
    drawn = figure.axes[0].get_lines()[0].get_ydata()
    np.testing.assert_array_equal(np.isnan(drawn), np.isnan(each.accuracies))
    assert "<svg" in to_svg(figure)


def test_intervals_that_are_all_unknown_are_no_obstacle() -> None:
    each = kept(intervals=[(math.nan, math.nan)] * 10)
    assert "<svg" in to_svg(retained_figure({"A": {"clean": each}}))


# Fig. 9


def test_group_means_with_their_standard_errors() -> None:
    found = {title: {noise: grouped(seed + n) for n, noise in enumerate(NOISES)} for seed, title in enumerate("AB")}
    figure = count_figure(found, space="pixel")
    for axes, noise in zip(figure.axes, NOISES, strict=True):
        assert axes.get_yscale() == "log"
        assert axes.get_xlabel() == "correct predictions in 4 draws"
        assert "mean" in axes.get_ylabel()
        assert "Λ(x) = Σλ²" in axes.get_ylabel()
        for container, title in zip(axes.containers, "AB", strict=True):
            assert isinstance(container, ErrorbarContainer)
            each, (line, _, (bars,)) = found[title][noise], container
            np.testing.assert_array_equal(line.get_xdata(), each.counts)
            np.testing.assert_allclose(line.get_ydata(), each.means)
            ends = np.array([segment[:, 1] for segment in bars.get_segments()])
            np.testing.assert_allclose(ends[:, 0], each.means - np.nan_to_num(each.stderrs))
            np.testing.assert_allclose(ends[:, 1], each.means + np.nan_to_num(each.stderrs))


def test_the_legend_tells_both_correlations() -> None:
    each = grouped()
    figure = count_figure({"A": {NOISES[0]: each}}, space="pixel")
    r, rho = each.of_groups.value, each.of_ranks.value
    assert abs(r - rho) > 0.01
    assert legend_of(figure.axes[0]) == [f"A: r {r:.2f}, ρ {rho:.2f}"]


def test_empty_groups_are_left_out_and_single_samples_have_no_bar() -> None:
    each = curvature_by_count([1.0, 2.0, 3.0, 9.0], [0, 0, 3, 4], 5)
    (container,) = count_figure({"A": {"clean": each}}, space="pixel").axes[0].containers
    line, _, (bars,) = container
    assert line.get_xdata().tolist() == [0, 3, 4]
    assert line.get_ydata().tolist() == [1.5, 3, 9]
    lengths = [float(np.ptp(segment[:, 1])) for segment in bars.get_segments()]
    assert lengths == pytest.approx([1.0, 0.0, 0.0])


def test_correlations_that_are_unknown_are_told_as_such() -> None:
    each = curvature_by_count([1.0, 2.0], [3, 3], 3)
    figure = count_figure({"A": {"clean": each}}, space="pixel")
    assert legend_of(figure.axes[0]) == ["A: r nan, ρ nan"]
    assert "<svg" in to_svg(figure)


@pytest.mark.parametrize("curvatures", [[0.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]], ids=["some", "all"])
def test_groups_without_curvature_on_a_logarithmic_axis(curvatures: list[float]) -> None:
    each = curvature_by_count(curvatures, [0, 0, 1, 1], 2)
    renders(lambda: count_figure({"A": {"clean": each}}, space="pixel"))


def test_fig_9_says_what_its_bars_are_and_in_which_space() -> None:
    (axes,) = count_figure({"A": {NOISES[0]: grouped()}}, space="normalised").axes
    assert axes.get_ylabel() == "mean curvature Λ(x) = Σλ²\nin normalised space"
    assert title_of_legend(axes) == "bars: ± one standard error of the mean over samples"


# Fig. 10


def test_boxes_are_quartiles_medians_and_percentiles() -> None:
    random = np.random.default_rng(0)
    found = {title: 10 ** random.normal(size=37 + n) for n, title in enumerate("ABC")}
    axes = box_figure(found, share=0.9, space="normalised").axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "Λ(x) in normalised space, lowest 90 % of samples"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B", "C"]
    assert axes.yaxis_inverted()
    for place, (values, box) in enumerate(zip(found.values(), axes.patches, strict=True), 1):
        corners = box.get_path().vertices
        expected = np.percentile(values, [25, 75])
        np.testing.assert_allclose([corners[:, 0].min(), corners[:, 0].max()], expected)
        assert corners[:, 1].min() < place < corners[:, 1].max()
        mine = [line for line in axes.get_lines() if corners[:, 1].min() <= np.mean(line.get_ydata()) <= place + 0.3]
        ends = {float(x) for line in mine for x in line.get_xdata()}
        for quantile in np.percentile(values, [50]):
            assert any(math.isclose(quantile, end) for end in ends)
        low, high = np.percentile(values, [5, 95])
        # Whiskers end at the last sample within the percentiles.
        assert any(math.isclose(min(values[values >= low]), end) for end in ends)
        assert any(math.isclose(max(values[values <= high]), end) for end in ends)


def test_boxes_of_curvatures_that_are_zero() -> None:
    found = {"A": np.zeros(5), "B": np.array([0.0, 1, 2])}
    renders(lambda: box_figure(found, share=0.9, space="pixel"))


def test_a_box_of_one_sample() -> None:
    assert "<svg" in to_svg(box_figure({"A": np.array([2.0])}, share=0.5, space="pixel"))


# Scales


def test_medians_against_steps_and_the_hessian_as_a_dashed_line() -> None:
    found = {
        "A": {0.1: measured([1, 2, 30], 0.1), 0.001: measured([4, 5, 60], 0.001)},
        "B": {0.001: measured([7, 8, 9], 0.001), 0.1: measured([10, 11, 12], 0.1)},
    }
    axes = scale_figure(found, {"B": measured([0.1, 0.2, 5], None)}).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "step t" in axes.get_xlabel()
    assert "√k" in axes.get_xlabel()
    assert axes.get_ylabel() == "median curvature Λ(x) = Σλ²\nin pixel space"
    first, second, exact = axes.get_lines()
    assert (first.get_xdata().tolist(), first.get_ydata().tolist()) == ([0.001, 0.1], [5, 2])
    assert (second.get_xdata().tolist(), second.get_ydata().tolist()) == ([0.001, 0.1], [8, 11])
    assert set(exact.get_ydata()) == {0.2}
    assert exact.get_linestyle() == "--"
    assert exact.get_color() == second.get_color() != first.get_color()
    assert legend_of(axes) == ["A", "B"]
    assert title_of_legend(axes) == "dashed: Gauss-Newton part of the Hessian at the point"


def test_the_dashed_line_is_the_hessians_where_it_is_for_all() -> None:
    found = {title: {0.1: measured([1, 2], 0.1, "normalised")} for title in "AB"}
    whole, part = measured([1, 2], None, residual=0.0), measured([1, 2], None, residual=0.3)
    for exact, what in (({"A": whole}, "Hessian"), ({"A": whole, "B": part}, "Gauss-Newton part of the Hessian")):
        axes = scale_figure(found, exact).axes[0]
        assert title_of_legend(axes) == f"dashed: {what} at the point"
        assert axes.get_ylabel().endswith("in normalised space")


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.0, 0.0]], ids=["some", "all"])
def test_scales_without_curvature_on_a_logarithmic_axis(values: list[float]) -> None:
    found = {"A": {0.01: measured([0, 0]), 0.1: measured(values, 0.1)}}
    renders(lambda: scale_figure(found, {"A": measured([0, 0], None)}))


# Fig. 11


def test_surfaces_have_one_colour_scale_with_a_gradient_to_the_right() -> None:
    found = {"A": surface(bowl(depth=1)), "B": surface(bowl(depth=3))}
    figure = surface_figure(found)
    *panels, bar = figure.axes
    assert [axes.get_title() for axes in panels] == ["A", "B"]
    lowest = min(each.values.min() for each in found.values())
    for axes, each in zip(panels, found.values(), strict=True):
        (image,) = axes.get_images()
        assert image.get_clim() == (lowest, 0)
        assert image.origin == "lower"
        shown = np.asarray(image.get_array())
        np.testing.assert_array_equal(shown, each.values.T)
        assert (np.diff(shown, axis=1) < 0).all()  # the loss grows along the gradient, which points to the right
        assert axes.get_xlabel() == "along the gradient (L2)"
        (point,) = axes.get_lines()
        assert (list(point.get_xdata()), list(point.get_ydata())) == ([0], [0])
    assert panels[0].get_ylabel() == "random, orthogonal (L2)"
    assert bar.get_ylabel() == "−loss"


def test_a_surface_is_drawn_where_it_was_computed() -> None:
    each = surface(bowl(5), extent=2)
    (image,) = surface_figure({"A": each}).axes[0].get_images()
    left, right, bottom, top = image.get_extent()
    pixel = (right - left) / 5
    np.testing.assert_allclose(left + pixel * (np.arange(5) + 0.5), each.axis)
    np.testing.assert_allclose(bottom + (top - bottom) / 5 * (np.arange(5) + 0.5), each.axis)


@pytest.mark.parametrize("loss", [0.0, 0.7])
def test_a_flat_surface(loss: float) -> None:
    renders(lambda: surface_figure({"A": surface(np.full((5, 5), -loss))}))


# Figs. 1, 12 and 13


def points_of(axes: Axes) -> dict[str, np.ndarray]:
    return {str(part.get_label()): np.asarray(part.get_offsets()) for part in axes.collections}


def test_clean_and_noisy_features_stand_side_by_side() -> None:
    found = {title: [mapped(seed=seed)] for seed, title in enumerate("AB")}
    figure = map_figure(found)
    assert len(figure.axes) == 4
    for row, (title, (each,)) in enumerate(found.items()):
        pair = figure.axes[2 * row : 2 * row + 2]
        assert pair[0].get_ylabel() == title
        assert pair[0].get_title() == "features, clean\nneighbours agree 75 %"
        assert pair[1].get_title() == "features, σ 0.1\nneighbours agree 50 %"
        assert pair[0].get_xlim() == pair[1].get_xlim()
        assert pair[0].get_ylim() == pair[1].get_ylim()
        assert each.noisy is not None
        for axes, places in zip(pair, (each.clean, each.noisy), strict=True):
            drawn = points_of(axes)
            assert list(drawn) == list(each.class_names)
            for c, name in enumerate(each.class_names):
                np.testing.assert_allclose(drawn[name], places[each.labels == c])
            low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
            assert (places > low).all()
            assert (places < high).all()
    assert legend_of(figure) == ["cat", "dog", "frog"]


def test_a_class_has_the_same_colour_and_its_number_everywhere() -> None:
    figure = map_figure({"A": [mapped()]})
    colours = [[tuple(part.get_facecolor()[0]) for part in axes.collections] for axes in figure.axes]
    assert colours[0] == colours[1]
    assert len(set(colours[0])) == 3
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
        for text, places in zip(axes.texts, points_of(axes).values(), strict=True):
            assert text.get_position() == pytest.approx(tuple(np.median(places, axis=0)))


@pytest.mark.parametrize(("show", "shown"), [("clean", "clean"), ("noisy", "σ 0.1")])
def test_one_view_of_several_layers(show: str, shown: str) -> None:
    layers = ["layer1", "layer2", "layer3"]
    figure = map_figure({"A": [mapped(layer, seed=n) for n, layer in enumerate(layers)]}, show=show)  # type: ignore[arg-type]
    assert [axes.get_title().splitlines()[0] for axes in figure.axes] == [f"{layer}, {shown}" for layer in layers]
    assert figure.axes[0].get_ylabel() == "A"


def test_a_class_without_samples_is_not_shown() -> None:
    figure = map_figure({"A": [mapped(labels=np.arange(24) % 2 * 2)]})
    assert legend_of(figure) == ["cat", "frog"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "2"]
    assert "<svg" in to_svg(figure)


def test_more_classes_than_colours() -> None:
    figure = map_figure({"A": [mapped(names=tuple(f"class {c}" for c in range(12)))]})
    assert len(legend_of(figure)) == 12
