"""The command that tries settings: sweep."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from noiseproof.cli.app import app
from noiseproof.cli.common import (
    DataOption,
    DryRunOption,
    SetOption,
    command_line,
    overrides_of,
    progress,
    show,
    whole_numbers,
)
from noiseproof.cli.console import errors, output
from noiseproof.cli.dry_run import show_preview
from noiseproof.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from noiseproof.studies import Study

__all__ = ["sweep"]


class Design(enum.StrEnum):
    """Which combinations of values are tried."""

    one_at_a_time = "one-at-a-time"
    grid = "grid"
    random = "random"


@app.command()
def sweep(
    what: Annotated[str, typer.Argument(metavar="RECIPE|STUDY.yaml", help="What is varied; or a study in a file.")],
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="KEY=V1,V2", help="As train.epochs=10,20; or a range, as 0.1..10,log."),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="The method; the recipe's by default.")] = None,
    design: Annotated[
        Design | None,
        typer.Option(help="one-at-a-time changes the first value of each; grid tries all combinations."),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="How many settings a random design draws.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of training, with commas between.")] = None,
    finalists: Annotated[int | None, typer.Option(help="How many of the best are trained with --final-seeds.")] = None,
    final_seeds: Annotated[str | None, typer.Option(help="Seeds for finalists and for the test set.")] = None,
    score: Annotated[
        list[str] | None,
        typer.Option("--score", metavar="SPEC", help="Choose by this alone; may be repeated."),
    ] = None,
    look: Annotated[
        bool, typer.Option("--test/--no-test", help="In the end, measure the chosen setting on the test set, once.")
    ] = True,
    changes: SetOption = None,
    data: DataOption = None,
    budget: Annotated[
        str | None, typer.Option(help="Stop after so long, as 9m or 1.5h; the same command then goes on.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Runs made side by side.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder; by default below runs/.")] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Try settings, choose on the validation split, say what each change is worth, look at the test set once.

    Nothing finished is run twice: stop it at any time and start it again. Exit code 75: work is left.
    """
    import noiseproof
    from noiseproof.durations import seconds
    from noiseproof.studies.page import tables_of

    study = _study(
        what, vary, method=method, design=design, trials=trials, score=score, finalists=finalists,
        seeds=None if seeds is None else whole_numbers("--seeds", seeds),
        final_seeds=None if final_seeds is None else whole_numbers("--final-seeds", final_seeds),
    )  # fmt: skip
    folder = out or _usual_folder(what, study, from_file=not vary)
    if dry_run:
        from noiseproof.studies.preview import preview

        show_preview(preview(study, overrides_of(changes, data), folder, look=look, progress=progress()))
        return
    made = noiseproof.sweep(
        study, overrides_of(changes, data), folder, look=look, jobs=jobs,
        budget=None if budget is None else seconds(budget), command=command_line(), progress=progress(),
    )  # fmt: skip
    for table in tables_of(made.plan, made.findings):
        output().print(table.to_rich())
    show(f"page: {made.page}")
    if made.chosen is not None:
        show(f"chosen: {made.chosen}")
    for line in made.wrong:
        word = ("warning:", "yellow") if line in made.diverged else ("error:", "bold red")
        errors().print(Text.assemble(word, " ", line), highlight=False, soft_wrap=True)
    if not made.complete:
        failed = len(made.wrong) > len(made.diverged)
        if failed or made.done + len(made.diverged) >= made.total:
            if not failed:
                show("no setting could be trained to the end")
            raise typer.Exit(ExitCode.FAILED)
        show(f"{made.done} of {made.total} runs done so far; the same command goes on from here")
        raise typer.Exit(ExitCode.WORK_LEFT)


def _usual_folder(what: str, study: Study, *, from_file: bool) -> Path:
    """Below runs/, named by the study's file, or by the recipe and what is varied."""
    from noiseproof.studies.factors import short_keys

    keys = short_keys([each.path for each in study.vary]).values()
    return Path("runs", "-".join(["sweep", Path(what).stem, *([] if from_file else keys)]))


def _study(what: str, vary: list[str] | None, *, method: str | None, **given: Any) -> Study:
    """The study in a file, or the one that the options describe."""
    from noiseproof.errors import InvalidArgumentError
    from noiseproof.studies import Study, load_study
    from noiseproof.studies.declaration import is_study
    from noiseproof.studies.factors import factor

    options = {name: value for name, value in given.items() if value is not None}
    if is_study(what) and (Path(what).is_file() or not vary):
        if vary or method is not None or options:
            raise InvalidArgumentError(
                "a study in a file says itself what is tried; only --set, --data, --test/--no-test, --budget, --jobs, "
                "--dry-run and --out go with it"
            )
        return load_study(what)
    if not vary:
        raise InvalidArgumentError(
            "say what varies, as --vary methods.discriminative.delta_d=2,5,10, or give a study's YAML file"
        )
    settings = {} if method is None else {"method": method}
    return Study.of({"recipe": what, "set": settings, "vary": [factor(text) for text in vary], **options})
