"""Arrays as scikit-learn has them, standardised, as the data sets that noiseproof trains and measures on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import column_or_1d

from noiseproof.data import ArrayDataset
from noiseproof.errors import DataError, InvalidArgumentError

__all__ = ["Codes", "as_dataset", "codes_of", "fit_scaler", "held_out", "standardised"]

Codes: TypeAlias = NDArray[np.int64]

_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny)


def fit_scaler(X: NDArray[np.float64]) -> StandardScaler:
    """Learn the mean and standard deviation of every feature of X (N, F); a constant feature's counts as 1.

    Raises:
        DataError: one of them cannot be told in float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = StandardScaler().fit(X)
    bad = ~((np.abs(scaler.mean_) < _LARGEST) & (scaler.scale_ > _SMALLEST) & (scaler.scale_ < _LARGEST))
    if bad.any():
        worst = int(bad.argmax())
        raise DataError(
            f"feature {worst} has mean {scaler.mean_[worst]:g} and standard deviation {scaler.scale_[worst]:g}, which "
            "is outside the range of float32; give it in other units"
        )
    return scaler


def standardised(scaler: StandardScaler, X: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return X (N, F) in units of each feature's standard deviation, computed in float64."""
    scaled: NDArray[np.float64] = np.clip(scaler.transform(X), -_LARGEST, _LARGEST)
    return scaled.astype(np.float32)


def as_dataset(scaler: StandardScaler, X: NDArray[np.float64], codes: Codes, names: Sequence[str]) -> ArrayDataset:
    """Return X (N, F), standardised, with the classes (N,) as numbers from 0 on."""
    return ArrayDataset(torch.from_numpy(standardised(scaler, X)), torch.from_numpy(codes), names)


def held_out(codes: Codes, fraction: float, seed: int) -> tuple[Codes, Codes]:
    """Return the places of the samples to train on, and of ``fraction`` of every class to choose weights on.

    Raises:
        InvalidArgumentError: there are too few samples for that.
    """
    places = np.arange(len(codes))
    if fraction == 0:
        return places, places[:0]
    try:
        rest, part = train_test_split(places, test_size=fraction, random_state=seed, stratify=codes)
    except ValueError as error:
        raise InvalidArgumentError(
            f"validation_fraction = {fraction:g} of {len(codes)} samples cannot be held out: {error}"
        ) from None
    return np.sort(rest), np.sort(part)


def codes_of(y: ArrayLike, classes: NDArray[Any]) -> Codes:
    """Return the places of the labels y (N,) in ``classes``.

    Raises:
        DataError: a label that is none of them.
    """
    labels = column_or_1d(y)
    places = {label: place for place, label in enumerate(classes.tolist())}
    unknown = [label for label in labels.tolist() if label not in places]
    if unknown:
        raise DataError(
            f"y holds {unknown[0]!r}, which the classifier was not trained on; it knows {', '.join(map(repr, places))}"
        )
    return np.array([places[label] for label in labels.tolist()], dtype=np.int64)
