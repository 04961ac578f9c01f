"""Which settings a study tries."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Container, Mapping, Sequence
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


def design_trials(
    design: Design, factors: Sequence[Factor], *, trials: int = 0, seed: int = 0, whole: Container[str] = ()
) -> list[Trial]:
    """Return the trials of a design.

    Args:
        design: ``grid`` tries every combination. ``one-at-a-time`` tries the first value of every factor together, the
            base, and every other value with all else as in the base. ``random`` draws every factor by itself.
        factors: what varies; none for the base alone.
        trials: how many a random design draws; with more, the first ones stay as they were.
        seed: of a random design.
        whole: paths of those factors whose ranges are of whole numbers.

    Raises:
        InvalidArgumentError: a factor stands twice, a range in a design that draws nothing, no number of trials for a
            random design, or nothing for it to draw.
    """
    paths = [each.path for each in factors]
    twice = [path for path in dict.fromkeys(paths) if paths.count(path) > 1]
    if twice:
        raise InvalidArgumentError(f"{', '.join(twice)} varies twice; give all its values at once")
    if (design == "random") != (trials > 0):
        raise InvalidArgumentError("a random design, and no other, needs a number of trials above 0")
    if design == "random" and not paths:
        raise InvalidArgumentError("a random design needs something that varies")
    if design == "random":
        drawn = [
            {each.path: each.draw(seed, index, whole=each.path in whole) for each in factors}
            for index in range(trials)
        ]
        return [Trial(f"trial-{index:03}", levels, levels) for index, levels in enumerate(drawn)]
    tried = _grid(factors) if design == "grid" else _one_at_a_time(factors)
    return [
        Trial(name, dict(levels), dict(levels)) for name, levels in zip(_names(factors, tried), tried, strict=True)
    ]


def _grid(factors: Sequence[Factor]) -> list[dict[str, Value]]:
    paths = [each.path for each in factors]
    return [dict(zip(paths, each, strict=True)) for each in itertools.product(*(each.listed for each in factors))]


def _one_at_a_time(factors: Sequence[Factor]) -> list[dict[str, Value]]:
    base = {each.path: each.listed[0] for each in factors}
    return [base, *({**base, each.path: value} for each in factors for value in each.listed[1:])]


def _names(factors: Sequence[Factor], tried: Sequence[Mapping[str, Value]]) -> list[str]:
    """Name every setting by what differs from the first values; a digest tells apart what would have one name."""
    short = short_keys([each.path for each in factors])
    differing = [
        {each.path: levels[each.path] for each in factors if repr(levels[each.path]) != repr(each.listed[0])}
        for levels in tried
    ]
    names = [
        _as_file_name(",".join(f"{short[path]}={_written(value)}" for path, value in differs.items()) or BASE)
        for differs in differing
    ]
    folded = [name.casefold() for name in names]
    return [
        name if folded.count(name.casefold()) == 1 or not differs else f"{name}~{_digest(repr(differs))}"
        for name, differs in zip(names, differing, strict=True)
    ]


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _as_file_name(name: str) -> str:
    """Replace what file systems do not like, and cut what is too long for them."""
    clean = re.sub(r"[^\w=,.+-]", "_", name)
    short = clean.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return clean if short == clean else f"{short}~{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
