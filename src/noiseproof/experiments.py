"""Experiments made of several runs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noiseproof.checks import check_range, check_whole
from noiseproof.data import LabelledDataset, Splits
from noiseproof.data.dataset import thinned
from noiseproof.errors import InvalidArgumentError, NoiseproofError, RunFolderError
from noiseproof.evaluation import Comparison, RobustnessReport, compare_methods, evaluate
from noiseproof.evaluation.scales import normalisation_of, outsized_noise, unlike_scales
from noiseproof.evaluation.suitability import require_suitable
from noiseproof.explaining import panels
from noiseproof.files import write_text
from noiseproof.methods import METHODS, PAPER_METHODS
from noiseproof.presenting import (
    Row,
    check_same_test,
    find_runs,
    group,
    joint_comparison,
    page_of,
    require_page,
    sections_of,
    shown_runs,
)
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.reporting import (
    Panel,
    comparison_records,
    comparison_table,
    findings,
    method_difference_table,
    render_page,
)
from noiseproof.reporting.tables import to_csv
from noiseproof.targets import Target
from noiseproof.training import Recipe, Run, load_recipe, train
from noiseproof.training.engine import native_device
from noiseproof.training.recipe import EvaluateSettings
from noiseproof.training.run import load_data

__all__ = [
    "compare",
    "comparison_folder",
    "evaluate_run",
    "evaluate_target",
    "known_report",
    "write_report",
]


def compare(
    recipe: str | Path | Recipe,
    methods: Sequence[str] = PAPER_METHODS,
    seeds: Sequence[int] = (0, 1, 2),
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    explain: bool = False,
    progress: ProgressReporter | None = None,
) -> Comparison:
    """Train every method with every seed on the same data and evaluate all under the recipe's perturbations.

    What is finished in ``out`` already is not run again, so a comparison that was stopped goes on where it was.

    Args:
        recipe: the name of a packaged recipe, the path of a YAML file, or a recipe.
        methods: names of methods.
        seeds: seeds of the runs. The test set and its noise are the same for all.
        overrides: changes of the recipe by dotted path.
        out: the folder for the runs, as ``METHOD/seed-SEED``; None for ``runs/RECIPE``.
        overwrite: whether to run again what is there.
        explain: whether the page also shows curvature, features and the theorems, for the first seed.
        progress: where to report; None for nowhere.

    Returns:
        The :class:`noiseproof.evaluation.Comparison`; it is also written to ``out`` as ``table.md``, ``table.csv``,
        ``table.json``, ``differences.md`` (of the last method to every other, with intervals) and ``report.html``.

    Raises:
        UnknownNameError, RecipeError: an unknown method, or a fault in the recipe.
        RunFolderError: a run in ``out`` was made by another recipe, or ``out`` is itself a run.
    """
    if not methods or not seeds:
        raise InvalidArgumentError("a comparison needs at least one method and one seed")
    for seed in seeds:
        check_range("seeds", seed, 0)
    base = load_recipe(recipe, overrides)
    titles = {method: METHODS[method].title_in(base.preset) for method in methods}
    folder = Path(out) if out is not None else comparison_folder(base)
    if (folder / "recipe.yaml").is_file():
        raise RunFolderError(f"the output folder {folder} is that of a run; choose another with --out")
    data = load_data(base)
    folders = {(method, seed): folder / method / f"seed-{seed}" for method in methods for seed in seeds}
    if overwrite or not all((each / "model.safetensors").is_file() for each in folders.values()):
        require_suitable(base.evaluate.perturbations, data.test)
    reporter = progress or Silent()
    reports: dict[str, dict[int, RobustnessReport]] = {method: {} for method in methods}
    runs: dict[str, dict[int, Run]] = {method: {} for method in methods}
    with reporter.task(f"compare {base.name}", len(methods) * len(seeds)) as task:
        for method in methods:
            for seed in seeds:
                settled = base.for_run(method, seed)
                run = runs[method][seed] = train(
                    settled,
                    out=folders[method, seed],
                    overwrite=overwrite,
                    resume=not overwrite,
                    data=data,
                    progress=reporter,
                )
                reports[method][seed] = evaluate_run(
                    run, test=data.test, again=overwrite, device=str(native_device()), progress=reporter
                )
                task.advance()
    caveat = next(run.recipe.caveat for by_seed in runs.values() for run in by_seed.values())  # one for all
    comparison = Comparison(base.name, reports, titles, caveat)
    rows = [Row(method, titles[method], by_seed) for method, by_seed in runs.items()]
    _write(comparison, base, rows, data, folder, [])
    if explain:
        shown = shown_runs(rows)
        _write(comparison, base, rows, data, folder, panels(shown, folder, data=data, progress=reporter))
    return comparison


def comparison_folder(recipe: Recipe) -> Path:
    """Return where the comparison of a recipe goes, if nothing else is said."""
    return Path("runs", recipe.name)


def _write(
    comparison: Comparison, recipe: Recipe, rows: Sequence[Row], data: Splits, folder: Path, sections: Sequence[Panel]
) -> None:
    """Write the comparison as ``table.md``, ``table.csv``, ``table.json`` and ``report.html``."""
    records = comparison_records(comparison)
    summary = {
        "title": comparison.title,
        "caveat": comparison.caveat,
        "accuracies": records,
        "recipe": recipe.with_all_options().settings(),
    }
    # When and how long it trained is left out, so that the same recipe gives the same page.
    page = render_page(page_of(rows, comparison, data, sections))
    write_text(folder / "table.md", comparison_table(comparison).to_markdown())
    write_text(folder / "differences.md", _differences(comparison))
    write_text(folder / "table.csv", to_csv(records))
    write_text(folder / "table.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "report.html", page)


def _differences(comparison: Comparison) -> str:
    """The last method, in the paper's order its own, against every other, as Markdown."""
    *others, last = comparison.methods
    titles = comparison.method_titles
    tables = [
        method_difference_table(compare_methods(comparison, last, other), titles, caveat=comparison.caveat)
        for other in others
    ]
    return "\n".join(table.to_markdown() for table in tables)


def write_report(
    runs: str | Path | Run | Sequence[str | Path | Run],
    path: str | Path = "report.html",
    *,
    title: str = "",
    noise: str | None = None,
    explain: bool | None = None,
    progress: ProgressReporter | None = None,
) -> Path:
    """Write a page on some runs: what was trained, who leads and by how much, and what goes wrong.

    Runs that differ in nothing but the seed are one row; rows of one method are named by what tells them apart. A run
    that was not measured yet is measured under its recipe's perturbations, and keeps the report.

    Args:
        runs: runs, their folders, or folders that hold runs, as :func:`compare` leaves them; one or several.
        path: the HTML file to write, with its folder; a page of noiseproof that is there is replaced.
        title: of the page; empty for the recipe's name.
        noise: which measured perturbation to look at closely; None for the one with the lowest accuracies.
        explain: whether to show curvature, features and the theorems, of each row's first seed. That takes some ten
            seconds a row for a small network on a CPU, and many minutes for a ResNet on large images. None for
            showing them where they are kept from an earlier time.
        progress: where to report; None for nowhere.

    Returns:
        The path of the page.

    Raises:
        InvalidArgumentError: no run, the same training twice, runs for other test data, runs measured with other
            noise, or ``noise`` that was not measured.
        RunFolderError: a folder without a finished run, or another file at ``path``.
    """
    path = Path(path)
    require_page(path)
    places = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    rows = group(find_runs(places))
    everyone = [run for row in rows for run in row.runs.values()]
    data = check_same_test(everyone)
    reporter = progress or Silent()
    reports = {run.folder: _report_of(run, data, reporter) for run in everyone}
    names = list(dict.fromkeys(row.first.recipe.name for row in rows))
    comparison = joint_comparison(" and ".join(names[:3]), rows, reports)
    findings(comparison, noise)  # a noise that was not measured is told before anything is explained
    page = page_of(
        rows, comparison, data, sections_of(rows, places, data, explain, reporter), noise=noise, title=title,
        occasion=True,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_page(page))
    return path


def _report_of(run: Run, data: Splits, progress: ProgressReporter) -> RobustnessReport:
    """What was measured on a run, whatever that was; measured now where nothing was."""
    known = _readable_report(run)
    return evaluate_run(run, test=data.test, progress=progress) if known is None else known


def evaluate_run(
    run: Run,
    perturbations: Sequence[str] | None = None,
    *,
    draws: int | None = None,
    seed: int = 0,
    test: LabelledDataset | None = None,
    again: bool = False,
    replace: bool = True,
    device: str | None = None,
    batch_size: int = 512,
    progress: ProgressReporter | None = None,
) -> RobustnessReport:
    """Evaluate a run on its test set and keep the report in its folder.

    What the report there tells of other perturbations stays in it, if it was made with the same draws and seed.

    Args:
        run: the run.
        perturbations: texts; None for those of its recipe.
        draws: of each random perturbation; None for the recipe's.
        seed: of the noise.
        test: the run's test set, if it is loaded already.
        again: whether to measure anew what an earlier report with the same settings tells.
        replace: whether a report that was made with other draws or another seed gives way to this one.
        device: where to run; None for the CPU.
        batch_size: how many inputs the model gets at once.
        progress: where to report.

    Returns:
        The report.
    """
    settings = run.recipe.evaluate
    wanted = tuple(settings.perturbations if perturbations is None else perturbations)
    count = settings.draws if draws is None else check_whole("draws", draws, 1)
    known = None if again else known_report(run, wanted, count, seed)
    if known is not None:
        return known
    report = evaluate(
        run.model(), run.data().test if test is None else test, wanted, draws=count, seed=seed,
        caveat=run.recipe.caveat, device=device, batch_size=batch_size, progress=progress,
    )  # fmt: skip
    before = _readable_report(run)
    if before is not None and _same_draws(before, count, seed) and np.array_equal(before.labels, report.labels):
        run.save_report(before.joined(report))
    elif before is None or replace:
        run.save_report(report)
    return report


def evaluate_target(
    target: Target,
    perturbations: Sequence[str] | None = None,
    *,
    draws: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    again: bool = False,
    replace: bool = True,
    device: str | None = None,
    batch_size: int = 512,
    progress: ProgressReporter | None = None,
) -> RobustnessReport:
    """Evaluate whatever can be measured. A run that is measured on its whole test set keeps the report.

    Args:
        target: from :func:`noiseproof.targets.load_target`.
        perturbations: texts; None for those of a run's recipe, or clean inputs alone for other models.
        draws: of each random perturbation; None for those of a run's recipe, or 10.
        seed: of the noise.
        limit: how many samples, evenly spread over the test set; None for all.
        again: whether to measure a run anew where it has a report with the same settings.
        replace: whether a run's report that was made with other draws or another seed gives way to this one.
        device: where to run; None for where the model is.
        batch_size: how many inputs the model gets at once.
        progress: where to report.

    Returns:
        The report.
    """
    settings = EvaluateSettings() if target.run is None else target.run.recipe.evaluate
    wanted = tuple(settings.perturbations if perturbations is None else perturbations)
    if perturbations is not None:  # those of a recipe were told before the training
        _tell_of_scales(target, wanted)
    if target.run is not None and limit is None:
        return evaluate_run(
            target.run, perturbations, draws=draws, seed=seed, test=target.test, again=again, replace=replace,
            device=device, batch_size=batch_size, progress=progress,
        )  # fmt: skip
    return evaluate(
        target.model, target.test if limit is None else thinned(target.test, limit), wanted,
        draws=settings.draws if draws is None else draws, seed=seed, caveat=target.caveat, device=device,
        batch_size=batch_size, progress=progress,
    )  # fmt: skip


def _tell_of_scales(target: Target, wanted: Sequence[str]) -> None:
    """Warn where noise does not fit vectors or series of the size that a model was trained on."""
    layer = normalisation_of(target.model)
    if layer is None or len(target.test.input_shape) == 3:
        return
    std = layer.std.tolist()
    for told in (unlike_scales(std), outsized_noise(wanted, std)):
        if told is not None:
            warnings.warn(told, stacklevel=3)


def known_report(run: Run, wanted: tuple[str, ...], draws: int, seed: int) -> RobustnessReport | None:
    """Return the report that a run has already, if it tells what is wanted."""
    known = _readable_report(run)
    if known is None or not wanted or not all(each in known for each in wanted):
        return None
    found = known.only(wanted)
    return found if _same_draws(found, draws, seed) else None


def _readable_report(run: Run) -> RobustnessReport | None:
    """The report of a run; None also where it is damaged or of an older version, so that all is measured anew."""
    try:
        return run.report()
    except NoiseproofError:
        return None


def _same_draws(report: RobustnessReport, draws: int, seed: int) -> bool:
    return report.seed == seed and all(len(each.correct) == draws for each in report.values() if each.random)
