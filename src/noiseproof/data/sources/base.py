"""What a source of data hands over."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from noiseproof.data.dataset import LabelledDataset
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.registry import Registry

__all__ = [
    "SOURCES",
    "SourceData",
    "SourceOptions",
    "data_folder",
    "existing_file",
    "existing_folder",
    "numbered_classes",
    "refuse_argument",
]


@dataclass(frozen=True)
class SourceData:
    """Training data, and the parts that the source itself sets apart.

    Attributes:
        train: what is trained on, and split further.
        test: what models are tested on; None where the source sets nothing apart.
        validation: what weights are chosen on; None likewise.
        groups: (N,) numbers, one per sample of ``train``: those with the same one belong together. None where
            :attr:`SourceOptions.group` asks for none.
    """

    train: LabelledDataset
    test: LabelledDataset | None = None
    validation: LabelledDataset | None = None
    groups: Tensor | None = None


class SourceOptions(NamedTuple):
    """What a recipe says about reading data; a source takes note of what concerns it.

    Attributes:
        image_size: (height, width) that pictures are resized to; None for that of the first.
        skip_broken: whether pictures that cannot be read are left out with a warning, instead of being an error.
        download: whether a source may fetch what is not there.
        group: the column of a table, or the array of an archive, that says which samples belong together.
    """

    image_size: tuple[int, int] | None = None
    skip_broken: bool = False
    download: bool = False
    group: str | None = None


_MOST_CLASSES = 1_000_000

SOURCES: Registry[Callable[[str, SourceOptions], SourceData]] = Registry(
    "data source", package="noiseproof.data.sources"
)


def numbered_classes(largest: int) -> list[str]:
    """Return a name for each class from 0 to ``largest``.

    Raises:
        DataError: so many that the labels are no numbers of classes.
    """
    if largest >= _MOST_CLASSES:
        raise DataError(f"labels must be numbers of classes, from 0 on without large gaps, got {largest}")
    return [str(number) for number in range(largest + 1)]


def refuse_argument(name: str, argument: str) -> None:
    """Raise where a source that takes no argument was given one."""
    if argument:
        raise InvalidArgumentError(f"the data source {name!r} takes no argument, got {argument!r}")


def existing_file(name: str, argument: str) -> Path:
    """Return the file that a source was given as its argument.

    Raises:
        DataError: none was given, or it does not exist.
    """
    path = Path(argument).expanduser()
    if not argument or not path.is_file():
        raise DataError(f"the data source {name!r} needs a file, as in {name}:PATH; {argument or 'nothing'} is none")
    return path


def existing_folder(name: str, argument: str) -> Path:
    """Return the folder that a source was given as its argument.

    Raises:
        DataError: none was given, or it does not exist.
    """
    if not argument:
        raise DataError(f"the data source {name!r} needs a folder, as in {name}:PATH")
    folder = Path(argument).expanduser()
    if not folder.is_dir():
        raise DataError(f"the folder {argument} of the data source {name!r} does not exist")
    return folder


def data_folder(name: str, argument: str) -> Path:
    """Return the folder of a published data set: the argument, else $NOISEPROOF_DATA/NAME, else data/NAME."""
    return Path(argument).expanduser() if argument else Path(os.environ.get("NOISEPROOF_DATA", "data"), name)
