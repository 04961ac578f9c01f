"""A sensor's noise beside what the data vary by: whether both are of one scale, and whether one level fits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noiseproof.data import LabelledDataset, thinned
from noiseproof.data.dataset import to_unit_interval
from noiseproof.suggesting.sensor import SensorNoise

__all__ = ["Obstacle", "Scale", "obstacle_to", "scale_of", "scale_of_dataset", "shares_of"]

_CONSTANT = 1e-9  # of the mean: what rounding leaves of a channel that does not vary
_ALIKE = 5.0  # how many times the least the greatest may be for one level to serve all channels
_DROWNED = 3.0  # noise above so many stds of data that were recorded with it
_FOREIGN = 10.0  # stds of the data from its mean, or times its std, that a scene of the data's scale does not reach


@dataclass(frozen=True)
class Scale:
    """Where values lie and what they vary by, in the units of the inputs.

    Attributes:
        mean: by channel (of vectors by column).
        std: by channel; 0 for one that does not vary.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Obstacle:
    """Why no level of noise is proposed from what was measured.

    Attributes:
        reason: with the measured numbers.
        remedy: what to do about it, in whole sentences.
    """

    reason: str
    remedy: str


def scale_of(inputs: Iterable[Tensor]) -> Scale:
    """Return the scale of inputs (C, …) or vectors (F,), looked at one after the other.

    The variance is the mean of theirs and the variance of their means, which keeps small variation on large values.
    """
    flat = (each.double().reshape(len(each), -1) for each in inputs)
    found = torch.stack([torch.stack([each.mean(1), each.var(1, unbiased=False)]) for each in flat])
    means, variances = found.unbind(1)
    mean, std = means.mean(0), (variances.mean(0) + means.var(0, unbiased=False)).sqrt()
    return Scale(tuple(mean.tolist()), tuple(std.where(std > _CONSTANT * mean.abs(), 0).tolist()))


def scale_of_dataset(data: LabelledDataset, limit: int) -> Scale:
    """Return the scale of at most ``limit`` samples, evenly spread; of images in units of [0, 1]."""
    chosen = thinned(data, limit)
    return scale_of(to_unit_interval(chosen[place][0]) for place in range(len(chosen)))


def shares_of(noise: SensorNoise, data: Scale) -> tuple[float | None, ...]:
    """Return the noise by channel as a share of the data's std; None where the data do not vary."""
    return tuple(value / std if std else None for value, std in zip(noise.channels, data.std, strict=True))


def obstacle_to(noise: SensorNoise, data: Scale, recordings: Scale | None, *, fixed: bool) -> Obstacle | None:
    """Return why one level of training noise cannot be proposed; None where it can.

    Args:
        noise: as measured.
        data: what it is to be added to.
        recordings: what it was measured on, where that was not the data.
        fixed: whether the scale is given, as that of images is, so that channels cannot be brought to another.
    """
    foreign = None if recordings is None else _foreign(noise, data, recordings)
    return foreign or (None if fixed else _of_many_scales(noise, data))


def _foreign(noise: SensorNoise, data: Scale, recordings: Scale) -> Obstacle | None:
    """What tells that recordings are not of the data's scale. That they vary less does not: a scene may be at rest."""
    found = []
    columns = zip(noise.channels, data.mean, data.std, recordings.mean, recordings.std, strict=True)
    for number, (value, mean, std, there, spread) in enumerate(columns):
        where = f"in {noise.word} {number} " if len(data.std) > 1 else ""
        beside = f"the data's {mean:.2g} ± {std:.2g}"
        if std:
            found += [
                (value / std / _DROWNED, f"{where}their noise is {value:.2g}, the data's own std {std:.2g}"),
                (abs(there - mean) / std / _FOREIGN, f"{where}their mean is {there:.2g}, {beside}"),
                (spread / std / _FOREIGN, f"{where}they are {there:.2g} ± {spread:.2g}, {beside}"),
            ]
    excess, told = max(found, default=(0.0, ""))
    if excess <= 1:
        return None
    return Obstacle(
        f"the repeated recordings are not of the data's scale: {told}",
        "Nothing is proposed for the noise: the repeated recordings are not of the data's scale. Bring them to it, "
        "with the same units and the same shift and division as the data had, then ask again.",
    )


def _of_many_scales(noise: SensorNoise, data: Scale) -> Obstacle | None:
    """What tells that channels are of different scales, so that noise on one is none, or too much, on another."""
    both = [(value, std) for value, std in zip(noise.channels, data.std, strict=True) if value and std]
    if _ratio([value for value, _ in both]) <= _ALIKE or _ratio([std for _, std in both]) <= _ALIKE:
        return None
    least, most = min(value for value, _ in both), max(value for value, _ in both)
    shares = [share for share in shares_of(noise, data) if share]
    then = f"the noise is then {min(shares):.2g} to {max(shares):.2g} of it" if shares else "the data vary nowhere"
    level = math.sqrt(sum(share**2 for share in shares) / max(len(shares), 1))
    fits = f"so that one level, {level:.2g}, fits" if _ratio(shares) <= _ALIKE else "so that one is still a compromise"
    return Obstacle(
        f"one level fits no {noise.word}: their noise goes from {least:.2g} ({noise.word} "
        f"{noise.channels.index(least)}) to {most:.2g} ({noise.word} {noise.channels.index(most)})",
        f"One level of noise fits no {noise.word}. Bring the {noise.word}s to one scale first: with "
        f"data.standardise=true each is divided by the data's std there, in the data and in the recordings; {then}, "
        f"{fits}.",
    )


def _ratio(values: Sequence[float]) -> float:
    """The greatest over the least, of those that are not 0."""
    some = [value for value in values if value]
    return max(some) / min(some) if some else 1.0
