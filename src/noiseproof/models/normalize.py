"""Normalisation as the first layer of a model, so that everything outside the model lives in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from noiseproof.errors import InvalidArgumentError
from noiseproof.scaling import Scaling

__all__ = ["Normalize"]


class Normalize(nn.Module):
    """(x − mean) / std along dimension 1: channels of images and series, components of vectors.

    Args:
        mean: one value, or one per channel.
        std: likewise, each > 0.

    Raises:
        InvalidArgumentError: different lengths, a value that is not finite, or a std ≤ 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        centre, scale = (torch.as_tensor(value, dtype=torch.float32).reshape(-1) for value in (mean, std))
        if centre.shape != scale.shape or centre.numel() == 0 or not bool(centre.isfinite().all()):
            raise InvalidArgumentError(f"mean and std must be finite and of one length, got {mean} and {std}")
        if not bool((scale > 0).all() and scale.isfinite().all()):
            raise InvalidArgumentError(f"std must be > 0, got {std}")
        self.register_buffer("mean", centre)
        self.register_buffer("std", scale)

    def check_channels(self, channels: int) -> None:
        """Raise an :class:`InvalidArgumentError` where inputs have another number of channels than mean and std."""
        if self.mean.numel() not in (1, channels):
            raise InvalidArgumentError(
                f"the input has {channels} channels, but mean and std have {self.mean.numel()} values"
            )

    def before(self, scaling: Scaling) -> Normalize:
        """Return the layer that gives for inputs as they are what this one gives for inputs brought to ``scaling``."""
        joined = scaling.then(self.mean.tolist(), self.std.tolist())
        return Normalize(joined.mean, joined.std)

    def in_two_steps(self, scaling: Scaling) -> nn.Sequential:
        """Return :meth:`before` as two layers, which lose nothing where means are far larger than what varies.

        The first subtracts the means as float32 holds them, the second what that leaves of them.
        """
        joined = scaling.then(self.mean.tolist(), self.std.tolist())
        coarse = torch.tensor(joined.mean, dtype=torch.float32).tolist()
        fine = [mean - part for mean, part in zip(joined.mean, coarse, strict=True)]
        return nn.Sequential(Normalize(coarse, [1.0] * len(coarse)), Normalize(fine, joined.std))

    def forward(self, x: Tensor) -> Tensor:
        self.check_channels(x.shape[1])
        shape = (1, -1) + (1,) * (x.ndim - 2)
        normalised: Tensor = (x - self.mean.view(shape)) / self.std.view(shape)
        return normalised.to(x.dtype)  # a model of 16 bits may stand behind

    def extra_repr(self) -> str:
        return f"mean={[round(m, 4) for m in self.mean.tolist()]}, std={[round(s, 4) for s in self.std.tolist()]}"
