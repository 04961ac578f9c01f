"""Measuring how often a classifier is right when its input is perturbed, and how far that can be trusted."""

from noiseproof.evaluation.accuracy import evaluate
from noiseproof.evaluation.answering import Answers, answers
from noiseproof.evaluation.attacks import ATTACKS, Attack, attack
from noiseproof.evaluation.certification import Certification, certify
from noiseproof.evaluation.comparison import Cell, Comparison
from noiseproof.evaluation.corruptions import CorruptionReport, evaluate_corruptions
from noiseproof.evaluation.curves import NoiseCurve
from noiseproof.evaluation.paired import (
    MethodDifference,
    PairedDifference,
    PairedReport,
    compare_methods,
    compare_reports,
)
from noiseproof.evaluation.report import PerturbationResult, RobustnessReport

__all__ = [
    "ATTACKS",
    "Answers",
    "Attack",
    "Cell",
    "Certification",
    "Comparison",
    "CorruptionReport",
    "MethodDifference",
    "NoiseCurve",
    "PairedDifference",
    "PairedReport",
    "PerturbationResult",
    "RobustnessReport",
    "answers",
    "attack",
    "certify",
    "compare_methods",
    "compare_reports",
    "evaluate",
    "evaluate_corruptions",
]
