"""The application that the commands register with."""

from __future__ import annotations

from typing import Annotated

import typer

from noiseproof.cli.console import output
from noiseproof.cli.exit_codes import in_words

__all__ = ["app"]

app = typer.Typer(
    name="noiseproof",
    help="Train, measure and explain classifiers that keep working on noisy input.",
    epilog=in_words(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    if version:
        import noiseproof

        output().print(f"noiseproof {noiseproof.__version__}", highlight=False)
        raise typer.Exit
