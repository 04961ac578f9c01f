"""Spreads of values and maps of features for a page, as places: see :mod:`noiseproof.reporting.charts`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noiseproof.analysis import FeatureMap
from noiseproof.reporting.charts import Tick
from noiseproof.reporting.tables import short_name

__all__ = ["Map", "Range", "RangeChart", "feature_map_marks", "range_chart"]

_SIDE = 1000  # of the square that a map is drawn in
_EDGE = 40  # of it that is kept free


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
        places = _EDGE + (_SIDE - 2 * _EDGE) * (points - low) / size
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


def _five(values: NDArray[np.floating]) -> tuple[float, float, float, float, float]:
    a, b, c, d, e = (round(float(value), 2) for value in values)
    return a, b, c, d, e


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
