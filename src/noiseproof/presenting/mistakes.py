"""The test samples that noise does most harm to, with what the model answers to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from noiseproof.data import LabelledDataset
from noiseproof.evaluation import RobustnessReport, answers
from noiseproof.reporting import Mistake, Mistakes

__all__ = ["image_like", "worst_samples", "worst_to_noise"]


def image_like(data: LabelledDataset) -> bool:
    """Whether the inputs are pictures to look at."""
    return len(data.input_shape) == 3 and data.input_shape[0] in (1, 3)


def _series_like(data: LabelledDataset) -> bool:
    """Whether the inputs are series of more than one step, which a line can show."""
    return len(data.input_shape) == 2 and data.input_shape[1] > 1


def worst_samples(report: RobustnessReport, clean: str, noisy: str, count: int) -> NDArray[np.int64]:
    """Return the places of the samples that are right on clean inputs and wrong most often under a perturbation.

    Of samples that are wrong as often, those come first that the model is surest of on clean inputs.

    Args:
        report: with both perturbations.
        clean: key of clean inputs.
        noisy: key of the perturbation.
        count: at most so many.
    """
    right = report[clean].correct[0]
    wrong = (~report[noisy].correct).sum(axis=0)
    order = np.lexsort((np.arange(len(right)), -report[clean].confidence[0], -wrong))
    worst: NDArray[np.int64] = order[right[order] & (wrong[order] > 0)][:count]
    return worst


def worst_to_noise(
    title: str, model: nn.Module, test: LabelledDataset, report: RobustnessReport, noisy: str, *, count: int = 6
) -> Mistakes | None:
    """Show the samples that a model takes worst to noise; None for vectors, of which there is no picture to show.

    Args:
        title: of the model.
        model: on the CPU.
        test: the samples that ``report`` is about.
        report: of the model.
        noisy: key of a perturbation in it.
        count: at most so many samples.
    """
    clean = next((key for key, result in report.items() if result.spec == "clean"), None)
    if len(test.input_shape) == 1:
        return None
    if not image_like(test) and not _series_like(test):
        return Mistakes(title, noisy, (), f"Inputs of shape {test.input_shape} cannot be shown as pictures.")
    if clean is None or report[noisy].spec == "clean":
        return Mistakes(
            title, noisy, (), "Clean and noisy inputs were not both measured, so there is no pair to show."
        )
    places = worst_samples(report, clean, noisy, count).tolist()
    if not places:
        return Mistakes(title, noisy, (), f"{title} makes no mistake under noise that it does not make without.")
    draws = len(report[noisy].correct)
    before = answers(model, test, "clean", places)
    after = answers(model, test, noisy, places, draws=draws, seed=report.seed)
    found = []
    for column, place in enumerate(places):
        label = int(report.labels[place])
        wrong = np.flatnonzero(after.classes[:, column] != label)
        if before.classes[0, column] != label or not len(wrong):  # measured on another device, with other noise
            continue
        draw = int(wrong[0])
        answer = int(after.classes[draw, column])
        found.append(
            Mistake(
                index=place,
                class_name=report.class_names[label],
                clean=before.inputs[0, column],
                noisy=after.inputs[draw, column],
                clean_probability=float(before.probabilities[0, column, label]),
                answer=report.class_names[answer],
                probability=float(after.probabilities[draw, column, answer]),
                wrong=len(wrong),
                draws=draws,
            )
        )
    return Mistakes(title, noisy, tuple(found))
