"""One picture under many perturbations."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from noiseproof.perturbations import perturbation

__all__ = ["perturbation_gallery"]


def perturbation_gallery(image: Tensor, rows: Sequence[Sequence[str]], *, seed: int = 0) -> Figure:
    """Draw an image under perturbations, a row for each kind and in it a picture for each level.

    Args:
        image: (C, H, W) in [0, 1], with 1 or 3 channels.
        rows: texts of perturbations; every picture is headed by its own.
        seed: of what is random.

    Returns:
        A figure with a picture in every place that ``rows`` fill.
    """
    columns = max(map(len, rows))
    height, width = image.shape[1:]
    figure = Figure(figsize=(1.5 * columns, (1.5 * height / width + 0.22) * len(rows)), dpi=100)
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.16})
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.002, top=1 - 0.18 / figure.get_figheight())
    for places, specs in zip(axes, rows, strict=True):
        for place in places:
            place.set_axis_off()
        for place, spec in zip(places, specs, strict=False):
            seen = perturbation(spec)(image.unsqueeze(0), seed)[0].permute(1, 2, 0).squeeze(-1)
            place.imshow(seen.numpy(), cmap="gray", vmin=0, vmax=1)
            place.set_title(spec, fontsize=6.5, pad=2).set_parse_math(False)
    return figure
