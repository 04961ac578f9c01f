"""What a study varies: a key of the recipe, and the values that it takes."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from noiseproof import seeding
from noiseproof.errors import InvalidArgumentError
from noiseproof.training.recipes import read_yaml

__all__ = ["Factor", "Range", "Value", "factor", "short_keys"]

Value = bool | int | float | str | None


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
        """Return the number at a share in [0, 1] of the way, to three significant digits."""
        if self.scale == "log":
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return float(f"{value:.3g}")


class Factor(BaseModel):
    """A key of the recipe by its dotted path, and a list of values or a :class:`Range`.

    The first value of a list is the one that the others are held against.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(pattern=r"^[A-Za-z][\w-]*(\.[A-Za-z][\w-]*)*$")
    values: tuple[Value, ...] | Range

    @field_validator("values")
    @classmethod
    def _several(cls, values: tuple[Value, ...] | Range) -> tuple[Value, ...] | Range:
        if not isinstance(values, Range):
            if not values:
                raise ValueError("a factor needs at least one value")
            if len({repr(value) for value in values}) != len(values):
                raise ValueError("no value may stand twice")
        return values

    @property
    def listed(self) -> tuple[Value, ...]:
        """The values of a list.

        Raises:
            InvalidArgumentError: it is a range.
        """
        if isinstance(self.values, Range):
            raise InvalidArgumentError(f"{self.path} is a range, which only the design 'random' draws from")
        return self.values

    def draw(self, seed: int, index: int) -> Value:
        """Return the value of trial ``index`` (from 0) of a random design."""
        share = float(np.random.default_rng(seeding.derive_seed(seed, "trial", self.path, index)).random())
        return self.values.at(share) if isinstance(self.values, Range) else self.values[int(share * len(self.values))]


def factor(text: str) -> Factor:
    """Read ``key=v1,v2,v3``, or a range as ``key=0.1..10`` or ``key=0.1..10,log``.

    The values are a YAML list without its brackets, so those with commas stand in quotes.

    Raises:
        InvalidArgumentError: anything else.
    """
    path, equals, given = text.partition("=")
    if not equals or not path.strip() or not given.strip():
        raise InvalidArgumentError(f"write what varies as key=value,value, such as train.epochs=10,20, got {text!r}")
    ends, _, scale = given.partition(",")
    low, dots, high = ends.partition("..")
    values = () if dots else tuple(read_yaml(f"[{given}]", f"what {path.strip()!r} is varied over"))
    try:
        if dots:
            return Factor(
                path=path.strip(),
                values=Range(low=float(low), high=float(high), scale=scale.strip() or "linear"),
            )
        return Factor(path=path.strip(), values=values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidArgumentError(f"{text!r} cannot be varied: {reason}") from error
    except ValueError as error:
        raise InvalidArgumentError(f"{text!r} cannot be varied: a range goes from a number to another") from error


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
