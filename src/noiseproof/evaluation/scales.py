"""Whether vectors and series, which have no fixed range, and their noise are of the size that a model was made for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from noiseproof.evaluation.views import View, view
from noiseproof.models import Normalize
from noiseproof.perturbations import Chain
from noiseproof.scaling import Scaling

__all__ = ["channel_deviations", "foreign_inputs", "normalisation_of", "outsized_noise", "unlike_scales"]

# The key of a perturbation that is in units of the input.
_STRENGTH = {
    "gaussian": "std", "gaussian-varying": "highest", "uniform": "amplitude", "laplace": "std", "offset": "std",
    "drift": "std", "hum": "amplitude",
}  # fmt: skip
_NOTHING, _EVERYTHING = 0.02, 10.0  # strengths of noise, in stds of the inputs
_UNLIKE = 100.0  # stds of two channels, one over the other
_FOREIGN = 10.0  # times larger than in training; its square for fewer than _FEW samples, and for smaller
_FEW = 10


def normalisation_of(model: nn.Module, scaling: Scaling | None = None) -> Normalize | None:
    """Return the first layer of a model that keeps the mean and std of its training inputs, if it has one.

    With a ``scaling`` that comes before it, it is the one for inputs as they are before that.
    """
    layer = getattr(model, "normalize", None)
    if not isinstance(layer, Normalize):
        return None
    return layer if scaling is None else layer.before(scaling)


def outsized_noise(noises: Iterable[str | View], std: Sequence[float]) -> str | None:
    """Return what to tell where the strongest noise is next to nothing, or drowns the inputs; None where it fits.

    Args:
        noises: what inputs are perturbed with, or texts of it; attacks are passed over.
        std: of the inputs, per channel of series or component of vectors.
    """
    strengths = [
        (float(getattr(part, _STRENGTH[part.name])), part)
        for noise in map(view, noises)
        for part in (noise.parts if isinstance(noise, Chain) else (noise,))
        if part.name in _STRENGTH
    ]
    strength, noise = max(strengths, key=lambda each: each[0], default=(0.0, None))
    if noise is None or strength == 0:
        return None
    vary = f"std {min(std):.3g}" + (f" to {max(std):.3g}" if max(std) > min(std) else "")
    unit = "noise is in the units of the inputs, so train with data.standardise=true, or choose other strengths"
    if strength < _NOTHING * min(std):
        return f"{noise}, the strongest noise here, is next to nothing beside what the inputs vary by ({vary}): {unit}"
    if strength > _EVERYTHING * max(std):
        return f"{noise} leaves nothing of inputs that vary by so little ({vary}): {unit}"
    return None


def unlike_scales(std: Sequence[float]) -> str | None:
    """Return what to tell where channels differ so much that one strength of noise fits none; else None."""
    if max(std) <= _UNLIKE * min(std):
        return None
    return (
        f"the channels or columns differ in scale, with stds from {min(std):.3g} to {max(std):.3g}, and noise is "
        "as strong on each of them: it says little of the one or leaves nothing of the other"
    )


def channel_deviations(layer: Normalize, inputs: Tensor) -> Tensor:
    """Return the mean square of (x − mean) / std of each channel of (N, C, …): (C,), about 1 in the training set."""
    deviations: Tensor = layer(inputs.to(layer.mean.device, torch.float64)).square()
    return deviations.transpose(0, 1).flatten(1).mean(1)


def foreign_inputs(layer: Normalize, deviations: Tensor, samples: int) -> str | None:
    """Return what to tell where inputs are far larger or smaller than those of the training; None where they are not.

    Args:
        layer: the model's, with the mean and std of its training inputs.
        deviations: what :func:`channel_deviations` found, a mean over the inputs.
        samples: how many they were; of few less is told, since one may lie far off, or close, by chance.
    """
    sizes = deviations.sqrt()
    largest = int(sizes.argmax())
    which = f" (number {largest} along the first dimension)" if len(sizes) > 1 else ""
    mean, std = (float(part.expand(len(sizes))[largest]) for part in (layer.mean, layer.std))
    if float(sizes.max()) > (_FOREIGN if samples >= _FEW else _FOREIGN**2):
        return (
            "the inputs are not of the size that the model was trained on: on average they lie "
            f"{float(sizes.max()):.2g} stds ({std:.3g}) from what its first layer subtracts{which}, {mean:.3g}; "
            "are they in the same units and scale as the training data?"
        )
    if samples >= _FEW and float(sizes.max()) < 1 / _FOREIGN**2:
        return (
            "the inputs are not of the size that the model was trained on: they vary by less than a hundredth of what "
            f"its first layer divides by, {std:.3g}{which}; are they in the same units and scale as the training data?"
        )
    return None
