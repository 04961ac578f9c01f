"""What the choice of δ_v and δ_d depends on, measured on a model's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from noiseproof import functional, seeding
from noiseproof.analysis.theory.features import centroids_of, distances_to, embed_all, head_of
from noiseproof.analysis.theory.separation import Separation, separation_of
from noiseproof.data import LabelledDataset, thinned
from noiseproof.data.dataset import to_unit_interval
from noiseproof.models import FeatureClassifier
from noiseproof.perturbations import Perturbation
from noiseproof.progress import ProgressReporter
from noiseproof.suggesting.packing import largest_delta_d

__all__ = ["FeatureFacts", "feature_facts"]

Weights = Mapping[str, float]

_LEAST = 1e-12  # the propositions are about lengths above 0


@dataclass(frozen=True, eq=False)
class FeatureFacts:
    """Measured on N samples, with the class means as centroids. Lengths are in units of the feature space.

    Attributes:
        samples: N.
        classes: C, of those that have samples.
        dimensions: d.
        spread: root mean square distance of the centroids from their mean.
        norm: mean ‖m_c‖.
        within: median distance of a sample to its centroid.
        within_rms: root mean square of it.
        boundary: median over classes of the distance of the centroid to its nearest boundary, < 0 on the wrong side.
        largest_delta_d: what no arrangement of centroids of this extent can exceed.
        displacement: by how much noise moves 95 % of the features at most; None where there is no noise.
        separation: the premises and conclusions of Prop. 5.1 and 5.2 with the present δ_v and δ_d.
        pulls: by part of the loss, by how much its weighted value grows when all features are made larger, per unit of
            relative growth: those below 0 spread the features, those above draw them together.
    """

    samples: int
    classes: int
    dimensions: int
    spread: float
    norm: float
    within: float
    within_rms: float
    boundary: float
    largest_delta_d: float
    displacement: float | None
    separation: Separation
    pulls: Mapping[str, float]


def feature_facts(
    model: FeatureClassifier,
    data: LabelledDataset,
    *,
    weights: Weights,
    noise: Perturbation | None = None,
    limit: int = 2000,
    progress: ProgressReporter | None = None,
) -> FeatureFacts:
    """Measure a model's features.

    Args:
        model: run where it is, in evaluation mode.
        data: the training samples, which the propositions are about, or others.
        weights: ``delta_v``, ``delta_d``, ``alpha``, ``beta``, ``gamma_reg`` and ``lambda_noisy`` of the loss.
        noise: whose displacement of features is measured.
        limit: so many samples, evenly spread: time grows with its square.
        progress: where to report.

    Raises:
        InvalidArgumentError, DataError: see :func:`noiseproof.theory.separation`.
    """
    samples = thinned(data, limit)
    found = embed_all(model, samples, title="features", progress=progress)
    weight, bias = head_of(model)
    labels, q = found.labels, found.embeddings
    delta_v, delta_d = (max(weights[name], _LEAST) for name in ("delta_v", "delta_d"))
    separation = separation_of(q, labels, weight, bias, delta_v=delta_v, delta_d=delta_d)
    m = centroids_of(q, labels, len(weight))
    there = torch.from_numpy(separation.sizes) > 0
    centred = torch.linalg.vector_norm(m[there] - m[there].mean(0), dim=1)
    within = distances_to(m, q, labels)
    spread, count = float(centred.square().mean().sqrt()), int(there.sum())
    noisy = None if noise is None else _noisy_features(model, samples, noise, progress)
    return FeatureFacts(
        len(samples),
        count,
        q.shape[1],
        spread,
        float(torch.linalg.vector_norm(m[there], dim=1).mean()),
        float(within.median()),
        float(within.square().mean().sqrt()),
        float(torch.from_numpy(separation.boundary)[there].median()),
        largest_delta_d(count, q.shape[1], spread, float(centred.max())) if count > 1 else 0.0,
        None if noisy is None else float(torch.linalg.vector_norm(noisy - q, dim=1).quantile(0.95)),
        separation,
        _pulls(q, noisy, labels, m.nan_to_num(), there, weight, bias, weights),
    )


def _noisy_features(
    model: FeatureClassifier, data: LabelledDataset, noise: Perturbation, progress: ProgressReporter | None
) -> Tensor:
    inputs = torch.stack([to_unit_interval(data[place][0]) for place in range(len(data))])
    noisy = noise(inputs, seeding.generator(0, "suggest"))
    return embed_all(model, (noisy, data.labels), title="noisy features", progress=progress).embeddings


def _pulls(
    q: Tensor, noisy: Tensor | None, labels: Tensor, m: Tensor, there: Tensor, weight: Tensor, bias: Tensor | None,
    weights: Weights,
) -> dict[str, float]:  # fmt: skip
    """d/dν at ν = 1 of every part of Eq. 13, weighted, on the features that T_ν of Prop. 5.3 gives."""
    nu = torch.ones((), dtype=q.dtype, requires_grad=True)
    scaled = None if bias is None else nu * bias
    delta_v = weights["delta_v"]
    parts = {
        "compactness": weights["alpha"] * functional.compactness(nu * q, labels, nu * m, delta_v),
        "margin": weights["beta"] * functional.margin(nu * m, weight, scaled, weights["delta_d"], there),
        "regularisation": weights["gamma_reg"] * functional.regularisation(nu * m, there),
    }
    if noisy is not None:
        aligned = functional.compactness(nu * noisy, labels, nu * m, delta_v)
        parts["alignment"] = weights["lambda_noisy"] * aligned
    return {name: float(torch.autograd.grad(part, nu)[0]) for name, part in parts.items()}
