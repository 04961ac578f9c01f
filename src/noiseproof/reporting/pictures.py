"""Samples as pictures that are part of a page: images as PNG, series as small lines."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Picture", "data_uri", "drawn_channels", "picture"]

_LARGEST = 192  # pixels along the longer side; what is larger is made smaller
_CHANNELS = 3  # of a series that are drawn


@dataclass(frozen=True)
class Picture:
    """A sample to look at: the address of an image, or lines in a square of 100 by 100."""

    uri: str = ""
    lines: tuple[str, ...] = ()
    smooth: bool = False


def picture(sample: NDArray[np.float32], low: float = 0.0, high: float = 1.0) -> Picture | None:
    """Draw a sample: (C, H, W) with 1 or 3 channels, or (C, T); None for anything else.

    Args:
        sample: images in [0, 1].
        low: what the bottom of a series' picture stands for.
        high: its top.
    """
    if sample.ndim == 3 and sample.shape[0] in (1, 3):
        image = sample.transpose(1, 2, 0)
        return Picture(data_uri(image[..., 0] if image.shape[-1] == 1 else image), smooth=max(image.shape[:2]) > 64)
    if sample.ndim == 2 and sample.shape[1] > 1:
        size = max(high - low, 1e-12)
        steps = np.linspace(2, 98, sample.shape[1])
        lines = tuple(
            "M"
            + "L".join(f"{x:.1f} {95 - 90 * (value - low) / size:.1f}" for x, value in zip(steps, row, strict=True))
            for row in sample
        )
        return Picture(lines=lines)
    return None


def drawn_channels(clean: NDArray[np.float32], noisy: NDArray[np.float32]) -> list[int]:
    """Choose the channels of a series to draw: the three that noise changes most, or all where there are no more.

    Args:
        clean: (C, T).
        noisy: (C, T), the same series under noise.

    Returns:
        Their places, counted from 0 and rising; of channels that are changed as much, the first.
    """
    changed = np.abs(noisy - clean).sum(axis=1)
    return sorted(np.argsort(-changed, kind="stable")[:_CHANNELS].tolist())


def data_uri(image: NDArray[np.float32]) -> str:
    """Write (H, W, 3) or (H, W) in [0, 1] as a PNG within an address."""
    pixels = Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8))
    if max(pixels.size) > _LARGEST:
        pixels.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    pixels.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
