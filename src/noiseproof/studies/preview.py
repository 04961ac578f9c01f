"""What a study would do, and how long it may take, told before anything is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noiseproof.methods import METHODS
from noiseproof.progress import ProgressReporter
from noiseproof.rehearsing import Span, rehearse
from noiseproof.scheduling import PlannedRun, check_folders
from noiseproof.studies.declaration import Study, load_study
from noiseproof.studies.designs import BASE, Trial
from noiseproof.studies.findings import ranked
from noiseproof.studies.planning import Plan
from noiseproof.studies.planning import measured as reports_of
from noiseproof.training import Recipe

__all__ = ["Preview", "PreviewedTrial", "preview"]


@dataclass(frozen=True)
class PreviewedTrial:
    """A trial or rival that may be trained.

    Attributes:
        trial: its name and what it changes.
        trainings: how many are needed at most, one a seed.
        left: how many of them are not done.
        each: seconds of one, its measurement included.
    """

    trial: Trial
    trainings: int
    left: int
    each: Span


@dataclass(frozen=True)
class Preview:
    """What would be done.

    Attributes:
        plan: of the study.
        trials: of the design, then rivals.
        undecided: trainings of finalists with their further seeds that are left at most; which, is not known yet.
    """

    plan: Plan
    trials: tuple[PreviewedTrial, ...]
    undecided: int

    @property
    def left(self) -> Span:
        """The time of all that is left, one training after another; finalists count as the slowest trial."""
        total = Span(0, 0, 0)
        for each in self.trials:
            total += each.each * each.left
        slowest = max((each.each for each in self.trials), key=lambda span: span.seconds)
        return total + slowest * self.undecided


def preview(
    study: Study | str | Path,
    changes: Mapping[str, Any] | None = None,
    out: str | Path = "runs/study",
    *,
    look: bool = True,
    progress: ProgressReporter | None = None,
) -> Preview:
    """Settle a study as :func:`noiseproof.studies.sweep` does, and time a few steps of each kind of training in it.

    Nothing is written or downloaded. Arguments and errors are those of ``sweep``.
    """
    declared = study if isinstance(study, Study) else load_study(study)
    declared.check_look(look)
    plan = Plan.of(declared, Path(out) / "runs", changes or {})
    check_folders(plan.deciding((*plan.trials, *plan.rivals)), "choose another folder with --out")
    costs: dict[str, Span] = {}
    measured = {"evaluate.perturbations": [*plan.columns, *(plan.transfer_columns if look else ())]}

    def cost(recipe: Recipe) -> Span:
        key = _kind(recipe)
        if key not in costs:
            nowhere = plan.runs / "rehearsed"
            seed = declared.seeds_to_decide[0]
            found = rehearse(recipe, [recipe.method], [seed], measured, out=nowhere, progress=progress)
            costs[key] = found.costs[recipe.method].training + found.costs[recipe.method].evaluation
        return costs[key]

    looked = plan.looking(plan.trials[0]) if look else []
    rows = []
    for trial in (*plan.trials, *(plan.rivals if look else ())):
        runs = plan.screening() if trial in plan.trials and declared.chooses else looked
        own = [run for run in runs if run.row == trial.name]
        left = sum(_is_left(run) for run in own)
        rows.append(PreviewedTrial(trial, len(own), left, cost(plan.recipes[trial.name])))
    return Preview(plan, tuple(rows), _undecided(plan, look=look))


def _undecided(plan: Plan, *, look: bool) -> int:
    """How many trainings with further seeds finalists, and the base for the look, may take."""
    study = plan.study
    if not study.chooses:
        return 0
    more = len(study.seeds_to_decide) - len(study.seeds)
    if all(not _is_left(run) for run in plan.screening()):  # then it is known who they are
        order = ranked(plan, reports_of(plan.screening(), plan.columns))[: study.finalists]
        names = {trial.name for trial in order} | ({BASE} if look else set())
        runs = plan.deciding([trial for trial in plan.trials if trial.name in names])
        return sum(_is_left(run) for run in runs if run.recipe.seed not in study.seeds)
    base = 1 if look and study.finalists < len(plan.trials) else 0
    return (min(study.finalists, len(plan.trials)) + base) * more


def _is_left(run: PlannedRun) -> bool:
    """Whether it would be trained: a training that diverged is not repeated."""
    return not run.trained and run.divergence is None


def _kind(recipe: Recipe) -> str:
    """What the time of a training depends on, as text: not on the weights of a loss or the rate of learning."""
    settings = recipe.for_run(recipe.method, 0).settings()
    for key in ("name", "preset", "seed"):
        settings.pop(key)
    settings["train"] = {
        key: value for key, value in settings["train"].items() if key not in ("optimizer", "schedule")
    }
    settings["views"] = METHODS[recipe.method].views_for(recipe.options(recipe.method))
    settings["methods"] = [
        value for options in settings["methods"].values() for value in options.values() if isinstance(value, str)
    ]
    return json.dumps(settings, sort_keys=True)
