"""Small loss problems, and the comparison of a loss with its loop transcription."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import noiseproof as npf
from tests.oracles import loss_loops as oracle

TERMS = ("total", "compactness", "margin", "regularisation", "alignment")

# Weights that are all different, so that no two terms can be exchanged unnoticed.
SETTINGS: dict[str, float] = {
    "delta_v": 0.6,
    "delta_d": 1.4,
    "alpha": 0.7,
    "beta": 1.3,
    "gamma_reg": 0.05,
    "lambda_noisy": 0.4,
    "momentum": 0.8,
}


@dataclass
class Problem:
    """Leaves of one forward pass. ``noisy`` is None for a step without noisy embeddings."""

    embeddings: Tensor
    labels: Tensor
    weight: Tensor
    bias: Tensor
    noisy: Tensor | None

    def leaves(self) -> list[Tensor]:
        tensors = [self.embeddings, self.weight, self.bias]
        return tensors if self.noisy is None else [*tensors, self.noisy]

    def fresh(self) -> Problem:
        """The same numbers in new leaves that ask for their gradient."""

        def leaf(tensor: Tensor) -> Tensor:
            return tensor.detach().clone().requires_grad_()

        noisy = None if self.noisy is None else leaf(self.noisy)
        return Problem(leaf(self.embeddings), self.labels, leaf(self.weight), leaf(self.bias), noisy)

    def head(self) -> nn.Linear:
        return linear(self.weight, self.bias)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """An ``nn.Linear`` that uses these very tensors, so that gradients reach them."""
    head = nn.Linear(weight.shape[1], weight.shape[0])
    del head.weight, head.bias
    head.weight, head.bias = weight, bias
    return head


def random_problem(
    seed: int,
    n: int,
    num_classes: int,
    dim: int,
    labels: list[int] | None = None,
    with_noisy: bool = True,
    head_seed: int | None = None,
) -> Problem:
    """Blobs around class centres and a head that roughly tells them apart; some hinges act and some rest.

    The centres and the head depend on ``head_seed`` alone.
    """
    fixed = torch.Generator().manual_seed(seed if head_seed is None else head_seed)
    centres = 2.0 * torch.randn(num_classes, dim, generator=fixed, dtype=torch.float64)
    weight = centres + 0.3 * torch.randn(num_classes, dim, generator=fixed, dtype=torch.float64)
    bias = -0.5 * centres.square().sum(1) + 0.3 * torch.randn(num_classes, generator=fixed, dtype=torch.float64)
    varying = torch.Generator().manual_seed(1000 + seed)
    chosen = torch.tensor(labels) if labels is not None else torch.randint(num_classes, (n,), generator=varying)
    embeddings = centres[chosen] + 0.5 * torch.randn(n, dim, generator=varying, dtype=torch.float64)
    noisy = embeddings + 0.7 * torch.randn(n, dim, generator=varying, dtype=torch.float64)
    return Problem(embeddings, chosen, weight, bias, noisy if with_noisy else None)


def build_pair(
    num_classes: int, dim: int, strategy: str, **changes: float
) -> tuple[npf.DiscriminativeLoss, oracle.LoopLoss]:
    """The loss in float64 and its transcription, with the same settings."""
    settings: dict[str, Any] = {**SETTINGS, **changes, "centroids": strategy}
    return npf.DiscriminativeLoss(num_classes, dim, **settings).double(), oracle.LoopLoss(**settings)


def gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """The gradients, as zeros where the value does not depend on a leaf."""
    if not value.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


def assert_near(actual: Tensor, expected: Tensor, what: str = "", rtol: float = 1e-9) -> None:
    """Equal up to rounding; entries that cancel are judged against the largest entry."""
    scale = expected.detach().abs().nan_to_num(0.0, 0.0, 0.0).max().item() if expected.numel() else 0.0
    torch.testing.assert_close(
        actual.detach(),
        expected.detach(),
        rtol=rtol,
        atol=rtol * scale + 1e-15,
        equal_nan=True,
        msg=lambda text: f"{what}: {text}",
    )


def forward(loss_fn: npf.DiscriminativeLoss, problem: Problem) -> Any:
    return loss_fn(problem.embeddings, problem.labels, problem.head(), noisy_embeddings=problem.noisy)


def loop_forward(loop: oracle.LoopLoss, problem: Problem, update: bool = True) -> oracle.LoopTerms:
    return loop(problem.embeddings, problem.labels, problem.weight, problem.bias, problem.noisy, update)


def assert_same_state(loss_fn: npf.DiscriminativeLoss, loop: oracle.LoopLoss, rtol: float = 1e-9) -> None:
    """The buffers hold the transcription's stored centroids, and nothing for the classes never seen."""
    assert loss_fn.initialised.dtype == torch.bool
    assert {c for c, seen in enumerate(loss_fn.initialised.tolist()) if seen} == set(loop.stored)
    for c, centroid in loop.stored.items():
        assert_near(loss_fn.centroids[c], centroid, f"stored centroid {c}", rtol)


def assert_same_step(
    loss_fn: npf.DiscriminativeLoss, loop: oracle.LoopLoss, problem: Problem, rtol: float = 1e-9
) -> None:
    """One forward of both: the five values, the gradient of each to each leaf, and the state they leave behind."""
    ours, theirs = problem.fresh(), problem.fresh()
    terms = forward(loss_fn, ours)
    expected = loop_forward(loop, theirs, update=loss_fn.training)
    for name in TERMS:
        value, reference = getattr(terms, name), getattr(expected, name)
        assert value.shape == ()
        assert_near(value, reference, name, rtol)
        pairs = zip(
            ("embeddings", "weight", "bias", "noisy"),
            gradients(value, ours.leaves()),
            gradients(reference, theirs.leaves()),
            strict=False,
        )
        for leaf, gradient, wanted in pairs:
            assert bool(gradient.isfinite().all()), f"gradient of {name} to {leaf}"
            assert_near(gradient, wanted, f"gradient of {name} to {leaf}", rtol)
    assert_same_state(loss_fn, loop, rtol)
