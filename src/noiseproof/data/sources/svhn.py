"""Street View House Numbers in the published cropped format: ``train_32x32.mat``, ``test_32x32.mat``."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, data_folder
from noiseproof.errors import DataError

__all__ = ["svhn", "svhn_extra"]

_DIGITS = [str(digit) for digit in range(10)]


@SOURCES.register("svhn")
def svhn(argument: str, options: SourceOptions) -> SourceData:
    """Return SVHN's 73,257 training and 26,032 test images of 3×32×32 pixels; the label of a zero is 0."""
    return _load(argument, options, ["train"])


@SOURCES.register("svhn-extra")
def svhn_extra(argument: str, options: SourceOptions) -> SourceData:
    """Return SVHN with the 531,131 easier images of ``extra_32x32.mat`` added to the training images."""
    return _load(argument, options, ["train", "extra"])


def _load(argument: str, options: SourceOptions, training: list[str]) -> SourceData:
    folder = data_folder("svhn", argument)
    if options.download:
        from torchvision.datasets import SVHN

        try:
            for split in (*training, "test"):
                SVHN(str(folder), split=split, download=True)
        except (RuntimeError, OSError) as error:
            raise DataError(f"svhn could not be downloaded to {folder}: {error!r}") from error
    parts = {split: _read(folder / f"{split}_32x32.mat") for split in (*training, "test")}
    images, labels = (torch.cat([parts[split][i] for split in training]) for i in (0, 1))
    return SourceData(ArrayDataset(images, labels, _DIGITS), test=ArrayDataset(*parts["test"], _DIGITS))


def _read(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise DataError(f"{path} does not exist; give the folder as svhn:PATH, or ask for a download with "
                        "--set data.download=true")  # fmt: skip
    try:
        contents = loadmat(path)
        images, labels = contents["X"], contents["y"]
    except (
        ValueError,
        KeyError,
        OSError,
        EOFError,
        TypeError,
        NotImplementedError,
        MatReadError,
        zlib.error,
    ) as error:
        raise DataError(f"cannot read X and y in {path}: {error}") from error
    if images.dtype != np.uint8:
        raise DataError(f"X in {path} must be bytes (uint8), got {images.dtype}")
    if labels.size and not (labels.min() >= 0 and labels.max() <= 10):
        raise DataError(f"y in {path} must lie in 0 to 10, got {labels.min()} to {labels.max()}")
    if images.ndim != 4 or images.shape[2] != 3 or labels.size != images.shape[3]:
        raise DataError(f"{path} must hold X (32, 32, 3, N) and y (N, 1), got {images.shape} and {labels.shape}")
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)).copy())
    return pixels, torch.from_numpy(labels.reshape(-1).astype(np.int64)) % 10  # the files call a zero 10
