"""Looking at a run, another model or a recipe, and at its data and sensor, and putting the advice together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from noiseproof.data import LabelledDataset
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.methods import METHODS
from noiseproof.models import FeatureClassifier
from noiseproof.perturbations import perturbation
from noiseproof.progress import ProgressReporter
from noiseproof.scaling import Scaling
from noiseproof.suggesting.advice import Advice, Proposal
from noiseproof.suggesting.features import FeatureFacts, feature_facts
from noiseproof.suggesting.rules import (
    delta_proposals,
    momentum_proposal,
    noise_proposal,
    perturbations_proposal,
    regularisation_proposal,
    std_of,
    untrained_deltas,
)
from noiseproof.suggesting.scales import Obstacle, obstacle_to, scale_of, scale_of_dataset, shares_of
from noiseproof.suggesting.sensor import SensorNoise, noise_of_dataset, noise_of_repeats, read_repeats
from noiseproof.targets import Target, load_target, run_at
from noiseproof.training import Recipe, load_recipe, recipe_names
from noiseproof.training.batches import TrainingBatches
from noiseproof.training.run import load_data

__all__ = ["suggest"]

_METHOD = "discriminative"
_SHOWN = 8


@dataclass(frozen=True)
class _Sensor:
    """Measured noise, by channel its share of the data's std, and why none is proposed from it, if so."""

    noise: SensorNoise
    shares: tuple[float | None, ...]
    obstacle: Obstacle | None


def suggest(
    target: str | Path,
    *,
    data: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    repeats: str | Path | Tensor | None = None,
    flat: bool = False,
    limit: int = 2000,
    model: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: tuple[int, int] | None = None,
    progress: ProgressReporter | None = None,
) -> Advice:
    """Propose δ_v, δ_d, the level of the training noise, and the momentum, with the reasons.

    Theory fixes the ratio of δ_d and δ_v and what follows from it (Prop. 5.1, 5.2); their scale is that of the
    features, which T_ν of Prop. 5.3 can change, so it is taken from a trained model.

    Args:
        target: a run folder, a recipe (a name, or a YAML file), or what :func:`noiseproof.targets.load_target` takes.
        data: in place of the run's or the recipe's; needed for other models. A run is otherwise measured on its
            training samples.
        overrides: changes of a recipe by dotted path.
        repeats: repeated recordings of still scenes: what :func:`noiseproof.suggesting.read_repeats` reads, or a
            tensor (R, N, C, ...).
        flat: whether to estimate the sensor's noise from the data's own pictures or series.
        limit: how many samples are looked at, evenly spread.
        model: as for :func:`noiseproof.targets.load_target`, like the three that follow.
        mean: see there.
        std: see there.
        image_size: see there.
        progress: where to report; None for nowhere.

    Raises:
        InvalidArgumentError, RecipeError, RunFolderError, DataError: as loading raises; vectors with ``flat``; both
            ``repeats`` and ``flat``; ``overrides`` for what is no recipe.
        ModelSplitError: a model whose features cannot be told.
    """
    if repeats is not None and flat:
        raise InvalidArgumentError("give repeats or flat, not both: repeats are the better of the two")
    name = str(target)
    about_model = {"model": model, "mean": mean, "std": std, "image_size": image_size}
    if not Path(name).is_dir() and (name in recipe_names() or name.endswith((".yaml", ".yml"))):
        given = [option for option, value in about_model.items() if value is not None]
        if given:
            raise InvalidArgumentError(f"{name} is a recipe, which says itself what its {given[0]} is")
        return _of_recipe(name, data, overrides, repeats, flat, limit)
    if overrides:
        raise InvalidArgumentError(f"{name} is no recipe, so there is nothing to change in it")
    loaded = load_target(name, data=data, **about_model)  # type: ignore[arg-type]
    return _of_target(loaded, data is None, repeats, flat, limit, progress)


def _of_recipe(
    name: str, data: str | None, overrides: Mapping[str, Any] | None, repeats: str | Path | Tensor | None, flat: bool,
    limit: int,
) -> Advice:  # fmt: skip
    recipe = load_recipe(name, {**(overrides or {}), **({} if data is None else {"data.source": data})})
    splits = load_data(recipe)
    train = splits.train
    sensor = _sensor(repeats, flat, train, splits.scaling, recipe.data.image_size, limit)
    options = recipe.options(_METHOD).model_dump()
    return Advice(
        f"Advice for the recipe {recipe.name}, untrained",
        (*_data_facts(train, splits.scaling), *_sensor_facts(sensor)),
        (
            *untrained_deltas(options),
            *_noise_proposals(sensor, recipe),
            _momentum(recipe, train, options, None, options["delta_v"]),
        ),
        (*_remedies(sensor), "Nothing was trained or measured on features; a run, even a short one, tells more."),
    )


def _of_target(
    loaded: Target, own_data: bool, repeats: str | Path | Tensor | None, flat: bool, limit: int,
    progress: ProgressReporter | None,
) -> Advice:  # fmt: skip
    run = loaded.run or run_at(loaded.place)
    recipe = None if run is None else run.recipe
    train = run.data().train if run is not None and own_data else loaded.test
    network = loaded.model
    split = network if isinstance(network, FeatureClassifier) else FeatureClassifier.from_module(network)
    method = METHODS[_METHOD]
    options = (method.Options() if recipe is None else recipe.options(_METHOD)).model_dump()
    noise = None if recipe is None else perturbation(recipe.noise.train)
    image_size = None if recipe is None else recipe.data.image_size
    sensor = _sensor(repeats, flat, train, loaded.scaling, image_size, limit)
    facts = feature_facts(split, train, weights=options, noise=noise, limit=limit, progress=progress)
    own = recipe is None or recipe.method == _METHOD
    deltas = delta_proposals(facts, options, own=own)
    proposals = [*deltas, regularisation_proposal(facts, options, own=own), *_noise_proposals(sensor, recipe)]
    if recipe is not None:
        delta_v = deltas[1].value if isinstance(deltas[1].value, float) else options["delta_v"]
        proposals.append(_momentum(recipe, train, options, facts.within_rms if own else None, delta_v))
    where = "training samples" if run is not None and own_data else "samples"
    return Advice(
        f"Advice for {loaded.title}",
        (*_data_facts(train, loaded.scaling, where), *_feature_facts(facts), *_sensor_facts(sensor)),
        tuple(proposals),
        (*_remedies(sensor), _scale_note(None if own or recipe is None else recipe.method)),
    )


def _scale_note(other: str | None) -> str:
    """What the scale of the features means for δ_d and δ_v; ``other`` is the method that made them, if not ours."""
    if other is None:
        return (
            "δ_d and δ_v are at the scale of these features: train with them, then ask again. Whether they serve "
            "better than the present ones, only training tells."
        )
    return (
        f"This run was trained by the method {other!r}, whose features have another scale: what is measured on them "
        f"is told, but no δ is proposed from it. Train with --method {_METHOD}, then ask again."
    )


def _sensor(
    repeats: str | Path | Tensor | None, flat: bool, data: LabelledDataset, scaling: Scaling | None,
    image_size: tuple[int, int] | None, limit: int,
) -> _Sensor | None:  # fmt: skip
    if repeats is None and not flat:
        return None
    recordings = None
    if repeats is None:
        noise = noise_of_dataset(data, limit)
    else:
        there = repeats if isinstance(repeats, Tensor) else read_repeats(str(repeats), data.input_shape, image_size)
        if there.ndim < 3 or there.shape[2] != data.input_shape[0]:
            shape = ", ".join(map(str, data.input_shape))
            raise DataError(f"repeats must have the shape (R, N, {shape}), got {tuple(there.shape)}")
        if scaling is not None:
            there = scaling.apply(there.flatten(0, 1)).unflatten(0, there.shape[:2])
        noise = noise_of_repeats(there)
        recordings = scale_of(there.flatten(0, 1))
    scale = scale_of_dataset(data, limit)
    obstacle = obstacle_to(noise, scale, recordings, fixed=len(data.input_shape) == 3)
    return _Sensor(noise, shares_of(noise, scale), obstacle)


def _noise_proposals(sensor: _Sensor | None, recipe: Recipe | None) -> list[Proposal]:
    """What to train with and, where the sensor's noise is known, what to measure under."""
    now = "" if recipe is None else recipe.noise.train
    std = None if recipe is None else std_of(perturbation(now))
    if sensor is None:
        return [] if recipe is None else [noise_proposal(None, now, std)]
    proposals = [noise_proposal(sensor.noise, now, std, sensor.obstacle)]
    if sensor.obstacle is None and sensor.noise.std > 0:
        proposals.append(perturbations_proposal(sensor.noise, () if recipe is None else recipe.evaluate.perturbations))
    return proposals


def _remedies(sensor: _Sensor | None) -> list[str]:
    return [] if sensor is None or sensor.obstacle is None else [sensor.obstacle.remedy]


def _momentum(
    recipe: Recipe, train: LabelledDataset, options: Mapping[str, Any], rms: float | None, delta_v: float
) -> Any:
    counts = train.labels.bincount(minlength=train.num_classes)
    rarest = float(counts[counts > 0].min()) / len(train)
    batch_size = min(recipe.train.batch_size, len(train))
    steps = TrainingBatches.count(len(train), batch_size)
    return momentum_proposal(options, rarest, batch_size, steps, rms, delta_v)


def _data_facts(
    train: LabelledDataset, scaling: Scaling | None, what: str = "training samples"
) -> list[tuple[str, str]]:
    shape = "×".join(map(str, train.input_shape))
    units = "" if scaling is None else "; standardised, so noise is in units of each one's standard deviation"
    return [("Data", f"{len(train):,} {what} of {shape}, {train.num_classes} classes{units}")]


def _feature_facts(facts: FeatureFacts) -> list[tuple[str, str]]:
    told = dict(facts.separation.summary())
    pulls = ", ".join(f"{name} {value:+.2g}" for name, value in facts.pulls.items())
    pulls += " per unit of growth; what is below 0 spreads features, what is above draws them together"
    return [
        ("Looked at", f"{facts.samples:,} samples in {facts.dimensions} dimensions"),
        ("Centroids, from their mean (rms)", f"{facts.spread:.3g}"),
        ("Samples, from their centroid (median, rms)", f"{facts.within:.3g}, {facts.within_rms:.3g}"),
        *((name, told[name]) for name in ("Dispersion by class", "Margin by class")),
        ("Distance between classes, nearest samples", told["Distance between classes, nearest samples"]),
        *((name, told[name]) for name in ("Proposition 5.1", "Proposition 5.2.1", "Proposition 5.2.2")),
        ("Parts of the loss, if all features were made larger", pulls),
    ]


def _sensor_facts(sensor: _Sensor | None) -> list[tuple[str, str]]:
    """The noise of each channel; of many, those where it is the greatest share of what the data vary by."""
    if sensor is None:
        return []
    noise, shares = sensor.noise, sensor.shares
    count = len(noise.channels)
    several = count > 1
    order = list(range(count))
    if count > _SHOWN:
        order.sort(key=lambda number: (shares[number] or 0, noise.channels[number]), reverse=True)
    told = ", ".join(_channel(sensor, number, several) for number in order[:_SHOWN])
    rest = [noise.channels[number] for number in order[_SHOWN:]]
    if rest:
        others = f"the others {min(rest):.2g} to {max(rest):.2g}"
        told = f"the noisiest of {count}, beside what the data vary by: {told}; {others}"
    counted = ", counted from 0" if several else ""
    return [
        (f"Noise by {noise.word}{counted}, {noise.how} (quartiles)", told),
        *(("", note) for note in noise.notes),
    ]


def _channel(sensor: _Sensor, number: int, several: bool) -> str:
    noise, share = sensor.noise, sensor.shares[number]
    told = f"{noise.channels[number]:.2g} ({noise.low[number]:.2g} to {noise.high[number]:.2g})"
    beside = "where the data do not vary" if share is None else f"{share:.2g} of the data's std"
    return f"{number}: {told} = {beside}" if several else f"{told} = {beside}"
