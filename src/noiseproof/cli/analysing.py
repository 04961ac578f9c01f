"""Commands that explain a model: curvature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from noiseproof.cli.app import app
from noiseproof.cli.common import numbers, progress
from noiseproof.cli.measuring import (
    DataOption,
    DeviceOption,
    Format,
    FormatOption,
    ImageSizeOption,
    MeanOption,
    ModelOption,
    SeedOption,
    StdOption,
    TargetArgument,
    load,
    write_tables,
)

__all__ = ["curvature"]


@app.command()
def curvature(
    target: TargetArgument,
    estimator: Annotated[
        str, typer.Option(help="finite-difference (Eq. 21), hutchinson or gauss-newton (exact for ReLU networks).")
    ] = "finite-difference",
    probes: Annotated[int, typer.Option(help="Random directions per sample.")] = 20,
    steps: Annotated[str, typer.Option("--step", help="t of Eq. 21; several with commas between.")] = "0.01",
    space: Annotated[str, typer.Option(help="pixel, or normalised as in the paper's figures.")] = "pixel",
    seed: SeedOption = 0,
    layout: FormatOption = Format.terminal,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Save here, not in the run's analysis/.")] = None,
    model: ModelOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    image_size: ImageSizeOption = None,
    limit: Annotated[int | None, typer.Option(help="So many samples, evenly spread.")] = 1000,
    device: DeviceOption = None,
) -> None:
    """Measure how fast the loss's gradient turns when the input moves: Σλ² of its Hessian, per sample."""
    from noiseproof.analysis import curvature_by_scale, input_curvature
    from noiseproof.reporting import curvature_records, curvature_table

    loaded = load(target, model, data, mean, std, image_size)
    settings: Any = {"probes": probes, "space": space, "seed": seed, "limit": limit, "device": device}
    if estimator == "finite-difference":
        by_step = curvature_by_scale(
            loaded.model, loaded.test, numbers("--step", steps), **settings, progress=progress()
        )
        found = list(by_step.values())
    else:
        which: Any = estimator
        found = [input_curvature(loaded.model, loaded.test, which, **settings, progress=progress())]
    folder = out or (loaded.run.folder / "analysis" if loaded.run else None)
    if folder is not None:
        for each in found:
            each.save(folder)
    write_tables([curvature_table(found, loaded.title)], layout, curvature_records(found))
