"""The analyses of one run, each made when it is first asked for."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TypeAlias

import torch

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
    stages,
)
from noiseproof.analysis.curvature import Space
from noiseproof.analysis.theory import divergence, generalisation, rescaling, separation, stability
from noiseproof.data import LabelledDataset, Splits, thinned
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import DataError
from noiseproof.evaluation import RobustnessReport, evaluate
from noiseproof.losses.discriminative import DiscriminativeLoss
from noiseproof.models import FeatureClassifier, Normalize
from noiseproof.perturbations import Perturbation, perturbation
from noiseproof.perturbations.noise import GaussianNoise, LaplaceNoise, UniformNoise
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.training import Run

__all__ = ["Explanation", "Summary", "theory_of"]

_STEPS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
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
        device: where to compute; None for the CPU.
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
        device: torch.device | str | None = None,
        progress: ProgressReporter | None = None,
    ) -> None:
        self.run, self.seed = run, seed
        self.recipe = run.recipe
        self.noise = self.recipe.noise.train if noise is None else noise
        perturbation(self.noise)  # a wrong name is told before anything is computed
        self.splits = run.data() if data is None else data
        self.test: LabelledDataset = thinned(self.splits.test, limit)
        self.limit = limit
        self.model: FeatureClassifier = run.model(device or "cpu")
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
