"""Commands that explain a model: curvature, analyse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from noiseproof.cli.app import app
from noiseproof.cli.common import numbers, progress, show, split
from noiseproof.cli.console import output
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

__all__ = ["analyse", "curvature"]


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
    table = curvature_table(found, loaded.title, caveat=loaded.caveat)
    write_tables([table], layout, curvature_records(found, caveat=loaded.caveat))


@app.command()
def analyse(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, drawn side by side on the same scales.")],
    only: Annotated[
        str | None, typer.Option(help="Figures with commas between: fig1, fig8 to fig13, scales, theory.")
    ] = None,
    limit: Annotated[int, typer.Option(help="So many test samples, evenly spread.")] = 1000,
    noise: Annotated[str | None, typer.Option(help="By default the noise of the training, as gaussian:0.06.")] = None,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the figures.")] = Path("analysis"),
) -> None:
    """Draw the paper's figures for trained runs, and compute its theorems.

    fig1: t-SNE of features; fig8: accuracy by curvature; fig9: curvature by right answers; fig10: curvatures; fig11:
    loss surface; fig12, fig13: t-SNE of the blocks, clean and noisy; scales: curvature against its scale; theory.
    """
    from noiseproof.explaining import FIGURES, draw
    from noiseproof.training import Run

    names = [*FIGURES, "theory"] if only is None else split(only)
    finished = [Run(folder) for folder in runs]
    files, table = draw(finished, names, out, limit=limit, noise=noise, seed=seed, progress=progress())
    if table is not None:
        output().print(table.to_rich())
    for file in files:
        show(str(file))
