"""The loss module; its terms as pure functions are in :mod:`noiseproof.functional`."""

from noiseproof.losses.discriminative import DiscriminativeLoss, LossTerms

__all__ = ["DiscriminativeLoss", "LossTerms"]
