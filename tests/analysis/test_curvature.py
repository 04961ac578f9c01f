"""Input-loss curvature against known Hessians and Eq. 21 in loops, and that it leaves everything as it was."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binom
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import noiseproof as npf
from noiseproof import InputCurvature, curvature_by_scale, input_curvature
from noiseproof.analysis.curvature import ESTIMATORS
from noiseproof.data import ArrayDataset
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.models import FeatureClassifier, Normalize
from tests.analysis.problems import (
    CLASSES,
    Quadratic,
    kinked,
    regression,
    regression_hessian,
    samples,
    smooth,
)
from tests.oracles import curvature as oracle

pytestmark = pytest.mark.filterwarnings("ignore:the network is not piecewise linear:UserWarning")

RANDOM = ("finite-difference", "hutchinson")
FEW = {"probes": 3, "step": 1e-3}


def same(one: InputCurvature, other: InputCurvature) -> None:
    """Raise unless both say exactly the same."""
    for name in ("values", "stderr", "indices", "labels", "absolute", "largest"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in ("estimator", "space", "probes", "step", "seed", "residual"):
        assert getattr(one, name) == getattr(other, name)


def every_estimator(model: nn.Module, data: Any, **options: Any) -> dict[str, InputCurvature]:
    return {name: input_curvature(model, data, name, **{**FEW, **options}) for name in ESTIMATORS}


# Softmax regression, where the Hessian is known.

N, K = 500, 200


@pytest.fixture(scope="module")
def known() -> tuple[nn.Linear, tuple[Tensor, Tensor], np.ndarray]:
    """A model, data, and the eigenvalues of each sample's Hessian: (N, 12)."""
    model, data = regression(12, scale=0.5), samples(N, 12)
    return model, data, np.array([np.linalg.eigvalsh(regression_hessian(model, x)) for x in data[0]])


def test_gauss_newton_of_softmax_regression(known: Any) -> None:
    model, data, eigenvalues = known
    found = input_curvature(model, data, "gauss-newton")
    np.testing.assert_allclose(found.values, (eigenvalues**2).sum(1), rtol=1e-10)
    np.testing.assert_allclose(found.absolute, eigenvalues.sum(1), rtol=1e-10)
    np.testing.assert_allclose(found.largest, eigenvalues.max(1), rtol=1e-10)
    assert not found.stderr.any()


@pytest.mark.parametrize("estimator", RANDOM)
def test_random_estimates_scatter_about_the_truth_as_gaussian_probes_do(known: Any, estimator: str) -> None:
    model, data, eigenvalues = known
    found = input_curvature(model, data, estimator, probes=K, step=1e-5)
    # ‖Hε‖² = Σ λᵢ² εᵢ² in the eigenvectors' coordinates: mean Σ λᵢ², variance 2 Σ λᵢ⁴.
    exact, spread = (eigenvalues**2).sum(1), np.sqrt(2 * (eigenvalues**4).sum(1) / K)
    deviations = (found.values - exact) / spread
    assert abs(deviations.mean()) < 5 / np.sqrt(N)
    assert abs(deviations.std() - 1) < 5 / np.sqrt(2 * N)
    beyond = int((np.abs(deviations) > 2).sum())
    assert binom.ppf(1e-6, N, 0.045) <= beyond <= binom.isf(1e-6, N, 0.045)
    # and so it is judged from the spread of the probes alone
    judged = (found.values - exact) / found.stderr
    assert abs(judged.mean()) < 0.3
    assert 0.9 < judged.std() < 1.15
    assert binom.ppf(1e-6, N, 0.045) <= (np.abs(judged) > 2).sum() <= binom.isf(1e-6, N, 0.06)
    np.testing.assert_allclose(np.median(found.stderr / spread), 1, atol=0.05)


@pytest.mark.parametrize("estimator", RANDOM)
def test_the_error_shrinks_with_the_root_of_the_probes(known: Any, estimator: str) -> None:
    model, data, eigenvalues = known
    few, many = (input_curvature(model, data, estimator, probes=probes, step=1e-5) for probes in (25, 400))
    assert np.sqrt((few.stderr**2).mean() / (many.stderr**2).mean()) == pytest.approx(4, rel=0.1)
    exact = (eigenvalues**2).sum(1)
    misses = [np.sqrt((((each.values - exact) / exact) ** 2).mean()) for each in (few, many)]
    assert misses[0] / misses[1] == pytest.approx(4, rel=0.2)


def test_the_default_is_the_papers_estimator() -> None:
    model, data = smooth(6), samples(5, 6)
    same(input_curvature(model, data), input_curvature(model, data, "finite-difference", probes=20, step=1e-2, seed=0))
    assert npf.input_curvature is input_curvature


# Eq. 21 and exact products in loops.


@pytest.mark.parametrize("step", [1e-2, 0.5])
def test_finite_difference_is_equation_21(step: float) -> None:
    # 131 samples: the last three are in a second block.
    model, (inputs, labels) = smooth(5), samples(131, 5)
    found = input_curvature(model, (inputs, labels), probes=4, step=step, seed=3)
    values, stderr = oracle.equation_21(model, inputs.double(), labels, 4, step, seed=3)
    np.testing.assert_allclose(found.values, values, rtol=1e-8)
    np.testing.assert_allclose(found.stderr, stderr, rtol=1e-7)


def test_finite_difference_of_images_is_equation_21() -> None:
    model, (inputs, labels) = kinked(), samples(9, 2, 6, 6)
    found = input_curvature(model, (inputs, labels), probes=5, step=0.1)
    values, stderr = oracle.equation_21(model, inputs.double(), labels, 5, 0.1)
    np.testing.assert_allclose(found.values, values, rtol=1e-8)
    np.testing.assert_allclose(found.stderr, stderr, rtol=1e-7)


def test_in_single_precision_it_is_equation_21_too() -> None:
    model, (inputs, labels) = smooth(5).float(), samples(20, 5)
    found = input_curvature(model, (inputs, labels), probes=4, step=0.1, seed=1)
    values, stderr = oracle.equation_21(model, inputs, labels, 4, 0.1, seed=1)
    np.testing.assert_allclose(found.values, values, rtol=1e-3)
    np.testing.assert_allclose(found.stderr, stderr, rtol=1e-2, atol=1e-4 * values.max())


@pytest.mark.parametrize("problem", ["smooth", "kinked"])
def test_hutchinson_is_the_mean_of_exact_products(problem: str) -> None:
    model, shape, n = (smooth(2, 4), (2, 4), 131) if problem == "smooth" else (kinked(), (2, 6, 6), 5)
    inputs, labels = samples(n, *shape)
    found = input_curvature(model, (inputs, labels), "hutchinson", probes=5, seed=2)
    values, stderr = oracle.exact_products(model, inputs.double(), labels, 5, seed=2)
    np.testing.assert_allclose(found.values, values, rtol=1e-8)
    np.testing.assert_allclose(found.stderr, stderr, rtol=1e-7)


def test_both_take_the_same_probes() -> None:
    model, data = smooth(6), samples(20, 6)
    exact = input_curvature(model, data, "hutchinson", probes=4)
    near = input_curvature(model, data, "finite-difference", probes=4, step=1e-6)
    np.testing.assert_allclose(near.values, exact.values, rtol=1e-3)
    np.testing.assert_allclose(near.stderr, exact.stderr, rtol=1e-2)


def test_a_quadratic_loss_has_one_curvature_at_every_scale() -> None:
    model, (inputs, _) = Quadratic(5), samples(7, 5)
    labels = torch.zeros(7, dtype=torch.long)
    products = input_curvature(model, (inputs, labels), "hutchinson", probes=6)
    for step, found in curvature_by_scale(model, (inputs, labels), [0.01, 0.5, 2.0], probes=6).items():
        np.testing.assert_allclose(found.values, products.values, rtol=1e-7, err_msg=str(step))
    A = model.A.detach().numpy()
    many = input_curvature(model, (inputs, labels), "hutchinson", probes=2000)
    assert (np.abs(many.values - (A**2).sum()) < 5 * many.stderr).all()


def test_random_estimates_are_those_of_their_seed() -> None:
    model, data = smooth(6), samples(10, 6)
    for estimator in RANDOM:
        one, again = (input_curvature(model, data, estimator, seed=7) for _ in range(2))
        same(one, again)
        other = input_curvature(model, data, estimator, seed=8)
        assert (other.values != one.values).all()
        assert other.seed == 8
    gauss = [input_curvature(model, data, "gauss-newton", seed=seed).values for seed in (7, 8)]
    np.testing.assert_array_equal(*gauss)


def test_more_probes_begin_with_the_same() -> None:
    model, data = smooth(6), samples(10, 6)
    for estimator in RANDOM:
        one, two, three = (
            input_curvature(model, data, estimator, probes=count, step=1e-3).values * count for count in (1, 2, 3)
        )
        assert (three > two).all()
        assert (two > one).all()


# Several steps.


def test_steps_are_what_separate_calls_give() -> None:
    model, data = kinked(), samples(131, 2, 6, 6)
    steps = [0.3, 1e-4, 1e-2]
    options = {"probes": 3, "seed": 5, "limit": 130}
    found = curvature_by_scale(model, data, steps, **options)
    assert list(found) == steps
    for step in steps:
        alone = input_curvature(model, data, "finite-difference", step=step, **options)
        same(found[step], alone)
        assert (alone.step, alone.probes, alone.seed, alone.estimator) == (step, 3, 5, "finite-difference")
    assert (found[0.3].values != found[1e-4].values).all()


def test_one_probe_has_no_standard_error() -> None:
    for estimator in RANDOM:
        found = input_curvature(smooth(5), samples(4, 5), estimator, probes=1)
        assert np.isnan(found.stderr).all()
        assert (found.values > 0).all()


# What is returned.


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_results_are_plain_arrays_with_one_number_per_sample(precision: torch.dtype) -> None:
    data = samples(130, 2, 6, 6)
    for estimator, found in every_estimator(kinked().to(precision), data, seed=4).items():
        assert found.estimator == estimator
        assert found.space == "pixel"
        assert found.seed == 4
        spectrum = estimator == "gauss-newton"
        assert found.probes == (0 if spectrum else 3)
        assert found.step == (1e-3 if estimator == "finite-difference" else None)
        arrays = {"values": found.values, "stderr": found.stderr}
        if spectrum:
            arrays |= {"absolute": found.absolute, "largest": found.largest}
        else:
            assert found.absolute is None
            assert found.largest is None
        for name, array in arrays.items():
            assert type(array) is np.ndarray, name
            assert array.dtype == np.float64, name
            assert array.shape == (130,), name
            assert np.isfinite(array).all(), name
            assert (array >= 0).all(), name
        assert found.indices.dtype == found.labels.dtype == np.int64
        assert found.indices.tolist() == list(range(130))
        assert found.labels.tolist() == data[1].tolist()


def test_results_are_not_the_datas_own_memory() -> None:
    data = ArrayDataset(*samples(5, 4), [str(c) for c in range(CLASSES)])
    found = input_curvature(smooth(4), data, "gauss-newton")
    assert not np.shares_memory(found.labels, data.labels.numpy())


@pytest.mark.parametrize("form", ["array", "dataset", "list", "bytes"])
def test_any_data_set_gives_the_same(form: str) -> None:
    _, labels = samples(10, 2, 6, 6)
    pixels = torch.randint(256, (10, 2, 6, 6), dtype=torch.uint8)
    inputs = pixels.float() / 255
    data = {
        "array": ArrayDataset(inputs, labels, [str(c) for c in range(CLASSES)]),
        "dataset": TensorDataset(inputs, labels),
        "list": [(x, int(y)) for x, y in zip(inputs, labels, strict=True)],
        "bytes": (pixels, labels),
    }[form]
    model = kinked()
    for estimator, found in every_estimator(model, data, limit=7).items():
        same(found, input_curvature(model, (inputs, labels), estimator, **FEW, limit=7))


def test_a_model_without_parameters_is_taken() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum(1), -x.sum(1), x[:, 0]], 1)

    inputs, labels = samples(5, 4, classes=3)
    explicit = [oracle.gauss_newton(Fixed(), x.double()) for x in inputs]
    found = input_curvature(Fixed(), (inputs, labels), "gauss-newton")
    np.testing.assert_allclose(found.values, [(each**2).sum() for each in explicit], rtol=1e-5)


class Counter:
    """Reports to nobody, and knows how much was to be done and how much was."""

    def __init__(self) -> None:
        self.total = self.done = 0

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Counter]:
        self.total = total
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("limit", "total"), [(None, 200), (150, 150)])
def test_progress_counts_samples(estimator: str, limit: int | None, total: int) -> None:
    counter = Counter()
    input_curvature(regression(3), samples(200, 3), estimator, probes=2, limit=limit, progress=counter)
    assert counter.done == counter.total == total


# Each sample by itself.


@pytest.mark.parametrize("n", [1, 5, 127, 128, 129, 139])
def test_values_do_not_depend_on_what_follows(n: int) -> None:
    model, (inputs, labels) = smooth(4), samples(140, 4)
    for estimator, found in every_estimator(model, (inputs, labels)).items():
        part = input_curvature(model, (inputs[:n], labels[:n]), estimator, **FEW)
        np.testing.assert_allclose(part.values, found.values[:n], rtol=1e-6)
        np.testing.assert_allclose(part.stderr, found.stderr[:n], rtol=1e-5)


def test_values_do_not_depend_on_the_other_samples() -> None:
    model, (inputs, labels) = smooth(4), samples(140, 4)
    kept = [0, 3, 77, 127, 128, 139]
    changed, others = inputs.flip(0).clone(), labels.roll(1)
    changed[kept], others[kept] = inputs[kept], labels[kept]
    for estimator, found in every_estimator(model, (inputs, labels)).items():
        now = input_curvature(model, (changed, others), estimator, **FEW)
        np.testing.assert_allclose(now.values[kept], found.values[kept], rtol=1e-6)
        assert (now.values != found.values).sum() > 100


def test_the_same_sample_elsewhere_has_other_probes_and_the_same_hessian() -> None:
    model, (inputs, labels) = smooth(4), samples(1, 4)
    found = every_estimator(model, (inputs.expand(200, -1), labels.expand(200)))
    np.testing.assert_allclose(found["gauss-newton"].values, found["gauss-newton"].values[0], rtol=1e-10)
    for estimator in RANDOM:
        assert len(np.unique(found[estimator].values)) == 200


def test_curvature_of_the_loss_depends_on_the_label_and_its_gauss_newton_part_does_not() -> None:
    model, (inputs, labels) = smooth(4), samples(20, 4)
    found, other = (every_estimator(model, (inputs, each)) for each in (labels, (labels + 1) % CLASSES))
    np.testing.assert_array_equal(found["gauss-newton"].values, other["gauss-newton"].values)
    for estimator in RANDOM:
        assert (found[estimator].values != other[estimator].values).all()


@pytest.mark.parametrize("limit", [1, 3, 7, 50, 139])
def test_a_limit_chooses_samples_evenly_and_changes_none(limit: int) -> None:
    model, data = smooth(4), samples(140, 4)
    places = [k * 140 // limit for k in range(limit)]
    whole, part = (input_curvature(model, data, "gauss-newton", limit=each) for each in (None, limit))
    assert part.indices.tolist() == places
    assert part.labels.tolist() == data[1][places].tolist()
    for name in ("values", "absolute", "largest"):
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name)[places], rtol=1e-10)


@pytest.mark.parametrize("estimator", RANDOM)
def test_probes_depend_on_a_samples_place_in_its_data_set(estimator: str) -> None:
    # "The probes … depend on [the seed] and on the sample's place alone", and ``indices`` are the places.
    model, data = smooth(4), samples(140, 4)
    whole, part = (input_curvature(model, data, estimator, **FEW, limit=limit) for limit in (None, 7))
    np.testing.assert_allclose(part.values, whole.values[part.indices], rtol=1e-6)


def test_a_limit_beyond_the_data_is_none() -> None:
    model, data = smooth(4), samples(20, 4)
    for estimator, found in every_estimator(model, data).items():
        same(found, input_curvature(model, data, estimator, **FEW, limit=20))
        same(found, input_curvature(model, data, estimator, **FEW, limit=1000))


def test_it_does_not_matter_how_many_jacobians_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = kinked(), samples(30, 2, 6, 6)
    expected = input_curvature(model, data, "gauss-newton")
    for held in (1, 5 * 2 * CLASSES * 72 * 8, 2**40):
        monkeypatch.setattr("noiseproof.analysis.estimators._JACOBIAN_BYTES", held)
        found = input_curvature(model, data, "gauss-newton")
        for name in ("values", "absolute", "largest"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_model_in_training_mode_is_analysed_in_evaluation_mode(estimator: str) -> None:
    model, data = nn.Sequential(kinked(), nn.Dropout(0.9)), samples(10, 2, 6, 6)
    expected = input_curvature(model.eval(), data, estimator, **FEW)
    same(input_curvature(model.train(), data, estimator, **FEW), expected)


# Whether the spectrum is that of the Hessian itself.


class Functional(nn.Module):
    """Two layers and a function between them that is no module, in float64."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first, self.last = nn.Linear(6, 9), nn.Linear(9, CLASSES)
        self.activation = activation
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.activation(4 * self.first(x - 0.5)))
        return logits


def whole_hessians(model: nn.Module, inputs: Tensor, labels: Tensor) -> Iterator[Tensor]:
    for x, label in zip(inputs.double(), labels, strict=True):
        yield torch.autograd.functional.hessian(lambda x, y=label: F.cross_entropy(model(x[None]), y[None]), x)


@pytest.mark.parametrize(
    "activation", [torch.relu, F.leaky_relu, F.hardtanh, torch.abs, lambda x: x.clamp(min=0), lambda x: x * (x > 0)]
)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_piecewise_linear_networks_have_the_whole_hessian(
    activation: Callable[[Tensor], Tensor], precision: torch.dtype
) -> None:
    model, (inputs, labels) = Functional(activation), samples(10, 6)
    expected = [float(each.square().sum()) for each in whole_hessians(model, inputs, labels)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = input_curvature(model.to(precision), (inputs, labels), "gauss-newton")
    np.testing.assert_allclose(found.values, expected, rtol=1e-3 if precision == torch.float32 else 1e-10)
    assert (found.residual, found.exact) == (0, True)


@pytest.mark.parametrize("activation", [F.gelu, F.silu, torch.tanh, torch.sigmoid, F.softplus])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_other_networks_are_told_to_have_more(activation: Callable[[Tensor], Tensor], precision: torch.dtype) -> None:
    model, (inputs, labels) = Functional(activation), samples(10, 6)
    expected = np.array([float(each.square().sum()) for each in whole_hessians(model, inputs, labels)])
    told = r"^the network is not piecewise linear: .* off by up to \d+ % .* hutchinson takes the whole Hessian$"
    with pytest.warns(UserWarning, match=told):
        found = input_curvature(model.to(precision), (inputs, labels), "gauss-newton")
    assert (np.abs(found.values / expected - 1) > 0.01).any()
    assert found.residual is not None
    assert 0.01 < found.residual <= 2
    assert not found.exact


def test_a_smooth_end_of_the_samples_is_seen_too() -> None:
    """A network that bends only where the last samples of the second block are."""
    model = Functional(lambda x: torch.where(x.detach()[:, :1] > 1e3, x.square(), torch.relu(x)))
    inputs, labels = samples(256, 6)
    assert input_curvature(model, (inputs, labels), "gauss-newton").exact
    model.activation = lambda x: torch.where(behind[: len(x)], x.square(), torch.relu(x))
    behind = torch.ones(256, 1, dtype=torch.bool)
    assert not input_curvature(model, (inputs, labels), "gauss-newton").exact


def test_other_estimators_are_never_exact() -> None:
    for estimator in RANDOM:
        found = input_curvature(kinked(), samples(3, 2, 6, 6), estimator, **FEW)
        assert (found.residual, found.exact) == (None, False)


def test_a_last_layer_of_log_softmax_changes_nothing() -> None:
    for network in (kinked(), kinked().float()):
        found = input_curvature(nn.Sequential(network, nn.LogSoftmax(1)), samples(20, 2, 6, 6), "gauss-newton")
        assert found.exact


def test_a_network_without_second_derivatives_is_not_known_to_be_piecewise_linear() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            context.save_for_backward(x)
            return x.sin()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context: Any, g: Tensor) -> Tensor:
            (x,) = context.saved_tensors
            return g * x.cos()

    data = samples(10, 6)
    for once, twice in ((Once.apply, torch.sin), (lambda x: x.relu() + Once.apply(x), lambda x: x.relu() + x.sin())):
        with pytest.warns(UserWarning, match=r"^a part of the network has no second derivative, so it is not known"):
            found = input_curvature(Functional(once), data, "gauss-newton")
        assert (found.residual, found.exact) == (None, False)
        np.testing.assert_allclose(found.values, input_curvature(Functional(twice), data, "gauss-newton").values)


# Nothing is touched.


class Watched(nn.Module):
    """Batch normalisation, dropout, modes and gradients of all kinds; calls ``look`` in every forward pass."""

    def __init__(self, look: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.network, self.drop, self.look = kinked(), nn.Dropout(0.5), look
        self.train()
        self.network[1].eval()
        self.network[4].eval()
        for place, parameter in enumerate(self.parameters()):
            parameter.requires_grad_(place % 3 != 1)
            if place % 2:
                parameter.grad = torch.full_like(parameter, float(place))

    def forward(self, x: Tensor) -> Tensor:
        self.look()
        logits: Tensor = self.drop(self.network(x))
        return logits


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that an analysis must leave alone, but for the data."""
    numbers = np.random.get_state()[1:3]
    return {
        "modes": [module.training for module in model.modules()],
        "wanted": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "same gradients": [id(p.grad) for p in model.parameters()],
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "versions": [tensor._version for tensor in model.state_dict().values()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": [np.copy(part) for part in numbers],
        "python": random.getstate(),
        "matrices": torch.get_float32_matmul_precision(),
        "convolutions": torch.backends.cudnn.allow_tf32,
        "grad": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


def check_untouched(before: Any, after: Any) -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            check_untouched(before[key], after[key])
    elif isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            check_untouched(one, other)
    elif isinstance(before, Tensor):
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    elif isinstance(before, np.ndarray):
        np.testing.assert_array_equal(after, before)
    else:
        assert before == after


BACKENDS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def backend(name: str) -> Any:
    """What holds the precision of an operation, as ``fp32_precision``."""
    found: Any = torch.backends
    for part in name.split("."):
        found = getattr(found, part)
    return found


def precisions() -> dict[str, str]:
    return {name: backend(name).fp32_precision for name in BACKENDS}


def in_full_precision() -> bool:
    return not {"tf32", "bf16"} & set(precisions().values())


class StopError(Exception):
    pass


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_model_and_the_process_are_left_as_they_were(estimator: str, fails: bool, precision: str) -> None:
    inside: list[tuple[object, ...]] = []

    def look() -> None:
        parts = list(model.modules())
        inside.append(
            (
                any(part.training for part in parts), any(p.requires_grad for p in model.parameters()),
                in_full_precision(), torch.is_autocast_enabled("cpu"),
            )
        )  # fmt: skip
        if fails and len(inside) > 1:
            raise StopError

    model, (inputs, labels) = Watched(look), samples(130, 2, 6, 6)
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    given = inputs.clone(), labels.clone()
    versions = inputs._version, labels._version
    try:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = precision == "medium"
        before = state_of(model)
        with pytest.raises(StopError) if fails else contextlib.nullcontext():
            input_curvature(model, (inputs, labels), estimator, **FEW)
        check_untouched(before, state_of(model))
    finally:
        torch.set_float32_matmul_precision(kept[0])
        torch.backends.cudnn.allow_tf32 = kept[1]
    assert set(inside) == {(False, False, True, False)}
    assert torch.equal(inputs, given[0])
    assert torch.equal(labels, given[1])
    assert (inputs._version, labels._version) == versions
    assert not inputs.requires_grad
    assert inputs.grad is None


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_model_is_left_as_it_was_when_the_data_fail(estimator: str) -> None:
    inputs, labels = samples(130, 2, 6, 6)
    inputs[129] += 7  # in the second block
    model = Watched()
    before = state_of(model)
    with pytest.raises(NoiseproofError, match=r"\[0, 1\]"):
        input_curvature(model, TensorDataset(inputs, labels), estimator, **FEW)
    check_untouched(before, state_of(model))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("cuda.matmul", "none"), ("cuda.matmul", "tf32"), ("cuda.matmul", "ieee"), ("cudnn.conv", "tf32"),
        ("cudnn.conv", "ieee"), ("cudnn.rnn", "ieee"), ("mkldnn.matmul", "none"), ("mkldnn.matmul", "bf16"),
        ("mkldnn.conv", "bf16"),
    ],
)  # fmt: skip
def test_precision_that_was_set_backend_by_backend_is_left_as_it_was(name: str, setting: str) -> None:
    kept, inside = precisions(), []
    try:
        backend(name).fp32_precision = setting
        before = precisions()
        model = Watched(lambda: inside.append(in_full_precision()))
        input_curvature(model, samples(3, 2, 6, 6), "gauss-newton")
        assert precisions() == before
    finally:
        for each, precision in kept.items():
            backend(each).fp32_precision = precision
    assert all(inside)


@pytest.mark.parametrize("around", [torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_it_does_not_matter_what_is_switched_around_it(
    around: Callable[[], contextlib.AbstractContextManager[object]], precision: torch.dtype
) -> None:
    model, data = kinked().to(precision), samples(10, 2, 6, 6)
    expected = every_estimator(model, data)
    for estimator in ESTIMATORS:
        with around():
            switches = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
            found = input_curvature(model, data, estimator, **FEW)
            assert (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")) == switches
        same(found, expected[estimator])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_model_that_works_in_place_is_taken_and_leaves_the_data_alone(estimator: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, CLASSES)
    inputs, labels = samples(6, 5)
    inputs = inputs - 0.5
    given = inputs.clone()
    expected = input_curvature(nn.Sequential(nn.ReLU(), layer), (inputs, labels), estimator, **FEW)
    with contextlib.suppress(RuntimeError):
        input_curvature(nn.Sequential(nn.ReLU(inplace=True), layer), (inputs, labels), estimator, **FEW)
    assert torch.equal(inputs, given)
    found = input_curvature(nn.Sequential(nn.ReLU(inplace=True), layer), (inputs, labels), estimator, **FEW)
    same(found, expected)


def test_inputs_that_require_gradients_get_none() -> None:
    model, (inputs, labels) = smooth(4), samples(6, 4)
    expected = every_estimator(model, (inputs, labels))
    inputs.requires_grad_()
    for estimator, found in every_estimator(model, (inputs, labels)).items():
        same(found, expected[estimator])
    assert inputs.grad is None


# The space behind the first layer.

MEAN, STD = [0.5, 0.25], [0.25, 0.25]


def normalised(std: list[float]) -> FeatureClassifier:
    network = kinked()
    return FeatureClassifier(network[:-1], network[-1], Normalize(MEAN, std)).double().eval()


def test_with_one_std_the_spaces_differ_by_its_fourth_power() -> None:
    model, data = normalised(STD), samples(10, 2, 6, 6)
    for estimator in ("gauss-newton", "hutchinson"):
        pixel, behind = (
            input_curvature(model, data, estimator, probes=4, space=space) for space in ("pixel", "normalised")
        )
        assert (pixel.space, behind.space) == ("pixel", "normalised")
        np.testing.assert_allclose(pixel.values, behind.values / 0.25**4, rtol=1e-10)
        np.testing.assert_allclose(pixel.stderr, behind.stderr / 0.25**4, rtol=1e-8)
    gauss = {space: input_curvature(model, data, "gauss-newton", space=space) for space in ("pixel", "normalised")}
    for name in ("absolute", "largest"):
        pixels, behinds = (getattr(gauss[space], name) for space in ("pixel", "normalised"))
        np.testing.assert_allclose(pixels, behinds / 0.25**2, rtol=1e-10)


def test_a_step_is_in_units_of_the_space() -> None:
    model, data = normalised(STD), samples(10, 2, 6, 6)
    pixel = input_curvature(model, data, probes=4, step=0.02)
    behind = input_curvature(model, data, probes=4, step=0.08, space="normalised")
    np.testing.assert_allclose(pixel.values, behind.values / 0.25**4, rtol=1e-8)
    assert (pixel.step, behind.step) == (0.02, 0.08)
    other = input_curvature(model, data, probes=4, step=0.02, space="normalised")
    assert (other.values != behind.values).all()


def test_behind_the_first_layer_the_network_is_all_that_is_behind_it() -> None:
    model, (inputs, labels) = normalised([0.25, 0.5]), samples(6, 2, 6, 6)
    seen = (inputs.double() - torch.tensor(MEAN)[:, None, None]) / torch.tensor([0.25, 0.5])[:, None, None]
    behind = nn.Sequential(model.backbone, model.head)
    explicit = [oracle.hessian(behind, x, int(label)) for x, label in zip(seen, labels, strict=True)]
    found = input_curvature(model, (inputs, labels), "gauss-newton", space="normalised")
    np.testing.assert_allclose(found.values, [(each**2).sum() for each in explicit], rtol=1e-9)
    values, _ = oracle.equation_21(behind, seen, labels, 3, 0.1)
    found = input_curvature(model, (inputs, labels), probes=3, step=0.1, space="normalised")
    np.testing.assert_allclose(found.values, values, rtol=1e-8)
    in_front = [oracle.hessian(model, x.double(), int(label)) for x, label in zip(inputs, labels, strict=True)]
    found = input_curvature(model, (inputs, labels), "gauss-newton", space="pixel")
    np.testing.assert_allclose(found.values, [(each**2).sum() for each in in_front], rtol=1e-9)


def test_scales_are_of_the_space_too() -> None:
    model, data = normalised(STD), samples(6, 2, 6, 6)
    found = curvature_by_scale(model, data, [0.1], probes=2, space="normalised")[0.1]
    same(found, input_curvature(model, data, probes=2, step=0.1, space="normalised"))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("first", [None, nn.Identity(), nn.BatchNorm2d(2), "no classifier"])
def test_without_a_normalisation_there_is_no_space_behind_it(estimator: str, first: Any) -> None:
    network = kinked()
    model = network if isinstance(first, str) else FeatureClassifier(network[:-1], network[-1], first)
    with pytest.raises(InvalidArgumentError, match=r"normalised.*FeatureClassifier") as caught:
        input_curvature(model.double(), samples(3, 2, 6, 6), estimator, space="normalised")
    assert "\n" not in str(caught.value)


# What it costs.


class Passes:
    """Counts samples that pass a place in a network: forwards, backwards, and backwards through the backward pass."""

    def __init__(self) -> None:
        self.forward = self.backward = self.second = 0

    def __call__(self, x: Tensor) -> Tensor:
        counts = self

        class Second(torch.autograd.Function):
            @staticmethod
            def forward(_: Any, g: Tensor) -> Tensor:
                return g.clone()

            @staticmethod
            def backward(_: Any, v: Tensor) -> Tensor:
                counts.second += len(v)
                return v

        class First(torch.autograd.Function):
            @staticmethod
            def forward(_: Any, x: Tensor) -> Tensor:
                counts.forward += len(x)
                return x.clone()

            @staticmethod
            def backward(_: Any, g: Tensor) -> Tensor:
                counts.backward += len(g)
                result: Tensor = Second.apply(g)
                return result

        passed: Tensor = First.apply(x)
        return passed


class Counted(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.passes = network, Passes()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(self.passes(x))
        return logits


@pytest.mark.parametrize("space", ["pixel", "normalised"])
@pytest.mark.parametrize("probes", [1, 2, 5])
@pytest.mark.parametrize("n", [3, 150])
def test_cost_is_what_is_said(n: int, probes: int, space: str) -> None:
    data, blocks = samples(n, 4), -(-n // 128)

    def spent(measure: Callable[[nn.Module], object]) -> tuple[int, int, int]:
        network = smooth(4)
        counted = Counted(network[:-1])
        measure(FeatureClassifier(counted, network[-1], Normalize(0.5, 0.25)).double())
        return counted.passes.forward, counted.passes.backward, counted.passes.second

    finite = spent(lambda model: input_curvature(model, data, probes=probes, space=space))
    assert finite == (n * (probes + 1), n * (probes + 1), 0)
    steps = spent(lambda model: curvature_by_scale(model, data, [0.1, 0.2, 0.3], probes=probes, space=space))
    assert steps == (n * (3 * probes + 1), n * (3 * probes + 1), 0)
    exact = spent(lambda model: input_curvature(model, data, "hutchinson", probes=probes, space=space))
    assert exact == (n, n * (probes + 1), n * probes)
    # One sample of each block goes forward once more, to count the classes, and a few are looked at for what is beyond
    # the Gauss-Newton part.
    spectrum = spent(lambda model: input_curvature(model, data, "gauss-newton", probes=probes, space=space))
    looked_at = spectrum[2]
    assert 1 <= looked_at <= 8 * blocks
    assert spectrum[0] in (n + looked_at, n + blocks + looked_at)
    assert spectrum[1] == n * CLASSES + 3 * looked_at


@pytest.mark.parametrize("limit", [None, 4])
def test_samples_are_read_once(limit: int | None) -> None:
    class Reads(Dataset[tuple[Tensor, Tensor]]):
        def __init__(self) -> None:
            self.inputs, self.labels = samples(9, 4)
            self.count = 0

        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            self.count += 1
            return self.inputs[index], self.labels[index]

    for estimator in ESTIMATORS:
        data = Reads()
        input_curvature(smooth(4), data, estimator, **FEW, limit=limit)
        assert data.count == (limit or 9)
    data = Reads()
    curvature_by_scale(smooth(4), data, [0.1, 0.2, 0.3], probes=2, limit=limit)
    assert data.count == (limit or 9)


# A network of the kind that is analysed.


def test_a_residual_network_in_single_precision() -> None:
    torch.manual_seed(0)
    model = npf.build_model("resnet8-cifar", 10, width=8)
    data = samples(4, 3, 16, 16, classes=10)
    exact = input_curvature(model, data, "gauss-newton")
    assert np.isfinite(exact.values).all()
    assert (exact.values > 0).all()
    assert (exact.absolute >= exact.largest).all()
    assert (exact.absolute**2 >= exact.values).all()
    assert (exact.values >= exact.largest**2).all()
    products = input_curvature(model, data, "hutchinson", probes=150)
    assert (np.abs(products.values - exact.values) < 5 * products.stderr).all()
    assert (products.stderr < 0.2 * exact.values).all()
    differences = input_curvature(model, data)
    assert np.isfinite(differences.values).all()
    assert (differences.values > 0).all()
    # Its finite differences see the kinks within their step: they are far above the Hessian's.
    assert (differences.values > 1.2 * exact.values).all()


# What is refused.


class Gives(nn.Module):
    """Gives what it is told to."""

    def __init__(self, output: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.layer, self.output = nn.Linear(4, CLASSES), output

    def forward(self, x: Tensor) -> object:
        return self.output(self.layer(x))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda z: z * float("nan"), r"finite|NaN"),
        (lambda z: z + float("inf"), r"finite|NaN"),
        (lambda z: torch.where(z[:, :1] > z.detach()[:, :1].median(), z * float("nan"), z), r"finite|NaN"),
        (lambda z: z[:, 0], r"\(N, C\) logits, got \((6|1),\)"),
        (lambda z: z.unsqueeze(2).expand(-1, -1, 2), r"\(N, C\) logits"),
        (lambda z: z.unsqueeze(2), r"\(N, C\) logits"),
        (lambda z: z[:, :0], r"\(N, C\) logits"),
        (lambda z: z[:1], r"\(N, C\) logits"),
        (lambda z: {"logits": z}, r"\(N, C\) logits, got dict"),
        (lambda z: (z, z), r"\(N, C\) logits, got tuple"),
        (lambda z: z @ torch.zeros(2, 2), "cannot take inputs of shape"),
    ],
    ids=["nan", "inf", "one nan", "1d", "3d", "column", "no class", "one row", "dict", "tuple", "shape"],
)
def test_logits_must_be_finite_and_one_row_each(estimator: str, output: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        input_curvature(Gives(output), samples(6, 4), estimator, **FEW)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("label", [CLASSES, 250, -1, -100])
def test_labels_that_the_model_does_not_know_are_refused(estimator: str, label: int) -> None:
    inputs, labels = samples(6, 4)
    labels[3] = label
    with pytest.raises(DataError, match=f"label {label}"):
        input_curvature(regression(4), TensorDataset(inputs, labels), estimator, **FEW)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "data",
    [
        None, 5, [{"x": 1}] * 4, [(torch.zeros(4), "cat")] * 4, (torch.zeros(3, 4),),
        TensorDataset(torch.zeros(0, 4), torch.zeros(0)), (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)),
        TensorDataset(torch.zeros(3, 4), torch.eye(3, dtype=torch.long)),
    ],
    ids=["none", "number", "dicts", "text labels", "one tensor", "empty", "empty tuple", "one-hot"],
)  # fmt: skip
def test_malformed_data_are_refused(estimator: str, data: Any) -> None:
    with pytest.raises(DataError) as caught:
        input_curvature(regression(4), data, estimator, **FEW)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimator": "hutchison"}, "unknown estimator 'hutchison'; did you mean 'hutchinson'"),
        ({"estimator": "Gauss-Newton"}, "did you mean 'gauss-newton'"),
        ({"estimator": "exact"}, "unknown estimator 'exact'; known: finite-difference, gauss-newton, hutchinson"),
        ({"space": "normalized"}, "unknown space 'normalized'; did you mean 'normalised'"),
        ({"space": "features"}, "unknown space"),
    ],
)
def test_unknown_names_are_answered_with_what_is_near(arguments: dict[str, Any], message: str) -> None:
    for estimator in ESTIMATORS:
        with pytest.raises(UnknownNameError, match=message):
            input_curvature(regression(4), samples(3, 4), **{"estimator": estimator, **arguments})


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probes": 0}, "probes must be >= 1, got 0"),
        ({"probes": -3}, "probes must be >= 1"),
        ({"probes": 1.5}, "probes must be a whole number"),
        ({"probes": float("nan")}, "probes must be"),
        ({"probes": "20"}, "probes must be a number"),
        ({"limit": 0}, "limit must be >= 1, got 0"),
        ({"limit": -1}, "limit must be >= 1"),
        ({"limit": 1.5}, "limit must be a whole number"),
        ({"model": "resnet18"}, "model must be an nn.Module, got str"),
        ({"model": torch.relu}, "model must be an nn.Module, got builtin"),
    ],
)
def test_wrong_arguments_are_named(estimator: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        input_curvature(**{"model": regression(4), "dataset": samples(3, 4), "estimator": estimator, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("step", [0, -1, -1e-3, float("nan"), float("inf"), "0.01", None])
def test_impossible_steps_are_refused(step: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="step must be"):
        input_curvature(regression(4), samples(3, 4), step=step)
    with pytest.raises(InvalidArgumentError, match="step must be"):
        curvature_by_scale(regression(4), samples(3, 4), [0.1, step])


@pytest.mark.parametrize("steps", [[], ()])
def test_no_step_is_refused(steps: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="steps is empty"):
        curvature_by_scale(regression(4), samples(3, 4), steps)


@pytest.mark.parametrize("arguments", [{"probes": 0}, {"limit": 0}, {"space": "features"}])
def test_wrong_arguments_of_scales_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        curvature_by_scale(regression(4), samples(3, 4), [0.1], **arguments)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kind", [float, np.int64, np.float64])
def test_whole_numbers_of_any_type_are_taken(estimator: str, kind: type) -> None:
    model, data = smooth(4), samples(10, 4)
    expected = input_curvature(model, data, estimator, probes=3, limit=4)
    found = input_curvature(model, data, estimator, probes=kind(3), limit=kind(4))
    same(found, expected)
    assert isinstance(found.probes, int)


def test_nothing_is_run_before_arguments_are_checked() -> None:
    def never() -> None:
        raise AssertionError

    model = Watched(never)
    for arguments in ({"probes": 0}, {"step": 0}, {"limit": 0}, {"space": "features"}, {"estimator": "exact"}):
        with pytest.raises(InvalidArgumentError):
            input_curvature(model, samples(3, 2, 6, 6), **arguments)
