"""The features of intermediate layers (§7.5): which layers there are, and their outputs pooled to one vector each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from noiseproof.checks import check_whole
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.models import FeatureClassifier
from noiseproof.models.modes import evaluating

__all__ = ["PENULTIMATE", "check_classifier", "layer_features", "stages"]

PENULTIMATE = "features"  # the name of q(x), which is the output of no single module

_TRUNK = 0.9  # of all layers, in one child: then the network's blocks are that child's

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Mish,
    nn.PReLU, nn.ReLU, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Tanh,
)  # fmt: skip


def stages(model: FeatureClassifier) -> tuple[str, ...]:
    """Name the modules whose outputs are the network's stages, from the input on.

    They are the blocks: the backbone's children that have children and weights, ``layer1`` to ``layer4`` of a
    ResNet. Looked through is what merely wraps the blocks: an only such child, and one that holds nine tenths of all
    layers. Left out is what maps pooled features to the penultimate ones, a last ``nn.Sequential`` of plain layers
    without a convolution: its output has a name of its own, ``"features"``. A network without two blocks has its
    activations instead. The order is that in which modules were registered.

    Returns:
        Names as in ``model.named_modules()``, for :func:`layer_features`; empty where there are neither blocks nor
        activation modules.

    Raises:
        InvalidArgumentError: no :class:`noiseproof.FeatureClassifier`.

    Source:
        §7.5: "ResNet18 consists of four main residual blocks".
    """
    backbone = check_classifier(model).backbone
    blocks = _blocks(backbone, backbone)
    if len(blocks) < 2:
        blocks = [part for part in backbone.modules() if isinstance(part, _ACTIVATIONS)]
    names = {module: name for name, module in model.named_modules()}
    return tuple(names[block] for block in blocks)


def layer_features(
    model: FeatureClassifier, inputs: Tensor, layers: Sequence[str], *, batch_size: int = 512
) -> dict[str, Tensor]:
    """Return the outputs of layers for a batch of inputs, each pooled to one vector per sample (§7.5).

    An output (N, C), (N, C, H, W) or with more dimensions is averaged over all dimensions behind the channels. One of
    three dimensions is (N, C, T) where the inputs have three, being series, and is averaged over T; of images and
    vectors it is taken for a transformer's tokens, (N, T, C), and is averaged over these, a class token included.
    Channels are expected in dimension 1 of all others, which Swin transformers, for one, do not keep to.

    A module that runs several times in one pass counts with its last output. The model is run in evaluation mode and
    left as it was.

    Args:
        model: with the layers.
        inputs: (N, …) as the model takes them, N > 0; images in [0, 1].
        layers: names as in ``model.named_modules()``, such as those of :func:`stages`, or ``"features"`` for the
            penultimate features q(x).
        batch_size: how many inputs the model gets at once, ≥ 1. Does not change the result, beyond rounding.

    Returns:
        For each name (N, C_l), float32 on the CPU.

    Raises:
        UnknownNameError: no such module.
        InvalidArgumentError: no layer named, no :class:`noiseproof.FeatureClassifier`, inputs that the model does not
            take, or a module that is not run, or that gives no tensor (N, C, …).
    """
    batch_size = check_whole("batch_size", batch_size, 1)
    if isinstance(layers, str) or not layers:
        raise InvalidArgumentError(f"layers must be a list of names, as in ['{PENULTIMATE}'], got {layers!r}")
    modules = {name: module for name, module in check_classifier(model).named_modules() if name}
    for name in layers:
        if name not in modules and name != PENULTIMATE:
            raise UnknownNameError("layer", name, [*modules, PENULTIMATE])
    if inputs.ndim < 2 or len(inputs) == 0:
        raise InvalidArgumentError(f"inputs must be (N, …) with N > 0, got {tuple(inputs.shape)}")
    wanted = {name: modules[name] for name in layers if name != PENULTIMATE}
    batches = [_pooled(model, batch, wanted) for batch in inputs.split(batch_size)]
    return {name: torch.cat([batch[name] for batch in batches]) for name in layers}


def check_classifier(model: nn.Module) -> FeatureClassifier:
    """Return ``model`` where its layers can be told apart from its head.

    Raises:
        InvalidArgumentError: no :class:`noiseproof.FeatureClassifier`.
    """
    if isinstance(model, FeatureClassifier):
        return model
    raise InvalidArgumentError(
        f"layers are those of a FeatureClassifier, got {type(model).__name__}; FeatureClassifier.from_module makes one"
    )


def _blocks(module: nn.Module, backbone: nn.Module) -> list[nn.Module]:
    """The blocks of a module, or of the child that wraps them all; fewer than two where it has none."""
    blocks = [child for child in _children(module) if list(child.children()) and _layers(child)]
    if blocks and _embeds(blocks[-1], backbone):
        blocks.pop()
    for block in blocks:
        if len(blocks) == 1 or _layers(block) >= _TRUNK * _layers(module):
            return _blocks(block, backbone)
    return blocks


def _children(module: nn.Module) -> Iterator[nn.Module]:
    """The children of a module, and in place of those that give no output, such as mere lists, what is in them."""
    for child in module.children():
        if type(child).forward is nn.Module.forward:
            yield from _children(child)
        else:
            yield child


def _layers(module: nn.Module) -> int:
    """How many modules in it have weights of their own."""
    return sum(bool(list(part.parameters(recurse=False))) for part in module.modules())


def _embeds(block: nn.Module, backbone: nn.Module) -> bool:
    """Whether a block is what maps pooled features to the penultimate ones: plain layers with the last weights."""
    plain = isinstance(block, nn.Sequential) and not any(
        isinstance(layer, _CONVOLUTIONS) or list(layer.children()) for layer in block
    )
    *_, last = backbone.parameters()
    return plain and any(parameter is last for parameter in block.parameters())


def _pooled(model: FeatureClassifier, inputs: Tensor, wanted: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The pooled outputs of modules, and the penultimate features, for one batch."""
    found: dict[str, Tensor] = {}
    weight = model.head.weight
    with evaluating(model), _hooked(wanted, inputs, found):
        try:
            features = model.embed(inputs.to(weight.device, weight.dtype, copy=True))  # some models work in place
            model.head(features)
        except torch.OutOfMemoryError:
            raise  # no fault of the model's or of the inputs' shape
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            shape = tuple(inputs.shape)
            raise InvalidArgumentError(f"the model cannot take inputs of shape {shape}: {reason}") from error
    for name in wanted:
        if name not in found:
            raise InvalidArgumentError(f"layer {name!r} is not run by itself when the model classifies")
    return {PENULTIMATE: features.float().cpu(), **found}


@contextmanager
def _hooked(modules: dict[str, nn.Module], inputs: Tensor, found: dict[str, Tensor]) -> Iterator[None]:
    """Inside the block, what the modules give is pooled into ``found``."""

    def keep(name: str) -> Callable[[nn.Module, Any, object], None]:
        # Pooled at once, since the layers that follow may work in place.
        def hook(module: nn.Module, given: Any, output: object) -> None:  # noqa: ARG001
            found[name] = _pool(name, output, inputs)

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(keep(name)).remove)
        yield


def _pool(name: str, output: object, inputs: Tensor) -> Tensor:
    """Global average pooling (§7.5): (N, C), float32 on the CPU."""
    if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != len(inputs):
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise InvalidArgumentError(f"layer {name!r} must give a tensor (N, C, …), got {got} for {len(inputs)} inputs")
    if output.ndim == 2:
        return output.float().cpu()
    are_tokens = output.ndim == 3 and inputs.ndim != 3
    return output.float().mean(1 if are_tokens else tuple(range(2, output.ndim))).cpu()
