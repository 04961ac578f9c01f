"""Why a classifier is robust, or not: input-loss curvature, the theorems, feature spaces and loss surfaces."""

from noiseproof.analysis.curvature import InputCurvature, curvature_by_scale, input_curvature

__all__ = ["InputCurvature", "curvature_by_scale", "input_curvature"]
