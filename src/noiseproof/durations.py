"""Lengths of time as people write them."""

from __future__ import annotations

import math
import re

from noiseproof.errors import InvalidArgumentError

__all__ = ["in_words", "seconds"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Read ``"90s"``, ``"9m"``, ``"1.5h"`` or ``"1h30m"``; a bare number counts seconds.

    Raises:
        InvalidArgumentError: anything else, or no time at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    unclear = len(parts) > 1 and any(not unit for _, unit in parts)
    if not parts or unclear or "".join(map("".join, parts)) != text.strip():
        raise InvalidArgumentError(f"a length of time is written as 90s, 9m, 1.5h or 1h30m, got {text!r}")
    total = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if not 0 < total < math.inf:
        raise InvalidArgumentError(f"a length of time must be above 0 and have an end, got {text!r}")
    return total


def in_words(length: float) -> str:
    """Write a length in seconds, as ``"1 h 30 min"``, ``"12 min"`` or ``"40 s"``."""
    whole = round(length)
    if whole < 60:
        return f"{whole} s"
    minutes = round(length / 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"
