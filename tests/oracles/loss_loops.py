"""A plain transcription of the discriminative loss: one Python loop per sum, one branch per bracket.

It is slow on purpose and shares no code with the package. It takes float64 tensors and keeps the autograd graph, so
that gradients can be compared as well as values. Equation, proposition and definition numbers are the paper's.

Two conventions fill the gaps where the equations have no gradient or no value:

* the gradient of ``||v||`` at ``v = 0`` is 0;
* ``(z_i - z_c) / ||W_i - W_c||`` is 0, with gradient 0, when the two rows coincide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

STRATEGIES = ("naive", "momentum", "partial")


def norm(vector: Tensor) -> Tensor:
    """The Euclidean norm, with gradient 0 where the vector is 0."""
    if not bool((vector != 0).any()):
        return (0.0 * vector).sum()
    return (vector * vector).sum().sqrt()


def hinge(value: Tensor) -> Tensor:
    """``[value]_+``, with gradient 0 at and below 0."""
    return value if value.item() > 0 else 0.0 * value


def present_classes(labels: Tensor) -> list[int]:
    """The set C_B of the classes of a batch, in increasing order."""
    return sorted(set(labels.tolist()))


def members(labels: Tensor, c: int) -> list[int]:
    """The positions of the samples of class c."""
    return [n for n, label in enumerate(labels.tolist()) if label == c]


def class_means(embeddings: Tensor, labels: Tensor) -> dict[int, Tensor]:
    """Section 4.4, ``m_c^current``: the mean of the embeddings of each class of the batch."""
    means = {}
    for c in present_classes(labels):
        positions = members(labels, c)
        total = torch.zeros_like(embeddings[0])
        for n in positions:
            total = total + embeddings[n]
        means[c] = total / len(positions)
    return means


def compactness(embeddings: Tensor, labels: Tensor, centroids: Mapping[int, Tensor], delta_v: float) -> Tensor:
    """Eq. 8 with clean embeddings, Eq. 12 with noisy ones."""
    classes = present_classes(labels)
    over_classes = embeddings.new_zeros(())
    for c in classes:
        positions = members(labels, c)
        over_samples = embeddings.new_zeros(())
        for n in positions:
            over_samples = over_samples + hinge(norm(centroids[c] - embeddings[n]) - delta_v) ** 2
        over_classes = over_classes + over_samples / len(positions)
    return over_classes / len(classes)


def signed_distance(point: Tensor, c: int, i: int, weight: Tensor, bias: Tensor) -> Tensor:
    """Eq. 10 without its absolute value: the distance of a point to P_ci, positive where class c wins."""
    length = norm(weight[c] - weight[i])
    if length.item() == 0:
        return point.new_zeros(())
    z_c = (weight[c] * point).sum() + bias[c]
    z_i = (weight[i] * point).sum() + bias[i]
    return (z_c - z_i) / length


def signed_distances(points: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Eq. 10 without its absolute value for every sample and class; +inf in the sample's own column."""
    rows = []
    for n, c in enumerate(labels.tolist()):
        row = []
        for i in range(len(weight)):
            row.append(points.new_tensor(math.inf) if i == c else signed_distance(points[n], c, i, weight, bias))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def margin(centroids: Mapping[int, Tensor], weight: Tensor, bias: Tensor, delta_d: float) -> Tensor:
    """Eq. 9 over the classes that have an entry in ``centroids``; the rivals are all the other rows of the head.

    ``d(m_c, P_ci) * sign(z_i - z_c)`` is minus the signed distance.
    """
    over_classes = weight.new_zeros(())
    for c, centroid in centroids.items():
        worst = None
        for i in range(len(weight)):
            if i == c:
                continue
            entry = hinge(delta_d - signed_distance(centroid, c, i, weight, bias))
            if worst is None or entry.item() > worst.item():
                worst = entry
        over_classes = over_classes + worst
    return over_classes / len(centroids)


def regularisation(centroids: Mapping[int, Tensor]) -> Tensor:
    """Eq. 11 over the classes that have an entry in ``centroids``."""
    total = torch.zeros((), dtype=torch.float64)
    for centroid in centroids.values():
        total = total + norm(centroid)
    return total / len(centroids)


@dataclass
class LoopTerms:
    """The four unweighted terms, and their weighted sum of Eq. 7 and 13."""

    total: Tensor
    compactness: Tensor
    margin: Tensor
    regularisation: Tensor
    alignment: Tensor


class LoopLoss:
    """Eq. 7 to 13 with the three centroid strategies of section 4.4.

    ``stored`` holds ``m_c^{t-1}``, without gradient, for every class seen so far.
    """

    def __init__(
        self,
        delta_v: float = 0.5,
        delta_d: float = 5.0,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma_reg: float = 1e-3,
        lambda_noisy: float = 1.0,
        momentum: float = 0.9,
        centroids: str = "partial",
    ) -> None:
        assert centroids in STRATEGIES
        self.delta_v = delta_v
        self.delta_d = delta_d
        self.alpha = alpha
        self.beta = beta
        self.gamma_reg = gamma_reg
        self.lambda_noisy = lambda_noisy
        self.momentum = momentum
        self.strategy = centroids
        self.stored: dict[int, Tensor] = {}

    def momentum_centroids(self, current: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Section 4.4, ``m_c^momentum``; the plain mean for a class that was never seen before."""
        moved = {}
        for c, mean in current.items():
            if c in self.stored:
                moved[c] = self.momentum * self.stored[c].detach() + (1.0 - self.momentum) * mean
            else:
                moved[c] = mean
        return moved

    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        weight: Tensor,
        bias: Tensor,
        noisy_embeddings: Tensor | None = None,
        update: bool = True,
    ) -> LoopTerms:
        """One forward pass; ``update=False`` is the evaluation mode."""
        current = class_means(embeddings, labels)
        steady = current if self.strategy == "naive" else self.momentum_centroids(current)
        for_margin = steady if self.strategy == "momentum" else current

        compact = compactness(embeddings, labels, steady, self.delta_v)
        wide = margin(for_margin, weight, bias, self.delta_d)
        small = regularisation(steady)
        aligned = torch.zeros((), dtype=torch.float64)
        if noisy_embeddings is not None:
            aligned = compactness(noisy_embeddings, labels, steady, self.delta_v)
        clean = self.alpha * compact + self.beta * wide + self.gamma_reg * small  # Eq. 7
        total = clean + self.lambda_noisy * aligned  # Eq. 13

        if update:
            for c, centroid in steady.items():
                self.stored[c] = centroid.detach().clone()
        return LoopTerms(total, compact, wide, small, aligned)


def class_dispersion(embeddings: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Definition 3.1: the largest distance within a class; 0 for one sample, NaN for none."""
    values = []
    for c in range(num_classes):
        positions = members(labels, c)
        widest = 0.0 if positions else math.nan
        for a in positions:
            for b in positions:
                widest = max(widest, norm(embeddings[a] - embeddings[b]).item())
        values.append(widest)
    return torch.tensor(values, dtype=torch.float64)


def class_margin(embeddings: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Definition 5.1: the smallest unsigned distance of a class to its own boundaries; NaN for an absent class."""
    values = []
    for c in range(len(weight)):
        positions = members(labels, c)
        closest = math.inf if positions else math.nan
        for n in positions:
            for i in range(len(weight)):
                if i != c:
                    closest = min(closest, abs(signed_distance(embeddings[n], c, i, weight, bias).item()))
        values.append(closest)
    return torch.tensor(values, dtype=torch.float64)
