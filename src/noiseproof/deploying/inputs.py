"""Reading what a model is asked about: pictures, folders of them, archives of arrays, tables of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from noiseproof.checks import check_unit_interval
from noiseproof.data.dataset import places_of, to_unit_interval
from noiseproof.data.images import SUFFIXES, decode_rgb
from noiseproof.data.sources.npz import numeric_inputs, read_archive
from noiseproof.data.sources.table import Row, class_columns, has_names, number, read_rows
from noiseproof.errors import DataError, InvalidArgumentError

__all__ = ["Failure", "Sample", "find_files", "printable", "read_samples", "tensor_samples"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One input: what it is called, and its values as the model takes them, floating."""

    name: str
    values: Tensor


@dataclass(frozen=True)
class Failure:
    """One input that could not be read: what it is called, and why."""

    name: str
    reason: str


def find_files(places: Sequence[str | Path], input_shape: tuple[int, ...]) -> list[Path | Failure]:
    """List the files that are meant by files and folders, the latter recursively and sorted.

    In folders, pictures are looked for where a model takes images, ``.npz`` and ``.csv`` files where it takes vectors,
    ``.npz`` files where it takes series. What begins with a dot is left out. A file that is named itself is taken
    whatever its name.
    """
    found: list[Path | Failure] = []
    for place in map(Path, places):
        if place.is_dir():
            inside = _inside(place, _suffixes(input_shape))
            what = f"no {_kind(input_shape)} ({', '.join(_suffixes(input_shape))})"
            found += inside or [Failure(printable(place), f"the folder {printable(place)} holds {what}")]
        elif place.is_file():
            found.append(place)
        else:
            found.append(Failure(printable(place), f"{printable(place)} does not exist"))
    return found


def read_samples(
    path: Path, input_shape: tuple[int, ...], feature_names: Sequence[str] | None = None
) -> Iterator[Sample | Failure]:
    """Read one file: a picture, or the rows of an archive or a table. What cannot be read is a :class:`Failure`.

    A picture is resized bilinearly to the model's height and width, as in training, and becomes RGB or, where the
    model takes one channel, grey (ITU-R 601). An ``.npz`` archive holds an array ``x`` of shape (N, …), as for the
    data source of that name; a ``.csv`` table holds a vector in each row, with commas, semicolons or tabs between the
    numbers, below a row of headings if there is one. Where the model's features have names, columns are taken by their
    headings, in whatever order they stand, and others are left out; without headings by their places.
    """
    name = printable(path)
    try:
        if path.suffix.lower() == ".npz":
            yield from _archive(path, name, input_shape)
        elif path.suffix.lower() == ".csv":
            yield from _table(path, name, input_shape, feature_names)
        else:
            yield Sample(name, to_unit_interval(_picture(path, name, input_shape)))
    except (DataError, OSError) as error:
        yield Failure(name, str(error) if isinstance(error, DataError) else f"cannot read {name}: {error.strerror}")


def tensor_samples(inputs: Tensor, input_shape: tuple[int, ...], name: str = "") -> Iterator[Sample | Failure]:
    """Take the rows of a batch (N, …) as inputs named ``name[0]`` and so on; bytes are divided by 255.

    Raises:
        DataError: inputs of another shape than the model's.
    """
    if inputs.ndim == 0 or tuple(inputs.shape[1:]) != input_shape:
        raise DataError(
            f"{name or 'inputs'} must be (N, {', '.join(map(str, input_shape))}) for this model, got "
            f"{tuple(inputs.shape)}"
        )
    for index, row in enumerate(inputs):
        yield _checked(f"{name}[{index}]", to_unit_interval(row))


def printable(text: str | Path) -> str:
    """Return a name that any terminal, table or file of UTF-8 can hold: what cannot be printed is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def _suffixes(input_shape: tuple[int, ...]) -> tuple[str, ...]:
    return {1: (".csv", ".npz"), 3: SUFFIXES}.get(len(input_shape), (".npz",))


def _kind(input_shape: tuple[int, ...]) -> str:
    return "pictures" if len(input_shape) == 3 else "files of inputs"


def _inside(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _picture(path: Path, name: str, input_shape: tuple[int, ...]) -> Tensor:
    """A picture as bytes, in the shape that the model takes."""
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        shape = "×".join(map(str, input_shape))
        kinds = " or ".join(_suffixes(input_shape)) if len(input_shape) != 3 else ".npz"
        raise DataError(f"{name} is no {kinds} file, and the model takes inputs of {shape} values, not pictures")
    channels, height, width = input_shape
    rgb = decode_rgb(path, name, (height, width))
    if channels == 3:
        return rgb
    grey = Image.fromarray(rgb.permute(1, 2, 0).numpy()).convert("L")
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(1, height, width)


def _archive(path: Path, name: str, input_shape: tuple[int, ...]) -> Iterator[Sample | Failure]:
    arrays = read_archive(path, name)
    if "x" not in arrays:
        raise DataError(f"{name} needs an array x of inputs, it has: {', '.join(map(printable, arrays)) or 'nothing'}")
    inputs = numeric_inputs("x", arrays["x"])
    if inputs.ndim == 0 or tuple(inputs.shape[1:]) != input_shape:
        shape = ", ".join(map(str, input_shape))
        raise DataError(f"x in {name} must be (N, {shape}) for this model, got {tuple(inputs.shape)}")
    if len(inputs) == 0:
        raise DataError(f"x in {name} holds no inputs")
    yield from tensor_samples(inputs, input_shape, name)


def _table(
    path: Path, name: str, input_shape: tuple[int, ...], feature_names: Sequence[str] | None
) -> Iterator[Sample | Failure]:
    if len(input_shape) != 1:
        raise DataError(f"{name} is a table, but the model takes no vectors: use an .npz with an array x")
    rows = read_rows(path, name)
    headings = rows.pop(0).cells if has_names(rows[0].cells) else []
    if not rows:
        raise DataError(f"{name} holds no rows of numbers")
    if headings and feature_names is not None:
        rows = _by_name(name, headings, rows, feature_names)
    _check_columns(name, headings, rows, input_shape[0])
    for index, row in enumerate(rows):
        yield _vector(f"{name}[{index}]", row.cells, input_shape[0])


def _by_name(name: str, headings: Sequence[str], rows: Sequence[Row], feature_names: Sequence[str]) -> list[Row]:
    """The rows with the columns of these names, in this order; those of another length than the headings stay."""
    try:
        places = places_of(feature_names, headings)
    except DataError as error:
        raise DataError(f"{name} cannot be read by its headings: {printable(str(error))}") from None
    whole = len(headings)
    return [Row(row.line, [row.cells[place] for place in places]) if len(row.cells) == whole else row for row in rows]


def _check_columns(name: str, headings: Sequence[str], rows: Sequence[Row], length: int) -> None:
    """Raise where all rows are of one length that is not the model's; a few that are wrong are told one by one."""
    lengths = {len(row.cells) for row in rows}
    if len(lengths) > 1 or length in lengths:
        return
    columns = lengths.pop()
    extra = _class_column(headings, rows[0].cells) if columns == length + 1 else None
    hint = f"; leave out {extra}, which holds the class" if extra else ""
    other = sorted({*class_columns(headings), *(c for c, cell in enumerate(rows[0].cells) if number(cell) is None)})
    if not extra and headings and len(other) == columns - length:
        several = " and ".join(repr(printable(headings[column])) for column in other)
        hint = f"; leave out {several}, which {'hold' if len(other) > 1 else 'holds'} no input"
    raise DataError(f"{name} has {columns} column{'s' * (columns > 1)}, the model takes {length} numbers{hint}")


def _class_column(headings: Sequence[str], cells: Sequence[str]) -> str | None:
    """What a column is called that looks as if it held classes: by its heading, or by text in the last place."""
    named = [headings[column] for column in class_columns(headings)]
    if len(named) == 1:
        return f"the column {printable(named[0])!r}"
    return "the last column" if number(cells[-1]) is None else None


def _vector(name: str, row: Sequence[str], length: int) -> Sample | Failure:
    if len(row) != length:
        return Failure(name, f"{name} must hold {length} numbers, it has {len(row)}")
    numbers = [number(cell) for cell in row]
    wrong = [cell for cell, value in zip(row, numbers, strict=True) if value is None]
    if wrong:
        hint = "; write decimals with a point" if number(wrong[0].replace(",", ".")) is not None else ""
        return Failure(name, f"{name} holds {printable(wrong[0])!r}, which is no number{hint}")
    return _checked(name, torch.tensor(numbers, dtype=torch.float32))


def _checked(name: str, values: Tensor) -> Sample | Failure:
    """An input that a model can be shown: finite, and images in [0, 1]."""
    if not bool(values.isfinite().all()):
        return Failure(name, f"{name} holds NaN or infinite values")
    if values.ndim == 3:
        try:
            check_unit_interval(name, values)
        except InvalidArgumentError as error:
            return Failure(name, str(error))
    return Sample(name, values)
