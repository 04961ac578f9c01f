"""From a recipe and data to a model in training, and to a trained model without a run folder."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import torch

from noiseproof import seeding
from noiseproof.data import Splits
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.methods import METHODS
from noiseproof.models import FeatureClassifier
from noiseproof.models.files import ModelDescription
from noiseproof.models.modes import evaluating
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.training.engine import accelerate_as_it_was, native_precision
from noiseproof.training.log import require_tensorboard
from noiseproof.training.recipe import Recipe
from noiseproof.training.signals import StopRequest
from noiseproof.training.trainer import EpochMetrics, Trainer

__all__ = ["FittedModel", "fit_model", "make_trainer"]

# Initial weights and dropout draw from torch's global generators, which threads share.
_TURN = threading.Lock()


class FittedModel(NamedTuple):
    """What a training in memory leaves.

    Attributes:
        model: the trained model, in evaluation mode, on the CPU.
        description: how to build it, its classes and inputs, as :func:`noiseproof.models.files.save_model` takes it.
        metrics: those of every epoch.
    """

    model: FeatureClassifier
    description: ModelDescription
    metrics: list[EpochMetrics]


def fit_model(
    recipe: Recipe,
    splits: Splits,
    *,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> FittedModel:
    """Train one method by a recipe, as :func:`noiseproof.train` does, and keep the result in memory.

    Nothing is written, and Ctrl-C ends it at once. Threads that call it take turns.

    Args:
        recipe: method, seed, model, noise and training. Of its data settings only ``augment`` is looked at.
        splits: the data; its test part is looked at only where the recipe keeps the weights that are best on it.
        device: where to train; None for where Accelerate would. ``auto`` precision is float32 on a given device.
        progress: where to report; None for nowhere.

    Raises:
        DataError: a class without a training sample.
        InvalidArgumentError: the model cannot take the data's inputs.
        NonFiniteLossError, NonFiniteWeightsError: the training diverged.
    """
    metrics: list[EpochMetrics] = []
    precision = native_precision() if device is None else "fp32"
    settled = recipe.for_run(recipe.method, recipe.seed).with_precision(precision)
    with _TURN, accelerate_as_it_was():
        trainer, description = make_trainer(settled, splits, device)
        with (progress or Silent()).task(f"train {settled.method}, seed {settled.seed}", trainer.total_steps) as task:
            trainer.run(task=task, on_epoch=metrics.append, checkpoint=_forget, stop=StopRequest())
    return FittedModel(trainer.method.model.cpu().eval(), description, metrics)


def make_trainer(
    recipe: Recipe, splits: Splits, device: torch.device | str | None = None, *, pretrained: bool = True
) -> tuple[Trainer, ModelDescription]:
    """Return what trains a run from its first step on, and the description of its model; nothing is written.

    Args:
        recipe: one method, one seed, and a precision that is not ``auto``.
        splits: the recipe's data.
        device: where to train; None for where Accelerate would.
        pretrained: False for random weights also where the recipe asks for others, so that none are fetched.

    Raises:
        DataError: a class without training samples.
        InvalidArgumentError: a model that cannot take the data's inputs.
    """
    _check_classes(splits)
    if recipe.train.tensorboard:
        require_tensorboard()
    description = _describe(recipe, splits)
    with seeding.seeded(recipe.seed, "initial weights"):
        built = METHODS[recipe.method](description.build(pretrained=pretrained), recipe.options(recipe.method))
    _check_fit(built.model, splits, recipe)
    return Trainer(built, splits, recipe, device), description


def _forget(state: dict[str, Any]) -> None:
    """Take a checkpoint and keep nothing."""


def _check_classes(splits: Splits) -> None:
    """Raise where a class has no training sample: it could never be learnt."""
    absent = set(range(splits.train.num_classes)) - set(splits.train.labels.unique().tolist())
    if absent:
        names = ", ".join(splits.train.class_names[c] for c in sorted(absent))
        raise DataError(f"no training sample has the class {names}")


def _check_fit(model: FeatureClassifier, splits: Splits, recipe: Recipe) -> None:
    """Raise where the model cannot take the data's inputs, before anything is written."""
    try:
        with evaluating(model):
            model(to_unit_interval(splits.train[0][0]).unsqueeze(0))
    except (RuntimeError, ValueError) as error:
        raise InvalidArgumentError(
            f"the model {recipe.model.name!r} cannot take inputs of shape {splits.train.input_shape}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _normalisation(splits: Splits) -> tuple[list[float], list[float]]:
    """Mean and std of the first layer, per channel.

    A channel that hardly varies, a dead sensor say, is not stretched to the size of the others, since the noise on it
    would be stretched too: no std is taken for less than a tenth of the channels' root mean square.
    """
    mean, std = splits.train.channel_statistics()
    floor = 0.1 * math.sqrt(sum(value**2 for value in std) / len(std))
    return mean, [max(value, floor) for value in std]


def _describe(recipe: Recipe, splits: Splits) -> ModelDescription:
    mean, std = _normalisation(splits)
    return ModelDescription(
        name=recipe.model.name,
        embedding_dim=recipe.model.embedding_dim,
        class_names=splits.train.class_names,
        input_shape=splits.train.input_shape,
        mean=tuple(mean),
        std=tuple(std),
        options=recipe.model.options,
    )
