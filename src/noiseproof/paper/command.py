"""The command that gives a page again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import yaml

from noiseproof.paper.planning import Setting

__all__ = ["DEFAULT_LIMIT", "as_yaml", "command_for"]

DEFAULT_LIMIT = 1000


def command_for(
    name: str, setting: Setting, *, seeds: Sequence[int] | None, rows: Sequence[str] | None, jobs: int, limit: int
) -> str:
    """Write the command line: all that the numbers depend on, and how many runs were made side by side.

    The folders for runs and results are left out.
    """
    words = ["noiseproof", "paper", name]
    for option, value, usual in (
        ("--scale", setting.scale, "full"),
        ("--preset", setting.preset, "paper"),
        ("--seeds", None if seeds is None else ",".join(map(str, seeds)), None),
        ("--rows", None if rows is None else ",".join(rows), None),
        ("--jobs", str(jobs), "1"),
        ("--limit", str(limit), str(DEFAULT_LIMIT)),
    ):
        words += [] if value is None or value == usual else [option, value]
    for recipe, source in setting.sources.items():
        words += ["--data", f"{recipe}={source}"]
    for path, value in setting.changes.items():
        words += ["--set", f"{path}={as_yaml(value)}"]
    return shlex.join(words)


def as_yaml(value: object) -> str:
    """Write a value on one line, so that ``--set`` reads it back."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.strip().removesuffix("...").strip()
