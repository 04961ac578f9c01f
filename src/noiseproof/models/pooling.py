"""Average pooling to a fixed size whose gradient a GPU can give bit by bit the same, which that of torch's is not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "averages"]


class AdaptiveAvgPool1d(nn.AdaptiveAvgPool1d):
    """(N, C, L) to (N, C, s) with s = ``output_size``, an integer: torch's, or on a GPU that is to be deterministic a
    matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        if not _repeatable(x):
            return super().forward(x)
        return x @ averages(x, 2, int(self.output_size)).T  # type: ignore[arg-type]


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """(N, C, H, W) to (N, C, s, s) with s = ``output_size``, likewise."""

    def forward(self, x: Tensor) -> Tensor:
        if not _repeatable(x):
            return super().forward(x)
        rows, columns = (averages(x, dim, int(self.output_size)) for dim in (2, 3))  # type: ignore[arg-type]
        return rows @ x @ columns.T


def averages(x: Tensor, dim: int, parts: int) -> Tensor:
    """Return (parts, n) with a row of weights for each part of ``dim``: part i of n goes from ⌊i·n/parts⌋ to
    ⌈(i + 1)·n/parts⌉, and parts may overlap, as in torch."""
    n = x.shape[dim]
    part, place = torch.arange(parts, device=x.device).unsqueeze(1), torch.arange(n, device=x.device)
    inside = (place >= part * n // parts) & (place < ((part + 1) * n + parts - 1) // parts)
    exact = torch.promote_types(x.dtype, torch.float32)
    return (inside.to(exact) / inside.sum(1, keepdim=True)).to(x.dtype)


def _repeatable(x: Tensor) -> bool:
    return x.device.type == "cuda" and torch.are_deterministic_algorithms_enabled()
