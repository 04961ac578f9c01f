"""Running a study as far as time allows: trials, finalists, one look at the test set, and its page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noiseproof.checks import check_range, check_whole
from noiseproof.files import write_text
from noiseproof.progress import ProgressReporter
from noiseproof.scheduling import Divergence, PlannedRun, check_folders, work
from noiseproof.studies.declaration import Study, load_study
from noiseproof.studies.designs import Trial
from noiseproof.studies.findings import Findings, findings_of, ranked
from noiseproof.studies.looks import note_look, read_looks
from noiseproof.studies.page import write_page
from noiseproof.studies.planning import Plan, measured
from noiseproof.training.recipes import dump_recipe

__all__ = ["StudyResult", "sweep"]


@dataclass(frozen=True)
class StudyResult:
    """How far a study is.

    Attributes:
        plan: what its runs are.
        page: its ``README.md``.
        findings: what is measured.
        chosen: a recipe file of the chosen trial, once there is one.
        done: how many of the runs that are known to be needed are done.
        total: how many are needed, as far as is known; finalists join once all trials are done.
        complete: whether nothing is left to do.
        wrong: a line for each run that could not be finished; a training that diverges is among them.
    """

    plan: Plan
    page: Path
    findings: Findings
    chosen: Path | None
    done: int
    total: int
    complete: bool
    wrong: tuple[str, ...]

    @property
    def diverged(self) -> tuple[str, ...]:
        """Lines on the trainings that diverged."""
        return tuple(line for line in self.wrong if isinstance(line, Divergence))


def sweep(
    study: Study | str | Path,
    changes: Mapping[str, Any] | None = None,
    out: str | Path = "runs/study",
    *,
    look: bool = True,
    budget: float | None = None,
    jobs: int = 1,
    command: str = "",
    progress: ProgressReporter | None = None,
) -> StudyResult:
    """Try settings, choose the best on the validation split, and look at the test set once.

    A study that varies nothing chooses nothing: its one setting is held against its rivals.

    What is finished is not run again, so that the same call goes on where an earlier one stopped.

    Args:
        study: what is tried, or the path of a YAML file that says it.
        changes: of every recipe, by dotted path, such as where the data is.
        out: the folder for runs, below ``runs/``, and results.
        look: whether to measure the chosen trial, the base and the rivals on the test set in the end.
        budget: seconds after which to stop, > 0, with checkpoints; None for never.
        jobs: how many runs are made side by side, ≥ 1; with more than one, a script must be a file that calls this
            below ``if __name__ == "__main__":``, since every process imports it anew.
        command: what the page says made it.
        progress: where to report; None for nowhere.

    Returns:
        A :class:`StudyResult`. ``out`` holds ``README.md``, ``study.yaml``, ``study.json``, ``trials.csv``,
        ``looks.json`` and, once a trial is chosen, ``chosen.yaml``, a recipe.

    Raises:
        RecipeError, UnknownNameError, InvalidArgumentError: a fault in the study or in a recipe that it leads to, or
            no look at the test set by a study that is nothing else.
        RunFolderError: a folder holds a run of another recipe.
    """
    deadline = None if budget is None else time.time() + check_range("budget", budget, 0, open_low=True)
    jobs = check_whole("jobs", jobs, 1)
    declared = study if isinstance(study, Study) else load_study(study)
    declared.check_look(look)
    folder = Path(out)
    plan = Plan.of(declared, folder / "runs", changes or {})
    folder.mkdir(parents=True, exist_ok=True)
    read_looks(folder)  # a damaged record is told before the work is done
    stages = _Stages(plan, folder, look)
    wrong = stages.run(deadline, jobs, progress)
    findings = findings_of(plan, stages.chosen, stages.looked)
    page = write_page(plan, findings, read_looks(folder), stages.needed, wrong, changes or {}, folder, command)
    chosen = None
    if stages.chosen is not None:
        chosen = folder / "chosen.yaml"
        write_text(chosen, dump_recipe(plan.recipes[stages.chosen.name]))
    return StudyResult(
        plan, page, findings, chosen, sum(run.done for run in stages.needed), len(stages.needed), stages.complete,
        tuple(wrong),
    )  # fmt: skip


class _Stages:
    """Screening, deciding and looking; each begins when nothing is left to do in the one before.

    Where there is nothing to choose from, looking comes first.
    """

    def __init__(self, plan: Plan, folder: Path, look: bool) -> None:
        self._plan, self._folder, self._look = plan, folder, look
        self._needed: dict[tuple[Path, str], PlannedRun] = {}
        self._wrong: dict[str, None] = {}
        self.looked: list[PlannedRun] = []
        self.chosen: Trial | None = None
        self.complete = False

    @property
    def needed(self) -> list[PlannedRun]:
        """The runs that are known to be needed so far."""
        return list(self._needed.values())

    def run(self, deadline: float | None, jobs: int, progress: ProgressReporter | None) -> list[str]:
        """Do what is to be done and time allows; return a line for each run that cannot be finished."""
        plan = self._plan
        check_folders(plan.deciding((*plan.trials, *plan.rivals)), "choose another folder with --out")

        def settled(runs: Sequence[PlannedRun]) -> bool:
            self._needed |= {(run.folder, run.part): run for run in runs}
            self._wrong |= dict.fromkeys(work(runs, deadline=deadline, jobs=jobs, progress=progress))
            return all(run.done or self._failed(run) for run in runs)

        if not plan.study.chooses:
            self.chosen = plan.trials[0]
        elif settled(plan.screening()):
            self.chosen = self._decided(settled)
        if self.chosen is not None and self._look:
            self.looked = plan.looking(self.chosen)
            note_look(self._folder, plan, self.chosen)
            self.complete = settled(self.looked)
        else:
            self.complete = self.chosen is not None
        return list(self._wrong)

    def _decided(self, settled: Callable[[Sequence[PlannedRun]], bool]) -> Trial | None:
        """The best trial with all seeds; where every finalist diverges, the next in the ranking takes its place."""
        plan = self._plan
        order = ranked(plan, measured(plan.screening(), plan.columns))
        for count in range(min(plan.study.finalists, len(order)), len(order) + 1):
            if not settled(plan.deciding(order[:count])):
                return None
            decided = measured(plan.deciding(plan.trials), plan.columns)
            seeds = len(plan.study.seeds_to_decide)
            best = ranked(plan, {name: found for name, found in decided.items() if len(found) == seeds})
            if best:
                return best[0]
        return None

    def _failed(self, run: PlannedRun) -> bool:
        """Whether its training diverged, which is an answer and no failure."""
        return any(isinstance(line, Divergence) and line.startswith(f"{run.name}:") for line in self._wrong)
