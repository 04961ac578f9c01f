"""The page of an experiment, ``results/NAME/README.md``, and the files beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noiseproof.durations import in_words
from noiseproof.evaluation import Comparison, RobustnessReport
from noiseproof.files import write_text
from noiseproof.paper.agreement import OUTCOMES, OrderAgreement, cell_agreements, order_agreements
from noiseproof.paper.command import as_yaml
from noiseproof.paper.declaration import Experiment
from noiseproof.paper.planning import PlannedRun, Setting, measured_so_far
from noiseproof.paper.tables import agreement_table, contradictions, order_table
from noiseproof.reporting import accuracy_plot, comparison_records, comparison_table, to_svg
from noiseproof.reporting.tables import to_csv
from noiseproof.training import Recipe, Run

__all__ = ["comparison_of", "results_folder", "write_page"]

NOTES = "notes.md"


def results_folder(experiment: Experiment, setting: Setting, out: Path) -> Path:
    """Return where the results of an experiment go; every scale and preset has a folder of its own."""
    return out / f"{experiment.name}{setting.suffix}"


def comparison_of(experiment: Experiment, planned: Sequence[PlannedRun]) -> Comparison | None:
    """Return what is measured of one recipe's runs, by row and seed; None where no run is done."""
    reports: dict[str, dict[int, RobustnessReport]] = {row.name: {} for row in experiment.rows}
    for run in planned:
        report = measured_so_far(run) if run.done else None
        if report is not None:
            reports[run.row.name][run.recipe.seed] = report.only(experiment.columns)
    if not any(reports.values()):
        return None
    titles = {row.name: row.title for row in experiment.rows}
    title = f"{experiment.name}, {planned[0].recipe.name}"
    return Comparison(title, reports, titles, planned[0].recipe.caveat)


def write_page(
    experiment: Experiment,
    setting: Setting,
    planned: Mapping[str, Sequence[PlannedRun]],
    folder: Path,
    command: str,
    drawn: Mapping[str, Sequence[str]],
    wrong: Sequence[str] = (),
) -> Path:
    """Write the page of an experiment as far as it is, with the files that it speaks of.

    A ``notes.md`` that lies in the folder, written by hand, becomes a section of the page.

    Args:
        experiment: which.
        setting: how it was run.
        planned: its runs by recipe.
        folder: where to write; made if it is not there.
        command: that made it.
        drawn: what :func:`noiseproof.paper.figures.figure_parts` gave for a figure or the theory, by recipe.
        wrong: a line for each run that cannot be finished.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    several = len(experiment.recipes) > 1
    claim = f"The paper (§{experiment.section}): {experiment.claim}" if experiment.in_paper else experiment.claim
    every = [run for runs in planned.values() for run in runs]
    parts = [f"# {experiment.title}", _label(experiment, setting, every), f"```sh\n{command}\n```", claim]
    for recipe in experiment.recipes:
        runs = planned.get(recipe, ())
        parts.append(f"## {recipe}" if several else "")
        if not runs:
            parts.append(f"Not run: no data was given for `{recipe}` (`--data {recipe}=SOURCE`).")
            continue
        prefix = f"{recipe}-" if several else ""
        parts += drawn.get(recipe, ())
        if experiment.kind == "table":
            parts += _table_parts(experiment, setting, recipe, runs, folder, prefix)
        parts.append(_unfinished(runs))
        _copy_metrics(runs, folder / "metrics", prefix)
    if wrong:
        parts.append("**Cannot be finished**:\n\n" + "\n".join(f"- {line}" for line in wrong))
    if (folder / NOTES).is_file():
        parts.append((folder / NOTES).read_text(encoding="utf-8", errors="replace"))
    parts.append("## How it was made\n\n" + _how(setting, every))
    write_text(folder / "README.md", "\n\n".join(part.strip() for part in parts if part) + "\n")
    return folder / "README.md"


def _label(experiment: Experiment, setting: Setting, runs: Sequence[PlannedRun]) -> str:
    """What has to be said of scale, preset, changes, data and parts before any number."""
    said = []
    if setting.scale == "reduced":
        said.append(
            "**Reduced scale**: a smaller network and a shorter schedule than the paper's, for two CPU cores. The "
            "order of the methods may be set against the paper's; the numbers may not."
        )
    if setting.preset != "paper":
        said.append(f"Preset `{setting.preset}`: as the authors' published code does it.")
        said += dict.fromkeys(run.recipe.caveat for run in runs if run.recipe.caveat)
    if setting.changes:
        changes = ", ".join(f"{path} = {as_yaml(value)}" for path, value in setting.changes.items())
        said.append(f"**Changed settings**: {changes}. Not the experiment of the paper.")
    if not experiment.data_public:
        said.append("The paper's pictures are not public: these are others, whose numbers are not the paper's.")
    rows, seeds = ({run.row.name for run in runs}, sorted({run.recipe.seed for run in runs}))
    if runs and len(rows) < len(experiment.rows):
        said.append(f"Only the rows {', '.join(row.name for row in experiment.rows if row.name in rows)}.")
    if runs and not set(seeds) >= set(experiment.seeds):
        said.append(f"Only the training seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}.")
    return " ".join(said)


def _table_parts(
    experiment: Experiment, setting: Setting, recipe: str, runs: Sequence[PlannedRun], folder: Path, prefix: str
) -> list[str]:
    """The accuracies of one recipe, how they go with the paper's, and a plot; writes the files with the numbers."""
    comparison = comparison_of(experiment, runs)
    if comparison is None:
        return []
    published = experiment.published.get(recipe)
    orders = order_agreements(comparison, published, experiment.columns) if published else []
    _write_numbers(experiment, setting, runs, comparison, orders, folder, prefix)
    parts = [_verdict(orders), comparison_table(comparison).to_markdown()]
    if published:
        comparable = setting.comparable(experiment)
        parts += _order_parts(orders, comparison, comparable=comparable)
        if comparable:
            cells = cell_agreements(comparison, published, experiment.columns)
            parts.append(agreement_table(cells, comparison.method_titles).to_markdown())
    if len(experiment.columns) > 1:
        parts.append(f"![Accuracy by row and perturbation]({prefix}accuracy.svg)")
        figure = accuracy_plot(comparison)
        figure.suptitle(" ".join(filter(None, (_short_label(setting), comparison.caveat))), fontsize="small")
        write_text(folder / f"{prefix}accuracy.svg", to_svg(figure, standalone=True))
    return parts


def _order_parts(orders: Sequence[OrderAgreement], comparison: Comparison, *, comparable: bool) -> list[str]:
    """The order of the rows, and plainly what is the other way round than in the paper."""
    table = order_table(orders).to_markdown()
    against = contradictions(orders, comparison.method_titles, with_published=comparable)
    if against:
        return [table, "### Against the paper\n\n" + "\n".join(f"- {line}" for line in against)]
    if len(comparison.seeds) > 1:
        return [table, "No two rows are the other way round than in the paper beyond both intervals."]
    return [table, "One training seed: no order is decided."]


def _write_numbers(
    experiment: Experiment,
    setting: Setting,
    runs: Sequence[PlannedRun],
    comparison: Comparison,
    orders: Sequence[OrderAgreement],
    folder: Path,
    prefix: str,
) -> None:
    """Write ``table.csv`` and ``table.json``."""
    records = comparison_records(comparison)
    label = {"scale": setting.scale, "preset": setting.preset}
    summary: dict[str, Any] = {
        "experiment": experiment.name,
        **label,
        "changes": dict(setting.changes),
        "caveat": comparison.caveat,
        "accuracies": records,
        "orders": [
            {"column": order.column, "ours": order.ours, "published": order.published}
            | {outcome: order.count(outcome) for outcome in OUTCOMES}
            for order in orders
        ],
        "recipes": {run.row.name: run.recipe.settings() for run in runs},
    }
    changed = {"changed": bool(setting.changes)}
    write_text(folder / f"{prefix}table.csv", to_csv([{**label, **changed, **record} for record in records]))
    write_text(folder / f"{prefix}table.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


def _short_label(setting: Setting) -> str:
    said = ["reduced scale" if setting.scale == "reduced" else "", "changed settings" if setting.changes else ""]
    return ", ".join(filter(None, said)).capitalize() + "." if any(said) else ""


def _verdict(orders: Sequence[OrderAgreement]) -> str:
    """How the order of the rows here goes with the paper's, in a sentence."""
    same, undecided, opposite = (sum(order.count(outcome) for order in orders) for outcome in OUTCOMES)
    if not same + undecided + opposite:
        return ""
    return (
        f"Of {_counted(same + undecided + opposite, 'pair')} of rows that the paper sets apart, over all columns, "
        f"**{same} stand the same way round here, {opposite} the other way round**, and {undecided} cannot be "
        "told apart."
    )


def _unfinished(runs: Sequence[PlannedRun]) -> str:
    """Which runs are missing."""
    missing = [
        f"- {run.row.title}, seed {run.recipe.seed}: "
        + ("trained, not measured" if run.trained else f"{run.epochs_done} of {run.recipe.train.epochs} epochs")
        for run in runs
        if not run.done
    ]
    return "**Not finished**, and not in the numbers above:\n\n" + "\n".join(missing) if missing else ""


def _copy_metrics(runs: Sequence[PlannedRun], folder: Path, prefix: str) -> None:
    """Keep the log of every epoch beside the page."""
    for run in runs:
        source = run.folder / "metrics.jsonl"
        if source.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / f"{prefix}{run.row.name}-seed-{run.recipe.seed}.jsonl")


def _how(setting: Setting, runs: Sequence[PlannedRun]) -> str:
    """Versions, data, hardware and time, of the runs that are finished."""
    finished = [Run(run.folder) for run in runs if run.trained]
    if not finished:
        return "No run is finished."
    recipes = [run.recipe for run in finished]
    seconds = sum(epoch["seconds"] for run in finished for epoch in run.metrics())
    lines = {
        "scale, preset": f"{setting.scale}, {setting.preset}",
        "runs": f"{sum(run.done for run in runs)} of {len(runs)} finished",
        "recipe": _all(map(_network, recipes)),
        "versions": _all(_versions(recipe) for recipe in recipes),
        "data": _all(_data(recipe) for recipe in recipes),
        "hardware": _all(_hardware(recipe) for recipe in recipes),
        "time": f"{in_words(seconds)} of training, the sum over all runs; measuring comes on top",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in lines.items())])


def _network(recipe: Recipe) -> str:
    options = ", ".join(f"{name} {value}" for name, value in recipe.model.options.items())
    train = recipe.train
    return (
        f"{recipe.model.name}{f' ({options})' if options else ''}, {_counted(train.epochs, 'epoch')}, batch "
        f"{train.batch_size}, {train.optimizer.name} at {train.optimizer.lr:g}, {train.schedule.name}, "
        f"{train.precision}; training noise {recipe.noise.train}; weights kept: {train.keep}"
    )


def _versions(recipe: Recipe) -> str:
    known = recipe.provenance
    return ", ".join([f"Python {known['python']}", *(f"{name} {v}" for name, v in known["versions"].items())])


def _data(recipe: Recipe) -> str:
    known = recipe.provenance
    sizes = ", ".join(f"{count:,} {part}" for part, count in known["samples"].items())
    return f"{sizes}; fingerprint {known['data_fingerprint']}"


def _hardware(recipe: Recipe) -> str:
    known = recipe.provenance
    return f"{known['device']}, {_counted(known['threads'], 'thread')} a run"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _all(texts: Iterable[str]) -> str:
    """Each different text once."""
    return "; ".join(dict.fromkeys(texts))
