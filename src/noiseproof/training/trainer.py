"""The training loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from noiseproof import seeding
from noiseproof.data import ArrayDataset, Splits, augmentation
from noiseproof.evaluation import evaluate
from noiseproof.methods import Method
from noiseproof.perturbations import perturbation
from noiseproof.progress import Task
from noiseproof.training.batches import TrainingBatches, steps_for
from noiseproof.training.engine import make_accelerator
from noiseproof.training.monitor import LossMonitor
from noiseproof.training.optimization import build_optimizer, build_scheduler
from noiseproof.training.recipe import Recipe

__all__ = ["EpochMetrics", "fit"]

# On a CPU every step is checked for a loss that is not finite; elsewhere that would stall the device.
_STEPS_BETWEEN_CHECKS = 50

EpochMetrics = dict[str, Any]


@dataclass
class _Best:
    """The weights with the highest accuracy so far on the data that chooses; later epochs win ties."""

    accuracy: float = -1.0
    epoch: int = 0
    weights: dict[str, Tensor] | None = None

    def offer(self, accuracy: float, epoch: int, model: torch.nn.Module) -> None:
        if accuracy >= self.accuracy:
            self.accuracy, self.epoch = accuracy, epoch
            self.weights = copy.deepcopy(model.state_dict())


def fit(
    method: Method, splits: Splits, recipe: Recipe, *, task: Task, on_epoch: Callable[[EpochMetrics], None]
) -> None:
    """Train ``method.model`` in place.

    Args:
        method: the training method, holding the model.
        splits: the data.
        recipe: noise, augmentation, training settings and seed.
        task: told of every step.
        on_epoch: given the metrics of every epoch: losses, accuracies in [0, 1], learning rate, seconds.

    Raises:
        NonFiniteLossError: a part of the loss became NaN or infinite; names it, the epoch and the step.
    """
    settings = recipe.train
    accelerator = make_accelerator(settings.precision)
    batches = _batches(method, splits, recipe, accelerator)
    total_steps, epochs = steps_for(settings.epochs, batches.steps_per_epoch, settings.max_steps)
    optimizer = build_optimizer(method.parameters(), settings.optimizer)
    scheduler = build_scheduler(optimizer, settings.schedule, batches.steps_per_epoch, total_steps)
    trained, optimizer = accelerator.prepare(method, optimizer)
    chooser = {"last": None, "best-validation": splits.validation, "best-test": splits.test}[settings.keep]
    best = _Best()
    check_every = 1 if accelerator.device.type == "cpu" else _STEPS_BETWEEN_CHECKS

    step = 0
    with torch.random.fork_rng():
        for epoch in range(epochs):
            started = time.perf_counter()
            monitor = LossMonitor(epoch)
            trained.train()
            for views in batches.epoch(epoch):
                seeding.reseed_global(recipe.seed, "step", step, device=accelerator.device)
                result = trained(views)
                optimizer.zero_grad()
                accelerator.backward(result.loss)
                if settings.clip_grad_norm is not None:
                    accelerator.clip_grad_norm_(trained.parameters(), settings.clip_grad_norm)
                monitor.add(result)
                if step % check_every == 0:
                    monitor.check()
                optimizer.step()
                scheduler.step()
                step += 1
                task.advance()
                if step == total_steps:
                    break
            monitor.check()
            metrics = _metrics(method, splits, monitor, epoch, step, float(scheduler.get_last_lr()[0]))
            if chooser is not None:
                best.offer(_chosen_on(method, chooser, splits, metrics), epoch, method.model)
            metrics["seconds"] = round(time.perf_counter() - started, 3)
            on_epoch(metrics)
            task.advance(0, _note(metrics, epochs))
    if best.weights is not None:
        method.model.load_state_dict(best.weights)


def _batches(method: Method, splits: Splits, recipe: Recipe, accelerator: Accelerator) -> TrainingBatches:
    return TrainingBatches(
        splits.train.to(accelerator.device),
        batch_size=recipe.train.batch_size,
        seed=recipe.seed,
        augment=augmentation(recipe.data.augment),
        noise=perturbation(recipe.noise.train),
        own_view=recipe.noise.view == "own",
        wanted=method.views,
    )


def _metrics(
    method: Method, splits: Splits, monitor: LossMonitor, epoch: int, step: int, learning_rate: float
) -> EpochMetrics:
    metrics: EpochMetrics = {"epoch": epoch + 1, "step": step, "lr": learning_rate, **monitor.averages()}
    if splits.validation is not None:
        metrics["validation_accuracy"] = _accuracy(method, splits.validation)
    return metrics


def _chosen_on(method: Method, chooser: ArrayDataset, splits: Splits, metrics: EpochMetrics) -> float:
    if chooser is splits.validation:
        return float(metrics["validation_accuracy"])
    metrics["test_accuracy"] = _accuracy(method, chooser)
    return float(metrics["test_accuracy"])


def _accuracy(method: Method, data: ArrayDataset) -> float:
    return evaluate(method.model, data)["clean"].mean


def _note(metrics: EpochMetrics, epochs: int) -> str:
    return f"epoch {metrics['epoch']}/{epochs}, loss {metrics['loss']:.3f}, accuracy {100 * metrics['accuracy']:.1f}%"
