"""The curvature of the softmax loss in the input, of one sample at a time, in float64 and from explicit matrices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from noiseproof import seeding

Array = NDArray[np.float64]
Logits = Callable[[Tensor], Tensor]

BLOCK = 128  # samples for which probes are drawn together


def loss(logits: Logits, x: Tensor, label: int) -> Tensor:
    """Eq. 4 of one sample x (...): −log of the softmax of its own class."""
    z = logits(x.unsqueeze(0))[0]
    top = z.detach().max()
    return top + (z - top).exp().sum().log() - z[label]


def gradient(logits: Logits, x: Tensor, label: int) -> Array:
    """∇l(x), flat: (k,)."""
    x = x.detach().clone().requires_grad_()
    loss(logits, x, label).backward(inputs=[x])
    assert x.grad is not None
    flat: Array = x.grad.double().flatten().numpy()
    return flat


def hessian(logits: Logits, x: Tensor, label: int) -> Array:
    """All second derivatives of the loss at x: (k, k)."""

    def of_flat(flat: Tensor) -> Tensor:
        return loss(logits, flat.view(x.shape), label)

    with sdpa_kernel(SDPBackend.MATH):
        found: Array = torch.autograd.functional.hessian(of_flat, x.detach().flatten()).double().numpy()
    return found


def jacobian(logits: Logits, x: Tensor) -> Array:
    """All derivatives of the logits at x: (C, k)."""

    def of_flat(flat: Tensor) -> Tensor:
        return logits(flat.view(1, *x.shape))[0]

    found: Array = torch.autograd.functional.jacobian(of_flat, x.detach().flatten()).double().numpy()
    return found


def hessian_in_logits(z: Array) -> Array:
    """∂²l/∂z² = diag(p) − p pᵀ: (C, C).

    It is ½ Σ_ab p_a p_b (e_a − e_b)(e_a − e_b)ᵀ, in which no difference of nearly equal numbers is taken where p is
    nearly 1.
    """
    weights = [math.exp(value - max(z)) for value in z]
    p = [weight / sum(weights) for weight in weights]
    found = np.zeros((len(p), len(p)))
    for a in range(len(p)):
        for b in range(len(p)):
            apart = np.eye(len(p))[a] - np.eye(len(p))[b]
            found += 0.5 * p[a] * p[b] * np.outer(apart, apart)
    return found


def gauss_newton(logits: Logits, x: Tensor) -> Array:
    """Jᵀ (diag(p) − p pᵀ) J at x: (k, k)."""
    J = jacobian(logits, x)
    with torch.no_grad():
        z = logits(x.unsqueeze(0))[0].double().numpy()
    found: Array = J.T @ hessian_in_logits(z) @ J
    return found


def probe(seed: int, number: int, index: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """ε of one probe and of the sample at a place: its row in those of its block."""
    generator = seeding.generator(seed, "curvature", number, index // BLOCK)
    return torch.randn(BLOCK, *shape, generator=generator, dtype=dtype)[index % BLOCK]


def mean_and_stderr(values: list[float]) -> tuple[float, float]:
    """The mean, and the standard error that the spread of the values gives it."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, math.nan
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def equation_21(
    model: nn.Module, inputs: Tensor, labels: Tensor, probes: int, step: float, seed: int = 0
) -> tuple[Array, Array]:
    """Eq. 21 in loops, and its standard errors: (N,) each. The dtype of ``inputs`` is that of the probes."""
    found = []
    for index, (x, label) in enumerate(zip(inputs, labels.tolist(), strict=True)):
        here = gradient(model, x, label)
        values = []
        for number in range(probes):
            epsilon = probe(seed, number, index, tuple(x.shape), x.dtype)
            difference = gradient(model, x + step * epsilon, label) - here
            values.append(sum(float(entry) ** 2 for entry in difference) / step**2)
        found.append(mean_and_stderr(values))
    means, errors = np.array(found).T
    return means, errors


def exact_products(
    model: nn.Module, inputs: Tensor, labels: Tensor, probes: int, seed: int = 0
) -> tuple[Array, Array]:
    """1/K Σⱼ ‖H εⱼ‖² with explicit Hessians, and its standard errors: (N,) each."""
    found = []
    for index, (x, label) in enumerate(zip(inputs, labels.tolist(), strict=True)):
        H = hessian(model, x, label)
        draws = [probe(seed, number, index, tuple(x.shape), x.dtype).flatten().numpy() for number in range(probes)]
        found.append(mean_and_stderr([float(((H @ epsilon) ** 2).sum()) for epsilon in draws]))
    means, errors = np.array(found).T
    return means, errors
