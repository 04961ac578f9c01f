"""The three estimators against explicit Hessians: with unit vectors as probes there is nothing random in them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from noiseproof.analysis import estimators
from noiseproof.analysis.estimators import (
    Moments,
    Spectrum,
    finite_difference,
    gauss_newton,
    gauss_newton_residual,
    hutchinson,
    loss_gradient,
)
from tests.analysis.problems import (
    CLASSES,
    Quadratic,
    basis,
    kinked,
    regression,
    regression_hessian,
    samples,
    smooth,
)
from tests.oracles import curvature as oracle

Problem = tuple[nn.Module, Tensor, Tensor]


def doubled(n: int, *shape: int, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    inputs, labels = samples(n, *shape, classes=classes)
    return inputs.double(), labels


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "regression": lambda: (regression(7), *doubled(6, 7)),
    "two classes": lambda: (regression(7, classes=2), *doubled(6, 7, classes=2)),
    "more classes than inputs": lambda: (regression(3, classes=8), *doubled(6, 3, classes=8)),
    "smooth": lambda: (smooth(11), *doubled(6, 11)),
    "smooth series": lambda: (smooth(2, 5), *doubled(6, 2, 5)),
    "kinked": lambda: (kinked(), *doubled(4, 2, 6, 6)),
}


@pytest.fixture(params=list(PROBLEMS))
def problem(request: pytest.FixtureRequest) -> Problem:
    return PROBLEMS[request.param]()


def over_basis(moments: Moments, x: Tensor) -> np.ndarray:
    """Σⱼ ‖H eⱼ‖² from its mean."""
    return moments.mean().numpy() * x[0].numel()


def squares(matrices: list[np.ndarray]) -> np.ndarray:
    return np.array([(matrix**2).sum() for matrix in matrices])


def hessians(model: nn.Module, x: Tensor, labels: Tensor) -> list[np.ndarray]:
    return [oracle.hessian(model, each, label) for each, label in zip(x, labels.tolist(), strict=True)]


def gauss_newtons(model: nn.Module, x: Tensor) -> list[np.ndarray]:
    return [oracle.gauss_newton(model, each) for each in x]


def check_spectrum(found: Spectrum, matrices: list[np.ndarray]) -> None:
    np.testing.assert_allclose(found.squares.numpy(), squares(matrices), rtol=1e-10)
    np.testing.assert_allclose(found.absolute.numpy(), [np.trace(each) for each in matrices], rtol=1e-10)
    largest = [np.linalg.eigvalsh(each).max() for each in matrices]
    np.testing.assert_allclose(found.largest.numpy(), largest, rtol=1e-10)


# Against explicit matrices.


def test_the_gradient_is_each_samples_own(problem: Problem) -> None:
    model, x, labels = problem
    expected = [oracle.gradient(model, each, label) for each, label in zip(x, labels.tolist(), strict=True)]
    found = loss_gradient(model, x, labels)
    assert found.shape == x.shape
    assert not found.requires_grad
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, rtol=1e-9, atol=1e-14)
    kept = loss_gradient(model, x.requires_grad_(), labels, differentiable=True)
    assert kept.requires_grad
    torch.testing.assert_close(kept.detach(), found, rtol=1e-12, atol=0)


def test_hutchinson_over_a_basis_is_the_whole_hessian(problem: Problem) -> None:
    model, x, labels = problem
    found = over_basis(hutchinson(model, x, labels, basis(x)), x)
    np.testing.assert_allclose(found, squares(hessians(model, x, labels)), rtol=1e-9)


def test_small_finite_differences_over_a_basis_are_the_whole_hessian(problem: Problem) -> None:
    model, x, labels = problem
    exact = squares(hessians(model, x, labels))
    (near,) = finite_difference(model, x, labels, basis(x), [1e-6])
    np.testing.assert_allclose(over_basis(near, x), exact, rtol=1e-4)


def test_gauss_newton_is_the_spectrum_of_the_explicit_product(problem: Problem) -> None:
    model, x, _ = problem
    check_spectrum(gauss_newton(model, x), gauss_newtons(model, x))


@pytest.mark.parametrize("name", ["regression", "two classes", "more classes than inputs", "kinked"])
def test_gauss_newton_is_the_hessian_where_logits_are_piecewise_linear(name: str) -> None:
    model, x, labels = PROBLEMS[name]()
    check_spectrum(gauss_newton(model, x), hessians(model, x, labels))


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_gauss_newton_of_softmax_regression(classes: int, scale: float) -> None:
    model, (x, _) = regression(6, classes, scale), doubled(20, 6)
    check_spectrum(gauss_newton(model, x), [regression_hessian(model, each) for each in x])


@pytest.mark.parametrize("name", ["smooth", "smooth series"])
def test_gauss_newton_of_a_smooth_network_is_not_the_hessian(name: str) -> None:
    model, x, labels = PROBLEMS[name]()
    exact = squares(hessians(model, x, labels))
    assert (np.abs(gauss_newton(model, x).squares.numpy() / exact - 1) > 0.01).all()
    np.testing.assert_allclose(over_basis(hutchinson(model, x, labels, basis(x)), x), exact, rtol=1e-9)


def test_the_residual_is_what_the_explicit_matrices_differ_by(problem: Problem) -> None:
    model, x, labels = problem
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(6), dtype=x.dtype)
    expected = []
    for H, G, v in zip(hessians(model, x, labels), gauss_newtons(model, x), probe.flatten(1).numpy(), strict=True):
        expected.append(np.linalg.norm(H @ v - G @ v) / max(np.linalg.norm(H @ v), np.linalg.norm(G @ v)))
    found = gauss_newton_residual(model, x, labels, probe)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("margin", [0, 30, 80])
def test_the_residual_does_not_depend_on_how_sure_the_network_is(margin: float) -> None:
    model, x, labels = PROBLEMS["smooth"]()
    model = model.float()
    with torch.no_grad():
        model[-1].bias[0] += margin
    probe = torch.ones_like(x).float()
    first = torch.zeros_like(labels)
    assert (gauss_newton_residual(model, x.float(), first, probe) > 0.01).all()


# A loss that is a quadratic form.


@pytest.mark.parametrize("step", [1e-3, 0.1, 1.0, 3.0])
def test_of_a_quadratic_loss_every_step_gives_the_same(step: float) -> None:
    model, (x, _) = Quadratic(5), doubled(6, 5)
    A = model.A.detach()
    labels = torch.zeros(6, dtype=torch.long)
    draws = [torch.randn(6, 5, dtype=torch.float64) for _ in range(9)]
    expected = torch.stack([(draw @ A).square().sum(1) for draw in draws])
    for moments in (
        hutchinson(model, x, labels, draws), *finite_difference(model, x, labels, draws, [step]),
    ):  # fmt: skip
        torch.testing.assert_close(moments.mean(), expected.mean(0), rtol=1e-8, atol=0)
        torch.testing.assert_close(moments.stderr(), expected.std(0) / 3, rtol=1e-7, atol=0)
    everything = torch.full((6,), float(A.square().sum()), dtype=torch.float64).numpy()
    np.testing.assert_allclose(over_basis(hutchinson(model, x, labels, basis(x)), x), everything, rtol=1e-10)


def test_gauss_newton_of_a_quadratic_loss() -> None:
    model, (x, _) = Quadratic(5), doubled(6, 5)
    slope = x @ model.A.detach()
    q = 1 + (slope * x).sum(1) / 2
    largest = slope.square().sum(1) / q.expm1()
    found = gauss_newton(model, x)
    torch.testing.assert_close(found.largest, largest, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.absolute, largest, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.squares, largest.square(), rtol=1e-10, atol=0)


# Kinks.


def test_large_steps_see_kinks_and_hessians_do_not() -> None:
    model, x, labels = PROBLEMS["kinked"]()
    exact = squares(hessians(model, x, labels))
    steps = [1e-7, 0.3]
    close, far = (over_basis(each, x) for each in finite_difference(model, x, labels, basis(x), steps))
    np.testing.assert_allclose(close, exact, rtol=1e-4)
    assert (np.abs(far / exact - 1) > 0.2).all()


def test_a_kink_counts_with_the_steps_that_cross_it() -> None:
    class Ramp(nn.Module):
        """Logits (4 max(x − ½, 0), 0): flat up to ½, where the loss of class 1 begins to rise with the slope 2."""

        def forward(self, x: Tensor) -> Tensor:
            rise = 4 * (x - 0.5).relu()
            return torch.cat([rise, torch.zeros_like(rise)], 1)

    x, labels = torch.tensor([[0.4], [0.45]], dtype=torch.float64), torch.tensor([1, 1])
    assert hutchinson(Ramp(), x, labels, [torch.ones_like(x)]).mean().tolist() == [0, 0]
    assert gauss_newton(Ramp(), x).squares.tolist() == [0, 0]
    steps = [0.01, 0.07, 0.2]
    found = np.array([each.mean().numpy() for each in finite_difference(Ramp(), x, labels, [x * 0 + 1], steps)])
    beyond = x.T.numpy() + np.array(steps)[:, None] - 0.5
    slope = np.where(beyond > 0, 4 / (1 + np.exp(-4 * beyond)), 0)
    np.testing.assert_allclose(found, (slope / np.array(steps)[:, None]) ** 2, rtol=1e-10)
    assert (found > 0).tolist() == [[False, False], [False, True], [True, True]]


# Confident samples, on which curvature is small, and single precision.


def confident(model: nn.Module, x: Tensor, labels: Tensor, margin: float) -> nn.Module:
    """The network with so much more for the class of the first sample."""
    with torch.no_grad():
        model[-1].bias[labels[0]] += margin
    return model


@pytest.mark.parametrize("margin", [0, 5, 10, 15, 20, 25])
@pytest.mark.parametrize("estimator", ["hutchinson", "finite-difference"])
def test_single_precision_holds_on_confident_samples(estimator: str, margin: float) -> None:
    # 1 − p is about e^−margin: 1e-2 … 1e-11, in the midst of which p is 1 in single precision.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5))
    x = torch.rand(1, 12)
    labels = model(x).argmax(1)
    draws = [torch.randn(1, 12) for _ in range(10)]
    double = confident(model, x, labels, margin).double()
    H = oracle.hessian(double, x[0].double(), int(labels))
    if estimator == "hutchinson":
        expected = float(np.mean([((H @ draw[0].double().numpy()) ** 2).sum() for draw in draws]))
        found = hutchinson(double.float(), x, labels, draws).mean()
    else:
        here = oracle.gradient(double, x[0].double(), int(labels))
        there = [oracle.gradient(double, x[0].double() + 1e-2 * draw[0].double(), int(labels)) for draw in draws]
        expected = float(np.mean([((each - here) ** 2).sum() / 1e-4 for each in there]))
        found = finite_difference(double.float(), x, labels, draws, [1e-2])[0].mean()
    assert expected > 0
    assert float(found) == pytest.approx(expected, rel=0.01, abs=0)


@pytest.mark.parametrize("margin", [0, 10, 25, 40])
def test_gauss_newton_in_single_precision_holds_on_confident_samples(margin: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5))
    x = torch.rand(1, 12)
    double = confident(model, x, model(x).argmax(1), margin).double()
    expected = float((oracle.gauss_newton(double, x[0].double()) ** 2).sum())
    assert float(gauss_newton(double.float(), x).squares) == pytest.approx(expected, rel=1e-4, abs=0)


@pytest.mark.parametrize("scale", [1e-10, 1e-12, 1e10])
def test_squares_neither_vanish_nor_overflow_in_single_precision(scale: float) -> None:
    model, (x, labels) = regression(5, scale=scale), samples(4, 5)
    x = x / scale if scale > 1 else x
    draws = [torch.randn(4, 5) for _ in range(6)]
    expected = hutchinson(model, x.double(), labels, [draw.double() for draw in draws]).mean().numpy()
    found = hutchinson(model.float(), x, labels, draws).mean().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_attention_is_differentiated_twice() -> None:
    torch.manual_seed(5)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Unflatten(1, (5, 1)), nn.Linear(1, 4), layer, nn.Flatten(), nn.Linear(20, CLASSES))
    model = model.double().eval().requires_grad_(False)
    x, labels = doubled(3, 5)
    found = over_basis(hutchinson(model, x, labels, basis(x)), x)
    np.testing.assert_allclose(found, squares(hessians(model, x, labels)), rtol=1e-8)


# Means and errors.


@pytest.mark.parametrize("count", [2, 3, 50])
def test_moments_are_mean_and_standard_error(count: int) -> None:
    values = torch.rand(count, 7, dtype=torch.float64) * 100
    moments = Moments()
    for row in values:
        moments.add(row)
    np.testing.assert_allclose(moments.mean().numpy(), values.numpy().mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.stderr().numpy(), values.numpy().std(0, ddof=1) / count**0.5, rtol=1e-10)


def test_moments_of_a_single_probe_and_of_equal_ones() -> None:
    moments = Moments()
    moments.add(torch.tensor([0.1, 3.7]))
    assert moments.mean().dtype == moments.stderr().dtype == torch.float64
    torch.testing.assert_close(moments.mean(), torch.tensor([0.1, 3.7]).double())
    assert moments.stderr().isnan().all()
    for _ in range(6):
        moments.add(torch.tensor([0.1, 3.7]))
    assert moments.stderr().max() < 1e-7
    assert (moments.stderr() >= 0).all()


def test_moments_are_summed_in_double_precision() -> None:
    moments = Moments()
    for value in [1e8, 1.0, 1.0, 1.0]:
        moments.add(torch.tensor([value], dtype=torch.float32))
    assert moments.mean().tolist() == [(1e8 + 3) / 4]


# What is held at once.


@pytest.mark.parametrize("sizes", [1, 3, 4, 5, 7, 100])
def test_gauss_newton_holds_only_so_many_jacobians(monkeypatch: pytest.MonkeyPatch, sizes: int) -> None:
    model, (x, _) = smooth(2, 5), doubled(11, 2, 5)
    expected = gauss_newton(model, x)
    given: list[int] = []

    def watched(part: Tensor) -> Tensor:
        if part.requires_grad:  # but for the one sample on which classes are counted
            given.append(len(part))
        logits: Tensor = model(part)
        return logits

    monkeypatch.setattr(estimators, "_JACOBIAN_BYTES", sizes * 2 * CLASSES * 10 * 8)
    found = gauss_newton(watched, x)
    assert given == [min(sizes, 11 - start) for start in range(0, 11, sizes)]
    for name in ("squares", "absolute", "largest"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=0)


def test_a_sample_with_a_huge_jacobian_is_still_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, _) = smooth(11), doubled(3, 11)
    expected = gauss_newton(model, x).squares
    monkeypatch.setattr(estimators, "_JACOBIAN_BYTES", 1)
    torch.testing.assert_close(gauss_newton(model, x).squares, expected, rtol=1e-12, atol=0)


class Kept:
    """A tensor that a graph holds for its backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@pytest.mark.parametrize("estimator", ["hutchinson", "finite-difference"])
def test_memory_does_not_grow_with_probes(estimator: str) -> None:
    model, (x, labels) = kinked(), doubled(4, 2, 6, 6)
    in_graphs: weakref.WeakSet[Kept] = weakref.WeakSet()
    drawn: weakref.WeakSet[Tensor] = weakref.WeakSet()
    seen: list[tuple[int, int]] = []

    def keep(tensor: Tensor) -> Kept:
        kept = Kept(tensor.detach())
        in_graphs.add(kept)
        return kept

    def probes() -> Iterator[Tensor]:
        for _ in range(12):
            seen.append((len(in_graphs), len(drawn)))
            draw = torch.randn_like(x)
            drawn.add(draw)
            yield draw
            del draw

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.tensor):
        if estimator == "hutchinson":
            hutchinson(model, x, labels, probes())
        else:
            finite_difference(model, x, labels, probes(), [1e-2, 1e-1])
    assert len(set(seen[1:])) == 1
    graphs, probes_alive = seen[-1]
    assert probes_alive <= 2
    assert (graphs > 0) == (estimator == "hutchinson")
    assert len(in_graphs) == 0
