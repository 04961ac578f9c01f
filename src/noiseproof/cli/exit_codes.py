"""What the command line ends with, for scripts that call it."""

from __future__ import annotations

import enum

from noiseproof.errors import BudgetSpentError, InvalidArgumentError

__all__ = ["ExitCode", "code_for", "in_words"]


class ExitCode(enum.IntEnum):
    """The codes that every command shares.

    75 is ``EX_TEMPFAIL`` of sysexits.h, "try again"; 130 and 143 are 128 plus the number of the signal, as shells
    report it.
    """

    DONE = 0
    FAILED = 1
    USAGE = 2
    WORK_LEFT = 75
    INTERRUPTED = 130
    TERMINATED = 143


_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong usage",
    ExitCode.WORK_LEFT: "work is left",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.TERMINATED: "terminated",
}


def code_for(error: Exception) -> ExitCode:
    """Return what a command ends with that raised ``error``."""
    if isinstance(error, BudgetSpentError):
        return ExitCode.WORK_LEFT
    return ExitCode.USAGE if isinstance(error, InvalidArgumentError) else ExitCode.FAILED


def in_words() -> str:
    """Return all codes with their meanings, in one sentence."""
    return "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in _MEANINGS.items()) + "."
