"""The loss around one input, on a plane through it (§7.4, Fig. 11)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from noiseproof import seeding
from noiseproof.checks import check_device, check_range, check_unit_interval, check_whole
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import InvalidArgumentError
from noiseproof.models.answers import logits_of
from noiseproof.models.modes import analysed

__all__ = ["LossSurface", "loss_surface"]

_NOISE = 0.06  # standard deviation of the Gaussian noise of Figs. 8, 9 and 13
_BATCH = 512


@dataclass(frozen=True, eq=False)
class LossSurface:
    """−l(x + a u + b v) with the softmax loss l, u along its gradient at x and v across.

    Attributes:
        values: (points, points) negative loss, ≤ 0; a by rows, b by columns, and x itself in the middle.
        axis: (points,) rising, of a and of b alike: L2 distances from x in units of the input.
        extent: the last of ``axis``; the first is −extent.
        along: u, in the shape of x: ∇l(x) / ‖∇l(x)‖, which points to where the loss grows.
        across: v, in the shape of x: of length 1 and orthogonal to u.
        gradient_norm: ‖∇l(x)‖, ≥ 0.
        flat: whether the gradient is 0; u is then a random direction.
        label: y, the class whose loss it is.
        seed: of the random directions.
    """

    values: NDArray[np.float64]
    axis: NDArray[np.float64]
    extent: float
    along: NDArray[np.float64]
    across: NDArray[np.float64]
    gradient_norm: float
    flat: bool
    label: int
    seed: int


def loss_surface(
    model: nn.Module,
    x: Tensor,
    y: int | Tensor,
    *,
    extent: float | None = None,
    points: int = 41,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> LossSurface:
    """Compute the negative softmax loss on a plane through one input, spanned by its gradient and a random direction.

    The plane's inputs are not clamped to [0, 1], which would bend the plane: the surface is that of the loss as a
    function of any input. The random direction depends on the seed and on the shape of x alone. Several models
    given the same seed get the same one, made orthogonal to the gradient of each; between random directions in many
    dimensions that changes it little.

    Runs in evaluation mode, in the model's own precision without TF32 or autocast; the loss and the plane are
    computed in float64.

    Args:
        model: maps (N, …) inputs, images in [0, 1], to (N, C) logits with C > 1, every sample by itself.
        x: one input, (C, H, W) or (C, T) or (F,), of more than one value.
        y: its class, in [0, C).
        extent: how far the plane reaches from x in each direction, > 0, in L2 units of the input. None for 0.06 √k
            with the k values of x, the length of Gaussian noise of standard deviation 0.06: the surface then shows
            what lies within the reach of such noise.
        points: of the grid in each direction, odd and ≥ 3, so that x is one of them.
        seed: of the random direction.
        device: where to run, and where the model is moved to; None for where it is.

    Raises:
        InvalidArgumentError: a number outside its range, an image outside [0, 1], an input that the model does not
            take or of one value, a label outside its classes, or logits or a gradient that are not finite.
    """
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(f"model must be an nn.Module, got {type(model).__name__}")
    x = _checked_input(x)
    if extent is None:
        extent = _NOISE * math.sqrt(x.numel())
    check_range("extent", extent, 0, open_low=True)
    if check_whole("points", points, 3) % 2 == 0:
        raise InvalidArgumentError(f"points must be odd, so that the input itself is one of them, got {points}")
    label = check_whole("y", int(y), 0)
    weight = next(model.parameters(), x)
    where = check_device(device) or weight.device
    model = model.to(where)
    x = x.to(where, weight.dtype)

    half = int(points) // 2
    axis = np.arange(-half, half + 1) / half * extent
    with analysed(model, where):
        gradient, gradient_norm = _gradient(model, x, label)
        flat = not bool(gradient.any())
        along = _unit(_random(x, seed, "along") if flat else gradient)
        random = _random(x, seed, "across")
        across = _unit(random - (random * along).sum() * along)
        a, b = (torch.from_numpy(part.ravel()) for part in np.meshgrid(axis, axis, indexing="ij"))
        values = torch.cat(
            [
                -_losses(model, _moved(x, along, across, *place), label)
                for place in zip(a.split(_BATCH), b.split(_BATCH), strict=True)
            ]
        )
    return LossSurface(
        values.view(len(axis), len(axis)).numpy(), axis, float(extent), along.numpy(), across.numpy(), gradient_norm,
        flat, label, seed,
    )  # fmt: skip


def _checked_input(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or not 1 <= x.ndim <= 3:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InvalidArgumentError(f"x must be one input (C, H, W), (C, T) or (F,), without a batch, got {got}")
    if x.numel() < 2:
        raise InvalidArgumentError(f"x must have more than one value, got {tuple(x.shape)}: it lies in no plane")
    x = x.detach() if x.is_floating_point() else to_unit_interval(x)
    if x.ndim == 3:
        check_unit_interval("the image x", x)
    return x


def _odds_against(model: nn.Module, x: Tensor, label: int) -> Tensor:
    """m = log Σ_{c≠y} exp z_c − z_y, of which the loss −log softmax(z)_y is log(1 + exp m): (n,), float64."""
    logits = logits_of(model, x, least_classes=2)
    if label >= logits.shape[1]:
        raise InvalidArgumentError(f"y must lie in [0, {logits.shape[1]}), the model's classes, got {label}")
    z = logits.cpu().double()
    others = torch.cat([z[:, :label], z[:, label + 1 :]], 1)
    odds: Tensor = others.logsumexp(1) - z[:, label]
    return odds


def _losses(model: nn.Module, x: Tensor, label: int) -> Tensor:
    """The softmax loss of Eq. 4 for the class ``label`` at each of (n, …) inputs: (n,), float64 on the CPU."""
    with torch.no_grad():
        odds = _odds_against(model, x, label)
    return torch.logaddexp(odds, torch.zeros_like(odds))


def _gradient(model: nn.Module, x: Tensor, label: int) -> tuple[Tensor, float]:
    """A positive multiple of ∇l(x), float64 on the CPU, and ‖∇l(x)‖.

    ∇l = σ(m) ∇m. Of an input that the model is sure of, σ(m) and with it all of ∇l vanishes in the model's precision;
    ∇m does not, and points the same way.
    """
    x = x.unsqueeze(0).requires_grad_()
    odds = _odds_against(model, x.clone(), label)  # some models work in place
    if not odds.requires_grad:
        raise InvalidArgumentError("the model's logits carry no gradient back to the input: it cuts the graph")
    gradient = torch.autograd.grad(odds.sum(), x)[0].squeeze(0).cpu().double()
    norm = float(odds.detach().sigmoid()) * float(torch.linalg.vector_norm(gradient))
    if not math.isfinite(norm):
        raise InvalidArgumentError("the gradient of the loss at the input is not finite")
    return gradient, norm


def _moved(x: Tensor, along: Tensor, across: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """x + a u + b v for each of n pairs of a and b: (n, …), in the type and place of x."""
    shape = (-1,) + (1,) * x.ndim
    return (x.cpu().double() + a.view(shape) * along + b.view(shape) * across).to(x)


def _random(x: Tensor, seed: int, what: str) -> Tensor:
    generator = seeding.generator(seed, "loss surface", what)
    return torch.randn(x.shape, generator=generator, dtype=torch.float64)


def _unit(direction: Tensor) -> Tensor:
    unit: Tensor = direction / torch.linalg.vector_norm(direction)
    return unit
