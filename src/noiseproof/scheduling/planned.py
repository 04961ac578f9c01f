"""One of many runs: what it is, where it lies, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from noiseproof.errors import NoiseproofError
from noiseproof.evaluation import RobustnessReport
from noiseproof.methods import METHODS
from noiseproof.training import Recipe, Run
from noiseproof.training.folder import DIVERGED
from noiseproof.training.run import Part

__all__ = ["EVALUATION_SEED", "PlannedRun", "measured_so_far"]

EVALUATION_SEED = 0


@dataclass(frozen=True)
class PlannedRun:
    """A training and its measurement.

    Attributes:
        row: names what the runs of several seeds have in common.
        title: of the row, as tables print it.
        recipe: settled: one method, one seed.
        columns: perturbations to measure under.
        folder: of the run.
        part: of the data that it is measured on.
        later: perturbations that it is to be measured under in the end, beside ``columns``.
    """

    row: str
    title: str
    recipe: Recipe
    columns: tuple[str, ...]
    folder: Path
    part: Part = "test"
    later: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Recipe, row and seed, for people."""
        return f"{self.recipe.name}, {self.row}, seed {self.recipe.seed}"

    @property
    def trained(self) -> bool:
        return (self.folder / "model.safetensors").is_file()

    @property
    def done(self) -> bool:
        """Whether it is trained and measured."""
        return self.trained and not self.unmeasured

    @property
    def divergence(self) -> str | None:
        """How its training diverged, if it did: on a CPU, and mostly elsewhere, the same recipe does so again."""
        try:
            return None if self.trained else (self.folder / DIVERGED).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def unmeasured(self) -> list[str]:
        """The columns that are not measured yet."""
        known = set(measured_so_far(self) or ()) if self.columns else ()
        return [column for column in self.columns if column not in known]

    @property
    def epochs_done(self) -> int:
        """How many epochs are behind it."""
        try:
            return len((self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        except OSError:
            return 0

    @property
    def passes(self) -> int:
        """How often a training takes the training set through the network, forward and back."""
        return self.recipe.train.epochs * self.views

    @property
    def views(self) -> int:
        """How many views of a batch the method looks at."""
        options = self.recipe.options(self.recipe.method)
        return len(METHODS[self.recipe.method].views_for(options))


def measured_so_far(planned: PlannedRun) -> RobustnessReport | None:
    """Return what is measured of a run already, by the seed and number of draws that are wanted; or None."""
    try:
        report = Run(planned.folder).report(planned.part)
    except NoiseproofError:  # not finished, damaged, or of an older version
        return None
    wanted = planned.recipe.evaluate
    if report is None or report.seed != EVALUATION_SEED:
        return None
    fits = all(len(result.correct) == wanted.draws for result in report.values() if result.random)
    return report if fits else None
