"""Which settings a study tries."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from noiseproof.errors import InvalidArgumentError
from noiseproof.studies.factors import Factor, Value, short_keys

__all__ = ["BASE", "Design", "Trial", "design_trials"]

Design = Literal["grid", "one-at-a-time", "random"]

BASE = "base"  # the name of the trial that has the first value of every factor
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Trial:
    """One setting.

    Attributes:
        name: of its folder, as ``delta_d=5,passes=joint``.
        changes: of the recipe, by dotted path.
        levels: the value of every factor, by dotted path; empty for a rival, which is outside the design.
    """

    name: str
    changes: Mapping[str, Any]
    levels: Mapping[str, Value] = field(default_factory=dict)


def design_trials(design: Design, factors: Sequence[Factor], *, trials: int = 0, seed: int = 0) -> list[Trial]:
    """Return the trials of a design.

    Args:
        design: ``grid`` tries every combination. ``one-at-a-time`` tries the first value of every factor together, the
            base, and every other value with all else as in the base. ``random`` draws every factor by itself.
        factors: what varies.
        trials: how many a random design draws; with more, the first ones stay as they were.
        seed: of a random design.

    Raises:
        InvalidArgumentError: nothing varies, a factor stands twice, a range in a design that draws nothing, or no
            number of trials for a random design.
    """
    paths = [each.path for each in factors]
    if not paths or len(set(paths)) != len(paths):
        raise InvalidArgumentError(f"a study varies at least one key, and none twice, got {paths}")
    if (design == "random") != (trials > 0):
        raise InvalidArgumentError("a random design, and no other, needs a number of trials above 0")
    return _DESIGNS[design](factors, trials, seed)


def _grid(factors: Sequence[Factor], _: int, __: int) -> list[Trial]:
    combinations = itertools.product(*(each.listed for each in factors))
    return [_trial(factors, dict(zip((f.path for f in factors), values, strict=True))) for values in combinations]


def _one_at_a_time(factors: Sequence[Factor], _: int, __: int) -> list[Trial]:
    base = {each.path: each.listed[0] for each in factors}
    changed = [{**base, each.path: value} for each in factors for value in each.listed[1:]]
    return [_trial(factors, levels) for levels in (base, *changed)]


def _random(factors: Sequence[Factor], trials: int, seed: int) -> list[Trial]:
    return [
        Trial(f"trial-{index:03}", levels, levels)
        for index in range(trials)
        for levels in [{each.path: each.draw(seed, index) for each in factors}]
    ]


_DESIGNS: dict[str, Callable[[Sequence[Factor], int, int], list[Trial]]] = {
    "grid": _grid,
    "one-at-a-time": _one_at_a_time,
    "random": _random,
}


def _trial(factors: Sequence[Factor], levels: Mapping[str, Value]) -> Trial:
    """A trial named by what differs from the first values."""
    short = short_keys([each.path for each in factors])
    differs = {each.path: levels[each.path] for each in factors if levels[each.path] != each.listed[0]}
    name = ",".join(f"{short[path]}={_written(value)}" for path, value in differs.items()) or BASE
    return Trial(_as_file_name(name), dict(levels), dict(levels))


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _as_file_name(name: str) -> str:
    """Replace what file systems do not like; where anything was lost a digest keeps names apart."""
    clean = re.sub(r"[^\w=,.+-]", "_", name)[:_LONGEST_NAME]
    return clean if clean == name.replace(":", "_").replace("/", "_") else f"{clean}~{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
