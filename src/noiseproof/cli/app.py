"""The application that the commands register with."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from noiseproof.cli.console import errors, output
from noiseproof.cli.exit_codes import in_words
from noiseproof.errors import InvalidArgumentError

__all__ = ["SETTINGS", "app"]


# What users take for options, and how the keys of a recipe that they mean are set.
SETTINGS = {
    "--augment": "data.augment=flip",
    "--batch-size": "train.batch_size=64",
    "--draws": "evaluate.draws=5",
    "--embedding-dim": "model.embedding_dim=64",
    "--epochs": "train.epochs=5",
    "--learning-rate": "train.optimizer.lr=0.01",
    "--lr": "train.optimizer.lr=0.01",
    "--max-steps": "train.max_steps=100",
    "--model": "model.name=small-cnn",
    "--noise": "noise.train=gaussian:0.2",
    "--optimizer": "train.optimizer.name=adam",
    "--perturbations": "evaluate.perturbations=[clean,gaussian:0.3]",
    "--precision": "train.precision=bf16",
    "--weight-decay": "train.optimizer.weight_decay=0.001",
    "--workers": "train.workers=4",
}


class _Commands(TyperGroup):
    """Says how far a training was that is stopped, and how to go on, of which Typer keeps no more than an exit code;
    and how settings of a recipe are given that are taken for options."""

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
        except Exception as error:  # Typer's own classes have no public name
            setting = SETTINGS.get(getattr(error, "option_name", ""))
            if setting and self._takes_settings(ctx):
                raise InvalidArgumentError(f"{error}; write --set {setting}") from error
            raise

    def _takes_settings(self, ctx: Any) -> bool:
        command = self.get_command(ctx, ctx.invoked_subcommand)
        return command is not None and any("--set" in each.opts for each in command.params)


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
