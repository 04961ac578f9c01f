"""noiseproof for scikit-learn: a classifier of vectors with ``fit`` and ``predict``."""

from noiseproof.estimator.classifier import NoiseRobustClassifier

__all__ = ["NoiseRobustClassifier"]
