"""Input-loss curvature as a table and as records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from noiseproof.analysis import InputCurvature
from noiseproof.reporting.tables import Entry, Table

__all__ = ["curvature_records", "curvature_table"]


def curvature_table(found: Sequence[InputCurvature], title: str, *, caveat: str = "") -> Table:
    """Quantiles of Λ(x) over samples, a row per estimate; ``caveat`` ends the caption."""
    rows = tuple(
        (
            Entry(each.estimator if each.step is None else f"{each.estimator}, t = {each.step:g}"),
            *(Entry(f"{value:.3g}") for value in _summary(each).values()),
            Entry(_relative_error(each)),
        )
        for each in found
    )
    first = found[0]
    scale = (
        "Eq. 21 sees what lies within about t·√k of an input of k values, the kinks of ReLU included; hutchinson "
        "takes the Hessian at the point, and gauss-newton its Gauss-Newton part, which is the whole of it (exact) "
        "where the network is piecewise linear."
    )
    return Table(
        title,
        ("Estimator", "Mean", "10 %", "Median", "90 %", "Largest", "Error"),
        rows,
        f"Λ(x) = Σλ² of the Hessian of the softmax loss in the input ({first.space} space), over {len(first.values)} "
        f"samples. Error: median relative standard error over probes. {scale} {caveat}".rstrip(),
    )


def curvature_records(found: Sequence[InputCurvature], *, caveat: str = "") -> list[dict[str, Any]]:
    """One record per estimate, for CSV."""
    return [
        {
            "estimator": each.estimator, "space": each.space, "step": each.step, "probes": each.probes,
            "samples": len(each.values), **_summary(each), "residual": each.residual,
            **({"caveat": caveat} if caveat else {}),
        }
        for each in found
    ]  # fmt: skip


def _summary(found: InputCurvature) -> dict[str, float]:
    low, median, high = np.quantile(found.values, [0.1, 0.5, 0.9])
    return {
        "mean": float(found.values.mean()),
        "quantile_10": float(low),
        "median": float(median),
        "quantile_90": float(high),
        "largest": float(found.values.max()),
    }


def _relative_error(found: InputCurvature) -> str:
    if found.estimator == "gauss-newton":
        return "exact" if found.exact else "Gauss-Newton part"
    positive = found.values > 0
    error = float(np.median(found.stderr[positive] / found.values[positive])) if positive.any() else math.nan
    return "" if math.isnan(error) else f"{100 * error:.0f} %"
