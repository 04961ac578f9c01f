"""Whether new samples fall into the sphere of their class, and what Theorem 6.2 says about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseproof.analysis.theory.features import Features, centroids_of, distances_to, embed_all
from noiseproof.analysis.theory.wording import percent, span
from noiseproof.checks import check_labels, check_matrix, check_range
from noiseproof.evaluation.blocks import Evaluable
from noiseproof.evaluation.certification import lower_confidence_bound
from noiseproof.models import FeatureClassifier
from noiseproof.partition import Partition
from noiseproof.progress import ProgressReporter

__all__ = ["Generalisation", "complexity", "generalisation", "generalisation_of", "margin_loss"]

Array = NDArray[np.float64]


def margin_loss(distances: Tensor, radius: float, rho: float) -> Tensor:
    """Φ_ρ(r² − ‖f(x) − m‖²) (Eq. 17, 18): 0 deep inside the sphere, 1 outside, linear in between.

    Args:
        distances: (N,) ‖f(x) − m‖.
        radius: r > 0.
        rho: ρ in (0, r²).

    Returns:
        (N,), in [0, 1].
    """
    return (1 - (radius**2 - distances.square()) / rho).clamp(0, 1)


def complexity(feature_norm: Array, centroid_norm: Array, sizes: NDArray[np.int64], rho: float) -> Array:
    """(2/ρ)(Λ² + 2RΛ + R²/√N), the second term of Eq. 19: (C,) each."""
    term: Array = 2 / rho * (feature_norm**2 + 2 * centroid_norm * feature_norm + centroid_norm**2 / np.sqrt(sizes))
    return term


@dataclass(frozen=True, eq=False)
class Generalisation:
    """Theorem 6.2 for each class, beside the mapping error that held-out samples show. Absent classes are NaN.

    Attributes:
        radius: r, in units of the feature space.
        rho: ρ in (0, r²).
        confidence: δ, the probability that Eq. 19 fails.
        own_centroids: whether the centroids are the class means of the training samples; else they were given.
        sizes: (C,) training samples N of each class.
        test_sizes: (C,) held-out samples.
        empirical: (C,) R̂', the first term of Eq. 19 (Eq. 17, 18), on the training samples, in [0, 1].
        feature_norm: (C,) Λ, the largest ‖f(x)‖ met on samples of both sets.
        centroid_norm: (C,) R = ‖m‖.
        complexity: (C,) (2/ρ)(Λ² + 2RΛ + R²/√N), the second term.
        deviation: (C,) 3 √(log(2/δ) / 2N), the third term.
        train_error: (C,) share of training samples outside the sphere, ‖f(x) − m‖ > r.
        test_error: (C,) share of held-out samples outside it: the mapping error that Eq. 19 bounds, measured.
        test_upper: (C,) bound above the mapping error from the held-out samples alone, exceeded with probability δ
            (Clopper & Pearson 1934); 1 for a class without held-out samples.
    """

    radius: float
    rho: float
    confidence: float
    own_centroids: bool
    sizes: NDArray[np.int64]
    test_sizes: NDArray[np.int64]
    empirical: Array
    feature_norm: Array
    centroid_norm: Array
    complexity: Array
    deviation: Array
    train_error: Array
    test_error: Array
    test_upper: Array

    @property
    def bound(self) -> Array:
        """(C,) the right side of Eq. 19."""
        total: Array = self.empirical + self.complexity + self.deviation
        return total

    @property
    def vacuous(self) -> NDArray[np.bool_]:
        """(C,) whether the bound is 1 or more, which every probability is below; False for absent classes."""
        return self.bound >= 1

    @property
    def radius_needed(self) -> Array:
        """(C,) √(2(Λ² + 2RΛ + R²/√N) / (1 − 3√(log(2/δ)/2N))): up to this r the last two terms make 1 or more.

        For a class mean it is larger than Λ + R. It is inf where N is so small that the third term alone is 1 or more.
        """
        room = np.maximum(1 - self.deviation, 0)
        with np.errstate(divide="ignore"):
            radius: Array = np.sqrt(self.complexity * self.rho / room)
        return radius

    @property
    def radius_trivial(self) -> Array:
        """(C,) Λ + R: from this r on every feature with ‖f(x)‖ ≤ Λ is in the sphere, and there is nothing to bound."""
        return self.feature_norm + self.centroid_norm

    def summary(self) -> list[tuple[str, str]]:
        """What was found, in plain words."""
        c = np.flatnonzero(self.sizes)
        vacuous = int(self.vacuous.sum())
        return [
            (
                "Sphere",
                f"r = {self.radius:g}, ρ = {self.rho:g}, the bound holds with probability {1 - self.confidence:g}",
            ),
            ("Centroids", "class means of the training samples" if self.own_centroids else "given"),
            ("Outside the sphere, training samples", percent(np.average(self.train_error[c], weights=self.sizes[c]))),
            ("Outside the sphere, held-out samples, by class", span(self.test_error)),
            ("Bounded from held-out samples alone, by class", span(self.test_upper[c])),
            ("Eq. 19, first term (margin error)", span(self.empirical)),
            ("Eq. 19, second term (complexity)", span(self.complexity)),
            ("Eq. 19, third term (deviation)", span(self.deviation)),
            ("Eq. 19, bound", f"{span(self.bound)}; 1 or more, so without meaning, for {vacuous} of {len(c)} classes"),
            ("Radius below which the last two terms make 1 or more", span(self.radius_needed)),
            ("Radius Λ + R from which no feature can be outside", span(self.radius_trivial)),
        ]


def generalisation(
    model: FeatureClassifier,
    train: Evaluable,
    test: Evaluable,
    *,
    radius: float,
    rho: float,
    confidence: float = 0.05,
    centroids: Tensor | None = None,
    limit: int | None = None,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> Generalisation:
    """Compute Theorem 6.2 for each class, and the mapping error that it bounds on held-out samples.

    The bound is never of use: where it is below 1, it bounds what is 0 by assumption.

    - Where r ≤ Λ + R it is 1 or more, whatever the features, m, ρ and N. For Φ_ρ(h) ≥ 1 − (r² − ‖f − m‖²)/ρ, and
      r² − ‖f − m‖² ≤ 2Λ² + 4RΛ: it is at most (Λ + R)² − (R − Λ)² = 4RΛ if R ≥ Λ, for then ‖f − m‖ ≥ R − Λ, and at
      most (Λ + R)² = Λ² + 2RΛ + R² if R ≤ Λ. So the first two terms of Eq. 19 make 1 or more together.
    - Where r > Λ + R the sphere contains every feature with ‖f(x)‖ ≤ Λ, hence all that the theorem speaks of.

    The reason is that f ranges over all measurable functions, whose Rademacher complexity does not go to 0 with N.
    ``vacuous`` tells where the bound is 1 or more, ``radius_trivial`` is Λ + R, and ``test_upper`` is what can be said
    instead, from held-out samples.

    Taking Λ and R from the samples is to the bound's advantage: the theorem wants both fixed before they are seen, and
    Λ to hold for all inputs.

    Args:
        model: run in evaluation mode, without gradients; on ``device`` afterwards, otherwise as it was.
        train: the samples S of the theorem; as for :func:`noiseproof.evaluate`.
        test: held-out samples.
        radius: r > 0 of the sphere, in units of the feature space.
        rho: ρ in (0, r²), the margin of Eq. 17.
        confidence: δ in (0, 1), the probability that Eq. 19 fails.
        centroids: (C, d) the centres m; None for the class means of the training samples.
        limit: only so many samples of each set, evenly spread; None for all.
        device: where to run; None for where the model is.
        progress: where to report.

    Raises:
        InvalidArgumentError: a number outside its range, centroids of another shape, or features that are not finite.
        DataError: see :func:`noiseproof.evaluate`; a label outside the model's classes.
    """
    _check(radius, rho, confidence)
    seen, unseen = (
        embed_all(model, each, title="generalisation", limit=limit, device=device, progress=progress)
        for each in (train, test)
    )
    return generalisation_of(
        seen, unseen, model.num_classes, radius=radius, rho=rho, confidence=confidence, centroids=centroids
    )


def generalisation_of(
    train: Features,
    test: Features,
    num_classes: int,
    *,
    radius: float,
    rho: float,
    confidence: float = 0.05,
    centroids: Tensor | None = None,
) -> Generalisation:
    """:func:`generalisation` of features that are there already.

    Args:
        train: features and labels of the training samples.
        test: those of held-out samples. Classes that are in ``test`` alone are NaN where no centroids are given.
        num_classes: C.
        radius: r > 0.
        rho: ρ in (0, r²).
        confidence: δ in (0, 1).
        centroids: (C, d); None for the class means of ``train``.

    Raises:
        InvalidArgumentError: wrong shapes, labels outside [0, C), or a number outside its range.
    """
    _check(radius, rho, confidence)
    for each in (train, test):
        check_matrix("embeddings", each.embeddings, train.embeddings.shape[1])
        check_labels("labels", each.labels, num_classes, each.embeddings.shape[0])
    m = centroids_of(train.embeddings, train.labels, num_classes, centroids)
    seen, unseen = (Partition(each.labels, num_classes, torch.float64) for each in (train, test))
    near, far = (distances_to(m, each.embeddings, each.labels) for each in (train, test))
    norms = torch.linalg.vector_norm(torch.cat([train.embeddings, test.embeddings]), dim=1)
    feature_norm = norms.new_zeros(num_classes).scatter_reduce(
        0, torch.cat([train.labels, test.labels]), norms, "amax"
    )
    absent = ~seen.present
    sizes = seen.counts.long().numpy()
    outside = unseen.sum_by_class((far > radius).double()).long().tolist()
    upper = torch.tensor(
        [_upper(k, int(n), confidence) for k, n in zip(outside, unseen.counts, strict=True)], dtype=torch.float64
    )
    known = {
        "empirical": _mean(seen, margin_loss(near, radius, rho)),
        "feature_norm": feature_norm,
        "centroid_norm": torch.linalg.vector_norm(m, dim=1),
        "train_error": _mean(seen, (near > radius).double()),
        "test_error": _mean(unseen, (far > radius).double()).masked_fill(~unseen.present, torch.nan),
        "test_upper": upper,
    }
    arrays = {name: values.masked_fill(absent, torch.nan).numpy() for name, values in known.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        second = complexity(arrays["feature_norm"], arrays["centroid_norm"], sizes, rho)
        third = np.where(sizes > 0, 3 * np.sqrt(np.log(2 / confidence) / (2 * sizes)), np.nan)
    return Generalisation(
        radius=radius,
        rho=rho,
        confidence=confidence,
        own_centroids=centroids is None,
        sizes=sizes,
        test_sizes=unseen.counts.long().numpy(),
        complexity=second,
        deviation=third,
        **arrays,
    )


def _mean(classes: Partition, values: Tensor) -> Tensor:
    """Mean of (N,) values by class: (C,)."""
    return classes.mean_by_class(values.unsqueeze(1)).squeeze(1)


def _upper(errors: int, trials: int, alpha: float) -> float:
    """One-sided bound above a probability, from how often the event happened (Clopper & Pearson 1934)."""
    return 1 - lower_confidence_bound(trials - errors, trials, alpha) if trials else 1.0


def _check(radius: float, rho: float, confidence: float) -> None:
    check_range("radius", radius, 0, open_low=True)
    check_range("rho", rho, 0, radius**2, open_low=True, open_high=True)
    check_range("confidence", confidence, 0, 1, open_low=True, open_high=True)
