"""Labelled data sets, in memory or on disk, and their split into train, validation and test."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from noiseproof.checks import check_labels, check_unit_interval, check_whole
from noiseproof.errors import DataError
from noiseproof.scaling import Scaling

__all__ = [
    "ArrayDataset",
    "LabelledDataset",
    "Splits",
    "channel_statistics",
    "check_finite",
    "evenly_spread",
    "places_of",
    "thinned",
    "to_unit_interval",
]


def to_unit_interval(inputs: Tensor) -> Tensor:
    """Return bytes 0…255 as float32 in [0, 1], and floating inputs as float32."""
    return inputs.to(torch.float32).div_(255) if inputs.dtype == torch.uint8 else inputs.to(torch.float32)


def channel_statistics(inputs: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of ``inputs`` (N, C, ...) along dimension 1; 1 for a constant channel."""
    means, stds = [], []
    for channel in inputs.unbind(1):
        values = to_unit_interval(channel)
        mean = values.mean(dtype=torch.float64)
        std = (values.double() - mean).square().mean().sqrt()
        means.append(float(mean))
        stds.append(float(std) if std > 1e-6 else 1.0)
    return means, stds


def check_finite(name: str, inputs: Tensor) -> None:
    """Raise a :class:`DataError` where ``inputs`` (N, …) hold NaN or infinite values; tells how many and the first."""
    if not inputs.is_floating_point() or bool(inputs.isfinite().all()):
        return
    wrong = (~inputs.isfinite()).nonzero()
    row, *within = wrong[0].tolist()
    place = f", {'column' if inputs.ndim == 2 else 'channel'} {within[0]}" if within else ""
    raise DataError(
        f"{name} hold{'' if name.endswith('s') else 's'} NaN or infinite values: {len(wrong)} of {inputs.numel()}, "
        f"the first in row {row}{place}, counted from 0"
    )


class LabelledDataset(Dataset[tuple[Tensor, Tensor]]):
    """A map-style data set of (input, label) pairs whose labels and class names are known at once.

    Attributes:
        labels: (N,) integers in [0, len(class_names)).
        class_names: one name per class.
        feature_names: one per component of vectors; None where they have none.
        input_shape: the shape of one input, (C, H, W), (F,) or (C, T).
    """

    labels: Tensor
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return self.labels.shape[0]

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an input, uint8 or floating, and its label."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]: ...

    @abstractmethod
    def subset(self, indices: Tensor) -> LabelledDataset:
        """Return the samples at ``indices``, in that order."""

    @abstractmethod
    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation along dimension 1, in units of [0, 1] for images; 1 for a constant channel."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A SHA-256 as hexadecimal that changes with the data."""

    def scaling(self) -> Scaling:
        """Return what brings every channel of these samples to mean 0 and standard deviation 1.

        Raises:
            DataError: images, which keep their range; or a channel whose mean or std float32 cannot hold.
        """
        raise DataError("only vectors and series can be standardised; images keep their range of [0, 1]")

    def standardised(self, scaling: Scaling) -> LabelledDataset:  # noqa: ARG002
        """Return the data set with its inputs in the units of ``scaling``.

        Raises:
            DataError: images, or inputs with another number of channels.
        """
        raise DataError("only vectors and series can be standardised; images keep their range of [0, 1]")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class ArrayDataset(LabelledDataset):
    """Inputs and labels as two tensors.

    Args:
        inputs: (N, C, H, W) images, uint8 or floating in [0, 1]; (N, F) vectors or (N, C, T) series, floating.
        labels: (N,) integers in [0, len(class_names)).
        class_names: one name per class.
        feature_names: one per component of vectors; None where they have none.

    Raises:
        DataError: no samples, inputs that are not finite, or names for another number of components.
        InvalidArgumentError: images outside [0, 1], or labels of a wrong type, number or range.
    """

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        class_names: Sequence[str],
        feature_names: Sequence[str] | None = None,
    ) -> None:
        if inputs.ndim < 2 or inputs.shape[0] == 0:
            raise DataError(f"inputs must be (N, …) with N > 0, got {tuple(inputs.shape)}")
        if inputs.ndim == 4 and inputs.shape[-1] in (1, 3, 4) and inputs.shape[1] > 4:
            raise DataError(f"images must be (N, C, H, W), got {tuple(inputs.shape)}, which looks like (N, H, W, C)")
        check_labels("labels", labels, len(class_names), inputs.shape[0])
        if inputs.dtype != torch.uint8:
            if not inputs.is_floating_point():
                raise DataError(f"inputs must be uint8 or floating, got {inputs.dtype}")
            check_finite("inputs", inputs)
            if inputs.ndim == 4:
                check_unit_interval("images", inputs)
        self.inputs = inputs
        self.labels = labels.long()
        self.class_names = tuple(class_names)
        self.feature_names = None if feature_names is None else tuple(feature_names)
        if self.feature_names is not None and (inputs.ndim != 2 or len(self.feature_names) != inputs.shape[1]):
            raise DataError(f"{len(self.feature_names)} names of features do not fit inputs {tuple(inputs.shape)}")

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return to_unit_interval(self.inputs[index]), self.labels[index]

    def subset(self, indices: Tensor) -> ArrayDataset:
        return ArrayDataset(self.inputs[indices], self.labels[indices], self.class_names, self.feature_names)

    def to(self, device: torch.device) -> ArrayDataset:
        """Return the data set with its tensors on ``device``."""
        return ArrayDataset(self.inputs.to(device), self.labels.to(device), self.class_names, self.feature_names)

    def scaling(self) -> Scaling:
        return Scaling.of(self._floating()) if self.inputs.ndim < 4 else super().scaling()

    def standardised(self, scaling: Scaling) -> LabelledDataset:
        if self.inputs.ndim > 3:
            return super().standardised(scaling)
        return ArrayDataset(scaling.apply(self._floating()), self.labels, self.class_names, self.feature_names)

    def with_features(self, names: Sequence[str]) -> ArrayDataset:
        """Return the vectors with the components of these names alone, in this order; as they are without names.

        Raises:
            DataError: there is no such component, or several.
        """
        if self.feature_names is None:
            return self
        return ArrayDataset(self.inputs[:, places_of(names, self.feature_names)], self.labels, self.class_names, names)

    def _floating(self) -> Tensor:
        return to_unit_interval(self.inputs) if self.inputs.dtype == torch.uint8 else self.inputs

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape[1:])

    def channel_statistics(self) -> tuple[list[float], list[float]]:
        return channel_statistics(self.inputs)

    def fingerprint(self) -> str:
        """SHA-256 over the type, shape and bytes of inputs and labels, as hexadecimal."""
        digest = hashlib.sha256()
        for tensor in (self.inputs, self.labels):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set.

    Attributes:
        train: what is trained on.
        validation: what weights are chosen on; None where nothing is held out for that.
        test: what models are measured on.
        scaling: what brought the source's inputs to units of each channel's standard deviation; None for nothing.
    """

    train: LabelledDataset
    validation: LabelledDataset | None
    test: LabelledDataset
    scaling: Scaling | None = None

    def parts(self) -> dict[str, LabelledDataset]:
        """Return the parts that there are, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}

    def part(self, name: Literal["test", "validation"]) -> LabelledDataset:
        """Return what models are measured on.

        Raises:
            DataError: nothing is held out for validation.
        """
        if name == "test":
            return self.test
        if self.validation is None:
            raise DataError("nothing is held out for validation; set data.validation_fraction above 0")
        return self.validation

    def standardised(self, scaling: Scaling) -> Splits:
        """Return the parts in the units of ``scaling``.

        Raises:
            DataError: images, which keep their range.
        """
        parts = {name: part.standardised(scaling) for name, part in self.parts().items()}
        return Splits(parts["train"], parts.get("validation"), parts["test"], scaling)

    def fingerprint(self) -> str:
        """SHA-256 over the three parts, as hexadecimal."""
        return hashlib.sha256("".join(part.fingerprint() for part in self.parts().values()).encode()).hexdigest()


def places_of(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Return where each of ``names`` stands among the names of columns.

    Raises:
        DataError: one stands nowhere, or twice.
    """
    for name in names:
        if (count := columns.count(name)) != 1:
            there = "is no column" if count == 0 else f"are {count} columns"
            raise DataError(f"there {there} {name!r}, which the model takes; it has {', '.join(columns[:30])}")
    return [columns.index(name) for name in names]


def evenly_spread(size: int, count: int) -> Tensor:
    """Return the places of ``count`` ≤ ``size`` of ``size`` samples, evenly spread from the first on: (count,)."""
    return torch.arange(count) * size // count


def thinned(data: LabelledDataset, limit: int) -> LabelledDataset:
    """Return ``limit`` samples, evenly spread over the data set; all of them where there are no more."""
    count = check_whole("limit", limit, 1)
    return data if count >= len(data) else data.subset(evenly_spread(len(data), count))
