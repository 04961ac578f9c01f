"""The figures and the theory of an experiment, drawn once for the same models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from noiseproof.explaining import Explanation, explain, write_figures
from noiseproof.explaining.readings import reading
from noiseproof.files import write_text
from noiseproof.paper.claims import claims_of
from noiseproof.paper.declaration import Experiment
from noiseproof.paper.planning import Setting
from noiseproof.progress import ProgressReporter
from noiseproof.scheduling import PlannedRun
from noiseproof.training import Run
from noiseproof.training.engine import native_device
from noiseproof.training.run import load_data

__all__ = ["figure_parts"]

KEPT = "figure.json"


def figure_parts(
    experiment: Experiment,
    setting: Setting,
    runs: Sequence[PlannedRun],
    folder: Path,
    *,
    limit: int,
    may_draw: bool,
    progress: ProgressReporter,
) -> list[str] | None:
    """Draw an experiment's figure, or compute its theory, and return what the page says of it, as Markdown.

    Args:
        experiment: not a table.
        setting: how it was run.
        runs: all trained, on the same data.
        folder: where the files go; what was drawn of the same models already is taken from there.
        limit: how many test samples, evenly spread.
        may_draw: whether there are time and data to draw what is not there; if not, and it is not, the answer is None.
        progress: where to report.
    """
    key = _key(experiment, setting, runs, limit)
    try:
        kept = json.loads((folder / KEPT).read_text(encoding="utf-8"))
        if kept["key"] == key and all((folder / name).is_file() for name in kept["files"]):
            return [str(part) for part in kept["parts"]]
    except (OSError, ValueError, LookupError, TypeError):
        pass  # nothing yet, damaged, or of another version
    if not may_draw:
        return None
    finished, data = [Run(run.folder) for run in runs], load_data(runs[0].recipe)
    for run in finished:
        run.check_data(data)
    found = explain(finished, limit=limit, data=data, device=str(native_device()), progress=progress)
    note = "" if setting.comparable(experiment) else "Not at the paper's scale or settings."
    files, table = write_figures(found, [experiment.name], folder, note=note)
    first = next(iter(found.values()))
    if table is not None:
        shown = [table.to_markdown()]
    else:
        by_row = dict(zip((run.row for run in runs), found.values(), strict=True))
        shown = [
            "\n".join(_told(text, holds) for text, holds in claims_of(experiment.name, by_row)),
            f"![{experiment.title}]({files[0].name})",
            reading(experiment.name, found).to_markdown().strip(),
        ]
    parts = [*shown, _looked_at(experiment.name, first)]
    if experiment.name in ("fig12", "fig13") and setting.scale == "reduced":
        parts.append("This network has fewer blocks than the paper's, which has four.")
    kept = {"key": key, "parts": parts, "files": [file.name for file in files]}
    write_text(folder / KEPT, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    return parts


def _told(claim: str, holds: bool) -> str:
    return f"- {claim} {'So it is here.' if holds else '**Not so here.**'}"


def _looked_at(name: str, explained: Explanation) -> str:
    """On what a figure is based."""
    if name == "fig11":
        return "One input: the first of the test set."
    samples = f"{len(explained.test):,} test samples, evenly spread"
    return f"{samples}." if name in ("fig10", "fig12") else f"{samples}; noise: {explained.noise}."


def _key(experiment: Experiment, setting: Setting, runs: Sequence[PlannedRun], limit: int) -> str:
    """What the figure depends on: the weights, the settings, and the version of this package."""
    digest = hashlib.sha256(
        f"{version('noiseproof')} {experiment.name} {setting.comparable(experiment)} {limit}".encode()
    )
    for run in runs:
        digest.update(run.name.encode())
        digest.update((run.folder / "model.safetensors").read_bytes())
    return digest.hexdigest()
