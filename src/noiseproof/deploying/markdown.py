"""Text that stays itself inside Markdown."""

from __future__ import annotations

import re

from noiseproof.deploying.inputs import printable

__all__ = ["Markdown", "code", "escape", "fenced"]

# What means something inside a line of GitHub's Markdown, and what makes it take text for an address.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$#@]|:(?=//)|(?<=www)\.)", re.IGNORECASE)


class Markdown(str):
    """Text that is Markdown already, and so is not escaped."""

    __slots__ = ()


def escape(text: object) -> Markdown:
    """Return Markdown that shows ``text`` letter by letter, on one line; what is Markdown stays as it is."""
    if isinstance(text, Markdown):
        return text
    return Markdown(_SPECIAL.sub(r"\\\1", printable(" ".join(str(text).split()))))


def code(text: object) -> Markdown:
    """Return ``text`` as a code span, whatever backticks it holds."""
    plain = printable(" ".join(str(text).split()))
    fence = "`" * (_longest_run(plain) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return Markdown(f"{fence}{space}{plain}{space}{fence}")


def fenced(text: str, language: str = "") -> Markdown:
    """Return ``text`` as a block of code, whatever backticks it holds."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return Markdown(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
