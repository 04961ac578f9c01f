"""One picture or series under many perturbations."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from noiseproof.perturbations import perturbation
from noiseproof.reporting.plots import COLOURS

__all__ = ["perturbation_gallery"]

_BEFORE = "#c4c4c4"


def perturbation_gallery(sample: Tensor, rows: Sequence[Sequence[str]], *, seed: int = 0) -> Figure:
    """Draw an image or a series under perturbations, a row for each kind and in it a picture for each level.

    Args:
        sample: an image (C, H, W) in [0, 1] with 1 or 3 channels, or a series (C, T), whose channels are drawn one
            above the other, each with the unperturbed one behind it.
        rows: texts of perturbations; every picture is headed by its own.
        seed: of what is random.

    Returns:
        A figure with a picture in every place that ``rows`` fill.
    """
    columns = max(map(len, rows))
    tall = sample.shape[1] / sample.shape[2] if sample.ndim == 3 else 0.6
    figure = Figure(figsize=(1.5 * columns, (1.5 * tall + 0.22) * len(rows)), dpi=100)
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.16})
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.002, top=1 - 0.18 / figure.get_figheight())
    for places, specs in zip(axes, rows, strict=True):
        for place in places:
            place.set_axis_off()
        for place, spec in zip(places, specs, strict=False):
            seen = perturbation(spec)(sample.unsqueeze(0), seed)[0]
            if sample.ndim == 3:
                place.imshow(seen.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            else:
                _draw_series(place, sample, seen)
            place.set_title(spec, fontsize=6.5, pad=2).set_parse_math(False)
    return figure


def _draw_series(place: Axes, before: Tensor, after: Tensor) -> None:
    apart = 1.2 * float(before.max() - before.min())
    for channel, (one, other) in enumerate(zip(before, after, strict=True)):
        place.plot(one - channel * apart, color=_BEFORE, linewidth=0.8)
        place.plot(other - channel * apart, color=COLOURS[1 + channel % (len(COLOURS) - 1)], linewidth=0.8)
    place.set_ylim(float(before.min()) - (len(before) - 0.6) * apart, float(before.max()) + 0.4 * apart)
