"""What a study found, as tables and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noiseproof.reporting.tables import Entry, Table, decimals_for, interval_text, percent, points, short_name
from noiseproof.studies.correlations import Correlation
from noiseproof.studies.designs import Trial
from noiseproof.studies.effects import Difference, Effect, Reports, difference, score

__all__ = ["correlation_table", "effect_table", "ranking_records", "ranking_table"]


def ranking_table(
    ranking: Sequence[Trial],
    reports: Mapping[str, Reports],
    score_columns: Sequence[str],
    columns: Sequence[str],
    base: str,
) -> Table:
    """Every measured trial with its accuracies on the validation split, the best first."""
    first = next(iter(reports[ranking[0].name].values()))
    decimals = decimals_for(len(first.labels))
    rows = tuple(
        (
            Entry(trial.name),
            Entry(percent(score(found, score_columns), decimals), _spread(found, score_columns, decimals), rank == 0),
            Entry(_against(trial.name, base, reports, score_columns, decimals)),
            *(Entry(percent(score(found, [column]), decimals)) for column in columns),
            Entry(str(len(found))),
        )
        for rank, trial in enumerate(ranking)
        for found in [reports[trial.name]]
    )
    return Table(
        "Trials, the best first",
        ("Trial", "Score", f"Against {base}", *map(short_name, columns), "Seeds"),
        rows,
        f"Accuracy in % of the {len(first.labels)} samples held out for validation, mean over training seeds and "
        f"draws. Score: mean over {_named(score_columns, columns)}, ± std over training seeds if there are several. "
        f"Against {base}: difference in points on the seeds that both have, with its 95 % interval for other samples "
        "and draws. That the first of many trials is the best is partly luck.",
    )


def effect_table(effects: Sequence[Effect], short: Mapping[str, str], columns: Sequence[str], decimals: int) -> Table:
    """What each value does in place of its factor's first, on the validation split."""
    rows = tuple(
        (
            Entry(f"{short[effect.path]}: {effect.base} → {effect.value}"),
            Entry(points(effect.by_column[""].mean, decimals)),
            Entry(interval_text(effect.by_column[""].over_samples, decimals, signed=True)),
            Entry(interval_text(effect.by_column[""].over_seeds, decimals, signed=True)),
            Entry(effect.by_column[""].verdict),
            *(Entry(points(effect.by_column[column].mean, decimals)) for column in columns),
            Entry(str(effect.pairs)),
        )
        for effect in effects
    )
    return Table(
        "Main effects",
        ("Change", "Score", "95 %, samples", "95 %, seeds", "Verdict", *map(short_name, columns), "Pairs"),
        rows,
        "Difference in points between trials that differ in this alone, on the validation split. The first interval "
        "(bootstrap) is for other samples and draws, the second (Student's t) for other training seeds; a verdict "
        "needs all that there are. None is corrected for looking at several.",
    )


def ranking_records(
    ranking: Sequence[Trial], reports: Mapping[str, Reports], score_columns: Sequence[str], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """One record a trial, for CSV and JSON, accuracies in [0, 1]."""
    return [
        {
            "trial": trial.name,
            "score": score(reports[trial.name], score_columns),
            **{column: score(reports[trial.name], [column]) for column in columns},
            "seeds": len(reports[trial.name]),
            "changes": dict(trial.changes),
            "score_by_seed": {
                str(seed): score({seed: report}, score_columns) for seed, report in reports[trial.name].items()
            },
        }
        for trial in ranking
    ]


def _named(score_columns: Sequence[str], columns: Sequence[str]) -> str:
    if list(score_columns) == list(columns):
        return "all columns"
    return ", ".join(map(short_name, score_columns))


def _spread(found: Reports, columns: Sequence[str], decimals: int) -> str:
    values = [score({seed: report}, columns) for seed, report in found.items()]
    return f"±{percent(float(np.std(values, ddof=1)), decimals)}" if len(values) > 1 else ""


def _against(name: str, base: str, reports: Mapping[str, Reports], columns: Sequence[str], decimals: int) -> str:
    if name == base or not set(reports[name]) & set(reports.get(base, {})):
        return ""
    found: Difference = difference([(reports[name], reports[base])], columns)
    return f"{points(found.mean, decimals)} ({interval_text(found.over_samples, decimals, signed=True)})"


def correlation_table(correlations: Sequence[Correlation], short: Mapping[str, str]) -> Table:
    """How the score goes with the numbers that a random design drew."""
    rows = tuple(
        (Entry(short[each.path]), Entry(f"{each.rho:+.2f}".replace("-", "−")), Entry(f"{each.p_value:.2g}"))
        for each in correlations
    )
    return Table(
        "What the score goes with",
        ("Number", "Spearman's ρ", "p"),
        rows,
        f"Rank correlation with the score over {correlations[0].trials} trials, all of which differ in everything "
        "that varies: a first hint where to look closer, blind to a best value in the middle. Not corrected for "
        "looking at several.",
    )
