"""What a study has found so far: the order of its trials, what each change is worth, and the look at the test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noiseproof.evaluation import Comparison, RobustnessReport
from noiseproof.scheduling import PlannedRun
from noiseproof.studies.correlations import Correlation, correlations
from noiseproof.studies.designs import Trial
from noiseproof.studies.effects import Effect, Reports, main_effects, score
from noiseproof.studies.planning import Plan, measured

__all__ = ["Findings", "findings_of", "ranked"]


@dataclass(frozen=True)
class Findings:
    """What is measured.

    Attributes:
        reports: on the validation split, by trial's name and training seed.
        ranking: the measured trials, the best first.
        effects: of every value of a listed factor against its first.
        correlations: of every number of a random design.
        chosen: the best; None as long as anything that decides is missing.
        test: the chosen trial, the base and the rivals on the test set; None until it was looked at.
        transfer: the same under the perturbations that are measured in the end alone; None without any.
    """

    reports: Mapping[str, Reports]
    ranking: tuple[Trial, ...]
    effects: tuple[Effect, ...]
    correlations: tuple[Correlation, ...]
    chosen: Trial | None = None
    test: Comparison | None = None
    transfer: Comparison | None = None


def findings_of(plan: Plan, chosen: Trial | None, looked: Sequence[PlannedRun]) -> Findings:
    """Read what is measured.

    Args:
        plan: of the study.
        chosen: the trial that was chosen, if one was.
        looked: the runs that are measured on the test set.
    """
    reports = measured(plan.deciding(plan.trials), plan.columns) if plan.study.chooses else {}
    ranking = ranked(plan, reports)
    shown = tuple(plan.columns)
    return Findings(
        reports,
        ranking,
        tuple(main_effects(plan.study.vary, plan.trials, _screened(plan, reports), plan.score_columns, shown)),
        _correlations(plan, reports),
        chosen,
        _comparison(plan, looked, plan.columns, plan.study.title or plan.study.recipe),
        _comparison(plan, looked, plan.transfer_columns, "nothing was chosen by these"),
    )


def ranked(plan: Plan, reports: Mapping[str, Mapping[int, RobustnessReport]]) -> tuple[Trial, ...]:
    """Return the measured trials, the highest score first; of equals the one that comes first in the design.

    A trial with all the seeds that decide comes before one with fewer, since scores over other seeds do not compare.
    """

    def place(trial: Trial) -> tuple[int, float]:
        found = reports[trial.name]
        return -len(found), -score(found, plan.score_columns)

    return tuple(sorted((trial for trial in plan.trials if reports.get(trial.name)), key=place))


def _screened(plan: Plan, reports: Mapping[str, Reports]) -> dict[str, Reports]:
    """The reports of the seeds that every trial is trained with, so that effects stand on equal ground."""
    seeds = plan.study.seeds
    return {
        name: {seed: report for seed, report in by_seed.items() if seed in seeds} for name, by_seed in reports.items()
    }


def _correlations(plan: Plan, reports: Mapping[str, Reports]) -> tuple[Correlation, ...]:
    if plan.study.design != "random":
        return ()
    screened = _screened(plan, reports)
    drawn = [trial for trial in plan.trials if trial.levels and screened.get(trial.name)]
    scored = [(trial.levels, score(screened[trial.name], plan.score_columns)) for trial in drawn]
    return tuple(correlations(plan.study.vary, scored))


def _comparison(plan: Plan, looked: Sequence[PlannedRun], columns: Sequence[str], title: str) -> Comparison | None:
    """What is measured under ``columns`` on the test set; None for nothing."""
    reports = measured(looked, columns) if columns else {}
    if not reports:
        return None
    caveats = dict.fromkeys(recipe.caveat for name, recipe in plan.recipes.items() if name in reports)
    return Comparison(title, reports, plan.titles, " ".join(filter(None, caveats)))
