"""The transformation T_ν of Proposition 5.3: wider margins and wider classes, the same predictions."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from noiseproof.checks import check_range
from noiseproof.errors import ModelSplitError
from noiseproof.models.classifier import FeatureClassifier
from noiseproof.models.modes import evaluating
from noiseproof.models.splitting import find_probe

__all__ = ["rescale"]

_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Flatten)
_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_POOLING = (
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)


@torch.no_grad()
def rescale(model: FeatureClassifier, nu: float, *, example_input: Tensor | None = None) -> FeatureClassifier:
    """Return a new model with features and logits multiplied by ν and unchanged predictions (T_ν, Prop. 5.3).

    The last affine layer of the backbone (W⁻, b⁻) and the bias b of the head are multiplied by ν; the head's rows W
    stay. Every margin (Def. 5.1) and dispersion (Def. 3.1) is multiplied by ν.

    Args:
        model: whose backbone ends in an affine layer (linear or convolutional), followed by nothing but layers h with
            h(νq) = ν h(q): ReLU, pooling, flattening, dropout.
        nu: ν > 0, finite.
        example_input: a batch of inputs on which to verify that features were multiplied by ν; None to guess one.

    Returns:
        A copy; ``model`` stays as it is.

    Raises:
        InvalidArgumentError: ``nu`` ≤ 0.
        ModelSplitError: the backbone's end is not of that form.
    """
    check_range("nu", nu, 0, open_low=True)
    scaled = copy.deepcopy(model)
    layer = _last_affine(scaled.backbone)
    layer.weight.mul_(nu)
    for bias in (layer.bias, scaled.head.bias):
        if bias is not None:
            bias.mul_(nu)
    _verify(model, scaled, nu, example_input)
    return scaled


def _verify(model: FeatureClassifier, scaled: FeatureClassifier, nu: float, example_input: Tensor | None) -> None:
    """Raise unless ``scaled`` gives ν times the features of ``model``, which the layers' types alone do not prove."""
    with evaluating(model), evaluating(scaled):
        probe = find_probe(model, example_input)
        expected = nu * model.embed(probe)
        tolerance = 1e-4 * float(expected.abs().max())
        if not torch.allclose(scaled.embed(probe), expected, rtol=1e-3, atol=tolerance):
            raise ModelSplitError(
                "scaling the backbone's last affine layer does not scale the features: something that Proposition 5.3 "
                "does not allow (a shortcut, an activation, a layer used twice, …) follows it"
            )


def _last_affine(backbone: nn.Module) -> nn.Linear | nn.Conv2d:
    for layer in reversed([part for part in backbone.modules() if not list(part.children())]):
        if isinstance(layer, _AFFINE):
            return layer  # type: ignore[return-value]
        if not isinstance(layer, _HOMOGENEOUS + _DROPOUT + _POOLING):
            raise ModelSplitError(
                f"the backbone ends in {type(layer).__name__}, but Proposition 5.3 needs an affine layer "
                "(linear or convolutional), followed by ReLU, pooling or nothing"
            )
    raise ModelSplitError("the backbone has no affine layer to rescale")
