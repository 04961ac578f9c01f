"""Perturbations of one picture written out as loops over pixels, in float64 and without the package's code.

A picture is a NumPy array (H, W) unless a function says otherwise.
"""

from __future__ import annotations

import colorsys
import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]


def resize_bilinear(picture: Array, height: int, width: int) -> Array:
    """Resize with half-pixel centres, without smoothing before a reduction."""
    old_height, old_width = picture.shape
    resized = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = max((i + 0.5) * old_height / height - 0.5, 0.0)
            x = max((j + 0.5) * old_width / width - 0.5, 0.0)
            resized[i, j] = sample(picture, y, x)
    return resized


def sample(picture: Array, y: float, x: float) -> float:
    """The value at row ``y`` and column ``x``, between the four pixels around it; outside, that of the edge."""
    height, width = picture.shape
    top, left = math.floor(y), math.floor(x)
    value = 0.0
    for i, down in ((top, 1 - (y - top)), (top + 1, y - top)):
        for j, right in ((left, 1 - (x - left)), (left + 1, x - left)):
            value += down * right * picture[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
    return value


def resize_box(picture: Array, height: int, width: int) -> Array:
    """Resize as Pillow's BOX filter does: each new pixel is the mean of the old ones whose centres lie in its box."""
    return np.array([_box_line(line, height) for line in np.array([_box_line(row, width) for row in picture]).T]).T


def _box_line(line: Array, length: int) -> Array:
    ratio = len(line) / length
    half = 0.5 * max(ratio, 1.0)
    resized = np.zeros(length)
    for k in range(length):
        centre = (k + 0.5) * ratio
        first, end = max(int(centre - half + 0.5), 0), min(int(centre + half + 0.5), len(line))
        inside = [line[i] for i in range(first, end) if -half < i + 0.5 - centre <= half]
        resized[k] = sum(inside) / len(inside)
    return resized


def one_sided_weights(radius: int, std: float) -> list[float]:
    """exp(-i² / (2 std²)) for i = 0 … 2 radius, with the sum 1."""
    weights = [math.exp(-(i**2) / (2 * std**2)) for i in range(2 * radius + 1)]
    return [weight / sum(weights) for weight in weights]


def trail(angle: float, radius: int) -> tuple[tuple[int, int], ...]:
    """The rows and columns of the points 0 … 2 radius away at an angle in degrees, rounded to whole pixels."""
    down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return tuple((math.ceil(i * down - 0.5), math.ceil(i * right - 0.5)) for i in range(2 * radius + 1))


def smear(picture: Array, points: tuple[tuple[int, int], ...], weights: list[float]) -> Array:
    """Each pixel becomes the weighted mean of those that lie so many rows and columns away from it."""
    height, width = picture.shape
    smeared = np.zeros_like(picture)
    for (rows, columns), weight in zip(points, weights, strict=True):
        for i in range(height):
            for j in range(width):
                smeared[i, j] += (
                    weight * picture[min(max(i + rows, 0), height - 1), min(max(j + columns, 0), width - 1)]
                )
    return smeared


def brighten(picture: Array, shift: float) -> Array:
    """Add ``shift`` to the value of each pixel of (3, H, W), keeping its hue and its saturation."""
    brighter = np.zeros_like(picture)
    for i in range(picture.shape[1]):
        for j in range(picture.shape[2]):
            hue, saturation, value = colorsys.rgb_to_hsv(*picture[:, i, j])
            brighter[:, i, j] = colorsys.hsv_to_rgb(hue, saturation, min(max(value + shift, 0.0), 1.0))
    return brighter


def through_jpeg(picture: Array, quality: int, subsampling: int = 2) -> Array:
    """Write (C, H, W) with C = 1 or 3 as JPEG with Pillow and read it again; subsampling 2 is 4:2:0, 0 is 4:4:4."""
    pixels = np.round(255 * picture).astype(np.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, **({} if len(pixels) == 1 else {"subsampling": subsampling}))
    read = np.asarray(Image.open(file), dtype=np.float64) / 255
    return read[None] if read.ndim == 2 else read.transpose(2, 0, 1)


def cover_counts(height: int, width: int, patch_height: int, patch_width: int) -> tuple[Array, int]:
    """In how many of the places of a patch wholly inside the picture each pixel is covered, and how many there are."""
    counts = np.zeros((height, width))
    places = 0
    for i in range(height - patch_height + 1):
        for j in range(width - patch_width + 1):
            counts[i : i + patch_height, j : j + patch_width] += 1
            places += 1
    return counts, places


def roughness(terrain: Array, step: int) -> tuple[list[float], list[float]]:
    """What diamond-square added to the means at one level of a square map that continues at its opposite edge.

    The points a multiple of ``step`` apart are given; the middle of each square of them lies ``step / 2`` away from
    the mean of its four corners, the middle of each edge away from the mean of its two ends and the two middles of
    squares beside it.

    Returns:
        What was added in the middles of squares and in the middles of edges.
    """
    size, half = len(terrain), step // 2

    def mean(*points: tuple[int, int]) -> float:
        return float(sum(terrain[i % size, j % size] for i, j in points)) / len(points)

    squares, edges = [], []
    for i in range(0, size, step):
        for j in range(0, size, step):
            corners = mean((i, j), (i + step, j), (i, j + step), (i + step, j + step))
            squares.append(float(terrain[i + half, j + half]) - corners)
            across = mean((i, j), (i, j + step), (i - half, j + half), (i + half, j + half))
            edges.append(float(terrain[i, j + half]) - across)
            down = mean((i, j), (i + step, j), (i + half, j - half), (i + half, j + half))
            edges.append(float(terrain[i + half, j]) - down)
    return squares, edges
