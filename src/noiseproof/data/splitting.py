"""Which samples of a data set are held out: a share of every class, and never a part of a group."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from noiseproof.data.dataset import LabelledDataset
from noiseproof.errors import DataError, InvalidArgumentError

__all__ = ["held_out"]


def held_out(data: LabelledDataset, fraction: float, seed: int, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the places of the samples that stay and of those that are held out, each in ascending order.

    Args:
        data: N samples; the share is as near as can be the same for each class.
        fraction: the share to hold out, in (0, 1). With groups, which are held out whole, it is nearly that.
        seed: the same samples for the same seed.
        groups: (N,) numbers; samples with the same one stay together. None to hold out single samples.

    Raises:
        InvalidArgumentError: too few samples for that.
        DataError: too few groups, or all samples of a class in groups that are held out.
    """
    try:
        rest, part = _single(data.labels, fraction, seed) if groups is None else _whole(data, fraction, seed, groups)
    except DataError:
        raise
    except ValueError as error:  # scikit-learn's
        raise InvalidArgumentError(f"cannot split off {fraction:g} of {len(data)} samples: {error}") from error
    return rest.sort().values, part.sort().values


def _single(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    from sklearn.model_selection import train_test_split

    places = torch.arange(len(labels)).numpy()
    rest, part = train_test_split(places, test_size=fraction, random_state=seed, stratify=labels.numpy())
    return torch.from_numpy(rest), torch.from_numpy(part)


def _whole(data: LabelledDataset, fraction: float, seed: int, groups: Tensor) -> tuple[Tensor, Tensor]:
    """One of k folds of whole groups, with the classes' shares as even as can be; k − 1 of them for more than half."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = max(2, round(1 / min(fraction, 1 - fraction)))
    count = len(groups.unique())
    if count < folds:
        raise DataError(f"to hold out {fraction:g} of the groups takes at least {folds}; there are {count}")
    labels = data.labels
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # what it comes to is looked at below
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        larger, smaller = next(splitter.split(labels.numpy(), labels.numpy(), groups.numpy()))
    rest, part = (larger, smaller) if fraction <= 0.5 else (smaller, larger)
    lost = set(labels.tolist()) - set(labels[rest].tolist())
    if lost:
        raise DataError(
            f"all samples of the class {data.class_names[min(lost)]} are in groups that would be held out: each class "
            "needs samples in several groups; or choose another data.split_seed"
        )
    return torch.from_numpy(rest), torch.from_numpy(part)
