"""Charts for a page, as places in percent: a page is as wide as its reader's screen, and its colours are CSS's.

Lines keep their width and text its size whatever the width, so that a chart is as legible on a phone as on a desk.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noiseproof.analysis import FeatureMap
from noiseproof.evaluation import Comparison
from noiseproof.evaluation.views import view
from noiseproof.perturbations import Perturbation
from noiseproof.reporting.tables import decimals_for, percent, short_name

__all__ = [
    "AccuracyChart",
    "Line",
    "Map",
    "Mark",
    "Range",
    "RangeChart",
    "Tick",
    "accuracy_chart",
    "feature_map_marks",
    "range_chart",
]

_SIDE = 1000  # of the square that a plot's lines are drawn in, which is then stretched
_NEAR = 8.0  # percent: labels closer than this would run into each other on a phone


@dataclass(frozen=True)
class Tick:
    """A place on an axis in percent, and what stands there; a line alone where the text is empty."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A measured value: places in percent, and the same in words.

    Attributes:
        across: from the left.
        up: from the bottom; in a chart of categories the number of the category.
        low: lower end of its band.
        high: upper end.
        words: for those who point at it.
    """

    across: float
    up: float
    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Line:
    """One method's accuracies.

    Attributes:
        title: of the method.
        marks: its values.
        path: SVG's path through them, in a square of 1000 by 1000.
        band: the outline of the band around it.
    """

    title: str
    marks: tuple[Mark, ...]
    path: str = ""
    band: str = ""


@dataclass(frozen=True)
class AccuracyChart:
    """Accuracy by perturbation.

    Attributes:
        lines: one per method. Without ``levels`` a mark's ``across`` is its accuracy.
        accuracy: ticks of the accuracy.
        levels: ticks of the noise level; empty where the perturbations are not levels of one kind of noise.
        categories: names of the perturbations where they are not.
        level: what the levels are.
        words: the chart for those who cannot see it.
    """

    lines: tuple[Line, ...]
    accuracy: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    categories: tuple[str, ...]
    level: str
    words: str


def accuracy_chart(comparison: Comparison) -> AccuracyChart:
    """Accuracy against noise level with bands of ± one standard deviation, as in :func:`accuracy_plot`."""
    keys = comparison.perturbations
    levels, level = _levels(keys)
    values = {method: [_values(comparison, method, key) for key in keys] for method in comparison.methods}
    ends = [end for rows in values.values() for mean, spread in rows for end in (mean - spread, mean + spread)]
    ticks = _accuracy_ticks(min(ends), max(ends))
    low, high = ticks[0], ticks[-1]

    def place(accuracy: float) -> float:
        return 100 * (min(max(accuracy, low), high) - low) / (high - low)

    order = sorted(range(len(keys)), key=levels.__getitem__) if levels else list(range(len(keys)))
    across = _spread([levels[index] for index in order]) if levels else [float(index) for index in order]
    lines = []
    for method in comparison.methods:
        marks = []
        for x, index in zip(across, order, strict=True):
            mean, spread = values[method][index]
            y, bottom, top = place(mean), place(mean - spread), place(mean + spread)
            words = _words(comparison, method, keys[index])
            marks.append(Mark(x, y, bottom, top, words) if levels else Mark(y, x, bottom, top, words))
        title = comparison.method_titles[method]
        drawn = (_path(marks), _band(marks)) if levels else ("", "")
        lines.append(Line(title, tuple(marks), *drawn))
    labels = [short_name(keys[index]).removeprefix("σ ") for index in order]
    return AccuracyChart(
        tuple(lines),
        tuple(Tick(place(tick), f"{tick:g} %") for tick in ticks),
        tuple(_thinned([Tick(x, text) for x, text in zip(across, labels, strict=True)])) if levels else (),
        () if levels else tuple(short_name(key) for key in keys),
        level,
        _in_words(comparison, [keys[index] for index in order]),
    )


@dataclass(frozen=True)
class Range:
    """How one model's values are spread: the places of five quantiles in percent, and the median in words."""

    title: str
    places: tuple[float, float, float, float, float]
    median: str


@dataclass(frozen=True)
class RangeChart:
    """Spreads on a logarithmic axis: whiskers from the 5th to the 95th percentile, a box between the quartiles."""

    ranges: tuple[Range, ...]
    ticks: tuple[Tick, ...]


def range_chart(found: Mapping[str, NDArray[np.floating]]) -> RangeChart:
    """Place the quantiles 5, 25, 50, 75 and 95 % of each model's positive values on one logarithmic axis."""
    tiny = float(np.finfo(np.float32).tiny)
    quantiles = {
        title: np.quantile(np.maximum(values, tiny), [0.05, 0.25, 0.5, 0.75, 0.95]) for title, values in found.items()
    }
    logs = {title: np.log10(values) for title, values in quantiles.items()}
    low = math.floor(min(float(values[0]) for values in logs.values()))
    high = max(math.ceil(max(float(values[-1]) for values in logs.values())), low + 1)
    step = max(1, math.ceil((high - low) / 6))
    ranges = tuple(
        Range(title, _five(100 * (values - low) / (high - low)), f"{quantiles[title][2]:.2g}")
        for title, values in logs.items()
    )
    ticks = tuple(Tick(100 * (n - low) / (high - low), f"10{_superscript(n)}") for n in range(low, high + 1, step))
    return RangeChart(ranges, ticks)


@dataclass(frozen=True)
class Map:
    """One map of features.

    Attributes:
        title: what it shows.
        note: what is to be said of it.
        dots: by class, a path of dots in a square of 1000 by 1000; empty for a class without samples.
        centres: (across, down, class) of the middle of each class that is there.
    """

    title: str
    note: str
    dots: tuple[str, ...]
    centres: tuple[tuple[float, float, int], ...]


def feature_map_marks(found: FeatureMap) -> tuple[Map, ...]:
    """Place the dots of a map of features, clean and, if there is one, noisy, on the same scales."""
    views = [("clean", found.clean, found.neighbours_clean)]
    if found.noisy is not None:
        views.append((short_name(found.noise), found.noisy, found.neighbours_noisy))
    everything = np.concatenate([points for _, points, _ in views])
    low = everything.min(axis=0)
    size = np.maximum(np.ptp(everything, axis=0), 1e-12)
    maps = []
    for title, points, neighbours in views:
        places = 40 + 920 * (points - low) / size
        places[:, 1] = _SIDE - places[:, 1]
        classes = range(len(found.class_names))
        dots = tuple("".join(f"M{x:.0f} {y:.0f}h0" for x, y in places[found.labels == c]) for c in classes)
        centres = tuple(
            (round(float(x), 1), round(float(y), 1), c)
            for c in classes
            if (found.labels == c).any()
            for x, y in [np.median(places[found.labels == c], axis=0)]
        )
        maps.append(Map(title, f"{100 * neighbours:.0f} % agree", dots, centres))
    return tuple(maps)


def _values(comparison: Comparison, method: str, key: str) -> tuple[float, float]:
    """Mean accuracy in percent, and its standard deviation over seeds or else draws; 0 where none is known."""
    cell = comparison.cell(method, key)
    spread = cell.std_over_draws if math.isnan(cell.std_over_seeds) else cell.std_over_seeds
    return 100 * cell.mean, 0.0 if math.isnan(spread) else 100 * spread


def _levels(keys: Sequence[str]) -> tuple[list[float], str]:
    """The levels of perturbations that are all of one kind of noise, or clean, and what they are; else nothing."""
    levels, kinds = [], {}
    for key in keys:
        noise = view(key)
        if not isinstance(noise, Perturbation):
            return [], ""
        if noise.name == "clean":
            levels.append(0.0)
            continue
        if noise.level is None:
            return [], ""
        others = noise.spec.replace(f"{noise.level_key}={noise.level}", "")
        kinds[others] = (
            "standard deviation σ of the Gaussian noise"
            if noise.name == "gaussian"
            else (f"{noise.name}: {noise.level_key}")
        )
        levels.append(noise.level)
    if len(kinds) != 1 or len(set(levels)) < max(2, len(levels)):
        return [], ""
    return levels, next(iter(kinds.values()))


def _accuracy_ticks(low: float, high: float) -> list[float]:
    """Round values around [low, high] within [0, 100], four to six of them, evenly spread."""
    low, high = max(0.0, low), min(100.0, high)
    for step in (1, 2, 5, 10, 20):
        first, last = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        last = max(last, first + step)
        if last > 100:
            first, last = 100 - step, 100
        if (last - first) / step <= 5:
            break
    return [float(tick) for tick in range(first, last + 1, step)]


def _spread(values: Sequence[float]) -> list[float]:
    size = values[-1] - values[0]
    return [round(100 * (value - values[0]) / size, 3) for value in values]


def _thinned(ticks: Sequence[Tick]) -> list[Tick]:
    """Leave out the text of ticks too near to the one before; the last keeps its own."""
    shown: list[Tick] = []
    for tick in ticks:
        near = any(each.text and abs(tick.at - each.at) < _NEAR for each in shown)
        last = tick is ticks[-1]
        if near and last:
            shown = [Tick(each.at, "" if tick.at - each.at < _NEAR else each.text) for each in shown]
        shown.append(Tick(tick.at, "" if near and not last else tick.text))
    return shown


def _path(marks: Sequence[Mark]) -> str:
    return "M" + "L".join(_point(mark.across, mark.up) for mark in marks)


def _band(marks: Sequence[Mark]) -> str:
    there = [_point(mark.across, mark.high) for mark in marks]
    back = [_point(mark.across, mark.low) for mark in reversed(marks)]
    return "M" + "L".join([*there, *back]) + "Z"


def _point(across: float, up: float) -> str:
    return f"{_SIDE * across / 100:.1f} {_SIDE * (100 - up) / 100:.1f}"


def _words(comparison: Comparison, method: str, key: str) -> str:
    mean, spread = _values(comparison, method, key)
    report = next(iter(comparison.reports[method].values()))
    decimals = decimals_for(len(report.labels))
    name = f"{comparison.method_titles[method]}, {short_name(key)}: {mean:.{decimals}f} %"
    return f"{name} ±{spread:.{decimals}f}" if spread else name


def _in_words(comparison: Comparison, keys: Sequence[str]) -> str:
    first, last = keys[0], keys[-1]
    falls = [
        f"{comparison.method_titles[method]} from {percent(comparison.cell(method, first).mean, 1)} "
        f"to {percent(comparison.cell(method, last).mean, 1)} %"
        for method in comparison.methods
    ]
    return f"Test accuracy from {short_name(first)} to {short_name(last)}: " + "; ".join(falls) + "."


def _five(values: NDArray[np.floating]) -> tuple[float, float, float, float, float]:
    a, b, c, d, e = (round(float(value), 2) for value in values)
    return a, b, c, d, e


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
