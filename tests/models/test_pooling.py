"""Pooling by matrix products, for GPUs that are to be deterministic, against torch's pooling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noiseproof.models import pooling
from noiseproof.models.pooling import AdaptiveAvgPool1d, AdaptiveAvgPool2d


@pytest.fixture
def by_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "_repeatable", lambda _: True)


def with_gradient(pool: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = pool(x)
    y.backward(torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape))
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.usefixtures("by_matrices")
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 4), (8, 2), (17, 9)])
def test_it_averages_as_torch_does(shape: tuple[int, int], size: int) -> None:
    torch.manual_seed(0)
    plane, line = torch.rand(2, 3, *shape, dtype=torch.float64), torch.rand(2, 3, shape[0], dtype=torch.float64)
    torch.testing.assert_close(
        with_gradient(AdaptiveAvgPool2d(size), plane), with_gradient(torch.nn.AdaptiveAvgPool2d(size), plane)
    )
    torch.testing.assert_close(
        with_gradient(AdaptiveAvgPool1d(size), line), with_gradient(torch.nn.AdaptiveAvgPool1d(size), line)
    )


def test_elsewhere_it_is_torchs_own() -> None:
    x = torch.rand(2, 3, 5, 7)
    assert bool((AdaptiveAvgPool2d(2)(x) == torch.nn.AdaptiveAvgPool2d(2)(x)).all())
