"""How compact classes are and how far from their boundaries, and what follows (Def. 3.1, 5.1, Prop. 5.1, 5.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseproof import functional
from noiseproof.analysis.theory.features import centroids_of, distances_to, embed_all, head_of
from noiseproof.analysis.theory.wording import number, percent, span
from noiseproof.checks import check_range
from noiseproof.evaluation.blocks import Evaluable
from noiseproof.geometry import class_dispersion, class_margin
from noiseproof.models import FeatureClassifier
from noiseproof.partition import Partition
from noiseproof.progress import ProgressReporter

__all__ = ["Claim", "Separation", "separation", "separation_of"]

_ROUNDING = 1e-9  # of δ: distances in float64 are not exact
_DISTANCES = 2**24  # how many are held at once


@dataclass(frozen=True, eq=False)
class Claim:
    """A statement "if the premise then the conclusion", looked at in K cases.

    Attributes:
        name: of the proposition.
        statement: the conclusion in symbols, with numbers.
        cases: (K,) classes, or (K, 2) pairs of classes.
        premise: (K,) of bool, where the premise is true.
        conclusion: (K,) of bool, where the conclusion is true, whether or not the premise is.
    """

    name: str
    statement: str
    cases: NDArray[np.int64]
    premise: NDArray[np.bool_]
    conclusion: NDArray[np.bool_]

    @property
    def checked(self) -> int:
        """In how many cases the premise is true, so that the conclusion has to be."""
        return int(self.premise.sum())

    @property
    def violations(self) -> int:
        """In how many cases the premise is true and the conclusion is not: 0, or the proposition is wrong."""
        return int((self.premise & ~self.conclusion).sum())

    @property
    def applies(self) -> bool:
        """Whether the premise is true in all cases, of which there are some: that of the proposition itself."""
        return len(self.premise) > 0 and bool(self.premise.all())

    def told(self) -> str:
        """What was found, in a sentence."""
        what = "pairs" if self.cases.ndim == 2 else "classes"
        premise = f"premise holds in {self.checked} of {len(self.premise)} {what}"
        if not self.checked:
            return f"{premise}, so nothing follows; {self.statement} in {int(self.conclusion.sum())} anyway"
        return f"{premise}, and {self.statement} fails in {self.violations} of them" + (
            "" if self.applies else f"; it is true in {int(self.conclusion.sum())} of all"
        )


@dataclass(frozen=True, eq=False)
class Separation:
    """How classes lie in the feature space. Lengths are in its units; a class without samples is NaN.

    Attributes:
        delta_v: δ_v of Eq. 8.
        delta_d: δ_d of Eq. 9.
        own_centroids: whether the centroids are the class means of these samples; else they were given.
        sizes: (C,) samples of each class.
        centroids: (C, d) the centroids m_c.
        dispersion: (C,) largest distance of two samples of the class (Def. 3.1).
        margin: (C,) smallest distance of a sample to a boundary of its class, on whichever side it lies (Def. 5.1).
        between: (C, C) smallest distance of a sample of one class to one of the other; NaN on the diagonal.
        compact: (C,) share of samples that L_compact costs nothing, ‖q − m_c‖ ≤ δ_v, in [0, 1].
        boundary: (C,) distance of the centroid to its nearest boundary (Eq. 10), negative on the wrong side.
        compactness_loss: L_compact over all samples (Eq. 8).
        margin_loss: L_margin over all classes present (Eq. 9).
    """

    delta_v: float
    delta_d: float
    own_centroids: bool
    sizes: NDArray[np.int64]
    centroids: NDArray[np.float64]
    dispersion: NDArray[np.float64]
    margin: NDArray[np.float64]
    between: NDArray[np.float64]
    compact: NDArray[np.float64]
    boundary: NDArray[np.float64]
    compactness_loss: float
    margin_loss: float

    @property
    def classes(self) -> NDArray[np.int64]:
        """The classes that have samples."""
        return np.flatnonzero(self.sizes)

    @property
    def all_compact(self) -> NDArray[np.bool_]:
        """(C,) whether L_compact = 0 on the class: every sample lies within δ_v of the centroid."""
        compact: NDArray[np.bool_] = self.compact == 1
        return compact

    @property
    def at_margin(self) -> NDArray[np.bool_]:
        """(C,) whether the class's term of L_margin is 0: the centroid is δ_d or more inside all its boundaries."""
        return self.boundary >= self.delta_d

    @property
    def dispersion_claim(self) -> Claim:
        """Prop. 5.1, class by class: L_compact = 0 implies dispersion(c) ≤ 2δ_v."""
        c, limit = self.classes, 2 * self.delta_v
        return Claim(
            "Proposition 5.1",
            f"dispersion ≤ 2δ_v = {number(limit)}",
            c,
            self.all_compact[c],
            self.dispersion[c] <= limit + _ROUNDING * self.delta_v,
        )

    @property
    def margin_claim(self) -> Claim:
        """Prop. 5.2.1, class by class: L_compact = L_margin = 0 and δ_d > δ_v imply margin(c) ≥ δ_d − δ_v."""
        c, limit = self.classes, self.delta_d - self.delta_v
        return Claim(
            "Proposition 5.2.1",
            f"margin ≥ δ_d − δ_v = {number(limit)}",
            c,
            (self.all_compact & self.at_margin)[c] & (limit > 0),
            self.margin[c] >= limit - _ROUNDING * self.delta_d,
        )

    @property
    def distance_claim(self) -> Claim:
        """Prop. 5.2.2, on each pair of classes as if there were no others.

        L_compact = L_margin = 0 and δ_d > 2δ_v imply that any two samples of one class are closer than any two of
        different classes. The proof shows more: the latter are at least 2(δ_d − δ_v) apart.
        """
        pairs = np.array([(i, j) for i in self.classes for j in self.classes if i < j], dtype=np.int64).reshape(-1, 2)
        i, j = pairs.T
        ready = self.all_compact & self.at_margin
        return Claim(
            "Proposition 5.2.2",
            "every distance within a class < every distance between classes",
            pairs,
            ready[i] & ready[j] & (self.delta_d > 2 * self.delta_v),
            np.maximum(self.dispersion[i], self.dispersion[j]) < self.between[i, j],
        )

    @property
    def claims(self) -> tuple[Claim, Claim, Claim]:
        """Propositions 5.1, 5.2.1 and 5.2.2."""
        return self.dispersion_claim, self.margin_claim, self.distance_claim

    @property
    def separated(self) -> bool:
        """What Prop. 5.2.2 says of the data set: the largest dispersion is below every distance between classes."""
        c = self.classes
        distances = self.between[np.ix_(c, c)]
        return len(c) > 1 and bool(self.dispersion[c].max() < np.nanmin(distances))

    def summary(self) -> list[tuple[str, str]]:
        """What was found, in plain words."""
        c = self.classes
        return [
            ("Radius δ_v and distance δ_d", f"{self.delta_v:g} and {self.delta_d:g}"),
            ("Centroids", "class means of these samples" if self.own_centroids else "given"),
            ("Samples within δ_v of their centroid", percent(np.average(self.compact[c], weights=self.sizes[c]))),
            ("L_compact (Eq. 8)", number(self.compactness_loss)),
            ("Classes whose centroid is δ_d inside its boundaries", f"{int(self.at_margin[c].sum())} of {len(c)}"),
            ("L_margin (Eq. 9)", number(self.margin_loss)),
            ("Dispersion by class", span(self.dispersion)),
            ("Margin by class", span(self.margin)),
            ("Distance between classes, nearest samples", span(self.between)),
            *((claim.name, claim.told()) for claim in self.claims),
            ("Every distance within a class is below every one between classes", "yes" if self.separated else "no"),
        ]


def separation(
    model: FeatureClassifier,
    dataset: Evaluable,
    *,
    delta_v: float,
    delta_d: float,
    centroids: Tensor | None = None,
    limit: int | None = None,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> Separation:
    """Look whether the premises and the conclusions of Propositions 5.1 and 5.2 hold on a data set.

    The propositions hold for any centroids; those that the model was trained with need not be the class means. Time
    is N² d: all pairs of samples are looked at.

    Args:
        model: run in evaluation mode, without gradients; on ``device`` afterwards, otherwise as it was.
        dataset: as for :func:`noiseproof.evaluate`. The propositions are about the one that was trained on.
        delta_v: radius δ_v > 0 of Eq. 8.
        delta_d: distance δ_d > 0 of Eq. 9.
        centroids: (C, d), such as ``DiscriminativeLoss.centroids``; None for the class means of these samples.
        limit: only so many samples, evenly spread; None for all.
        device: where to run; None for where the model is.
        progress: where to report.

    Raises:
        InvalidArgumentError: a number outside its range, centroids of another shape, or features that are not finite.
        DataError: see :func:`noiseproof.evaluate`; a label outside the model's classes.
    """
    check_range("delta_v", delta_v, 0, open_low=True)
    check_range("delta_d", delta_d, 0, open_low=True)
    found = embed_all(model, dataset, title="separation", limit=limit, device=device, progress=progress)
    return separation_of(
        found.embeddings, found.labels, *head_of(model), delta_v=delta_v, delta_d=delta_d, centroids=centroids
    )


@torch.no_grad()
def separation_of(
    embeddings: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    delta_v: float,
    delta_d: float,
    centroids: Tensor | None = None,
) -> Separation:
    """:func:`separation` of features that are there already.

    Args:
        embeddings: (N, d) features.
        labels: (N,) integers in [0, C).
        weight: (C, d) rows of the softmax layer, C ≥ 2.
        bias: (C,) or None.
        delta_v: δ_v > 0.
        delta_d: δ_d > 0.
        centroids: (C, d); None for the class means.

    Raises:
        InvalidArgumentError: wrong shapes, labels outside [0, C), or a number outside its range.
    """
    check_range("delta_v", delta_v, 0, open_low=True)
    check_range("delta_d", delta_d, 0, open_low=True)
    num_classes, embeddings = weight.shape[0], embeddings.double()
    dispersion = class_dispersion(embeddings, labels, num_classes)
    margin = class_margin(embeddings, labels, weight, bias)
    m = centroids_of(embeddings, labels, num_classes, centroids)
    classes = Partition(labels, num_classes, torch.float64)
    inside = (distances_to(m, embeddings, labels) <= delta_v).double().unsqueeze(1)
    boundary = functional.signed_distances(m, torch.arange(num_classes), weight, bias).amin(1)
    absent = ~classes.present
    return Separation(
        delta_v,
        delta_d,
        centroids is None,
        classes.counts.long().numpy(),
        m.numpy(),
        dispersion.numpy(),
        margin.numpy(),
        _between(embeddings, labels, num_classes).numpy(),
        classes.mean_by_class(inside).squeeze(1).masked_fill(absent, torch.nan).numpy(),
        boundary.masked_fill(absent, torch.nan).numpy(),
        float(functional.compactness(embeddings, labels, m.nan_to_num(), delta_v)),
        float(functional.margin(m.nan_to_num(), weight, bias, delta_d, classes.present)),
    )


def _between(embeddings: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Smallest distance of a sample of one class to a sample of another: (C, C), NaN where there is none."""
    nearest = embeddings.new_full((num_classes, num_classes), torch.inf)
    for c in labels.unique().tolist():
        later = labels > c  # every pair of classes once
        others, classes = embeddings[later], labels[later]
        for points in embeddings[labels == c].split(max(1, _DISTANCES // max(1, len(others)))):
            distances = torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist").amin(0)
            nearest[c].scatter_reduce_(0, classes, distances, "amin")
    nearest = torch.minimum(nearest, nearest.T)
    return nearest.masked_fill(nearest.isinf(), torch.nan)
