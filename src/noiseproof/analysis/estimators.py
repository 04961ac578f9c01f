"""Σ λᵢ² of the Hessian H of the softmax loss in the input, of a batch of samples, in three ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import softplus

from noiseproof.models.answers import check_known_labels, logits_of

__all__ = [
    "Logits",
    "Moments",
    "Spectrum",
    "finite_difference",
    "gauss_newton",
    "gauss_newton_residual",
    "hutchinson",
    "loss_gradient",
]

Logits = Callable[[Tensor], Tensor]

_JACOBIAN_BYTES = 2**28  # how much of Jacobians is held at once


class Moments:
    """Running mean and standard error of what each probe gives, in float64 and without keeping it."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Take in one probe's values."""
        self._count += 1
        self._sum = self._sum + values.double()
        self._squares = self._squares + values.double().square()

    def mean(self) -> Tensor:
        return torch.as_tensor(self._sum) / self._count

    def stderr(self) -> Tensor:
        """Standard error of the mean; NaN after a single probe."""
        mean = self.mean()
        if self._count < 2:
            return torch.full_like(mean, math.nan)
        variance = (torch.as_tensor(self._squares) - self._count * mean.square()).clamp_min(0) / (self._count - 1)
        return (variance / self._count).sqrt()


@dataclass(frozen=True)
class Spectrum:
    """What the non-zero eigenvalues λᵢ of a Hessian sum up to, per sample: (n,) each, in float64."""

    squares: Tensor  # Σ λᵢ²
    absolute: Tensor  # Σ |λᵢ|
    largest: Tensor  # max λᵢ


def loss_gradient(logits: Logits, x: Tensor, labels: Tensor, *, differentiable: bool = False) -> Tensor:
    """∇l(x), each sample's own, with l = −log softmax(z(x))_y of Eq. 4.

    Args:
        logits: maps (n, …) to (n, C), every sample by itself.
        x: (n, …); with ``differentiable`` it must require gradients.
        labels: (n,).
        differentiable: whether to keep the graph, for second derivatives.

    Returns:
        Like ``x``.
    """
    if not differentiable:
        x = x.detach().requires_grad_()
    z = _answers(logits, x)
    check_known_labels(labels, z.shape[1])
    (gradient,) = torch.autograd.grad(_loss(z, labels), x, create_graph=differentiable)
    return gradient


def finite_difference(
    logits: Logits, x: Tensor, labels: Tensor, probes: Iterable[Tensor], steps: Sequence[float]
) -> list[Moments]:
    """Λ(x) ≈ 1/K Σⱼ ‖∇l(x + tεⱼ) − ∇l(x)‖² / t² for each step t (Eq. 21).

    One forward and one backward pass per sample at x, and one of each per probe and step.
    """
    here = loss_gradient(logits, x, labels)
    moments = [Moments() for _ in steps]
    for probe in probes:
        for moment, step in zip(moments, steps, strict=True):
            there = loss_gradient(logits, torch.add(x, probe, alpha=step), labels)
            moment.add(_squared_norms(there - here) / step**2)
    return moments


def hutchinson(logits: Logits, x: Tensor, labels: Tensor, probes: Iterable[Tensor]) -> Moments:
    """E‖Hε‖² with exact products Hε (§7.1), which are derivatives of ∇l(x)ᵀε.

    One forward and one backward pass per sample, kept for differentiation, and one backward pass through both per
    probe. Where the network is piecewise linear, what its kinks would add is not seen: H is that of the point.
    """
    x = x.detach().requires_grad_()
    gradient = loss_gradient(logits, x, labels, differentiable=True)
    moments = Moments()
    for probe in probes:
        (product,) = torch.autograd.grad(gradient, x, probe, retain_graph=True)
        moments.add(_squared_norms(product))
    return moments


def gauss_newton(logits: Logits, x: Tensor, labels: Tensor | None = None) -> Spectrum:
    """The spectrum of G = Jᵀ S J with J = ∂z/∂x and S = diag(p) − p pᵀ, from a C×C matrix.

    With A = diag(√p) − p √pᵀ, A Aᵀ = S, so that G has the non-zero eigenvalues of Aᵀ (J Jᵀ) A. Where z is piecewise
    linear in x, G is the Hessian; else it is its Gauss-Newton part. It does not depend on the label, which is only
    checked, if given. One forward and C backward passes per sample; and one forward pass of one sample, to learn C.
    """
    with torch.no_grad():
        classes = _answers(logits, x[:1]).shape[1]
    if labels is not None:
        check_known_labels(labels, classes)
    at_once = max(1, _JACOBIAN_BYTES // (2 * classes * x[0].numel() * x.element_size()))
    return _joined([_gauss_newton(logits, part) for part in x.split(at_once)])


def gauss_newton_residual(logits: Logits, x: Tensor, labels: Tensor, probe: Tensor) -> Tensor:
    """‖Hε − Gε‖ / max(‖Hε‖, ‖Gε‖): how far the Hessian is from its Gauss-Newton part G, along a probe per sample.

    H − G = Σ_c ∂l/∂z_c ∇²z_c is multiplied by ε as it stands, not as a difference: where z is piecewise linear in x
    it is 0 to the last digit, or to the rounding of the gradient if the network ends in a log-softmax. One forward
    and two backward passes per sample, and one backward pass through both.

    Args:
        logits: maps (n, …) to (n, C), every sample by itself.
        x: (n, …).
        labels: (n,).
        probe: like ``x``.

    Returns:
        (n,) in float64, in [0, 2]; 0 where Hε − Gε is 0.

    Raises:
        RuntimeError: a part of the network has no second derivative.
    """
    x = x.detach().requires_grad_()
    z = _answers(logits, x)
    inner = z.detach().double().requires_grad_()
    (slope,) = torch.autograd.grad(_loss(inner, labels), inner, create_graph=True)
    size = slope.detach().abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    weights = (slope.detach() / size).to(z.dtype).requires_grad_()  # of about 1, however sure the network is
    (gradient,) = torch.autograd.grad(z, x, weights, create_graph=True)  # Jᵀ ∂l/∂z, but for the size
    residual, turn = torch.autograd.grad(gradient, (x, weights), probe, retain_graph=True, materialize_grads=True)
    _check_twice_differentiated(turn, weights, gradient.detach().flatten(1), probe.flatten(1))
    (inner_turn,) = torch.autograd.grad(slope, inner, turn.double())  # S Jε
    (part,) = torch.autograd.grad(z, x, (inner_turn / size).to(z.dtype))
    off, there = _squared_norms(residual), _squared_norms(part)
    larger = torch.maximum(there, _squared_norms(part.double() + residual.double()))
    return torch.where(off == 0, off, (off / larger).sqrt())


def _gauss_newton(logits: Logits, x: Tensor) -> Spectrum:
    x = x.detach().requires_grad_()
    z = _answers(logits, x)
    classes = z.shape[1]
    rows = [torch.autograd.grad(z[:, c].sum(), x, retain_graph=c + 1 < classes)[0].flatten(1) for c in range(classes)]
    jacobian = torch.stack(rows, 1)
    p = z.detach().double().softmax(1)
    root = p.sqrt()
    a = torch.diag_embed(root) - p.unsqueeze(2) * root.unsqueeze(1)
    reduced = a.transpose(1, 2) @ (jacobian @ jacobian.transpose(1, 2)).double() @ a
    eigenvalues = torch.linalg.eigvalsh(reduced)
    return Spectrum(eigenvalues.square().sum(1), eigenvalues.abs().sum(1), eigenvalues.amax(1))


def _check_twice_differentiated(turn: Tensor, weights: Tensor, gradient: Tensor, probe: Tensor) -> None:
    """Raise where wᵀ(Jε) is not (Jᵀw)ᵀε: torch leaves out without a word what it can differentiate once only."""
    turn, weights, gradient = turn.double(), weights.detach().double(), gradient.double()
    one, other = (turn * weights).sum(1), (gradient * probe).sum(1)
    sizes = gradient.norm(dim=1) + turn.norm(dim=1) * weights.norm(dim=1)
    if ((one - other).abs() > 0.01 * sizes).any():
        raise RuntimeError("a part of the network has no second derivative")


def _loss(z: Tensor, labels: Tensor) -> Tensor:
    """Σ −log softmax(z)_y over the samples."""
    own = labels.unsqueeze(1)
    # log(1 + Σ_{c≠y} exp(z_c − z_y)): the gradient of the usual form loses its digits where p_y is nearly 1.
    return softplus(z.scatter(1, own, -math.inf).logsumexp(1) - z.gather(1, own).squeeze(1)).sum()


def _answers(logits: Logits, x: Tensor) -> Tensor:
    """The logits of ``x``, from a copy of it for models that work in place, and in a form that has two derivatives."""
    with sdpa_kernel(SDPBackend.MATH):
        return logits_of(logits, x.clone(), least_classes=2)


def _joined(parts: Sequence[Spectrum]) -> Spectrum:
    return Spectrum(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("squares", "absolute", "largest"))
    )


def _squared_norms(differences: Tensor) -> Tensor:
    return differences.flatten(1).double().square().sum(1)
