"""The runs that a command would make, and how far each of them is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noiseproof.experiments import known_report
from noiseproof.training import Recipe, Run
from noiseproof.training.checkpoint import CHECKPOINTS
from noiseproof.training.folder import require_free

__all__ = ["RehearsedRun", "State", "rehearsed_run"]

State = Literal["new", "begun", "trained", "done"]


@dataclass(frozen=True)
class RehearsedRun:
    """One run of a command.

    Attributes:
        recipe: settled: one method, one seed, and a precision that is not ``auto``.
        folder: where it goes.
        state: ``new``; ``begun``, so that it goes on from its checkpoint; ``trained``, but not evaluated as the
            recipe asks for; or ``done``.
        steps_done: of a run that was begun, the steps of whole epochs that are behind it.
        replaces: whether a run that is there would be replaced.
    """

    recipe: Recipe
    folder: Path
    state: State
    steps_done: int = 0
    replaces: bool = False

    @property
    def method(self) -> str:
        """The method's name."""
        return self.recipe.method


def rehearsed_run(settled: Recipe, folder: Path, *, overwrite: bool, resume: bool, measured: bool) -> RehearsedRun:
    """Look how far a run is, and change nothing.

    Args:
        settled: the run's recipe.
        folder: of the run.
        overwrite: whether what is there would be replaced.
        resume: whether it would be gone on with.
        measured: whether the command evaluates it too.

    Raises:
        RunFolderError: as the command itself would: ``folder`` is taken.
    """
    require_free(folder, settled, overwrite=overwrite, resume=resume)
    there = (folder / "recipe.yaml").is_file()
    if overwrite or not there:
        return RehearsedRun(settled, folder, "new", replaces=there)
    if (folder / "model.safetensors").is_file():
        wanted = settled.evaluate
        done = not measured or known_report(Run(folder), wanted.perturbations, wanted.draws, seed=0) is not None
        return RehearsedRun(settled, folder, "done" if done else "trained")
    if not any((folder / name).is_file() for name in CHECKPOINTS):
        return RehearsedRun(settled, folder, "new")
    return RehearsedRun(settled, folder, "begun", _steps_done(folder))


def _steps_done(folder: Path) -> int:
    """The step at the end of the last epoch that was finished."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except (OSError, ValueError, LookupError, TypeError):
        return 0
