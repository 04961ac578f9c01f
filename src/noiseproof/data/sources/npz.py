"""NumPy archives: ``npz:PATH`` with arrays ``x`` and ``y``, and if wanted ``x_test``, ``y_test``, ``class_names``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions
from noiseproof.errors import DataError

__all__ = ["npz"]


@SOURCES.register("npz")
def npz(argument: str, options: SourceOptions) -> SourceData:  # noqa: ARG001
    """Return the arrays of an archive: images (N, C, H, W), uint8 or in [0, 1]; vectors (N, F); series (N, C, T).

    Raises:
        DataError: no such file, an array missing, pickled objects (which are never loaded), or arrays that do not fit.
    """
    path = Path(argument).expanduser()
    if not argument or not path.is_file():
        raise DataError(f"the data source 'npz' needs a file, as in npz:PATH; {argument or 'nothing'} is none")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"cannot read {argument}: {error}") from error
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{argument} needs arrays x and y (and x_test with y_test), it has: {', '.join(arrays)}")
    labels = np.concatenate([arrays[name] for name in ("y", "y_test") if name in arrays])
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"y in {argument} must be whole numbers of shape (N,), got {labels.dtype} {labels.shape}")
    names = [str(name) for name in arrays.get("class_names", np.arange(labels.max(initial=0) + 1))]

    def part(x: str, y: str) -> ArrayDataset:
        inputs = torch.from_numpy(arrays[x])
        return ArrayDataset(
            inputs if inputs.dtype == torch.uint8 else inputs.float(), torch.from_numpy(arrays[y]), names
        )

    return SourceData(part("x", "y"), test=part("x_test", "y_test") if "x_test" in arrays else None)
