"""From a recipe and data to a model in training, and to a trained model without a run folder."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from noiseproof.data import Splits
from noiseproof.errors import DataError
from noiseproof.models import FeatureClassifier
from noiseproof.models.files import ModelDescription
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.training.engine import accelerate_as_it_was, native_precision
from noiseproof.training.initial import Beginning, begin
from noiseproof.training.log import require_tensorboard
from noiseproof.training.recipe import Recipe
from noiseproof.training.signals import StopRequest
from noiseproof.training.trainer import EpochMetrics, Trainer

__all__ = ["FittedModel", "fit_model", "make_trainer"]

# Initial weights and dropout draw from torch's global generators, which threads share.
_TURN = threading.Lock()
_NAMED = 5  # of the classes that an error is about


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
        trainer, beginning = make_trainer(settled, splits, device)
        with (progress or Silent()).task(f"train {settled.method}, seed {settled.seed}", trainer.total_steps) as task:
            trainer.run(task=task, on_epoch=metrics.append, checkpoint=_forget, stop=StopRequest())
    return FittedModel(trainer.method.model.cpu().eval(), beginning.description, metrics)


def make_trainer(
    recipe: Recipe,
    splits: Splits,
    device: torch.device | str | None = None,
    *,
    begun: Mapping[str, Any] | None = None,
    pretrained: bool = True,
) -> tuple[Trainer, Beginning]:
    """Return what trains a run from its first step on, and what it begins with; nothing is written.

    Args:
        recipe: one method, one seed, and a precision that is not ``auto``.
        splits: the recipe's data.
        device: where to train; None for where Accelerate would.
        begun: see :func:`noiseproof.training.initial.begin`.
        pretrained: False for random weights also where the recipe asks for others, so that none are fetched.

    Raises:
        DataError: a class without training samples.
        InvalidArgumentError: a model that cannot take the data's inputs, or weights to begin with that do not fit it.
    """
    _check_classes(splits)
    if recipe.train.tensorboard:
        require_tensorboard()
    beginning = begin(recipe, splits, begun, pretrained=pretrained)
    return Trainer(beginning.method, splits, recipe, device), beginning


def _forget(state: dict[str, Any]) -> None:
    """Take a checkpoint and keep nothing."""


def _check_classes(splits: Splits) -> None:
    """Raise where a class has no training sample: it could never be learnt."""
    absent = set(range(splits.train.num_classes)) - set(splits.train.labels.unique().tolist())
    if absent:
        some = sorted(absent)[:_NAMED]
        more = f" and {len(absent) - len(some)} more" if len(absent) > len(some) else ""
        names = ", ".join(splits.train.class_names[c] for c in some) + more
        hint = "; labels count from 0" if absent == {0} and names == "0" else ""
        raise DataError(f"no training sample has the class {names}{hint}")
