"""Our accuracies against the published ones: cell by cell, and the order of the rows column by column."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noiseproof.evaluation import Cell, Comparison, MethodDifference, compare_methods
from noiseproof.paper.declaration import Published

OUTCOMES = ("same", "open", "opposite")
_ROUNDING = 1e-9  # percentage points, far below what one sample is worth

__all__ = ["OUTCOMES", "CellAgreement", "OrderAgreement", "PairOrder", "cell_agreements", "order_agreements"]


@dataclass(frozen=True)
class CellAgreement:
    """One cell of a table, here and in the paper.

    Attributes:
        row: its name.
        column: the perturbation.
        ours: accuracy in [0, 1], with its spreads.
        published: what the paper reports, in percent.
    """

    row: str
    column: str
    ours: Cell
    published: Published

    @property
    def difference(self) -> float:
        """Ours less the paper's, in percentage points."""
        return 100 * self.ours.mean - self.published.mean

    @property
    def inside_ours(self) -> bool | None:
        """Whether the difference is at most our standard deviation: over seeds where there are several, else draws.

        None where neither is known, or one seed was measured without randomness.
        """
        if not math.isnan(self.ours.std_over_seeds):
            return self._at_most(100 * self.ours.std_over_seeds)
        known = self.ours.std_over_draws > 0
        return self._at_most(100 * self.ours.std_over_draws) if known else None

    @property
    def inside_published(self) -> bool | None:
        """Whether it is at most the paper's standard deviation over draws; None where the paper gives none."""
        return None if self.published.std is None else self._at_most(self.published.std)

    def _at_most(self, spread: float) -> bool:
        return abs(self.difference) <= spread + _ROUNDING


@dataclass(frozen=True)
class PairOrder:
    """Which of two rows is better under one perturbation, here and in the paper.

    Attributes:
        better: the row that the paper has in front.
        other: the row that it has behind.
        published: by how many percentage points.
        ours: the difference here, with its intervals; whichever way round.
    """

    better: str
    other: str
    published: float
    ours: MethodDifference

    @property
    def points(self) -> float:
        """By how many percentage points ``better`` is better here."""
        return 100 * (self.ours.mean if self.ours.a == self.better else -self.ours.mean)

    @property
    def outcome(self) -> str:
        """``same``, ``opposite``, or ``open`` where our intervals over seeds and over samples show no difference."""
        if self.ours.verdict == f"{self.better} better":
            return "same"
        return "opposite" if self.ours.verdict == f"{self.other} better" else "open"


@dataclass(frozen=True)
class OrderAgreement:
    """The order of the rows under one perturbation.

    Attributes:
        column: the perturbation.
        ours: names of the rows, the best first.
        published: the same of the paper's numbers.
        pairs: every two rows whose published numbers differ, and that have training seeds in common.
    """

    column: str
    ours: tuple[str, ...]
    published: tuple[str, ...]
    pairs: tuple[PairOrder, ...]

    def count(self, outcome: str) -> int:
        """Return how many pairs are ``same``, ``open`` or ``opposite``."""
        return sum(pair.outcome == outcome for pair in self.pairs)


def cell_agreements(
    comparison: Comparison, published: Mapping[str, Sequence[Published]], columns: Sequence[str]
) -> list[CellAgreement]:
    """Set every cell that is there against the paper's.

    Args:
        comparison: by row.
        published: by row, a number for each of ``columns``.
        columns: perturbations.
    """
    return [
        CellAgreement(row, column, comparison.cell(row, column), number)
        for row in comparison.methods
        for column, number in zip(columns, published[row], strict=True)
    ]


def order_agreements(
    comparison: Comparison, published: Mapping[str, Sequence[Published]], columns: Sequence[str]
) -> list[OrderAgreement]:
    """Set the order of the rows under every perturbation against the paper's; the arguments are as above."""
    by_pair = {
        (a, b): compare_methods(comparison, a, b)
        for a, b in itertools.combinations(comparison.methods, 2)
        if comparison.reports[a].keys() & comparison.reports[b].keys()  # the same training seeds
    }
    return [
        _order(
            column,
            {row: comparison.cell(row, column).mean for row in comparison.methods},
            {row: published[row][index].mean for row in comparison.methods},
            {pair: report[column] for pair, report in by_pair.items()},
        )
        for index, column in enumerate(columns)
    ]


def _order(
    column: str,
    ours: Mapping[str, float],
    published: Mapping[str, float],
    differences: Mapping[tuple[str, str], MethodDifference],
) -> OrderAgreement:
    by_paper = sorted(published, key=lambda row: -published[row])
    return OrderAgreement(
        column,
        tuple(sorted(ours, key=lambda row: -ours[row])),
        tuple(by_paper),
        tuple(
            PairOrder(a, b, published[a] - published[b], differences.get((a, b)) or differences[b, a])
            for a, b in itertools.combinations(by_paper, 2)
            if published[a] > published[b] and ((a, b) in differences or (b, a) in differences)
        ),
    )
