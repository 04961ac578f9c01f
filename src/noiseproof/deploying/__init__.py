"""Using and handing on a trained model: predictions with their stability, ONNX files, model cards."""

from noiseproof.deploying.card import model_card
from noiseproof.deploying.exporting import Export, export, write_card
from noiseproof.deploying.onnx import OnnxExport, export_onnx
from noiseproof.deploying.parity import BatchParity, Parity, check_onnx
from noiseproof.deploying.predicting import Failure, Prediction, Predictions, predict
from noiseproof.deploying.trained import TrainedModel, load_trained

__all__ = [
    "BatchParity",
    "Export",
    "Failure",
    "OnnxExport",
    "Parity",
    "Prediction",
    "Predictions",
    "TrainedModel",
    "check_onnx",
    "export",
    "export_onnx",
    "load_trained",
    "model_card",
    "predict",
    "write_card",
]
