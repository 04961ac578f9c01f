"""Results for people: tables, plots and a self-contained page. Knows result objects only."""

from noiseproof.reporting.comparisons import comparison_records, comparison_table
from noiseproof.reporting.confusions import confusion_table, method_confusion_table
from noiseproof.reporting.curvatures import curvature_records, curvature_table
from noiseproof.reporting.findings import Findings, Standing, findings
from noiseproof.reporting.gallery import perturbation_gallery
from noiseproof.reporting.page import Example, Mistake, Mistakes, Page, Panel, Setup, render_page
from noiseproof.reporting.plots import accuracy_plot, to_svg
from noiseproof.reporting.robustness import (
    certification_table,
    class_table,
    corruption_table,
    curve_table,
    difference_table,
    method_difference_table,
    report_records,
    report_table,
)
from noiseproof.reporting.tables import Table

__all__ = [
    "Example",
    "Findings",
    "Mistake",
    "Mistakes",
    "Page",
    "Panel",
    "Setup",
    "Standing",
    "Table",
    "accuracy_plot",
    "certification_table",
    "class_table",
    "comparison_records",
    "comparison_table",
    "confusion_table",
    "corruption_table",
    "curvature_records",
    "curvature_table",
    "curve_table",
    "difference_table",
    "findings",
    "method_confusion_table",
    "method_difference_table",
    "perturbation_gallery",
    "render_page",
    "report_records",
    "report_table",
    "to_svg",
]
