"""The command that tells others: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noiseproof.cli.app import app
from noiseproof.cli.common import progress, show

__all__ = ["report"]


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, or folders that hold runs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Of the page; by default the recipe's name.")] = "",
    noise: Annotated[
        str | None, typer.Option(help="Look closely at this measured noise; by default at the strongest.")
    ] = None,
    explain: Annotated[
        bool | None,
        typer.Option(
            "--explain/--no-explain",
            help="Show curvature, features and theorems too: ten seconds a small network, many minutes a large one. "
            "By default only where they are kept from an earlier time.",
        ),
    ] = None,
) -> None:
    """Write a page to read in two minutes and send on: what was trained, who leads, what goes wrong.

    It is one file that loads nothing. Runs that differ in nothing but the seed are one row; all must have the same
    test data. What was not measured yet is measured as the recipe says.
    """
    import noiseproof

    path = noiseproof.write_report(list(runs), out, title=title, noise=noise, explain=explain, progress=progress())
    show(f"report: {path}")
