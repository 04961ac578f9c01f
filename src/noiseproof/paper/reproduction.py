"""Running an experiment of the paper as far as time allows, and writing its page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from noiseproof.checks import check_range, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.paper.command import DEFAULT_LIMIT, command_for
from noiseproof.paper.declaration import Experiment, load_experiment
from noiseproof.paper.figures import figure_parts
from noiseproof.paper.page import comparison_of, results_folder, write_page
from noiseproof.paper.planning import Setting, plan
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.reporting import Table, comparison_table
from noiseproof.scheduling import PlannedRun, check_folders, work

__all__ = ["Reproduction", "reproduce"]


@dataclass(frozen=True)
class Reproduction:
    """How far an experiment is.

    Attributes:
        page: its ``README.md``.
        tables: of accuracies, one for each recipe with a finished run; empty for figures.
        done: how many runs are trained and measured.
        total: how many there are.
        drawn: whether the figure is drawn for all its recipes; true for tables.
        wrong: a line for each run that cannot be finished.
    """

    page: Path
    tables: tuple[Table, ...]
    done: int
    total: int
    drawn: bool
    wrong: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.done == self.total and self.drawn


def reproduce(
    name: str,
    setting: Setting | None = None,
    *,
    seeds: Sequence[int] | None = None,
    rows: Sequence[str] | None = None,
    out: str | Path = "results",
    budget: float | None = None,
    jobs: int = 1,
    limit: int = DEFAULT_LIMIT,
    progress: ProgressReporter | None = None,
) -> Reproduction:
    """Run a table or figure of the paper, or go on with it, and write ``OUT/NAME/README.md``.

    What is finished is not run again, so that the same call goes on where an earlier one stopped.

    Args:
        name: of the experiment, as ``table1``.
        setting: how it is run; None for the paper's scale and the preset ``paper``.
        seeds: of training; None for the experiment's.
        rows: those that are run and shown; None for all.
        out: the folder for results.
        budget: seconds after which to stop, > 0; None for never. What is under way stops with a checkpoint; a figure
            that is being drawn is finished first.
        jobs: how many runs are made side by side, ≥ 1.
        limit: how many test samples figures and theory look at, ≥ 1.
        progress: where to report; None for nowhere.

    Returns:
        A :class:`Reproduction`.

    Raises:
        UnknownNameError: no such experiment or row.
        InvalidArgumentError: a number out of range, or a source of data for a recipe that the experiment lacks.
        RunFolderError: a folder holds a run of another recipe.
        DataError: the data cannot be read.
    """
    deadline = None if budget is None else time.time() + check_range("budget", budget, 0, open_low=True)
    jobs, limit = check_whole("jobs", jobs, 1), check_whole("limit", limit, 1)
    experiment, setting = load_experiment(name), setting or Setting()
    if seeds is not None and (not seeds or len(set(seeds)) != len(seeds)):
        raise InvalidArgumentError(f"seeds must be at least one number, and none twice, got {list(seeds)}")
    planned = plan(experiment, setting, seeds, rows)
    shown = {**_run_before(plan(experiment, setting, seeds, rows, every_recipe=True)), **planned}
    folder = results_folder(experiment, setting, Path(out))
    runs = [run for of_recipe in planned.values() for run in of_recipe]
    check_folders(runs, "choose another folder for runs with --runs")
    wrong = work(runs, deadline=deadline, jobs=jobs, progress=progress)
    drawn = _drawn(experiment, setting, shown, planned, folder, deadline, limit, progress or Silent())
    command = command_for(name, setting, seeds=seeds, rows=rows, jobs=jobs, limit=limit)
    page = write_page(experiment, setting, shown, folder, command, drawn, wrong)
    comparisons = [comparison_of(experiment, of_recipe) for of_recipe in planned.values() if experiment.columns]
    return Reproduction(
        page,
        tuple(comparison_table(each) for each in comparisons if each is not None),
        sum(run.done for run in runs),
        len(runs),
        experiment.kind == "table" or set(drawn) >= set(planned),
        tuple(wrong),
    )


def _run_before(planned: Mapping[str, Sequence[PlannedRun]]) -> dict[str, Sequence[PlannedRun]]:
    """The recipes of which anything is finished, for the page, though no data is named for them now."""
    return {recipe: runs for recipe, runs in planned.items() if any(run.trained for run in runs)}


def _drawn(
    experiment: Experiment,
    setting: Setting,
    shown: Mapping[str, Sequence[PlannedRun]],
    planned: Mapping[str, Sequence[PlannedRun]],
    folder: Path,
    deadline: float | None,
    limit: int,
    progress: ProgressReporter,
) -> dict[str, list[str]]:
    """What the page says of the figure, for each recipe that is trained; drawn if need be, while there is time."""
    drawn: dict[str, list[str]] = {}
    if experiment.kind == "table":
        return drawn
    several = len(experiment.recipes) > 1
    for recipe, runs in shown.items():
        if not all(run.trained for run in runs):
            continue
        where = folder / recipe if several else folder
        may_draw = recipe in planned and (deadline is None or time.time() < deadline)
        parts = figure_parts(experiment, setting, runs, where, limit=limit, may_draw=may_draw, progress=progress)
        if parts is not None:
            drawn[recipe] = [part.replace("](", f"]({recipe}/") if several else part for part in parts]
    return drawn
