"""The theorems on several models as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from noiseproof.reporting.tables import Entry, Table

__all__ = ["theory_table"]


def theory_table(found: Mapping[str, Mapping[str, Sequence[tuple[str, str]]]], *, caveat: str = "") -> Table:
    """What the propositions and theorems come to, a row per quantity and a column per model.

    Args:
        found: by model, then by theorem, (what, value) in plain words; the same theorems for all models.
        caveat: what the caption has to say of how the models came about.
    """
    models = list(found)
    rows: list[tuple[Entry, ...]] = []
    for theorem in found[models[0]]:
        rows.append((Entry(theorem, best=True), *(Entry("") for _ in models)))
        by_model = {model: dict(found[model][theorem]) for model in models}
        whats = _in_order([list(values) for values in by_model.values()])
        rows += [(Entry(what), *(Entry(by_model[model].get(what, "")) for model in models)) for what in whats]
    return Table(
        "The theorems, computed",
        ("What", *models),
        tuple(rows),
        "Measured on test samples; Theorem 6.2's premise on training samples. A premise that does not hold leaves its "
        f"conclusion open; a bound of 1 or more on a probability says nothing. {caveat}".rstrip(),
    )


def _in_order(lists: Sequence[Sequence[str]]) -> list[str]:
    """Join lists, each once: what is in a later one alone stands behind what it stands behind there."""
    joined: list[str] = []
    for each in lists:
        place = 0
        for what in each:
            if what not in joined:
                joined.insert(place, what)
            place = joined.index(what) + 1
    return joined
