"""Why a classifier is robust, or not: input-loss curvature, the theorems, feature spaces and loss surfaces."""

from noiseproof.analysis import theory
from noiseproof.analysis.curvature import InputCurvature, curvature_by_scale, input_curvature
from noiseproof.analysis.embeddings import FeatureMap, feature_map, feature_maps
from noiseproof.analysis.landscape import LossSurface, loss_surface
from noiseproof.analysis.layers import layer_features, stages
from noiseproof.analysis.relations import (
    CurvatureByCount,
    RetainedAccuracy,
    accuracy_by_retained,
    curvature_by_count,
    lowest_share,
)

__all__ = [
    "CurvatureByCount",
    "FeatureMap",
    "InputCurvature",
    "LossSurface",
    "RetainedAccuracy",
    "accuracy_by_retained",
    "curvature_by_count",
    "curvature_by_scale",
    "feature_map",
    "feature_maps",
    "input_curvature",
    "layer_features",
    "loss_surface",
    "lowest_share",
    "stages",
    "theory",
]
