"""CIFAR-10 and CIFAR-100 as torchvision keeps them: ``cifar10:FOLDER`` holding ``cifar-10-batches-py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, data_folder
from noiseproof.errors import DataError

__all__ = ["cifar10", "cifar100"]


@SOURCES.register("cifar10")
def cifar10(argument: str, options: SourceOptions) -> SourceData:
    """Return CIFAR-10's 50,000 training and 10,000 test images of 3×32×32 pixels."""
    from torchvision.datasets import CIFAR10

    return _load("cifar10", CIFAR10, argument, options)


@SOURCES.register("cifar100")
def cifar100(argument: str, options: SourceOptions) -> SourceData:
    """Return CIFAR-100's 50,000 training and 10,000 test images of 3×32×32 pixels, with the 100 fine classes."""
    from torchvision.datasets import CIFAR100

    return _load("cifar100", CIFAR100, argument, options)


def _load(name: str, dataset: Callable[..., Any], argument: str, options: SourceOptions) -> SourceData:
    folder = data_folder(name, argument)
    parts = []
    for train in (True, False):
        try:
            # torchvision reads the official files, which are pickles, only after their MD5 sums are found right.
            loaded = dataset(str(folder), train=train, download=options.download)
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{name} is not in {folder}; give a folder as {name}:PATH or parquet:PATH, or ask for a download "
                f"with --set data.download=true ({(str(error) or type(error).__name__).splitlines()[0]})"
            ) from error
        images = torch.from_numpy(loaded.data).permute(0, 3, 1, 2).contiguous()
        parts.append(ArrayDataset(images, torch.tensor(loaded.targets), loaded.classes))
    return SourceData(parts[0], test=parts[1])
