"""Augmentations of training images, by name: ``augmentation("crop:padding=4+flip")``."""

from noiseproof.data.augmentations.base import AUGMENTATIONS, Augmentation, augmentation, register

__all__ = ["AUGMENTATIONS", "Augmentation", "augmentation", "register"]
