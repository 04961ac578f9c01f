"""noiseproof: classifiers that keep working when the input is noisy.

Names are imported on first use, so that ``noiseproof --help`` need not load torch.
"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noiseproof import functional, geometry
    from noiseproof.analysis import InputCurvature, curvature_by_scale, input_curvature, theory
    from noiseproof.deploying import export_onnx, predict
    from noiseproof.estimator import NoiseRobustClassifier
    from noiseproof.evaluation import (
        Certification,
        CorruptionReport,
        RobustnessReport,
        certify,
        compare_methods,
        compare_reports,
        evaluate,
        evaluate_corruptions,
    )
    from noiseproof.experiments import compare, write_report
    from noiseproof.losses import DiscriminativeLoss, LossTerms
    from noiseproof.models import FeatureClassifier, Normalize, build_model
    from noiseproof.perturbations import Perturbation, perturbation
    from noiseproof.studies import Study, sweep
    from noiseproof.training import Run, train

# cuBLAS repeats itself with this alone, and torch asks for it where training is to be deterministic. It is read at the
# first product of the process, which may come long before, and costs some memory at most.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

try:
    __version__ = version("noiseproof")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "functional": "",
    "geometry": "",
    "Certification": "evaluation",
    "CorruptionReport": "evaluation",
    "DiscriminativeLoss": "losses",
    "FeatureClassifier": "models",
    "InputCurvature": "analysis",
    "LossTerms": "losses",
    "NoiseRobustClassifier": "estimator",
    "Normalize": "models",
    "Perturbation": "perturbations",
    "RobustnessReport": "evaluation",
    "Run": "training",
    "Study": "studies",
    "build_model": "models",
    "certify": "evaluation",
    "compare": "experiments",
    "compare_methods": "evaluation",
    "compare_reports": "evaluation",
    "curvature_by_scale": "analysis",
    "evaluate": "evaluation",
    "evaluate_corruptions": "evaluation",
    "export_onnx": "deploying",
    "input_curvature": "analysis",
    "perturbation": "perturbations",
    "predict": "deploying",
    "sweep": "studies",
    "theory": "analysis",
    "train": "training",
    "write_report": "experiments",
}

__all__ = [
    "Certification",
    "CorruptionReport",
    "DiscriminativeLoss",
    "FeatureClassifier",
    "InputCurvature",
    "LossTerms",
    "NoiseRobustClassifier",
    "Normalize",
    "Perturbation",
    "RobustnessReport",
    "Run",
    "Study",
    "__version__",
    "build_model",
    "certify",
    "compare",
    "compare_methods",
    "compare_reports",
    "curvature_by_scale",
    "evaluate",
    "evaluate_corruptions",
    "export_onnx",
    "functional",
    "geometry",
    "input_curvature",
    "perturbation",
    "predict",
    "sweep",
    "theory",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'noiseproof' has no attribute {name!r}")
    home = _HOMES[name]
    module = importlib.import_module(f"noiseproof.{home or name}")
    return getattr(module, name) if home else module


def __dir__() -> list[str]:
    return sorted(__all__)
