"""What a classifier makes of a data set: the features, logits and centroids that the theorems speak of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noiseproof.analysis.samples import select
from noiseproof.checks import check_matrix
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.blocks import Evaluable
from noiseproof.models import FeatureClassifier
from noiseproof.models.answers import check_known_labels, logits_of
from noiseproof.models.modes import analysed
from noiseproof.partition import Partition
from noiseproof.progress import ProgressReporter, Silent

__all__ = [
    "Features",
    "centroids_of",
    "check_classifier",
    "distances_to",
    "embed_all",
    "head_of",
    "place_of",
]


@dataclass(frozen=True, eq=False)
class Features:
    """N samples as a classifier sees them, on the CPU. Floating values are the model's own, widened to float64.

    Attributes:
        embeddings: (N, d) features q(x).
        logits: (N, C) logits z(x).
        labels: (N,) true classes.
    """

    embeddings: Tensor
    logits: Tensor
    labels: Tensor


def embed_all(
    model: FeatureClassifier,
    dataset: Evaluable,
    *,
    title: str,
    limit: int | None = None,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> Features:
    """Run a classifier over a data set, in evaluation mode and full precision, without gradients.

    Args:
        model: on ``device`` afterwards, otherwise as it was.
        dataset: as for :func:`noiseproof.evaluate`.
        title: what this is called where progress is reported.
        limit: only so many samples, evenly spread; None for all.
        device: where to run; None for where the model is.
        progress: where to report.

    Raises:
        InvalidArgumentError: no :class:`noiseproof.FeatureClassifier`, inputs that it does not take, or features or
            logits that are not finite.
        DataError: see :func:`noiseproof.evaluate`; a label outside the model's classes.
    """
    check_classifier(model)
    samples = select(dataset, limit)
    where, dtype = place_of(model, device)
    model.to(where)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with (
        (progress or Silent()).task(title, len(samples.indices)) as task,
        analysed(model, where),
        torch.no_grad(),
    ):
        for block in samples:
            check_known_labels(block.labels, model.num_classes)
            inputs = block.inputs.to(where, dtype, copy=True)  # some models work in place
            embeddings = logits_of(model.embed, inputs)  # with its checks, of the features too
            logits = logits_of(model.head, embeddings)
            parts.append((embeddings.cpu().double(), logits.cpu().double(), block.labels))
            task.advance(len(block.labels))
    return Features(*(torch.cat(part) for part in zip(*parts, strict=True)))


def head_of(model: FeatureClassifier) -> tuple[Tensor, Tensor | None]:
    """W (C, d) and b (C,) or None of the softmax layer, in float64 on the CPU."""
    bias: Tensor | None = model.head.bias
    return model.head.weight.detach().cpu().double(), None if bias is None else bias.detach().cpu().double()


def centroids_of(embeddings: Tensor, labels: Tensor, num_classes: int, given: Tensor | None = None) -> Tensor:
    """The class means of the features, or the centroids that were given, in float64 on the CPU.

    Args:
        embeddings: (N, d).
        labels: (N,) integers in [0, num_classes).
        num_classes: C.
        given: (C, d) to use in place of the means; None for these.

    Returns:
        (C, d); of the means, NaN for a class without samples.

    Raises:
        InvalidArgumentError: ``given`` of another shape, or not finite for a class that has samples.
    """
    classes = Partition(labels, num_classes, torch.float64)
    if given is None:
        return classes.mean_by_class(embeddings.double()).masked_fill(~classes.present.unsqueeze(1), torch.nan)
    check_matrix("centroids", given, embeddings.shape[1])
    centroids = given.detach().to("cpu", torch.float64, copy=True)
    if len(centroids) != num_classes:
        raise InvalidArgumentError(f"centroids has {len(centroids)} rows, but the model has {num_classes} classes")
    if not bool(centroids[classes.present].isfinite().all()):
        raise InvalidArgumentError("centroids holds NaN or infinite values for a class that has samples")
    return centroids


def distances_to(centroids: Tensor, embeddings: Tensor, labels: Tensor) -> Tensor:
    """‖q(x) − m_y‖ of every feature to the centroid of its class: (N,)."""
    distances: Tensor = torch.linalg.vector_norm(embeddings - centroids[labels], dim=1)
    return distances


def check_classifier(model: FeatureClassifier) -> None:
    """Raise unless ``model`` has features and a softmax layer, which the theorems are about."""
    if not isinstance(model, FeatureClassifier):
        raise InvalidArgumentError(
            f"model must be a FeatureClassifier, got {type(model).__name__}; FeatureClassifier.from_module makes one"
        )


def place_of(model: FeatureClassifier, device: torch.device | str | None) -> tuple[torch.device, torch.dtype]:
    """Where to run and in which type: the device asked for or that of the model, and the type of its parameters."""
    weight = model.head.weight
    return torch.device(device) if device is not None else weight.device, weight.dtype
