"""Classifiers whose features are their inputs, and what must be the same after a model was looked at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noiseproof.models import FeatureClassifier
from noiseproof.progress import Task


def plain(weight: Tensor, bias: Tensor | None = None) -> FeatureClassifier:
    """q(x) = x and logits W x + b, in the type of W (C, d)."""
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).to(weight.dtype)
    head.weight.data = weight.clone()
    if bias is not None:
        head.bias.data = bias.clone()
    return FeatureClassifier(nn.Identity(), head)


def clusters(sizes: list[int], dim: int, spread: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (N, dim) around one centre for each class, in float64 but exact in float32, and labels; mixed up."""
    g = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(len(sizes), dim, generator=g)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=g)]
    return (centres[labels] + spread * torch.randn(len(labels), dim, generator=g)).double(), labels


def softmax_layer(num_classes: int, dim: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """W (C, d) and b (C,) in float64 but exact in float32."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(num_classes, dim, generator=g).double(), torch.randn(num_classes, generator=g).double()


def trained_looking(model: FeatureClassifier) -> FeatureClassifier:
    """Batch normalisation with statistics, a part in another mode, and a parameter that wants no gradient."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.3)
            part.running_var.uniform_(0.5, 1.5)
    model.train()
    next(part for part in model.modules() if isinstance(part, nn.ReLU)).eval()
    model.head.bias.requires_grad_(False)
    return model


def condition(model: nn.Module) -> dict[str, Any]:
    """All that looking at a model could change: weights, buffers, modes, gradients, hooks and random generators."""
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [part.training for part in model.modules()],
        "wanted": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "hooks": [len(part._forward_hooks) for part in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],
        "python": random.getstate(),
        "grad": torch.is_grad_enabled(),
    }


def same(first: Any, second: Any) -> bool:
    """Whether two nested values are equal to the last bit; NaN equals NaN."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, Tensor):
        first, second = first.detach().numpy(), second.detach().numpy()
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
    return bool(first == second or (first != first and second != second))


class Counter:
    """Keeps what was announced and what was done of it."""

    def __init__(self) -> None:
        self.announced: dict[str, int] = {}
        self.done: dict[str, int] = {}

    def task(self, title: str, total: int) -> AbstractContextManager[Task]:
        return self._task(title, total)

    @contextmanager
    def _task(self, title: str, total: int) -> Iterator[Task]:
        self.announced[title] = self.announced.get(title, 0) + total

        class One:
            def advance(_, amount: int = 1, note: str = "") -> None:  # noqa: N805
                self.done[title] = self.done.get(title, 0) + amount

        yield One()
