"""A model with what is needed to ask it: its classes and the shape of its inputs, but none of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from noiseproof.errors import InvalidArgumentError
from noiseproof.models.files import ModelDescription, describes_itself, load_model, read_description
from noiseproof.scaling import Scaling
from noiseproof.targets import load_target, run_at
from noiseproof.training import Run

__all__ = ["TrainedModel", "load_trained"]


@dataclass(frozen=True)
class TrainedModel:
    """A model that can be asked.

    Attributes:
        title: what tables call it.
        place: the folder, file or text that it came from.
        model: takes inputs in the units of ``scaling``, images in [0, 1].
        class_names: one per class, in the order of the logits.
        input_shape: the shape of one input, (C, H, W), (F,) or (C, T).
        noise: the perturbation in its recipe, in the units of ``scaling``; None where that is not known.
        feature_names: of the components of vectors, in the order that the model takes; None where they have none.
        scaling: what inputs are brought to before noise and model see them; None where that is nothing.
    """

    title: str
    place: str
    model: nn.Module
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    noise: str | None = None
    feature_names: tuple[str, ...] | None = None
    scaling: Scaling | None = None


def load_trained(
    target: str | Path | Run,
    *,
    model: str | None = None,
    data: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: tuple[int, int] | None = None,
) -> TrainedModel:
    """Load a model to ask it. The data of a run is not needed, so it may lie on another machine.

    Args:
        target: a run or its folder; a ``.safetensors`` file of noiseproof; or whatever else
            :func:`noiseproof.targets.load_target` takes, with ``data``.
        model: whose weights a file holds, unless it says so itself.
        data: a data source whose classes and inputs are the model's; None for a target that names its own.
        mean: what a model that is no run expects to be subtracted per channel; None, with ``std``, if it takes [0, 1].
        std: what it expects to be divided by.
        image_size: (height, width) of the pictures in ``data``.

    Raises:
        RunFolderError: a folder that holds no finished run, or nothing at all at that place.
        InvalidArgumentError: an argument is missing, or says what a run says itself.
        NoiseproofError: a file that cannot be read.
    """
    place = str(target.folder) if isinstance(target, Run) else str(target)
    run, path = run_at(place), Path(place)
    settings = (model, data, mean, std, image_size)
    if run is not None and settings == (None,) * len(settings):
        description = read_description(run.folder / "model.safetensors")
        return _described(run.name, place, run.model(), description, run.recipe.noise.train)
    alone = (data, mean, std, image_size) == (None,) * 4
    if run is None and alone and path.is_file() and path.suffix == ".safetensors" and describes_itself(path):
        return _self_described(path, place, model)
    if run is None and data is None and (path.is_file() or ":" in place):
        raise InvalidArgumentError(
            f"{place} does not say which classes and inputs its model has: name data that does, as in "
            "--data folder:photos"
        )
    found = load_target(place, model=model, data=data, mean=mean, std=std, image_size=image_size)
    names = found.test.class_names if run is None else read_description(run.folder / "model.safetensors").class_names
    noise = None if run is None else run.recipe.noise.train
    return TrainedModel(
        found.title, place, found.model, names, found.test.input_shape, noise, found.test.feature_names, found.scaling
    )


def _self_described(path: Path, place: str, name: str | None) -> TrainedModel:
    description = read_description(path)
    if name not in (None, description.name):
        raise InvalidArgumentError(f"{path} holds the weights of {description.name!r}, not of {name!r}")
    return _described(path.name, place, load_model(path), description, None)


def _described(
    title: str, place: str, model: nn.Module, description: ModelDescription, noise: str | None
) -> TrainedModel:
    return TrainedModel(
        title,
        place,
        model,
        description.class_names,
        description.input_shape,
        noise,
        description.feature_names,
        description.scaling,
    )
