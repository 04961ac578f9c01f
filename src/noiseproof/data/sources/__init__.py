"""Where data comes from: each source is a file here that registers a function under its short name.

A source's text is ``NAME`` or ``NAME:ARGUMENT``, as in ``digits`` or ``folder:photos``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor

from noiseproof.checks import check_range
from noiseproof.data.dataset import LabelledDataset, Splits
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions
from noiseproof.data.splitting import held_out
from noiseproof.errors import DataError, InvalidArgumentError

__all__ = ["SOURCES", "SourceData", "SourceOptions", "find_source", "load_splits", "load_test_set"]


_BY_SUFFIX = {".npz": "npz", ".csv": "csv", ".tsv": "csv"}


def find_source(source: str) -> Callable[[SourceOptions], SourceData]:
    """Return what loads ``NAME`` or ``NAME:ARGUMENT``.

    Raises:
        UnknownNameError: no such source.
        InvalidArgumentError: a file or folder without the name of the source that reads it.
    """
    name, _, argument = source.partition(":")
    if name not in SOURCES and (reader := _reader_of(source)):
        raise InvalidArgumentError(f"unknown data source {source!r}; did you mean '{reader}:{source}'?")
    return partial(SOURCES[name], argument)


def _reader_of(place: str) -> str | None:
    """The source that reads what looks like the path of a file or folder."""
    path = Path(place).expanduser()
    if not place:
        return None
    if path.is_dir():
        return "parquet" if any(path.glob("*.parquet")) else "folder"
    return _BY_SUFFIX.get(path.suffix.lower()) if path.is_file() or ":" not in place else None


def load_splits(
    source: str,
    *,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    train_fraction: float = 1.0,
    split_seed: int = 0,
    standardise: bool = False,
    options: SourceOptions | None = None,
) -> Splits:
    """Load a data set and split it, stratified by class.

    Args:
        source: ``NAME`` or ``NAME:ARGUMENT``.
        test_fraction: share held out for testing, used where the source has no test set of its own.
        validation_fraction: share of what is left held out for choosing weights; 0 for none.
        train_fraction: share of what is left then that is trained on; the rest is not used.
        split_seed: what the split depends on. It is not the seed of a training run, so that runs with different
            seeds are tested on the same samples.
        standardise: whether every column of vectors and channel of series is brought to mean 0 and standard deviation
            1 over all samples that are not held out.
        options: how to read it; None for the defaults.

    Raises:
        UnknownNameError: no such source.
        InvalidArgumentError: a path without the name of a source, or a share outside its range.
        DataError: the data cannot be read, has fewer than two classes, or is of images and to be standardised.
    """
    check_range("test_fraction", test_fraction, 0, 1, open_low=True, open_high=True)
    check_range("validation_fraction", validation_fraction, 0, 1, open_high=True)
    check_range("train_fraction", train_fraction, 0, 1, open_low=True)
    loaded = find_source(source)(options or SourceOptions())
    train, validation, test = loaded.train, loaded.validation, loaded.test
    for part, name_of_part in ((validation, "validation"), (test, "test")):
        if part is not None and part.input_shape != train.input_shape:
            raise DataError(
                f"the {name_of_part} inputs of {source!r} have shape {part.input_shape}, the training inputs "
                f"{train.input_shape}"
            )
    if train.num_classes < 2:
        raise DataError(f"the data of {source!r} has {train.num_classes} class; at least 2 are needed")
    groups = loaded.groups
    if options is not None and options.group is not None and groups is None:
        raise DataError(f"{source!r} tells of no groups: data.group is for csv and npz")
    if test is None:
        train, test, groups = _parted(train, test_fraction, split_seed, groups)
    if validation is None and validation_fraction > 0:
        train, validation, groups = _parted(train, validation_fraction, split_seed + 1, groups)
    scaling = train.scaling() if standardise else None  # the same however much of it is trained on
    if train_fraction < 1:
        _, train, _ = _parted(train, train_fraction, split_seed + 2, None)
    splits = Splits(train, validation, test)
    return splits if scaling is None else splits.standardised(scaling)


def _parted(
    data: LabelledDataset, fraction: float, seed: int, groups: Tensor | None
) -> tuple[LabelledDataset, LabelledDataset, Tensor | None]:
    """What stays, what is held out, and the groups of what stays."""
    rest, part = held_out(data, fraction, seed, groups)
    return data.subset(rest), data.subset(part), None if groups is None else groups[rest]


def load_test_set(source: str, options: SourceOptions | None = None) -> LabelledDataset:
    """Load what a model that was trained elsewhere is measured on: a source's test set, or all of it if it has none.

    Raises:
        UnknownNameError: no such source.
        InvalidArgumentError: a path without the name of a source.
        DataError: the data cannot be read.
    """
    loaded = find_source(source)(options or SourceOptions())
    return loaded.train if loaded.test is None else loaded.test
