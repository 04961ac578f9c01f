"""Channels in units of their own standard deviation, so that one strength of noise means the same for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noiseproof.errors import DataError, InvalidArgumentError

__all__ = ["Scaling"]

_CONSTANT = 1e-9  # of the mean: what rounding leaves of a channel that does not vary
_DIGITS = 6  # of the std that count


@dataclass(frozen=True)
class Scaling:
    """(x − mean) / std along dimension 1: a column of vectors (N, F), a channel of series (N, C, T).

    Attributes:
        mean: one per channel, in the units of the inputs.
        std: one per channel, > 0, in the units of the inputs: what noise of strength 1 amounts to.

    Raises:
        InvalidArgumentError: different lengths, none at all, a value that is not finite, or a std ≤ 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        mean, std = self.mean, self.std
        if not mean or len(mean) != len(std) or not all(map(math.isfinite, mean + std)):
            raise InvalidArgumentError(f"mean and std must be finite and of one length, got {mean} and {std}")
        if min(std) <= 0:
            raise InvalidArgumentError(f"std must be > 0, got {std}")

    @classmethod
    def of(cls, inputs: Tensor) -> Scaling:
        """Return the mean and standard deviation of each channel of (N, C, …), 1 for one that does not vary.

        They are rounded to a millionth of the std, so that they do not depend on the order in which a machine sums.

        Raises:
            DataError: a channel whose mean or std float32 cannot hold.
        """
        channels = inputs.double().transpose(0, 1).flatten(1)
        mean, std = channels.mean(1), channels.std(1, correction=0)
        std = std.where(std > _CONSTANT * mean.abs(), 1.0)
        limits = torch.finfo(torch.float32)
        wrong = ~((mean.abs() < limits.max) & (std > limits.tiny) & (std < limits.max))
        if bool(wrong.any()):
            worst = int(wrong.double().argmax())
            raise DataError(
                f"{'column' if inputs.ndim == 2 else 'channel'} {worst}, counted from 0, has mean {mean[worst]:g} and "
                f"standard deviation {std[worst]:g}, which float32 does not hold; give it in other units"
            )
        rounded = [_rounded(*each) for each in zip(mean.tolist(), std.tolist(), strict=True)]
        return cls(*zip(*rounded, strict=True))

    def apply(self, inputs: Tensor) -> Tensor:
        """Return floating inputs (N, C, …) in units of each channel's standard deviation, computed in float64."""
        mean, std = self._beside(inputs)
        return ((inputs.double() - mean) / std).float()

    def then(self, mean: Sequence[float], std: Sequence[float]) -> Scaling:
        """Return the one scaling that does this and then (z − mean) / std, with one value or one per channel.

        Of z = (x − m) / s that is (x − (m + s·mean)) / (s·std).
        """
        count = len(self.std)
        after = zip(self.mean, self.std, _spread(mean, count), _spread(std, count), strict=True)
        joined = [(m + s * further, s * scale) for m, s, further, scale in after]
        return Scaling(*zip(*joined, strict=True))

    def inverse(self) -> Scaling:
        """Return the scaling whose :meth:`apply` is this one's :meth:`restore`: (z − (−mean/std)) / (1/std)."""
        return Scaling(
            tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True)),
            tuple(1 / std for std in self.std),
        )

    def _beside(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std in a shape that goes with that of (N, C, …).

        Raises:
            DataError: another number of channels.
        """
        if inputs.ndim < 2 or inputs.shape[1] != len(self.std):
            raise DataError(
                f"the inputs must be (N, {len(self.std)}, …) to be standardised, got {tuple(inputs.shape)}"
            )
        shape = (1, -1) + (1,) * (inputs.ndim - 2)
        mean, std = (
            torch.tensor(each, dtype=torch.float64, device=inputs.device).view(shape) for each in (self.mean, self.std)
        )
        return mean, std


def _spread(values: Sequence[float], count: int) -> list[float]:
    return list(values) * count if len(values) == 1 else list(values)


def _rounded(mean: float, std: float) -> tuple[float, float]:
    digits = _DIGITS - math.floor(math.log10(std))
    return round(mean, digits), round(std, digits)
