"""Rehearsing a training or a comparison: the real data, network, trainer and steps, but few of them and no folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from noiseproof import seeding
from noiseproof.data import Splits
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.evaluation.attacks import is_attack
from noiseproof.evaluation.suitability import require_suitable
from noiseproof.experiments import comparison_folder
from noiseproof.methods import METHODS
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.rehearsing.plan import RehearsedRun, rehearsed_run
from noiseproof.rehearsing.timing import Span, Timing, evaluation_seconds, time_steps
from noiseproof.training import Recipe, Run, load_recipe
from noiseproof.training.engine import device_name, native_device
from noiseproof.training.fitting import make_trainer
from noiseproof.training.run import default_folder, load_data, precision_for

__all__ = ["MethodCost", "Rehearsal", "rehearse"]


@dataclass(frozen=True)
class MethodCost:
    """What one run of a method takes.

    Attributes:
        views: what a step looks at, of ``"clean"`` and ``"noisy"``.
        parameters: of the network, that are trained.
        steps: of the whole training.
        epochs: begun ones.
        timing: what was timed.
        training: of one run from the first step on.
        evaluation: of one run; 0 seconds where the command does not evaluate.
    """

    views: tuple[str, ...]
    parameters: int
    steps: int
    epochs: int
    timing: Timing
    training: Span
    evaluation: Span

    def left(self, run: RehearsedRun) -> Span:
        """What is left to do of a run."""
        if run.state == "done":
            return Span(0, 0, 0)
        share = 0.0 if run.state == "trained" else 1 - min(1.0, run.steps_done / self.steps)
        return self.training * share + self.evaluation


@dataclass(frozen=True)
class Rehearsal:
    """What would be done.

    Attributes:
        title: of the command.
        recipe: that the runs share.
        runs: in their order.
        samples: by part: training, validation, test.
        input_shape: of one input.
        classes: how many.
        device: what training runs on, for people.
        threads: that torch uses on a CPU.
        costs: by method, of those that have anything left to train or to evaluate.
        data_seconds: that loading the data took.
        left_out: what takes time too and is not in the estimate.
        load: how many processes wanted a core in the minute before; 0 where the system does not tell, and where
            training runs on another device.
    """

    title: str
    recipe: Recipe
    runs: tuple[RehearsedRun, ...]
    samples: Mapping[str, int]
    input_shape: tuple[int, ...]
    classes: int
    device: str
    threads: int
    costs: Mapping[str, MethodCost]
    data_seconds: float
    left_out: tuple[str, ...]
    load: float = 0.0

    @property
    def crowded(self) -> bool:
        """Whether other work keeps most cores from threads that wait for each other at every operator."""
        cores = os.cpu_count() or 1
        return self.threads > 1 and self.load + self.threads > 1.5 * cores

    @property
    def steps_timed(self) -> int:
        """How many steps the estimate is from."""
        return sum(cost.timing.steps for cost in self.costs.values())

    @property
    def left(self) -> Span:
        """The time that all runs take that are not done, one after another."""
        total = Span(0, 0, 0)
        for run in self.runs:
            if run.state != "done":
                total += self.costs[run.method].left(run)
        return total


def rehearse(
    recipe: str | Path | Recipe,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    explain: bool = False,
    progress: ProgressReporter | None = None,
) -> Rehearsal:
    """Tell what :func:`noiseproof.compare` would do, or :func:`noiseproof.train` where ``methods`` is None.

    The data is loaded, and a few steps of each method are made and timed with the real network on the real device;
    weights are random also where the recipe asks for pretrained ones. Nothing is written or downloaded.

    Args:
        recipe: as for both.
        methods: of a comparison; None for a training by the recipe's method.
        seeds: of a comparison, or one of a training; None for the recipe's.
        overrides: changes of the recipe by dotted path.
        out: the folder of the comparison or of the run.
        overwrite: whether what is there would be replaced.
        resume: whether a training would go on with a run that is there; a comparison always does.
        explain: whether the comparison would be explained, which is not timed.
        progress: where to report; None for nowhere.

    Raises:
        InvalidArgumentError, UnknownNameError, RecipeError, RunFolderError, DataError: where the command itself would.
    """
    load = _load()
    base = load_recipe(recipe, overrides)
    comparing = methods is not None
    if (comparing and not methods) or (seeds is not None and not seeds):
        raise InvalidArgumentError("a comparison needs at least one method and one seed")
    resume = (resume or comparing) and not overwrite
    runs = []
    for method in dict.fromkeys(methods or (base.method,)):
        for seed in dict.fromkeys(seeds or (base.seed,)):
            settled = base.for_run(method, seed)
            if comparing:
                folder = (Path(out) if out is not None else comparison_folder(base)) / method / f"seed-{seed}"
            else:
                folder = Path(out) if out is not None else default_folder(settled)
            settled = settled.with_precision(precision_for(folder, resume))
            runs.append(rehearsed_run(settled, folder, overwrite=overwrite, resume=resume, measured=comparing))
    started = time.perf_counter()
    data = _data(base)
    if comparing:
        require_suitable(base.evaluate.perturbations, data.test)
    seconds = time.perf_counter() - started
    _check_data(runs, data)
    costs = _costs(runs, data, comparing, progress or Silent())
    what = "compare" if comparing else "train"
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    return Rehearsal(
        f"{what} {base.name}",
        runs[0].recipe,
        tuple(runs),
        {name: len(part) for name, part in parts.items() if part is not None},
        data.train.input_shape,
        data.train.num_classes,
        device_name(),
        torch.get_num_threads(),
        costs,
        seconds,
        _left_out(base, comparing, explain),
        load,
    )


def _load() -> float:
    return os.getloadavg()[0] if native_device().type == "cpu" and hasattr(os, "getloadavg") else 0.0


def _data(recipe: Recipe) -> Splits:
    kept = recipe.model_copy(update={"data": recipe.data.model_copy(update={"download": False})})
    try:
        return load_data(kept)
    except DataError as error:
        if not recipe.data.download:
            raise
        raise DataError(f"a rehearsal downloads nothing, and the data is not there: {error}") from error


def _check_data(runs: Sequence[RehearsedRun], data: Splits) -> None:
    """Raise where a finished run was made with other data, as going on with it would."""
    for run in runs:
        if run.state in ("trained", "done"):
            Run(run.folder).check_data(data)


def _costs(
    runs: Sequence[RehearsedRun], data: Splits, comparing: bool, progress: ProgressReporter
) -> dict[str, MethodCost]:
    first = {run.method: run for run in reversed(runs) if run.state != "done"}
    wanted = [method for method in dict.fromkeys(run.method for run in runs) if method in first]
    costs = {}
    evaluation: float | None = None
    with progress.task("time a few steps", len(wanted)) as task:
        for method in wanted:
            run = first[method]
            trainer, beginning = make_trainer(run.recipe, data, pretrained=False)
            timing = time_steps(trainer)
            if evaluation is None and comparing:  # the same network on the same samples for all methods
                settings = run.recipe.evaluate
                with seeding.seeded(run.recipe.seed, "initial weights"):
                    network = beginning.description.build(pretrained=False)
                evaluation = evaluation_seconds(network, data.test, settings.perturbations, settings.draws)
            costs[method] = _cost(run.recipe, trainer.total_steps, trainer.epochs, timing, evaluation or 0.0, sum(
                weight.numel() for weight in trainer.method.model.parameters()
            ))  # fmt: skip
            task.advance()
    return costs


def _cost(recipe: Recipe, steps: int, epochs: int, timing: Timing, evaluation: float, parameters: int) -> MethodCost:
    checkpoints = max(0, epochs - 1) // recipe.train.checkpoint_every
    beside = epochs * timing.validation + checkpoints * timing.checkpoint
    spread = Span(1.0, timing.step.low / timing.step.seconds, timing.step.high / timing.step.seconds)
    return MethodCost(
        METHODS[recipe.method].views_for(recipe.options(recipe.method)),
        parameters,
        steps,
        epochs,
        timing,
        timing.step * steps + spread * beside,
        spread * evaluation,
    )


def _left_out(recipe: Recipe, comparing: bool, explain: bool) -> tuple[str, ...]:
    """What the estimate does not hold, in words."""
    attacks = [spec for spec in recipe.evaluate.perturbations if is_attack(spec)]
    return (
        *(["the writing of files"]),
        *(["the compilation"] if recipe.train.compile is not None else []),
        *(["the report"] if comparing else []),
        *([f"the attacks {', '.join(attacks)}"] if attacks and comparing else []),
        *(["the sections of --explain"] if explain else []),
        *(["the fetching of pretrained weights"] if recipe.model.options.get("weights") else []),
    )
