"""How far the features of two classes are apart at every layer, and what Theorem 6.3 says about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseproof import seeding
from noiseproof.analysis.layers import PENULTIMATE, layer_features, stages
from noiseproof.analysis.samples import select
from noiseproof.analysis.theory.features import (
    centroids_of,
    check_classifier,
    distances_to,
    embed_all,
    place_of,
)
from noiseproof.analysis.theory.jensen_shannon import jensen_shannon
from noiseproof.analysis.theory.wording import number, percent, span
from noiseproof.checks import check_labels, check_matrix, check_range, check_whole
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.evaluation.blocks import Evaluable
from noiseproof.models import FeatureClassifier
from noiseproof.models.modes import analysed
from noiseproof.partition import Partition
from noiseproof.progress import ProgressReporter, Silent

__all__ = ["Divergence", "LayerDivergence", "divergence", "divergence_of"]

Array = NDArray[np.float64]


class LayerDivergence(NamedTuple):
    """What was found at one layer.

    Attributes:
        layer: its name.
        mean: over pairs of classes, of the lower estimates, in nats.
        smallest: of any pair.
        above: share of the pairs with a bound whose estimate is at least that bound; NaN where no pair has one.
    """

    layer: str
    mean: float
    smallest: float
    above: float


@dataclass(frozen=True, eq=False)
class Divergence:
    """Theorem 6.3 on a data set: premise, bound, and lower estimates of what it bounds, for P pairs of classes.

    The theorem needs spheres that are disjoint: the proof uses it (G.1), though hypothesis (H) does not say so.
    Without it the theorem is wrong: where all features of all classes are one point, τ is 1 and every divergence 0.

    Attributes:
        delta_v: δ_v, radius of the spheres, in units of the feature space.
        own_centroids: whether the centroids are the class means of these samples; else they were given.
        sizes: (C,) samples of each class.
        inside: (C,) τ_y, share of the class's features within δ_v of its centroid, in [0, 1]; NaN for an absent class.
        closest: smallest distance of two centroids; the spheres are disjoint if it is more than 2δ_v.
        layers: names of the L layers; the last is ``"features"``, the penultimate features.
        pairs: (P, 2) classes y < y'.
        distances: (P,) ‖m_y − m_y'‖.
        estimates: (L, P) lower estimates of the Jensen-Shannon divergence, in nats.
        stderr: (L, P) their standard errors.
        folds: of the cross-fitting.
        seed: of the folds, and of the choice of pairs.
    """

    delta_v: float
    own_centroids: bool
    sizes: NDArray[np.int64]
    inside: Array
    closest: float
    layers: tuple[str, ...]
    pairs: NDArray[np.int64]
    distances: Array
    estimates: Array
    stderr: Array
    folds: int
    seed: int

    @property
    def tau(self) -> float:
        """τ of hypothesis (H), the smallest τ_y."""
        return float(np.nanmin(self.inside))

    @property
    def disjoint(self) -> bool:
        """Whether the spheres of all classes are disjoint, which the proof needs."""
        return self.closest > 2 * self.delta_v

    @property
    def bound(self) -> float | None:
        """(2τ − 1)²/2 in nats (Eq. 20), for all pairs; None where τ < 1/2 or the spheres are not disjoint."""
        return float(_bounds(np.array(self.tau))) if self.tau >= 0.5 and self.disjoint else None

    @property
    def sharp_bound(self) -> float | None:
        """log 2 − h(τ) with h(τ) = −τ log τ − (1 − τ) log(1 − τ), under the same conditions and never below Eq. 20.

        Whether Q lies in C(m_y, δ_v) is a function of Q, so by the data processing inequality the divergence is at
        least that of this bit, whose probabilities are ≥ τ and ≤ 1 − τ. Eq. 20 loses by Pinsker's inequality: at τ = 1
        it says 1/2, and the divergence is log 2 ≈ 0.693.
        """
        if self.bound is None:
            return None
        tau = self.tau
        return math.log(2) + sum(p * math.log(p) for p in (tau, 1 - tau) if p > 0)

    @property
    def pair_bounds(self) -> Array:
        """(P,) Eq. 20 for each pair as if there were no other classes; NaN where τ < 1/2 or the two spheres meet."""
        tau = self.inside[self.pairs].min(1)
        return np.where((tau >= 0.5) & (self.distances > 2 * self.delta_v), _bounds(tau), np.nan)

    def rows(self) -> list[LayerDivergence]:
        """One row per layer."""
        known = ~np.isnan(self.pair_bounds)
        return [
            LayerDivergence(
                layer,
                float(found.mean()),
                float(found.min()),
                float((found[known] >= self.pair_bounds[known]).mean()) if known.any() else math.nan,
            )
            for layer, found in zip(self.layers, self.estimates, strict=True)
        ]

    def summary(self) -> list[tuple[str, str]]:
        """What was found, in plain words."""
        bound, sharp = self.bound, self.sharp_bound
        reason = "τ < 1/2" if self.tau < 0.5 else "the spheres are not disjoint"
        bounded = int((~np.isnan(self.pair_bounds)).sum())
        return [
            ("Centroids", "class means of these samples" if self.own_centroids else "given"),
            (
                "τ, features within δ_v of their centroid",
                f"{number(self.tau)}, with δ_v = {self.delta_v:g}; by class {span(self.inside)}",
            ),
            (
                "Spheres disjoint",
                f"{'yes' if self.disjoint else 'no'}: nearest centroids {number(self.closest)}, 2δ_v "
                f"{number(2 * self.delta_v)}",
            ),
            ("Eq. 20, (2τ − 1)²/2", f"none, {reason}" if bound is None else f"{number(bound)} nats"),
            ("Sharper, log 2 − h(τ)", "none" if sharp is None else f"{number(sharp)} nats"),
            ("Pairs of classes to which the theorem applies", f"{bounded} of {len(self.pairs)}"),
            *(
                (
                    f"Divergence at {row.layer}, at least",
                    f"mean {number(row.mean)}, smallest {number(row.smallest)} nats"
                    + (f"; at or above Eq. 20 for {percent(row.above)} of these pairs" if bounded else ""),
                )
                for row in self.rows()
            ),
        ]


def divergence(
    model: FeatureClassifier,
    dataset: Evaluable,
    *,
    delta_v: float,
    layers: Sequence[str] | None = None,
    centroids: Tensor | None = None,
    pairs: int = 45,
    folds: int = 5,
    seed: int = 0,
    limit: int | None = None,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> Divergence:
    """Compare Theorem 6.3 with how far classes are apart at every layer; see :func:`jensen_shannon` for the estimates.

    They are estimates from below: one below the bound does not contradict the theorem. Intermediate features are
    averaged over positions first, which loses some of the divergence as well. By the data processing inequality an
    estimate at one layer holds for all layers before it, too.

    Args:
        model: run in evaluation mode, without gradients; on ``device`` afterwards, otherwise as it was.
        dataset: as for :func:`noiseproof.evaluate`, with ``folds`` samples or more of every class that it has.
        delta_v: radius δ_v > 0 of the spheres.
        layers: names as in ``model.named_modules()``; None for those that :func:`noiseproof.analysis.layers.stages`
            gives. The penultimate features are always added, as ``"features"``.
        centroids: (C, d) the centres; None for the class means of these samples.
        pairs: how many pairs of classes ≥ 1, by default all for up to ten classes; of more, a choice at random.
        folds: ≥ 2, of the cross-fitting.
        seed: of the folds and of the choice of pairs, ≥ 0.
        limit: only so many samples, evenly spread; None for all.
        device: where to run; None for where the model is.
        progress: where to report.

    Raises:
        InvalidArgumentError: a number outside its range, centroids of another shape, or features that are not finite.
        UnknownNameError: the model has no such layer.
        DataError: see :func:`noiseproof.evaluate`; fewer than two classes, or fewer than ``folds`` samples of one.
    """
    _check(delta_v, pairs, folds)
    check_classifier(model)
    samples = select(dataset, limit)
    found = embed_all(model, samples.data, title="divergence", device=device, progress=progress)
    _check_classes(found.labels, folds)
    return divergence_of(
        {**_pooled(model, samples.data, layers, device, progress), PENULTIMATE: found.embeddings},
        found.labels,
        model.num_classes,
        delta_v=delta_v,
        centroids=centroids,
        pairs=pairs,
        folds=folds,
        seed=seed,
        progress=progress,
    )


def divergence_of(
    features: Mapping[str, Tensor],
    labels: Tensor,
    num_classes: int,
    *,
    delta_v: float,
    centroids: Tensor | None = None,
    pairs: int = 45,
    folds: int = 5,
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> Divergence:
    """:func:`divergence` of features that are there already.

    Args:
        features: (N, …) of every layer by its name; the last ones are those of the penultimate layer, (N, d).
        labels: (N,) integers in [0, num_classes).
        num_classes: C.
        delta_v: δ_v > 0.
        centroids: (C, d); None for the class means of the penultimate features.
        pairs: how many pairs of classes, ≥ 1.
        folds: ≥ 2.
        seed: ≥ 0.
        progress: where to report.

    Raises:
        InvalidArgumentError: wrong shapes, labels outside [0, C), or a number outside its range.
        DataError: fewer than two classes, or fewer than ``folds`` samples of one.
    """
    _check(delta_v, pairs, folds)
    embeddings = list(features.values())[-1]
    for name, each in features.items():
        check_matrix(name, each)
        check_labels("labels", labels, num_classes, each.shape[0])
    _check_classes(labels, folds)
    m = centroids_of(embeddings, labels, num_classes, centroids)
    classes = Partition(labels, num_classes, torch.float64)
    inside = (distances_to(m, embeddings, labels) <= delta_v).double().unsqueeze(1)
    chosen = _choose_pairs(labels.unique().tolist(), pairs, seed)
    with (progress or Silent()).task("divergence", len(features) * len(chosen)) as task:
        estimates = []
        for values in features.values():
            for y, other in chosen:
                estimates.append(jensen_shannon(values[labels == y], values[labels == other], folds=folds, seed=seed))
                task.advance()
    table = np.array(estimates).reshape(len(features), len(chosen), 2)
    first, second = torch.tensor(chosen).T
    return Divergence(
        delta_v=delta_v,
        own_centroids=centroids is None,
        sizes=classes.counts.long().numpy(),
        inside=classes.mean_by_class(inside).squeeze(1).masked_fill(~classes.present, torch.nan).numpy(),
        closest=float(torch.pdist(m[classes.present]).min()),
        layers=tuple(features),
        pairs=np.array(chosen, dtype=np.int64),
        distances=torch.linalg.vector_norm(m[first] - m[second], dim=1).numpy(),
        estimates=table[..., 0],
        stderr=table[..., 1],
        folds=folds,
        seed=seed,
    )


def _pooled(
    model: FeatureClassifier,
    dataset: Evaluable,
    layers: Sequence[str] | None,
    device: torch.device | str | None,
    progress: ProgressReporter | None,
) -> dict[str, Tensor]:
    """Features of intermediate layers, averaged over positions: (N, C_l) each, in float64 on the CPU."""
    if isinstance(layers, str):
        raise InvalidArgumentError(f"layers must be a list of names, as in [{layers!r}]")
    names = [name for name in (stages(model) if layers is None else layers) if name != PENULTIMATE]
    if not names:
        return {}
    samples = select(dataset)
    where, dtype = place_of(model, device)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    with (
        (progress or Silent()).task("layers", len(samples.indices)) as task,
        analysed(model, where),
        torch.no_grad(),
    ):
        for block in samples:
            found = layer_features(model, block.inputs.to(where, dtype, copy=True), names)
            for name, part in parts.items():
                part.append(found[name].cpu().double())
            task.advance(len(block.labels))
    return {name: torch.cat(part) for name, part in parts.items()}


def _choose_pairs(classes: Sequence[int], count: int, seed: int) -> list[tuple[int, int]]:
    """``count`` pairs of different classes at random, in order; all where there are no more."""
    pairs = list(combinations(classes, 2))
    if len(pairs) <= count:
        return pairs
    generator = seeding.generator(seed, "divergence", "pairs")
    return [pairs[k] for k in sorted(torch.randperm(len(pairs), generator=generator)[:count].tolist())]


def _bounds(tau: Array) -> Array:
    """(2τ − 1)²/2 (Eq. 20)."""
    return (2 * tau - 1) ** 2 / 2


def _check(delta_v: float, pairs: int, folds: int) -> None:
    check_range("delta_v", delta_v, 0, open_low=True)
    check_whole("pairs", pairs, 1)
    check_whole("folds", folds, 2)


def _check_classes(labels: Tensor, folds: int) -> None:
    """Raise unless there are two classes, and enough samples of each that there is."""
    classes, counts = labels.unique(return_counts=True)
    if len(classes) < 2:
        raise DataError("a divergence is between two classes, but the data has samples of one only")
    if int(counts.min()) < folds:
        least = int(counts.argmin())
        raise DataError(
            f"class {int(classes[least])} has {int(counts[least])} samples, fewer than the {folds} folds: take more "
            "samples (limit) or fewer folds"
        )
