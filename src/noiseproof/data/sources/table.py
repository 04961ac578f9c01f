"""Tables as text: ``csv:PATH`` with a line of names, then a sample in each row, its class in one of the columns."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, existing_file
from noiseproof.errors import DataError

__all__ = ["Row", "class_columns", "has_names", "number", "read_rows", "table"]

_CLASS_NAMES = ("label", "class", "target", "y")
_COUNTED = 3  # columns that 0, 1, 2 … are taken to number rather than to be values in
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.0+)?")
_SEPARATORS = (";", "\t", ",")
_SHOWN = 30


class Row(NamedTuple):
    """The cells of a row, without spaces around, and the line of the file that it ends in, counted from 1."""

    line: int
    cells: list[str]


@SOURCES.register("csv")
def table(argument: str, options: SourceOptions) -> SourceData:
    """Return the rows of a table as vectors (N, F), float32; features have the columns' names, if no two are alike.

    The class stands in the column named label, class, target or (where there is no x) y, else in the last one: texts
    or whole numbers. The classes are in the order of their names, or of their numbers. The column that
    ``options.group`` names tells which rows belong together. All other columns are inputs.

    Raises:
        DataError: no such file, no line of names, fewer than two classes, or a row or cell that does not fit; names
            line and column.
    """
    names, rows = _named(read_rows(existing_file("csv", argument), argument), argument)
    group_column = None if options.group is None else _group_column(names, options.group, argument)
    class_column = _class_column(names, argument, group_column)
    labels, class_names = _classes([row.cells[class_column] for row in rows], rows, names[class_column], argument)
    columns = [column for column in range(len(names)) if column not in (class_column, group_column)]
    if not columns:
        raise DataError(f"{argument} has no column of numbers beside those of classes and groups")
    inputs = _inputs(rows, columns, names, argument)
    features = [names[column] for column in columns]
    data = ArrayDataset(inputs, labels, class_names, features if len(set(features)) == len(features) else None)
    return SourceData(data, groups=None if group_column is None else _groups(rows, group_column, names, argument))


def read_rows(path: Path, name: str) -> list[Row]:
    """Read the rows of a table, which an error calls ``name``, with commas, semicolons or tabs between the cells.

    Raises:
        DataError: it cannot be read, or has no rows.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = _parsed(text, _separator(text))
    except (UnicodeDecodeError, csv.Error) as error:
        reason = "it is not text in UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise DataError(f"cannot read {name} as a table: {reason}") from error
    if not rows:
        raise DataError(f"{name} holds no rows")
    return rows


def has_names(cells: Sequence[str]) -> bool:
    """Whether these may name columns: none is a number, or they count the columns beside that of classes, if any."""
    numbers = [cell for cell in cells if number(cell) is not None]
    others = [cell.lower() for cell in cells if number(cell) is None]
    counted = any(numbers == [str(first + place) for place in range(len(numbers))] for first in (0, 1))
    enough = others or (len(numbers) >= _COUNTED and numbers[0] == "0")
    return not numbers or bool(counted and enough and all(cell in _CLASS_NAMES for cell in others))


def class_columns(names: Sequence[str]) -> list[int]:
    """Return the columns that are called as those of classes are; ``y`` is none beside ``x``, but a coordinate."""
    given = [name.lower() for name in names]
    return [place for place, name in enumerate(given) if name in _CLASS_NAMES and not (name == "y" and "x" in given)]


def number(text: str) -> float | None:
    """Return the number that a cell holds, which may be NaN or infinite; None where it holds none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _parsed(text: str, separator: str, most: int | None = None) -> list[Row]:
    """The rows that are not empty, at most so many of them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    rows: list[Row] = []
    for cells in reader:
        if len(rows) == most:
            break
        if any(map(str.strip, cells)):
            rows.append(Row(reader.line_num, [cell.strip() for cell in cells]))
    return rows


def _separator(text: str) -> str:
    """What parts the first two rows into as many cells each; else what parts the first; else a comma."""
    lengths: dict[str, list[int]] = {}
    for separator in _SEPARATORS:
        try:
            lengths[separator] = [len(row.cells) for row in _parsed(text, separator, most=2)]
        except csv.Error:  # quotes that end within a cell: another separator is meant
            continue
    several = [separator for separator, found in lengths.items() if found and found[0] > 1]
    return next((separator for separator in several if len(set(lengths[separator])) == 1), (several or [","])[0])


def _named(rows: list[Row], file: str) -> tuple[list[str], list[Row]]:
    """The names of the columns, and the rows below, each of them as long."""
    (line, names), *samples = rows
    if not has_names(names):
        found = next(cell for cell in names if number(cell) is not None)
        raise DataError(f"{file} has no header: line {line} must name the columns, but {found!r} is a number")
    if len(names) < 2:
        raise DataError(
            f"{file} has one column, {names[0]!r}: numbers and a class need a comma, ; or tab between them"
        )
    if "" in names:
        raise DataError(
            f"column {names.index('') + 1} of {file} has no name: give it one; or, if it numbers the rows, leave it "
            "out, in pandas with to_csv(index=False)"
        )
    if not samples:
        raise DataError(f"{file} holds names of columns, but no rows below")
    for row in samples:
        if len(row.cells) != len(names):
            raise DataError(f"line {row.line} of {file} has {len(row.cells)} cells for {len(names)} columns")
    return names, samples


def _group_column(names: Sequence[str], group: str, file: str) -> int:
    places = [place for place, name in enumerate(names) if name == group]
    if len(places) != 1:
        what = f"{len(places)} columns" if places else "no column"
        raise DataError(f"{file} has {what} {group!r}, which data.group names; it has: {', '.join(names[:_SHOWN])}")
    return places[0]


def _groups(rows: Sequence[Row], column: int, names: Sequence[str], file: str) -> Tensor:
    """A number for each row (N,), the same for rows of one group."""
    numbers: dict[str, int] = {}
    for row in rows:
        if not row.cells[column]:
            raise _fault(row, names[column], file, "is empty, but names the row's group")
    return torch.tensor([numbers.setdefault(row.cells[column], len(numbers)) for row in rows])


def _class_column(names: Sequence[str], file: str, group_column: int | None) -> int:
    found = [column for column in class_columns(names) if column != group_column]
    if len(found) > 1:
        several = " and ".join(repr(names[column]) for column in found)
        raise DataError(f"{file} has no clear column of classes: it may be {several}; rename all but one")
    if found:
        return found[0]
    return next(column for column in reversed(range(len(names))) if column != group_column)


def _classes(cells: Sequence[str], rows: Sequence[Row], name: str, file: str) -> tuple[Tensor, list[str]]:
    """Labels (N,) from 0 on, and the class that each stands for."""
    for row, cell in zip(rows, cells, strict=True):
        if cell.lower() in ("", "nan"):
            raise _fault(row, name, file, "holds no class")
    numbers = [_whole(cell) for cell in cells]
    if None in numbers and all(number(cell) is not None for cell in cells):
        place = numbers.index(None)
        allowed = f"classes are texts or whole numbers, in the last column or in one named {', '.join(_CLASS_NAMES)}"
        raise _fault(rows[place], name, file, f"holds {cells[place]} for a class: {allowed}")
    whole = [value for value in numbers if value is not None]
    values = list(map(str, whole)) if len(whole) == len(cells) else cells
    names = sorted(set(values), key=int if values is not cells else None)
    if len(names) < 2:
        raise DataError(f"every row of {file} has the class {names[0]!r} in the column {name!r}: two are needed")
    labels = {each: label for label, each in enumerate(names)}
    return torch.tensor([labels[value] for value in values]), names


def _whole(text: str) -> int | None:
    return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else None


def _inputs(rows: Sequence[Row], columns: Sequence[int], names: Sequence[str], file: str) -> Tensor:
    """The numbers in these columns, (N, F)."""
    found = [[number(row.cells[column]) for column in columns] for row in rows]
    if any(None in values for values in found):
        row, column = next((row, c) for row in rows for c in columns if number(row.cells[c]) is None)
        text = all(number(each.cells[column]) is None for each in rows)
        hint = f"; if it tells which rows belong together, set data.group={names[column]}" if text else ""
        raise _fault(row, names[column], file, _no_number(row.cells[column]) + hint)
    inputs = torch.tensor(found, dtype=torch.float32)
    wrong = (~inputs.isfinite()).nonzero()
    if len(wrong):
        row, column = rows[int(wrong[0, 0])], columns[int(wrong[0, 1])]
        large = math.isfinite(float(row.cells[column]))
        reason = "which is too large for float32" if large else "but NaN and infinite values are no inputs"
        raise _fault(row, names[column], file, f"holds {row.cells[column]}, {reason}")
    return inputs


def _no_number(cell: str) -> str:
    if not cell:
        return "is empty"
    hint = "; write decimals with a point" if number(cell.replace(",", ".")) is not None else ""
    return f"holds {cell if len(cell) <= _SHOWN else cell[:_SHOWN] + '…'!r}, which is no number{hint}"


def _fault(row: Row, column: str, file: str, what: str) -> DataError:
    return DataError(f"line {row.line} of {file}, column {column!r}, {what}")
