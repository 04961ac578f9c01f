"""Classifiers that were made elsewhere: weights for a named architecture, or a factory in somebody's code."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.models.build import build_model, library_model

__all__ = ["call_factory", "load_weights"]

_WRAPPERS = ("state_dict", "model", "model_state_dict")  # where training scripts put the weights among other things


def call_factory(text: str) -> nn.Module:
    """Import ``package.module`` and call ``factory``, given as ``package.module:factory``.

    This runs code: that of the module, found as Python finds it or in the working directory.

    Raises:
        InvalidArgumentError: it cannot be imported, is not callable without arguments, or gives no ``nn.Module``.
    """
    module_name, _, name = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgumentError(f"cannot import {text!r}: {error}") from error
    finally:
        sys.path.pop(0)
    if isinstance(factory, nn.Module):
        return factory
    try:
        model = factory()
    except TypeError as error:
        raise InvalidArgumentError(f"cannot call {text}(): {error}") from error
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(f"{text}() must give an nn.Module, got {type(model).__name__}")
    return model


def load_weights(path: Path, name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Build the network ``name`` and give it the weights in ``path``.

    Args:
        path: a ``.safetensors`` file, or a state dict that ``torch.save`` wrote. Nothing in it is run.
        name: as for :func:`noiseproof.build_model`. For ``torchvision/NAME`` and ``timm/NAME`` the weights are those
            of the library's own model, else those of noiseproof's.
        num_classes: of the weights.
        in_channels: of the inputs.

    Raises:
        UnknownNameError: no such network.
        NoiseproofError: the file cannot be read, or its weights belong to another network.
    """
    weights = _read(path)
    if "/" in name:
        network = library_model(name, num_classes, in_channels)
    else:
        width = next((value.shape[1] for key, value in weights.items() if key == "head.weight"), None)
        network = build_model(name, num_classes, width, in_channels=in_channels)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split()[:40])
        raise NoiseproofError(
            f"the weights in {path} do not fit {name!r} with {num_classes} classes: {reason} …"
        ) from error
    return network


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, weights_only=True, map_location="cpu")
        )
    except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()[:25])
        raise NoiseproofError(f"cannot read weights from {path}: {reason}") from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise NoiseproofError(f"{path} holds no state dict: names with tensors are expected")
    return {str(key).removeprefix("module."): value for key, value in content.items()}
