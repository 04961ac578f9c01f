"""Tables: one content, rendered for the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import rich.table
from rich import box
from rich.text import Text

from noiseproof.evaluation import Cell, Comparison, RobustnessReport

__all__ = ["Entry", "Table", "comparison_records", "comparison_table", "report_table"]


@dataclass(frozen=True)
class Entry:
    """One entry of a table: its text, a lesser detail behind it, and whether it is shown in bold as the best."""

    text: str
    detail: str = ""
    best: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.detail}".rstrip()


@dataclass(frozen=True)
class Table:
    """A table as people read it.

    Attributes:
        title: what it shows.
        columns: their headings, the first for the rows' names.
        rows: entries, as many as columns.
        caption: what the numbers mean.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    caption: str

    def to_rich(self) -> rich.table.Table:
        """Render for a terminal."""
        shown = rich.table.Table(
            title=Text(self.title), caption=Text(self.caption), box=box.SIMPLE_HEAD, title_justify="left",
            caption_justify="left", pad_edge=False,
        )  # fmt: skip
        for index, column in enumerate(self.columns):
            shown.add_column(Text(column), justify="left" if index == 0 else "right")
        for row in self.rows:
            shown.add_row(*(Text(str(entry), style="bold" if entry.best else "") for entry in row))
        return shown

    def to_markdown(self) -> str:
        """Render as a Markdown table with its title and caption."""
        lines = [
            _markdown_row([_escape(column) for column in self.columns]),
            _markdown_row([":---", *["---:"] * (len(self.columns) - 1)]),
            *(
                _markdown_row([f"**{_escape(str(e))}**" if e.best else _escape(str(e)) for e in row])
                for row in self.rows
            ),
        ]
        return f"{self.title}\n\n" + "\n".join(lines) + f"\n\n{self.caption}\n"


def comparison_table(comparison: Comparison) -> Table:
    """Accuracy in percent, a row per method and a column per perturbation, like the paper's Tables 1 to 3."""
    decimals = _decimals(comparison)
    rows = tuple(
        (
            Entry(comparison.method_titles[method]),
            *(_entry(comparison.cell(method, column), decimals) for column in comparison.perturbations),
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


def to_csv(records: Sequence[dict[str, Any]]) -> str:
    """Render records as CSV, leaving out what is itself a mapping."""
    columns = [key for key, value in records[0].items() if not isinstance(value, dict)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def report_table(report: RobustnessReport, title: str, caveat: str = "") -> Table:
    """Accuracy in percent of one model, a row per perturbation; ``caveat`` ends the caption."""
    decimals = decimals_for(len(report.labels))
    rows = tuple(
        (
            Entry(result.key),
            Entry(f"{100 * result.mean:.{decimals}f}"),
            Entry(f"± {100 * result.std:.{decimals}f}" if result.random and not math.isnan(result.std) else ""),
            Entry(str(len(result.correct))),
        )
        for result in report.values()
    )
    caption = f"Accuracy in % of {len(report.labels)} samples; std over independent draws of the perturbation."
    return Table(title, ("Perturbation", "Accuracy", "std", "Draws"), rows, f"{caption} {caveat}".rstrip())


def short_name(key: str) -> str:
    """Shorten ``gaussian:0.1`` to ``σ 0.1``, the way the paper heads its columns."""
    name, _, value = key.partition(":")
    return f"σ {value.removeprefix('std=')}" if name == "gaussian" and "," not in value and "+" not in value else key


def decimals_for(samples: int) -> int:
    """How many decimals of a percentage mean something: one sample in 450 is 0.2 %."""
    return 2 if samples >= 1000 else 1


def _decimals(comparison: Comparison) -> int:
    report = next(iter(next(iter(comparison.reports.values())).values()))
    return decimals_for(len(report.labels))


def _entry(cell: Cell, decimals: int) -> Entry:
    mean, over_seeds, over_draws = (
        f"{100 * value:.{decimals}f}" for value in (cell.mean, cell.std_over_seeds, cell.std_over_draws)
    )
    if math.isnan(cell.std_over_seeds):
        return Entry(f"{mean} ±{over_draws}" if cell.std_over_draws > 0 else mean, best=cell.best)
    return Entry(f"{mean} ±{over_seeds}", f"({over_draws})" if cell.std_over_draws > 0 else "", cell.best)


def _caption(comparison: Comparison) -> str:
    seeds, draws = len(comparison.seeds), comparison.draws
    if draws == 1:
        over = f"mean ± std over {seeds} training seeds" if seeds > 1 else "one training seed"
        return f"Accuracy in %: {over}, one draw of the noise. Bold: best mean of the column."
    if seeds > 1:
        spread = f"mean ± std over {seeds} training seeds (std over {draws} draws of the noise)"
    else:
        spread = f"mean ± std over {draws} draws of the noise, one training seed"
    return f"Accuracy in %: {spread}. Bold: best mean of the column."


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
