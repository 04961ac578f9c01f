"""Which samples an analysis looks at: all, or some that are evenly spread over the data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Subset

from noiseproof.checks import check_whole
from noiseproof.data import LabelledDataset
from noiseproof.data.dataset import evenly_spread
from noiseproof.evaluation.blocks import Block, Evaluable, as_dataset, blocks

__all__ = ["Selection", "select"]


@dataclass(frozen=True)
class Selection:
    """Samples in blocks.

    Attributes:
        data: the samples.
        indices: (N,) their places in the data set that they were chosen from.
    """

    data: Dataset[tuple[torch.Tensor, torch.Tensor]]
    indices: NDArray[np.int64]

    def __iter__(self) -> Iterator[Block]:
        return blocks(self.data)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) true classes."""
        if isinstance(self.data, LabelledDataset):
            return self.data.labels.numpy()
        return torch.cat([block.labels for block in self]).numpy()


def select(dataset: Evaluable, limit: int | None = None) -> Selection:
    """Choose ``limit`` samples, evenly spread; all where that is None or there are no more.

    Raises:
        DataError: no data set of (input, label) pairs, or an empty one.
    """
    data = as_dataset(dataset)
    size: int = len(data)  # type: ignore[arg-type]
    limit = size if limit is None else check_whole("limit", limit, 1)
    if limit >= size:
        return Selection(data, np.arange(size))
    indices = evenly_spread(size, limit)
    chosen = data.subset(indices) if isinstance(data, LabelledDataset) else Subset(data, indices.tolist())
    return Selection(chosen, indices.numpy())
