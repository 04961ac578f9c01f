"""Commands for a model that is used and handed on: predict, export."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from noiseproof.cli.app import app
from noiseproof.cli.common import progress, show, tell_of_units
from noiseproof.cli.console import errors, output
from noiseproof.cli.exit_codes import ExitCode
from noiseproof.cli.measuring import (
    BatchOption,
    DataOption,
    DeviceOption,
    ImageSizeOption,
    MeanOption,
    ModelOption,
    SeedOption,
    StdOption,
    TargetArgument,
    load,
    target_options,
)

if TYPE_CHECKING:
    from noiseproof.deploying import Predictions

__all__ = ["export", "predict"]


class Answers(enum.StrEnum):
    """How predictions are written to standard output."""

    terminal = "terminal"
    csv = "csv"
    json = "json"


class Exported(enum.StrEnum):
    """What is written for a model."""

    onnx = "onnx"
    card = "card"


@app.command()
def predict(
    target: TargetArgument,
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Pictures and folders of them; .npz (array x) and, for vectors, .csv files."),
    ],
    perturb: Annotated[
        str | None,
        typer.Option(
            "--perturb", "-p", metavar="SPEC", help="As gaussian:8/255; by default the noise of the run's recipe."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of the noise for each input.")] = 20,
    seed: SeedOption = 0,
    top: Annotated[int, typer.Option("--top", help="How many of the likeliest classes to name.")] = 3,
    layout: Annotated[Answers, typer.Option("--format", help="How to write the answers; json is one document.")] = (
        Answers.terminal
    ),
    model: ModelOption = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Whose classes and inputs a model that is no run has, as folder:photos."),
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    image_size: ImageSizeOption = None,
    device: DeviceOption = None,
    batch_size: BatchOption = 512,
) -> None:
    """Classify inputs, and tell in how many noisy draws the answer stays the same.

    Each answer depends on its input and the seed alone. The data of a run is not needed; other models need --data, for
    the names of classes. Exit code 1: some inputs could not be read, as told on standard error.
    """
    from noiseproof.checks import check_device
    from noiseproof.deploying import load_trained, predict

    check_device(device)
    asked = load_trained(target, **target_options(model, data, mean, std, image_size))
    tell_of_units(asked.scaling)
    found = predict(
        asked, inputs, perturb=perturb, draws=draws, seed=seed, top=top, device=device, batch_size=batch_size,
        progress=progress(),
    )  # fmt: skip
    _write(found, layout)
    for failure in found.failures:
        line = Text.assemble(("error:", "bold red"), " ", failure.reason)
        errors().print(line, highlight=False, soft_wrap=True)
    if found.failures:
        raise typer.Exit(ExitCode.FAILED)


def _write(found: Predictions, layout: Answers) -> None:
    from noiseproof.deploying.tables import prediction_records, prediction_table, predictions_to_json
    from noiseproof.reporting.tables import to_csv

    if layout is Answers.json:
        show(predictions_to_json(found))
    elif len(found) and layout is Answers.csv:
        show(to_csv(prediction_records(found)).removesuffix("\n"))
    elif len(found):
        output().print(prediction_table(found).to_rich())


@app.command()
def export(
    target: TargetArgument,
    kind: Annotated[
        Exported, typer.Option("--format", help="onnx, with a model card beside it; or card, the card alone.")
    ] = Exported.onnx,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; in the run's export/ by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files that are there.")] = False,
    tolerance: Annotated[
        float, typer.Option(help="Largest difference from torch, as a share of the largest logit.")
    ] = 1e-4,
    seed: SeedOption = 0,
    model: ModelOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    image_size: ImageSizeOption = None,
) -> None:
    """Write a model as an ONNX file that takes inputs as the training did, checked on test inputs, and a model card.

    A file that does not answer as the model does is not kept. Needs pip install 'noiseproof\\[onnx]'.
    """
    from noiseproof.deploying import export, write_card
    from noiseproof.deploying.tables import parity_table

    if kind is Exported.card:
        show(f"model card: {write_card(target, out, overwrite=overwrite)}")
        return
    found = export(
        load(target, model, data, mean, std, image_size), out, overwrite=overwrite, tolerance=tolerance, seed=seed,
        progress=progress(),
    )  # fmt: skip
    output().print(parity_table(found.onnx.parity).to_rich())
    show(f"model: {found.onnx.path} ({found.onnx.size:,} bytes, opset {found.onnx.opset})")
    show(f"model card: {found.card}" if found.card else f"no model card, since {target} is no run")
