"""A made data set whose best classifier under noise is known, and estimators small enough for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_wine

from noiseproof import NoiseRobustClassifier

Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]


def small(**parameters: Any) -> NoiseRobustClassifier:
    """An estimator that is trained in a tenth of a second."""
    return NoiseRobustClassifier(
        **{"hidden_layer_sizes": (16,), "epochs": 6, "batch_size": 64, "random_state": 0, **parameters}
    )


def a_fine_difference_and_vague_hints(samples: int, seed: int) -> Arrays:
    """Two classes y = ±1; six features of mean 0 and std 1.

    Two are (c ± 0.15 y)/√1.0225 with c ~ N(0, 1): their difference gives the class away, but by 0.3 only. The other
    four are (0.7 y + N(0, 1))/√1.49. Under noise of σ = 0.7 on every feature, who looks at the difference alone is
    right in Φ(√0.09) = 62 % of all cases, and who weighs all features best in Φ(√1.23) = 87 %.
    """
    generator = np.random.default_rng(seed)
    y = np.arange(samples) % 2
    sign = 2 * y[:, None] - 1
    common = generator.normal(size=(samples, 1))
    fine = np.hstack([common + 0.15 * sign, common - 0.15 * sign]) / np.sqrt(1.0225)
    vague = (0.7 * sign + generator.normal(size=(samples, 4))) / np.sqrt(1.49)
    return np.hstack([fine, vague]), y


def wine() -> Arrays:
    """178 wines of three cultivars, 13 measurements in units of their own."""
    X, y = load_wine(return_X_y=True)
    return X, y
