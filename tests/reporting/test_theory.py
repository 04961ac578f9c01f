"""The table of theorems keeps together what belongs together."""

from __future__ import annotations

from noiseproof.reporting.theory import theory_table


def test_what_one_model_alone_has_stands_where_it_stands_there() -> None:
    told = {
        "A": {"T": [("first", "1"), ("early", "2"), ("last", "3")]},
        "B": {"T": [("first", "4"), ("late", "5"), ("last", "6")]},
        "C": {"T": [("zeroth", "7"), ("last", "8"), ("after", "9")]},
    }
    whats = [row[0].text for row in theory_table(told).rows[1:]]
    assert whats == ["zeroth", "first", "late", "early", "last", "after"]
