"""The application that the commands register with."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from noiseproof.cli.console import errors, output
from noiseproof.cli.exit_codes import in_words

__all__ = ["app"]


class _Commands(TyperGroup):
    """Says how far a training was that is stopped, and how to go on: Typer keeps no more of it than an exit code."""

    def invoke(self, ctx: Any) -> Any:
        replacing = "--overwrite" in ctx.args
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, SystemExit) as stopped:
            with_ = " with --resume" if ctx.invoked_subcommand == "train" else ""
            without = " without --overwrite" if replacing else ""
            for note in getattr(stopped, "__notes__", []):
                line = f"{note}; the same command{with_}{without} goes on"
                errors().print(Text(line), highlight=False, soft_wrap=True)
            raise


app = typer.Typer(
    name="noiseproof",
    cls=_Commands,
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
