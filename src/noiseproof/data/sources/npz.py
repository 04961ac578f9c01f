"""NumPy archives: ``npz:PATH`` with arrays ``x`` and ``y``, and if wanted ``x_test``, ``y_test``, ``class_names``."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, existing_file, numbered_classes
from noiseproof.errors import DataError

__all__ = ["npz", "numeric_inputs", "read_archive"]


@SOURCES.register("npz")
def npz(argument: str, options: SourceOptions) -> SourceData:  # noqa: ARG001
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
    train = ArrayDataset(numeric_inputs("x", arrays["x"]), torch.from_numpy(labels["y"]), names)
    if "x_test" not in arrays:
        return SourceData(train)
    test = ArrayDataset(numeric_inputs("x_test", arrays["x_test"]), torch.from_numpy(labels["y_test"]), names)
    if test.input_shape != train.input_shape:
        raise DataError(f"x_test has inputs of shape {test.input_shape}, x of {train.input_shape}")
    return SourceData(train, test=test)


def read_archive(path: Path, name: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of an archive, which an error calls ``name``.

    Raises:
        DataError: it cannot be read, is damaged, or holds pickled objects.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (
        OSError, EOFError, ValueError, TypeError, AttributeError, RuntimeError, SyntaxError, TokenError, MemoryError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise DataError(f"cannot read {name} as an .npz archive: {error}") from error


def _labels(name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        names = labels.dtype.kind in "US"
        hint = "; number the classes from 0 and name them in an array class_names" if names else ""
        raise DataError(f"{name} must be whole numbers of shape (N,), got {labels.dtype} {labels.shape}{hint}")
    if labels.size and int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{name} holds the label {labels.max()}")
    return labels.astype(np.int64)


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
