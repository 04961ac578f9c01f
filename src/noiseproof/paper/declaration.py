"""What a table or figure of the paper consists of, as data: recipes, methods, seeds, and the numbers it reports."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from noiseproof.errors import UnknownNameError
from noiseproof.methods import METHODS

__all__ = ["Experiment", "Published", "Row", "experiment_names", "load_experiment"]


class Published(NamedTuple):
    """A number that the paper reports.

    Attributes:
        mean: accuracy in percent.
        std: over ten draws of the noise, in percentage points; None where the paper gives none.
    """

    mean: float
    std: float | None

    @classmethod
    def parse(cls, text: str) -> Published:
        """Read ``"92.63 ± 0.09"`` or ``"92.73"``."""
        mean, _, std = text.partition("±")
        return cls(float(mean), float(std) if std else None)

    def __str__(self) -> str:
        mean = f"{self.mean:.{max(2, len(str(self.mean).partition('.')[2]))}f}"
        return mean if self.std is None else f"{mean} ±{self.std:.2f}"


class _Declaration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Declaration):
    """One row of a table: a method with some of its options.

    Attributes:
        name: of the folder that its runs lie in; the method's where it has no options of its own.
        title: what tables print.
        method: one of :data:`noiseproof.methods.METHODS`.
        options: of the method.
    """

    name: str
    title: str
    method: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, given: Any) -> Any:
        return {"name": given, "method": given, "title": METHODS[given].title} if isinstance(given, str) else given

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        METHODS[method]
        return method


class Experiment(_Declaration):
    """A table or figure of the paper.

    Attributes:
        name: what users type, as ``table1``.
        title: what it shows.
        section: of the paper.
        kind: ``table`` compares accuracies; ``figure`` draws; ``theory`` computes the theorems.
        claim: what the paper says of it, or what is asked where the paper is silent.
        in_paper: whether the paper has it.
        data_public: whether anyone can have the paper's data; else numbers are never set against the paper's.
        recipes: of the runs it needs, at full scale; each has a small sibling named ``RECIPE-reduced``.
        rows: what is trained with each recipe.
        run_first: rows in the order that they are run in, before the others.
        seeds: of training.
        columns: of a table: perturbations, a part of those of the recipe.
        published: of a table: by recipe and row, a number for each column.
    """

    name: str
    title: str
    section: str
    kind: Literal["table", "figure", "theory"]
    claim: str
    in_paper: bool = True
    data_public: bool = True
    recipes: tuple[str, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    run_first: tuple[str, ...] = ()
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    columns: tuple[str, ...] = ()
    published: dict[str, dict[str, tuple[Published, ...]]] = {}

    @field_validator("published", mode="before")
    @classmethod
    def _parsed(cls, given: Any) -> Any:
        return {
            recipe: {row: tuple(map(Published.parse, cells)) for row, cells in rows.items()}
            for recipe, rows in given.items()
        }

    @model_validator(mode="after")
    def _complete(self) -> Experiment:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError(f"no two rows may have one name, got {names}")
        for recipe, rows in self.published.items():
            if recipe not in self.recipes or list(rows) != names:
                raise ValueError(f"published numbers of {recipe} must be there for the rows {names}")
            if any(len(cells) != len(self.columns) for cells in rows.values()):
                raise ValueError(f"published numbers of {recipe} must be there for the columns {self.columns}")
        if not set(self.run_first) <= set(names):
            raise ValueError(f"run_first must name some of the rows {names}")
        return self

    @property
    def rows_by_urgency(self) -> list[Row]:
        """The rows in the order that they are run in."""
        rank = {name: place for place, name in enumerate(self.run_first)}
        return sorted(self.rows, key=lambda row: rank.get(row.name, len(rank)))


@functools.cache
def experiment_names() -> tuple[str, ...]:
    """Return the names of all experiments: tables, then figures, then the theory, each by number."""
    names = [path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml")]
    return tuple(sorted(names, key=_place))


@functools.cache
def load_experiment(name: str) -> Experiment:
    """Read a packaged experiment.

    Raises:
        UnknownNameError: no such experiment.
    """
    if name not in experiment_names():
        raise UnknownNameError("table or figure", name, experiment_names())
    text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return Experiment.model_validate({"name": name, **yaml.safe_load(text)})


def _place(name: str) -> tuple[int, int, str]:
    """Where an experiment stands in lists."""
    kind, number, rest = re.fullmatch(r"([a-z]+)(\d*)(.*)", name).groups()  # type: ignore[union-attr]
    return ("table", "fig", "theory").index(kind), int(number or 0), rest


def _folder() -> Any:
    return resources.files("noiseproof.paper") / "declarations"
