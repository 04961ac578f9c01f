"""A comparison of methods as tables and records."""

from __future__ import annotations

import math
from typing import Any

from noiseproof.evaluation import Cell, Comparison
from noiseproof.reporting.tables import Entry, Table, decimals_for, short_name

__all__ = ["comparison_records", "comparison_table"]


def comparison_table(comparison: Comparison) -> Table:
    """Accuracy in percent, a row per method and a column per perturbation, like the paper's Tables 1 to 3."""
    decimals, several = _decimals(comparison), len(comparison.seeds) > 1
    rows = tuple(
        (
            Entry(comparison.method_titles[method]),
            *(_entry(comparison.cell(method, column), decimals, several) for column in comparison.perturbations),
        )
        for method in comparison.methods
    )
    title = f"Test accuracy under perturbations: {comparison.title}"
    return Table(
        title,
        ("Method", *map(short_name, comparison.perturbations)),
        rows,
        f"{_caption(comparison)} {comparison.caveat}".rstrip(),
    )


def comparison_records(comparison: Comparison) -> list[dict[str, Any]]:
    """One record per method and perturbation, accuracies in [0, 1], for CSV and JSON; unknown spreads are None."""
    return [
        {
            "method": method,
            "perturbation": column,
            "mean": cell.mean,
            "std_over_seeds": None if math.isnan(cell.std_over_seeds) else cell.std_over_seeds,
            "std_over_draws": None if math.isnan(cell.std_over_draws) else cell.std_over_draws,
            "best": cell.best,
            "seeds": len(comparison.reports[method]),
            "draws": len(next(iter(comparison.reports[method].values()))[column].correct),
            **({"caveat": comparison.caveat} if comparison.caveat else {}),
            "by_seed": {str(seed): report[column].mean for seed, report in comparison.reports[method].items()},
        }
        for method in comparison.methods
        for column in comparison.perturbations
        for cell in [comparison.cell(method, column)]
    ]


def _decimals(comparison: Comparison) -> int:
    report = next(iter(next(iter(comparison.reports.values())).values()))
    return decimals_for(len(report.labels))


def _entry(cell: Cell, decimals: int, several: bool) -> Entry:
    mean, over_seeds, over_draws = (
        f"{100 * value:.{decimals}f}" for value in (cell.mean, cell.std_over_seeds, cell.std_over_draws)
    )
    if math.isnan(cell.std_over_seeds) and several:
        return Entry(mean, f"(one seed, {over_draws})" if cell.std_over_draws > 0 else "(one seed)", cell.best)
    if math.isnan(cell.std_over_seeds):
        return Entry(f"{mean} ±{over_draws}" if cell.std_over_draws > 0 else mean, best=cell.best)
    return Entry(f"{mean} ±{over_seeds}", f"({over_draws})" if cell.std_over_draws > 0 else "", cell.best)


def _caption(comparison: Comparison) -> str:
    seeds, draws = len(comparison.seeds), comparison.draws
    if draws == 1:
        over = f"mean ± std over {seeds} training seeds" if seeds > 1 else "one training seed"
        noise = ", one draw of the noise" if comparison.random else ""
        return f"Accuracy in %: {over}{noise}. Bold: best mean of the column."
    if seeds > 1:
        fewer = any(len(by_seed) < seeds for by_seed in comparison.reports.values())
        over = f"{'up to ' if fewer else ''}{seeds} training seeds"
        spread = f"mean ± std over {over} (std over {draws} draws of the noise)"
    else:
        spread = f"mean ± std over {draws} draws of the noise, one training seed"
    return f"Accuracy in %: {spread}. Bold: best mean of the column."
