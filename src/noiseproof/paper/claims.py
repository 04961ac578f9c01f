"""What the paper reads off its figures, decided on the models at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from noiseproof.analysis import lowest_share
from noiseproof.explaining import Explanation
from noiseproof.explaining.figures import SHARE

__all__ = ["claims_of"]

ByRow: TypeAlias = Mapping[str, Explanation]
Claim: TypeAlias = tuple[str, bool]

_STRONG = -0.5  # from where on a negative correlation is called strong


def claims_of(name: str, found: ByRow) -> list[Claim]:
    """Return what a figure is said to show, each with whether these models show it.

    Args:
        name: ``fig1`` or ``fig8`` to ``fig13``.
        found: by row; claims about rows that are missing are left out.
    """
    return _CLAIMS[name](found)


def _penultimate(found: ByRow) -> list[Claim]:
    clean = {row: each.feature_map.neighbours_clean for row, each in found.items()}
    noisy = {row: each.feature_map.neighbours_noisy for row, each in found.items()}
    claims: list[Claim] = []
    if {"normal", "mixed"} <= set(found):
        claims += [
            ("Under noise, mixed separates the classes better than normal.", noisy["mixed"] > noisy["normal"]),
            ("On clean inputs, mixed separates them worse than normal.", clean["mixed"] < clean["normal"]),
        ]
    if {"normal", "discriminative"} <= set(found):
        better = noisy["discriminative"] > noisy["normal"] and clean["discriminative"] >= clean["normal"]
        claims.append(("Discriminative separates them better under noise, and no worse on clean inputs.", better))
    return claims


def _retained(found: ByRow) -> list[Claim]:
    curves = [kept.accuracies for each in found.values() for kept in each.retained.values()]
    never_rises = all(bool(np.all(np.diff(curve[~np.isnan(curve)]) <= 0)) for curve in curves)
    ends = all(bool(curve[~np.isnan(curve)][0] > curve[-1]) for curve in curves)
    return [
        ("With every model and noise, the least curved samples are more often right than all are.", ends),
        ("Accuracy never rises as more curved samples are added.", never_rises),
    ]


def _counts(found: ByRow) -> list[Claim]:
    pairs = [by_count for each in found.values() for by_count in each.by_count.values()]
    return [
        (
            f"With every model and noise, r over the groups is below {_STRONG:g}.".replace("-", "−"),
            all(by_count.of_groups.value < _STRONG for by_count in pairs),
        ),
        (
            "The same of single samples, by rank.",
            all(by_count.of_ranks.value < _STRONG for by_count in pairs),
        ),
    ]


def _boxes(found: ByRow) -> list[Claim]:
    median = {row: float(np.median(lowest_share(each.curvature.values, SHARE))) for row, each in found.items()}
    claims: list[Claim] = []
    if {"normal", "discriminative"} <= set(found):
        claims.append(
            ("Discriminative lowers the median against normal.", median["discriminative"] < median["normal"])
        )
    if {"normal", "mixed"} <= set(found):
        claims.append(("Mixed lowers it too.", median["mixed"] < median["normal"]))
    if {"mixed", "discriminative"} <= set(found):
        claims.append(("Mixed lowers it less.", median["discriminative"] < median["mixed"]))
    return claims


def _surfaces(found: ByRow) -> list[Claim]:
    if "discriminative" not in found:
        return []
    highest = {row: float(-each.surface.values.min()) for row, each in found.items()}
    lowest = min(highest, key=lambda row: highest[row])
    return [("The loss rises least around the input with discriminative.", lowest == "discriminative")]


def _last_block(found: ByRow, *, noisy: bool) -> list[Claim]:
    if not {"normal", "discriminative"} <= set(found):
        return []

    def neighbours(row: str) -> float:
        last = found[row].stage_maps[-1]
        return last.neighbours_noisy if noisy else last.neighbours_clean

    return [
        (
            "In the last block, discriminative separates the classes better than normal.",
            neighbours("discriminative") > neighbours("normal"),
        )
    ]


_CLAIMS: dict[str, Callable[[ByRow], list[Claim]]] = {
    "fig1": _penultimate,
    "fig8": _retained,
    "fig9": _counts,
    "fig10": _boxes,
    "fig11": _surfaces,
    "fig12": lambda found: _last_block(found, noisy=False),
    "fig13": lambda found: _last_block(found, noisy=True),
}
