"""The command line. Importing it, and asking it for help, does not import torch."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable

import typer
from rich.text import Text
from typer.models import CommandInfo

from noiseproof.cli import (  # noqa: F401 - they register their commands
    advising,
    analysing,
    checking,
    deploying,
    measuring,
    presenting,
    reproducing,
    studying,
    training,
)
from noiseproof.cli.app import app
from noiseproof.cli.console import errors
from noiseproof.cli.exit_codes import ExitCode, code_for
from noiseproof.errors import NoiseproofError

__all__ = ["main"]

# The commands as `noiseproof --help` shows them.
_PANELS = {
    "Train": ("train", "compare", "sweep", "suggest", "recipes"),
    "Measure and explain": ("evaluate", "report", "certify", "curvature", "analyse"),
    "Use": ("predict", "export"),
    "Check and reproduce": ("doctor", "paper"),
}


def _arrange() -> None:
    """Put every command into its panel, in the order above."""
    order = {name: (place, panel) for panel, names in _PANELS.items() for place, name in enumerate(names)}
    panels = list(_PANELS)
    for command in app.registered_commands:
        command.rich_help_panel = order[_name_of(command)][1]
    app.registered_commands.sort(
        key=lambda command: (panels.index(str(command.rich_help_panel)), order[_name_of(command)][0])
    )


def _name_of(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


_arrange()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with one of :class:`noiseproof.cli.exit_codes.ExitCode`.

    A user's mistake is told in one line; ``--debug``, anywhere among the arguments, shows the traceback.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    warnings.showwarning = _each_once()
    try:
        code = (
            app([argument for argument in given if argument != "--debug"] or ["--help"], standalone_mode=False)
            or ExitCode.DONE
        )
    except (typer.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except (NoiseproofError, OSError) as error:
        if debug:
            traceback.print_exc()
        _say("error:", "bold red", _of_system(error) if isinstance(error, OSError) else str(error))
        code = code_for(error)
    except Exception as error:
        # Typer's complaints about wrong usage; their class is click's in older versions, Typer's own in newer ones.
        if not hasattr(error, "format_message"):
            raise
        if debug:
            traceback.print_exc()
        _say("error:", "bold red", str(error.format_message()))
        code = ExitCode.USAGE
    if code == ExitCode.INTERRUPTED:
        errors().print("interrupted", highlight=False)
    sys.exit(int(code))


def _of_system(error: OSError) -> str:
    """What the operating system complains of, in its words and with the file's name, but without its number."""
    if error.strerror is None or isinstance(error, NoiseproofError):
        return str(error)
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([error.strerror, *([" to ".join(names)] if names else [])])


def _each_once() -> Callable[..., None]:
    """Return what shows warnings, each text once: of many runs on the same data every one would warn of it."""
    shown = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            _say("warning:", "yellow", str(message))

    return show


def _say(what: str, style: str, message: str) -> None:
    line = " ".join(message.split())
    errors().print(Text.assemble((what, style), " ", line), highlight=False, soft_wrap=True)
