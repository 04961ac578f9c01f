"""scikit-learn's handwritten digits as a line-scan sensor would see them: series of 8 lines with 8 channels."""

from __future__ import annotations

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions
from noiseproof.data.sources.digits import digits

__all__ = ["digit_lines"]


@SOURCES.register("digit-lines")
def digit_lines(argument: str, options: SourceOptions) -> SourceData:
    """Return the digits as (1797, 8, 8) series: channel c at time t is the pixel in column c of row t, in [0, 1]."""
    images = digits(argument, options).train
    assert isinstance(images, ArrayDataset)  # noqa: S101 - for the type checker
    return SourceData(
        ArrayDataset(images.inputs.squeeze(1).transpose(1, 2).contiguous(), images.labels, images.class_names)
    )
