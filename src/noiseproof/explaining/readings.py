"""What each figure says, in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from noiseproof.analysis import FeatureMap, lowest_share
from noiseproof.errors import UnknownNameError
from noiseproof.explaining.figures import SHARE, Explained
from noiseproof.reporting.tables import Entry, Table, percent, short_name

__all__ = ["reading"]

_KEPT = (0.1, 0.5, 1.0)


def reading(name: str, found: Explained) -> Table:
    """Return the numbers behind a figure.

    Args:
        name: ``fig1`` or ``fig8`` to ``fig13``.
        found: explanations by title.

    Raises:
        UnknownNameError: a figure without such numbers.
    """
    if name not in _READINGS:
        raise UnknownNameError("figure", name, _READINGS)
    return _READINGS[name](found)


def _penultimate(found: Explained) -> Table:
    return _table(
        ("Model", "clean", "noisy"),
        [[title, *_neighbours([each.feature_map], "both")] for title, each in found.items()],
        "How often the ten nearest clean features of a sample are by majority of its class, in %.",
    )


def _stages(found: Explained, show: str) -> Table:
    blocks = max(len(each.stage_maps) for each in found.values())
    return _table(
        ("Model", *(f"block {number + 1}" for number in range(blocks))),
        [[title, *_neighbours(each.stage_maps, show)] for title, each in found.items()],
        f"How often the ten nearest clean features of a {show} sample are by majority of its class, in %, by block.",
    )


def _neighbours(maps: Sequence[FeatureMap], show: str) -> list[str]:
    values = []
    for each in maps:
        values += [each.neighbours_clean] if show in ("clean", "both") else []
        values += [each.neighbours_noisy] if show in ("noisy", "both") else []
    return [percent(value, 1) for value in values]


def _retained(found: Explained) -> Table:
    rows = []
    for title, each in found.items():
        for noise, kept in each.retained.items():
            at = dict(zip(kept.shares.tolist(), kept.accuracies.tolist(), strict=True))
            there = kept.accuracies[~np.isnan(kept.accuracies)]
            falls = bool(np.all(np.diff(there) <= 0))
            rows.append(
                [title, short_name(noise), *(percent(at[share], 1) for share in _KEPT), "yes" if falls else "no"]
            )
    return _table(
        ("Model", "noise", *(f"{100 * share:.0f} % kept" for share in _KEPT), "never rises"),
        rows,
        "Accuracy under noise, in %, of the samples with the lowest curvature.",
    )


def _counts(found: Explained) -> Table:
    rows = []
    for title, each in found.items():
        for noise, by_count in each.by_count.items():
            groups, ranks = by_count.of_groups, by_count.of_ranks
            rows.append([title, short_name(noise), _number(groups.value), str(groups.pairs), _number(ranks.value)])
    return _table(
        ("Model", "noise", "r over groups", "groups", "ρ over samples"),
        rows,
        "r: Pearson's between the number of right answers and the mean curvature of its group, as in the paper. ρ: "
        "Spearman's between number and curvature over single samples.",
    )


def _boxes(found: Explained) -> Table:
    rows = []
    for title, each in found.items():
        kept = lowest_share(each.curvature.values, SHARE)
        rows.append([title, *(f"{np.quantile(kept, share):.2g}" for share in (0.25, 0.5, 0.75)), f"{kept.mean():.2g}"])
    return _table(
        ("Model", "lower quartile", "median", "upper quartile", "mean"),
        rows,
        f"Λ(x) by Eq. 21 of the {100 * SHARE:.0f} % of samples with the lowest, in {next(iter(found.values())).space} "
        "space.",
    )


def _surfaces(found: Explained) -> Table:
    rows = []
    for title, each in found.items():
        loss = -each.surface.values
        middle = len(loss) // 2
        rows.append([title, f"{loss[middle, middle]:.2g}", f"{loss.max():.2g}", f"{each.surface.gradient_norm:.2g}"])
    return _table(
        ("Model", "loss at the input", "highest on the plane", "norm of the gradient"),
        rows,
        f"The softmax loss within {next(iter(found.values())).surface.extent:.2f} of the input along either axis.",
    )


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _table(columns: tuple[str, ...], rows: Sequence[Sequence[str]], caption: str) -> Table:
    return Table("", columns, tuple(tuple(Entry(text) for text in row) for row in rows), caption)


_READINGS: dict[str, Callable[[Explained], Table]] = {
    "fig1": _penultimate,
    "fig8": _retained,
    "fig9": _counts,
    "fig10": _boxes,
    "fig11": _surfaces,
    "fig12": lambda found: _stages(found, "clean"),
    "fig13": lambda found: _stages(found, "noisy"),
}
