"""Decoding pictures."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from noiseproof.errors import DataError

__all__ = ["FORMATS", "SUFFIXES", "decode_rgb"]

# Pillow goes by what is in a file, not by its name; of other formats some are handed to programs outside (EPS).
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# What a file in a folder is taken for a picture by.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def decode_rgb(file: BinaryIO | Path, name: str, size: tuple[int, int] | None = None) -> Tensor:
    """Decode a picture of any mode (grey, palette, transparent, …) to RGB.

    Args:
        file: the encoded picture.
        name: what an error calls it.
        size: (height, width) to resize to, bilinearly; None to keep the picture's own.

    Returns:
        (3, H, W) of uint8. What is transparent is laid over black.

    Raises:
        DataError: not a picture, truncated, or so large that decoding it looks like an attack.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            rgb = _opaque(picture).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the picture {name}: {error}") from error
    if size is not None and rgb.size != (size[1], size[0]):
        rgb = rgb.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        return _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, picture)
    return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Bring 16-bit grey to 8 bits; converting it as it is would clip all but the darkest pixels to white."""
    values = np.asarray(picture)
    if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError(f"grey values of type {values.dtype} outside 0 to 65535")
    return Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8))
