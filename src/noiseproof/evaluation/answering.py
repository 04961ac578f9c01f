"""What a classifier answers to a few samples, under the very noise that :func:`evaluate` draws for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from noiseproof.checks import check_whole
from noiseproof.data import LabelledDataset
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.blocks import BLOCK
from noiseproof.evaluation.looks import Look, seen
from noiseproof.evaluation.views import is_random, view
from noiseproof.models.answers import logits_of
from noiseproof.models.modes import evaluating

__all__ = ["Answers", "answers"]


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers to n samples in every draw of one perturbation.

    Attributes:
        key: the perturbation.
        inputs: (draws, n, ...) what the model saw, images in [0, 1].
        probabilities: (draws, n, C), in [0, 1].
    """

    key: str
    inputs: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @property
    def classes(self) -> NDArray[np.int64]:
        """The class answered: (draws, n)."""
        classes: NDArray[np.int64] = self.probabilities.argmax(axis=2)
        return classes


def answers(
    model: nn.Module, dataset: LabelledDataset, key: str, indices: Sequence[int], *, draws: int = 10, seed: int = 0
) -> Answers:
    """Return what a classifier answers to some samples of a data set, each with its own noise.

    The noise is that which :func:`noiseproof.evaluate` draws for these samples with the same seed on the CPU, so that
    the answers are those behind a report.

    Args:
        model: maps (N, ...) inputs, images in [0, 1], to (N, C) logits; on the CPU.
        dataset: the whole of it, since the noise of a sample depends on its place.
        key: a perturbation or an attack, as ``gaussian:0.1``.
        indices: places of samples in ``dataset``, at least one.
        draws: of a random perturbation; others, and attacks, are applied once.
        seed: of the noise.

    Raises:
        UnknownNameError: no such perturbation.
        InvalidArgumentError: no sample, or one that is not there.
    """
    wanted = [check_whole("indices", index, 0) for index in indices]
    if not wanted or max(wanted) >= len(dataset):
        raise InvalidArgumentError(f"indices must name samples from 0 to {len(dataset) - 1}, got {wanted}")
    look_at = view(key)
    count = check_whole("draws", draws, 1) if is_random(look_at) else 1
    shown: dict[int, Tensor] = {}
    with evaluating(model):
        for number in sorted({index // BLOCK for index in wanted}):
            inputs, labels = _block(dataset, number)
            mine = {index: index - number * BLOCK for index in wanted if index // BLOCK == number}
            for index in mine:
                shown[index] = torch.empty(count, *inputs.shape[1:])
            for draw in range(count):
                noisy = seen(model, Look(key, look_at, draw), inputs, labels, seed, number)
                for index, place in mine.items():
                    shown[index][draw] = noisy[place]
        stacked = torch.stack([shown[index] for index in wanted], dim=1)  # (draws, n, ...)
        dtype = next((parameter.dtype for parameter in model.parameters()), stacked.dtype)
        logits = torch.stack([logits_of(model, batch.to(dtype)) for batch in stacked])
    return Answers(key, stacked.numpy(), logits.float().softmax(2).numpy())


def _block(dataset: LabelledDataset, number: int) -> tuple[Tensor, Tensor]:
    """A whole block, since there is noise that takes more random numbers the brighter its neighbours are."""
    places = range(number * BLOCK, min((number + 1) * BLOCK, len(dataset)))
    pairs = [dataset[place] for place in places]
    return torch.stack([to_unit_interval(inputs) for inputs, _ in pairs]), torch.stack([label for _, label in pairs])
