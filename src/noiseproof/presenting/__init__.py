"""From runs to a page: which runs belong together, what was trained, and what went most wrong."""

from noiseproof.presenting.assembling import page_of, require_page, sections_of, shown_runs
from noiseproof.presenting.grouping import Row, check_same_test, find_runs, group, joint_comparison

__all__ = [
    "Row",
    "check_same_test",
    "find_runs",
    "group",
    "joint_comparison",
    "page_of",
    "require_page",
    "sections_of",
    "shown_runs",
]
