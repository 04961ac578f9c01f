"""Numbers in plain words, for the summaries of the theorems."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["median", "number", "percent", "span"]


def percent(values: ArrayLike) -> str:
    """How many of these are true, or a share in [0, 1]: ``"93.8 %"``; ``"none"`` of nothing."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return f"{100 * array.mean():.1f} %" if array.size else "none"


def number(value: float) -> str:
    """Three digits, and "unknown" for NaN."""
    return "unknown" if math.isnan(value) else f"{value:.3g}"


def median(values: ArrayLike) -> str:
    """The median of those that are known."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return number(float(np.median(array)) if array.size else math.nan)


def span(values: ArrayLike) -> str:
    """``"0.2 to 1.4"``, of those that are known."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return f"{number(float(array.min()))} to {number(float(array.max()))}" if array.size else number(math.nan)
