"""The command line. Importing it, and asking it for help, does not import torch."""

from __future__ import annotations

import sys
import traceback
import warnings

import click

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
        code = app([argument for argument in given if argument != "--debug"], standalone_mode=False)
    except click.exceptions.Abort:
        code = _interrupted()
    except KeyboardInterrupt:
        code = _interrupted()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (NoiseproofError, OSError) as error:
        if debug:
            traceback.print_exc()
        errors().print(f"[bold red]error:[/] {_escaped(str(error))}", highlight=False, soft_wrap=True)
        code = EXIT_USAGE if isinstance(error, InvalidArgumentError) else EXIT_ERROR
    sys.exit(code or 0)


def _interrupted() -> int:
    errors().print("interrupted", highlight=False)
    return EXIT_INTERRUPTED


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    errors().print(f"[yellow]warning:[/] {_escaped(str(message))}", highlight=False, soft_wrap=True)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
