"""Where the command line writes: results to standard output, progress and complaints to standard error."""

from __future__ import annotations

import functools
import sys

from rich.console import Console

__all__ = ["errors", "output"]

_PIPED_WIDTH = 1_000_000  # in a file no table is cut; each is as wide as its rows, and so are its title and caption


@functools.cache
def output() -> Console:
    """The console for results."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)


@functools.cache
def errors() -> Console:
    """The console for progress, warnings and errors."""
    return Console(stderr=True)
