"""What a study finds, written out from its descriptions with plain loops: one sample, one draw, one pair at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noiseproof.evaluation import RobustnessReport

Reports = Mapping[int, RobustnessReport]

__all__ = ["differences_by_sample", "differences_by_seed", "pairs_that_differ_in", "score_by_loops"]


def share_right(report: RobustnessReport, column: str, sample: int) -> float:
    """In which share of its draws a sample was classified rightly."""
    draws = report[column].correct
    right = 0
    for draw in range(len(draws)):
        right += bool(draws[draw][sample])
    return right / len(draws)


def score_by_loops(reports: Reports, columns: Sequence[str]) -> float:
    """Mean over seeds, perturbations, draws and samples; every draw of a perturbation weighs the same."""
    parts = []
    for report in reports.values():
        for column in columns:
            samples = len(report.labels)
            parts.append(sum(share_right(report, column, sample) for sample in range(samples)) / samples)
    return sum(parts) / len(parts)


def seeds_of_all(pairs: Sequence[tuple[Reports, Reports]]) -> list[int]:
    """The training seeds that every trial of every pair has."""
    return [
        seed for seed in sorted(pairs[0][0]) if all(seed in first and seed in second for first, second in pairs)
    ]  # fmt: skip


def differences_by_sample(pairs: Sequence[tuple[Reports, Reports]], columns: Sequence[str]) -> list[float]:
    """Of each sample, the mean over seeds, pairs and perturbations of how much more often the first is right."""
    seeds = seeds_of_all(pairs)
    found = []
    for sample in range(len(pairs[0][0][seeds[0]].labels)):
        parts = [
            share_right(first[seed], column, sample) - share_right(second[seed], column, sample)
            for seed in seeds
            for first, second in pairs
            for column in columns
        ]
        found.append(sum(parts) / len(parts))
    return found


def differences_by_seed(pairs: Sequence[tuple[Reports, Reports]], columns: Sequence[str]) -> list[float]:
    """Of each seed that all have, the mean over pairs of the difference in score."""
    found = []
    for seed in seeds_of_all(pairs):
        parts = [
            score_by_loops({seed: first[seed]}, columns) - score_by_loops({seed: second[seed]}, columns)
            for first, second in pairs
        ]
        found.append(sum(parts) / len(parts))
    return found


def pairs_that_differ_in(
    path: str, value: Any, base: Any, levels: Mapping[str, Mapping[str, Any]], reports: Mapping[str, Reports]
) -> list[tuple[Reports, Reports]]:
    """The trials with ``value`` and their partners with ``base`` and all else equal, where both have a seed.

    Args:
        path: of the factor.
        value: of it.
        base: its first value.
        levels: of every trial, by its name.
        reports: of the trials that are measured.
    """
    found = []
    for name, those in levels.items():
        if those[path] != value:
            continue
        for other, these in levels.items():
            alike = all(those[key] == these[key] for key in those if key != path)
            common = set(reports.get(name, {})) & set(reports.get(other, {}))
            if these[path] == base and alike and common:
                found.append((reports[name], reports[other]))
    return found
