"""Theorem 6.1 on models where η, the Hessian and E[(Δl)²] are known, and every number against loops over the draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.stats import chi2
from torch import Tensor, nn

from noiseproof import input_curvature, seeding
from noiseproof.analysis.theory import Stability, stability
from noiseproof.analysis.theory.stability import CHUNK, implied_change, lower_bound, upper_bound
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.models import FeatureClassifier
from tests.analysis.theory.problems import clusters, plain, same, softmax_layer

Array = np.ndarray
PER_SAMPLE = (
    "eta", "loss", "l_out", "gradient", "squares", "absolute", "measured", "measured_stderr", "correlation", "error",
    "indices", "labels",
)  # fmt: skip


def noise(shape: tuple[int, ...], draws: int, seed: int, place: int, dtype: torch.dtype) -> Array:
    """(draws, …) the standard normal noise of one sample, chunk by chunk from its generator."""
    chunks = [
        torch.randn(CHUNK, *shape, generator=seeding.generator(seed, "stability", place, chunk), dtype=dtype)
        for chunk in range(math.ceil(draws / CHUNK))
    ]
    return torch.cat(chunks)[:draws].double().numpy()


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum()


def loss_at(z: Array, label: int) -> float:
    return -math.log(softmax(z)[label])


def by_loops(W: Array, b: Array, x: Array, label: int, eps: Array, delta: float) -> dict[str, float]:
    """All that is measured of a sample of softmax regression with q(x) = x, draw by draw."""
    p = softmax(W @ x + b)
    slope = W.T @ (p - np.eye(len(b))[label])
    hessian = W.T @ (np.diag(p) - np.outer(p, p)) @ W
    eigenvalues = np.linalg.eigvalsh(hessian)
    loss = loss_at(W @ x + b, label)
    change, predicted, inside, outside = [], [], 0, []
    for e in eps:
        there = loss_at(W @ (x + e) + b, label)
        change.append(there - loss)
        predicted.append(slope @ e + e @ hessian @ e / 2)
        if math.sqrt(e @ e) <= delta:
            inside += 1
        else:
            outside.append(there)
    return {
        "eta": inside / len(eps),
        "loss": loss,
        "l_out": sum(outside) / len(outside) if outside else math.nan,
        "gradient": slope @ slope,
        "squares": (eigenvalues**2).sum(),
        "absolute": np.abs(eigenvalues).sum(),
        "measured": np.mean(np.square(change)),
        "measured_stderr": np.std(np.square(change), ddof=1) / math.sqrt(len(eps)),
        "correlation": np.corrcoef(change, predicted)[0, 1],
        "error": math.sqrt(np.mean(np.square(np.subtract(change, predicted))) / np.mean(np.square(change))),
    }


@pytest.fixture
def regression() -> tuple[FeatureClassifier, tuple[Tensor, Tensor]]:
    """Softmax regression of 4 classes on vectors of 3, in float64: smooth, and its features are its inputs."""
    return plain(*softmax_layer(4, 3)), clusters([4, 3, 2, 3], 3)


def network(dtype: torch.dtype = torch.float64) -> FeatureClassifier:
    """A convolutional network with kinks and batch normalisation, for images of 1×6×6."""
    torch.manual_seed(6)
    backbone = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    )
    backbone[1].running_var.fill_(0.05)
    model = FeatureClassifier(backbone, nn.Linear(5, 3))
    model.head.weight.data.mul_(3)
    return model.to(dtype)


def images(n: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(7)
    return torch.rand(n, 1, 6, 6, generator=g), torch.randint(3, (n,), generator=g)


@pytest.mark.parametrize(
    ("draws", "sigma", "delta"), [(300, 0.5, 0.8), (CHUNK, 0.05, 0.09), (1, 0.3, 0.5), (20, 1, 9)]
)
@pytest.mark.filterwarnings("ignore:Degrees of freedom", "ignore:invalid value", "ignore:divide by zero")
def test_everything_against_loops(regression: Any, draws: int, sigma: float, delta: float) -> None:
    model, (x, y) = regression
    found = stability(model, (x, y), sigma=sigma, delta=delta, draws=draws, seed=3)
    W, b = model.head.weight.detach().numpy(), model.head.bias.detach().numpy()
    largest = np.abs(x.numpy() @ W.T + b).max()
    for n in range(len(x)):
        eps = sigma * noise((3,), draws, 3, n, torch.float64)
        largest = max(largest, np.abs((x[n].numpy() + eps) @ W.T + b).max())
        expected = by_loops(W, b, x[n].numpy(), int(y[n]), eps, delta)
        for name, value in expected.items():
            assert getattr(found, name)[n] == pytest.approx(value, rel=1e-6, abs=1e-12, nan_ok=True), (name, n)
    assert found.k_max == found.largest_logit == pytest.approx(largest)
    assert found.weight_norm == pytest.approx(max(math.hypot(*row) for row in W.tolist()))
    assert found.indices.tolist() == list(range(len(x)))
    assert found.labels.tolist() == y.tolist()
    assert (found.draws, found.seed, found.sigma, found.delta) == (draws, 3, sigma, delta)


def test_both_sides_of_the_theorem_in_loops(regression: Any) -> None:
    model, data = regression
    sigma, delta = 0.7, 1.0
    found = stability(model, data, sigma=sigma, delta=delta, draws=200)
    for n in range(len(data[0])):
        eta, jump = found.eta[n], found.l_out[n] - found.loss[n]
        upper = 8 / sigma**4 * (eta * found.weight_norm**2 * delta**2 + 4 * (1 - eta) * found.k_max**2)
        lower = 4 / sigma**4 * ((0 if eta == 1 else (1 - eta) * jump**2) - sigma**2 * found.gradient[n])
        curvature = 2 * found.squares[n] + found.absolute[n] ** 2
        implied = sigma**2 * found.gradient[n] + sigma**4 / 4 * curvature
        assert found.upper[n] == pytest.approx(upper)
        assert found.lower[n] == pytest.approx(lower)
        assert found.curvature[n] == pytest.approx(curvature)
        assert found.upper_holds[n] == (found.squares[n] <= upper)
        assert found.lower_holds[n] == (curvature >= lower)
        assert found.lower_says_something[n] == (lower > 0)
        assert found.implied[n] == pytest.approx(implied)
        assert found.change_ratio[n] == pytest.approx(found.measured[n] / implied)
        assert found.step_one[n] == pytest.approx(2 * found.measured[n] / sigma**4)
        assert found.eta_stderr[n] == pytest.approx(math.sqrt(eta * (1 - eta) / 200))


def test_eta_is_the_chi_distribution_where_features_are_inputs(regression: Any) -> None:
    model, (x, y) = regression
    for sigma, delta in [(0.5, 0.8), (0.2, 0.2), (1.0, 3.0)]:
        found = stability(model, (x, y), sigma=sigma, delta=delta, draws=1000)
        eta = chi2.cdf(delta**2 / sigma**2, 3)
        stderr = math.sqrt(eta * (1 - eta) / 1000)
        assert np.abs(found.eta - eta).max() < 4.5 * stderr
        assert abs(found.eta.mean() - eta) < 4.5 * stderr / math.sqrt(len(x))


def test_the_measured_change_against_quadrature() -> None:
    """Of two classes the loss is a function of one Gaussian number, z_y − z_other."""
    W, b = softmax_layer(2, 5)
    x, y = clusters([3, 3], 5)
    sigma, draws = 0.4, 2000
    found = stability(plain(W, b), (x, y), sigma=sigma, delta=1.0, draws=draws)
    nodes, weights = hermegauss(80)
    for n in range(len(x)):
        c, i = int(y[n]), 1 - int(y[n])
        normal = (W[c] - W[i]).numpy()
        gap = normal @ x[n].numpy() + float(b[c] - b[i])
        changes = np.logaddexp(0, -(gap + sigma * math.hypot(*normal) * nodes)) - np.logaddexp(0, -gap)
        expected = (weights * changes**2).sum() / weights.sum()
        assert abs(found.measured[n] - expected) < 4.5 * found.measured_stderr[n]


def test_equation_22_is_exact_for_quadratic_functions() -> None:
    """Against a product quadrature rule that integrates polynomials of this degree without error."""
    rng = np.random.default_rng(0)
    slope, a = rng.normal(size=3), rng.normal(size=(3, 3))
    hessian, sigma = a + a.T, 0.7
    nodes, weights = hermegauss(6)
    total = 0.0
    for i, u in enumerate(nodes):
        for j, v in enumerate(nodes):
            for k, w in enumerate(nodes):
                e = sigma * np.array([u, v, w])
                total += weights[i] * weights[j] * weights[k] * (slope @ e + e @ hessian @ e / 2) ** 2
    expected = total / weights.sum() ** 3
    found = implied_change(slope @ slope, (hessian**2).sum(), np.trace(hessian), sigma=sigma)
    assert found == pytest.approx(expected)


def test_the_closer_the_better_is_equation_14(regression: Any) -> None:
    model, data = regression
    near, far = (stability(model, data, sigma=sigma, delta=1.0, draws=400) for sigma in (1e-3, 1.0))
    assert near.upper_holds.all()
    assert near.lower_holds.all()
    assert near.correlation.min() > 0.99999
    assert near.error.max() < 2e-3
    np.testing.assert_allclose(near.change_ratio, 1, atol=4.5 * math.sqrt(2 / 400))
    assert (far.error > near.error).all()
    assert np.median(far.error) > 0.05


@pytest.mark.parametrize("sigma", [0.02, 0.2, 1.0])
def test_what_needs_no_equation_14_always_holds(sigma: float) -> None:
    """Steps 2 to 6 of the proof hold for the draws themselves, and so does Jensen's inequality in E.2."""
    found = stability(network(), images(30), sigma=sigma, delta=0.5, draws=200)
    assert (found.step_one <= found.upper * (1 + 1e-9)).all()
    inequality = 4 / sigma**4 * (found.measured - sigma**2 * found.gradient)
    assert (found.lower <= inequality + 1e-9 * np.abs(inequality)).all()
    assert (found.upper_holds >= (found.squares <= found.step_one)).all()


def test_the_left_sides_are_the_exact_spectrum_of_a_network_with_kinks() -> None:
    model, data = network(), images(20)
    found = stability(model, data, sigma=1e-4, delta=0.1, draws=300)
    exact = input_curvature(model, data, "gauss-newton")
    np.testing.assert_allclose(found.squares, exact.values, rtol=1e-10)
    np.testing.assert_allclose(found.absolute, exact.absolute, rtol=1e-10)
    x = data[0].double().requires_grad_()
    loss = nn.functional.cross_entropy(model.eval()(x), data[1], reduction="sum")
    (slope,) = torch.autograd.grad(loss, x)
    np.testing.assert_allclose(found.gradient, slope.flatten(1).square().sum(1).numpy(), rtol=1e-9)
    # So near to x the network is linear, and Eq. 14 holds but for the few samples that have a kink this close.
    assert np.median(found.correlation) > 0.999999
    assert np.median(found.error) < 1e-3


def test_kinks_within_reach_of_the_noise_are_not_seen_by_equation_14() -> None:
    model, data = network(), images(20)
    near, far = (stability(model, data, sigma=sigma, delta=0.5, draws=200) for sigma in (1e-3, 0.5))
    assert np.median(near.error) < 0.02 < 0.3 < np.median(far.error)


def test_tiny_losses_keep_their_digits() -> None:
    W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[45.0, 0.0], [45.0, 0.0]], dtype=torch.float64)
    found = stability(plain(W), (x, torch.tensor([0, 1])), sigma=0.01, delta=1.0, draws=50)
    expected = math.log1p(2 * math.exp(-45))
    assert found.loss[0] == pytest.approx(expected, rel=1e-12)
    assert found.loss[1] == pytest.approx(45 + math.log1p(2 * math.exp(-45)), rel=1e-12)
    p = math.exp(-45)
    assert found.gradient[0] == pytest.approx((2 * p) ** 2 + p**2, rel=1e-9)  # Wᵀ(p − e_y) = (−2p, p)
    assert found.correlation[0] > 0.999


def test_the_noise_of_a_sample_depends_on_its_place_alone() -> None:
    model, (x, y) = network(), images(40)
    options: dict[str, Any] = {"sigma": 0.3, "delta": 0.5, "draws": 150, "k_max": 50.0}
    all_of_them = stability(model, (x, y), **options, limit=None)
    few = stability(model, (x, y), **options, limit=8)
    assert few.indices.tolist() == list(range(0, 40, 5))
    for name in PER_SAMPLE:
        np.testing.assert_allclose(getattr(few, name), getattr(all_of_them, name)[::5], rtol=1e-9, err_msg=name)
    first = stability(model, (x[:3], y[:3]), **options)
    np.testing.assert_allclose(first.measured, all_of_them.measured[:3], rtol=1e-9)
    other = stability(model, (x, y), **options, seed=1, limit=8)
    assert (other.measured != few.measured).all()


def test_the_batch_size_does_not_matter() -> None:
    model, data = network(), images(6)
    options: dict[str, Any] = {"sigma": 0.3, "delta": 0.5, "draws": 200}
    whole = stability(model, data, **options)
    for batch_size in (1, 60, 4096):
        parts = stability(model, data, **options, batch_size=batch_size)
        for name in PER_SAMPLE:
            np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, err_msg=name)
    assert isinstance(whole, Stability)


def test_the_same_seed_gives_the_same_to_the_last_bit() -> None:
    model, data = network(torch.float32), images(5)
    first, second = (stability(model, data, sigma=0.2, delta=0.5, draws=130, seed=9) for _ in range(2))
    assert all(same(getattr(first, name), getattr(second, name)) for name in PER_SAMPLE)


def test_single_precision_is_near_double() -> None:
    options: dict[str, Any] = {"sigma": 0.2, "delta": 0.5, "draws": 128}
    # The noise differs with the type, so only what does not depend on it is compared.
    single, double = (stability(network(dtype), images(10), **options) for dtype in (torch.float32, torch.float64))
    for name in ("loss", "gradient", "squares", "absolute"):
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), rtol=1e-3, err_msg=name)


class Recorder(nn.Module):
    """Features are the inputs, and all that came in is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return x.flatten(1)


def test_the_noise_is_gaussian_and_not_clamped() -> None:
    backbone = Recorder()
    model = FeatureClassifier(backbone, nn.Linear(16, 2))
    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    stability(model, (x, torch.tensor([0, 1, 0])), sigma=0.5, delta=1.0, draws=256)
    noisy = [batch for batch in backbone.seen if len(batch) == CHUNK]
    assert len(noisy) == 6
    for n in range(3):
        copies = torch.cat(noisy[2 * n : 2 * n + 2])
        assert copies.min() < 0
        assert copies.max() > 1
        expected = x[n].numpy() + 0.5 * noise((1, 4, 4), 256, 0, n, torch.float32)
        np.testing.assert_allclose(copies.numpy(), expected, atol=1e-6)
    assert max(len(batch) for batch in backbone.seen) <= CHUNK


def test_where_no_draw_falls_outside() -> None:
    model, data = plain(*softmax_layer(3, 2)), clusters([2, 2, 2], 2)
    found = stability(model, data, sigma=0.1, delta=100.0, draws=50)
    assert (found.eta == 1).all()
    assert np.isnan(found.l_out).all()
    assert (found.eta_stderr == 0).all()
    np.testing.assert_allclose(found.lower, -4 / 0.1**2 * found.gradient)
    assert found.lower_holds.all()
    assert not found.lower_says_something.any()
    assert found.summary()


def test_features_that_do_not_move_have_no_curvature() -> None:
    """The extreme case after Def. 6.1: η = 1 for every δ. The bounds go to 0 with δ, and so does the curvature."""
    model = plain(*softmax_layer(3, 2))
    model.backbone = nn.Linear(2, 2).double()
    model.backbone.weight.data.zero_()
    found = stability(model, clusters([2, 2, 2], 2), sigma=0.3, delta=1e-9, draws=20)
    assert (found.eta == 1).all()
    assert (found.squares == 0).all()
    assert (found.measured == 0).all()
    assert found.upper_holds.all()
    for name in ("error", "correlation", "change_ratio"):
        assert np.isnan(getattr(found, name)).all(), name


def test_a_k_max_that_is_too_small_is_told() -> None:
    model, data = plain(*softmax_layer(3, 2)), clusters([2, 2, 2], 2)
    options: dict[str, Any] = {"sigma": 0.3, "delta": 0.2, "draws": 50}
    met, small = stability(model, data, **options), stability(model, data, **options, k_max=0.01)
    assert small.k_max == 0.01
    assert small.largest_logit == met.largest_logit == met.k_max
    assert "below what was met" in dict(small.summary())["K_max"]
    assert "below what was met" not in dict(met.summary())["K_max"]
    assert "Σλ², Gauss-Newton, in pixel space" in dict(met.summary())
    assert (small.upper < met.upper).all()


def test_the_largest_logit_can_be_a_negative_one_and_a_clean_one() -> None:
    x = torch.ones(2, 1, dtype=torch.float64)
    model = plain(torch.tensor([[-5.0], [1.0]], dtype=torch.float64))
    found = stability(model, (x, torch.tensor([0, 1])), sigma=0.1, delta=1.0, draws=40)
    copies = [1 + 0.1 * noise((1,), 40, 0, n, torch.float64).max() for n in (0, 1)]
    assert found.k_max == pytest.approx(5 * max(copies))
    unmoved = stability(model, (x, torch.tensor([0, 1])), sigma=1e-12, delta=1.0, draws=1)
    assert unmoved.k_max == pytest.approx(5)


def test_bounds_are_functions_of_arrays() -> None:
    eta, nan = np.array([0.25, 1.0]), math.nan
    np.testing.assert_allclose(upper_bound(eta, 2.0, 3.0, sigma=0.5, delta=0.5), [128 * (0.25 + 27), 128])
    found = lower_bound(eta, np.array([1.0, 1.0]), np.array([3.0, nan]), np.array([0.5, 0.5]), sigma=0.5)
    np.testing.assert_allclose(found, [64 * (3 - 0.125), -8])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma must be > 0"),
        ({"sigma": -0.1}, "sigma must be > 0"),
        ({"sigma": math.nan}, "sigma must be > 0"),
        ({"delta": 0.0}, "delta must be > 0"),
        ({"draws": 0}, "draws must be >= 1"),
        ({"draws": 2.5}, "draws must be a whole number"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"k_max": 0.0}, "k_max must be > 0"),
        ({"limit": 0}, "limit must be >= 1"),
    ],
)
def test_wrong_arguments_are_named(regression: Any, options: dict[str, Any], message: str) -> None:
    model, data = regression
    with pytest.raises(InvalidArgumentError, match=message):
        stability(model, data, **{"sigma": 0.1, "delta": 1.0, "draws": 2, **options})


def test_models_and_data_that_do_not_fit(regression: Any) -> None:
    model, (x, y) = regression
    with pytest.raises(InvalidArgumentError, match="model must be a FeatureClassifier"):
        stability(nn.Linear(3, 4), (x, y), sigma=0.1, delta=1.0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="label 4, but the model knows the classes 0 to 3"):
        stability(model, (x, y + 1), sigma=0.1, delta=1.0)
    model.head.weight.data[0, 0] = math.nan
    with pytest.raises(InvalidArgumentError, match="logits that are NaN or infinite"):
        stability(model, (x, y), sigma=0.1, delta=1.0)


def test_logits_that_noise_makes_infinite_are_told() -> None:
    class Pole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1 / x.clamp_min(0)

    model = FeatureClassifier(Pole(), nn.Linear(2, 2))
    with pytest.raises(InvalidArgumentError, match="infinite under noise of σ = 1"):
        stability(model, (torch.ones(2, 2), torch.tensor([0, 1])), sigma=1.0, delta=1.0, draws=50)
