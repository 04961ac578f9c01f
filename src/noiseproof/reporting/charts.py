"""Charts for a page, as places in percent: a page is as wide as its reader's screen, and its colours are CSS's.

Lines keep their width and text its size whatever the width, so that a chart is as legible on a phone as on a desk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from noiseproof.evaluation import Comparison
from noiseproof.evaluation.views import view
from noiseproof.perturbations import Perturbation
from noiseproof.reporting.tables import decimals_for, percent, short_name

__all__ = [
    "AccuracyChart",
    "Line",
    "Mark",
    "Tick",
    "accuracy_chart",
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
