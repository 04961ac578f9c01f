"""Classifiers split into features and softmax layer. Knows nothing of training."""

from noiseproof.models.build import build_model
from noiseproof.models.classifier import FeatureClassifier
from noiseproof.models.normalize import Normalize
from noiseproof.models.rescale import rescale

__all__ = ["FeatureClassifier", "Normalize", "build_model", "rescale"]
