"""The commands: each parses its arguments and hands them to the library, which it imports only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from noiseproof.cli.console import errors, output

if TYPE_CHECKING:
    from noiseproof.progress import ProgressReporter

__all__ = ["app"]

app = typer.Typer(
    name="noiseproof",
    help="Train, measure and explain classifiers that keep working on noisy input.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RecipeArgument = Annotated[str, typer.Argument(help="A recipe's name (see `noiseproof recipes`) or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, as train.epochs=50.")
]
DataOption = Annotated[str | None, typer.Option("--data", help="Where the data comes from, in place of the recipe's.")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="The folder to write; below runs/ by default.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the runs that are there.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    if version:
        import noiseproof

        output().print(f"noiseproof {noiseproof.__version__}", highlight=False)
        raise typer.Exit


@app.command()
def train(
    recipe: RecipeArgument,
    method: Annotated[str | None, typer.Option("--method", "-m", help="normal, noisy, mixed, stability, …")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order, augmentation and noise.")] = None,
    changes: SetOption = None,
    data: DataOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
) -> None:
    """Train one method and leave a run folder."""
    import noiseproof

    run = noiseproof.train(
        recipe, method, seed, _overrides(changes, data), out, overwrite=overwrite, resume=resume,
        progress=_progress(),
    )  # fmt: skip
    last = run.metrics()[-1]
    _print(
        f"{run.name}: {last['step']} steps, final training loss {last['loss']:.4f}, "
        f"training accuracy {100 * last['accuracy']:.1f} %\nrun folder: {run.folder}"
    )
    if caveat := run.recipe.caveat:
        _print(f"note: {caveat}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    perturb: Annotated[
        list[str] | None, typer.Option("--perturb", "-p", metavar="SPEC", help="As gaussian:8/255; may be repeated.")
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Draws of each random perturbation.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
) -> None:
    """Measure a trained run under perturbations and keep the report in its folder."""
    from noiseproof.experiments import evaluate_run
    from noiseproof.reporting import report_table
    from noiseproof.training import Run

    finished = Run(run)
    report = evaluate_run(finished, perturb or None, draws=draws, seed=seed, progress=_progress())
    output().print(report_table(report, finished.name, finished.recipe.caveat).to_rich())


@app.command()
def compare(
    recipe: RecipeArgument,
    methods: Annotated[str, typer.Option(help="Names with commas between, or all.")] = "all",
    seeds: Annotated[str, typer.Option(help="Numbers with commas between.")] = "0,1,2",
    changes: SetOption = None,
    data: DataOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Train several methods with several seeds, evaluate them, and write table and report.

    What is finished in the output folder is not run again.
    """
    import noiseproof
    from noiseproof.experiments import PAPER_METHODS, comparison_folder
    from noiseproof.reporting import comparison_table
    from noiseproof.training import load_recipe

    chosen = list(PAPER_METHODS) if methods == "all" else _split(methods)
    overrides = _overrides(changes, data)
    folder = out or comparison_folder(load_recipe(recipe, overrides))
    comparison = noiseproof.compare(
        recipe, chosen, _numbers(seeds), overrides, folder, overwrite=overwrite,
        progress=_progress(),
    )  # fmt: skip
    output().print(comparison_table(comparison).to_rich())
    _print(f"report: {folder / 'report.html'}")


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe with every default.")] = None,
) -> None:
    """List the recipes, or show one whole."""
    from noiseproof.training.recipes import dump_recipe, load_recipe, recipe_names

    if name is not None:
        _print(dump_recipe(load_recipe(name).with_all_options()).removesuffix("\n"))
        return
    for each in recipe_names():
        line = Text.assemble((each, "bold"), "  ", load_recipe(each).description)
        output().print(line, highlight=False, soft_wrap=True)


def _progress() -> ProgressReporter:
    """Progress on standard error, of one of the processes that may have been started together."""
    from noiseproof.progress import ConsoleProgress, Silent

    return ConsoleProgress(errors()) if _first_process() else Silent()


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _print(text: str) -> None:
    """Print to standard output, letter by letter: no markup, no wrapping."""
    if not _first_process():
        return
    output().print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _overrides(changes: list[str] | None, data: str | None) -> dict[str, Any]:
    from noiseproof.training.recipes import parse_override

    overrides = dict(parse_override(change) for change in changes or [])
    return overrides if data is None else {**overrides, "data.source": data}


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    from noiseproof.errors import InvalidArgumentError

    try:
        return [int(part) for part in _split(text)]
    except ValueError:
        raise InvalidArgumentError(f"--seeds must be whole numbers with commas between, got {text!r}") from None
