"""The geometry of a feature space: how wide classes are, how far from their boundaries, and what rescaling does."""

from __future__ import annotations

import torch
from torch import Tensor

from noiseproof.checks import check_labels, check_matrix
from noiseproof.functional import signed_distances, widen
from noiseproof.models.rescale import rescale

__all__ = ["class_dispersion", "class_margin", "rescale"]

_CHUNK = 1024


@torch.no_grad()
def class_dispersion(embeddings: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Largest distance between two samples of each class (Def. 3.1).

    Args:
        embeddings: (N, d) features of a data set.
        labels: (N,) integers in [0, num_classes).
        num_classes: C.

    Returns:
        (C,) in units of the feature space; 0 for a class of one sample, NaN for a class without any.

    Raises:
        InvalidArgumentError: wrong shapes, an empty set, or labels outside [0, num_classes).
    """
    check_matrix("embeddings", embeddings)
    check_labels("labels", labels, num_classes, embeddings.shape[0])
    (embeddings,) = widen(embeddings)
    dispersion = embeddings.new_full((num_classes,), torch.nan)
    for c in labels.unique().tolist():
        dispersion[c] = _diameter(embeddings[labels == c])
    return dispersion


@torch.no_grad()
def class_margin(embeddings: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Smallest distance of a sample of each class to a decision boundary of that class (Def. 5.1).

    As in the paper the distance has no sign: a sample on the wrong side counts as far as it lies from the boundary.
    :func:`noiseproof.functional.signed_distances` tells the side.

    Args:
        embeddings: (N, d) features of a data set.
        labels: (N,) integers in [0, C).
        weight: (C, d) rows of the softmax layer.
        bias: (C,) or None.

    Returns:
        (C,) in units of the feature space; NaN for a class without samples.

    Raises:
        InvalidArgumentError: wrong shapes, an empty set, or labels outside [0, C).
    """
    check_matrix("embeddings", embeddings)
    check_labels("labels", labels, weight.shape[0], embeddings.shape[0])
    nearest = torch.cat(
        [
            signed_distances(points, classes, weight, bias).abs().amin(1)
            for points, classes in zip(embeddings.split(_CHUNK), labels.split(_CHUNK), strict=True)
        ]
    )
    margins = nearest.new_full((weight.shape[0],), torch.inf).scatter_reduce(0, labels.long(), nearest, "amin")
    return margins.masked_fill(margins.isinf(), torch.nan)


def _diameter(points: Tensor) -> Tensor:
    """Largest pairwise distance of (N, d) points, in memory N times a chunk."""
    largest = [
        torch.cdist(chunk, points, compute_mode="donot_use_mm_for_euclid_dist").amax()
        for chunk in points.split(_CHUNK)
    ]
    return torch.stack(largest).amax()
