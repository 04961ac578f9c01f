"""A lower estimate of the Jensen-Shannon divergence of two distributions, from samples and a held-out classifier."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseproof import seeding
from noiseproof.checks import check_whole
from noiseproof.errors import InvalidArgumentError

__all__ = ["JensenShannon", "jensen_shannon"]

Array = NDArray[np.float64]

# Held-out probabilities are kept off 0 and 1 by this much. It costs at most as many nats, and keeps one confident
# error from deciding an estimate.
_CLIP = 1e-3
_ITERATIONS = 1000


class JensenShannon(NamedTuple):
    """A lower estimate of a Jensen-Shannon divergence, in nats: in [0, log 2]."""

    value: float
    stderr: float


def jensen_shannon(first: ArrayLike, second: ArrayLike, *, folds: int = 5, seed: int = 0) -> JensenShannon:
    """A lower estimate of D_JS(D₁ ‖ D₂) from samples of both, in nats.

    D_JS = I(B; X) with a fair coin B that picks the distribution of X (Lemma G.2), and I(B; X) ≥ log 2 − the cross
    entropy of any classifier of B. Here it is a logistic regression on standardised values, fitted on all folds but
    one and measured on that one, in turn; both distributions count alike, however many samples there are of each.

    It bounds the divergence from below in expectation only: it has a standard error, and values below 0 are given as
    0, which lifts the expectation where the divergence is near 0. How far it lies below depends on how much of what
    tells the two apart is linear.

    Args:
        first: (n, …) samples of D₁.
        second: (m, …) samples of D₂.
        folds: ≥ 2, and at most n and m.
        seed: of the folds, ≥ 0.

    Raises:
        InvalidArgumentError: shapes that do not fit, values that are not finite, or fewer samples than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    folds = check_whole("folds", folds, 2)
    groups = [np.asarray(each, dtype=np.float64) for each in (first, second)]
    groups = [each.reshape(len(each), -1) for each in groups]
    for name, each in zip(("first", "second"), groups, strict=True):
        if len(each) < folds or not np.isfinite(each).all() or each.shape[1] != groups[0].shape[1]:
            raise InvalidArgumentError(
                f"{name} must be {folds} finite samples or more, each of as many values as the others, got "
                f"{each.shape}"
            )
    values, classes = np.concatenate(groups), np.repeat([0, 1], [len(each) for each in groups])
    held_out = np.empty(len(values))
    splits = StratifiedKFold(folds, shuffle=True, random_state=seeding.derive_seed(seed, "divergence") % 2**32)
    for fitted, left in splits.split(values, classes):
        held_out[left] = _probabilities(values[fitted], classes[fitted], values[left])
    right = np.where(classes == 1, held_out, 1 - held_out)
    losses = -np.log(right.clip(_CLIP, 1 - _CLIP))
    means = [losses[classes == c].mean() for c in (0, 1)]
    variances = [losses[classes == c].var(ddof=1) / (classes == c).sum() for c in (0, 1)]
    return JensenShannon(max(0.0, math.log(2) - float(np.mean(means))), math.sqrt(sum(variances)) / 2)


def _probabilities(values: Array, classes: NDArray[np.int64], others: Array) -> Array:
    """P(B = 1) of ``others`` (m, k) by a logistic regression fitted to ``values`` (n, k)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=_ITERATIONS)
    )  # balanced: as if the coin were fair
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # any classifier gives a lower bound
        classifier.fit(values, classes)
    found: Array = classifier.predict_proba(others)[:, 1]
    return found
