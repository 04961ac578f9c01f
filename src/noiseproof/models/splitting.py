"""Splitting a classifier in front of its last ``nn.Linear``, and proving on a probe that nothing was lost."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from noiseproof.errors import ModelSplitError

__all__ = ["split_at_last_linear"]

_IMAGE_SIZES = (224, 32, 64, 299)
_SERIES_LENGTH = 128


def split_at_last_linear(module: nn.Module, example_input: Tensor | None = None) -> tuple[nn.Module, nn.Linear]:
    """Return ``module`` without its last ``nn.Linear``, and that layer.

    The backbone shares every weight with ``module``, which is left untouched.

    Args:
        module: a classifier (N, ...) to (N, C).
        example_input: a probe input; None to guess one from the first layer.

    Raises:
        ModelSplitError: the layer called last is no ``nn.Linear``, its output is not the module's output, its input
            is not (N, d), or the two halves do not give what the whole gave.
    """
    with _evaluating(module):
        probe, logits, calls = _run_probe(module, example_input)
        if not calls:
            raise ModelSplitError(
                f"{type(module).__name__} calls no nn.Linear, so it has no softmax layer to split at"
            )
        head, features = calls[-1]
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelSplitError(f"{type(module).__name__} must give (N, C) logits, got {got}")
        if features.ndim != 2:
            raise ModelSplitError(
                f"the last nn.Linear gets {tuple(features.shape)}, not (N, d): it is applied to tokens or pixels and "
                "pooled afterwards"
            )
        if sum(layer is head for layer, _ in calls) > 1:
            raise ModelSplitError("the last nn.Linear is used more than once in a forward pass")
        backbone = nn.Identity() if head is module else _without(module, head)
        _verify(module, backbone, head, probe, logits)
    return backbone, head


def _verify(module: nn.Module, backbone: nn.Module, head: nn.Linear, probe: Tensor, logits: Tensor) -> None:
    embeddings = backbone(probe)
    if not isinstance(embeddings, Tensor) or embeddings.shape != (probe.shape[0], head.in_features):
        raise ModelSplitError(f"{type(module).__name__} does more after its last nn.Linear than hand on its output")
    if not torch.allclose(head(embeddings), logits, rtol=1e-4, atol=1e-5):
        raise ModelSplitError(
            f"the output of {type(module).__name__} is not that of its last nn.Linear: something (a softmax, a scale, "
            "dropout in evaluation mode, …) follows it; let the module return plain logits"
        )


def _without(module: nn.Module, head: nn.Module) -> nn.Module:
    """Copy the containers on the way to ``head``, sharing all else, and put an identity in its place."""
    if module is head:
        return nn.Identity()
    clone = copy.copy(module)
    clone._modules = {
        name: child if child is None or all(part is not head for part in child.modules()) else _without(child, head)
        for name, child in module._modules.items()
    }
    return clone


def _run_probe(
    module: nn.Module, example_input: Tensor | None
) -> tuple[Tensor, object, list[tuple[nn.Linear, Tensor]]]:
    """Run the first probe that fits; return it, the output, and every call of an ``nn.Linear`` with its input."""
    failure: Exception | None = None
    for probe in _probes(module) if example_input is None else [example_input]:
        calls: list[tuple[nn.Linear, Tensor]] = []

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], calls: list[tuple[nn.Linear, Tensor]] = calls) -> None:
            calls.append((layer, inputs[0]))  # type: ignore[arg-type]

        hooks = [layer.register_forward_pre_hook(note) for layer in module.modules() if isinstance(layer, nn.Linear)]
        try:
            return probe, module(probe), calls
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            failure = error
        finally:
            for hook in hooks:
                hook.remove()
    reason = str(failure).splitlines()[0] if failure and str(failure) else "no layer tells the shape of its input"
    raise ModelSplitError(
        f"no probe input fits {type(module).__name__} ({reason}); pass example_input=…, a batch of two inputs"
    )


def _probes(module: nn.Module) -> Iterator[Tensor]:
    """Guess inputs, a batch of two, from the first layer that has weights."""
    weight = next(module.parameters(), None)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            shapes: list[tuple[int, ...]] = [(layer.in_channels, size, size) for size in _IMAGE_SIZES]
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


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no graph inside the block; every submodule's mode is put back after it."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training
