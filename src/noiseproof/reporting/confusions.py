"""Which classes are taken for which, the most frequent mistakes first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from noiseproof.evaluation import Comparison, RobustnessReport
from noiseproof.reporting.tables import Entry, Table, percent, short_name
from noiseproof.reporting.wording import in_words

__all__ = ["confusion_table", "method_confusion_table"]

_SHOWN = 10


def confusion_table(report: RobustnessReport, title: str) -> Table:
    """The most frequent mistakes of one model, a column per perturbation.

    Raises:
        InvalidArgumentError: the report is of an earlier version, which kept no answers.
    """
    columns = [report.confusion(key) for key in report]
    caption = (
        "Share in % of the samples of the first class that are taken for the second, over all draws: the mistakes "
        "that are made most often, over all these perturbations."
    )
    rows = _rows(report, columns)
    caption = " ".join(filter(None, (caption if rows else "There are no mistakes.", report.caveat)))
    return Table(f"{title}, mistakes", ("Class", "Taken for", *map(short_name, report)), rows, caption)


def method_confusion_table(comparison: Comparison, key: str) -> Table | None:
    """The most frequent mistakes under one perturbation, a column per method; None where there are no answers to tell.

    Shares are means over training seeds.
    """
    reports = [each for method in comparison.methods for each in comparison.reports[method].values()]
    if any(each[key].answered is None for each in reports):
        return None
    columns = [
        _mean([each.confusion(key) for each in comparison.reports[method].values()]) for method in comparison.methods
    ]
    rows = _rows(reports[0], columns)
    titles = (comparison.method_titles[method] for method in comparison.methods)
    caption = (
        f"Share in % of the samples of the first class that are taken for the second under {in_words(key)}, mean over "
        "seeds and draws: the mistakes that are made most often."
    )
    return Table("What is taken for what", ("Class", "Taken for", *titles), rows, caption) if rows else None


def _rows(report: RobustnessReport, shares: Sequence[NDArray[np.float64]]) -> tuple[tuple[Entry, ...], ...]:
    """Pairs of classes by how many samples are mistaken so, and the shares of each column."""
    columns = _alike(shares)
    sizes = np.bincount(report.labels, minlength=len(report.class_names))[:, None]
    mistaken = np.nan_to_num(np.sum(columns, axis=0)) * sizes
    np.fill_diagonal(mistaken, 0)
    order = np.argsort(-mistaken, axis=None, kind="stable")[:_SHOWN]
    pairs = [(int(place) // mistaken.shape[1], int(place) % mistaken.shape[1]) for place in order]
    return tuple(
        (
            Entry(report.class_names[true]),
            Entry(_name(report, answered)),
            *(Entry(percent(float(column[true, answered]), 1)) for column in columns),
        )
        for true, answered in pairs
        if mistaken[true, answered] > 0
    )


def _name(report: RobustnessReport, number: int) -> str:
    """The name of a class; of one that the data does not know, its number."""
    return report.class_names[number] if number < len(report.class_names) else f"class {number}"


def _mean(shares: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean(_alike(shares), axis=0)
    return mean


def _alike(shares: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """The same with as many columns each, of classes that are never answered."""
    width = max(each.shape[1] for each in shares)
    return [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in shares]
