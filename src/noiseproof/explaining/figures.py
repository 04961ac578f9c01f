"""The paper's figures, drawn of several runs on the same scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from matplotlib.figure import Figure

from noiseproof.analysis import lowest_share, stages
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.explaining.explanation import Explanation
from noiseproof.files import write_text
from noiseproof.reporting import to_svg
from noiseproof.reporting.figures import (
    box_figure,
    count_figure,
    map_figure,
    retained_figure,
    scale_figure,
    surface_figure,
)
from noiseproof.reporting.tables import Table
from noiseproof.reporting.theory import theory_table
from noiseproof.training import Run

__all__ = ["FIGURES", "SHARE", "Explained", "caveat_of", "draw", "explain", "write_figures"]

SHARE = 0.9  # of the samples, in Fig. 10

Explained: TypeAlias = Mapping[str, Explanation]

FIGURES: dict[str, Callable[[Explained], Figure]] = {
    "fig1": lambda found: map_figure({title: [each.feature_map] for title, each in found.items()}),
    "fig8": lambda found: retained_figure({title: each.retained for title, each in found.items()}),
    "fig9": lambda found: count_figure(
        {title: each.by_count for title, each in found.items()}, space=next(iter(found.values())).space
    ),
    "fig10": lambda found: box_figure(
        {title: lowest_share(each.curvature.values, SHARE) for title, each in found.items()},
        share=SHARE, space=next(iter(found.values())).space,
    ),
    "fig11": lambda found: surface_figure({title: each.surface for title, each in found.items()}),
    "fig12": lambda found: map_figure({title: each.stage_maps for title, each in found.items()}, show="clean"),
    "fig13": lambda found: map_figure({title: each.stage_maps for title, each in found.items()}, show="noisy"),
    "scales": lambda found: scale_figure(
        {title: each.by_scale for title, each in found.items()}, {title: each.exact for title, each in found.items()}
    ),
}  # fmt: skip


def explain(runs: Sequence[Run], **settings: object) -> dict[str, Explanation]:
    """Return the explanations of several runs by their names.

    Args:
        runs: finished runs, at least one, none twice by method and seed.
        **settings: as for :class:`Explanation`.

    Raises:
        InvalidArgumentError: no run, two runs of the same method and seed, or of different training noise.
    """
    found = {run.name: Explanation(run, **settings) for run in runs}  # type: ignore[arg-type]
    if not runs or len(found) != len(runs):
        raise InvalidArgumentError("name at least one run, and no method and seed twice")
    if len({each.noise for each in found.values()}) > 1:
        raise InvalidArgumentError("the runs were trained with different noise: say with --noise which to look at")
    return found


def draw(runs: Sequence[Run], names: Sequence[str], out: Path, **settings: object) -> tuple[list[Path], Table | None]:
    """Draw figures of several runs on the same scales, and write the theory table.

    Args:
        runs: finished runs, at least one.
        names: of :data:`FIGURES`, and ``theory``.
        out: the folder for ``NAME.png``, ``NAME.svg`` and ``theory.md``; it is made.
        **settings: as for :class:`Explanation`.

    Returns:
        The files, and the theory table if it was asked for.

    Raises:
        UnknownNameError: no such figure.
        InvalidArgumentError: no run, or runs that :func:`explain` would refuse.
    """
    _check_names(names)
    return write_figures(explain(runs, **settings), names, out)


def write_figures(
    found: Explained, names: Sequence[str], out: Path, *, note: str = ""
) -> tuple[list[Path], Table | None]:
    """Draw figures of models that are explained already; see :func:`draw`.

    Args:
        found: by title.
        names: of :data:`FIGURES`, and ``theory``.
        out: the folder for the files; it is made.
        note: what every figure has to say, beside the caveats of the recipes.
    """
    _check_names(names)
    if {"fig12", "fig13"} & set(names) and len({len(stages(each.model)) for each in found.values()}) > 1:
        raise InvalidArgumentError("fig12 and fig13 need networks with as many blocks as each other: leave them out")
    out.mkdir(parents=True, exist_ok=True)
    files, table = [], None
    caveat = " ".join(filter(None, (note, caveat_of(found))))
    for name in names:
        if name == "theory":
            table = theory_table({title: each.theory for title, each in found.items()}, caveat=caveat)
            (out / "theory.md").write_text(table.to_markdown(), encoding="utf-8")
            files.append(out / "theory.md")
            continue
        _drawn(name, found, caveat).savefig(out / f"{name}.png", dpi=150)
        write_text(out / f"{name}.svg", to_svg(_drawn(name, found, caveat), standalone=True))
        files += [out / f"{name}.png", out / f"{name}.svg"]
    return files, table


def _check_names(names: Sequence[str]) -> None:
    known = (*FIGURES, "theory")
    for name in names:
        if name not in known:
            raise UnknownNameError("figure", name, known)
    if not names:
        raise InvalidArgumentError(f"no figure is named, by --only say: name some of {', '.join(known)}")


def _drawn(name: str, found: Explained, caveat: str) -> Figure:
    figure = FIGURES[name](found)
    if caveat:
        figure.suptitle(caveat, fontsize="small")
    return figure


def caveat_of(found: Explained) -> str:
    """Return what the runs' recipes have to say of how the models came about."""
    return " ".join(dict.fromkeys(each.recipe.caveat for each in found.values() if each.recipe.caveat))
