"""The paper's figures from result objects: several models side by side, on the same scales.

Every function takes results by the title of the model, and gives a Matplotlib figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from noiseproof.analysis import CurvatureByCount, FeatureMap, InputCurvature, LossSurface, RetainedAccuracy
from noiseproof.reporting.plots import COLOURS, MARKERS, styled
from noiseproof.reporting.tables import short_name

__all__ = [
    "box_figure",
    "count_figure",
    "map_figure",
    "retained_figure",
    "scale_figure",
    "surface_figure",
]

# Paul Tol's muted scheme: ten colours that colour-blind readers can tell apart.
_CLASS_COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#777777",
)  # fmt: skip
_HALO = [withStroke(linewidth=1.5, foreground="white")]
_CURVATURE = "curvature Λ(x) = Σλ²"


def retained_figure(found: Mapping[str, Mapping[str, RetainedAccuracy]]) -> Figure:
    """Noisy accuracy against the share of samples kept, lowest curvature first (Fig. 8); one panel per noise.

    Args:
        found: by model, then by noise. Bands are 95 % intervals, as the legend says.
    """
    noises = _columns(found)
    with styled():
        figure = Figure(figsize=(4.4 * len(noises), 3.8), layout="constrained")
        for noise, axes in zip(noises, _row(figure, len(noises)), strict=True):
            for index, (title, by_noise) in enumerate(found.items()):
                kept, colour = by_noise[noise], COLOURS[index % len(COLOURS)]
                axes.plot(
                    kept.shares, 100 * kept.accuracies, color=colour, marker=MARKERS[index % len(MARKERS)],
                    markersize=4, label=title,
                )  # fmt: skip
                axes.fill_between(kept.shares, *(100 * kept.intervals.T), color=colour, alpha=0.15, linewidth=0)
            _titled(axes, noise)
            axes.set_xlabel("share of samples kept, lowest curvature first")
            axes.set_ylabel("noisy accuracy (%)")
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        _legend(figure, "bands: 95 % intervals, over samples and draws")
    return figure


def count_figure(found: Mapping[str, Mapping[str, CurvatureByCount]], *, space: str) -> Figure:
    """Mean curvature of the samples that were right in k draws, against k (Fig. 9); one panel per noise.

    Bars are standard errors. The legend gives Pearson's r over groups, which is the paper's, and Spearman's ρ over
    samples, which is what can be said of a single sample.

    Args:
        found: by model, then by noise.
        space: ``pixel`` or ``normalised``; for the label.
    """
    noises = _columns(found)
    with styled():
        figure = Figure(figsize=(4.6 * len(noises), 4.0), layout="constrained")
        for noise, axes in zip(noises, _row(figure, len(noises)), strict=True):
            for index, (title, by_noise) in enumerate(found.items()):
                groups = by_noise[noise]
                there = groups.sizes > 0
                r, rho = groups.of_groups.value, groups.of_ranks.value
                axes.errorbar(
                    groups.counts[there], groups.means[there], yerr=np.nan_to_num(groups.stderrs[there]),
                    color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)], markersize=4,
                    capsize=2, label=f"{title}: r {r:.2f}, ρ {rho:.2f}",
                )  # fmt: skip
            if any((by_noise[noise].means > 0).any() for by_noise in found.values()):
                axes.set_yscale("log")
            _titled(axes, noise)
            axes.set_xlabel(f"correct predictions in {int(groups.counts[-1])} draws")
            axes.set_ylabel(f"mean {_CURVATURE}\nin {space} space")
            handles = axes.containers, [str(bars.get_label()) for bars in axes.containers]
            _plain(
                axes.legend(
                    *handles,
                    frameon=False,
                    fontsize="x-small",
                    loc="upper center",
                    bbox_to_anchor=(0.5, -0.16),
                    title="bars: ± one standard error of the mean over samples",
                    title_fontsize="x-small",
                )
            )
    return figure


def box_figure(found: Mapping[str, np.ndarray], *, share: float, space: str) -> Figure:
    """Box plots of the lowest curvatures of each model (Fig. 10): quartiles, whiskers to the percentiles 5 and 95.

    Args:
        found: by model, the curvatures to show.
        share: what share of all samples they are; for the label.
        space: ``pixel`` or ``normalised``; for the label.
    """
    with styled():
        figure = Figure(figsize=(6.6, 0.9 + 0.55 * len(found)), layout="constrained")
        axes = figure.subplots()
        boxes = axes.boxplot(
            [np.maximum(values, np.finfo(np.float32).tiny) for values in found.values()], orientation="horizontal",
            whis=(5, 95), showfliers=False, patch_artist=True, widths=0.6,
            medianprops={"color": "white", "linewidth": 1.6},
        )  # fmt: skip
        for index, box in enumerate(boxes["boxes"]):
            box.set(facecolor=COLOURS[index % len(COLOURS)], alpha=0.6)
        axes.set_xscale("log")
        axes.set_yticks(range(1, len(found) + 1), list(found))
        axes.invert_yaxis()
        axes.set_xlabel(f"Λ(x) in {space} space, lowest {100 * share:.0f} % of samples")
        _plain_ticks(axes)
    return figure


def scale_figure(
    by_scale: Mapping[str, Mapping[float, InputCurvature]], exact: Mapping[str, InputCurvature]
) -> Figure:
    """Median Λ of Eq. 21 against its step t, and as dashed lines that of the Gauss-Newton spectrum at the point.

    The legend calls it the Hessian's where it is, for all models.
    """
    with styled():
        figure = Figure(figsize=(6.6, 4.0), layout="constrained")
        axes = figure.subplots()
        for index, (title, by_step) in enumerate(by_scale.items()):
            colour = COLOURS[index % len(COLOURS)]
            steps = sorted(by_step)
            axes.plot(
                steps, [_median(by_step[step]) for step in steps], color=colour,
                marker=MARKERS[index % len(MARKERS)], markersize=4, label=title,
            )  # fmt: skip
            if title in exact:
                axes.axhline(_median(exact[title]), color=colour, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        if any(_median(each) > 0 for by_step in by_scale.values() for each in by_step.values()):
            axes.set_yscale("log")
        axes.set_xlabel("step t of Eq. 21; an input of k values moves by about t·√k")
        spaces = dict.fromkeys(each.space for by_step in by_scale.values() for each in by_step.values())
        axes.set_ylabel(f"median {_CURVATURE}\nin {' or '.join(spaces)} space")
        what = "Hessian" if all(each.exact for each in exact.values()) else "Gauss-Newton part of the Hessian"
        _plain(axes.legend(frameon=False, fontsize="small", title=f"dashed: {what} at the point"))
    return figure


def surface_figure(found: Mapping[str, LossSurface]) -> Figure:
    """The negative softmax loss around one input, along its gradient and across it (Fig. 11), on one scale."""
    low = min(float(surface.values.min()) for surface in found.values())
    with styled():
        figure = Figure(figsize=(3.1 * len(found) + 0.8, 3.4), layout="constrained")
        panels = _row(figure, len(found), sharey=True)
        for (title, surface), axes in zip(found.items(), panels, strict=True):
            reach = surface.extent
            edge = reach * (1 + 1 / (len(surface.axis) - 1))  # a value stands in the middle of its pixel
            image = axes.imshow(
                surface.values.T, origin="lower", extent=(-edge, edge, -edge, edge), vmin=low, vmax=0.0,
                cmap="viridis", interpolation="bilinear",
            )  # fmt: skip
            axes.contour(surface.axis, surface.axis, surface.values.T, levels=8, colors="white", linewidths=0.4)
            axes.plot(0, 0, "o", color="black", markersize=4)
            axes.grid(visible=False)
            axes.set_xlim(-reach, reach)
            axes.set_ylim(-reach, reach)
            _titled(axes, title)
            axes.set_xlabel("along the gradient (L2)")
        panels[0].set_ylabel("random, orthogonal (L2)")
        figure.colorbar(image, ax=list(panels), label="−loss", shrink=0.85)
    return figure


def map_figure(
    found: Mapping[str, Sequence[FeatureMap]], *, show: Literal["both", "clean", "noisy"] = "both"
) -> Figure:
    """t-SNE maps, a row per model; clean and noisy features have one map for both (Figs. 1, 12 and 13).

    Args:
        found: by model, a map for each layer, the same layers for all.
        show: which features; ``both`` gives each layer two columns.
    """
    first = next(iter(found.values()))
    views: tuple[Literal["clean", "noisy"], ...] = ("clean", "noisy") if show == "both" else (show,)
    if first[0].noisy is None:
        views = ("clean",)
    layers = len(first)
    columns = layers * len(views)
    with styled():
        figure = Figure(figsize=(2.5 * columns + 0.3, 2.6 * len(found) + 0.5), layout="constrained")
        grid = figure.subplots(len(found), columns, squeeze=False)
        for row, (title, maps) in zip(grid, found.items(), strict=True):
            places = iter(row)
            for each in maps:
                for view in views:
                    _scatter(next(places), each, view)
            _plain_label(row[0], title)
        labels = [name for c, name in enumerate(first[0].class_names) if (first[0].labels == c).any()]
        _plain(
            figure.legend(
                list(grid[0, 0].collections),
                labels,
                loc="outside lower center",
                ncols=_columns_that_fit(figure, labels),
                frameon=False,
                fontsize="small",
                markerscale=3,
                handletextpad=0.1,
                columnspacing=1,
            )
        )
    return figure


def _scatter(axes: Axes, found: FeatureMap, view: Literal["clean", "noisy"]) -> None:
    points = found.clean if view == "clean" or found.noisy is None else found.noisy
    both = points if found.noisy is None else np.concatenate([found.clean, found.noisy])
    neighbours = found.neighbours_clean if view == "clean" else found.neighbours_noisy
    for c, name in enumerate(found.class_names):
        mine = points[found.labels == c]
        if len(mine):
            axes.scatter(
                mine[:, 0],
                mine[:, 1],
                s=4,
                linewidths=0,
                color=_CLASS_COLOURS[c % len(_CLASS_COLOURS)],
                label=name,
                rasterized=True,
            )
            x, y = np.median(mine, axis=0)
            axes.text(
                float(x), float(y), str(c), fontsize=7, ha="center", va="center", fontweight="bold", path_effects=_HALO
            )
    margin = 0.04 * np.ptp(both, axis=0)
    axes.set_xlim(both[:, 0].min() - margin[0], both[:, 0].max() + margin[0])
    axes.set_ylim(both[:, 1].min() - margin[1], both[:, 1].max() + margin[1])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    kind = "clean" if view == "clean" else short_name(found.noise)
    axes.set_title(f"{found.layer}, {kind}\nneighbours agree {100 * neighbours:.0f} %", fontsize=8)
    axes.title.set_parse_math(False)


def _columns(found: Mapping[str, Mapping[str, object]]) -> list[str]:
    return list(next(iter(found.values())))


def _row(figure: Figure, columns: int, *, sharey: bool = False) -> list[Axes]:
    return list(figure.subplots(1, columns, squeeze=False, sharey=sharey)[0])


def _median(found: InputCurvature) -> float:
    return float(np.median(found.values))


def _titled(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize="medium").set_parse_math(False)


def _plain_label(axes: Axes, label: str) -> None:
    axes.set_ylabel(label).set_parse_math(False)


def _plain_ticks(axes: Axes) -> None:
    for label in axes.get_yticklabels():
        label.set_parse_math(False)


def _plain(legend) -> None:  # type: ignore[no-untyped-def]
    for text in legend.get_texts():
        text.set_parse_math(False)


def _columns_that_fit(figure: Figure, labels: Sequence[str]) -> int:
    """How many entries of a legend in small letters stand beside each other below a figure."""
    each = 0.4 + 0.085 * max(map(len, labels))  # inches, with marker and gap
    return max(1, min(len(labels), int(figure.get_figwidth() / each)))


def _legend(figure: Figure, title: str) -> None:
    lines = figure.axes[0].get_lines()
    labels = [str(line.get_label()) for line in lines]
    _plain(
        figure.legend(
            lines, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small", title=title,
            title_fontsize="small",
        )
    )  # fmt: skip
