"""A self-contained page: no script, no font and no picture is loaded from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from noiseproof.evaluation import Comparison
from noiseproof.reporting.comparisons import comparison_table
from noiseproof.reporting.plots import accuracy_plot, to_svg
from noiseproof.reporting.tables import Table, decimals_for, short_name

__all__ = ["Example", "Panel", "comparison_page"]


@dataclass(frozen=True)
class Example:
    """One sample under every perturbation.

    Attributes:
        class_name: its true class.
        images: by perturbation, (H, W, 3) or (H, W) arrays of values in [0, 1].
    """

    class_name: str
    images: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Panel:
    """A section of a page beside the accuracies.

    Attributes:
        title: its heading.
        text: a paragraph on what is shown.
        svg: a figure as :func:`noiseproof.reporting.to_svg` gives it, or nothing.
        words: the figure for those who cannot see it.
        table: a table, or None.
    """

    title: str
    text: str
    svg: str = ""
    words: str = ""
    table: Table | None = None


def comparison_page(
    comparison: Comparison, recipe: str, examples: Sequence[Example] = (), panels: Sequence[Panel] = ()
) -> str:
    """Render a comparison as one HTML page.

    Args:
        comparison: the results.
        recipe: the recipe as YAML, with versions.
        examples: samples to show under every perturbation.
        panels: further sections.

    Returns:
        The page as text; every string in it is escaped.
    """
    template = (resources.files("noiseproof.reporting") / "comparison.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        title=comparison.title,
        table=comparison_table(comparison),
        headlines=_headlines(comparison),
        plot=Markup(to_svg(accuracy_plot(comparison))),  # noqa: S704 - drawn here, from numbers and escaped titles
        plot_text=_plot_in_words(comparison),
        examples=[
            (example.class_name, [(short_name(key), _data_uri(image)) for key, image in example.images.items()])
            for example in examples
        ],
        panels=[(panel, Markup(panel.svg)) for panel in panels],  # noqa: S704 - drawn by to_svg
        recipe=recipe,
    )


def _headlines(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(perturbation, winner, accuracy) for the first and the last column, the mildest and the strongest."""
    report = next(iter(next(iter(comparison.reports.values())).values()))
    decimals = decimals_for(len(report.labels))
    columns = dict.fromkeys((comparison.perturbations[0], comparison.perturbations[-1]))
    return [
        (short_name(column), comparison.method_titles[method], f"{100 * cell.mean:.{decimals}f} %")
        for column in columns
        for method in comparison.methods
        for cell in [comparison.cell(method, column)]
        if cell.best
    ]


def _plot_in_words(comparison: Comparison) -> str:
    first, last = comparison.perturbations[0], comparison.perturbations[-1]
    falls = [
        f"{comparison.method_titles[method]} from {100 * comparison.cell(method, first).mean:.1f} "
        f"to {100 * comparison.cell(method, last).mean:.1f} %"
        for method in comparison.methods
    ]
    return f"Test accuracy from {short_name(first)} to {short_name(last)}: " + "; ".join(falls) + "."


def _data_uri(image: NDArray[np.float32]) -> str:
    pixels = Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8))
    buffer = io.BytesIO()
    pixels.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
