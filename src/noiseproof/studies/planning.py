"""The runs of a study: its trials on the validation split, then those that are looked at on the test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noiseproof.errors import InvalidArgumentError, RecipeError, UnknownNameError
from noiseproof.evaluation import RobustnessReport
from noiseproof.evaluation.views import view
from noiseproof.methods import METHODS
from noiseproof.scheduling import PlannedRun, measured_so_far
from noiseproof.studies.declaration import Study
from noiseproof.studies.designs import BASE, Trial
from noiseproof.training import Recipe, load_recipe
from noiseproof.training.run import Part

__all__ = ["Plan", "measured"]

_MEASURED_BY = ("data", "evaluate", "seed", "name")  # keys that say on what and how a run is measured, or which it is
_OF_TRAINING = ("data.augment", "data.train_fraction")


@dataclass(frozen=True)
class Plan:
    """Where the runs of a study lie and what they are.

    Attributes:
        study: the study.
        runs: the folder for runs, as ``TRIAL/seed-SEED``.
        recipes: by name of trial or rival, settled but for the seed.
        trials: of the design; the base is among them.
        rivals: settings outside the design.
    """

    study: Study
    runs: Path
    recipes: Mapping[str, Recipe]
    trials: tuple[Trial, ...]
    rivals: tuple[Trial, ...]

    @classmethod
    def of(cls, study: Study, runs: Path, changes: Mapping[str, Any]) -> Plan:
        """Settle every recipe, so that a mistake in any is told before anything is run.

        Args:
            study: the study.
            runs: the folder for runs.
            changes: of every recipe, by dotted path, which win over ``study.set`` and lose against what varies.

        Raises:
            RecipeError, UnknownNameError: a wrong key or value, with the trial's name.
            InvalidArgumentError: trials or rivals of one name, options of a method that no trial is trained by, or a
                score that is not measured.
        """
        trials = study.design_trials(_whole_numbers(study, changes))
        if not any(trial.name == BASE for trial in trials):  # a random design hardly draws the recipe as it is
            trials = [Trial(BASE, {}), *trials]
        rivals = [Trial(name, given) for name, given in study.rivals.items()]
        names = [trial.name for trial in (*trials, *rivals)]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InvalidArgumentError(f"no two trials or rivals may have one name: {', '.join(twice)}")
        for trial in (*trials, *rivals):
            _require_one_measure(trial)
        recipes = {trial.name: _settled(study, changes, trial) for trial in (*trials, *rivals)}
        _require_effect(study, {recipes[trial.name].method for trial in trials})
        known = {view(column).spec for column in recipes[BASE].evaluate.perturbations}
        for column in study.score:
            if view(column).spec not in known:
                raise InvalidArgumentError(
                    f"the score names {column!r}, which is not among evaluate.perturbations: "
                    f"{', '.join(recipes[BASE].evaluate.perturbations)}"
                )
        return cls(study, runs, recipes, tuple(trials), tuple(rivals))

    @property
    def columns(self) -> tuple[str, ...]:
        """The perturbations that everything is measured under."""
        return self.recipes[BASE].evaluate.perturbations

    @property
    def score_columns(self) -> tuple[str, ...]:
        """Those whose mean accuracy chooses."""
        by_spec = {view(column).spec: column for column in self.columns}
        return tuple(by_spec[view(column).spec] for column in self.study.score) or self.columns

    @property
    def transfer_columns(self) -> tuple[str, ...]:
        """Those that are measured in the end alone."""
        known = {view(column).spec for column in self.columns}
        return tuple(column for column in self.study.transfer if view(column).spec not in known)

    @property
    def titles(self) -> dict[str, str]:
        """What tables print, by name of trial or rival; where nothing is chosen, the one setting has its method's."""
        titles = {name: name for name in self.recipes}
        if not self.study.chooses:
            recipe = self.recipes[BASE]
            titles[BASE] = METHODS[recipe.method].title_in(recipe.preset)
        return titles

    def screening(self) -> list[PlannedRun]:
        """Every trial with the study's seeds, one seed of all before the next; nothing where nothing is chosen."""
        if not self.study.chooses:
            return []
        return [self._run(trial, seed, "validation") for seed in self.study.seeds for trial in self.trials]

    def deciding(self, finalists: Sequence[Trial]) -> list[PlannedRun]:
        """The finalists with all seeds."""
        return [self._run(trial, seed, "validation") for seed in self.study.seeds_to_decide for trial in finalists]

    def looking(self, chosen: Trial) -> list[PlannedRun]:
        """The chosen trial, the base and the rivals, on the test set."""
        shown = dict.fromkeys([chosen.name, BASE, *(rival.name for rival in self.rivals)])
        return [
            self._run(trial, seed, "test", self.transfer_columns)
            for seed in self.study.seeds_to_decide
            for trial in (*self.trials, *self.rivals)
            if trial.name in shown
        ]

    def _run(self, trial: Trial, seed: int, part: Part, more: tuple[str, ...] = ()) -> PlannedRun:
        recipe = self.recipes[trial.name].for_run(self.recipes[trial.name].method, seed)
        folder = self.runs / trial.name / f"seed-{seed}"
        columns = (*self.columns, *more)
        return PlannedRun(trial.name, self.titles[trial.name], recipe, columns, folder, part, self.transfer_columns)


def measured(runs: Sequence[PlannedRun], columns: Sequence[str]) -> dict[str, dict[int, RobustnessReport]]:
    """Return the reports of those that are done, by row and seed."""
    found: dict[str, dict[int, RobustnessReport]] = {}
    for run in runs:
        report = measured_so_far(run) if run.trained else None
        if report is not None and set(columns) <= set(report):
            found.setdefault(run.row, {})[run.recipe.seed] = report.only(columns)
    return found


def _require_one_measure(trial: Trial) -> None:
    """Raise where a trial would be measured on other samples or draws than the others, or fixes the seed."""
    for path in trial.changes:
        if path.startswith(_MEASURED_BY) and not path.startswith(_OF_TRAINING):
            raise InvalidArgumentError(
                f"{trial.name}: {path} cannot differ between trials, since all are measured alike; seeds of training "
                "are the study's seeds, and what holds for all goes into set"
            )


def _require_effect(study: Study, methods: set[str]) -> None:
    """Raise where an option varies of a method that no trial is trained by: all would be the same training."""
    for each in study.vary:
        root, _, rest = each.path.partition(".")
        method = rest.partition(".")[0]
        if root == "methods" and method not in methods:
            raise InvalidArgumentError(
                f"{each.path} varies, but what is trained is {', '.join(sorted(methods))}: set method={method}"
            )


def _whole_numbers(study: Study, changes: Mapping[str, Any]) -> set[str]:
    """The keys that vary and hold whole numbers in the recipe as it is."""
    values = load_recipe(study.recipe, {**study.set, **changes}).with_all_options().model_dump()
    whole = set()
    for each in study.vary:
        found: Any = values
        for part in each.path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, int) and not isinstance(found, bool):
            whole.add(each.path)
    return whole


def _settled(study: Study, changes: Mapping[str, Any], trial: Trial) -> Recipe:
    overrides = {**study.set, **changes, **trial.changes}
    try:
        recipe = load_recipe(study.recipe, overrides)
        if study.chooses and recipe.data.validation_fraction == 0:
            held_out = {"data.validation_fraction": study.validation_fraction, "train.keep": "last"}
            recipe = load_recipe(study.recipe, {**held_out, **overrides})
    except UnknownNameError as error:
        raise InvalidArgumentError(f"{trial.name}: {error}") from error
    except RecipeError as error:
        raise RecipeError(f"{trial.name}: {error}") from error
    if recipe.train.keep == "best-test":
        raise InvalidArgumentError(
            "a study looks at the test set once, so that no weights may be chosen on it; set train.keep=last"
        )
    return recipe
