"""From measured numbers to proposals: what follows from Prop. 5.1 to 5.3 and §4.4, and what does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from noiseproof.evaluation.views import View, view
from noiseproof.perturbations.noise import GaussianNoise, LaplaceNoise, UniformNoise
from noiseproof.suggesting.advice import Proposal, rounded
from noiseproof.suggesting.features import FeatureFacts
from noiseproof.suggesting.packing import spread_needed
from noiseproof.suggesting.scales import Obstacle
from noiseproof.suggesting.sensor import SensorNoise

__all__ = [
    "delta_proposals",
    "momentum_proposal",
    "noise_proposal",
    "perturbations_proposal",
    "regularisation_proposal",
    "std_of",
    "untrained_deltas",
]

Options = Mapping[str, Any]

_OURS = "methods.discriminative"
# δ_d ≥ 3δ_v makes the margin that Prop. 5.2.1 promises, δ_d − δ_v, at least the dispersion that 5.1 allows, 2δ_v.
_RATIO = 3.0
_NEAR = 1.1
_MOMENTA = (0.9, 0.95, 0.98, 0.99)
_STEADY = 0.25  # of δ_v, by which a centroid may be off
_LEVELS = (1, 2, 4)  # times the sensor's noise
_CLOSE = 1.5  # times the sensor's noise, or its inverse: what measures the same


def delta_proposals(facts: FeatureFacts, options: Options, *, own: bool = True) -> list[Proposal]:
    """Propose δ_d and δ_v at the scale that the features have, since theory fixes their ratio and not their scale.

    What half of the classes and samples meet, or nearly, is left as it is.

    Args:
        facts: of the features.
        options: of the method.
        own: False for features that another method made, which have another scale: they are only told of.
    """
    if facts.classes < 2 or facts.boundary <= 0 or facts.within <= 0:
        why = (
            "half of the classes have their centroid on the wrong side of a boundary, or all features are one point: "
            "these features tell nothing yet; train longer, or with a smaller train.optimizer.lr"
        )
        return [Proposal(f"{_OURS}.{name}", None, options[name], why) for name in ("delta_d", "delta_v")]
    delta_d, delta_v = options["delta_d"], options["delta_v"]
    if not own:
        return [
            _told_only(each)
            for each in (_delta_d(facts, options, delta_d), _delta_v(facts, options, delta_v, delta_d))
        ]
    if not 0 < delta_d <= _NEAR * facts.boundary:
        delta_d = rounded(min(facts.boundary, facts.largest_delta_d))
    if not facts.within <= delta_v <= delta_d / _RATIO:
        delta_v = rounded(min(facts.within, delta_d / _RATIO))
    return [_delta_d(facts, options, delta_d), _delta_v(facts, options, delta_v, delta_d)]


def _delta_d(facts: FeatureFacts, options: Options, proposed: float) -> Proposal:
    now = options["delta_d"]
    needed = spread_needed(facts.classes, facts.dimensions)
    bound = "" if facts.classes <= 2 * facts.dimensions else "at least "
    reason = (
        f"with {facts.classes} classes in {facts.dimensions} dimensions L_margin = 0 needs centroids "
        f"{bound}{needed:.2f}·δ_d from their mean: {now * needed:.3g} for {now:g}. They are {facts.spread:.3g} away, "
        f"which allows δ_d up to {facts.largest_delta_d:.3g}; half of the classes are {facts.boundary:.3g} or more "
        "inside their boundaries"
    )
    at_margin = int(facts.separation.at_margin.sum())
    if now > facts.largest_delta_d:
        reason += f". δ_d = {now:g} cannot be met unless the features grow"
    elif at_margin == facts.classes:
        reason += f". All centroids are {now:g} inside already, so L_margin does nothing; more asks for wider margins"
        more = (rounded(facts.boundary), rounded(1.5 * facts.boundary))
        return Proposal(f"{_OURS}.delta_d", proposed, now, reason, (now, *more))
    return Proposal(f"{_OURS}.delta_d", proposed, now, reason, _around(proposed))


def _delta_v(facts: FeatureFacts, options: Options, proposed: float, delta_d: float) -> Proposal:
    now = options["delta_v"]
    inside = float((facts.separation.compact[facts.separation.classes]).mean())
    reason = (
        f"at zero loss classes are at most 2δ_v = {2 * proposed:.3g} wide (Prop. 5.1), margins at least δ_d − δ_v = "
        f"{delta_d - proposed:.3g} (5.2.1), and with δ_d > 2δ_v classes lie apart (5.2.2); δ_d ≥ 3δ_v makes the "
        f"margin no less than the width. Half of the samples are within {facts.within:.3g} of their centroid, "
        f"{100 * inside:.0f} % within {now:g}"
    )
    if facts.displacement is not None:
        covers = "less" if facts.displacement < delta_d - proposed else "not less"
        reason += (
            f". The training noise moves 95 % of the features by less than {facts.displacement:.3g}, {covers} than "
            "that margin"
        )
    largest = rounded(min(delta_d / 2.1, 2 * proposed))
    return Proposal(f"{_OURS}.delta_v", proposed, now, reason, (rounded(proposed / 2), proposed, largest))


def untrained_deltas(options: Options) -> list[Proposal]:
    """Say what is known of δ_d and δ_v before anything is trained: their ratio, not their scale."""
    delta_d, delta_v = options["delta_d"], options["delta_v"]
    wide = (
        "Prop. 5.2 asks for δ_d > 2δ_v, and δ_d ≥ 3δ_v makes margins (δ_d − δ_v) no less than classes are wide (2δ_v)"
        f"; now δ_d/δ_v is {delta_d / delta_v:.3g}" if delta_v else "δ_v = 0 draws every class onto one point"
    )  # fmt: skip
    scale = (
        "the scale is that of the features, which are not trained yet: train once, then ask again with the run's "
        "folder. The paper has 5 and 3 with δ_v = 0.5"
    )
    fixed = delta_v > 0 and delta_d <= 2 * delta_v
    return [
        Proposal(f"{_OURS}.delta_d", None, delta_d, scale, _around(delta_d) if delta_d else ()),
        Proposal(
            f"{_OURS}.delta_v", rounded(delta_d / _RATIO) if fixed and delta_d else None, delta_v, wide,
            tuple(rounded(delta_d / ratio) for ratio in (10, 5, 3)) if delta_d else (),
        ),
    ]  # fmt: skip


def noise_proposal(
    noise: SensorNoise | None, now: str, std: float | None, obstacle: Obstacle | None = None
) -> Proposal:  # fmt: skip
    """Propose the level of the training noise from that of the sensor.

    Args:
        noise: as measured; None where it was not.
        now: the present training noise.
        std: of that, where it has one in the units of the inputs.
        obstacle: why no level can be proposed, if so.
    """
    theory = (
        "theory names no best level: more noise in training is more robustness to strong noise and, sooner or later, "
        "less accuracy without"
    )
    if noise is None:
        return Proposal(
            "noise.train", None, now, f"{theory}. The sensor was not measured: give --repeats or --flat",
            () if not std else tuple(f"gaussian:{rounded(std * factor):g}" for factor in (0.5, 1, 2)),
        )  # fmt: skip
    if obstacle is not None:
        return Proposal("noise.train", None, now, obstacle.reason)
    if noise.std == 0:
        return Proposal("noise.train", None, now, f"no noise was found {noise.how}; {theory}")
    level = rounded(noise.std)
    told = f"the sensor's noise is {level:g} ({noise.how})"
    covered = std is not None and std >= noise.std
    if std:
        told += f"; the present {std:g} is {std / noise.std:.2g} times that" + (
            ", which covers it" if covered else ", so that training does not see what the sensor does"
        )
    least, most = min(noise.channels), max(noise.channels)
    if most > 2 * least:
        told += f"; {noise.word}s differ, from {least:.2g} to {most:.2g}, and one level for all is a compromise"
    told += (
        f". Recordings that hold this noise already have {math.sqrt(2):.2g} times it after as much is added; {theory}"
    )
    return Proposal("noise.train", now if covered else f"gaussian:{level:g}", now, told, _gaussians(level))


def perturbations_proposal(noise: SensorNoise, now: Sequence[str]) -> Proposal:
    """Propose what to measure under: what is there where it has noise like the sensor's, else that and more of it.

    Args:
        noise: as measured, above 0.
        now: the recipe's perturbations; empty for none.
    """
    key, present = "evaluate.perturbations", tuple(now) or None
    stds = [std for std in map(std_of, map(view, now)) if std]
    close = [std for std in stds if 1 / _CLOSE <= std / noise.std <= _CLOSE]
    if close:
        return Proposal(key, present, present, f"{close[0]:.2g} is there, which is near the sensor's {noise.std:.2g}")
    told = f"so that settings are chosen by what the sensor does: its noise, {noise.std:.2g}, and more"
    if stds:
        told += f"; those that are there go from {min(stds):.2g} to {max(stds):.2g}, none near it"
    return Proposal(key, ("clean", *_gaussians(rounded(noise.std))), present, told)


def std_of(noise: View) -> float | None:
    """Return the standard deviation, in the units of the inputs, of noise that is alike everywhere; None of others."""
    if isinstance(noise, GaussianNoise | LaplaceNoise):
        return noise.std
    return noise.amplitude / math.sqrt(3) if isinstance(noise, UniformNoise) else None


def momentum_proposal(
    options: Options, rarest_share: float, batch_size: int, steps_per_epoch: int, rms: float | None, delta_v: float
) -> Proposal:
    """Propose γ of §4.4: large enough that a centroid is steady, small enough that it is not of long ago.

    A batch mean of n samples, averaged with weights (1 − γ)γ^k, has the variance of (1 + γ)/(1 − γ) · n samples.

    Args:
        options: of the method.
        rarest_share: of the rarest class in the training set, in (0, 1].
        batch_size: of training.
        steps_per_epoch: of training.
        rms: root mean square distance of a sample to its centroid; None where it is not known.
        delta_v: that it is to go with.
    """
    key, now = f"{_OURS}.momentum", options["momentum"]
    present = 1 - (1 - rarest_share) ** batch_size
    n = batch_size * rarest_share / present
    told = f"a batch of {batch_size} has {n:.2g} samples of the rarest class" + (
        "" if present > 0.99 else f", when it has any, in {100 * present:.0f} % of batches"
    )
    if options["centroids"] == "naive":
        return Proposal(key, None, now, f"{told}; centroids = naive makes no use of it")
    if rms is None:
        return Proposal(
            key, None, now,
            f"{told}; γ = {now:g} makes the centroid as steady as the mean of {n * _gain(now):.0f}. Whether that is "
            "enough depends on how wide classes are: ask again with a run of this method",
        )  # fmt: skip
    error = {gamma: rms / math.sqrt(n * _gain(gamma)) for gamma in (now, *_MOMENTA)}
    enough = _STEADY * delta_v
    steady = [gamma for gamma in _MOMENTA if error[gamma] <= enough]
    value = now if error[now] <= enough else (steady or [_MOMENTA[-1]])[0]
    memory = 1 / (1 - value) / present / steps_per_epoch
    told += (
        f". A sample is {rms:.3g} from its centroid (rms), so with γ = {value:g} the centroid is off by "
        f"{error[value]:.2g}, {100 * error[value] / delta_v:.0f} % of δ_v, and remembers {memory:.2g} epochs"
    )
    if options["centroids"] == "partial":
        told += f". L_margin sees the centroid of the batch alone, which is off by {rms / math.sqrt(n):.2g}"
    if memory > 1:
        told += ". That is long: a larger batch would serve better"
    return Proposal(key, value, now, told)


def regularisation_proposal(facts: FeatureFacts, options: Options, *, own: bool = True) -> Proposal:
    """Say from which γ_reg on Eq. 11 holds the margin back; propose none for features of another method."""
    key, now = f"{_OURS}.gamma_reg", options["gamma_reg"]
    if facts.boundary <= 0 or facts.norm <= 0:
        return Proposal(key, None, now, "the features tell nothing yet")
    limit = options["beta"] * facts.boundary / facts.norm
    held = now >= limit
    told = (
        f"features made larger by a share s gain β·{facts.boundary:.3g}·s in L_margin and pay "
        f"γ_reg·{facts.norm:.3g}·s: regularisation holds margins back from {limit:.2g} on, so now it "
        f"{'does' if held else 'does not'}. What weight decay allows, theory does not say"
    )
    proposal = Proposal(key, rounded(limit / 100) if held else now, now, told)
    return proposal if own else _told_only(proposal)


def _told_only(proposal: Proposal) -> Proposal:
    return replace(proposal, value=None, sweep=())


def _gaussians(level: float) -> tuple[str, ...]:
    return tuple(f"gaussian:{rounded(level * factor):g}" for factor in _LEVELS)


def _gain(momentum: float) -> float:
    return (1 + momentum) / (1 - momentum)


def _around(value: float) -> tuple[float, ...]:
    return tuple(rounded(value * factor) for factor in (0.7, 1, 1.5))
