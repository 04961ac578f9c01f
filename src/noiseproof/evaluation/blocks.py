"""A data set in blocks of fixed size, the unit in which evaluation draws its noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from noiseproof.checks import check_unit_interval
from noiseproof.data import ArrayDataset
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import DataError

__all__ = ["BLOCK", "Block", "Evaluable", "as_dataset", "blocks"]

# Noise is drawn for this many samples at a time, whatever batch size the model runs with. It is part of what a seed
# means: another number gives other noise.
BLOCK = 128

Evaluable: TypeAlias = "ArrayDataset | Dataset[Any] | tuple[Tensor, Tensor] | tuple[NDArray[Any], NDArray[Any]]"


class Block(NamedTuple):
    """A run of samples: its number in the data set, inputs (n, ...) as float32, and labels (n,)."""

    number: int
    inputs: Tensor
    labels: Tensor


def as_dataset(data: Evaluable) -> Dataset[Any]:
    """Return inputs and labels as a data set; a data set as it is.

    Raises:
        DataError: it is neither, or is empty.
    """
    if isinstance(data, tuple):
        tensors = [tensor for tensor in map(_tensor, data) if tensor is not None]
        if len(data) != 2 or len(tensors) != 2:
            raise DataError("a tuple to evaluate on must be (inputs, labels), two tensors or arrays of numbers")
        inputs, labels = tensors
        data = ArrayDataset(inputs, labels, [str(c) for c in range(int(labels.max()) + 1 if labels.numel() else 0)])
    if isinstance(data, DataLoader):
        raise DataError("evaluation reads a data set itself; pass loader.dataset in place of the DataLoader")
    try:
        size = len(data)  # type: ignore[arg-type]
    except TypeError:
        raise DataError(f"evaluation needs a data set with a length, got {type(data).__name__}") from None
    if size == 0:
        raise DataError("the data set to evaluate on is empty")
    return data


def _tensor(part: object) -> Tensor | None:
    """A tensor, also of an array of numbers; None for anything else."""
    if isinstance(part, np.ndarray) and part.dtype.kind in "buif":
        return torch.from_numpy(np.ascontiguousarray(part))
    return part if isinstance(part, Tensor) else None


def blocks(data: Dataset[Any]) -> Iterator[Block]:
    """Yield the data set in its own order.

    Raises:
        DataError: a sample that is no (input, label) pair.
        InvalidArgumentError: images outside [0, 1].
    """
    pairs: Iterable[Any]
    if isinstance(data, ArrayDataset):
        pairs = zip(data.inputs.split(BLOCK), data.labels.split(BLOCK), strict=True)
    else:
        # A generator of its own: the loader would else draw a seed from the global one.
        pairs = DataLoader(data, batch_size=BLOCK, generator=torch.Generator())
    for number, pair in enumerate(_readable(pairs)):
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, Tensor) for part in pair)):
            raise DataError("a sample of the data set must be an (input tensor, integer label) pair")
        inputs, labels = to_unit_interval(pair[0]), pair[1]
        if labels.ndim != 1 or labels.is_floating_point():
            raise DataError(f"labels must be one integer each, got {labels.dtype} of shape {tuple(labels.shape)}")
        if inputs.ndim == 4:
            check_unit_interval("images", inputs)
        yield Block(number, inputs, labels.to(torch.long))


def _readable(pairs: Iterable[Any]) -> Iterator[Any]:
    try:
        yield from pairs
    except (TypeError, RuntimeError) as error:
        raise DataError(f"the samples cannot be put into batches: {str(error).splitlines()[0]}") from error
