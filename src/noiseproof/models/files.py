"""A trained model as one safetensors file that says itself how to build the network it holds the weights of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.files import write_atomically
from noiseproof.models.build import build_model
from noiseproof.models.classifier import FeatureClassifier
from noiseproof.scaling import Scaling

__all__ = [
    "ModelDescription",
    "describes_itself",
    "load_model",
    "network_options",
    "read_description",
    "save_buffers",
    "save_model",
]

_KEY = "noiseproof.model"
_OF_THE_DATA = ("name", "num_classes", "embedding_dim", "in_channels", "mean", "std")
_PRETRAINED = ("weights", "pretrained")  # what torchvision and timm call the option


@dataclass(frozen=True)
class ModelDescription:
    """What :func:`noiseproof.build_model` was called with, and what the model's classes and inputs are.

    Attributes:
        name: the model's name.
        embedding_dim: d, or None for the network's own.
        options: the network's own options.
        class_names: one per class, in the order of the logits.
        input_shape: the shape of one input, (C, H, W), (F,) or (C, T).
        mean: per-channel means of the first layer.
        std: per-channel standard deviations.
        feature_names: of the components of vectors, in the order that the model takes; None where they have none.
        scaling: what inputs are brought to before the model, and noise, see them; None where that is nothing.
    """

    name: str
    embedding_dim: int | None
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)
    feature_names: tuple[str, ...] | None = None
    scaling: Scaling | None = None

    @property
    def first_layer(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What inputs as they are have subtracted and are divided by, per channel: ``scaling``, then mean and std."""
        if self.scaling is None:
            return self.mean, self.std
        joined = self.scaling.then(self.mean, self.std)
        return joined.mean, joined.std

    def build(self, *, pretrained: bool = True) -> FeatureClassifier:
        """Build the model with fresh weights, random ones without ``pretrained`` even if the options ask for others.

        Raises:
            NoiseproofError: pretrained weights cannot be fetched; and what :func:`noiseproof.build_model` raises.
        """
        given = [key for key in self.options if key in _OF_THE_DATA]
        if given:
            raise InvalidArgumentError(f"model.options.{given[0]} is given by the data or by the recipe: leave it out")
        options = self.options if pretrained else network_options(self.options)
        return build_model(
            self.name,
            len(self.class_names),
            self.embedding_dim,
            in_channels=self.input_shape[0],
            mean=self.mean,
            std=self.std,
            **options,
        )


def network_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a network without those that choose pretrained weights for it."""
    return {key: value for key, value in options.items() if key not in _PRETRAINED}


def save_model(path: Path, model: FeatureClassifier, description: ModelDescription) -> None:
    """Write the weights of ``model`` and its description to ``path``, whole or not at all."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    fields = asdict(description)
    for later in ("feature_names", "scaling"):
        if fields[later] is None:
            del fields[later]  # so that the file is that of the versions before it
    metadata = {_KEY: json.dumps(fields)}  # one key: the file's bytes depend on the order of several
    _write_whole(path, save(weights, metadata))


def save_buffers(path: Path, method: nn.Module) -> None:
    """Write what ``method`` holds beside its model to ``path``; nothing where there is none."""
    own = {name: tensor for name, tensor in method.state_dict().items() if not name.startswith("model.")}
    if own:
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in own.items()}
        _write_whole(path, save(kept))


def _write_whole(path: Path, content: bytes) -> None:
    """As an OSError that names the file, where the disk is full; the library's own writing hides the cause."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)


def read_description(path: Path) -> ModelDescription:
    """Read what the model in ``path`` is, without its weights.

    Raises:
        NoiseproofError: ``path`` is no model file of noiseproof.
    """
    metadata = _metadata(path)
    if _KEY not in metadata:
        raise NoiseproofError(f"{path} holds weights, but not which model they belong to")
    try:
        fields = json.loads(metadata[_KEY])
        description = TypeAdapter(ModelDescription).validate_python(fields)
        unknown = set(fields) - set(asdict(description))
        if unknown or not description.input_shape or not description.class_names:
            raise ValueError(f"unknown keys {sorted(unknown)}" if unknown else "it names no input shape or no classes")
        if description.scaling is not None and len(description.scaling.std) != description.input_shape[0]:
            raise ValueError("its scaling has another number of channels than its inputs")
        if description.feature_names is not None and (len(description.feature_names),) != description.input_shape:
            raise ValueError("it has names for another number of features than its inputs have")
        return description
    except (ValueError, TypeError, RecursionError) as error:
        wrong = (str(error).splitlines() or [type(error).__name__])[0]
        raise NoiseproofError(f"the description of the model in {path} cannot be read: {wrong}") from error


def describes_itself(path: Path) -> bool:
    """Whether ``path``, a safetensors file, says which model it holds the weights of.

    Raises:
        NoiseproofError: it is no safetensors file.
    """
    return _KEY in _metadata(path)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise NoiseproofError(f"cannot read the model file {path}: {error}") from error


def load_model(path: Path, device: torch.device | str = "cpu") -> FeatureClassifier:
    """Build the model that ``path`` describes, with its weights, in evaluation mode.

    It takes inputs in the units of the description's ``scaling``.

    Raises:
        NoiseproofError: ``path`` is no model file of noiseproof, or is damaged.
    """
    description = read_description(path)
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        model = description.build(pretrained=False)
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise NoiseproofError(f"the weights in {path} do not fit the model that it describes: {error}") from error
    return model.to(device).eval()
