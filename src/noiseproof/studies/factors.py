"""What a study varies: a key of the recipe, and the values that it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from noiseproof import seeding
from noiseproof.errors import InvalidArgumentError
from noiseproof.training.recipes import read_yaml

__all__ = ["Factor", "Range", "Value", "factor", "short_keys"]

Value = bool | int | float | str | None

_NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf|nan)"


class Range(BaseModel):
    """Numbers between ``low`` and ``high``, both above 0 where the scale is ``log``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _rising(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"on a logarithmic scale low must be above 0, got {self.low:g}")
        return self

    def at(self, share: float) -> float:
        """Return the number at a share in [0, 1] of the way, to a thousandth of the way or of itself."""
        if self.scale == "log":
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low * (1 - share) + self.high * share
        size = min(abs(value) or math.inf, self.high / 2 - self.low / 2)
        return min(max(round(value, 2 - math.floor(math.log10(size))), self.low), self.high)


class Factor(BaseModel):
    """A key of the recipe by its dotted path, and a list of values or a :class:`Range`.

    The first value of a list is the one that the others are held against.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    values: tuple[Value, ...] | Range

    @field_validator("path")
    @classmethod
    def _dotted(cls, path: str) -> str:
        if not re.fullmatch(r"[A-Za-z][\w-]*(\.[A-Za-z][\w-]*)*", path):
            raise ValueError(f"{path!r} is no key of a recipe, such as train.epochs")
        return path

    @field_validator("values", mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        if isinstance(values, Range):
            return values
        if isinstance(values, Mapping) and {"low", "high"} <= set(values) <= {"low", "high", "scale"}:
            return Range.model_validate(values)
        if not isinstance(values, list | tuple):
            raise ValueError(f"give a list of values, or low and high of a range, got {values!r}")
        for value in values:
            if not isinstance(value, Value):
                raise ValueError(f"a value is a number, a text, yes, no or null, got {value!r}; put texts in quotes")
        return tuple(values)

    @field_validator("values")
    @classmethod
    def _several(cls, values: tuple[Value, ...] | Range) -> tuple[Value, ...] | Range:
        if not isinstance(values, Range):
            if not values:
                raise ValueError("a factor needs at least one value")
            if len({repr(value) for value in values}) != len(values):
                raise ValueError("no value may stand twice")
        return values

    @classmethod
    def of(cls, path: str, values: Any) -> Factor:
        """Make a factor from plain values.

        Raises:
            ValueError: a wrong path or value, told with the path.
        """
        try:
            return cls.model_validate({"path": path, "values": values})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"{path} cannot be varied: {reason}") from error

    @property
    def listed(self) -> tuple[Value, ...]:
        """The values of a list.

        Raises:
            InvalidArgumentError: it is a range.
        """
        if isinstance(self.values, Range):
            raise InvalidArgumentError(f"{self.path} is a range, which only the design 'random' draws from")
        return self.values

    def draw(self, seed: int, index: int, *, whole: bool = False) -> Value:
        """Return the value of trial ``index`` (from 0) of a random design, of a range a whole number if asked."""
        share = float(np.random.default_rng(seeding.derive_seed(seed, "trial", self.path, index)).random())
        if not isinstance(self.values, Range):
            return self.values[int(share * len(self.values))]
        return round(self.values.at(share)) if whole else self.values.at(share)


def factor(text: str) -> Factor:
    """Read ``key=v1,v2,v3``, or a range as ``key=0.1..10`` or ``key=0.1..10,log``.

    The values are a YAML list without its brackets, so those with commas stand in quotes.

    Raises:
        InvalidArgumentError: anything else.
    """
    path, equals, given = text.partition("=")
    if not equals or not path.strip() or not given.strip():
        raise InvalidArgumentError(f"write what varies as key=value,value, such as train.epochs=10,20, got {text!r}")
    key = path.strip()
    if span := re.fullmatch(rf"\s*{_NUMBER}\s*\.\.\s*{_NUMBER}\s*(?:,\s*(\w+)\s*)?", given):
        values: Any = {"low": float(span[1]), "high": float(span[2]), "scale": span[3] or "linear"}
    elif re.fullmatch(r"[\s\d.+-]*\.\.[\s\d.+-]*", given):
        raise InvalidArgumentError(f"a range goes from a number to another, as 0.1..10, got {text!r}")
    else:
        values = read_yaml(f"[{given}]", f"what {key!r} is varied over")
    try:
        return Factor.of(key, values)
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


def short_keys(paths: list[str]) -> dict[str, str]:
    """Return a short name for every dotted path: its end, as long as it takes to tell it from the others."""
    shortened = {}
    for path in paths:
        parts = path.split(".")
        others = [f".{other}" for other in paths if other != path]
        lengths = range(2 if len(parts) == 2 else 1, len(parts) + 1)
        ends = (".".join(parts[-length:]) for length in lengths)
        shortened[path] = next((end for end in ends if not any(o.endswith(f".{end}") for o in others)), path)
    return shortened
