"""A page from rows of runs and what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from noiseproof.data import LabelledDataset, Splits
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import RunFolderError
from noiseproof.evaluation import Comparison
from noiseproof.evaluation.views import view
from noiseproof.explaining import kept_panels, panels
from noiseproof.perturbations import Perturbation
from noiseproof.presenting.describing import setup_of
from noiseproof.presenting.grouping import Row
from noiseproof.presenting.mistakes import image_like, worst_to_noise
from noiseproof.progress import ProgressReporter
from noiseproof.reporting import Example, Mistakes, Page, Panel, findings
from noiseproof.reporting.wording import quoted
from noiseproof.training import Run

__all__ = ["page_of", "require_page", "sections_of", "shown_runs"]


def page_of(
    rows: Sequence[Row],
    comparison: Comparison,
    data: Splits,
    sections: Sequence[Panel] = (),
    *,
    noise: str | None = None,
    title: str = "",
    occasion: bool = False,
) -> Page:
    """Assemble the page of some runs.

    Args:
        rows: of runs, by whose keys the comparison goes.
        comparison: what they came to.
        data: that they were trained and tested on.
        sections: beside the accuracies.
        noise: the perturbation to look at closely; None for the strongest.
        title: of the page; empty for the comparison's.
        occasion: whether to say when and how long the runs trained.

    Raises:
        UnknownNameError: ``noise`` was not measured.
    """
    found = findings(comparison, noise)
    return Page(
        comparison,
        setup_of(rows, comparison, data, occasion=occasion),
        noise=found.key,
        title=title,
        examples=_examples(comparison.perturbations, data.test),
        mistakes=_mistakes(rows, comparison, data.test, found.leader.method, found.key),
        panels=sections,
    )


def shown_runs(rows: Sequence[Row]) -> dict[str, Run]:
    """Return the run of each row that analyses look at, that of the first seed, by the row's title."""
    return {row.title: row.first for row in rows}


def sections_of(
    rows: Sequence[Row], places: Sequence[str | Path | Run], data: Splits, explain: bool | None,
    progress: ProgressReporter,
) -> Sequence[Panel]:  # fmt: skip
    """Make the sections that say why, or take them from where they are kept.

    That is the folder of a comparison where nothing else was named, else ``analysis/`` of the first run.

    Args:
        rows: of runs.
        places: that were named.
        data: of the runs.
        explain: whether to; None for what is kept alone.
        progress: where to report.
    """
    if explain is False:
        return []
    whole = len(places) == 1 and not isinstance(places[0], Run) and not (Path(places[0]) / "recipe.yaml").exists()
    folder = Path(str(places[0])) if whole else rows[0].first.folder / "analysis"
    shown = shown_runs(rows)
    if explain is None:
        return kept_panels(shown, folder) or []
    noise = rows[0].first.recipe.noise.train
    return panels(shown, folder, noise=noise, data=data, progress=progress)


def require_page(path: Path) -> None:
    """Raise a :class:`RunFolderError` where a page at ``path`` would replace a file that is none of our pages."""
    if path.is_dir():
        raise RunFolderError(f"{path} is a folder: name a file for the page, as {path / 'report.html'}")
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(4096)
        if start and b'name="generator" content="noiseproof' not in start:
            raise RunFolderError(f"{path} is there and is no page of noiseproof: name another file with --out")


def _mistakes(
    rows: Sequence[Row], comparison: Comparison, test: LabelledDataset, method: str, noise: str
) -> Mistakes | None:
    """Those of the leader's model of the first seed."""
    row = next(row for row in rows if row.key == method)
    seed, run = next(iter(row.runs.items()))
    title = quoted(row.title) if len(row.runs) == 1 else f"{quoted(row.title)} with seed {seed}"
    return worst_to_noise(title, run.model(), test, comparison.reports[method][seed], noise)


def _examples(keys: Sequence[str], test: LabelledDataset, count: int = 3) -> list[Example]:
    """Show the first test sample of the first classes under every perturbation; none if the inputs are no images."""
    if not image_like(test):
        return []
    first = [int((test.labels == c).nonzero()[0]) for c in range(test.num_classes) if bool((test.labels == c).any())]
    inputs = torch.stack([to_unit_interval(test[index][0]) for index in first[:count]])
    noises = {key: noise for key in keys for noise in [view(key)] if isinstance(noise, Perturbation)}
    views = {key: noise(inputs, 0).permute(0, 2, 3, 1).numpy() for key, noise in noises.items()}
    return [
        Example(
            test.class_names[int(test.labels[index])],
            {key: images[row].squeeze(-1) if images.shape[-1] == 1 else images[row] for key, images in views.items()},
        )
        for row, index in enumerate(first[:count])
    ]
