"""Data sets, their splits, augmentation and batches."""

from noiseproof.data.augmentations import Augmentation, augmentation
from noiseproof.data.dataset import ArrayDataset, LabelledDataset, Splits
from noiseproof.data.sources import SOURCES, load_splits

__all__ = ["SOURCES", "ArrayDataset", "Augmentation", "LabelledDataset", "Splits", "augmentation", "load_splits"]
