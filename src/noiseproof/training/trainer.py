"""The training loop. All it does depends on the recipe and on the step alone, so it can stop and go on anywhere."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from noiseproof import seeding
from noiseproof.data import LabelledDataset, Splits, augmentation
from noiseproof.errors import NonFiniteWeightsError
from noiseproof.evaluation import evaluate
from noiseproof.methods import Method
from noiseproof.models import FeatureClassifier
from noiseproof.perturbations import perturbation
from noiseproof.progress import Task
from noiseproof.training.balance import balanced_weights
from noiseproof.training.batches import TrainingBatches, steps_for
from noiseproof.training.engine import any_process, make_accelerator
from noiseproof.training.kernels import kernels
from noiseproof.training.layout import layout_for
from noiseproof.training.monitor import LossMonitor
from noiseproof.training.optimization import build_optimizer, build_scheduler
from noiseproof.training.recipe import Recipe
from noiseproof.training.signals import StopRequest

__all__ = ["EpochMetrics", "Trainer"]

# How often the loss is looked at, which stalls an accelerator; on a CPU it is checked for NaN at every step.
_STEPS_BETWEEN_LOOKS = 50

EpochMetrics = dict[str, Any]


class Trainer:
    """Trains ``method.model`` in place.

    Args:
        method: the training method, holding the model.
        splits: the data.
        recipe: noise, augmentation, training settings and seed.
        device: where to train, in a single process; None for where Accelerate would.
    """

    def __init__(
        self, method: Method, splits: Splits, recipe: Recipe, device: torch.device | str | None = None
    ) -> None:
        settings = recipe.train
        self.method = method
        self.splits = splits
        self.recipe = recipe
        if settings.compile is not None:
            torch.compiler.reset()  # torch stops compiling a function after a few settings, without a word
        self.accelerator = make_accelerator(settings.precision, device, settings.compile)
        method.label_smoothing = settings.label_smoothing
        method.class_weight = balanced_weights(splits.train) if settings.class_weight == "balanced" else None
        layout = layout_for(method, self.accelerator.device)
        method.to(memory_format=layout)
        if self.accelerator.num_processes > 1 and self.accelerator.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(method)
        self.batches = TrainingBatches(
            splits.train,
            device=self.accelerator.device,
            batch_size=settings.batch_size,
            seed=recipe.seed,
            augment=augmentation(recipe.data.augment),
            noise=perturbation(recipe.noise.train),
            own_view=recipe.noise.view == "own",
            wanted=method.views_for(method.options),
            workers=settings.workers,
            layout=layout,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        self.total_steps, self.epochs = steps_for(settings.epochs, self.batches.steps_per_epoch, settings.max_steps)
        # not with a gradient scaler: where that leaves out the first step, fused SGD goes on from memory never written
        fused = self.accelerator.device.type == "cuda" and settings.precision != "fp16"
        optimizer = build_optimizer(method.parameters(), settings.optimizer, fused=fused)
        self.scheduler = build_scheduler(optimizer, settings.schedule, self.batches.steps_per_epoch, self.total_steps)
        self.trained, self.optimizer = self.accelerator.prepare(method, optimizer)
        self.average = _Average(method.model, settings.ema_decay)
        self.best = _Best()
        self.step = 0
        self.spent = 0.0  # seconds on the present epoch, before the last stop
        self.monitor = LossMonitor(0)

    @property
    def finished_epochs(self) -> int:
        """How many epochs are done."""
        return self.step // self.batches.steps_per_epoch

    def run(
        self,
        *,
        task: Task,
        on_epoch: Callable[[EpochMetrics], None],
        checkpoint: Callable[[dict[str, Any]], None],
        stop: StopRequest,
    ) -> None:
        """Train from the current step to the end, then put the weights that are kept into the model.

        Args:
            task: told of every step.
            on_epoch: given the metrics of every epoch: losses, accuracies in [0, 1], learning rate, seconds.
            checkpoint: given the state after every ``train.checkpoint_every`` epochs, and when asked to stop.
            stop: looked at between steps.

        Raises:
            NonFiniteLossError: a part of the loss became NaN or infinite; names it, the epoch and the step.
            NonFiniteWeightsError: weights did, though the loss was finite; found where they would be kept.
            InvalidArgumentError: see :func:`noiseproof.training.kernels.kernels`.
            KeyboardInterrupt, SystemExit, BudgetSpentError: asked to stop, after the checkpoint.
        """
        with _aside(), self._kernels():
            while self.step < self.total_steps:
                self._epoch(task, on_epoch, checkpoint, stop)
        kept = self.best.weights or self.average.weights()
        if kept is not None:
            self.method.model.load_state_dict(kept)

    def timed_steps(self) -> Generator[float]:
        """Train to the end and yield the seconds that every step takes, the making of its batch included.

        It tells how long a training takes, and is none: nothing is reported or kept.

        Raises:
            NonFiniteLossError: on a CPU, where a part of the loss became NaN or infinite.
            InvalidArgumentError: see :func:`noiseproof.training.kernels.kernels`.
        """
        self.trained.train()
        while self.step < self.total_steps:
            batches = self.batches.epoch(*divmod(self.step, self.batches.steps_per_epoch))
            started = time.perf_counter()
            for views in batches:
                with _aside(), self._kernels():
                    self._step(views)
                if self.accelerator.device.type != "cpu":
                    torch.accelerator.synchronize(self.accelerator.device)
                yield time.perf_counter() - started
                if self.step == self.total_steps:
                    return
                started = time.perf_counter()

    def _kernels(self) -> AbstractContextManager[None]:
        settings = self.recipe.train
        compiled = settings.compile is not None
        return kernels(self.accelerator.device, deterministic=settings.deterministic, compiled=compiled)

    def _epoch(
        self,
        task: Task,
        on_epoch: Callable[[EpochMetrics], None],
        checkpoint: Callable[[dict[str, Any]], None],
        stop: StopRequest,
    ) -> None:
        epoch, first = divmod(self.step, self.batches.steps_per_epoch)
        if first == 0:
            self.monitor = LossMonitor(epoch)
        started, begun = time.perf_counter(), self.step
        self.trained.train()
        for views in self.batches.epoch(epoch, first):
            self._step(views)
            task.advance(1, self._note(started, begun) if self.step % _STEPS_BETWEEN_LOOKS == 0 else "")
            if self.step == self.total_steps:
                break
            if any_process(bool(stop)) and self.step % self.batches.steps_per_epoch:
                self._require_finite()  # what is not finite is never saved
                self.spent += time.perf_counter() - started
                checkpoint(self.state_dict())
                stop.stop()
        self._require_finite()
        metrics = self._metrics(epoch)
        seconds = self.spent + time.perf_counter() - started
        self.spent = 0.0
        metrics["seconds"] = round(seconds, 3)
        steps = self.step - epoch * self.batches.steps_per_epoch
        seen = min(steps * self.recipe.train.batch_size, len(self.splits.train))
        metrics["samples_per_second"] = round(seen / seconds, 1)
        on_epoch(metrics)
        task.advance(0, self._note(started, begun))
        if self.step == self.total_steps:
            return
        stopping = any_process(bool(stop))
        if stopping or (epoch + 1) % self.recipe.train.checkpoint_every == 0:
            checkpoint(self.state_dict())
        if stopping:
            stop.stop()

    def _require_finite(self) -> None:
        """Raise where a part of the loss, a weight or a buffer is NaN or infinite."""
        self.monitor.check()
        held = {name: each for name, each in self.method.state_dict().items() if each.is_floating_point()}
        finite = torch.stack([each.isfinite().all() for each in held.values()])
        if not bool(finite.all()):
            name = list(held)[int(finite.byte().argmin())]
            raise NonFiniteWeightsError(name, (self.step - 1) // self.batches.steps_per_epoch + 1, self.step)

    def _step(self, views: Any) -> None:
        settings = self.recipe.train
        seeding.reseed_global(
            self.recipe.seed, "step", self.step, self.accelerator.process_index, device=self.accelerator.device
        )
        self.optimizer.zero_grad()  # before the forward pass: no gradient then lies in the memory of a CUDA graph
        result = self.trained(views)
        self.accelerator.backward(result.loss)
        if settings.clip_grad_norm is not None:
            self.accelerator.clip_grad_norm_(self.trained.parameters(), settings.clip_grad_norm)
        self.monitor.add(result)
        if self.accelerator.device.type == "cpu" or self.step % _STEPS_BETWEEN_LOOKS == 0:
            self.monitor.check()
        self.optimizer.step()
        self.scheduler.step()
        self.average.update()
        self.step += 1

    def _metrics(self, epoch: int) -> EpochMetrics:
        rate = float(self.scheduler.get_last_lr()[0])
        averages = self.monitor.averages(self._mean_over_processes)
        metrics: EpochMetrics = {"epoch": epoch + 1, "step": self.step, "lr": rate, **averages}
        if self.splits.validation is not None:
            metrics["validation_accuracy"] = self._accuracy(self.splits.validation)
        if self.recipe.train.keep == "best-test":
            metrics["test_accuracy"] = self._accuracy(self.splits.test)
        chosen_on = {"last": None, "best-validation": "validation_accuracy", "best-test": "test_accuracy"}
        if key := chosen_on[self.recipe.train.keep]:
            self.best.offer(metrics[key], epoch, self._evaluated())
        return metrics

    def _note(self, started: float, begun: int) -> str:
        """Epoch, loss with its parts, accuracy and speed, for the progress bar."""
        epoch = min(self.step // self.batches.steps_per_epoch + 1, self.epochs)
        averages = self.monitor.averages()
        accuracy, loss = averages.pop("accuracy"), averages.pop("loss")
        parts = " ".join(f"{name} {value:.2f}" for name, value in averages.items())
        speed = (self.step - begun) * self.recipe.train.batch_size / max(time.perf_counter() - started, 1e-9)
        return (
            f"epoch {epoch}/{self.epochs}, loss {loss:.3f} ({parts}), accuracy {100 * accuracy:.1f}%, {speed:,.0f}/s"
        )

    def _mean_over_processes(self, values: Tensor) -> Tensor:
        mean: Tensor = self.accelerator.reduce(values, "mean")
        return mean

    def _evaluated(self) -> nn.Module:
        """The model as it would be kept now: with averaged weights, if weights are averaged."""
        return self.average.model or self.method.model

    def _accuracy(self, data: LabelledDataset) -> float:
        return evaluate(self._evaluated(), data)["clean"].mean

    def state_dict(self) -> dict[str, Any]:
        """Everything that going on from here depends on."""
        scaler = self.accelerator.scaler
        return {
            "step": self.step,
            "spent": self.spent,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "average": self.average.state_dict(),
            "best": vars(self.best),
            "monitor": self.monitor.state_dict(self.accelerator.gather),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where :meth:`state_dict` was taken."""
        self.step = state["step"]
        self.spent = state.get("spent", 0.0)  # not in checkpoints of older versions
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.average.load_state_dict(state["average"])
        self.best = _Best(**state["best"])
        self.monitor = LossMonitor(self.finished_epochs)
        self.monitor.load_state_dict(
            state["monitor"],
            self.accelerator.device,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )


@contextmanager
def _aside() -> Iterator[None]:
    """Inside the block torch's global generators may be used, and warnings that mean nothing are left out."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), warnings.catch_warnings():
        # torch warns of a first step that a gradient scaler left out
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        # and, compiling, recommends to round what is meant to be computed in full float32
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
        yield


class _Best:
    """The weights with the highest accuracy so far on the data that chooses; later epochs win ties."""

    def __init__(self, accuracy: float = -1.0, epoch: int = 0, weights: dict[str, Tensor] | None = None) -> None:
        self.accuracy, self.epoch, self.weights = accuracy, epoch, weights

    def offer(self, accuracy: float, epoch: int, model: nn.Module) -> None:
        if accuracy >= self.accuracy:
            self.accuracy, self.epoch = accuracy, epoch
            self.weights = copy.deepcopy(model.state_dict())


class _Average:
    """An exponential moving average of a model's weights and buffers; nothing where ``decay`` is None.

    It computes what torch's ``AveragedModel`` does and has its state, but never waits for the device.
    """

    def __init__(self, model: FeatureClassifier, decay: float | None) -> None:
        self._averaged = None if decay is None else AveragedModel(model, use_buffers=True)
        if self._averaged is None or decay is None:
            return
        self._decay = decay
        pairs = list(zip(_tensors(self._averaged.module), _tensors(model), strict=True))
        self._averages, self._present = (
            [pair[side] for pair in pairs if pair[0].is_floating_point()] for side in (0, 1)
        )
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @property
    def model(self) -> nn.Module | None:
        return None if self._averaged is None else self._averaged.module

    @torch.no_grad()
    def update(self) -> None:
        if self._averaged is None:
            return
        if self._averaged.n_averaged == 0:  # this one lies on the CPU
            torch._foreach_copy_(self._averages, self._present)
            for average, now in self._counters:
                average.copy_(now)
        else:
            torch._foreach_lerp_(self._averages, self._present, 1 - self._decay)
            for average, now in self._counters:
                average.copy_(average * self._decay + now * (1 - self._decay))
        self._averaged.n_averaged += 1

    def weights(self) -> dict[str, Tensor] | None:
        return None if self.model is None else self.model.state_dict()

    def state_dict(self) -> dict[str, Any] | None:
        return None if self._averaged is None else self._averaged.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        if self._averaged is not None and state is not None:
            self._averaged.load_state_dict(state)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
