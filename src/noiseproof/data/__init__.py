"""Data sets, their splits, augmentation and batches."""

from noiseproof.data.augmentations import Augmentation, augmentation
from noiseproof.data.dataset import ArrayDataset, Splits
from noiseproof.data.sources import SOURCES, load_splits

__all__ = ["SOURCES", "ArrayDataset", "Augmentation", "Splits", "augmentation", "load_splits"]
