"""Data sets, their splits, augmentation and batches."""

from noiseproof.data.augmentations import Augmentation, augmentation
from noiseproof.data.dataset import ArrayDataset, LabelledDataset, Splits, thinned
from noiseproof.data.sources import SOURCES, SourceOptions, load_splits, load_test_set

__all__ = [
    "SOURCES",
    "ArrayDataset",
    "Augmentation",
    "LabelledDataset",
    "SourceOptions",
    "Splits",
    "augmentation",
    "load_splits",
    "load_test_set",
    "thinned",
]
