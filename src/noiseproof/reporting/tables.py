"""Tables: one content, rendered for the terminal, as Markdown and as LaTeX; and records as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noiseproof.reporting.terminal import FittingTable

__all__ = ["Entry", "Table", "decimals_for", "interval_text", "percent", "points", "short_name", "to_csv"]

_ROUNDING = 1e-9  # far below what one sample is worth


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

    def to_rich(self) -> FittingTable:
        """Render for a terminal, as wide as it is."""
        rows = [[(str(entry), entry.best) for entry in row] for row in self.rows]
        return FittingTable(self.title, self.columns, rows, self.caption)

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

    def to_latex(self) -> str:
        """Render as a LaTeX table for the package ``booktabs``.

        It is ASCII but for letters of other alphabets than Greek in names, which are left as they are.
        """
        columns = _latex_row([_latex(column) for column in self.columns])
        lines = [
            _latex_row([rf"\textbf{{{_latex(str(e))}}}" if e.best else _latex(str(e)) for e in row])
            for row in self.rows
        ]
        body = "\n".join(rf"    {line} \\" for line in lines)
        return (
            "\\begin{table}\n  \\centering\n"
            f"  \\caption{{{_latex(self.title)}. {_latex(self.caption)}}}\n"
            f"  \\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}\n    \\toprule\n"
            f"    {columns} \\\\\n    \\midrule\n{body}\n    \\bottomrule\n"
            "  \\end{tabular}\n\\end{table}\n"
        )


def to_csv(records: Sequence[dict[str, Any]]) -> str:
    """Render records as CSV, leaving out what is itself a mapping; no records are an empty text."""
    if not records:
        return ""
    columns = [key for key, value in records[0].items() if not isinstance(value, dict)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def percent(value: float, decimals: int) -> str:
    """Write a share in [0, 1] in percent; nothing for NaN."""
    return "" if math.isnan(value) else f"{100 * value:.{decimals}f}"


def points(value: float, decimals: int) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    shown = 0.0 if abs(value) < _ROUNDING else 100 * value  # not −0.0, which is a 0 that was negated
    return f"{shown:+.{decimals}f}".replace("-", "−")


def interval_text(interval: tuple[float, float], decimals: int, *, signed: bool = False) -> str:
    """Write an interval of shares in percent, or of differences in points; nothing where it is NaN."""
    low, high = interval
    if math.isnan(low):
        return ""
    write = points if signed else percent
    return f"{write(low, decimals)} to {write(high, decimals)}"


def short_name(key: str) -> str:
    """Shorten ``gaussian:0.1`` to ``σ 0.1``, the way the paper heads its columns."""
    name, _, value = key.partition(":")
    return f"σ {value.removeprefix('std=')}" if name == "gaussian" and "," not in value and "+" not in value else key


def decimals_for(samples: int) -> int:
    """How many decimals of a percentage mean something: one sample in 450 is 0.2 %."""
    return 2 if samples >= 1000 else 1


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


_GREEK = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon varphi chi "
    "psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
    "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$", "≈": r"$\approx$", "−": "$-$", "×": r"$\times$", "·": r"$\cdot$",
    "√": r"$\surd$", "∞": r"$\infty$", "‖": r"$\|$", "→": r"$\to$", "°": r"$^\circ$", "½": r"$\frac12$",
    "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\ldots{}", "‘": "`", "’": "'", "“": "``", "”": "''",
    "\u00a0": "~", "µ": r"$\mu$", "ς": r"$\varsigma$", "ο": "o",
    **{sign: f"$^{power}$" for power, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{sign: f"$_{index}$" for index, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True)),
    **{
        sign: f"$\\{name}$"
        for sign, name in zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", _GREEK.split(), strict=True)
    },
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def _latex_row(cells: Sequence[str]) -> str:
    r"""Join cells, with {} before what the ``\\`` of the row above would take for an argument of its own."""
    row = " & ".join(cells)
    return f"{{}}{row}" if row.lstrip().startswith(("[", "*")) else row
