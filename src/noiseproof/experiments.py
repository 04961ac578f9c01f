"""Experiments made of several runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from noiseproof.checks import check_range, check_whole
from noiseproof.data import LabelledDataset, Splits
from noiseproof.data.dataset import thinned, to_unit_interval
from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.evaluation import Comparison, RobustnessReport, compare_methods, evaluate
from noiseproof.explaining import panels
from noiseproof.files import write_text
from noiseproof.methods import METHODS
from noiseproof.perturbations import perturbation
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.reporting import (
    Example,
    Panel,
    comparison_page,
    comparison_records,
    comparison_table,
    method_difference_table,
)
from noiseproof.reporting.tables import to_csv
from noiseproof.targets import Target
from noiseproof.training import Recipe, Run, load_recipe, train
from noiseproof.training.recipe import EvaluateSettings
from noiseproof.training.recipes import dump_recipe
from noiseproof.training.run import load_data, with_provenance

__all__ = ["PAPER_METHODS", "compare", "comparison_folder", "evaluate_run", "evaluate_target"]

# The order of the rows in Table 1.
PAPER_METHODS = ("normal", "noisy", "mixed", "stability", "discriminative")


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
        RunFolderError: a run in ``out`` was made by another recipe.
    """
    if not methods or not seeds:
        raise InvalidArgumentError("a comparison needs at least one method and one seed")
    for seed in seeds:
        check_range("seeds", seed, 0)
    base = load_recipe(recipe, overrides)
    titles = {method: METHODS[method].title for method in methods}
    folder = Path(out) if out is not None else comparison_folder(base)
    data = load_data(base)
    reporter = progress or Silent()
    reports: dict[str, dict[int, RobustnessReport]] = {method: {} for method in methods}
    with reporter.task(f"compare {base.name}", len(methods) * len(seeds)) as task:
        for method in methods:
            for seed in seeds:
                settled = base.for_run(method, seed)
                run = train(
                    settled,
                    out=folder / method / f"seed-{seed}",
                    overwrite=overwrite,
                    resume=not overwrite,
                    data=data,
                    progress=reporter,
                )
                reports[method][seed] = evaluate_run(run, test=data.test, again=overwrite, progress=reporter)
                task.advance()
    comparison = Comparison(base.name, reports, titles, run.recipe.caveat)  # all began with the same weights
    _write(comparison, base, data, folder, [])
    if explain:
        shown = {titles[method]: Run(folder / method / f"seed-{seeds[0]}") for method in methods}
        _write(comparison, base, data, folder, panels(shown, folder, data=data, progress=reporter))
    return comparison


def comparison_folder(recipe: Recipe) -> Path:
    """Return where the comparison of a recipe goes, if nothing else is said."""
    return Path("runs", recipe.name)


def _write(comparison: Comparison, recipe: Recipe, data: Splits, folder: Path, sections: Sequence[Panel]) -> None:
    """Write the comparison as ``table.md``, ``table.csv``, ``table.json`` and ``report.html``."""
    records = comparison_records(comparison)
    summary = {
        "title": comparison.title,
        "caveat": comparison.caveat,
        "accuracies": records,
        "recipe": recipe.with_all_options().settings(),
    }
    page = comparison_page(
        comparison, dump_recipe(with_provenance(recipe.with_all_options(), data)), _examples(recipe, data), sections
    )
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


def _examples(recipe: Recipe, data: Splits, count: int = 3) -> list[Example]:
    """Show the first test sample of the first classes under every perturbation; none if the inputs are no images."""
    test = data.test
    if len(test.input_shape) != 3 or test.input_shape[0] not in (1, 3):
        return []
    first = [int((test.labels == c).nonzero()[0]) for c in range(test.num_classes) if bool((test.labels == c).any())]
    inputs = torch.stack([to_unit_interval(test[index][0]) for index in first[:count]])
    views = {spec: perturbation(spec)(inputs, 0).permute(0, 2, 3, 1).numpy() for spec in recipe.evaluate.perturbations}
    return [
        Example(
            test.class_names[int(test.labels[index])],
            {
                spec: images[row].squeeze(-1) if images.shape[-1] == 1 else images[row]
                for spec, images in views.items()
            },
        )
        for row, index in enumerate(first[:count])
    ]


def evaluate_run(
    run: Run,
    perturbations: Sequence[str] | None = None,
    *,
    draws: int | None = None,
    seed: int = 0,
    test: LabelledDataset | None = None,
    again: bool = False,
    device: str | None = None,
    batch_size: int = 512,
    progress: ProgressReporter | None = None,
) -> RobustnessReport:
    """Evaluate a run on its test set and keep the report in its folder.

    Args:
        run: the run.
        perturbations: texts; None for those of its recipe.
        draws: of each random perturbation; None for the recipe's.
        seed: of the noise.
        test: the run's test set, if it is loaded already.
        again: whether to measure anew what an earlier report with the same settings tells.
        device: where to run; None for the CPU.
        batch_size: how many inputs the model gets at once.
        progress: where to report.

    Returns:
        The report.
    """
    settings = run.recipe.evaluate
    wanted = tuple(settings.perturbations if perturbations is None else perturbations)
    count = settings.draws if draws is None else check_whole("draws", draws, 1)
    known = None if again else _known_report(run, wanted, count, seed)
    if known is not None:
        return known
    report = evaluate(
        run.model(), run.data().test if test is None else test, wanted, draws=count, seed=seed,
        caveat=run.recipe.caveat, device=device, batch_size=batch_size, progress=progress,
    )  # fmt: skip
    run.save_report(report)
    return report


def evaluate_target(
    target: Target,
    perturbations: Sequence[str] | None = None,
    *,
    draws: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    keep: bool = True,
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
        keep: whether a run keeps the report.
        device: where to run; None for where the model is.
        batch_size: how many inputs the model gets at once.
        progress: where to report.

    Returns:
        The report.
    """
    if keep and target.run is not None and limit is None:
        return evaluate_run(
            target.run, perturbations, draws=draws, seed=seed, test=target.test, device=device,
            batch_size=batch_size, progress=progress,
        )  # fmt: skip
    settings = EvaluateSettings() if target.run is None else target.run.recipe.evaluate
    return evaluate(
        target.model, target.test if limit is None else thinned(target.test, limit),
        tuple(settings.perturbations if perturbations is None else perturbations),
        draws=settings.draws if draws is None else draws, seed=seed, caveat=target.caveat, device=device,
        batch_size=batch_size, progress=progress,
    )  # fmt: skip


def _known_report(run: Run, wanted: tuple[str, ...], draws: int, seed: int) -> RobustnessReport | None:
    """The report that a run has already, if it tells what is wanted."""
    try:
        known = run.report()
    except NoiseproofError:  # damaged or of an older version, so measured anew
        return None
    if known is None or tuple(known) != wanted or known.seed != seed:
        return None
    return known if all(len(result.correct) == draws for result in known.values() if result.random) else None
