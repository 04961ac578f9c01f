"""Perturbations of batches, by name: ``perturbation("occlusion:n=20,size=70+gaussian:40/255")``."""

from noiseproof.perturbations.base import PERTURBATIONS, Chain, Perturbation, perturbation, register

__all__ = ["PERTURBATIONS", "Chain", "Perturbation", "perturbation", "register"]
