"""Trained weights for a network that is built anew, with a last layer of its own where the classes are others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.models.classifier import FeatureClassifier
from noiseproof.models.files import ModelDescription, describes_itself, network_options, read_description
from noiseproof.models.foreign import misfit, read_weights

__all__ = ["TrainedWeights", "file_digest"]

_PARTS = ("normalize.", "backbone.", "head.")  # of a FeatureClassifier


@dataclass(frozen=True)
class TrainedWeights:
    """The content of a file of weights.

    Attributes:
        path: the file: a ``.safetensors`` file, of noiseproof or not, or a state dict that ``torch.save`` wrote.
        sha256: of the file's bytes, as hexadecimal.
        weights: tensors by the names they have in the file.
        description: the model that the file says it holds; None where it does not say.
    """

    path: Path
    sha256: str
    weights: Mapping[str, Tensor]
    description: ModelDescription | None

    @classmethod
    def read(cls, path: Path) -> TrainedWeights:
        """Read a file of weights. Nothing in it is run.

        Raises:
            NoiseproofError: it cannot be read, or a weight is not finite.
        """
        weights = read_weights(path)
        broken = [name for name, value in weights.items() if not bool(value.isfinite().all())]
        if broken:
            raise NoiseproofError(f"{broken[0]!r} in {path} holds values that are not finite")
        described = path.suffix == ".safetensors" and describes_itself(path)
        return cls(path, file_digest(path), weights, read_description(path) if described else None)

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and std of the first layer that the weights were trained behind, per channel or one for all.

        They are 0 and 1 for a :class:`FeatureClassifier` without such a layer. None where the file does not tell:
        another library's network, whose inputs were normalised elsewhere.
        """
        if self.description is not None:
            return self.description.mean, self.description.std
        if not self._of_a_feature_classifier:
            return None
        if "normalize.mean" not in self.weights or "normalize.std" not in self.weights:
            return (0.0,), (1.0,)
        mean, std = (self.weights[f"normalize.{name}"].reshape(-1).tolist() for name in ("mean", "std"))
        return tuple(mean), tuple(std)

    def require_same_network(self, wanted: ModelDescription) -> None:
        """Raise an :class:`InvalidArgumentError` that names both sides, where the file says it holds another network.

        Options that only choose pretrained weights make no difference.
        """
        if self.description is None:
            return
        there, here = _identity(self.description), _identity(wanted)
        differences = [f"{key} is {there[key]!r} there, {here[key]!r} here" for key in here if there[key] != here[key]]
        if differences:
            raise InvalidArgumentError(
                f"{self.path} holds the weights of another model ({'; '.join(differences)}): give the recipe the same"
            )

    def load_into(self, model: FeatureClassifier, wanted: ModelDescription) -> bool:
        """Give ``model``, built by ``wanted``, these weights; its first layer is left as it is.

        Returns:
            Whether the last layer is that of the file. It stays as it was built where the number of classes differs.

        Raises:
            InvalidArgumentError: the weights belong to another network, or to features of another width.
        """
        given = self._named_as_in(model, wanted)
        head = given.get("head.weight")
        if head is not None and head.ndim == 2 and head.shape[1] != model.embedding_dim:
            raise InvalidArgumentError(
                f"the features of the model in {self.path} have width {head.shape[1]}, those of the recipe's model "
                f"{model.embedding_dim}: give both the same model.embedding_dim"
            )
        kept = head is not None and head.shape[:1] == model.head.weight.shape[:1]
        parts = ("backbone.", "head.") if kept else ("backbone.",)
        taken = {name: value for name, value in given.items() if name.startswith(parts)}
        expected = {name: value for name, value in model.state_dict().items() if name.startswith(parts)}
        if reason := misfit(expected, taken):
            raise InvalidArgumentError(f"the weights in {self.path} do not fit {wanted.name!r}: {reason}")
        model.load_state_dict(taken, strict=False)
        return kept

    @property
    def _of_a_feature_classifier(self) -> bool:
        return "head.weight" in self.weights and all(name.startswith(_PARTS) for name in self.weights)

    def _named_as_in(self, model: FeatureClassifier, wanted: ModelDescription) -> dict[str, Tensor]:
        """The weights by the names that ``model`` has for them, also those of a library's undivided network."""
        if self._of_a_feature_classifier:
            return dict(self.weights)
        backbone = model.backbone.state_dict()
        if wanted.embedding_dim is not None and any(f"0.{name}" in backbone for name in self.weights):
            raise InvalidArgumentError(
                f"{self.path} holds the weights of {wanted.name!r} with the features it comes with, but "
                f"model.embedding_dim = {wanted.embedding_dim} puts others behind them: set model.embedding_dim=null"
            )
        heads = {name.rpartition(".")[0] for name in self.weights if name not in backbone}
        if len(heads) > 1:
            reason = misfit(backbone, self.weights)
            raise InvalidArgumentError(f"the weights in {self.path} do not fit {wanted.name!r}: {reason}")
        last = f"{heads.pop()}." if heads else ""
        return {
            f"backbone.{name}" if name in backbone else f"head.{name.removeprefix(last)}": value
            for name, value in self.weights.items()
        }


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes as hexadecimal, as ``sha256sum`` gives it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(description: ModelDescription) -> dict[str, Any]:
    """What makes two networks the same, by the names that users give it."""
    own = "/" not in description.name and description.embedding_dim is None
    return {
        "model.name": description.name,
        "model.options": json.loads(json.dumps(network_options(description.options))),  # lists for tuples
        "model.embedding_dim": 128 if own else description.embedding_dim,
        "the number of channels": description.input_shape[0],
    }
