"""The tables of an experiment's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from noiseproof.paper.agreement import OUTCOMES, CellAgreement, OrderAgreement
from noiseproof.reporting.tables import Entry, Table, percent, short_name

__all__ = ["agreement_table", "contradictions", "order_table"]


def agreement_table(cells: Sequence[CellAgreement], titles: Mapping[str, str]) -> Table:
    """Every cell of a table here and in the paper, a row each."""
    return Table(
        "Every cell, here and in the paper",
        ("Row", "Column", "here", "± seeds", "± draws", "paper", "difference", "inside"),
        tuple(
            (
                Entry(titles[cell.row]),
                Entry(short_name(cell.column)),
                Entry(percent(cell.ours.mean, 2)),
                Entry(percent(cell.ours.std_over_seeds, 2)),
                Entry(percent(cell.ours.std_over_draws, 2) if cell.ours.std_over_draws > 0 else ""),
                Entry(str(cell.published)),
                Entry(f"{cell.difference:+.2f}"),
                Entry(_inside(cell)),
            )
            for cell in cells
        ),
        "Accuracy in %; the paper's ± is over ten draws of the noise. Inside: whether the difference is at most our "
        "standard deviation (over seeds where there are several), the paper's, or both.",
    )


def _inside(cell: CellAgreement) -> str:
    if cell.inside_ours is None and cell.inside_published is None:
        return ""
    ours, published = bool(cell.inside_ours), bool(cell.inside_published)
    if ours and published:
        return "both"
    return "ours" if ours else "the paper's" if published else "no"


def order_table(orders: Sequence[OrderAgreement]) -> Table:
    """The order of the rows, by their names, in every column, here and in the paper."""
    return Table(
        "The order of the rows, best first",
        ("Column", "here", "in the paper", "pairs the same", "open", "opposite"),
        tuple(
            (
                Entry(short_name(order.column)),
                Entry(" > ".join(order.ours)),
                Entry(" > ".join(order.published)),
                *(Entry(str(order.count(outcome))) for outcome in OUTCOMES),
            )
            for order in orders
        ),
        "Pairs: every two rows that the paper sets apart. The same or opposite: where the 95 % intervals of the "
        "difference here, over training seeds and over test samples, both lie on one side of 0. Open: elsewhere.",
    )


def contradictions(
    orders: Sequence[OrderAgreement], titles: Mapping[str, str], *, with_published: bool = True
) -> list[str]:
    """Say of every pair that is the other way round here by how much.

    Args:
        orders: of all columns.
        titles: by row.
        with_published: whether the paper's difference may stand beside ours.
    """
    return [
        f"{short_name(order.column)}: the paper has {titles[pair.better]} "
        f"{f'{pair.published:.2f} points ' if with_published else ''}above {titles[pair.other]}; here it is "
        f"{-pair.points:.2f} points below."
        for order in orders
        for pair in order.pairs
        if pair.outcome == "opposite"
    ]
