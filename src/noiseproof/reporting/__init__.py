"""Results for people: tables, plots and a self-contained page. Knows result objects only."""

from noiseproof.reporting.html import Example, comparison_page
from noiseproof.reporting.plots import accuracy_plot
from noiseproof.reporting.tables import Table, comparison_records, comparison_table, report_table

__all__ = [
    "Example",
    "Table",
    "accuracy_plot",
    "comparison_page",
    "comparison_records",
    "comparison_table",
    "report_table",
]
