"""Asking a model about new inputs: what it answers, how sure it is, and whether noise changes its answer."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from noiseproof import seeding
from noiseproof.checks import check_device, check_range, check_whole
from noiseproof.deploying.inputs import Failure, Sample, find_files, read_samples, tensor_samples
from noiseproof.deploying.trained import TrainedModel, load_trained
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.evaluation.attacks import is_attack
from noiseproof.evaluation.intervals import Interval
from noiseproof.evaluation.scales import channel_deviations, foreign_inputs, normalisation_of
from noiseproof.models.answers import logits_of
from noiseproof.models.modes import evaluating
from noiseproof.perturbations import Perturbation, perturbation
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.scaling import Scaling
from noiseproof.training import Run

__all__ = ["Failure", "Prediction", "Predictions", "predict"]


@dataclass(frozen=True)
class Prediction:
    """What a model answers for one input.

    Attributes:
        name: the file, or ``file[row]`` for a row of an archive or a table.
        class_name: the class with the highest probability.
        class_index: its place among the model's classes.
        probability: what the model gives it, in [0, 1]; how far that can be trusted, the expected calibration error of
            ``noiseproof evaluate`` tells.
        agreeing: in how many noisy draws the model gives the same class.
        draws: how many there were.
        top: the likeliest classes and their probabilities, falling.
    """

    name: str
    class_name: str
    class_index: int
    probability: float
    agreeing: int
    draws: int
    top: tuple[tuple[str, float], ...]

    @property
    def stability(self) -> float:
        """Share of the noisy draws whose answer is that for the clean input, in [0, 1]."""
        return self.agreeing / self.draws

    @property
    def interval(self) -> Interval:
        """95 % interval (Wilson) of the stability, for other draws of the noise. It means nothing without chance."""
        from scipy.stats import binomtest

        low, high = binomtest(self.agreeing, self.draws).proportion_ci(0.95, method="wilson")
        return Interval(float(low), float(high))


@dataclass(frozen=True)
class Predictions:
    """The answers for several inputs, in their order, and what could not be read.

    Attributes:
        title: what the model is called.
        place: where it came from.
        perturbation: the noise, as it was asked for.
        random: whether its draws differ; if not there is one.
        draws: of the noise, for each input.
        seed: of the noise.
        answers: one per input that could be read.
        failures: the others.
    """

    title: str
    place: str
    perturbation: str
    random: bool
    draws: int
    seed: int
    answers: tuple[Prediction, ...]
    failures: tuple[Failure, ...]

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.answers)

    def __getitem__(self, index: int) -> Prediction:
        return self.answers[index]


def predict(
    target: TrainedModel | Run | str | Path,
    inputs: str | Path | Sequence[str | Path] | Tensor | NDArray[Any],
    *,
    perturb: str | Perturbation | None = None,
    draws: int = 20,
    seed: int = 0,
    top: int = 3,
    device: torch.device | str | None = None,
    batch_size: int = 512,
    progress: ProgressReporter | None = None,
) -> Predictions:
    """Ask a model about inputs, clean and under noise.

    The answer for an input depends on the model, that input and the settings alone: its noise is seeded by its own
    values, and it is not put into one batch with others. Draw k is the same however many draws there are.

    Args:
        target: a run, its folder, or what :func:`load_trained` loaded.
        inputs: files and folders, see :func:`noiseproof.deploying.inputs.read_samples`; or a batch (N, …), a tensor or
            an array, of images in [0, 1], vectors or series in the shape that the model takes. They are in the units
            of the data source, also for a run whose recipe standardises it.
        perturb: the noise, as ``"gaussian:8/255"``; None for the noise of the run's recipe. Where that standardises,
            it is in units of each column's or channel's standard deviation.
        draws: of the noise for each input, ≥ 1; a perturbation without chance is applied once.
        seed: of the noise, ≥ 0.
        top: how many of the likeliest classes to name, ≥ 1.
        device: where to run; None for where the model is. Noise is drawn on the CPU, so it is the same everywhere.
        batch_size: how many copies of an input the model gets at once, ≥ 1.
        progress: where to report; None for nowhere.

    Returns:
        The :class:`Predictions`.

    Raises:
        UnknownNameError: an unknown perturbation.
        InvalidArgumentError: a number outside its range, an attack for noise, or noise that does not take such inputs.
        DataError: a batch of another shape than the model's inputs.
        NoiseproofError: see :func:`load_trained`. A file that cannot be read is no error but a :class:`Failure`.
    """
    draws, batch_size, top = (
        check_whole(name, value, 1) for name, value in (("draws", draws), ("batch_size", batch_size), ("top", top))
    )
    check_range("seed", seed, 0)
    where = check_device(device)
    asked = target if isinstance(target, TrainedModel) else load_trained(target)
    noise = _noise(perturb, asked)
    model = asked.model if where is None else asked.model.to(where)
    oracle = _Oracle(
        model, asked.class_names, noise, draws if noise.random else 1, int(seed), top, batch_size, asked.scaling
    )
    layer = normalisation_of(model, asked.scaling) if len(asked.input_shape) < 3 else None
    deviations: list[Tensor] = []
    answers: list[Prediction] = []
    failures: list[Failure] = []
    sources = _sources(inputs, asked.input_shape, asked.feature_names)
    with evaluating(model), (progress or Silent()).task("predict", len(sources)) as task:
        for source in sources:
            for sample in source:
                if isinstance(sample, Failure):
                    failures.append(sample)
                    continue
                answers.append(oracle.ask(sample))
                if layer is not None:
                    deviations.append(channel_deviations(layer, sample.values.unsqueeze(0)))
            task.advance()
    if layer is not None and deviations:
        told = foreign_inputs(layer, torch.stack(deviations).mean(0), len(deviations))
        if told is not None:
            warnings.warn(told, stacklevel=2)
    return Predictions(
        asked.title,
        asked.place,
        str(perturb or asked.noise),
        noise.random,
        oracle.draws,
        oracle.seed,
        tuple(answers),
        tuple(failures),
    )


@dataclass(frozen=True, eq=False)
class _Oracle:
    """A model and how it is asked."""

    model: nn.Module
    class_names: tuple[str, ...]
    noise: Perturbation
    draws: int
    seed: int
    top: int
    batch_size: int
    scaling: Scaling | None

    def ask(self, sample: Sample) -> Prediction:
        """Classify one input and its noisy copies, in batches that hold nothing else."""
        values = sample.values.unsqueeze(0)
        clean = values if self.scaling is None else self.scaling.apply(values)
        logits = torch.cat([self._logits(batch) for batch in self._batches(clean)])
        if logits.shape[1] != len(self.class_names):
            raise DataError(f"the model has {logits.shape[1]} classes, the data names {len(self.class_names)}")
        answers = logits.argmax(1)
        likeliest = logits[0].softmax(0).topk(min(self.top, logits.shape[1]))
        top = tuple(
            (self.class_names[index], probability)
            for probability, index in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
        )
        return Prediction(
            name=sample.name,
            class_name=self.class_names[int(answers[0])],
            class_index=int(answers[0]),
            probability=top[0][1],
            agreeing=int((answers[1:] == answers[0]).sum()),
            draws=self.draws,
            top=top,
        )

    def _batches(self, clean: Tensor) -> Iterator[Tensor]:
        """Yield the clean input and its noisy copies."""
        content = hashlib.sha256(clean.contiguous().numpy().tobytes()).hexdigest()
        batch, spec = [clean], self.noise.spec
        for draw in range(self.draws):
            if len(batch) == self.batch_size:
                yield torch.cat(batch)
                batch = []
            batch.append(self.noise(clean, seeding.generator(self.seed, "predict", spec, draw, content)))
        yield torch.cat(batch)

    def _logits(self, batch: Tensor) -> Tensor:
        parameter = next(self.model.parameters(), batch)
        return logits_of(self.model, batch.to(parameter.device, parameter.dtype)).float().cpu()


def _noise(perturb: str | Perturbation | None, asked: TrainedModel) -> Perturbation:
    if perturb is None and asked.noise is None:
        raise InvalidArgumentError(
            f"{asked.place} does not say which noise it is made for: name one with --perturb (in Python perturb=), as "
            "gaussian:8/255"
        )
    if isinstance(perturb, str) and is_attack(perturb):
        raise InvalidArgumentError(f"{perturb!r} is an attack, not noise; `noiseproof evaluate` measures attacks")
    return perturbation(perturb if perturb is not None else asked.noise or "")


def _sources(
    inputs: str | Path | Sequence[str | Path] | Tensor | NDArray[Any],
    shape: tuple[int, ...],
    feature_names: tuple[str, ...] | None,
) -> list[Iterable[Sample | Failure]]:
    """What inputs come from: files, each read when it is its turn, or one batch."""
    if isinstance(inputs, np.ndarray):
        inputs = torch.from_numpy(np.ascontiguousarray(inputs))
    if isinstance(inputs, Tensor):
        return [tensor_samples(inputs, shape)]
    places = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    return [
        [file] if isinstance(file, Failure) else read_samples(file, shape, feature_names)
        for file in find_files(places, shape)
    ]
