"""Accuracy under perturbations, sample by sample and draw by draw."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from noiseproof.checks import check_device, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.attacks import Attack
from noiseproof.evaluation.blocks import BLOCK, Block, Evaluable, as_dataset, blocks
from noiseproof.evaluation.looks import Look, seen
from noiseproof.evaluation.report import PerturbationResult, RobustnessReport
from noiseproof.evaluation.views import View, is_random, view
from noiseproof.models import Normalize
from noiseproof.models.answers import check_known_labels, logits_of
from noiseproof.models.modes import evaluating
from noiseproof.progress import ProgressReporter, Silent

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module,
    dataset: Evaluable,
    perturbations: Sequence[str | View] = ("clean",),
    *,
    draws: int = 10,
    seed: int = 0,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    caveat: str = "",
    batch_size: int = 512,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> RobustnessReport:
    """Measure how often a classifier is right under each perturbation.

    The noise of sample i in draw k depends on ``seed``, the perturbation, k and i alone: not on the batch size, the
    device's load, or what else is measured. A data set is read once, however many perturbations and draws there are.

    Args:
        model: maps (N, ...) inputs, images in [0, 1], to (N, C) logits. It is run in evaluation mode, without
            gradients, and put back into the mode it had. One that expects normalised inputs needs ``mean`` and
            ``std``: noise belongs in front of the normalisation.
        dataset: a :class:`noiseproof.data.ArrayDataset`, any map-style data set of (input, label) pairs, or a tuple
            of inputs (N, ...) and labels (N,). Bytes are divided by 255.
        perturbations: texts such as ``"gaussian:8/255"``, attacks such as ``"pgd:8/255"``, or the objects that such
            texts stand for; each is a key of the report.
        draws: independent draws of each perturbation that is random, ≥ 1; others, and attacks, are applied once.
        seed: of the noise.
        mean: per channel, subtracted from the inputs in front of the model; None, with ``std``, for a model that
            takes [0, 1].
        std: per channel, what is left is divided by.
        caveat: what every table of the report has to say; empty for nothing.
        batch_size: how many inputs the model gets at once, ≥ 1. Does not change the result, beyond rounding.
        device: where to run, and where the model is moved to; None for where it is.
        progress: where to report; None for nowhere.

    Returns:
        A :class:`RobustnessReport`, keyed by the perturbations as they were given.

    Raises:
        UnknownNameError: an unknown perturbation or attack.
        DataError: an empty or malformed data set, or a label outside the model's classes.
        InvalidArgumentError: images outside [0, 1], no perturbation, or logits that are not finite and (N, C).
    """
    draws, batch_size = check_whole("draws", draws, 1), check_whole("batch_size", batch_size, 1)
    if isinstance(perturbations, str):
        raise InvalidArgumentError(f"perturbations must be a list of texts, as in [{perturbations!r}]")
    views = {str(given): view(given) for given in perturbations}
    if not views:
        raise InvalidArgumentError("perturbations is empty: name at least one, such as 'clean'")
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(f"model must be an nn.Module, got {type(model).__name__}")
    data = as_dataset(dataset)
    where = check_device(device) or _device_of(model)
    model = _taking_pixels(model, mean, std).to(where)
    queue = [
        Look(key, each, number) for key, each in views.items() for number in range(draws if is_random(each) else 1)
    ]
    size = len(data)  # type: ignore[arg-type]
    answered = {
        key: torch.zeros(draws if is_random(each) else 1, size, dtype=torch.int32) for key, each in views.items()
    }
    confidence = {key: torch.zeros(rows.shape) for key, rows in answered.items()}
    labels = torch.zeros(size, dtype=torch.long)

    with evaluating(model), (progress or Silent()).task("evaluate", size * len(queue)) as task:
        for block in blocks(data):
            start, stop = block.number * BLOCK, block.number * BLOCK + len(block.labels)
            labels[start:stop] = block.labels
            for group in _grouped(queue, max(1, batch_size // BLOCK)):
                chosen, sure = _answers(model, block, group, seed, batch_size, where)
                for draw, chosen_row, sure_row in zip(group, chosen, sure, strict=True):
                    answered[draw.key][draw.number, start:stop] = chosen_row
                    confidence[draw.key][draw.number, start:stop] = sure_row
                task.advance(len(group) * len(block.labels))
    results = {
        key: PerturbationResult(
            key,
            each.spec,
            correct=(answered[key] == labels).numpy(),
            confidence=confidence[key].numpy(),
            random=is_random(each),
            worst_case=isinstance(each, Attack),
            answered=_compact(answered[key]),
        )
        for key, each in views.items()
    }
    names = getattr(data, "class_names", None) or [str(c) for c in range(int(labels.max()) + 1)]
    return RobustnessReport(results, labels.numpy(), tuple(names), int(seed), caveat)


def _taking_pixels(
    model: nn.Module, mean: float | Sequence[float] | None, std: float | Sequence[float] | None
) -> nn.Module:
    """The model behind the normalisation that it expects, if it expects one."""
    if (mean is None) != (std is None):
        raise InvalidArgumentError("mean and std go together: give both or neither")
    return model if mean is None or std is None else nn.Sequential(Normalize(mean, std), model)


def _answers(
    model: nn.Module, block: Block, group: Sequence[Look], seed: int, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What the model answers to a block, and how sure it is, for a group of draws: (draws, n) each on the CPU."""
    inputs, labels = block.inputs.to(device), block.labels.to(device)
    dtype = next((parameter.dtype for parameter in model.parameters()), inputs.dtype)
    views = [seen(model, draw, inputs, labels, seed, block.number) for draw in group]
    logits = torch.cat([logits_of(model, batch) for batch in torch.cat(views).to(dtype).split(batch_size)])
    check_known_labels(block.labels, logits.shape[1])
    if block.number == 0 and _are_probabilities(logits):
        warnings.warn(
            "the model's outputs look like probabilities, but are taken for logits: accuracies are right, confidence, "
            "calibration and attacks are not; leave out the softmax at its end",
            stacklevel=4,
        )
    sure, chosen = logits.float().softmax(1).max(1)
    return chosen.view(len(group), -1).cpu(), sure.view(len(group), -1).cpu()


def _compact(answered: Tensor) -> NDArray[np.integer[Any]]:
    """Classes as the smallest numbers that hold them."""
    return answered.numpy().astype(np.min_scalar_type(int(answered.max())))


def _are_probabilities(logits: Tensor) -> bool:
    """Whether every row (N, C) is ≥ 0 and sums to 1, and not all are labels written as rows of 0 and 1."""
    rows = logits.float()
    return bool((rows >= 0).all() and (rows.sum(1) - 1).abs().max() < 1e-3 and (rows.frac() > 0).any())


def _grouped(queue: Sequence[Look], size: int) -> Iterator[Sequence[Look]]:
    for start in range(0, len(queue), size):
        yield queue[start : start + size]


def _device_of(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
