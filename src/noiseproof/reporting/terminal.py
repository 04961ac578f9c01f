"""A table on a terminal: where it is too wide, its columns are shown in parts, each beside the rows' names."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import rich.table
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

__all__ = ["Cells", "FittingTable"]

_WIDEST_NAMES = 24  # what the column of names gets before the others are shown in parts
_BETWEEN = 3  # characters between two columns

Cells = Sequence[tuple[str, bool]]  # of a row: texts, and whether they are bold


@dataclass(frozen=True)
class FittingTable:
    """What rich prints in the width that there is; no number that fits into it is broken.

    Attributes:
        title: above all parts.
        columns: headings, the first for the rows' names.
        rows: as many cells as columns.
        caption: below all parts.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Cells]
    caption: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        headings, (names, *widths) = list(self.columns), self._widths(self.columns)
        if names + sum(width + _BETWEEN for width in widths) > options.max_width:
            headings = [self._wrapped(column) for column in range(len(self.columns))]
            names, *widths = self._widths(headings)
            names = min(names, max(_WIDEST_NAMES, self._longest_word), max(options.max_width // 2, 8))
        parts = list(_parts(widths, options.max_width - names))
        for number, part in enumerate(parts):
            yield self._part(headings, names, part, first=number == 0, last=number == len(parts) - 1)

    def _part(
        self, headings: Sequence[str], names: int, columns: Sequence[int], *, first: bool, last: bool
    ) -> rich.table.Table:
        shown = rich.table.Table(
            title=Text(self.title) if first else None, caption=Text(self.caption) if last else None,
            box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left", pad_edge=False,
        )  # fmt: skip
        shown.add_column(Text(headings[0]), overflow="fold", max_width=names)
        for column in columns:
            shown.add_column(Text(headings[column]), justify="right", overflow="fold")
        for row in self.rows:
            shown.add_row(*(Text(row[each][0], style="bold" if row[each][1] else "") for each in (0, *columns)))
        return shown

    def _widths(self, headings: Sequence[str]) -> list[int]:
        """What each column needs, in characters."""
        cells = [headings, *([text for text, _ in row] for row in self.rows)]
        return [max(_width(row[column]) for row in cells) for column in range(len(headings))]

    def _wrapped(self, column: int) -> str:
        """The heading in lines that are no longer than its entries and its longest word."""
        entries = max((_width(row[column][0]) for row in self.rows), default=1)
        words = max(map(cell_len, self.columns[column].split()), default=1)
        width = max(entries, words, 1)
        return "\n".join(textwrap.wrap(self.columns[column], width, break_long_words=False, break_on_hyphens=False))

    @property
    def _longest_word(self) -> int:
        return max((cell_len(word) for row in self.rows for word in row[0][0].split()), default=0)


def _parts(widths: Sequence[int], available: int) -> Iterator[list[int]]:
    """Numbers of columns, from 1, as many at a time as are available characters for."""
    part: list[int] = []
    used = 0
    for column, width in enumerate(widths, 1):
        if part and used + width + _BETWEEN > available:
            yield part
            part, used = [], 0
        part.append(column)
        used += width + _BETWEEN
    yield part


def _width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))
