"""The batches of an epoch and the views of a batch, both pure functions of the seed and of where training stands."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from noiseproof import seeding
from noiseproof.data import ArrayDataset, Augmentation
from noiseproof.data.dataset import to_unit_interval
from noiseproof.methods import Views
from noiseproof.perturbations import Perturbation

__all__ = ["TrainingBatches"]


class TrainingBatches:
    """Shuffled, augmented, noisy batches of a data set that lives on one device.

    Args:
        data: the training set, on the device where the views are made.
        batch_size: N; the last batch of an epoch is smaller, and left out if it has a single sample, which batch
            normalisation cannot use.
        seed: of the run.
        augment: applied to the clean view.
        noise: applied to the augmented inputs, giving the noisy view.
        own_view: whether the noisy view draws an augmentation of its own instead of sharing the clean view's.
        wanted: the views to make, of ``"clean"`` and ``"noisy"``.
    """

    def __init__(
        self,
        data: ArrayDataset,
        *,
        batch_size: int,
        seed: int,
        augment: Augmentation,
        noise: Perturbation,
        own_view: bool,
        wanted: tuple[str, ...],
    ) -> None:
        self._data = data
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment
        self._noise = noise
        self._own_view = own_view
        self._wanted = wanted

    @property
    def steps_per_epoch(self) -> int:
        return self.count(len(self._data), self._batch_size)

    @staticmethod
    def count(samples: int, batch_size: int) -> int:
        """Return how many batches an epoch over ``samples`` has."""
        full, rest = divmod(samples, batch_size)
        return max(1, full + (rest > 1))

    def epoch(self, epoch: int) -> Iterator[Views]:
        """Yield the batches of an epoch (counted from 0), every sample once, in an order drawn for that epoch."""
        shuffle = seeding.generator(self._seed, "order", epoch)
        order = torch.randperm(len(self._data), generator=shuffle).to(self._data.inputs.device)
        for index in range(self.steps_per_epoch):
            chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
            step = epoch * self.steps_per_epoch + index
            yield self._views(self._data.inputs[chosen], self._data.labels[chosen], step)

    def _views(self, inputs: Tensor, labels: Tensor, step: int) -> Views:
        augmented = self._augmented(inputs, "augment", step)
        clean = augmented if "clean" in self._wanted else None
        if "noisy" not in self._wanted:
            return Views(labels, clean)
        if self._own_view and clean is not None:
            augmented = self._augmented(inputs, "augment-noisy", step)
        noisy = self._noise(augmented, seeding.generator(self._seed, "noise", step, device=inputs.device))
        return Views(labels, clean, noisy)

    def _augmented(self, inputs: Tensor, what: str, step: int) -> Tensor:
        return to_unit_interval(self._augment(inputs, seeding.generator(self._seed, what, step, device=inputs.device)))


def steps_for(epochs: int, steps_per_epoch: int, max_steps: int | None) -> tuple[int, int]:
    """Return how many steps and how many (begun) epochs a training takes."""
    steps = epochs * steps_per_epoch if max_steps is None else min(max_steps, epochs * steps_per_epoch)
    return steps, math.ceil(steps / steps_per_epoch)
