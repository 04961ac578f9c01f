"""A study as data: what it varies, by which design, and by what it chooses."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from noiseproof.errors import InvalidArgumentError, RecipeError
from noiseproof.evaluation.views import view
from noiseproof.studies.designs import Design, Trial, design_trials
from noiseproof.studies.factors import Factor
from noiseproof.training.recipes import read_yaml

__all__ = ["Study", "is_study", "load_study"]


class Study(BaseModel):
    """Settings to try, and the rule that chooses one; or one setting, fixed in advance, to be held against rivals.

    Attributes:
        recipe: name or path of the recipe that is changed.
        title: what is asked.
        set: changes of the recipe that hold for all trials and rivals, by dotted path.
        vary: the factors; as YAML a mapping of dotted paths to lists of values, or to ``{low, high, scale}``. Empty
            where nothing is chosen: the recipe with ``set`` is then held against the rivals.
        design: see :func:`noiseproof.studies.designs.design_trials`.
        trials: how many a random design tries.
        random_seed: of a random design.
        rivals: settings outside the design that it is held against on the test set, by name: changes of the recipe.
        seeds: of training, for every trial.
        score: perturbations whose mean accuracy on the validation split chooses; empty for all of the recipe.
        finalists: how many of the best trials are trained with ``final_seeds`` too, before one is chosen.
        final_seeds: of training, for finalists, the base and the rivals; empty for ``seeds``.
        transfer: more perturbations to measure under in the look at the test set; nothing is chosen by them.
        validation_fraction: share of every class that is held out to choose by, where the recipe holds out nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    title: str = ""
    set: dict[str, Any] = {}
    vary: tuple[Factor, ...]
    design: Design = "one-at-a-time"
    trials: int = Field(0, ge=0, le=10_000)
    random_seed: int = Field(0, ge=0)
    rivals: dict[str, dict[str, Any]] = {}
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    score: tuple[str, ...] = ()
    finalists: int = Field(1, ge=1)
    final_seeds: tuple[int, ...] = ()
    transfer: tuple[str, ...] = ()
    validation_fraction: float = Field(0.1, gt=0, lt=1)

    @field_validator("vary", mode="before")
    @classmethod
    def _by_path(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return tuple(Factor.of(str(path), values) for path, values in given.items())
        if isinstance(given, list | tuple) and all(isinstance(each, Factor) for each in given):
            return tuple(given)
        raise ValueError(f"write the keys that vary with their values, as train.epochs: [10, 20], got {given!r}")

    @field_validator("score", "transfer")
    @classmethod
    def _canonical(cls, perturbations: tuple[str, ...]) -> tuple[str, ...]:
        if len({view(each).spec for each in perturbations}) != len(perturbations):
            raise ValueError("no perturbation may be named twice")
        return perturbations

    @field_validator("rivals")
    @classmethod
    def _folder_names(cls, rivals: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in rivals:
            if not re.fullmatch(r"[A-Za-z0-9][\w.+=,-]*", name):
                raise ValueError(f"a rival's name begins with a letter or digit and has no blanks or /, got {name!r}")
        return rivals

    @field_validator("seeds", "final_seeds")
    @classmethod
    def _no_seed_twice(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds) or any(seed < 0 for seed in seeds):
            raise ValueError("seeds are whole numbers from 0 upwards, none of them twice")
        return seeds

    @model_validator(mode="after")
    def _ask_something(self) -> Self:
        if not self.vary and not self.rivals:
            raise ValueError("a study varies at least one key or, with vary: {}, names rivals for its one setting")
        return self

    @classmethod
    def of(cls, raw: Mapping[str, Any], what: str = "the study") -> Study:
        """Make a study from plain values.

        Raises:
            RecipeError: a missing, unknown or wrong key; ``what`` says where.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            told = "; ".join(
                ": ".join(filter(None, [".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, ")]))
                for each in error.errors()
            )
            raise RecipeError(f"{what} is not right: {told}") from None

    @property
    def chooses(self) -> bool:
        """Whether there is more than one setting to choose from."""
        return bool(self.vary)

    def check_look(self, look: bool) -> None:
        """Raise an :class:`InvalidArgumentError` where nothing is chosen and nothing looked at."""
        if not (self.chooses or look):
            raise InvalidArgumentError(
                "a study that varies nothing is its look at the test set: leave out --no-test (look=False)"
            )

    @property
    def seeds_to_decide(self) -> tuple[int, ...]:
        """Those that finalists are trained with: the study's, then those of the final that are not among them."""
        return tuple(dict.fromkeys((*self.seeds, *self.final_seeds)))

    def design_trials(self, whole: Container[str] = ()) -> list[Trial]:
        """Return the trials of the design, without the rivals; ``whole`` are the keys that take whole numbers."""
        return design_trials(self.design, self.vary, trials=self.trials, seed=self.random_seed, whole=whole)


def is_study(name: str) -> bool:
    """Whether ``name`` is a YAML file that is no recipe: one that says what varies, or is not there."""
    if not name.endswith((".yaml", ".yml")):
        return False
    try:
        raw = read_yaml(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError, RecipeError):
        return True
    return not isinstance(raw, dict) or "vary" in raw or ("model" not in raw and "extends" not in raw)


def load_study(path: str | Path) -> Study:
    """Read a study from a YAML file.

    Raises:
        RecipeError: not there, not YAML, or a missing, unknown or wrong key.
    """
    file = Path(path)
    if not file.is_file():
        raise RecipeError(f"the study {file} does not exist")
    try:
        raw = read_yaml(file.read_text(encoding="utf-8"), f"the study {file}")
    except UnicodeDecodeError as error:
        raise RecipeError(f"the study {file} is not text in UTF-8") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"the study {file} must be a mapping of keys to values")
    return Study.of(raw, f"the study {file}")
