"""Classes of unequal size."""

from __future__ import annotations

import torch
from torch import Tensor

from noiseproof.data import LabelledDataset

__all__ = ["balanced_weights"]


def balanced_weights(data: LabelledDataset) -> Tensor:
    """Return N / (C |C_c|), by which samples count if every class is to count the same: (C,) of float32.

    Over the data set the weights average 1. They are those of scikit-learn's ``class_weight="balanced"``; a class
    without samples, which has none to be weighted, gets 0.
    """
    counts = torch.bincount(data.labels, minlength=data.num_classes).to(torch.float32)
    return torch.where(counts > 0, len(data) / (data.num_classes * counts.clamp_min(1)), 0.0)
