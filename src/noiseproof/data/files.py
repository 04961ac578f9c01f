"""Pictures in folders, decoded when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from noiseproof.data.dataset import ArrayDataset, LabelledDataset, channel_statistics
from noiseproof.data.images import decode_rgb
from noiseproof.errors import DataError

__all__ = ["ImageFiles"]

_STATISTICS_SAMPLE = 1000


class ImageFiles(LabelledDataset):
    """Pictures that stay on disk; reading one gives (3, H, W) of uint8, resized to one size.

    Args:
        paths: the pictures.
        labels: (N,) integers in [0, len(class_names)).
        class_names: one per class.
        size: (height, width) of every input.
    """

    def __init__(
        self, paths: Sequence[Path], labels: Tensor, class_names: Sequence[str], size: tuple[int, int]
    ) -> None:
        if not paths:
            raise DataError("there are no pictures")
        self.paths = list(paths)
        self.labels = labels.long()
        self.class_names = tuple(class_names)
        self.size = size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return decode_rgb(self.paths[index], str(self.paths[index]), self.size), self.labels[index]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (3, *self.size)

    def subset(self, indices: Tensor) -> ImageFiles:
        paths = [self.paths[index] for index in indices.tolist()]
        return ImageFiles(paths, self.labels[indices], self.class_names, self.size)

    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """As of up to 1,000 pictures, evenly spaced over the data set."""
        chosen = torch.linspace(0, len(self) - 1, min(len(self), _STATISTICS_SAMPLE)).long()
        return channel_statistics(self.subset(chosen).loaded().inputs)

    def fingerprint(self) -> str:
        """SHA-256 over the pictures' names, sizes in bytes and labels, and the size they are brought to."""
        digest = hashlib.sha256(repr(self.size).encode())
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            digest.update(
                f"{path.parent.name}/{path.name}:{path.stat().st_size}:{label}\n".encode(errors="surrogateescape")
            )
        return digest.hexdigest()

    def loaded(self) -> ArrayDataset:
        """Decode all pictures into memory."""
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(lambda path: decode_rgb(path, str(path), self.size), self.paths))
        return ArrayDataset(torch.stack(images), self.labels, self.class_names)

    def readable(self) -> tuple[ImageFiles, list[str]]:
        """Return the pictures that can be decoded, and what is wrong with each of the others."""

        def fault(path: Path) -> str | None:
            try:
                decode_rgb(path, str(path))
            except DataError as error:
                return str(error)
            return None

        with ThreadPoolExecutor() as pool:
            faults = list(pool.map(fault, self.paths))
        if all(found is not None for found in faults):
            raise DataError(f"there are no pictures that can be read; {len(faults)} cannot, such as: {faults[0]}")
        good = torch.tensor([index for index, found in enumerate(faults) if found is None], dtype=torch.long)
        return self.subset(good), [found for found in faults if found is not None]
