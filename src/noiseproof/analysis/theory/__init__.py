"""The paper's propositions and theorems (§5, §6) on trained classifiers: whether premises and conclusions hold."""

from noiseproof.analysis.theory.divergence import Divergence, divergence, divergence_of
from noiseproof.analysis.theory.generalisation import Generalisation, generalisation, generalisation_of
from noiseproof.analysis.theory.jensen_shannon import JensenShannon, jensen_shannon
from noiseproof.analysis.theory.rescaling import Rescaling, rescaling
from noiseproof.analysis.theory.separation import Claim, Separation, separation, separation_of
from noiseproof.analysis.theory.stability import Stability, stability

__all__ = [
    "Claim",
    "Divergence",
    "Generalisation",
    "JensenShannon",
    "Rescaling",
    "Separation",
    "Stability",
    "divergence",
    "divergence_of",
    "generalisation",
    "generalisation_of",
    "jensen_shannon",
    "rescaling",
    "separation",
    "separation_of",
    "stability",
]
