"""Class centroids m_c: of the current batch, of the past, and their mixture (§4.4)."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from noiseproof.partition import Partition

__all__ = ["STRATEGIES", "Centroids", "Strategy", "mix_with_stored"]

Strategy = Literal["naive", "momentum", "partial"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)


class Centroids(NamedTuple):
    """The centroids that the two halves of the loss see, each (C, d); rows of absent classes mean nothing.

    Attributes:
        attracting: what samples are drawn to (compactness, alignment) and what is regularised.
        separating: what is pushed away from the decision boundaries (margin).
    """

    attracting: Tensor
    separating: Tensor

    @classmethod
    def of(
        cls, batch: Partition, embeddings: Tensor, stored: Tensor, initialised: Tensor, momentum: float, how: Strategy
    ) -> Centroids:
        """Compute the centroids of a batch of clean embeddings (N, d) by one of the strategies of §4.4."""
        current = batch.mean_by_class(embeddings)
        if how == "naive":
            return cls(current, current)
        mixed = mix_with_stored(current, stored, initialised, momentum)
        return cls(mixed, mixed if how == "momentum" else current)


def mix_with_stored(current: Tensor, stored: Tensor, initialised: Tensor, momentum: float) -> Tensor:
    """γ m_c^{t−1} + (1 − γ) m_c^current, and m_c^current for a class seen for the first time (§4.4).

    The stored part is a constant: the gradient flows through ``current`` alone (Prop. 4.1).

    Args:
        current: (C, d) centroids of this batch.
        stored: (C, d) centroids kept from the batches before.
        initialised: (C,) of bool, whether a class has been seen before.
        momentum: γ in [0, 1).
    """
    kept = momentum * initialised.to(current.dtype).unsqueeze(1)
    return torch.lerp(current, stored.detach(), kept)
