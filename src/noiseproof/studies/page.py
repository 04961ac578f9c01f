"""The page of a study, ``OUT/README.md``, and the files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from noiseproof.evaluation import compare_methods
from noiseproof.files import write_text
from noiseproof.reporting import comparison_records, comparison_table, method_difference_table
from noiseproof.reporting.tables import Table, decimals_for, to_csv
from noiseproof.scheduling import PlannedRun
from noiseproof.studies.designs import BASE
from noiseproof.studies.factors import short_keys
from noiseproof.studies.findings import Findings
from noiseproof.studies.looks import Look
from noiseproof.studies.planning import Plan
from noiseproof.studies.tables import correlation_table, effect_table, ranking_records, ranking_table
from noiseproof.training import Run

__all__ = ["tables_of", "write_page"]

NOTES = "notes.md"


def write_page(
    plan: Plan,
    findings: Findings,
    looks: Sequence[Look],
    runs: Sequence[PlannedRun],
    wrong: Sequence[str],
    changes: Mapping[str, Any],
    folder: Path,
    command: str,
) -> Path:
    """Write ``README.md``, ``study.yaml``, ``study.json`` and, if any are tried, ``trials.csv``; the page takes in
    ``notes.md``.

    Args:
        plan: of the study.
        findings: what is measured.
        looks: at the test set, so far.
        runs: those that are known to be needed.
        wrong: a line for each run that cannot be finished.
        changes: of every recipe, beside those of the study.
        folder: where to write.
        command: that makes the page again; empty for none.
    """
    notes = folder / NOTES
    parts = [
        f"# {plan.study.title or f'Study of {plan.study.recipe}'}",
        _choice(plan, findings, looks),
        notes.read_text(encoding="utf-8").strip() if notes.is_file() else "",
        *(_section(table) for table in tables_of(plan, findings)),
        "## Could not be finished\n\n" + "\n".join(f"- {line}" for line in wrong) if wrong else "",
        _unfinished(runs, wrong),
        _how(runs, command),
    ]
    records = ranking_records(findings.ranking, findings.reports, plan.score_columns, plan.columns)
    summary = {
        "study": plan.study.model_dump(mode="json"),
        "trials": records,
        "effects": [asdict(effect) for effect in findings.effects],
        "correlations": [asdict(each) for each in findings.correlations],
        "chosen": None if findings.chosen is None else {"trial": findings.chosen.name, **findings.chosen.changes},
        "test": [] if findings.test is None else comparison_records(findings.test),
        "transfer": [] if findings.transfer is None else comparison_records(findings.transfer),
        "looks": [look._asdict() for look in looks],
    }
    write_text(folder / "README.md", "\n\n".join(filter(None, parts)) + "\n")
    write_text(folder / "study.yaml", _as_yaml(plan, changes))
    write_text(folder / "study.json", json.dumps(_finite(summary), indent=2, ensure_ascii=False) + "\n")
    if records:
        write_text(folder / "trials.csv", to_csv(records))
    return folder / "README.md"


def _section(table: Table) -> str:
    title, _, body = table.to_markdown().partition("\n\n")
    return f"## {title}\n\n{body.strip()}"


def tables_of(plan: Plan, findings: Findings) -> list[Table]:
    """Return what was found on the test set, then the order of the trials, then what each change is worth."""
    tables = []
    if findings.test is not None and findings.chosen is not None:
        chosen, shown = findings.chosen.name, findings.test.methods
        tables.append(comparison_table(findings.test))
        tables += [
            method_difference_table(compare_methods(findings.test, chosen, other), plan.titles)
            for other in shown
            if chosen in shown and other != chosen
        ]
    if findings.transfer is not None:
        tables.append(comparison_table(findings.transfer))
    if not findings.ranking:
        return tables
    report = next(iter(findings.reports[findings.ranking[0].name].values()))
    decimals, short = decimals_for(len(report.labels)), short_keys([each.path for each in plan.study.vary])
    tables.append(ranking_table(findings.ranking, findings.reports, plan.score_columns, plan.columns, BASE))
    if findings.effects:
        tables.append(effect_table(findings.effects, short, plan.columns, decimals))
    if findings.correlations:
        tables.append(correlation_table(findings.correlations, short))
    return tables


def _choice(plan: Plan, findings: Findings, looks: Sequence[Look]) -> str:
    """What was chosen, from what, and how often the test set was looked at."""
    count = len(plan.trials)
    if not plan.study.chooses:
        rivals = f"{len(plan.rivals)} rival{'s' if len(plan.rivals) > 1 else ''}"
        return " ".join([
            f"Nothing was chosen here: one setting, {plan.titles[BASE]}, stands against {rivals} on the test set; "
            "[chosen.yaml](chosen.yaml) is its recipe.",
            *_looks(looks),
        ])  # fmt: skip
    if findings.chosen is None:
        return f"Not decided yet: {len(findings.ranking)} of {count} trials are measured."
    base = next(trial for trial in plan.trials if trial.name == BASE).changes
    differs = {path: value for path, value in findings.chosen.changes.items() if base.get(path, ...) != value}
    changes = "; ".join(f"`{path}: {value}`" for path, value in differs.items()) or "the first value of everything"
    return " ".join([
        f"**Chosen on the validation split, from {count} trials: {findings.chosen.name}** ({changes}); "
        "[chosen.yaml](chosen.yaml) is its recipe.",
        *_looks(looks),
    ])  # fmt: skip


def _looks(looks: Sequence[Look]) -> list[str]:
    """How often the test set was looked at; nothing as long as it was not."""
    if not looks:
        return []
    if len(looks) == 1:
        return [f"The test set was looked at once, at {looks[0].time}."]
    earlier = "; ".join(f"{look.chosen} of {look.trials} trials at {look.time}" for look in looks)
    return [
        f"**The test set was looked at {len(looks)} times** ({earlier}): what was changed after the first look "
        "may have been changed because of it, so the numbers below may be too good."
    ]


def _unfinished(runs: Sequence[PlannedRun], wrong: Sequence[str]) -> str:
    missing = [
        f"- {run.title}, seed {run.recipe.seed}: "
        + (f"to be measured on the {run.part} split" if run.trained else _progress(run))
        for run in runs
        if not run.done and not any(line.startswith(f"{run.name}:") for line in wrong)
    ]
    return "## Not finished\n\n" + "\n".join(missing) if missing else ""


def _progress(run: PlannedRun) -> str:
    return f"{run.epochs_done} of {run.recipe.train.epochs} epochs"


def _how(runs: Sequence[PlannedRun], command: str) -> str:
    finished = [Run(run.folder).recipe.provenance for run in runs if run.trained]
    said = [f"Made by `{command}`." if command else ""]
    if finished:
        first = finished[0]
        versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
        prints = ", ".join(sorted({each["data_fingerprint"][:12] for each in finished}))
        said.append(f"Data {prints} ({first['samples']}); {first['device']}; {versions}.")
    return "## How\n\n" + " ".join(filter(None, said)) if any(said) else ""


def _as_yaml(plan: Plan, changes: Mapping[str, Any]) -> str:
    """The study as it can be given again, wherever the data is then."""
    kept: dict[str, Any] = plan.study.model_dump(mode="json", exclude_defaults=True)
    settings = {**plan.study.set, **{path: value for path, value in changes.items() if path != "data.source"}}
    if settings:
        kept["set"] = settings
    kept["vary"] = {each["path"]: each["values"] for each in kept["vary"]}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100)


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and value != value else value
