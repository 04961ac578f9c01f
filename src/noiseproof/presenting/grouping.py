"""Runs by what they were: those that differ in nothing but the seed are one row of a table."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noiseproof.data import Splits
from noiseproof.errors import InvalidArgumentError, RunFolderError
from noiseproof.evaluation import Comparison, RobustnessReport
from noiseproof.evaluation.views import view
from noiseproof.methods import METHODS, PAPER_METHODS
from noiseproof.reporting.tables import short_name
from noiseproof.training import Recipe, Run
from noiseproof.training.folder import inner_runs

__all__ = ["Row", "check_same_test", "differing_settings", "find_runs", "group", "joint_comparison"]


@dataclass(frozen=True)
class Row:
    """Runs of one method with the same settings.

    Attributes:
        key: the method, with what tells it from other rows of that method.
        title: the same for people.
        runs: by seed.
    """

    key: str
    title: str
    runs: dict[int, Run]

    @property
    def first(self) -> Run:
        """The run of the seed that comes first."""
        return next(iter(self.runs.values()))


def find_runs(places: Sequence[str | Path | Run]) -> list[Run]:
    """Return the runs at some places: runs themselves, their folders, and folders that hold runs, as of ``compare``.

    Raises:
        RunFolderError: a folder that holds no finished run.
        InvalidArgumentError: no place.
    """
    found: dict[Path, Run] = {}
    for place in places:
        for run in [place] if isinstance(place, Run) else _runs_at(Path(place)):
            found.setdefault(run.folder.resolve(), run)
    if not found:
        raise InvalidArgumentError("name at least one run, as runs/a")
    return list(found.values())


def _runs_at(place: Path) -> list[Run]:
    if place.is_file() and place.name in ("model.safetensors", "recipe.yaml"):
        place = place.parent
    if not place.is_dir():
        raise RunFolderError(f"{place} is no folder of a run")
    if (place / "recipe.yaml").is_file():
        return [Run(place)]
    folders = inner_runs(place)
    finished = [folder for folder in folders if (folder / "model.safetensors").is_file()]
    if not finished:
        raise RunFolderError(f"{place} holds no {'finished ' if folders else ''}run, and no folders with runs in them")
    unfinished = [str(folder) for folder in folders if folder not in finished]
    if unfinished:
        warnings.warn(f"left out what did not finish: {', '.join(unfinished)}", stacklevel=2)
    return [Run(folder) for folder in finished]


def group(runs: Sequence[Run]) -> list[Row]:
    """Sort runs into rows, in the order of the paper's tables, and name each by what tells it from the others.

    Raises:
        InvalidArgumentError: two runs with the same settings and the same seed.
    """
    by_settings: dict[str, list[tuple[Recipe, Run]]] = {}
    for run in runs:
        recipe = run.recipe
        by_settings.setdefault(json.dumps([recipe.method, _settings(recipe)], sort_keys=True), []).append(
            (recipe, run)
        )
    rows = sorted(by_settings.values(), key=lambda row: _rank(row[0][0].method))
    differing = differing_settings([row[0][0] for row in rows])
    return [_row(row, [each[0][0] for each in rows], differing) for row in rows]


def differing_settings(recipes: Sequence[Recipe]) -> dict[str, list[Any]]:
    """What recipes differ in beside method, seed and how they were measured: by path, the value in each.

    An option of a method counts where recipes of that method differ in it; the others have None there.
    """
    flat = [_flat(_settings(recipe)) for recipe in recipes]
    prints = {recipe.provenance.get("data_fingerprint") for recipe in recipes}
    same_data = len(prints) == 1 and None not in prints  # wherever it lay
    differing = {}
    for path in dict.fromkeys(path for each in flat for path in each):
        if path == "data.source" and same_data:
            continue
        values = [each.get(path) for each in flat]
        asked = [each[path] for each in flat if path in each] if path.startswith("methods.") else values
        if any(value != asked[0] for value in asked):
            differing[path] = values
    return differing


def check_same_test(runs: Sequence[Run], data: Splits | None = None) -> Splits:
    """Return the data of the first run, having made sure that all runs are tested on the same samples.

    Args:
        runs: at least one.
        data: of the first run, if it is loaded already.

    Raises:
        InvalidArgumentError: two runs with other test samples.
        RunFolderError: a run's data is not what it was when the run was made.
    """
    first = runs[0]
    splits = first.data() if data is None else data
    wanted = splits.test.fingerprint()
    known = {_data_of(first)}
    for run in runs[1:]:
        if _data_of(run) in known:
            continue
        if run.data().test.fingerprint() != wanted:
            raise InvalidArgumentError(
                f"{first.folder} and {run.folder} do not have the same test data ({_unlike(first, run)}), so their "
                "accuracies cannot stand side by side: look at them apart"
            )
        known.add(_data_of(run))
    return splits


def joint_comparison(title: str, rows: Sequence[Row], reports: Mapping[Path, RobustnessReport]) -> Comparison:
    """Put the reports of runs side by side, under the perturbations that all of them have.

    Args:
        title: what was compared.
        rows: of the comparison.
        reports: by the run's folder.

    Raises:
        InvalidArgumentError: reports with other seeds or draws of the noise, or without a perturbation in common.
    """
    runs = [run for row in rows for run in row.runs.values()]
    everything = dict.fromkeys(key for run in runs for key in reports[run.folder])
    first, *others = [reports[run.folder] for run in runs]
    shared = [key for key, result in first.items() if all(_has(other, result.spec) for other in others)]
    again = f"measure them alike, as with `noiseproof evaluate {runs[-1].folder} -p clean -p gaussian:0.1 --draws 10`"
    if not shared:
        raise InvalidArgumentError(f"no perturbation was measured on all of these runs: {again}")
    specs = {first[key].spec for key in shared}
    left_out = [key for key in everything if view(key).spec not in specs]
    if left_out:
        warnings.warn(f"left out what was not measured on all runs: {', '.join(left_out)}", stacklevel=2)
    for run, other in zip(runs[1:], others, strict=True):
        if other.seed != first.seed or any(len(other[key].correct) != len(first[key].correct) for key in shared):
            raise InvalidArgumentError(
                f"{runs[0].folder} and {run.folder} were measured with other seeds or numbers of draws: {again}"
            )
    caveat = " ".join(dict.fromkeys(reports[run.folder].caveat for run in runs if reports[run.folder].caveat))
    return Comparison(
        title,
        {row.key: {seed: reports[run.folder].only(shared) for seed, run in row.runs.items()} for row in rows},
        {row.key: row.title for row in rows},
        caveat,
    )


def _has(report: RobustnessReport, spec: str) -> bool:
    return any(result.spec == spec for result in report.values())


def _unlike(run: Run, other: Run) -> str:
    """In what the data of two runs differs, by their recipes."""
    one, two = (each.recipe.data.model_dump(mode="json", exclude={"augment", "download"}) for each in (run, other))
    return "; ".join(f"data.{key}: {one[key]} and {two[key]}" for key in one if one[key] != two[key]) or one["source"]


def _data_of(run: Run) -> str:
    """What tells whether two runs were surely made with the same data, without loading it."""
    recipe = run.recipe
    fingerprint = recipe.provenance.get("data_fingerprint")
    return json.dumps([fingerprint, recipe.data.model_dump(mode="json", exclude={"augment", "download"})])


def _rank(method: str) -> tuple[int, str]:
    """Where a method stands in the paper's tables; others come behind."""
    return (PAPER_METHODS.index(method) if method in PAPER_METHODS else len(PAPER_METHODS), method)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """All that the weights depend on but method and seed."""
    settings = recipe.settings()
    for key in ("name", "method", "seed", "evaluate", "preset"):
        settings.pop(key)
    return settings


def _row(row: list[tuple[Recipe, Run]], recipes: list[Recipe], differing: Mapping[str, list[Any]]) -> Row:
    recipe = row[0][0]
    mine = [place for place, other in enumerate(recipes) if other.method == recipe.method]
    place = next(index for index in mine if recipes[index] is recipe)
    titles = [METHODS[other.method].title_in(other.preset) for other in recipes]
    alike = [index for index in mine if titles[index] == titles[place]]
    told, told_in_title = [], []
    for path, values in differing.items():
        setting = f"{_name(path)} {_value(values[place])}"
        if any(values[index] != values[place] for index in mine):
            told.append(setting)
        # options of the method are told by the preset in the title already, but among those that share it
        if any(values[index] != values[place] for index in (alike if path.startswith("methods.") else mine)):
            told_in_title.append(setting)
    title = ", ".join([titles[place], *told_in_title])
    runs: dict[int, Run] = {}
    for each, run in sorted(row, key=lambda pair: pair[0].seed):
        if each.seed in runs:
            raise InvalidArgumentError(
                f"{runs[each.seed].folder} and {run.folder} are the same training, {run.name}: name one of them"
            )
        runs[each.seed] = run
    return Row(", ".join([recipe.method, *told]), title, runs)


def _name(path: str) -> str:
    """The short name of a setting: its last key, or the one before where that says nothing by itself."""
    *above, last = path.split(".")
    if path == "noise.train":
        return "noise"
    return above[-1] if above and last in ("name", "options") else last


def _value(value: Any) -> str:
    return short_name(value) if isinstance(value, str) else str(value)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        place: inner
        for key, each in value.items()
        for place, inner in _flat(each, f"{path}.{key}" if path else key).items()
    }
