"""The loss surface of linear models in closed form, and of others against finite differences."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.analysis.landscape import loss_surface
from noiseproof.errors import InvalidArgumentError
from noiseproof.models import FeatureClassifier


class Linear(nn.Module):
    """z = W·flatten(x) + b."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None = None, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=dtype))
        self.bias = nn.Parameter(torch.tensor(np.zeros(len(weight)) if bias is None else bias, dtype=dtype))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return x.flatten(1) @ self.weight.T + self.bias


def linear(features: int, classes: int = 4, scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return scale * random.normal(size=(classes, features)), scale * random.normal(size=classes)


def loss(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, label: int) -> float:
    """−log softmax(z)_y by its definition."""
    z = weight @ x + bias
    return math.log(sum(math.exp(each - z[label]) for each in z))


def gradient(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, label: int) -> np.ndarray:
    """Wᵀ(p − e_y)."""
    z = weight @ x + bias
    p = np.exp(z - z.max())
    p /= p.sum()
    p[label] -= 1
    return weight.T @ p


@pytest.mark.parametrize("shape", [(12,), (3, 4), (1, 3, 4)], ids=["vector", "series", "image"])
def test_a_linear_model_in_closed_form(shape: tuple[int, ...]) -> None:
    weight, bias = linear(12)
    x, label = torch.rand(shape, dtype=torch.float64), 2
    found = loss_surface(Linear(weight, bias), x, label, extent=1.5, points=7)
    flat = x.flatten().numpy()
    slope = gradient(weight, bias, flat, label)
    np.testing.assert_allclose(found.along.ravel(), slope / np.linalg.norm(slope), atol=1e-12)
    assert found.along.shape == found.across.shape == shape
    assert found.gradient_norm == pytest.approx(np.linalg.norm(slope), rel=1e-12)
    assert not found.flat
    assert found.axis.tolist() == pytest.approx([-1.5, -1, -0.5, 0, 0.5, 1, 1.5])
    for i, a in enumerate((-1.5, -1, -0.5, 0, 0.5, 1, 1.5)):
        for j, b in enumerate((-1.5, -1, -0.5, 0, 0.5, 1, 1.5)):
            there = flat + a * found.along.ravel() + b * found.across.ravel()
            assert found.values[i, j] == pytest.approx(-loss(weight, bias, there, label), rel=1e-10)
    assert found.values.dtype == np.float64
    assert (found.values <= 0).all()


def test_the_middle_is_the_loss_at_the_input(tiny_model: FeatureClassifier) -> None:
    x = torch.rand(1, 8, 8)
    found = loss_surface(tiny_model, x, torch.tensor(1))
    tiny_model.eval()
    with torch.no_grad():
        expected = nn.functional.cross_entropy(tiny_model(x[None]), torch.tensor([1]))
    assert found.values.shape == (41, 41)
    assert found.values[20, 20] == pytest.approx(-float(expected), rel=1e-5)
    assert found.axis[20] == 0
    assert (found.axis == -found.axis[::-1]).all()
    assert found.label == 1


def test_the_gradient_by_finite_differences(tiny_model: FeatureClassifier) -> None:
    """Along u the loss grows by ‖∇l‖; along any direction orthogonal to it, as v, not at all."""
    model, x = tiny_model.double(), torch.rand(1, 8, 8, dtype=torch.float64)
    found = loss_surface(model, x, 2, extent=1e-6, points=3)
    along = -(found.values[2, 1] - found.values[0, 1]) / 2e-6
    across = -(found.values[1, 2] - found.values[1, 0]) / 2e-6
    assert found.gradient_norm > 1e-3
    assert along == pytest.approx(found.gradient_norm, rel=1e-4)
    assert across == pytest.approx(0, abs=1e-4 * found.gradient_norm)

    model.eval()
    slope = np.zeros(64)
    for place in range(64):
        step = torch.zeros(64, dtype=torch.float64)
        step[place] = 1e-6
        ahead, behind = x + step.view(1, 8, 8), x - step.view(1, 8, 8)
        with torch.no_grad():
            logits = model(torch.stack([ahead, behind]))
        ends = nn.functional.cross_entropy(logits, torch.tensor([2, 2]), reduction="none")
        slope[place] = float(ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(found.along.ravel(), slope / np.linalg.norm(slope), atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 300])
def test_the_directions_are_orthogonal_and_of_length_one(size: int) -> None:
    found = loss_surface(Linear(*linear(size)), torch.rand(size), 0, points=3)
    assert np.linalg.norm(found.along) == pytest.approx(1, abs=1e-12)
    assert np.linalg.norm(found.across) == pytest.approx(1, abs=1e-12)
    assert float((found.along * found.across).sum()) == pytest.approx(0, abs=1e-12)


def test_models_share_the_random_direction() -> None:
    """Up to what each has to take out of it, its part along the gradient: one of 3,000 dimensions."""
    x = torch.rand(3, 25, 40)
    one, other = (loss_surface(Linear(*linear(3000, seed=seed)), x, 0, points=3) for seed in (1, 2))
    again = loss_surface(Linear(*linear(3000, seed=1)), x, 0, points=3)
    another = loss_surface(Linear(*linear(3000, seed=1)), x, 0, points=3, seed=1)
    assert abs((one.along * other.along).sum()) < 0.1
    assert (one.across * other.across).sum() > 0.99
    assert (one.across == again.across).all()
    assert (one.values == again.values).all()
    assert (one.along == another.along).all()
    assert abs((one.across * another.across).sum()) < 0.1
    assert (one.seed, another.seed) == (0, 1)


@pytest.mark.parametrize("shape", [(10,), (3, 4, 4)])
def test_it_reaches_as_far_as_gaussian_noise_unless_told(shape: tuple[int, ...]) -> None:
    size = math.prod(shape)
    found = loss_surface(Linear(*linear(size)), torch.rand(shape), 0, points=5)
    noise = 0.06 * torch.randn(20_000, size, generator=torch.Generator().manual_seed(0))
    assert found.extent == pytest.approx(0.06 * math.sqrt(size))
    assert found.extent == pytest.approx(float(noise.square().sum(1).mean().sqrt()), rel=0.01)
    assert (found.axis[0], found.axis[-1]) == (-found.extent, found.extent)


def test_the_plane_is_not_clamped() -> None:
    model = Linear(*linear(16), dtype=torch.float32)
    loss_surface(model, torch.ones(1, 4, 4), 0, extent=3, points=5)
    seen = torch.cat(model.seen[1:])
    assert len(seen) == 25
    assert seen.max() > 1.5
    assert seen.min() < 0.5
    distances = sorted({round(float((each - 1).norm()), 4) for each in seen})
    assert distances == pytest.approx(sorted({round(1.5 * math.hypot(i, j), 4) for i in range(3) for j in range(3)}))


def test_the_model_gets_batches() -> None:
    model = Linear(*linear(6))
    loss_surface(model, torch.rand(6), 0, points=41)
    assert max(len(batch) for batch in model.seen) <= 512
    assert sum(len(batch) for batch in model.seen) == 1 + 41 * 41


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", [30.0, 90.0, 600.0])
def test_a_model_that_is_very_sure_still_has_a_direction(margin: float, dtype: torch.dtype) -> None:
    """Its gradient, of the size of e^−margin, vanishes beside 1 and may even in itself, but not its direction."""
    weight, x = np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0]]), torch.tensor([0.3, 0.2, 0.1], dtype=dtype)
    weight = weight.astype(np.float32).astype(np.float64)
    bias = np.array([margin - float((weight[0] - weight[1]) @ x.double().numpy()), 0])
    found = loss_surface(Linear(weight, bias, dtype), x, 0, extent=0.1, points=3)
    towards = weight[1] - weight[0]
    assert not found.flat
    np.testing.assert_allclose(found.along, towards / np.linalg.norm(towards), rtol=1e-5)
    logarithm = -margin + math.log(np.linalg.norm(towards))
    assert math.log(found.gradient_norm) == pytest.approx(logarithm, abs=1e-3)
    assert math.log(-found.values[1, 1]) == pytest.approx(-margin, abs=1e-3)
    assert found.values[2, 1] < found.values[1, 1] < found.values[0, 1] < 0


def test_a_model_that_is_very_wrong() -> None:
    weight, bias = linear(5, scale=1000)
    x = torch.rand(5, dtype=torch.float64)
    worst = int((weight @ x.numpy() + bias).argmin())
    found = loss_surface(Linear(weight, bias), x, worst, points=3)
    z = weight @ x.numpy() + bias
    assert found.values[1, 1] == pytest.approx(-(z.max() - z[worst]), rel=1e-9)
    assert np.isfinite(found.values).all()


def test_a_flat_loss_has_two_random_directions_and_a_flag() -> None:
    model = Linear(np.zeros((4, 6)))
    found, again = (loss_surface(model, torch.rand(6), 1, points=5) for _ in range(2))
    assert found.flat
    assert found.gradient_norm == 0
    assert np.linalg.norm(found.along) == pytest.approx(1)
    assert np.linalg.norm(found.across) == pytest.approx(1)
    assert (found.along * found.across).sum() == pytest.approx(0, abs=1e-12)
    assert (found.along == again.along).all()
    np.testing.assert_allclose(found.values, -math.log(4), rtol=1e-12)


def test_bytes_are_divided_by_255() -> None:
    model, x = Linear(*linear(12), dtype=torch.float32), torch.randint(256, (3, 2, 2), dtype=torch.uint8)
    assert (
        loss_surface(model, x, 0, points=3).values == loss_surface(model, x.float() / 255, 0, points=3).values
    ).all()


def test_it_runs_in_full_precision_and_leaves_all_as_it_was(tiny_model: FeatureClassifier) -> None:
    tiny_model.train()
    tiny_model.backbone[1].eval()
    tiny_model.head.bias.requires_grad_(False)
    during: list[tuple[bool, bool, bool, torch.dtype, str]] = []

    def note(module: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
        autocast, precision = torch.is_autocast_enabled("cpu"), torch.backends.mkldnn.matmul.fp32_precision
        wanted = any(parameter.requires_grad for parameter in tiny_model.parameters())
        during.append((tiny_model.training, autocast, wanted, output.dtype, precision))

    hook = tiny_model.backbone[0].register_forward_hook(note)
    modes = [part.training for part in tiny_model.modules()]
    wanted = [parameter.requires_grad for parameter in tiny_model.parameters()]
    state = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    x = torch.rand(1, 8, 8, requires_grad=True)
    before, random = x.detach().clone(), torch.get_rng_state()
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            loss_surface(tiny_model, x, 0, points=3)
            assert torch.is_autocast_enabled("cpu")
            assert not torch.is_grad_enabled()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
        hook.remove()
    assert set(during) == {(False, False, False, torch.float32, "ieee")}
    assert [part.training for part in tiny_model.modules()] == modes
    assert [parameter.requires_grad for parameter in tiny_model.parameters()] == wanted
    assert all(torch.equal(value, state[name]) for name, value in tiny_model.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny_model.parameters())
    assert x.grad is None
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), random)


def test_models_that_work_in_place_do_no_harm() -> None:
    """They may change the very input they are given: neither the user's nor the plane's may be that one."""
    x = torch.rand(1, 4, 4) - 0.0
    before, plain = x.clone(), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    hasty = nn.Sequential(nn.Threshold(0.5, 0.5, inplace=True), plain)
    expected = loss_surface(nn.Sequential(nn.Threshold(0.5, 0.5), plain), x, 0, points=3)
    found = loss_surface(hasty, x, 0, points=3)
    assert torch.equal(x, before)
    assert (found.values == expected.values).all()
    assert (found.along == expected.along).all()


def test_results_are_frozen() -> None:
    found = loss_surface(Linear(*linear(6)), torch.rand(6), 0, points=3)
    with pytest.raises(FrozenInstanceError):
        found.extent = 1.0  # type: ignore[misc]


def test_our_networks_have_surfaces() -> None:
    model = npf.build_model("resnet8-cifar", 3, 5, in_channels=1, width=4, mean=0.5, std=0.25)
    found = loss_surface(model, torch.rand(1, 8, 8), 1, points=5)
    assert np.isfinite(found.values).all()
    assert found.values.std() > 0


class Broken(nn.Module):
    """Logits that are not."""

    def __init__(self, give: Any) -> None:
        super().__init__()
        self.give = give

    def forward(self, x: Tensor) -> Any:
        return self.give(x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": torch.sin}, r"model must be an nn\.Module"),
        ({"x": torch.rand(1, 1, 2, 3)}, r"x must be one input .* without a batch, got \(1, 1, 2, 3\)"),
        ({"x": torch.tensor(1.0)}, r"without a batch, got \(\)"),
        ({"x": [1.0, 2.0]}, "without a batch, got list"),
        ({"x": torch.rand(1)}, r"more than one value, got \(1,\)"),
        ({"x": 2 * torch.ones(1, 2, 3)}, r"the image x must have values in \[0, 1\]"),
        ({"x": torch.rand(7)}, r"the model cannot take inputs of shape \(1, 7\)"),
        ({"y": 4}, r"y must lie in \[0, 4\), the model's classes, got 4"),
        ({"y": -1}, "y must be >= 0"),
        ({"extent": 0.0}, "extent must be > 0"),
        ({"extent": math.inf}, "extent must be > 0"),
        ({"points": 1}, "points must be >= 3"),
        ({"points": 40}, "points must be odd, so that the input itself is one of them, got 40"),
        ({"points": 4.5}, "points must be a whole number"),
        ({"model": Broken(lambda x: x.sum(1))}, r"must give \(N, C\) logits, got \(1,\) for 1 inputs"),
        ({"model": Broken(lambda x: x[:, :1])}, r"logits, got \(1, 1\) for 1 inputs; C must be >= 2"),
        ({"model": Broken(lambda x: (x, x))}, "got tuple"),
        ({"model": Broken(lambda x: x / 0)}, "logits that are NaN or infinite"),
        ({"model": Broken(lambda x: (x - x.detach()).sqrt())}, "the gradient of the loss at the input is not finite"),
        ({"model": Broken(lambda x: x.detach())}, "carry no gradient back to the input"),
        ({"device": "gpu"}, "device 'gpu' is not there"),
        ({"model": Broken(lambda x: (x - x.detach().norm() + 0.9).log()), "x": torch.ones(2) * 0.6, "extent": 9.0},
         "logits that are NaN or infinite"),
    ],
)  # fmt: skip
def test_arguments_outside_their_range(change: dict[str, Any], message: str) -> None:
    arguments = {"model": Linear(*linear(6), dtype=torch.float32), "x": torch.rand(6), "y": 0, **change}
    with pytest.raises(InvalidArgumentError, match=message):
        loss_surface(**arguments)
