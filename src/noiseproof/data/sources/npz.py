"""NumPy archives: ``npz:PATH`` with arrays ``x`` and ``y``, and if wanted ``x_test``, ``y_test``, ``class_names``."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noiseproof.data.dataset import ArrayDataset, check_finite
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, existing_file, numbered_classes
from noiseproof.errors import DataError

__all__ = ["npz", "numeric_inputs", "read_archive"]


@SOURCES.register("npz")
def npz(argument: str, options: SourceOptions) -> SourceData:
    """Return the arrays of an archive: images (N, C, H, W), uint8 or in [0, 1]; vectors (N, F); series (N, C, T).

    Raises:
        DataError: no such file, an array missing, pickled objects (which are never loaded), or arrays that do not fit.
    """
    arrays = read_archive(existing_file("npz", argument), argument)
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{argument} needs arrays x and y (and x_test with y_test), it has: {', '.join(arrays)}")
    labels = {name: _labels(name, arrays[name]) for name in ("y", "y_test") if name in arrays}
    largest = max(int(part.max(initial=0)) for part in labels.values())
    if "class_names" not in arrays:
        names = numbered_classes(largest)
    elif arrays["class_names"].ndim == 1:
        names = [str(name) for name in arrays["class_names"]]
    else:
        raise DataError(f"class_names must be a list of names, got an array of shape {arrays['class_names'].shape}")
    if largest >= len(names):
        raise DataError(f"labels must lie in [0, {len(names)}), as class_names has {len(names)}, got {largest}")
    train = ArrayDataset(_inputs("x", arrays), torch.from_numpy(labels["y"]), names)
    groups = None if options.group is None else _groups(arrays, options.group, len(train), argument)
    if "x_test" not in arrays:
        return SourceData(train, groups=groups)
    test = ArrayDataset(_inputs("x_test", arrays), torch.from_numpy(labels["y_test"]), names)
    if test.input_shape != train.input_shape:
        raise DataError(f"x_test has inputs of shape {test.input_shape}, x of {train.input_shape}")
    return SourceData(train, test=test, groups=groups)


def read_archive(path: Path, name: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of an archive, which an error calls ``name``.

    Raises:
        DataError: it cannot be read, is damaged, or holds pickled objects.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise DataError(f"cannot read {name} as an .npz archive: it is none, or is cut short{_meant(name)}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {key: _array(archive, key, name) for key in archive.files}
    except DataError:
        raise
    except (
        OSError, EOFError, ValueError, TypeError, AttributeError, RuntimeError, SyntaxError, TokenError, MemoryError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise DataError(f"cannot read {name} as an .npz archive: {error}") from error


def _meant(name: str) -> str:
    """What a file that is no archive may have been meant for."""
    suffix = Path(name).suffix.lower()
    if suffix == ".npy":
        return "; it is one array, and np.savez makes an archive of several"
    return f"; did you mean csv:{name}?" if suffix == ".csv" else ""


def _array(archive: Mapping[str, NDArray[Any]], key: str, name: str) -> NDArray[Any]:
    try:
        return archive[key]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise DataError(
            f"cannot read the array {key} in {name}: it holds Python objects, which are never loaded; save it with "
            ".astype(str) if they are texts, with .astype(float) if they are numbers"
        ) from None


def _inputs(name: str, arrays: Mapping[str, NDArray[Any]]) -> torch.Tensor:
    inputs = numeric_inputs(name, arrays[name])
    check_finite(name, inputs)
    return inputs


def _groups(arrays: Mapping[str, NDArray[Any]], name: str, count: int, file: str) -> torch.Tensor:
    """A number for each sample of x (N,), the same for those of one group."""
    if name not in arrays:
        raise DataError(f"{file} has no array {name!r}, which data.group names; it has: {', '.join(arrays)}")
    array = arrays[name]
    if array.shape != (count,) or array.dtype.kind not in "iuUS":
        raise DataError(
            f"{name} must hold a whole number or a text for each of the {count} samples of x, got {array.dtype} "
            f"{array.shape}"
        )
    return torch.from_numpy(np.unique(array, return_inverse=True)[1])


def _labels(name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{name} must be whole numbers of shape (N,), got {labels.dtype} {labels.shape}{_whole_by(labels)}"
        )
    if labels.size and int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{name} holds the label {labels.max()}")
    return labels.astype(np.int64)


def _whole_by(labels: NDArray[Any]) -> str:
    """How labels that are no whole numbers become such, where that is plain."""
    if labels.dtype.kind in "US":
        return "; number the classes from 0 and name them in an array class_names"
    whole = labels.dtype.kind == "b" or (labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all()))
    return "; .astype(int) makes them whole" if whole and labels.ndim == 1 else ""


def numeric_inputs(name: str, inputs: NDArray[Any]) -> torch.Tensor:
    """Return an array as bytes if it is of bytes, else as float32.

    Raises:
        DataError: it is not of numbers.
    """
    if inputs.dtype == np.uint8:
        return torch.from_numpy(inputs)
    if not (
        np.issubdtype(inputs.dtype, np.floating) or np.issubdtype(inputs.dtype, np.integer) or inputs.dtype == bool
    ):
        raise DataError(f"{name} must be numbers, got {inputs.dtype}")
    return torch.from_numpy(inputs.astype(np.float32))
