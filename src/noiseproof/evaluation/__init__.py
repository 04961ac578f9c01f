"""Measuring how often a classifier is right when its input is perturbed."""

from noiseproof.evaluation.accuracy import evaluate
from noiseproof.evaluation.comparison import Cell, Comparison
from noiseproof.evaluation.report import PerturbationResult, RobustnessReport

__all__ = ["Cell", "Comparison", "PerturbationResult", "RobustnessReport", "evaluate"]
