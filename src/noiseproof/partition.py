"""The samples of a batch by class: the sets C_B and C_c^B over which Eq. 8 to 12 take their means."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

__all__ = ["Partition", "sum_over_ranks"]


class Partition:
    """A batch split into its classes, without a loop, a data-dependent shape or a copy to the host.

    Args:
        labels: (N,) integers in [0, num_classes).
        num_classes: C.
        dtype: floating type of counts and weights.
        across_ranks: whether the batch is spread over the ranks of ``torch.distributed``, so that every sum here is
            the sum over all of them, as if one process had seen the whole batch.

    Attributes:
        counts: (C,), |C_c^B|, the number of samples per class.
        present: (C,) of bool, whether a class is in C_B.
        num_present: 0-d, |C_B|, of ``dtype``.
        sample_weights: (N,), 1 / (|C_B| |C_c^B|) for a sample of class c; those of a class sum to 1/|C_B|.
    """

    def __init__(self, labels: Tensor, num_classes: int, dtype: torch.dtype, *, across_ranks: bool = False) -> None:
        self.labels = labels.long()
        self.num_classes = num_classes
        self.across_ranks = across_ranks
        ones = torch.ones(labels.shape[0], dtype=dtype, device=labels.device)
        self.counts = self.sum_by_class(ones)
        self.present = self.counts > 0
        self.num_present = self.present.sum(dtype=dtype)
        self.sample_weights = (self.counts * self.num_present).reciprocal()[self.labels]

    def sum_by_class(self, values: Tensor) -> Tensor:
        """Sum ``values`` (N, ...) over the samples of each class: (C, ...), zero for an absent class."""
        sums = values.new_zeros(self.num_classes, *values.shape[1:]).index_add(0, self.labels, values)
        return self._reduce(sums)

    def mean_by_class(self, values: Tensor) -> Tensor:
        """Average ``values`` (N, d) over the samples of each class: (C, d), zero for an absent class."""
        return self.sum_by_class(values) / self.counts.clamp_min(1).unsqueeze(1)

    def mean_over_classes(self, values: Tensor) -> Tensor:
        """(1/|C_B|) Σ_{c in C_B} (1/|C_c^B|) Σ_{x in C_c^B} ``values``(x), for ``values`` (N,)."""
        return self._reduce(torch.dot(values, self.sample_weights))

    def rows(self, per_class: Tensor) -> Tensor:
        """Return for every sample the row of its class: (C, d) to (N, d)."""
        return F.embedding(self.labels, per_class)

    def _reduce(self, local: Tensor) -> Tensor:
        return sum_over_ranks(local) if self.across_ranks else local


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum ``tensor`` over all ranks, differentiably; itself where there is one process.

    The gradient of the sum is the sum of every rank's gradient. Together with the averaging of gradients over ranks
    by ``DistributedDataParallel``, R ranks with a batch of B/R each get the gradient of one process with a batch of B.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return tensor
    total: Tensor = _SumOverRanks.apply(tensor)
    return total


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, tensor: Tensor) -> Tensor:  # noqa: ARG004
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
