"""Classifiers that were made elsewhere: weights for a named architecture, or a factory in somebody's code."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.models.build import build_model, library_model
from noiseproof.models.files import describes_itself, load_model, read_description

__all__ = ["call_factory", "load_weights", "misfit", "read_weights"]

_WRAPPERS = ("state_dict", "model", "model_state_dict")  # where training scripts put the weights among other things
_SHOWN = 3  # of the names that do not fit


def call_factory(text: str) -> nn.Module:
    """Import ``package.module`` and call ``factory``, given as ``package.module:factory``.

    This runs code: that of the module, found as Python finds it or in the working directory.

    Raises:
        InvalidArgumentError: it cannot be imported, is not callable without arguments, or gives no ``nn.Module``.
    """
    with _working_directory_on_path():
        factory = _import(text)
        if isinstance(factory, nn.Module):
            return factory
        try:
            model = factory()
        except TypeError as error:
            raise InvalidArgumentError(f"cannot call {text}(): {_one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(f"{text}() must give an nn.Module, got {type(model).__name__}")
    return model


def _import(text: str) -> Any:
    module_name, _, name = text.partition(":")
    if module_name.startswith("."):
        raise InvalidArgumentError(f"cannot import {text!r}: the module's name must not begin with a dot")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgumentError(f"cannot import {text!r}: {_one_line(error)}") from error


@contextmanager
def _working_directory_on_path() -> Iterator[None]:
    """Let modules be found in the working directory; afterwards that one entry is gone, whatever was added beside."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path[:] = [entry for entry in sys.path if entry is not here]


def load_weights(path: Path, name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Build the network ``name`` and give it the weights in ``path``.

    Args:
        path: a ``.safetensors`` file, or a state dict that ``torch.save`` wrote. Nothing in it is run.
        name: as for :func:`noiseproof.build_model`. For ``torchvision/NAME`` and ``timm/NAME`` the weights are those
            of the library's own model, else those of noiseproof's. A file that describes its model itself is loaded
            as it says.
        num_classes: of the weights.
        in_channels: of the inputs.

    Raises:
        UnknownNameError: no such network.
        NoiseproofError: the file cannot be read, or its weights belong to another network.
    """
    weights = read_weights(path)
    if path.suffix == ".safetensors" and describes_itself(path):
        return _described(path, name, num_classes, in_channels)
    if "/" in name:
        network = library_model(name, num_classes, in_channels)
    else:
        network = build_model(name, num_classes, _embedding_dim(weights), in_channels=in_channels)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = misfit(network.state_dict(), weights) or _one_line(error)
        raise NoiseproofError(
            f"the weights in {path} do not fit {name!r} with {num_classes} classes: {reason}"
        ) from error
    return network


def _described(path: Path, name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Load a model by its own description, where that is what was asked for."""
    description = read_description(path)
    asked = (name, num_classes, in_channels)
    held = (description.name, len(description.class_names), description.input_shape[0])
    if asked != held:
        ours, theirs = ("{!r} with {} classes and {} channels".format(*each) for each in (asked, held))
        raise InvalidArgumentError(f"{path} holds the weights of {theirs}, not of {ours}")
    return load_model(path)


def _embedding_dim(weights: Mapping[str, Tensor]) -> int | None:
    """The width of the features that the weights are for; None where they do not tell."""
    head = weights.get("head.weight")
    return head.shape[1] if head is not None and head.ndim == 2 and head.shape[1] > 0 else None


def misfit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """What keeps a state dict from being another's, by name; empty where names and shapes agree."""
    shapes = [
        f"{key!r} {tuple(given[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    found = {
        "missing": [repr(key) for key in expected if key not in given],
        "unexpected": [repr(key) for key in given if key not in expected],
        "of another shape": shapes,
    }
    return "; ".join(f"{what}: {_first_few(names)}" for what, names in found.items() if names)


def _first_few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file or one that ``torch.save`` wrote. Nothing in it is run.

    Raises:
        NoiseproofError: the file cannot be read, or holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on files that it then refuses
            content: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, weights_only=True, map_location="cpu")
            )
    except Exception as error:  # bytes that are no weights make torch's reader of pickles fail in any way there is
        raise NoiseproofError(f"cannot read weights from {path}: {_why_unreadable(error)}") from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise NoiseproofError(f"{path} holds no state dict: names with tensors are expected")
    return {_own_name(str(key)): value for key, value in content.items()}


def _own_name(key: str) -> str:
    """The name of a weight without what ``torch.compile`` and ``DataParallel`` put before it."""
    return key.replace("_orig_mod.", "").removeprefix("module.")


def _why_unreadable(error: Exception) -> str:
    """One line on why a file is not weights; torch's own texts are pages long, and tell how to run what is in it."""
    if isinstance(error, OSError):
        return error.strerror or _one_line(error)
    if isinstance(error, SafetensorError):
        return _one_line(error)
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named or "TorchScript" in str(error):
        what = f" or other Python objects ({named[1]!a})" if named else ""
        return f"it holds a whole model{what}, which would have to be run to be read; save model.state_dict() instead"
    return "it is no file that torch.save wrote, or it is cut short or damaged"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
