"""What was trained, in sentences made from recipes, and in what recipes differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from noiseproof.data import Splits
from noiseproof.evaluation import Comparison, RobustnessReport
from noiseproof.methods import METHODS
from noiseproof.presenting.grouping import Row, differing_settings
from noiseproof.reporting import Setup, Table
from noiseproof.reporting.tables import Entry
from noiseproof.reporting.wording import in_words, listed, quoted
from noiseproof.training import Recipe, Run, load_recipe
from noiseproof.training.recipes import dump_recipe

__all__ = ["setup_of"]

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def setup_of(rows: Sequence[Row], comparison: Comparison, data: Splits, *, occasion: bool) -> Setup:
    """Describe how runs came about.

    Args:
        rows: of the comparison.
        comparison: what they came to.
        data: that they were trained and tested on.
        occasion: whether to say when and how long they trained, which is another each time.
    """
    recipes = [row.first.recipe for row in rows]
    sentences = [_training(rows, recipes, data), _measuring(recipes, comparison, data)]
    if occasion:
        sentences.append(_occasion([run for row in rows for run in row.runs.values()]))
    return Setup(tuple(filter(None, sentences)), _recipe(rows), _differences(rows, recipes))


def _training(rows: Sequence[Row], recipes: Sequence[Recipe], data: Splits) -> str:
    methods = {recipe.method for recipe in recipes}
    who = f"{quoted(rows[0].title)} was" if len(rows) == 1 else (
        f"{_count(len(rows))} {'training methods' if len(methods) == len(rows) else 'ways of training'} were"
    )  # fmt: skip
    networks = listed(list(dict.fromkeys(recipe.model.name for recipe in recipes)))
    seeds = sorted({seed for row in rows for seed in row.runs})
    said = (
        f"{who} applied to {_data(recipes, data)}, with the network {networks}, for {_length(recipes)}, with "
        f"{_seeds(seeds)}."
    )
    if recipes[0].data.group is not None:
        said += f" Samples that share a {recipes[0].data.group} were held out together."
    if data.scaling is not None:
        each = "component" if len(data.train.input_shape) == 1 else "channel"
        said += f" Every {each} is standardised, so that noise is in units of its standard deviation."
    if any("noisy" in METHODS[recipe.method].views_for(recipe.options(recipe.method)) for recipe in recipes):
        noises = listed([in_words(noise) for noise in dict.fromkeys(recipe.noise.train for recipe in recipes)])
        said += f" Noisy training inputs carry {noises}."
    return said


def _length(recipes: Sequence[Recipe]) -> str:
    """How long was trained: in steps where these ended it, else in epochs."""
    steps = sorted({recipe.train.max_steps for recipe in recipes if recipe.train.max_steps is not None})
    epochs = sorted({recipe.train.epochs for recipe in recipes if recipe.train.max_steps is None})
    parts = [
        f"{listed([f'{number:,}' for number in numbers])} {unit}{'s' * (numbers != [1])}"
        for numbers, unit in ((epochs, "epoch"), (steps, "step"))
        if numbers
    ]
    return f"at most {parts[0]}" if steps and not epochs else listed(parts)


def _data(recipes: Sequence[Recipe], data: Splits) -> str:
    shape = data.train.input_shape
    what = {
        3: lambda: f"{shape[1]}×{shape[2]} pixels" + (" in colour" if shape[0] == 3 else ""),
        2: lambda: f"{shape[0]} channels by {shape[1]} steps",
        1: lambda: f"{shape[0]} components",
    }.get(len(shape), lambda: "shape " + "×".join(map(str, shape)))()
    source, number = recipes[0].data.source, _training_samples(recipes, data)
    return f"{source} ({number} training samples of {what}, {data.train.num_classes} classes)"


def _training_samples(recipes: Sequence[Recipe], data: Splits) -> str:
    """How many each way of training had: one number, two, or the fewest and the most."""
    known = (recipe.provenance.get("samples", {}).get("train") for recipe in recipes)
    counts = sorted({len(data.train) if count is None else int(count) for count in known})
    ends = [f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1]))]
    return (" or " if len(counts) == 2 else " to ").join(ends)


def _measuring(recipes: Sequence[Recipe], comparison: Comparison, data: Splits) -> str:
    noisy = [key for key in comparison.perturbations if not _is_clean(comparison, key)]
    parts = ["on clean inputs"] if len(noisy) < len(comparison.perturbations) else []
    if noisy:
        under = f"under {_count(len(noisy)).lower()} perturbation{'s' * (len(noisy) > 1)}"
        parts.append(f"{under}{_draws(comparison, noisy)}")
    return (
        f"All were tested on the same {len(data.test):,} samples, {listed(parts)}."
        if len(recipes) > 1
        else (f"It was tested on {len(data.test):,} samples, {listed(parts)}.")
    )


def _draws(comparison: Comparison, noisy: Sequence[str]) -> str:
    """How many draws there are of what is random; nothing where that is one."""
    results = [_any_report(comparison)[key] for key in noisy]
    random = [result for result in results if result.random]
    counts = sorted({len(result.correct) for result in random})
    if not counts or counts[-1] == 1:
        return ""
    said = f" with {' to '.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} draws"
    if len(random) == len(noisy):
        return f"{said} each" if len(noisy) > 1 else said
    return f"{said} of {'each' if len(random) > 1 else 'the'} random one"


def _is_clean(comparison: Comparison, key: str) -> bool:
    return _any_report(comparison)[key].spec == "clean"


def _any_report(comparison: Comparison) -> RobustnessReport:
    return next(iter(next(iter(comparison.reports.values())).values()))


def _occasion(runs: Sequence[Run]) -> str:
    seconds = sum(float(epoch.get("seconds", math.nan)) for run in runs for epoch in _metrics(run))
    ended = max((run.folder / "model.safetensors").stat().st_mtime for run in runs)
    when = datetime.fromtimestamp(ended, tz=UTC).astimezone()
    devices = list(dict.fromkeys(str(run.recipe.provenance.get("device", "")) for run in runs))
    where = f" on {listed(devices)}" if all(devices) else ""
    how_long = "" if math.isnan(seconds) or not seconds else f" and took {_duration(seconds)} of training"
    count = "The run" if len(runs) == 1 else f"The {len(runs)} runs"
    return f"{count} ended on {when.day} {_MONTHS[when.month - 1]} {when.year}{how_long}{where}."


def _metrics(run: Run) -> list[Any]:
    try:
        return list(run.metrics())
    except (OSError, ValueError):  # left out when the run was copied, or damaged: no reason not to report
        return [{}]


def _recipe(rows: Sequence[Row]) -> str:
    """The first run's recipe with the options of every row's method."""
    recipe = load_recipe(rows[0].first.folder / "recipe.yaml")
    methods: dict[str, Any] = {}
    for row in rows:
        each = row.first.recipe
        methods.setdefault(each.method, each.options(each.method).model_dump())
    return dump_recipe(recipe.model_copy(update={"methods": methods}))


def _differences(rows: Sequence[Row], recipes: Sequence[Recipe]) -> Table | None:
    differing = differing_settings(recipes)
    if not differing:
        return None
    return Table(
        "Differences between the recipes",
        ("Setting", *(row.title for row in rows)),
        tuple((Entry(path), *(Entry(_shown(value)) for value in values)) for path, values in differing.items()),
        "Settings in which the runs differ, beside method and seed. All others are those of the recipe below.",
    )


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 5:
        return f"{len(seeds)} seeds"
    return f"seed{'s' * (len(seeds) > 1)} {listed([str(seed) for seed in seeds])}"


def _count(number: int) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
    return words[number] if number < len(words) else str(number)


def _duration(seconds: float) -> str:
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"
