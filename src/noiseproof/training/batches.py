"""The batches of an epoch and the views of a batch, both pure functions of the seed and of where training stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from noiseproof import seeding
from noiseproof.data import ArrayDataset, Augmentation, LabelledDataset
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.methods import Views
from noiseproof.perturbations import Perturbation

__all__ = ["TrainingBatches", "steps_for"]


class TrainingBatches:
    """Shuffled, augmented, noisy batches of a data set.

    Data in memory is moved to the device once. Data on disk is decoded by worker processes, and nothing else: what is
    random happens on the device, for a whole batch at once, so that neither the way in nor the number of workers
    changes a batch.

    Args:
        data: the training set.
        device: where the views are made.
        batch_size: N, over all processes, and a multiple of their number; the last batch of an epoch is smaller, and
            left out if a process would get fewer than two samples, which batch normalisation cannot use.
        seed: of the run.
        augment: applied to the clean view.
        noise: applied to the augmented inputs, giving the noisy view.
        own_view: whether the noisy view draws an augmentation of its own instead of sharing the clean view's.
        wanted: the views to make, of ``"clean"`` and ``"noisy"``.
        workers: processes that decode data on disk; 0 decodes in this one.
        layout: how pictures lie in memory, see :func:`noiseproof.training.layout.layout_for`.
        rank: which share of every batch is this process's.
        world_size: among how many processes a batch is shared. Each draws the whole batch and takes its share.
    """

    def __init__(
        self,
        data: LabelledDataset,
        *,
        device: torch.device | str = "cpu",
        batch_size: int,
        seed: int,
        augment: Augmentation,
        noise: Perturbation,
        own_view: bool,
        wanted: tuple[str, ...],
        workers: int = 0,
        layout: torch.memory_format = torch.channels_last,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size % world_size:
            raise InvalidArgumentError(f"train.batch_size = {batch_size} cannot be shared by {world_size} processes")
        self._device = torch.device(device)
        self._data = data.to(self._device) if isinstance(data, ArrayDataset) else data
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment
        self._noise = noise
        self._own_view = own_view
        self._wanted = wanted
        self._workers = workers
        self._layout = layout
        self._rank = rank
        self._world_size = world_size

    @property
    def steps_per_epoch(self) -> int:
        return self.count(len(self._data), self._batch_size, self._world_size)

    @staticmethod
    def count(samples: int, batch_size: int, world_size: int = 1) -> int:
        """Return how many batches an epoch over ``samples`` has."""
        full, rest = divmod(samples, batch_size)
        return max(1, full + (rest >= 2 * world_size))

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Views]:
        """Yield the batches of an epoch (counted from 0) from number ``first`` on.

        Every sample comes once an epoch, in an order drawn for that epoch.
        """
        order = torch.randperm(len(self._data), generator=seeding.generator(self._seed, "order", epoch))
        if isinstance(self._data, ArrayDataset):
            order = order.to(self._device)  # at once: every copy to a GPU is waited for
        chosen = list(order.split(self._batch_size))[first : self.steps_per_epoch]
        step = epoch * self.steps_per_epoch + first
        for offset, (inputs, labels) in enumerate(self._fetch(chosen, epoch)):
            yield self._share(self._views(inputs, labels, step + offset))

    def _fetch(self, chosen: list[Tensor], epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        if isinstance(self._data, ArrayDataset):
            for indices in chosen:
                yield self._data.inputs[indices], self._data.labels[indices]
            return
        pinned = self._device.type == "cuda"
        batches = [indices.tolist() for indices in chosen]
        loader = DataLoader(
            self._data,
            batch_sampler=batches,
            num_workers=self._workers,
            pin_memory=pinned,
            generator=seeding.generator(self._seed, "loader", epoch),  # else it would draw from the global one
        )
        try:
            for inputs, labels in loader:
                yield inputs.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)
        except DataError as error:  # of a worker, whose traceback is part of the message
            raise DataError(
                str(error).strip().splitlines()[-1].removeprefix("noiseproof.errors.DataError: ")
            ) from None

    def _views(self, inputs: Tensor, labels: Tensor, step: int) -> Views:
        augmented = self._augmented(inputs, "augment", step)
        clean = augmented if "clean" in self._wanted else None
        if "noisy" not in self._wanted:
            return Views(labels, clean)
        if self._own_view and clean is not None:
            augmented = self._augmented(inputs, "augment-noisy", step)
        noisy = self._noise(augmented, seeding.generator(self._seed, "noise", step, device=self._device))
        return Views(labels, clean, noisy)

    def _augmented(self, inputs: Tensor, what: str, step: int) -> Tensor:
        drawn = seeding.generator(self._seed, what, step, device=self._device)
        augmented = to_unit_interval(self._augment(inputs, drawn))
        return augmented.contiguous(memory_format=self._layout) if augmented.ndim == 4 else augmented

    def _share(self, views: Views) -> Views:
        """This process's part of a batch, as large as every other's."""
        if self._world_size == 1:
            return views
        size = views.labels.shape[0] // self._world_size
        mine = slice(self._rank * size, (self._rank + 1) * size)
        return Views(*(None if view is None else view[mine] for view in views))  # type: ignore[arg-type]


def steps_for(epochs: int, steps_per_epoch: int, max_steps: int | None) -> tuple[int, int]:
    """Return how many steps and how many (begun) epochs a training takes."""
    steps = epochs * steps_per_epoch if max_steps is None else min(max_steps, epochs * steps_per_epoch)
    return steps, math.ceil(steps / steps_per_epoch)
