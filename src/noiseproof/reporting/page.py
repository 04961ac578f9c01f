"""The page that tells what a comparison or some runs came to: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from noiseproof.evaluation import Comparison
from noiseproof.reporting.charts import accuracy_chart
from noiseproof.reporting.classes import Shade, class_accuracies
from noiseproof.reporting.comparisons import comparison_table
from noiseproof.reporting.confusions import method_confusion_table
from noiseproof.reporting.findings import Findings, findings
from noiseproof.reporting.pictures import Picture, data_uri, drawn_channels, picture
from noiseproof.reporting.rendering import policy, render, sheet
from noiseproof.reporting.tables import Table, decimals_for, percent, short_name
from noiseproof.reporting.wording import headlines, in_words, listed, main_finding, standing_words, standings_caption

__all__ = ["Example", "Mistake", "Mistakes", "Page", "Panel", "Setup", "render_page"]


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
class Mistake:
    """A sample that a model is right about on clean input, and not under noise.

    Attributes:
        index: its place in the test set.
        class_name: its true class.
        clean: the input, (C, H, W) in [0, 1], (C, T) or (F,).
        noisy: the same in the first draw that was answered wrongly.
        clean_probability: of its true class on clean input, in [0, 1].
        answer: the class answered in that draw.
        probability: that the model gave to ``answer``.
        wrong: in how many draws the answer was wrong.
        draws: how many there are.
    """

    index: int
    class_name: str
    clean: NDArray[np.float32]
    noisy: NDArray[np.float32]
    clean_probability: float
    answer: str
    probability: float
    wrong: int
    draws: int


@dataclass(frozen=True)
class Mistakes:
    """The samples that one model takes worst to noise.

    Attributes:
        model: its title.
        key: the perturbation.
        samples: the worst first.
        note: why there are none, or what is to be said of them.
    """

    model: str
    key: str
    samples: tuple[Mistake, ...]
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """A section of a page beside the accuracies.

    Attributes:
        title: its heading.
        text: a paragraph on what is shown.
        figure: markup of :func:`noiseproof.reporting.rendering.range_markup` or ``map_markup``, or nothing.
        words: the figure for those who cannot see it.
        table: a table, or None.
    """

    title: str
    text: str
    figure: str = ""
    words: str = ""
    table: Table | None = None


@dataclass(frozen=True)
class Setup:
    """What was trained and how.

    Attributes:
        sentences: for people, two or three.
        recipe: as YAML, with versions and the data's fingerprint.
        differences: in what the recipes of the rows differ, beside method and seed; None where in nothing.
    """

    sentences: tuple[str, ...]
    recipe: str
    differences: Table | None = None


@dataclass(frozen=True)
class Page:
    """All that a page shows.

    Attributes:
        comparison: the results.
        setup: how they came about.
        noise: the perturbation to look at closely; None for the strongest.
        title: of the page; empty for the comparison's.
        examples: samples under every perturbation.
        mistakes: the worst examples; None for no such section.
        panels: further sections.
    """

    comparison: Comparison
    setup: Setup
    noise: str | None = None
    title: str = ""
    examples: Sequence[Example] = ()
    mistakes: Mistakes | None = None
    panels: Sequence[Panel] = ()


def render_page(page: Page) -> str:
    """Render a page as HTML: the same text for the same results, and every string in it escaped.

    Raises:
        UnknownNameError: ``page.noise`` is no perturbation of the comparison.
    """
    comparison = page.comparison
    found = findings(comparison, page.noise)
    return render(
        "page.html.j2",
        policy=policy(),
        css=sheet("page.css"),
        script=sheet("page.js"),
        version=version("noiseproof"),
        title=page.title or comparison.title,
        setup=page.setup,
        caveat=comparison.caveat,
        found=found,
        finding=main_finding(found),
        headlines=headlines(found),
        standings=_standings(found),
        chart=accuracy_chart(comparison),
        table=comparison_table(comparison),
        classes=class_accuracies(comparison, found.key),
        confusions=_confusions(method_confusion_table(comparison, found.key)),
        where=in_words(found.key),
        examples=[
            (
                example.class_name,
                [(short_name(key), Picture(data_uri(image))) for key, image in example.images.items()],
            )
            for example in page.examples
        ],
        mistakes=_mistakes(page.mistakes),
        panels=[(panel, Markup(panel.figure)) for panel in page.panels],  # noqa: S704 - drawn by this package
    )


def _standings(found: Findings) -> dict[str, object] | None:
    """The differences to the leader with their places in a graphic, whose middle line is no difference."""
    others = [each for each in found.standings if not np.isnan(each.behind)]
    if not others:
        return None
    left = min(0.0, *(-each.high for each in others))
    right = max(0.0, *(-each.low for each in others))
    pad = 0.04 * (right - left) or 1.0
    left, right = left - pad, right + pad

    def place(value: float) -> float:
        return round(100 * (value - left) / (right - left), 2)

    decimals = decimals_for(found.samples)
    return {
        "caption": standings_caption(found),
        "zero": place(0.0),
        "rows": [
            {
                "title": each.title,
                "accuracy": percent(each.cell.mean, decimals),
                "interval": f"{percent(each.interval.low, decimals)} to {percent(each.interval.high, decimals)}",
                "words": standing_words(each, decimals),
                "verdict": each.verdict,
                "ends": None if np.isnan(each.behind) else (place(-each.high), place(-each.behind), place(-each.low)),
            }
            for each in found.standings
        ],
    }


def _confusions(table: Table | None) -> dict[str, object] | None:
    """The same with the two classes of a row together, and the deeper in colour the more samples are mistaken so."""
    if table is None:
        return None
    rows = [
        (true.text, answered.text, [Shade(share.text, round(float(share.text) / 10)) for share in shares])
        for true, answered, *shares in table.rows
    ]
    return {"caption": table.caption, "columns": table.columns[2:], "rows": rows}


def _mistakes(mistakes: Mistakes | None) -> dict[str, object] | None:
    if mistakes is None:
        return None
    cards = [_card(sample) for sample in mistakes.samples]
    return {
        "model": mistakes.model,
        "where": in_words(mistakes.key),
        "cards": cards,
        "channels": max((len(card["sample"].clean) for card in cards if card["channels"]), default=0),
        "draws": max((sample.draws for sample in mistakes.samples), default=0),
        "note": mistakes.note,
    }


def _card(sample: Mistake) -> dict[str, Any]:
    """Both pictures of a sample on the same scale, that of what is drawn of it."""
    clean, noisy, channels = sample.clean, sample.noisy, ""
    if clean.ndim == 2:
        drawn = drawn_channels(clean, noisy)
        channels = listed([str(channel) for channel in drawn]) if len(drawn) < len(clean) else ""
        clean, noisy = clean[drawn], noisy[drawn]
    both = np.concatenate([clean.ravel(), noisy.ravel()])
    ends = (float(both.min()), float(both.max()))
    return {
        "sample": sample,
        "clean": picture(clean, *ends),
        "noisy": picture(noisy, *ends),
        "channels": channels,
        "clean_probability": percent(sample.clean_probability, 0),
        "probability": percent(sample.probability, 0),
    }
