"""The command line. Importing it, and asking it for help, does not import torch."""

from __future__ import annotations

import sys
import traceback
import warnings

import typer
from rich.text import Text

from noiseproof.cli import analysing, deploying, measuring, reproducing, training  # noqa: F401 - they register their commands
from noiseproof.cli.app import app
from noiseproof.cli.console import errors
from noiseproof.errors import InvalidArgumentError, NoiseproofError

__all__ = ["main"]

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    A user's mistake is told in one line; ``--debug``, anywhere among the arguments, shows the traceback.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    warnings.showwarning = _show_warning
    try:
        code = app([argument for argument in given if argument != "--debug"] or ["--help"], standalone_mode=False) or 0
    except (typer.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except (NoiseproofError, OSError) as error:
        if debug:
            traceback.print_exc()
        _say("error:", "bold red", str(error))
        code = EXIT_USAGE if isinstance(error, InvalidArgumentError) else EXIT_ERROR
    except Exception as error:
        # Typer's complaints about wrong usage; their class is click's in older versions, Typer's own in newer ones.
        if not hasattr(error, "format_message"):
            raise
        if debug:
            traceback.print_exc()
        _say("error:", "bold red", str(error.format_message()))
        code = EXIT_USAGE
    if code == EXIT_INTERRUPTED:
        errors().print("interrupted", highlight=False)
    sys.exit(code)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _say("warning:", "yellow", str(message))


def _say(what: str, style: str, message: str) -> None:
    line = " ".join(message.split())
    errors().print(Text.assemble((what, style), " ", line), highlight=False, soft_wrap=True)
