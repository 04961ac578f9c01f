"""What a run's model looks like from inside: curvature, the theorems, feature spaces, the loss around an input."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from noiseproof.analysis import (
    CurvatureByCount,
    FeatureMap,
    InputCurvature,
    LossSurface,
    RetainedAccuracy,
    accuracy_by_retained,
    curvature_by_count,
    curvature_by_scale,
    feature_maps,
    input_curvature,
    loss_surface,
    lowest_share,
    stages,
)
from noiseproof.analysis.curvature import Space
from noiseproof.analysis.theory import divergence, generalisation, rescaling, separation, stability
from noiseproof.data import LabelledDataset, Splits, thinned
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import DataError, InvalidArgumentError, UnknownNameError
from noiseproof.evaluation import RobustnessReport, evaluate
from noiseproof.files import write_text
from noiseproof.losses.discriminative import DiscriminativeLoss
from noiseproof.models import FeatureClassifier, Normalize
from noiseproof.perturbations import Perturbation, perturbation
from noiseproof.perturbations.noise import GaussianNoise, LaplaceNoise, UniformNoise
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.reporting import Panel, to_svg
from noiseproof.reporting.figures import (
    box_figure,
    count_figure,
    map_figure,
    retained_figure,
    scale_figure,
    surface_figure,
)
from noiseproof.reporting.tables import Entry, Table, short_name
from noiseproof.reporting.theory import theory_table
from noiseproof.training import Run

__all__ = ["FIGURES", "Explanation", "draw", "panels", "theory_of"]

_STEPS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_SHARE = 0.9  # of the samples, in Fig. 10
_PENULTIMATE = "features"

Summary: TypeAlias = list[tuple[str, str]]


class Explanation:
    """The analyses of one run, each made when it is first asked for. All look at the same test samples.

    Args:
        run: a finished run.
        limit: how many test samples, evenly spread.
        noise: what the features and answers are looked at under, as ``gaussian:0.06``; None for the noise that the run
            was trained with. Figs. 8 and 9 add uniform noise of the same number, as the paper does.
        seed: of probes, noise and t-SNE.
        data: the run's data, if it is loaded already.
        progress: where to report.
    """

    def __init__(
        self,
        run: Run,
        *,
        limit: int = 1000,
        noise: str | None = None,
        seed: int = 0,
        data: Splits | None = None,
        progress: ProgressReporter | None = None,
    ) -> None:
        self.run, self.seed = run, seed
        self.recipe = run.recipe
        self.noise = self.recipe.noise.train if noise is None else noise
        perturbation(self.noise)  # a wrong name is told before anything is computed
        self.splits = run.data() if data is None else data
        self.test: LabelledDataset = thinned(self.splits.test, limit)
        self.limit = limit
        self.model: FeatureClassifier = run.model()
        self.progress = progress or Silent()

    @property
    def noises(self) -> tuple[str, ...]:
        """The noise, and with Gaussian noise the uniform one of the same number (§7.3)."""
        given = perturbation(self.noise)
        return (self.noise, f"uniform:{given.level}") if given.name == "gaussian" else (self.noise,)

    @property
    def space(self) -> Space:
        """``normalised`` where the model has such a first layer, as in the paper's figures."""
        return "normalised" if isinstance(self.model.normalize, Normalize) else "pixel"

    @functools.cached_property
    def curvature(self) -> InputCurvature:
        """Λ(x) by Eq. 21 with t = 10⁻² and K = 20 (§7.1)."""
        return input_curvature(self.model, self.test, space=self.space, seed=self.seed, progress=self.progress)

    @functools.cached_property
    def by_scale(self) -> dict[float, InputCurvature]:
        """Eq. 21 with steps from 10⁻⁴ to 10⁻¹."""
        return curvature_by_scale(
            self.model, self.test, _STEPS, space=self.space, seed=self.seed, progress=self.progress
        )

    @functools.cached_property
    def exact(self) -> InputCurvature:
        """The Gauss-Newton spectrum at the points themselves."""
        return input_curvature(self.model, self.test, "gauss-newton", space=self.space, progress=self.progress)

    @functools.cached_property
    def report(self) -> RobustnessReport:
        """Answers under ten draws of each noise."""
        return evaluate(self.model, self.test, self.noises, draws=10, seed=self.seed, progress=self.progress)

    @functools.cached_property
    def retained(self) -> dict[str, RetainedAccuracy]:
        """Accuracy on the samples of lowest curvature, by noise (Fig. 8)."""
        return {key: accuracy_by_retained(self.curvature.values, self.report[key].correct) for key in self.noises}

    @functools.cached_property
    def by_count(self) -> dict[str, CurvatureByCount]:
        """Curvature by the number of right answers, by noise (Fig. 9)."""
        return {
            key: curvature_by_count(
                self.curvature.values, self.report[key].correct_counts, len(self.report[key].correct)
            )
            for key in self.noises
        }

    @functools.cached_property
    def feature_map(self) -> FeatureMap:
        """The penultimate features of clean and noisy inputs (Fig. 1)."""
        return self._maps([_PENULTIMATE])[0]

    @functools.cached_property
    def stage_maps(self) -> list[FeatureMap]:
        """The pooled features of the network's blocks (Figs. 12 and 13)."""
        return self._maps(stages(self.model))

    @functools.cached_property
    def surface(self) -> LossSurface:
        """The loss around the first test sample (Fig. 11)."""
        inputs, label = self.test[0]
        return loss_surface(self.model, to_unit_interval(inputs), int(label), seed=self.seed)

    @functools.cached_property
    def theory(self) -> dict[str, Summary]:
        """What Propositions 5.1 to 5.3 and Theorems 6.1 to 6.3 come to, in plain words by theorem."""
        return theory_of(self)

    def _maps(self, layers: Sequence[str]) -> list[FeatureMap]:
        perplexity = min(30.0, (2 * len(self.test) - 1) / 3)
        maps = feature_maps(
            self.model, self.test, self.noise, layers, perplexity=perplexity, seed=self.seed, progress=self.progress
        )
        return list(maps.values())


def theory_of(explained: Explanation, *, draws: int = 500, samples: int = 100) -> dict[str, Summary]:
    """Compute the theorems on a run's model, with δ_v and δ_d of the discriminative method's options.

    Args:
        explained: the run.
        draws: of the noise in Theorem 6.1.
        samples: in Theorem 6.1.
    """
    model, test, progress = explained.model, explained.test, explained.progress
    options = explained.recipe.methods.get("discriminative", {})
    defaults = DiscriminativeLoss(2, 1)
    delta_v = float(options.get("delta_v", defaults.delta_v))
    delta_d = float(options.get("delta_d", defaults.delta_d))
    sigma = _standard_deviation(perturbation(explained.noise))
    train = thinned(explained.splits.train, explained.limit)
    return {
        "Propositions 5.1 and 5.2, separation": separation(
            model, test, delta_v=delta_v, delta_d=delta_d, progress=progress
        ).summary(),
        "Proposition 5.3 and Corollary 5.1, rescaling": rescaling(model, test, progress=progress).summary(),
        "Theorem 6.1, curvature and stability": stability(
            model, test, sigma=sigma, delta=2 * delta_v, draws=draws, limit=samples, seed=explained.seed,
            progress=progress,
        ).summary(),
        "Theorem 6.2, generalisation of compactness": generalisation(
            model, train, test, radius=2 * delta_v, rho=2 * delta_v**2, progress=progress
        ).summary(),
        "Theorem 6.3, intermediate layers": _divergence(explained, delta_v),
    }  # fmt: skip


def _standard_deviation(noise: Perturbation) -> float:
    """That of additive noise; for other perturbations, and none, the 0.06 of the paper's CIFAR-10 experiments."""
    if isinstance(noise, GaussianNoise | LaplaceNoise) and noise.std > 0:
        return noise.std
    if isinstance(noise, UniformNoise) and noise.amplitude > 0:
        return noise.amplitude / math.sqrt(3)
    return 0.06


def _divergence(explained: Explanation, delta_v: float) -> Summary:
    try:
        found = divergence(
            explained.model, explained.test, delta_v=delta_v, seed=explained.seed, progress=explained.progress
        )
    except DataError as error:  # a class with too few samples to hold any out
        return [("Not computed", str(error))]
    return found.summary()


Explained: TypeAlias = Mapping[str, Explanation]

FIGURES: dict[str, Callable[[Explained], Figure]] = {
    "fig1": lambda found: map_figure({title: [each.feature_map] for title, each in found.items()}),
    "fig8": lambda found: retained_figure({title: each.retained for title, each in found.items()}),
    "fig9": lambda found: count_figure({title: each.by_count for title, each in found.items()}),
    "fig10": lambda found: box_figure(
        {title: lowest_share(each.curvature.values, _SHARE) for title, each in found.items()},
        share=_SHARE, space=next(iter(found.values())).space,
    ),
    "fig11": lambda found: surface_figure({title: each.surface for title, each in found.items()}),
    "fig12": lambda found: map_figure({title: each.stage_maps for title, each in found.items()}, show="clean"),
    "fig13": lambda found: map_figure({title: each.stage_maps for title, each in found.items()}, show="noisy"),
    "scales": lambda found: scale_figure(
        {title: each.by_scale for title, each in found.items()}, {title: each.exact for title, each in found.items()}
    ),
}  # fmt: skip


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
        InvalidArgumentError: no run, or two runs of the same method and seed.
    """
    known = (*FIGURES, "theory")
    for name in names:
        if name not in known:
            raise UnknownNameError("figure", name, known)
    if not names:
        raise InvalidArgumentError(f"no figure is named, by --only say: name some of {', '.join(known)}")
    found = {run.name: Explanation(run, **settings) for run in runs}  # type: ignore[arg-type]
    if not runs or len(found) != len(runs):
        raise InvalidArgumentError("name at least one run, and no method and seed twice")
    if len({each.noise for each in found.values()}) > 1:
        raise InvalidArgumentError("the runs were trained with different noise: say with --noise which to look at")
    if {"fig12", "fig13"} & set(names) and len({len(stages(each.model)) for each in found.values()}) > 1:
        raise InvalidArgumentError("fig12 and fig13 need networks with as many blocks as each other: leave them out")
    out.mkdir(parents=True, exist_ok=True)
    files, table = [], None
    caveat = _caveat(found)
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


def _drawn(name: str, found: Explained, caveat: str) -> Figure:
    figure = FIGURES[name](found)
    if caveat:
        figure.suptitle(caveat, fontsize="small")
    return figure


def _caveat(found: Explained) -> str:
    return " ".join(dict.fromkeys(each.recipe.caveat for each in found.values() if each.recipe.caveat))


def panels(runs: Mapping[str, Run], folder: Path, **settings: object) -> list[Panel]:
    """Make the sections of a comparison's page that say why: curvature, features, and the theorems for first and last.

    They are kept in ``folder`` as ``explanation.json`` and taken from there while the models are the same.

    Args:
        runs: by title, at least one.
        folder: of the comparison.
        **settings: as for :class:`Explanation`.
    """
    kept, key = folder / "explanation.json", _key(runs)
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["key"] == key:
            return [_restored(panel) for panel in content["panels"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # none, damaged, or of another version: made anew
    found = {title: Explanation(run, **settings) for title, run in runs.items()}  # type: ignore[arg-type]
    made = _panels(found)
    write_text(kept, json.dumps({"key": key, "panels": [asdict(panel) for panel in made]}, ensure_ascii=False) + "\n")
    return made


def _panels(found: Explained) -> list[Panel]:
    first = next(iter(found.values()))
    ends = dict.fromkeys((next(iter(found)), next(reversed(list(found)))))
    medians = ", ".join(f"{title} {np.median(each.curvature.values):.2g}" for title, each in found.items())
    agree = ", ".join(
        f"{title} " + " and ".join(f"{100 * share:.0f} %" for share in _neighbours(each.feature_map))
        for title, each in found.items()
    )
    return [
        Panel(
            "How curved the loss is",
            "Λ(x) = Σλ² of the Hessian of the softmax loss in the input, by Eq. 21 of the paper with t = 0.01 and 20 "
            f"probes, over {len(first.test)} test samples, one seed. Boxes: quartiles; whiskers: 5th and 95th "
            "percentile. A loss that curves less changes less when the input does; that alone makes no model right.",
            to_svg(FIGURES["fig10"](found)),
            f"Box plots of the lowest 90 % of curvatures. Median of all samples: {medians}.",
        ),
        Panel(
            "How the features lie",
            f"t-SNE of the penultimate features, clean and under {short_name(first.noise)}, one map for both. A "
            "t-SNE map keeps neighbours, not distances; how often a feature's ten nearest neighbours are of its class "
            "stands above each.",
            to_svg(FIGURES["fig1"](found)),
            f"Maps of features by class. Neighbours of the same class, clean and noisy: {agree}.",
        ),
        Panel(
            "The theorems, computed",
            "The paper's propositions and theorems on these models: which premises hold, which conclusions, and what "
            "the bounds come to.",
            table=theory_table({title: found[title].theory for title in ends}, caveat=_caveat(found)),
        ),
    ]


def _neighbours(found: FeatureMap) -> list[float]:
    """How often neighbours agree, clean and, if there is any, under noise."""
    return [found.neighbours_clean, *([] if found.noisy is None else [found.neighbours_noisy])]


def _key(runs: Mapping[str, Run]) -> str:
    """What the sections depend on: the weights, and the version of this package."""
    digest = hashlib.sha256(version("noiseproof").encode())
    for title, run in runs.items():
        digest.update(title.encode())
        digest.update((run.folder / "model.safetensors").read_bytes())
    return digest.hexdigest()


def _restored(panel: dict[str, Any]) -> Panel:
    table = panel.pop("table")
    if table is None:
        return Panel(**panel)
    rows = tuple(tuple(Entry(**entry) for entry in row) for row in table["rows"])
    return Panel(**panel, table=Table(table["title"], tuple(table["columns"]), rows, table["caption"]))
