"""Networks whose Hessian in the input is known, or can be made explicit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from tests.oracles.curvature import Array, hessian_in_logits

CLASSES = 4


def samples(n: int, *shape: int, classes: int = CLASSES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (n, *shape) in [0, 1] as float32, and labels at random."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *shape, generator=generator), torch.randint(classes, (n,), generator=generator)


def regression(k: int, classes: int = CLASSES, scale: float = 1.0) -> nn.Linear:
    """Logits W x + b in float64."""
    model = nn.Linear(k, classes).double()
    model.weight.data = scale * torch.randn(classes, k, generator=torch.Generator().manual_seed(1)).double()
    return model


def regression_hessian(model: nn.Linear, x: Tensor) -> Array:
    """Wᵀ (diag(p) − p pᵀ) W for x (k,)."""
    W, b = model.weight.detach().double().numpy(), model.bias.detach().double().numpy()
    found: Array = W.T @ hessian_in_logits(W @ x.double().numpy() + b) @ W
    return found


def smooth(*shape: int, classes: int = CLASSES) -> nn.Module:
    """Two layers with tanh, in float64, curved enough that the Gauss-Newton part is not the Hessian."""
    torch.manual_seed(2)
    k = int(np.prod(shape))
    model = nn.Sequential(nn.Flatten(), nn.Linear(k, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, classes))
    for layer in (1, 3, 5):
        model[layer].weight.data.mul_(2)
    return model.double()


def kinked(channels: int = 2, classes: int = CLASSES) -> nn.Module:
    """Convolutions, batch normalisation with statistics and weights, ReLU and max-pooling, in float64."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(),
        nn.Linear(8, classes),
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.1, 0.4)
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
    model[-1].weight.data.mul_(4)
    return model.double().eval()


class Quadratic(nn.Module):
    """Two logits (−log(e^q − 1), 0), so that the loss of class 0 is q(x) = ½ xᵀA x + 1 and its Hessian A, everywhere.

    p₀ = e^−q, and ∇z₀ = −∇q e^q / (e^q − 1), so that the Gauss-Newton part is ∇q ∇qᵀ / (e^q − 1).
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        root = torch.randn(k, k, generator=torch.Generator().manual_seed(4)).double()
        self.A = nn.Parameter(root @ root.T / k)

    def forward(self, x: Tensor) -> Tensor:
        q = 1 + ((x @ self.A) * x).sum(1) / 2
        return torch.stack([-q.expm1().log(), torch.zeros_like(q)], 1)


def basis(x: Tensor) -> Iterator[Tensor]:
    """Every unit vector as a probe, the same for all samples; the sum over them of ‖H e‖² is ‖H‖²."""
    for place in range(x[0].numel()):
        unit = torch.zeros_like(x)
        unit.view(len(x), -1)[:, place] = 1
        yield unit
