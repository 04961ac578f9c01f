"""How far from their mean C centroids have to lie so that each can be δ_d inside all its boundaries.

The proof of Prop. 5.2.2 shows ‖m_i − m_j‖ ≥ 2δ_d wherever L_margin = 0. Points that far apart need room:

- Σ_{i<j} ‖m_i − m_j‖² = C Σ_i ‖m_i − m̄‖², so the root mean square of ‖m_i − m̄‖ is at least δ_d √(2(C−1)/C). For
  C ≤ d + 1 a regular simplex attains it, with W proportional to the centroids about their mean.
- More than d + 1 points in a ball of radius R have two within √2 R (Rankin 1955), so R ≥ √2 δ_d; 2d points attain it.
- Balls of radius δ_d about the centroids do not overlap and lie in a ball of radius R + δ_d, so R ≥ δ_d (C^{1/d} − 1).
"""

from __future__ import annotations

import math

from noiseproof.checks import check_whole

__all__ = ["largest_delta_d", "spread_needed"]


def spread_needed(num_classes: int, dimensions: int) -> float:
    """Return what δ_d is multiplied by to get the least radius, about their mean, of centroids that L_margin leaves.

    Args:
        num_classes: C ≥ 2.
        dimensions: d ≥ 1.

    Returns:
        Attained for C ≤ 2d; a lower bound beyond, where the densest packing is not known.
    """
    check_whole("num_classes", num_classes, 2)
    check_whole("dimensions", dimensions, 1)
    if num_classes <= dimensions + 1:
        return _mean_square(num_classes)
    return max(math.sqrt(2), math.pow(num_classes, 1 / dimensions) - 1)


def largest_delta_d(num_classes: int, dimensions: int, spread: float, radius: float) -> float:
    """Return a δ_d that no arrangement of centroids of this extent can exceed.

    Args:
        num_classes: C ≥ 2.
        dimensions: d ≥ 1.
        spread: root mean square distance of the centroids from their mean.
        radius: the largest such distance.
    """
    return min(spread / _mean_square(num_classes), radius / spread_needed(num_classes, dimensions))


def _mean_square(num_classes: int) -> float:
    return math.sqrt(2 * (num_classes - 1) / num_classes)
