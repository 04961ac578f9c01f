"""How long steps, checkpoints and looks at the test set take here and now, from a few of each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from noiseproof.data import ArrayDataset, LabelledDataset, thinned
from noiseproof.evaluation import evaluate
from noiseproof.evaluation.attacks import is_attack
from noiseproof.evaluation.views import is_random, view
from noiseproof.training.checkpoint import sealed
from noiseproof.training.trainer import Trainer

__all__ = ["Span", "Timing", "evaluation_seconds", "time_steps"]

# Steps that are not counted: the first few find memory, threads and kernels that the others have.
_WARM_UP_STEPS, _WARM_UP_SECONDS = 3, 2.0
_FEWEST, _MOST, _SECONDS = 4, 40, 3.0
_LOOK_SAMPLES, _LOOK_SECONDS, _LOOK_DRAWS = 128, 2.0, 4
_PILOT_SAMPLES = 8


@dataclass(frozen=True)
class Span:
    """A length of time in seconds, and what it would be if all went as fast or as slowly as the extremes timed."""

    seconds: float
    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.seconds + other.seconds, self.low + other.low, self.high + other.high)

    def __mul__(self, times: float) -> Span:
        return Span(self.seconds * times, self.low * times, self.high * times)


@dataclass(frozen=True)
class Timing:
    """What was timed of a training.

    Attributes:
        step: of one step, the making of its batch included.
        steps: how many steps that is from.
        checkpoint: seconds to make a checkpoint, without the disk.
        validation: seconds of the look at the data that weights are chosen on, once an epoch; 0 where there is none.
    """

    step: Span
    steps: int
    checkpoint: float
    validation: float


def time_steps(trainer: Trainer) -> Timing:
    """Time a few steps of a training that is then thrown away: the median after a warm-up, with the extremes.

    Data that lies on disk is read ahead, so that steps come in bunches; there the mean is taken. What is compiled in
    the first steps is not counted.
    """
    stream = trainer.timed_steps()
    compiled = trainer.recipe.train.compile is not None
    warm_up = min(_WARM_UP_STEPS, trainer.total_steps - 1)
    passed = 0.0
    for _ in range(warm_up):
        passed += next(stream)
        if passed > _WARM_UP_SECONDS and not compiled:
            break
    taken: list[float] = []
    for seconds in stream:
        taken.append(seconds)
        if len(taken) >= _MOST or (len(taken) >= _FEWEST and sum(taken) > _SECONDS):
            break
    stream.close()
    in_memory = isinstance(trainer.splits.train, ArrayDataset)
    usual = statistics.median(taken) if in_memory or compiled else statistics.fmean(taken)
    started = time.perf_counter()
    sealed(trainer.state_dict())
    checkpoint = time.perf_counter() - started
    return Timing(Span(usual, *_usual_extremes(taken)), len(taken), checkpoint, _validation_seconds(trainer))


def _usual_extremes(taken: Sequence[float]) -> tuple[float, float]:
    """The fastest and the slowest step but for the one in ten at either end that a busy machine holds up."""
    ordered = sorted(taken)
    left_out = len(ordered) // 10
    return ordered[left_out], ordered[-1 - left_out]


def _validation_seconds(trainer: Trainer) -> float:
    chosen_on = (
        trainer.splits.validation,
        trainer.splits.test if trainer.recipe.train.keep == "best-test" else None,
    )
    model = trainer.method.model
    return sum(evaluation_seconds(model, data, ("clean",), 1) for data in chosen_on if data is not None)


def evaluation_seconds(model: nn.Module, data: LabelledDataset, perturbations: Sequence[str], draws: int) -> float:
    """Estimate the seconds of an evaluation from a few looks at a few samples, attacks left out.

    Args:
        model: run where it is.
        data: all that would be looked at.
        perturbations: texts.
        draws: of each random one.
    """
    pilot = min(_PILOT_SAMPLES, len(data))
    _seconds_of(model, thinned(data, pilot), "clean", 1)  # warm-up
    each = _seconds_of(model, thinned(data, pilot), "clean", 1) / pilot
    wanted = [spec for spec in perturbations if not is_attack(spec)]
    affordable = _LOOK_SECONDS / max(len(wanted) * each, 1e-9)
    samples = thinned(data, max(pilot, min(_LOOK_SAMPLES, int(affordable))))
    looks = max(1, min(_LOOK_DRAWS, draws, int(affordable / len(samples))))
    total = 0.0
    for spec in wanted:
        random = is_random(view(spec))
        seconds = _seconds_of(model, samples, spec, looks)
        total += seconds * (draws / looks if random else 1)
    return total * len(data) / len(samples)


def _seconds_of(model: nn.Module, data: LabelledDataset, spec: str, draws: int) -> float:
    started = time.perf_counter()
    evaluate(model, data, [spec], draws=draws)
    return time.perf_counter() - started
