"""Classes of unequal size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from noiseproof.data import LabelledDataset

__all__ = ["balanced_weights"]


def balanced_weights(data: LabelledDataset) -> Tensor:
    """Return N / (C |C_c|), by which samples count if every class is to count the same: (C,) of float32.

    Over the data set, in which every class has a sample, the weights average 1.
    """
    from sklearn.utils.class_weight import compute_class_weight  # slow to import

    weights = compute_class_weight("balanced", classes=np.arange(data.num_classes), y=data.labels.numpy())
    return torch.as_tensor(weights, dtype=torch.float32)
