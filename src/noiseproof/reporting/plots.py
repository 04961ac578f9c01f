"""Plots of results, in the Okabe-Ito colours, which colour-blind readers can tell apart; markers differ too."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.figure import Figure

from noiseproof.evaluation import Comparison
from noiseproof.perturbations import perturbation
from noiseproof.reporting.tables import short_name

__all__ = ["COLOURS", "MARKERS", "accuracy_plot", "styled", "to_svg"]

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
MARKERS = "osD^vPX"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "svg.fonttype": "none",
    "svg.hashsalt": "noiseproof",
}


def accuracy_plot(comparison: Comparison) -> Figure:
    """Accuracy against noise level, a line per method with a band of ± one standard deviation.

    The band is over training seeds where there are several, else over draws. Perturbations that are not levels of one
    kind of noise stand side by side.
    """
    levels = _levels(comparison.perturbations)
    columns = comparison.perturbations
    if levels:
        order = sorted(range(len(columns)), key=levels.__getitem__)
        levels, columns = [levels[index] for index in order], tuple(columns[index] for index in order)
    places = levels or [float(index) for index in range(len(columns))]
    with styled():
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        for index, method in enumerate(comparison.methods):
            cells = [comparison.cell(method, column) for column in columns]
            means = [100 * cell.mean for cell in cells]
            spreads = [
                100 * (cell.std_over_draws if math.isnan(cell.std_over_seeds) else cell.std_over_seeds)
                for cell in cells
            ]
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            axes.plot(places, means, color=colour, marker=marker, markersize=5, label=comparison.method_titles[method])
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_ylabel("test accuracy (%)")
        if levels:
            axes.set_xlabel("standard deviation σ of the Gaussian noise (input range 0 to 1)")
        else:
            axes.set_xticks(places, [short_name(column) for column in comparison.perturbations], rotation=30)
        for text in axes.legend(frameon=False, fontsize="small").get_texts():
            text.set_parse_math(False)
    return figure


def to_svg(figure: Figure, *, standalone: bool = False) -> str:
    """Render a figure, which is not to be rendered again, as SVG; the same text for the same results.

    Args:
        figure: drawn for this.
        standalone: whether it is a file of its own; else an ``<svg>`` element without a size, for a page.
    """
    text = io.StringIO()
    with styled():
        figure.savefig(
            text, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    svg = text.getvalue()
    if standalone:
        return svg
    svg = svg[svg.index("<svg") :]
    return re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"|(<svg[^>]*?) width="[^"]*" height="[^"]*"',
                  lambda match: "".join(filter(None, match.groups())), svg, count=1)  # fmt: skip


def _levels(keys: tuple[str, ...]) -> list[float] | None:
    """The σ of every perturbation, if all are Gaussian noise or none at all."""
    levels = []
    for key in keys:
        noise = perturbation(key)
        if noise.name not in ("clean", "gaussian"):
            return None
        levels.append(float(getattr(noise, "std", 0.0)))
    return levels


@contextmanager
def styled() -> Iterator[None]:
    """Inside the block figures look the same, whatever the user's own settings are."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        yield
