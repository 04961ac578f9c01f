"""The sections of a comparison's page that say why, kept while the models are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from noiseproof.analysis import FeatureMap, lowest_share
from noiseproof.explaining.explanation import Explanation
from noiseproof.explaining.figures import SHARE, Explained, caveat_of
from noiseproof.files import write_text
from noiseproof.reporting import Panel
from noiseproof.reporting.rendering import map_markup, range_markup
from noiseproof.reporting.tables import Entry, Table, short_name
from noiseproof.reporting.theory import theory_table
from noiseproof.training import Run

__all__ = ["kept_panels", "panels"]

_DRAWN = 4  # raised when the same analyses are drawn in another way


def panels(runs: Mapping[str, Run], folder: Path, **settings: object) -> list[Panel]:
    """Make the sections of a comparison's page that say why: curvature, features, and the theorems for first and last.

    They are kept in ``folder`` as ``explanation.json`` and taken from there while the models are the same.

    Args:
        runs: by title, at least one.
        folder: of the comparison; it is made.
        **settings: as for :class:`Explanation`.
    """
    kept, key = folder / "explanation.json", _key(runs)
    known = kept_panels(runs, folder)
    if known is not None:
        return known
    found = {title: Explanation(run, **settings) for title, run in runs.items()}  # type: ignore[arg-type]
    made = _panels(found)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(kept, json.dumps({"key": key, "panels": [asdict(panel) for panel in made]}, ensure_ascii=False) + "\n")
    return made


def kept_panels(runs: Mapping[str, Run], folder: Path) -> list[Panel] | None:
    """Return the sections that :func:`panels` kept in ``folder`` for these models; None where there are none."""
    try:
        content = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
        return [_restored(panel) for panel in content["panels"]] if content["key"] == _key(runs) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # none, damaged, or of another version


def _panels(found: Explained) -> list[Panel]:
    first = next(iter(found.values()))
    ends = dict.fromkeys((next(iter(found)), next(reversed(list(found)))))
    lowest = {title: lowest_share(each.curvature.values, SHARE) for title, each in found.items()}
    medians = ", ".join(f"{title} {np.median(values):.2g}" for title, values in lowest.items())
    agree = ", ".join(
        f"{title} " + " and ".join(f"{100 * share:.0f} %" for share in _neighbours(each.feature_map))
        for title, each in found.items()
    )
    return [
        Panel(
            "How curved the loss is",
            "Λ(x) = Σλ² of the Hessian of the softmax loss in the input, by Eq. 21 of the paper with t = 0.01 and 20 "
            f"probes, over {len(first.test)} test samples, one seed. Shown are the "
            f"{100 * SHARE:.0f} % of them with the lowest values, {len(next(iter(lowest.values())))} samples of each "
            "model: boxes are their quartiles, whiskers their 5th and 95th percentiles, the number beside a name is "
            "their median. A loss that curves less changes less when the input does; that alone makes no model right.",
            range_markup(
                lowest,
                f"Λ(x) in {first.space} space, lowest {100 * SHARE:.0f} % of samples; beside the name their median",
            ),
            f"Box plots of the lowest {100 * SHARE:.0f} % of curvatures. Their medians: {medians}.",
        ),
        Panel(
            "How the features lie",
            f"t-SNE of the penultimate features, clean and under {short_name(first.noise)}, one map for both. A "
            "t-SNE map keeps neighbours, not distances; how often a feature's ten nearest neighbours are of its class "
            "stands below each.",
            map_markup({title: each.feature_map for title, each in found.items()}),
            f"Maps of features by class. Neighbours of the same class, clean and noisy: {agree}.",
        ),
        Panel(
            "The theorems, computed",
            "The paper's propositions and theorems on these models: which premises hold, which conclusions, and what "
            "the bounds come to.",
            table=theory_table({title: found[title].theory for title in ends}, caveat=caveat_of(found)),
        ),
    ]


def _neighbours(found: FeatureMap) -> list[float]:
    """How often neighbours agree, clean and, if there is any, under noise."""
    return [found.neighbours_clean, *([] if found.noisy is None else [found.neighbours_noisy])]


def _key(runs: Mapping[str, Run]) -> str:
    """What the sections depend on: the weights, the version of this package, and how they are drawn."""
    digest = hashlib.sha256(f"{version('noiseproof')} {_DRAWN}".encode())
    for title, run in runs.items():
        digest.update(title.encode())
        digest.update((run.folder / "model.safetensors").read_bytes())
    return digest.hexdigest()


def _restored(panel: dict[str, Any]) -> Panel:
    table = panel.pop("table")
    if table is None:
        return Panel(**panel)
    rows = tuple(tuple(Entry(**entry) for entry in row) for row in table["rows"])
    return Panel(**panel, table=Table(table["title"], tuple(table["columns"]), rows, table["caption"]))
