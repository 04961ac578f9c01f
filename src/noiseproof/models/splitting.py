"""Splitting a classifier in front of its last ``nn.Linear``, and proving on a probe that nothing was lost."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from noiseproof.errors import ModelSplitError
from noiseproof.models.modes import evaluating
from noiseproof.models.outputs import PlainLogits, holds_logits

__all__ = ["find_probe", "split_at_last_linear"]

_IMAGE_SIZES = (32, 64, 224, 299)
_SERIES_LENGTH = 128


class _Call(NamedTuple):
    """One call of an ``nn.Linear`` in a forward pass."""

    layer: nn.Linear
    features: Tensor


def split_at_last_linear(module: nn.Module, example_input: Tensor | None = None) -> tuple[nn.Module, nn.Linear]:
    """Return ``module`` without its last ``nn.Linear``, and that layer.

    The backbone shares every weight with ``module``, which is left untouched. That the module hands on the output of
    that layer as it is, is verified by putting random numbers in its place, so that it shows for a head of zeros too.

    Args:
        module: a classifier (N, ...) to (N, C), or to an object with ``logits`` of that shape.
        example_input: a probe input; None to guess one from the first layer.

    Raises:
        ModelSplitError: the layer called last is no ``nn.Linear``, its output is not the module's output, its input
            is not (N, d), or the two halves do not give what the whole gave.
    """
    name = type(module).__name__
    with evaluating(module):
        probe = find_probe(module, example_input)
        output, calls = _run(module, probe)
    if holds_logits(output):
        module, output = PlainLogits(module), output.logits
    with evaluating(module):
        if not calls:
            raise ModelSplitError(f"{name} calls no nn.Linear, so it has no softmax layer to split at")
        head, features = calls[-1]
        if not isinstance(output, Tensor) or output.ndim != 2:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ModelSplitError(f"{name} must give (N, C) logits, got {got}")
        if features.ndim != 2:
            raise ModelSplitError(
                f"the last nn.Linear gets {tuple(features.shape)}, not (N, d): it is applied to tokens or pixels and "
                "pooled afterwards"
            )
        if sum(call.layer is head for call in calls) > 1:
            raise ModelSplitError("the last nn.Linear is used more than once in a forward pass")
        if not _hands_on(module, probe, head):
            raise ModelSplitError(
                f"the output of {name} is not that of its last nn.Linear: something (a softmax, a scale, another "
                "layer, …) follows it; let the module return plain logits"
            )
    backbone = _without(module, head)
    with evaluating(backbone):
        try:
            embeddings = backbone(probe)
        except (RuntimeError, AttributeError, TypeError, ValueError, IndexError) as error:
            raise ModelSplitError(f"{name} does not run without its last nn.Linear: {_first_line(error)}") from error
        if not isinstance(embeddings, Tensor) or not torch.allclose(embeddings, features, rtol=1e-4, atol=1e-5):
            raise ModelSplitError(f"{name} without its last nn.Linear does not give that layer's input")
    return backbone, head


def find_probe(module: nn.Module, example_input: Tensor | None = None) -> Tensor:
    """Return a batch of inputs that ``module`` accepts: the example, or a guess from its first layer.

    Raises:
        ModelSplitError: none is accepted.
    """
    failure: Exception | None = None
    for probe in _guesses(module) if example_input is None else [example_input]:
        try:
            with torch.no_grad():
                module(probe)
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError, AttributeError) as error:
            failure = error
        else:
            return probe
    reason = _first_line(failure) if failure and str(failure) else "no layer tells the shape of its input"
    raise ModelSplitError(
        f"no probe input fits {type(module).__name__} ({reason}); pass example_input=…, a batch of two inputs"
    )


def _run(module: nn.Module, probe: Tensor) -> tuple[object, list[_Call]]:
    """Run ``module`` and note every call of an ``nn.Linear``."""
    calls: list[_Call] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls.append(_Call(layer, inputs[0]))  # type: ignore[arg-type]

    hooks = [layer.register_forward_pre_hook(note) for layer in module.modules() if isinstance(layer, nn.Linear)]
    try:
        return module(probe), calls
    finally:
        for hook in hooks:
            hook.remove()


def _hands_on(module: nn.Module, probe: Tensor, head: nn.Linear) -> bool:
    """Whether ``module`` gives exactly what ``head`` gives, whatever that is."""
    random = torch.randn(probe.shape[0], head.out_features, generator=torch.Generator().manual_seed(0))
    random = random.to(head.weight)
    hook = head.register_forward_hook(lambda *_: random)
    try:
        output = module(probe)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    finally:
        hook.remove()
    return isinstance(output, Tensor) and torch.equal(output, random)


def _without(module: nn.Module, head: nn.Module) -> nn.Module:
    """Copy the containers on the way to ``head``, sharing all else, and put an identity in its place."""
    if module is head:
        return nn.Identity().train(head.training)
    clone = copy.copy(module)
    clone._modules = {
        name: child if child is None or all(part is not head for part in child.modules()) else _without(child, head)
        for name, child in module._modules.items()
    }
    return clone


def _guesses(module: nn.Module) -> Iterator[Tensor]:
    """Guess inputs, a batch of two, from the first layer that has weights and from what the module says of itself."""
    weight = next(module.parameters(), None)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            shapes: list[tuple[int, ...]] = [(layer.in_channels, size, size) for size in _image_sizes(module)]
        elif isinstance(layer, nn.Conv1d):
            shapes = [(layer.in_channels, _SERIES_LENGTH)]
        elif isinstance(layer, nn.Linear):
            shapes = [(layer.in_features,)]
        else:
            continue
        random = torch.Generator().manual_seed(0)
        for shape in shapes:
            probe = torch.rand(2, *shape, generator=random)
            yield probe if weight is None else probe.to(weight.device, weight.dtype)
        return


def _image_sizes(module: nn.Module) -> list[int]:
    """Torchvision's transformers name their ``image_size``, Hugging Face's models one in their configuration, timm's
    models an ``input_size`` (C, H, W)."""
    own = getattr(module, "image_size", getattr(getattr(module, "config", None), "image_size", None))
    told = getattr(module, "default_cfg", None)
    timm = told.get("input_size") if isinstance(told, dict) else None
    return [*([own] if isinstance(own, int) else []), *_IMAGE_SIZES, *([timm[1]] if timm else [])]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
