"""What runs' models look like from inside: curvature, the theorems, feature spaces, the loss around an input."""

from noiseproof.explaining.explanation import Explanation, theory_of
from noiseproof.explaining.figures import FIGURES, draw, explain, write_figures
from noiseproof.explaining.sections import kept_panels, panels

__all__ = ["FIGURES", "Explanation", "draw", "explain", "kept_panels", "panels", "theory_of", "write_figures"]
