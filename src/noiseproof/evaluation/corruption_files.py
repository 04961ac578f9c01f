"""The files of CIFAR-10-C, CIFAR-100-C and their like (Hendrycks & Dietterich 2019, arXiv 1903.12261).

A folder holds ``labels.npy`` and, for each corruption, a file such as ``fog.npy`` of uint8 images (5n, H, W, C): the
same n images in five severities, the mildest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noiseproof.errors import DataError, InvalidArgumentError, UnknownNameError

__all__ = [
    "EXTRA",
    "MAIN",
    "SEVERITIES",
    "channels_first",
    "corruption_files",
    "images_each",
    "open_images",
    "read_labels",
]

# The corruptions that the benchmark is defined over, in the order of its tables, and those meant for validation.
MAIN = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
SEVERITIES = (1, 2, 3, 4, 5)

_MOST_CLASSES = 1_000_000


def corruption_files(folder: Path, corruptions: Sequence[str] | None) -> dict[str, Path]:
    """The files of the corruptions asked for; of all, the main ones first."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    if not (folder / "labels.npy").is_file():
        raise DataError(f"{folder} has no labels.npy, so it is not in the layout of CIFAR-10-C")
    there = {path.stem: path for path in sorted(folder.glob("*.npy")) if path.stem != "labels"}
    if not there:
        raise DataError(f"{folder} has labels.npy, but no corruption such as fog.npy")
    if corruptions is None:
        first = [name for name in (*MAIN, *EXTRA) if name in there]
        return {name: there[name] for name in dict.fromkeys([*first, *there])}
    if isinstance(corruptions, str):
        raise InvalidArgumentError(f"corruptions must be a list of names, as in [{corruptions!r}]")
    if not corruptions:
        raise InvalidArgumentError("corruptions is empty: name at least one, or None for all")
    for name in corruptions:
        if name not in there:
            raise UnknownNameError(f"corruption in {folder}:", str(name), there)
    return {name: there[name] for name in corruptions}


def _open(path: Path, mapped: bool) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, EOFError, ValueError, TypeError, ArithmeticError, MemoryError, SyntaxError, TokenError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read {path} as an array: {reason}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} is an archive of arrays, where one array is needed")
    return array


def open_images(path: Path) -> NDArray[np.uint8]:
    images = _open(path, mapped=True)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(f"{path} must be uint8 images (5n, H, W, C), got {images.dtype} {images.shape}")
    if len(images) % len(SEVERITIES) or images.size == 0:
        raise DataError(f"{path} must have as many images in each of 5 severities, got {len(images)} images")
    return images


def images_each(folder: Path, images: Mapping[str, NDArray[np.uint8]]) -> int:
    """n, the number of images in each severity, which is one for all files."""
    (first, stack), *others = images.items()
    for name, other in others:
        if other.shape != stack.shape:
            raise DataError(f"{folder}: {name}.npy has shape {other.shape}, but {first}.npy has {stack.shape}")
    return len(stack) // len(SEVERITIES)


def read_labels(path: Path, count: int) -> NDArray[np.int64]:
    """Labels (5n,); those of one severity are repeated."""
    labels = _open(path, mapped=False)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path} must be whole numbers of shape (5n,) or (n,), got {labels.dtype} {labels.shape}")
    if len(labels) not in (count, len(SEVERITIES) * count):
        raise DataError(
            f"{path} has {len(labels)} labels for {len(SEVERITIES)} severities of {count} images; it needs "
            f"{len(SEVERITIES) * count} or {count}"
        )
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label < _MOST_CLASSES:
            raise DataError(f"{path} holds the label {label}")
    repeats = len(SEVERITIES) if len(labels) == count else 1
    return np.tile(labels.astype(np.int64), repeats)


def channels_first(images: NDArray[np.uint8]) -> torch.Tensor:
    """(n, H, W, C) to (n, C, H, W), read into memory."""
    return torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C"))
