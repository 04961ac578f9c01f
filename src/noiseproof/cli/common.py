"""Options and habits that commands share."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noiseproof.cli import completion
from noiseproof.cli.console import errors, output

if TYPE_CHECKING:
    from noiseproof.progress import ProgressReporter
    from noiseproof.scaling import Scaling

__all__ = [
    "DataOption",
    "DryRunOption",
    "InitFromOption",
    "OutOption",
    "OverwriteOption",
    "PresetOption",
    "RecipeArgument",
    "SetOption",
    "command_line",
    "first_process",
    "numbers",
    "overrides_of",
    "progress",
    "show",
    "split",
    "tell_of_units",
    "whole_numbers",
]

RecipeArgument = Annotated[
    str,
    typer.Argument(
        help="A recipe's name (see `noiseproof recipes`) or a YAML file.", autocompletion=completion.recipes
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, as train.epochs=50.")
]
DataOption = Annotated[str | None, typer.Option("--data", help="Where the data comes from, in place of the recipe's.")]
InitFromOption = Annotated[
    str | None,
    typer.Option("--init-from", metavar="RUN", help="Begin with the weights of a run folder or file: fine-tune it."),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        help="Whose settings of the discriminative method: paper, best (our own studies) or authors-code.",
        autocompletion=completion.presets,
    ),
]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="The folder to write; below runs/ by default.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the runs that are there.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would be done and how long it may take; write nothing.")
]


def progress() -> ProgressReporter:
    """Progress on standard error, of one of the processes that may have been started together."""
    from noiseproof.progress import ConsoleProgress, Silent

    return ConsoleProgress(errors()) if first_process() else Silent()


def first_process() -> bool:
    """Whether this is the one of several processes that speaks."""
    return os.environ.get("RANK", "0") == "0"


def show(text: str) -> None:
    """Print to standard output, letter by letter: no markup, no wrapping."""
    if not first_process():
        return
    output().print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def tell_of_units(scaling: Scaling | None) -> None:
    """Say on standard error what noise, radii and distances are in units of, where that is not the inputs' own."""
    if scaling is not None and first_process():
        errors().print(
            "The inputs are standardised: noise is in units of each column's or channel's standard deviation.",
            style="dim", highlight=False, soft_wrap=True,
        )  # fmt: skip


def command_line() -> str:
    """The command as it was given."""
    return shlex.join(["noiseproof", *sys.argv[1:]])


def overrides_of(
    changes: list[str] | None, data: str | None, init_from: str | None = None, preset: str | None = None
) -> dict[str, Any]:
    """The changes of a recipe that --set, --data, --init-from and --preset ask for."""
    from noiseproof.training.recipes import parse_override

    overrides = dict(parse_override(change) for change in changes or [])
    named = {"data.source": data, "model.init_from": init_from, "preset": preset}
    return {**overrides, **{key: value for key, value in named.items() if value is not None}}


def split(text: str) -> list[str]:
    """Split at commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def whole_numbers(option: str, text: str) -> list[int]:
    """Read whole numbers with commas between."""
    return [int(number) for number in _numbers(option, text, int, "whole numbers")]


def numbers(option: str, text: str) -> list[float]:
    """Read numbers with commas between."""
    return _numbers(option, text, float, "numbers")


def _numbers(option: str, text: str, kind: type[int] | type[float], what: str) -> list[float]:
    from noiseproof.errors import InvalidArgumentError

    try:
        return [kind(part) for part in split(text)]
    except ValueError:
        raise InvalidArgumentError(f"{option} must be {what} with commas between, got {text!r}") from None
