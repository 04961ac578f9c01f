"""The runs that an experiment consists of, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.paper.declaration import Experiment, Row
from noiseproof.scheduling import PlannedRun
from noiseproof.training import Recipe, load_recipe

__all__ = ["Preset", "Scale", "Setting", "plan", "settled_recipe"]

Scale = Literal["full", "reduced"]
Preset = Literal["paper", "authors-code"]


@dataclass(frozen=True)
class Setting:
    """How an experiment is run.

    Attributes:
        scale: ``full`` as in the paper; ``reduced`` with a smaller network and schedule for two CPU cores.
        preset: whose choice holds where the paper and its published code differ.
        sources: where the data of a recipe comes from, by recipe; if any is named, only those recipes are run.
        changes: of every recipe, by dotted path. A changed experiment is not set against the published numbers.
        runs: the folder for runs; experiments that need the same run share it.
    """

    scale: Scale = "full"
    preset: Preset = "paper"
    sources: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    runs: Path = Path("runs/paper")

    def comparable(self, experiment: Experiment) -> bool:
        """Whether numbers may be set against the paper's: same scale, same settings, same data."""
        return self.scale == "full" and not self.changes and experiment.data_public

    @property
    def suffix(self) -> str:
        """What tells results of this setting from those at full scale with the preset ``paper``."""
        parts = {self.scale: "full", self.preset: "paper", "changed" if self.changes else "": ""}
        return "".join(f"-{part}" for part, usual in parts.items() if part != usual)

    def recipes_of(self, experiment: Experiment) -> list[str]:
        """Return the recipes that are run.

        Raises:
            InvalidArgumentError: a source is given for a recipe that the experiment does not have.
        """
        for name in self.sources:
            if name not in experiment.recipes:
                raise InvalidArgumentError(
                    f"{experiment.name} has no data named {name!r}; it has {', '.join(experiment.recipes)}"
                )
        return [name for name in experiment.recipes if not self.sources or name in self.sources]


def settled_recipe(name: str, setting: Setting, row: Row) -> Recipe:
    """Return the recipe of a row at the wanted scale and preset."""
    base = f"{name}-reduced" if setting.scale == "reduced" else name
    overrides: dict[str, Any] = {} if setting.preset == "paper" else {"preset": setting.preset}
    overrides |= {f"methods.{row.method}.{option}": value for option, value in row.options.items()}
    if name in setting.sources:
        overrides["data.source"] = setting.sources[name]
    recipe = load_recipe(base, {**overrides, **setting.changes})
    suffix = "" if setting.preset == "paper" else f"-{setting.preset}"
    return recipe.model_copy(update={"name": recipe.name + suffix})


def plan(
    experiment: Experiment,
    setting: Setting,
    seeds: Sequence[int] | None = None,
    rows: Sequence[str] | None = None,
    *,
    every_recipe: bool = False,
) -> dict[str, list[PlannedRun]]:
    """Return the runs of an experiment by recipe, in the order that they are to be made in.

    Args:
        experiment: which.
        setting: how.
        seeds: in place of the experiment's; one seed of every row comes before the next seed.
        rows: names of those that are wanted; None for all.
        every_recipe: whether also those that no source is named for, where sources are named.

    Raises:
        UnknownNameError: no such row.
        InvalidArgumentError: no row at all, or a source for a recipe that the experiment does not have.
    """
    known = [row.name for row in experiment.rows]
    if rows is not None and not rows:
        raise InvalidArgumentError(f"name at least one row of {experiment.name}: {', '.join(known)}")
    for name in rows or ():
        if name not in known:
            raise UnknownNameError(f"row of {experiment.name}", name, known)
    chosen = [row for row in experiment.rows_by_urgency if rows is None or row.name in rows]
    planned: dict[str, list[PlannedRun]] = {}
    for name in experiment.recipes if every_recipe else setting.recipes_of(experiment):
        settled = {row.name: settled_recipe(name, setting, row) for row in chosen}
        planned[name] = [
            PlannedRun(
                row.name,
                row.title,
                settled[row.name].for_run(row.method, seed),
                experiment.columns,
                setting.runs / settled[row.name].name / row.name / f"seed-{seed}",
            )
            for seed in (experiment.seeds if seeds is None else seeds)
            for row in chosen
        ]
    return planned
