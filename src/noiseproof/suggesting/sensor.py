"""The standard deviation of a sensor's noise, from repeated shots or from single recordings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import bdtrc, chdtr, chdtri, fdtrc
from torch import Tensor

from noiseproof.data import LabelledDataset, thinned
from noiseproof.data.dataset import to_unit_interval
from noiseproof.data.images import SUFFIXES, decode_rgb
from noiseproof.data.sources.npz import read_archive
from noiseproof.errors import DataError, InvalidArgumentError

__all__ = [
    "SensorNoise",
    "noise_of_dataset",
    "noise_of_pictures",
    "noise_of_repeats",
    "noise_of_series",
    "read_repeats",
]

# The median of |x| of a standard normal x, by which a median absolute value estimates a standard deviation.
_NORMAL_MEDIAN = 0.6744897501960817
_LAPLACIANS = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))
_UNEVEN = 1.25
_CHANCE = 1e-3  # what happens less often than this by chance is told
_TINY = 1e-300
_ROUNDING = 1 / 255 / np.sqrt(12)


@dataclass(frozen=True)
class SensorNoise:
    """Estimated noise.

    Attributes:
        how: it was estimated, for people.
        channels: standard deviation by channel (of vectors by column), in the units of the inputs.
        low: by channel, the lower quartile over recordings.
        high: by channel, the upper quartile.
        recordings: how many they are from.
        notes: what is known to bias the estimate.
        word: what one of the channels is called, counted from 0.
    """

    how: str
    channels: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    recordings: int
    notes: tuple[str, ...] = ()
    word: str = "channel"

    @property
    def std(self) -> float:
        """Root mean square over the channels."""
        return float(np.sqrt(np.mean(np.square(self.channels))))


def noise_of_repeats(repeats: Tensor) -> SensorNoise:
    """Estimate noise from repeated recordings of scenes that stand still: the spread over repeats.

    Unbiased in the variance. What changes a whole recording, as flickering light does, is taken out and told.

    Args:
        repeats: (R, N, C, ...) R ≥ 2 recordings of each of N scenes, floating.

    Raises:
        DataError: fewer than two repeats, values that are not finite, or no scene.
    """
    if repeats.ndim < 3 or repeats.shape[0] < 2 or repeats.shape[1] < 1:
        raise DataError(f"noise needs at least 2 recordings of at least 1 scene, got the shape {tuple(repeats.shape)}")
    values = repeats.double().flatten(3) if repeats.ndim > 3 else repeats.double().unsqueeze(-1)
    if not bool(values.isfinite().all()):
        raise DataError("the repeated recordings hold NaN or infinite values")
    count, pixels = values.shape[0], values.shape[3]
    level = values.mean(3, keepdim=True)
    if pixels > 1:
        values = values - level + level.mean(0, keepdim=True)
    residual = values - values.mean(0, keepdim=True)
    freedom = (count - 1) / count * (1 - 1 / pixels if pixels > 1 else 1)
    by_channel = (residual.square().mean((0, 1, 3)) / freedom).sqrt()
    of_each = (residual.square().mean(3) / freedom).sqrt().flatten(0, 1)
    word = "channel" if repeats.ndim > 3 else "column"
    notes = [] if pixels == 1 else [*_flicker(level.squeeze(3), by_channel, pixels), *_uneven(residual, freedom, word)]
    return _described(
        f"from {count} recordings of {values.shape[1]} still scene{'s' * (values.shape[1] > 1)}",
        by_channel, of_each, notes, word,
    )  # fmt: skip


def _flicker(level: Tensor, noise: Tensor, pixels: int) -> list[str]:
    """What is told where whole recordings (R, N, C) vary by more than half of the noise (C,), and not by chance."""
    repeats, scenes, _ = level.shape
    degrees = scenes * (repeats - 1)
    variance = level.var(0, unbiased=True).mean(0)
    excess = (variance - noise.square() / pixels).clamp(min=0).sqrt()
    ratio = pixels * variance / noise.square().clamp(min=_TINY)
    chance = fdtrc(degrees, degrees * (pixels - 1), ratio.numpy())
    told = (excess > noise / 2) & torch.from_numpy(chance < _CHANCE)
    if not bool(told.any()):
        return []
    each = zip(told.nonzero().flatten().tolist(), excess[told].tolist(), strict=True)
    levels = ", ".join(f"{value:.2g}" + f" (channel {number})" * (len(noise) > 1) for number, value in each)
    return [f"whole recordings vary by {levels} in level, which is not counted as noise"]


def _uneven(residual: Tensor, freedom: float, word: str) -> list[str]:
    """What is told where a channel's mean variance is far above what its median variance would have it for even noise.

    Each is compared with itself alone, since channels may be of different units. Where the median of so few places
    could be that low by chance, nothing is told.
    """
    variances = (residual.square().mean(0) / freedom).transpose(0, 1).flatten(1)
    places, degrees = variances.shape[1], residual.shape[0] - 1
    low = chdtri(degrees, 0.5) / degrees / _UNEVEN**2  # of the mean; even noise has its median _UNEVEN² above that
    chance = bdtrc((places - 1) // 2, places, chdtr(degrees, low * degrees))
    told = variances.median(1).values < low * variances.mean(1)
    if chance >= _CHANCE or not bool(told.any()):
        return []
    numbers = told.nonzero().flatten().tolist()
    where = "" if bool(told.all()) else f" in {word}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
    return [
        f"the noise differs much from place to place{where}: it grows with the signal, as shot noise does, or the "
        "scene moved, which makes the estimate too high"
    ]


def noise_of_pictures(pictures: Tensor) -> SensorNoise:
    """Estimate noise from single pictures: what is left after a mask that flat and evenly sloping regions leave at 0.

    The mask is that of Immerkær (1996), "Fast noise variance estimation", CVIU 64(2), the difference of two
    Laplacians; its standard deviation is taken from the median of its absolute value (Donoho & Johnstone 1994, "Ideal
    spatial adaptation by wavelet shrinkage", Biometrika 81(3)) in place of his mean, since edges move a median less.
    Texture that fills a picture is taken for noise; noise that neighbouring pixels share, as after JPEG or
    demosaicing, is missed in part, and so is noise that was clipped at 0 or 1.

    Args:
        pictures: (N, C, H, W) in [0, 1], H and W ≥ 3.

    Raises:
        DataError: no pictures, or smaller ones.
    """
    if pictures.ndim != 4 or pictures.shape[0] == 0 or min(pictures.shape[2:]) < 3:
        raise DataError(f"noise of pictures needs (N, C, H, W) of at least 3×3 pixels, got {tuple(pictures.shape)}")
    mask = torch.tensor(_LAPLACIANS, dtype=torch.float32).reshape(1, 1, 3, 3)
    flat = pictures.float().flatten(0, 1).unsqueeze(1)
    filtered = torch.cat([F.conv2d(part, mask) for part in flat.split(256)])
    of_each = filtered.flatten(1).abs().double().median(1).values / (_NORMAL_MEDIAN * float(mask.norm()))
    of_each = of_each.reshape(pictures.shape[:2])
    clipped = float(((pictures <= 0) | (pictures >= 1)).double().mean())
    notes = ["texture makes it too high; JPEG, demosaicing and resizing make it too low"]
    if clipped > 0.01:
        notes.append(f"{100 * clipped:.0f} % of the pixels are 0 or 1, where noise is clipped, which makes it too low")
    if float(of_each.median()) < _ROUNDING:
        notes.append("it is below the rounding to 8 bits")
    return _described(f"from flat regions of {pictures.shape[0]:,} pictures", of_each.median(0).values, of_each, notes)


def noise_of_series(series: Tensor) -> SensorNoise:
    """Estimate noise from single series: second differences, which leave straight lines at 0 (Gasser et al. 1986).

    Their standard deviation is taken from the median of their absolute values. Signals that turn within three time
    steps are taken for noise; noise that neighbouring steps share is missed in part.

    Args:
        series: (N, C, T) floating, T ≥ 3.

    Raises:
        DataError: no series, or shorter ones.
    """
    if series.ndim != 3 or series.shape[0] == 0 or series.shape[2] < 3:
        raise DataError(f"noise of series needs (N, C, T) of at least 3 steps, got {tuple(series.shape)}")
    second = series.double().diff(n=2, dim=2)
    of_each = second.abs().median(2).values / (_NORMAL_MEDIAN * np.sqrt(6))
    return _described(
        f"from second differences of {len(series):,} series", of_each.median(0).values, of_each,
        ["signals that turn within three time steps make it too high"],
    )  # fmt: skip


def _described(
    how: str, by_channel: Tensor, of_each: Tensor, notes: list[str], word: str = "channel"
) -> SensorNoise:  # fmt: skip
    low, high = (of_each.quantile(share, dim=0) for share in (0.25, 0.75))
    return SensorNoise(
        how, tuple(by_channel.tolist()), tuple(low.tolist()), tuple(high.tolist()), len(of_each), tuple(notes), word
    )


def noise_of_dataset(data: LabelledDataset, limit: int) -> SensorNoise:
    """Estimate noise from a data set's own pictures or series, of at most ``limit``.

    Raises:
        InvalidArgumentError: vectors, whose components have no neighbours.
    """
    kind = len(data.input_shape)
    if kind not in (2, 3):
        raise InvalidArgumentError("the noise of vectors cannot be told from single ones: give repeated measurements")
    chosen = thinned(data, limit)
    inputs = torch.stack([to_unit_interval(chosen[place][0]) for place in range(len(chosen))])
    return noise_of_pictures(inputs) if kind == 3 else noise_of_series(inputs)


def read_repeats(place: str, input_shape: tuple[int, ...], image_size: tuple[int, int] | None = None) -> Tensor:
    """Read repeated recordings: a folder of pictures of one still scene, or an ``.npz`` file with ``repeats``.

    Args:
        place: the folder; or the file, with an array (R, …) or (R, N, …) of R recordings of one or N scenes.
        input_shape: of the model's inputs, which tells the two apart.
        image_size: (height, width) that pictures are brought to, as the model gets them; None for their own.

    Returns:
        (R, N, C, ...) of float32; bytes are divided by 255.

    Raises:
        DataError: nothing there, no such array, or shapes that do not fit.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        return _pictures(path, image_size).unsqueeze(1)
    if path.suffix != ".npz" or not path.is_file():
        raise DataError(f"--repeats takes a folder of pictures or an .npz file; {place} is neither")
    arrays = read_archive(path, place)
    if "repeats" not in arrays:
        raise DataError(f"{place} needs an array named repeats, it has: {', '.join(arrays)}")
    array = arrays["repeats"]
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype == np.uint8):
        raise DataError(f"repeats in {place} must be bytes or floats, got {array.dtype}")
    repeats = to_unit_interval(torch.from_numpy(array))
    kind = len(input_shape)
    if repeats.ndim == kind + 1:
        repeats = repeats.unsqueeze(1)
    if repeats.ndim != kind + 2 or repeats.shape[2] != input_shape[0]:
        shape = ", ".join(map(str, input_shape))
        raise DataError(f"repeats in {place} must have the shape (R, {shape}) or (R, N, {shape}), got {array.shape}")
    return repeats


def _pictures(folder: Path, image_size: tuple[int, int] | None) -> Tensor:
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
    if len(paths) < 2:
        raise DataError(f"{folder} needs at least 2 pictures of the same scene, it has {len(paths)}")
    return torch.stack(list(_same_size(paths, image_size)))


def _same_size(paths: list[Path], image_size: tuple[int, int] | None) -> Iterator[Tensor]:
    first: tuple[int, ...] | None = None
    for path in paths:
        picture = to_unit_interval(decode_rgb(path, str(path), image_size))
        first = first or tuple(picture.shape)
        if tuple(picture.shape) != first:
            sizes = f"{picture.shape[2]}×{picture.shape[1]}, the first picture {first[2]}×{first[1]}"
            raise DataError(f"the pictures of {path.parent} must be of one size: {path.name} is {sizes}")
        yield picture
