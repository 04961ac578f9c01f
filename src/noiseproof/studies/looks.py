"""A record of every look at the test set, since each further one makes its numbers a little too good."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from noiseproof.errors import NoiseproofError
from noiseproof.files import write_text
from noiseproof.studies.designs import Trial
from noiseproof.studies.planning import Plan

__all__ = ["Look", "note_look", "read_looks"]

_FILE = "looks.json"


class Look(NamedTuple):
    """One look at the test set.

    Attributes:
        time: UTC, as ``2026-01-31T12:00:00+00:00``.
        chosen: name of the trial that was chosen.
        trials: how many it was chosen from.
        of: digest of what was tried and of which was chosen.
    """

    time: str
    chosen: str
    trials: int
    of: str


def read_looks(folder: Path) -> list[Look]:
    """Return the looks so far, the first first.

    Raises:
        NoiseproofError: the record is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise TypeError(f"a list is wanted, got {entries!r}")
        return [Look(**entry) for entry in entries]
    except (ValueError, TypeError) as error:
        raise NoiseproofError(f"the record of looks at the test set, {path}, is damaged: {error}") from error


def note_look(folder: Path, plan: Plan, chosen: Trial) -> list[Look]:
    """Write down that the test set is about to be looked at, unless this very look was begun before.

    Returns:
        All looks, this one last.
    """
    looks = read_looks(folder)
    settings = {name: recipe.settings_to_digest() for name, recipe in plan.recipes.items()}
    for each in settings.values():
        each["data"].pop("source")  # where the data lies; that it is the same is looked at elsewhere
    told = json.dumps([settings, chosen.name, plan.study.seeds_to_decide], sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()
    if any(look.of == digest for look in looks):
        return looks
    now = datetime.now(UTC).isoformat(timespec="seconds")
    looks.append(Look(now, chosen.name, len(plan.trials), digest))
    write_text(folder / _FILE, json.dumps([look._asdict() for look in looks], indent=2) + "\n")
    return looks
