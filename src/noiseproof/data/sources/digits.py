"""scikit-learn's handwritten digits: 1,797 real images of 8×8 pixels, ten classes, part of the installed package."""

from __future__ import annotations

import torch

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, refuse_argument

__all__ = ["digits"]


@SOURCES.register("digits")
def digits(argument: str, options: SourceOptions) -> SourceData:  # noqa: ARG001
    """Return the digits as (1797, 1, 8, 8) images in [0, 1] (the original counts 0…16 divided by 16)."""
    from sklearn.datasets import load_digits

    refuse_argument("digits", argument)
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.float32).div(16).unsqueeze(1)
    return SourceData(ArrayDataset(images, torch.from_numpy(bunch.target), [str(name) for name in bunch.target_names]))
