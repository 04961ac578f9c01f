"""How the score goes with the numbers that a random design drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import spearmanr

from noiseproof.studies.factors import Factor, Value

__all__ = ["Correlation", "correlations"]

_FEWEST = 4  # trials from which on a rank correlation is shown


@dataclass(frozen=True)
class Correlation:
    """How the score goes with a number that a random design drew.

    Attributes:
        path: of the factor.
        rho: Spearman's rank correlation, in [−1, 1].
        p_value: of no correlation, in [0, 1].
        trials: how many are measured.
    """

    path: str
    rho: float
    p_value: float
    trials: int


def correlations(factors: Sequence[Factor], scored: Sequence[tuple[Mapping[str, Value], float]]) -> list[Correlation]:
    """Return the rank correlation of the score with every factor whose values are numbers.

    Args:
        factors: of the study.
        scored: the values of every factor, by path, and the score, for each trial.
    """
    scores = [score for _, score in scored]
    found = []
    for each in factors:
        values = [levels[each.path] for levels, _ in scored]
        numeric = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numeric) == len(scored) >= _FEWEST and len(set(numeric)) > 1 and len(set(scores)) > 1:
            rho, p_value = spearmanr(numeric, scores)
            found.append(Correlation(each.path, float(rho), float(p_value), len(scored)))
    return found
