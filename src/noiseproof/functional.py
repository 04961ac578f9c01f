"""The terms of the losses as pure functions (arXiv 2405.18499, Eq. 8 to 12; two that draw views together).

All work on whole batches without a loop over classes, in memory N·C + C·d, and differentiate with respect to every
floating argument. Arithmetic is float32 or wider: float16 and bfloat16 arguments are widened first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from noiseproof.checks import check_labels, check_matrix, check_range
from noiseproof.errors import InvalidArgumentError
from noiseproof.partition import Partition

__all__ = ["compactness", "consistency", "margin", "regularisation", "signed_distances", "stability"]

P = ParamSpec("P")
R = TypeVar("R")

# Squared distance of two rows over the sum of their squared lengths, from which on float64 tells them apart for sure.
_SAME_ROWS = 1e-14
_CLASSES_AT_ONCE = 2048


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` with autocast off, so that no product inside is rounded to a 16-bit type."""

    @functools.wraps(function)
    def wide(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(arg.device.type for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return wide


@without_autocast
def compactness(embeddings: Tensor, labels: Tensor, centroids: Tensor, delta_v: float) -> Tensor:
    """Hinged squared distance of every sample to the centroid of its class (Eq. 8; on noisy features Eq. 12).

    (1/|C_B|) Σ_c (1/|C_c^B|) Σ_x [‖m_c − q(x)‖ − δ_v]₊²

    Args:
        embeddings: (N, d) features q(x), or those of noisy inputs.
        labels: (N,) integers in [0, C).
        centroids: (C, d) class centroids m_c.
        delta_v: radius δ_v ≥ 0 around a centroid inside which a sample costs nothing.

    Returns:
        A 0-d tensor ≥ 0. Its gradient is 0 for a feature that lies on its centroid.

    Raises:
        InvalidArgumentError: wrong shapes, an empty batch, labels outside [0, C), or a negative ``delta_v``.
    """
    check_matrix("embeddings", embeddings)
    check_matrix("centroids", centroids, embeddings.shape[1])
    check_labels("labels", labels, centroids.shape[0], embeddings.shape[0])
    check_range("delta_v", delta_v, 0)
    embeddings, centroids = widen(embeddings, centroids)
    batch = Partition(labels, centroids.shape[0], embeddings.dtype)
    return compactness_of(batch, embeddings, batch.rows(centroids), delta_v)


def compactness_of(batch: Partition, embeddings: Tensor, own: Tensor, delta_v: float) -> Tensor:
    """Eq. 8 on a batch that is partitioned already; ``own`` (N, d) is the centroid of every sample's class."""
    distances = torch.linalg.vector_norm(embeddings - own, dim=1)
    return batch.mean_over_classes(F.relu(distances - delta_v).square())


@without_autocast
def margin(
    centroids: Tensor, weight: Tensor, bias: Tensor | None, delta_d: float, present: Tensor | None = None
) -> Tensor:
    """Hinged distance of every centroid to its nearest decision boundary (Eq. 9).

    (1/|C_B|) Σ_c max_{i≠c} [δ_d + (z_i − z_c) / ‖W_i − W_c‖]₊ with z = W m_c + b, which is Eq. 9 without the kink
    that its |·| and sign make on the boundary. Where two rows of W coincide there is no boundary: the quotient is
    taken as 0, with gradient 0.

    Args:
        centroids: (C, d) class centroids m_c.
        weight: (C, d) rows W_c of the softmax layer.
        bias: (C,) or None for a layer without one.
        delta_d: distance δ_d ≥ 0 to every boundary from which on a centroid costs nothing.
        present: (C,) of bool, the classes C_B to average over; None for all.

    Returns:
        A 0-d tensor ≥ 0; 0 where no class is present.

    Raises:
        InvalidArgumentError: wrong shapes, fewer than two classes, or a negative ``delta_d``.
    """
    num_classes = weight.shape[0]
    _check_head(weight, bias, centroids.shape[-1])
    check_matrix("centroids", centroids)
    if centroids.shape[0] != num_classes:
        raise InvalidArgumentError(f"centroids has {centroids.shape[0]} rows, but weight has {num_classes}")
    if present is not None and present.shape != (num_classes,):
        raise InvalidArgumentError(f"present must have shape ({num_classes},), got {tuple(present.shape)}")
    check_range("delta_d", delta_d, 0)
    centroids, weight, bias = widen(centroids, weight, bias_or_zero(weight, bias))
    classes = torch.arange(num_classes, device=weight.device)
    hinges = margin_hinges(centroids, classes, weight, bias, delta_d)
    return _mean_over(hinges, present)


def margin_hinges(points: Tensor, classes: Tensor, weight: Tensor, bias: Tensor, delta_d: float) -> Tensor:
    """max_{i≠c} [δ_d + (z_i − z_c) / ‖W_i − W_c‖]₊ for each of R points (R, d) of the given classes (R,): (R,).

    The maximum is attained at one boundary a point. It is looked for without a graph; only the distance to it is
    differentiated, so the backward pass costs R·d instead of R·C·d.
    """
    nearest = _nearest_boundary(points.detach(), classes, weight.detach(), bias.detach())
    normal = F.embedding(nearest, weight) - F.embedding(classes, weight)
    gap = (normal * points).sum(1) + (bias[nearest] - bias[classes])
    return F.relu(delta_d + _over_norm(gap, torch.linalg.vector_norm(normal, dim=1)))


@without_autocast
def signed_distances(points: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Distances to the decision boundaries of the own class, positive on its side (Eq. 10 without its absolute value).

    Args:
        points: (N, d) features or centroids.
        labels: (N,) their classes c in [0, C).
        weight: (C, d) rows of the softmax layer.
        bias: (C,) or None.

    Returns:
        (N, C): entry (n, i) is (z_c − z_i) / ‖W_c − W_i‖, in units of the feature space. The own column is +inf (a
        class has no boundary with itself), so that ``.amin(1)`` is the margin of each point. Where two rows of W
        coincide there is no boundary and the entry is 0.

    Raises:
        InvalidArgumentError: wrong shapes, an empty batch, or labels outside [0, C).
    """
    check_matrix("points", points)
    _check_head(weight, bias, points.shape[1])
    check_labels("labels", labels, weight.shape[0], points.shape[0])
    points, weight, bias = widen(points, weight, bias_or_zero(weight, bias))
    labels = labels.long()
    logits = F.linear(points, weight, bias)
    gaps = logits.gather(1, labels.unsqueeze(1)) - logits
    distances = _over_norm(gaps, _row_distances(F.embedding(labels, weight), weight))
    return distances.scatter(1, labels.unsqueeze(1), torch.inf)


@without_autocast
def regularisation(centroids: Tensor, present: Tensor | None = None) -> Tensor:
    """(1/|C_B|) Σ_{c in C_B} ‖m_c‖ (Eq. 11), with gradient 0 for a centroid at the origin.

    Args:
        centroids: (C, d).
        present: (C,) of bool, the classes C_B; None for all.

    Returns:
        A 0-d tensor ≥ 0.
    """
    check_matrix("centroids", centroids)
    (centroids,) = widen(centroids)
    return _mean_over(torch.linalg.vector_norm(centroids, dim=1), present)


@without_autocast
def stability(embeddings: Tensor, noisy_embeddings: Tensor) -> Tensor:
    """Mean of ‖f(x) − f(x + ε)‖ over a batch: the regulariser of stability training (§7.1; Zheng et al. 2016).

    Args:
        embeddings: (N, d) features of the clean inputs.
        noisy_embeddings: (N, d) features of their noisy versions.

    Returns:
        A 0-d tensor ≥ 0. Its gradient is 0 for a pair that coincides.
    """
    check_matrix("embeddings", embeddings)
    _check_same_shape("embeddings", embeddings, "noisy_embeddings", noisy_embeddings)
    embeddings, noisy_embeddings = widen(embeddings, noisy_embeddings)
    distances: Tensor = torch.linalg.vector_norm(embeddings - noisy_embeddings, dim=1)
    return distances.mean()


@without_autocast
def consistency(logits: Tensor, noisy_logits: Tensor) -> Tensor:
    """Mean of KL(p(x) ‖ p(x + ε)) over a batch, p(x) held constant: noisy inputs are to be answered as clean ones are.

    (1/N) Σ_x Σ_c p_c(x) [ln p_c(x) − ln p_c(x + ε)] with p = softmax(z). The divergence is that of stability training
    (Zheng et al. 2016); that no gradient goes to the clean answers, so that they are not drawn to worse ones, is from
    virtual adversarial training (Miyato et al. 2018).

    Args:
        logits: (N, C) of the clean inputs.
        noisy_logits: (N, C) of their noisy versions.

    Returns:
        A 0-d tensor ≥ 0, in nats.

    Raises:
        InvalidArgumentError: no matrices of the same shape, or an empty batch.
    """
    check_matrix("logits", logits)
    _check_same_shape("logits", logits, "noisy_logits", noisy_logits)
    logits, noisy_logits = widen(logits.detach(), noisy_logits)
    return F.kl_div(noisy_logits.log_softmax(1), logits.log_softmax(1), reduction="batchmean", log_target=True)


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in their widest common type, at least float32."""
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return tuple(tensor.to(dtype) for tensor in tensors)


def bias_or_zero(weight: Tensor, bias: Tensor | None) -> Tensor:
    """The bias of a softmax layer, zero for a layer without one: (C,)."""
    return weight.new_zeros(weight.shape[0]) if bias is None else bias


@torch.no_grad()
def _nearest_boundary(points: Tensor, classes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return argmax_{i≠c} (z_i − z_c) / ‖W_i − W_c‖ for points (R, d) of ``classes`` (R,): (R,).

    Boundaries are looked at a block of classes at a time, so that what is in hand stays small.
    """
    own_rows = F.embedding(classes, weight)
    own_logits = ((points * own_rows).sum(1) + bias[classes]).unsqueeze(1)
    found: list[tuple[Tensor, Tensor]] = []
    for start in range(0, weight.shape[0], _CLASSES_AT_ONCE):
        block = slice(start, start + _CLASSES_AT_ONCE)
        gaps = F.linear(points, weight[block], bias[block]).sub_(own_logits)
        quotients = gaps.mul_(_inverse_row_distances(own_rows, weight[block]))
        others = torch.arange(start, start + quotients.shape[1], device=classes.device)
        largest, place = quotients.masked_fill_(others == classes.unsqueeze(1), -torch.inf).max(1)
        found.append((largest, place + start))
    if len(found) == 1:
        return found[0][1]
    largest, places = (torch.stack(each, 1) for each in zip(*found, strict=True))
    return places.gather(1, largest.argmax(1, keepdim=True)).squeeze(1)


def _inverse_row_distances(rows: Tensor, weight: Tensor) -> Tensor:
    """1 / ‖W_r − W_i‖ of (R, d) rows to all of (C, d): (R, C), 0 where they coincide.

    By ‖W_r‖² + ‖W_i‖² − 2 W_r·W_i, which is a matrix product, many times faster than distance by distance. It cancels
    where rows are close, so that float32 rows are multiplied in float64: what is lost then lies below what tells one
    float32 row from another, and rows closer than that count as the same. Float64 rows, and devices without float64,
    take the slow way.
    """
    if weight.dtype != torch.float32 or weight.device.type == "mps":
        distances = _row_distances(rows, weight)
        return distances.reciprocal().masked_fill(distances == 0, 0)
    wide, others = rows.double(), weight.double()
    lengths = wide.square().sum(1, keepdim=True) + others.square().sum(1)
    squared = torch.addmm(lengths, wide, others.T, alpha=-2)
    same = squared <= lengths.mul_(_SAME_ROWS)
    return squared.float().rsqrt_().masked_fill_(same, 0)


def _mean_over(per_class: Tensor, present: Tensor | None) -> Tensor:
    """Mean of (C,) values over the classes present; all, where ``present`` is None."""
    if present is None:
        return per_class.mean()
    return (per_class * present).sum() / present.sum().clamp_min(1)


def _over_norm(numerator: Tensor, norm: Tensor) -> Tensor:
    """``numerator / norm``, and 0 with gradient 0 where the norm is 0."""
    nothing = norm == 0
    return (numerator / norm.masked_fill(nothing, 1)).masked_fill(nothing, 0)


def _row_distances(rows: Tensor, weight: Tensor) -> Tensor:
    """‖W_r − W_i‖ of (R, d) rows to all of (C, d), exactly 0 for equal rows (no ‖a‖² + ‖b‖² − 2ab cancellation)."""
    return torch.cdist(rows, weight, compute_mode="donot_use_mm_for_euclid_dist")


def _check_head(weight: Tensor, bias: Tensor | None, width: int) -> None:
    check_matrix("weight", weight, width)
    if weight.shape[0] < 2:
        raise InvalidArgumentError(f"weight must have at least 2 rows (classes), got {weight.shape[0]}")
    if bias is not None and bias.shape != (weight.shape[0],):
        raise InvalidArgumentError(f"bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}")


def _check_same_shape(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    if other.shape != value.shape:
        raise InvalidArgumentError(
            f"{other_name} must have the shape of {name}, {tuple(value.shape)}, got {tuple(other.shape)}"
        )
