"""Whatever can be measured: a finished run, weights in a file, or a factory in somebody's code."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from noiseproof.data import ArrayDataset, LabelledDataset, SourceOptions, load_test_set
from noiseproof.data.dataset import thinned
from noiseproof.errors import DataError, InvalidArgumentError, RunFolderError
from noiseproof.evaluation.scales import channel_deviations, foreign_inputs, normalisation_of
from noiseproof.models import FeatureClassifier, Normalize
from noiseproof.models.files import ModelDescription, describes_itself, load_model, read_description
from noiseproof.models.foreign import call_factory, load_weights
from noiseproof.scaling import Scaling
from noiseproof.training import Run
from noiseproof.training.folder import inner_runs

__all__ = ["Target", "load_target", "run_at"]

_LOOKED_AT = 256  # samples, to tell whether they are of the size that a model was trained on


@dataclass(frozen=True)
class Target:
    """A model and the samples it is measured on.

    Attributes:
        title: what tables call it.
        place: the folder, file or text that it came from.
        model: takes inputs as ``test`` has them, images in [0, 1].
        test: the samples, in the units of ``scaling``.
        caveat: what tables have to say of how the model came about; empty for nothing.
        run: the run that it is, measured on its own test set; None for everything else.
        scaling: what inputs were brought to before noise and model see them; None where that is nothing.
    """

    title: str
    place: str
    model: nn.Module
    test: LabelledDataset
    caveat: str = ""
    run: Run | None = None
    scaling: Scaling | None = None

    def raw_model(self) -> nn.Module:
        """Return the model for inputs as they are, before ``scaling``; the weights are shared."""
        if isinstance(self.model, FeatureClassifier):
            return self.model.for_raw_inputs(self.scaling)
        return self.model if self.scaling is None else nn.Sequential(_layer(self.scaling), self.model)


def run_at(target: str) -> Run | None:
    """Return the run that ``target``, its folder or its file of weights, belongs to; None if it is none.

    Raises:
        RunFolderError: a folder that holds no finished run, or several.
    """
    path = Path(target)
    if path.is_file():
        beside = path.name == "model.safetensors" and (path.parent / "recipe.yaml").is_file()
        return Run(path.parent) if beside else None
    if not path.is_dir():
        return None
    if not (path / "recipe.yaml").is_file() and (inner := inner_runs(path)):
        raise RunFolderError(f"{path} holds several runs; name one, such as {inner[0]}")
    return Run(path)


def load_target(
    target: str,
    *,
    model: str | None = None,
    data: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: tuple[int, int] | None = None,
    beside: Target | None = None,
) -> Target:
    """Load a model and what it is measured on.

    Args:
        target: a run folder; a ``.safetensors`` file or a state dict; or ``package.module:factory``, which runs that
            code.
        model: whose weights a file holds, such as ``torchvision/resnet18``, unless it says so itself.
        data: a data source, whose own test set is taken, or all of it if it has none; None for the test set of a run.
            For a run, the source that it was trained on means its own test set, too.
        mean: what a model that is no run expects to be subtracted per channel; None, with ``std``, if it takes [0, 1].
        std: what it expects to be divided by.
        image_size: (height, width) that pictures on disk are resized to.
        beside: another model, whose samples and units are taken in place of ``data``, so that both see the same.

    Raises:
        RunFolderError: a folder that holds no finished run, or nothing at all at that place.
        InvalidArgumentError: an argument is missing, or says what a run says itself.
        DataError: data with other classes than the model's.
        NoiseproofError: a file that cannot be read.
    """
    run = run_at(target)
    if run is not None:
        if model is not None or mean is not None or std is not None:
            raise InvalidArgumentError(
                f"the run {target} says itself what its model is: leave out model, mean and std"
            )
        return _run(run, target, data, image_size, beside)
    if (mean is None) != (std is None):
        raise InvalidArgumentError("mean and std go together: give both or neither")
    path = Path(target)
    if not path.is_file() and ":" not in target:
        raise RunFolderError(f"{target} is no run folder, no file, and not of the form package.module:factory")
    if beside is None and data is None:
        raise InvalidArgumentError(
            f"{target} is no run folder, so it has no test set: name one with --data, as digits"
        )
    samples = _samples(data, image_size, beside)
    if mean is not None and len(samples.input_shape) == 3 and max(mean, default=0) > 1:
        raise InvalidArgumentError(
            f"pictures are in [0, 1] here, so a mean of {max(mean):g} is too much: divide mean and std by 255"
        )
    if path.suffix == ".safetensors" and path.is_file() and describes_itself(path):
        samples = _with_features_of(read_description(path), samples)
    network, scaling = _network(target, path, model, samples)
    if mean is not None and std is not None:
        network = nn.Sequential(Normalize(mean, std), network)
    title = path.name if path.is_file() else target
    return _measured(Target(title, target, network, samples, scaling=scaling), beside)


def _run(run: Run, place: str, data: str | None, image_size: tuple[int, int] | None, beside: Target | None) -> Target:
    recipe = run.recipe
    if beside is None and data in (None, recipe.data.source):
        if image_size not in (None, recipe.data.image_size):
            raise InvalidArgumentError(f"the run {place} brings its pictures to {recipe.data.image_size} itself")
        return Target(run.name, place, run.model(), run.data().test, recipe.caveat, run, run.scaling)
    samples = _samples(data, image_size, beside, recipe.data.group)
    description = read_description(run.folder / "model.safetensors")
    samples = _with_features_of(description, samples)
    _check_classes(place, description.class_names, samples)
    return _measured(Target(run.name, place, run.model(), samples, recipe.caveat, scaling=run.scaling), beside)


def _samples(
    data: str | None, image_size: tuple[int, int] | None, beside: Target | None, group: str | None = None
) -> LabelledDataset:
    if beside is not None:
        return beside.test
    return load_test_set(data or "", SourceOptions(image_size=image_size, group=group))


def _with_features_of(description: ModelDescription, samples: LabelledDataset) -> LabelledDataset:
    """The samples with the columns that the model takes, in its order, where both have names."""
    if description.feature_names is None or not isinstance(samples, ArrayDataset):
        return samples
    return samples.with_features(description.feature_names)


def _network(target: str, path: Path, name: str | None, test: LabelledDataset) -> tuple[nn.Module, Scaling | None]:
    """The model, and what brings inputs to the units that it takes."""
    if not path.is_file():
        if name is not None:
            raise InvalidArgumentError(f"{target} is code that makes a model: leave out model, {name!r}")
        return call_factory(target), None
    if path.suffix == ".safetensors" and describes_itself(path):
        description = read_description(path)
        if name not in (None, description.name):
            raise InvalidArgumentError(f"{path} holds the weights of {description.name!r}, not of {name!r}")
        _check_classes(str(path), description.class_names, test)
        return load_model(path), description.scaling
    if name is None:
        raise InvalidArgumentError(
            f"{path} does not say whose weights it holds: name the network, as in --model torchvision/resnet18"
        )
    return load_weights(path, name, test.num_classes, test.input_shape[0]), None


def _measured(found: Target, beside: Target | None) -> Target:
    """``found`` in the units that it is measured in: those of ``beside``, else its own, for samples as they are."""
    if beside is None or beside.scaling is None:
        _tell_of_foreign_inputs(found)
    if beside is None:
        scaling = found.scaling
        return found if scaling is None else replace(found, test=found.test.standardised(scaling))
    if beside.scaling == found.scaling:
        return found
    raw = found.raw_model()
    model = raw if beside.scaling is None else nn.Sequential(_layer(beside.scaling.inverse()), raw)
    return replace(found, model=model, scaling=beside.scaling)


def _layer(scaling: Scaling) -> Normalize:
    return Normalize(scaling.mean, scaling.std)


def _check_classes(place: str, known: tuple[str, ...], test: LabelledDataset) -> None:
    """Raise where the data names other classes than the model; data without names counts them from 0."""
    given = test.class_names
    unnamed = all(name == str(number) for number, name in enumerate(given)) and len(given) <= len(known)
    if given != known and not unnamed:
        raise DataError(
            f"the classes of {place} are {_listed(known)}, those of the data {_listed(given)}, in this order"
        )


def _tell_of_foreign_inputs(found: Target) -> None:
    """Warn where vectors or series, as they are, are of another size than those that a model was trained on."""
    samples, layer = found.test, normalisation_of(found.model, found.scaling)
    if len(samples.input_shape) == 3 or layer is None:
        return
    some = thinned(samples, _LOOKED_AT)
    inputs = torch.stack([some[index][0] for index in range(len(some))])
    if layer.mean.numel() in (1, inputs.shape[1]):
        told = foreign_inputs(layer, channel_deviations(layer, inputs), len(some))
        if told is not None:
            warnings.warn(told, stacklevel=2)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" … ({len(names)})" if len(names) > 5 else "")
