"""Accuracy by method and class, as a table whose cells can be coloured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noiseproof.evaluation import Comparison

__all__ = ["ClassAccuracies", "Shade", "class_accuracies"]

_STEPS = 10  # of colour
_SHOWN = 30  # classes; a table of a thousand is no use to anybody
_ACROSS = 12  # more classes than this go down the page


@dataclass(frozen=True)
class Shade:
    """One cell: the accuracy in percent, empty where no sample is of the class, and how deep its colour is.

    ``depth`` goes from 0 for all right to 10 for all wrong.
    """

    text: str
    depth: int


@dataclass(frozen=True)
class ClassAccuracies:
    """Accuracies of methods by class under one perturbation.

    Attributes:
        key: the perturbation.
        corner: what the first column holds.
        columns: the other headings.
        rows: a name and a cell for each column.
        left_out: how many classes are not shown, those with the highest mean accuracies.
    """

    key: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Shade, ...]], ...]
    left_out: int


def class_accuracies(comparison: Comparison, key: str) -> ClassAccuracies:
    """Mean accuracy over seeds and draws of each class, methods down and classes across; the other way for many."""
    report = next(iter(next(iter(comparison.reports.values())).values()))
    names = report.class_names
    values = np.array(
        [
            np.mean([each.per_class(key) for each in comparison.reports[method].values()], axis=0)
            for method in comparison.methods
        ]
    )  # (methods, classes)
    shown = range(len(names))
    if len(names) > _SHOWN:
        means = np.nan_to_num(values.mean(axis=0), nan=2.0)
        shown = sorted(np.argsort(means, kind="stable")[:_SHOWN].tolist())  # type: ignore[assignment]
    titles = [comparison.method_titles[method] for method in comparison.methods]
    cells = [[_shade(float(values[row, c])) for c in shown] for row in range(len(titles))]
    labels = [names[c] for c in shown]
    if len(labels) > _ACROSS:
        rows = tuple((label, tuple(row[c] for row in cells)) for c, label in enumerate(labels))
        return ClassAccuracies(key, "Class", tuple(titles), rows, len(names) - len(labels))
    rows = tuple((title, tuple(row)) for title, row in zip(titles, cells, strict=True))
    return ClassAccuracies(key, "Method", tuple(labels), rows, 0)


def _shade(accuracy: float) -> Shade:
    if math.isnan(accuracy):
        return Shade("", 0)
    return Shade(f"{100 * accuracy:.0f}", round(_STEPS * (1 - accuracy)))
