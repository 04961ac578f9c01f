"""The command that reproduces the paper: paper."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from noiseproof.cli import completion
from noiseproof.cli.app import app
from noiseproof.cli.common import SetOption, overrides_of, progress, show, split, whole_numbers
from noiseproof.cli.console import errors, output
from noiseproof.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from noiseproof.paper.planning import Setting

__all__ = ["paper"]


class Scale(enum.StrEnum):
    """At what size an experiment is run."""

    full = "full"
    reduced = "reduced"


class Preset(enum.StrEnum):
    """Whose choices hold where the paper and its published code differ."""

    paper = "paper"
    authors_code = "authors-code"


@app.command()
def paper(
    name: Annotated[
        str,
        typer.Argument(
            help="table1 to table5, fig1, fig8 to fig13, theory; or list.", autocompletion=completion.experiments
        ),
    ],
    scale: Annotated[
        Scale, typer.Option(help="full as in the paper; reduced for two CPU cores, with a smaller network.")
    ] = Scale.full,
    preset: Annotated[Preset, typer.Option(help="Where the paper and its published code differ.")] = Preset.paper,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="[RECIPE=]SOURCE", help="Where the data is; recipes without one are then not run."
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Numbers with commas between; by default the experiment's.")
    ] = None,
    rows: Annotated[str | None, typer.Option(help="Only these rows, with commas between.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Stop after so long, as 9m or 1.5h; the same command then goes on.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Runs made side by side.")] = 1,
    limit: Annotated[int, typer.Option(help="How many test samples figures and theory look at.")] = 1000,
    changes: SetOption = None,
    runs: Annotated[Path, typer.Option(help="The folder for runs, which experiments share.")] = Path("runs/paper"),
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for results.")] = Path("results"),
) -> None:
    """Reproduce a table or figure of the paper, beside the published numbers.

    Nothing finished is run twice: stop it at any time and start it again. Exit code 75: work is left.
    """
    from noiseproof.durations import seconds
    from noiseproof.paper import load_experiment
    from noiseproof.paper.planning import Setting
    from noiseproof.paper.reproduction import reproduce

    if name == "list":
        _list(Setting(scale.value, preset.value, {}, overrides_of(changes, None), runs))
        return
    sources = _sources(data or (), load_experiment(name).recipes)
    setting = Setting(scale.value, preset.value, sources, overrides_of(changes, None), runs)
    made = reproduce(
        name, setting, seeds=None if seeds is None else whole_numbers("--seeds", seeds),
        rows=None if rows is None else split(rows), out=out, budget=None if budget is None else seconds(budget),
        jobs=jobs, limit=limit, progress=progress(),
    )  # fmt: skip
    for table in made.tables:
        output().print(table.to_rich())
    show(f"page: {made.page}")
    for line in made.wrong:
        errors().print(Text.assemble(("error:", "bold red"), " ", line), highlight=False, soft_wrap=True)
    if made.wrong:
        raise typer.Exit(ExitCode.FAILED)
    if not made.complete:
        left = f"{made.done} of {made.total} runs done" + ("" if made.drawn else ", the figure not drawn")
        show(f"{left}; the same command goes on from here")
        raise typer.Exit(ExitCode.WORK_LEFT)


def _sources(given: Sequence[str], recipes: Sequence[str]) -> dict[str, str]:
    """Where the data of each recipe comes from; without a name it is the first's."""
    sources = {}
    for text in given:
        name, equals, source = text.partition("=")
        named = bool(equals) and name.replace("-", "").isalnum()
        sources[name if named else recipes[0]] = source if named else text
    return sources


def _list(setting: Setting) -> None:
    """What every experiment needs, what it costs, and how much of it is done."""
    from noiseproof.paper import experiment_names, load_experiment
    from noiseproof.paper.planning import plan

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "what", "data", "runs", "epochs each", "passes over the data", "done"):
        shown.add_column(column, justify="left" if column in ("name", "what", "data") else "right", overflow="fold")
    for name in experiment_names():
        experiment = load_experiment(name)
        planned = [run for of_recipe in plan(experiment, setting).values() for run in of_recipe]
        epochs = sorted({run.recipe.train.epochs for run in planned})
        shown.add_row(
            Text(name, style="bold"), Text(experiment.title),
            Text(", ".join(experiment.recipes)), str(len(planned)),
            " or ".join(map(str, epochs)), f"{sum(run.passes for run in planned):,}",
            f"{sum(run.done for run in planned)}",
        )  # fmt: skip
    output().print(shown)
    show(
        "A pass takes the training set through the network once, forward and back; methods that look at clean and "
        "noisy inputs take two an epoch. Experiments share runs: figures and theory need no more than the tables."
    )
