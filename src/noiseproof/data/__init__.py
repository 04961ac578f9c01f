"""Data sets, their splits, augmentation and batches."""

from noiseproof.data.augmentations import Augmentation, augmentation
from noiseproof.data.dataset import ArrayDataset, LabelledDataset, Splits, thinned
from noiseproof.data.sources import SOURCES, SourceOptions, load_splits, load_test_set
from noiseproof.scaling import Scaling

__all__ = [
    "SOURCES",
    "ArrayDataset",
    "Augmentation",
    "LabelledDataset",
    "Scaling",
    "SourceOptions",
    "Splits",
    "augmentation",
    "load_splits",
    "load_test_set",
    "thinned",
]
