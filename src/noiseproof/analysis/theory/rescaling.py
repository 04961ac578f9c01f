"""The transformation T_ν, which scales margins and dispersions and keeps the predictions (Prop. 5.3, Cor. 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from noiseproof.analysis.samples import select
from noiseproof.analysis.theory.features import Features, check_classifier, embed_all, head_of
from noiseproof.analysis.theory.wording import number
from noiseproof.checks import check_range
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.blocks import Evaluable
from noiseproof.geometry import class_dispersion, class_margin, rescale
from noiseproof.models import FeatureClassifier
from noiseproof.progress import ProgressReporter

__all__ = ["Rescaling", "rescaling"]


@dataclass(frozen=True, eq=False)
class Rescaling:
    """A classifier before and after T_ν, for K values of ν. A class without samples is NaN.

    Attributes:
        nus: (K,) the values of ν.
        margin: (C,) margins before (Def. 5.1), in units of the feature space.
        dispersion: (C,) dispersions before (Def. 3.1).
        margins: (K, C) margins after.
        dispersions: (K, C) dispersions after.
        logit_errors: (K,) largest |z̃ − νz| relative to the largest |νz|.
        changed: (K,) how many predictions are not what they were; rounding can turn one that was a tie.
        probability_changes: (K,) largest change of a class's probability.
        loss: mean softmax loss before (Eq. 3), in nats.
        losses: (K,) after.
        moved: names of the parameters that T_ν moves.
        movements: (K,) ‖T_ν(Θ) − Θ‖ / ‖u‖ with u the parameters that move, as they were; |ν − 1| by Prop. 5.3.3.
        cosines: (K, K) of the angles between the movements T_ν(Θ) − Θ; NaN for ν = 1.
    """

    nus: NDArray[np.float64]
    margin: NDArray[np.float64]
    dispersion: NDArray[np.float64]
    margins: NDArray[np.float64]
    dispersions: NDArray[np.float64]
    logit_errors: NDArray[np.float64]
    changed: NDArray[np.int64]
    probability_changes: NDArray[np.float64]
    loss: float
    losses: NDArray[np.float64]
    moved: tuple[str, ...]
    movements: NDArray[np.float64]
    cosines: NDArray[np.float64]

    @property
    def margin_ratios(self) -> NDArray[np.float64]:
        """(K,) min_c margin(c) after, over that before: ν by Prop. 5.3.1; NaN where it was 0."""
        return _ratios(np.nanmin(self.margins, axis=1), float(np.nanmin(self.margin)))

    @property
    def dispersion_ratios(self) -> NDArray[np.float64]:
        """(K,) max_c dispersion(c) after, over that before: ν by Prop. 5.3.2; NaN where it was 0."""
        return _ratios(np.nanmax(self.dispersions, axis=1), float(np.nanmax(self.dispersion)))

    @property
    def opposite(self) -> NDArray[np.float64]:
        """(P,) cosines between every movement with ν > 1 and every one with ν < 1: −1 by Cor. 5.1."""
        return self.cosines[np.ix_(self.nus > 1, self.nus < 1)].ravel()

    def summary(self) -> list[tuple[str, str]]:
        """What was found, in plain words."""
        rows = [
            (
                f"T_ν with ν = {nu:g}",
                f"smallest margin × {margin:.6g}, largest dispersion × {dispersion:.6g}, logits ν z up to a relative "
                f"{number(error)}, {changed} predictions changed; probabilities by up to {number(probability)}, mean "
                f"softmax loss {number(self.loss)} to {number(loss)}",
            )
            for nu, margin, dispersion, error, changed, probability, loss in zip(
                self.nus, self.margin_ratios, self.dispersion_ratios, self.logit_errors, self.changed,
                self.probability_changes, self.losses, strict=True,
            )
        ]  # fmt: skip
        cosine = f"{self.opposite.min():.12g} to {self.opposite.max():.12g}" if self.opposite.size else "not looked at"
        return [
            *rows,
            ("Parameters that T_ν moves", ", ".join(self.moved)),
            ("Cosine of movements with ν > 1 and ν < 1 (Corollary 5.1: −1)", cosine),
        ]


def rescaling(
    model: FeatureClassifier,
    dataset: Evaluable,
    *,
    nus: Sequence[float] = (0.5, 2.0),
    limit: int | None = None,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> Rescaling:
    """Measure what T_ν (:func:`noiseproof.geometry.rescale`) does to a classifier.

    All that moves, the layer in front of the features and the head's bias, is multiplied by the same ν. So movements
    with ν on different sides of 1 point in exactly opposite directions, up to the rounding of the parameters.

    "The same model" of Prop. 5.3 means the same predictions. The logits are multiplied by ν, hence probabilities and
    the softmax loss do change: L_S, which the paper trains with beside its own loss, can tell T_ν(Θ) from Θ.

    Args:
        model: as for :func:`noiseproof.geometry.rescale`; on ``device`` afterwards, otherwise as it was.
        dataset: as for :func:`noiseproof.evaluate`.
        nus: values of ν > 0.
        limit: only so many samples, evenly spread; None for all.
        device: where to run; None for where the model is.
        progress: where to report.

    Raises:
        InvalidArgumentError: no ν, one ≤ 0, or features that are not finite.
        ModelSplitError: the backbone does not end in a layer that Prop. 5.3 allows.
        DataError: see :func:`noiseproof.evaluate`; a label outside the model's classes.
    """
    if not len(nus):
        raise InvalidArgumentError("nus is empty: name at least one, such as 2.0")
    for nu in nus:
        check_range("nu", nu, 0, open_low=True)
    check_classifier(model)
    samples = select(dataset, limit)

    def look(at: FeatureClassifier) -> Features:
        return embed_all(at, samples.data, title="rescaling", device=device, progress=progress)

    before = look(model)
    probe = next(iter(samples)).inputs[:2].to(model.head.weight, copy=True)
    afters, movements = [], []
    for nu in nus:
        scaled = rescale(model, nu, example_input=probe)
        movements.append(_movement(model, scaled))
        afters.append((look(scaled), head_of(scaled)))
    start = {name: _flat(weight) for name, weight in model.named_parameters() if any(name in m for m in movements)}
    if not start:
        raise InvalidArgumentError(f"nus are so close to 1 that no parameter moves: {list(nus)}")
    vectors = torch.stack(
        [torch.cat([m.get(name, torch.zeros_like(weight)) for name, weight in start.items()]) for m in movements]
    )
    norms = torch.linalg.vector_norm(vectors, dim=1)
    classes = model.num_classes
    return Rescaling(
        np.array(nus, dtype=np.float64),
        class_margin(before.embeddings, before.labels, *head_of(model)).numpy(),
        class_dispersion(before.embeddings, before.labels, classes).numpy(),
        torch.stack([class_margin(after.embeddings, after.labels, *head) for after, head in afters]).numpy(),
        torch.stack([class_dispersion(after.embeddings, after.labels, classes) for after, _ in afters]).numpy(),
        np.array([_relative(after.logits, nu * before.logits) for nu, (after, _) in zip(nus, afters, strict=True)]),
        np.array([int((after.logits.argmax(1) != before.logits.argmax(1)).sum()) for after, _ in afters]),
        np.array([float((after.logits.softmax(1) - before.logits.softmax(1)).abs().max()) for after, _ in afters]),
        float(cross_entropy(before.logits, before.labels)),
        np.array([float(cross_entropy(after.logits, after.labels)) for after, _ in afters]),
        tuple(start),
        (norms / torch.linalg.vector_norm(torch.cat(list(start.values())))).numpy(),
        (vectors @ vectors.T / torch.outer(norms, norms)).numpy(),
    )


def _movement(model: FeatureClassifier, scaled: FeatureClassifier) -> dict[str, Tensor]:
    """T_ν(Θ) − Θ in float64, by the names of the parameters that move: flat vectors."""
    return {
        name: _flat(after) - _flat(before)
        for (name, before), after in zip(model.named_parameters(), scaled.parameters(), strict=True)
        if not torch.equal(before, after)
    }


def _flat(parameter: Tensor) -> Tensor:
    return parameter.detach().cpu().double().flatten()


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def _ratios(after: NDArray[np.float64], before: float) -> NDArray[np.float64]:
    return after / before if before > 0 else np.full_like(after, np.nan)
