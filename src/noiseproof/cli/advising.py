"""The command that advises: suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.table import Table as Shown
from rich.text import Text

from noiseproof.cli import completion
from noiseproof.cli.app import app
from noiseproof.cli.common import SetOption, numbers, overrides_of, progress, show, whole_numbers
from noiseproof.cli.console import output
from noiseproof.cli.measuring import (
    Format,
    FormatOption,
    ImageSizeOption,
    MeanOption,
    ModelOption,
    StdOption,
    write_tables,
)

if TYPE_CHECKING:
    from noiseproof.reporting import Table
    from noiseproof.suggesting import Advice, Proposal
    from noiseproof.suggesting.advice import Value

__all__ = ["suggest"]

_WIDEST = {"proposed": 20, "now": 20, "reason": 90}  # also where the output is as wide as it likes


@app.command()
def suggest(
    target: Annotated[
        str,
        typer.Argument(
            help="A run folder, a recipe, a file of weights, or package.module:factory.",
            autocompletion=completion.recipes,
        ),
    ],
    data: Annotated[str | None, typer.Option("--data", help="Samples in place of the run's or the recipe's.")] = None,
    repeats: Annotated[
        str | None,
        typer.Option(
            "--repeats", metavar="FOLDER|NPZ",
            help="Repeated recordings of a still scene: pictures in a folder, or an array named repeats, (R, N, …).",
        ),
    ] = None,
    flat: Annotated[
        bool, typer.Option("--flat", help="Estimate the sensor's noise from the data's own pictures or series.")
    ] = False,
    changes: SetOption = None,
    limit: Annotated[int, typer.Option(help="Look at so many samples, evenly spread.")] = 2000,
    layout: FormatOption = Format.terminal,
    model: ModelOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    image_size: ImageSizeOption = None,
) -> None:  # fmt: skip
    """Propose δ_v, δ_d, the training noise and the momentum from what is measured, with the reasons.

    A trained run tells most. Where theory gives no answer, the line says so and names values to try.
    """
    from noiseproof.errors import InvalidArgumentError
    from noiseproof.suggesting import suggest as advise

    size = None if image_size is None else whole_numbers("--image-size", image_size)
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise InvalidArgumentError(f"--image-size must be height and width, as 224,224, got {image_size!r}")
    advice = advise(
        target, data=data, overrides=overrides_of(changes, None), repeats=repeats, flat=flat, limit=limit, model=model,
        mean=None if mean is None else numbers("--mean", mean), std=None if std is None else numbers("--std", std),
        image_size=None if size is None else (size[0], size[1]), progress=progress(),
    )  # fmt: skip
    if layout is Format.terminal:
        _show(advice)
    else:
        write_tables([_table(advice)], layout, [_record(each) for each in advice.proposals])


def _show(advice: Advice) -> None:
    show(f"{advice.title}\n")
    for what, value in advice.facts:
        show(f"  {what}: {value}" if what else f"    {value}")
    shown = Shown(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("parameter", "proposed", "now", "reason"):
        justify: Literal["left", "right"] = "right" if column in ("proposed", "now") else "left"
        shown.add_column(column, justify=justify, overflow="fold", max_width=_WIDEST.get(column))
    for each in advice.proposals:
        proposed = "-" if each.value is None else "as now" if not each.changes else _text(each.value)
        shown.add_row(
            Text(each.name if each.key.startswith("methods.") else each.key, style="bold" if each.changes else ""),
            Text(proposed), Text(_text(each.now)), Text(each.reason),
        )  # fmt: skip
    output().print(shown)
    settings = [each.setting for each in advice.proposals if each.setting]
    if settings:
        show("To set what is proposed:\n  " + " ".join(settings))
    sweeps = [each.varying for each in advice.proposals if each.varying]
    if sweeps:
        show("To try values:\n  " + "\n  ".join(sweeps))
    for note in advice.notes:
        show(note)


def _table(advice: Advice) -> Table:
    from noiseproof.reporting.tables import Entry, Table

    rows = tuple(tuple(Entry(value) for value in _record(each).values()) for each in advice.proposals)
    facts = "; ".join(f"{what}: {value}" if what else value for what, value in advice.facts)
    return Table(advice.title, tuple(_record(advice.proposals[0])), rows, f"{facts}. {' '.join(advice.notes)}".strip())


def _record(proposal: Proposal) -> dict[str, str]:
    return {
        "key": proposal.key,
        "proposed": _text(proposal.value),
        "now": _text(proposal.now),
        "reason": proposal.reason,
        "set": proposal.setting,
        "vary": proposal.varying,
    }


def _text(value: Value | None) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else f"{value:g}" if isinstance(value, float | int) else value
