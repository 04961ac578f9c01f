"""Shared fixtures. Tests run several processes side by side, so each keeps to one thread.

All run on the CPU, so that a machine with a GPU tests the same; those in ``tests/gpu`` alone use one.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from noiseproof.models import FeatureClassifier

torch.set_num_threads(1)
if torch.accelerator.is_available():
    os.environ["ACCELERATE_USE_CPU"] = "true"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny_model() -> FeatureClassifier:
    """A classifier of 1×8×8 images with batch normalisation: 3 classes, 5 features."""
    backbone = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip
    return FeatureClassifier(backbone, nn.Linear(5, 3))
