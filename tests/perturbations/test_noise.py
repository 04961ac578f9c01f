"""The statistics of each noise, and what every perturbation promises about a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import noiseproof as npf
from noiseproof import seeding
from noiseproof.errors import InvalidArgumentError
from noiseproof.perturbations import PERTURBATIONS, Chain
from noiseproof.perturbations.noise import Clean, GaussianNoise, UniformNoise

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SHAPES = [(4, 3, 5, 6), (4, 7), (4, 2, 9)]
SPECS = ["clean", "gaussian:0.3", "uniform:0.3", "gaussian:0.1+uniform:0.2", "gaussian:0.4,clamp=no"]
RANDOM = SPECS[1:]

each_device = pytest.mark.parametrize("device", DEVICES)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["images", "vectors", "series"])
each_spec = pytest.mark.parametrize("spec", SPECS)
each_random = pytest.mark.parametrize("spec", RANDOM)


def noise_of(spec: str, shape: tuple[int, ...] = (1000, 200), level: float = 0.5, device: str = "cpu") -> Tensor:
    """What a perturbation adds to a constant batch, as float64 on the CPU."""
    x = torch.full(shape, level, device=device)
    return (npf.perturbation(spec)(x, 0) - x).double().cpu().flatten()


# Statistics


@each_device
@pytest.mark.parametrize("std", [8 / 255, 0.5, 3.0])
@pytest.mark.parametrize(("shape", "clamp"), [((1000, 200), ""), ((50, 1, 80, 50), ",clamp=no")])
def test_gaussian_noise_has_mean_zero_and_its_std(std: float, shape: tuple[int, ...], clamp: str, device: str) -> None:
    noise = noise_of(f"gaussian:{std}{clamp}", shape, device=device)
    assert abs(float(noise.mean())) < 4 * std / math.sqrt(len(noise))
    assert float(noise.std()) == pytest.approx(std, rel=4 / math.sqrt(2 * len(noise)))


@each_device
@pytest.mark.parametrize("amplitude", [8 / 255, 0.5, 3.0])
@pytest.mark.parametrize(("shape", "clamp"), [((1000, 200), ""), ((50, 1, 80, 50), ",clamp=no")])
def test_uniform_noise_has_mean_zero_and_amplitude_over_root_three_as_std(
    amplitude: float, shape: tuple[int, ...], clamp: str, device: str
) -> None:
    noise = noise_of(f"uniform:{amplitude}{clamp}", shape, device=device)
    std = amplitude / math.sqrt(3)
    assert abs(float(noise.mean())) < 4 * std / math.sqrt(len(noise))
    assert float(noise.std()) == pytest.approx(std, rel=4 / math.sqrt(len(noise)))


@each_device
def test_uniform_noise_stays_within_its_amplitude_and_comes_near_it(device: str) -> None:
    noise = noise_of("uniform:0.06", device=device)
    assert -0.06 - 1e-6 <= float(noise.min()) < -0.0599
    assert 0.0599 < float(noise.max()) <= 0.06 + 1e-6


@each_device
@pytest.mark.parametrize("shape", [(100, 200), (20, 10, 100)])
def test_gaussian_noise_is_normal(shape: tuple[int, ...], device: str) -> None:
    noise = noise_of("gaussian:0.25", shape, level=0.0, device=device)
    assert stats.kstest(noise.numpy() / 0.25, "norm").pvalue > 0.01


@each_device
def test_uniform_noise_is_uniform(device: str) -> None:
    noise = noise_of("uniform:0.25", (100, 200), level=0.0, device=device)
    assert stats.kstest(noise.numpy(), "uniform", (-0.25, 0.5)).pvalue > 0.01


@pytest.mark.parametrize("spec", ["gaussian:1", "uniform:1"])
def test_every_value_has_noise_of_its_own(spec: str) -> None:
    noise = noise_of(spec, level=0.0).view(1000, 200)
    assert float(torch.corrcoef(noise.T).fill_diagonal_(0).abs().max()) < 0.2
    assert float(torch.corrcoef(noise[:200]).fill_diagonal_(0).abs().max()) < 0.4
    assert noise.unique().numel() > 0.9 * noise.numel()


@pytest.mark.parametrize("spec", ["gaussian", "uniform"])
def test_noise_of_no_strength_changes_nothing(spec: str) -> None:
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(npf.perturbation(f"{spec}:0")(x, 0), x)


@each_shape
def test_clean_changes_nothing(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    assert torch.equal(npf.perturbation("clean")(x), x)


@pytest.mark.parametrize(
    ("spec", "random"), [("clean", False), ("gaussian:1", True), ("clean+clean", False), ("clean+uniform:1", True)]
)
def test_a_perturbation_tells_whether_it_draws(spec: str, random: bool) -> None:
    assert npf.perturbation(spec).random is random


# Clamping


@pytest.mark.parametrize("spec", ["gaussian:1", "uniform:1", "gaussian:1+uniform:1", "uniform:1,clamp=yes"])
def test_images_are_clamped_and_reach_both_ends(spec: str) -> None:
    perturbed = npf.perturbation(spec)(torch.rand(4, 3, 16, 16), 0)
    assert float(perturbed.min()) == 0.0
    assert float(perturbed.max()) == 1.0


@pytest.mark.parametrize("name", ["gaussian", "uniform"])
def test_clamping_is_all_that_clamping_changes(name: str) -> None:
    x, part = torch.rand(4, 3, 8, 8), npf.perturbation(f"{name}:1,clamp=no")
    unclamped = part(x, seeding.generator(0, "g"))
    clamped = npf.perturbation(f"{name}:1")(x, seeding.generator(0, "g"))
    assert bool((unclamped < 0).any())
    assert bool((unclamped > 1).any())
    assert torch.equal(clamped, unclamped.clamp(0, 1))


@pytest.mark.parametrize("shape", [(200, 7), (20, 2, 9)], ids=["vectors", "series"])
@pytest.mark.parametrize("spec", ["gaussian:1", "uniform:1", "gaussian:1+uniform:1"])
def test_vectors_and_series_are_not_clamped(shape: tuple[int, ...], spec: str) -> None:
    x = 100 * torch.rand(shape) - 50
    perturbed = npf.perturbation(spec)(x, 0)
    assert float(perturbed.min()) < -10
    assert float(perturbed.max()) > 10


def test_clean_images_with_a_rounding_error_are_clamped_back() -> None:
    assert float(npf.perturbation("clean")(torch.full((1, 1, 2, 2), 1 + 5e-7)).max()) == 1.0


# Chains


def test_a_chain_applies_its_parts_from_left_to_right_each_clamping_for_itself() -> None:
    x = torch.rand(4, 3, 8, 8)
    g = seeding.generator(0, "g")
    step = (x + torch.randn(x.shape, generator=g)).clamp(0, 1)
    expected = (step + 0.5 * (2 * torch.rand(x.shape, generator=g) - 1)).clamp(0, 1)
    chained = npf.perturbation("gaussian:1+uniform:0.5")(x, seeding.generator(0, "g"))
    torch.testing.assert_close(chained, expected)
    swapped = npf.perturbation("uniform:0.5+gaussian:1")(x, seeding.generator(0, "g"))
    assert not torch.allclose(chained, swapped)


def test_a_part_of_a_chain_may_be_told_not_to_clamp() -> None:
    x = torch.rand(4, 3, 8, 8)
    g = seeding.generator(0, "g")
    step = x + torch.randn(x.shape, generator=g)
    expected = (step + 0.5 * (2 * torch.rand(x.shape, generator=g) - 1)).clamp(0, 1)
    chained = npf.perturbation("gaussian:1,clamp=no+uniform:0.5")(x, seeding.generator(0, "g"))
    torch.testing.assert_close(chained, expected)


def test_a_chain_on_vectors_is_the_sum_of_its_noises() -> None:
    x = torch.zeros(500, 400)
    perturbed = npf.perturbation("gaussian:0.3+gaussian:0.4")(x, 0)
    assert float(perturbed.std()) == pytest.approx(0.5, rel=0.01)


def test_a_chain_whose_last_part_does_not_clamp_leaves_the_interval() -> None:
    perturbed = npf.perturbation("clean+gaussian:1,clamp=no")(torch.rand(2, 1, 8, 8), 0)
    assert float(perturbed.min()) < 0


# Randomness


@each_device
@each_shape
@each_random
def test_the_same_seed_gives_the_same_and_another_seed_another(spec: str, shape: tuple[int, ...], device: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(shape, device=device)
    assert torch.equal(noise(x, 3), noise(x, generator=3))
    assert not torch.equal(noise(x, 3), noise(x, 4))


@each_device
@each_random
def test_a_generator_is_drawn_from_and_moved(spec: str, device: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(4, 1, 5, 5, device=device)
    g = torch.Generator(device).manual_seed(5)
    first, second = noise(x, generator=g), noise(x, generator=g)
    assert not torch.equal(first, second)
    assert torch.equal(noise(x, torch.Generator(device).manual_seed(5)), first)


@each_random
def test_a_seed_stands_for_the_generator_of_that_seed_and_that_perturbation(spec: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(4, 1, 5, 5)
    assert torch.equal(noise(x, 9), noise(x, seeding.generator(9, noise.spec)))


@each_random
def test_with_a_seed_the_global_state_neither_matters_nor_moves(spec: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(4, 1, 5, 5)
    state = torch.random.get_rng_state()
    first = noise(x, 0)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(10)
    assert torch.equal(noise(x, 0), first)


@each_random
def test_without_a_seed_the_global_generator_is_drawn_from(spec: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(4, 1, 5, 5)
    torch.manual_seed(1)
    first, second = noise(x), noise(x)
    torch.manual_seed(1)
    assert torch.equal(noise(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("one", "other"), [("gaussian:1", "gaussian:1.0"), ("gaussian:1", "gaussian:std=1e0")])
def test_two_ways_to_write_a_perturbation_draw_the_same(one: str, other: str) -> None:
    x = torch.rand(2, 5)
    assert torch.equal(npf.perturbation(one)(x, 0), npf.perturbation(other)(x, 0))


def test_equal_perturbations_draw_the_same() -> None:
    """A whole number in code and in text are one strength, whose noise must not depend on how it was given."""
    x = torch.rand(2, 5)
    assert GaussianNoise(1) == npf.perturbation("gaussian:1")
    assert torch.equal(GaussianNoise(1)(x, 0), npf.perturbation("gaussian:1")(x, 0))


@pytest.mark.parametrize("seed", [-1, 0, 2**40, np.int64(3)])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    noise, x = npf.perturbation("gaussian:1"), torch.rand(2, 3)
    assert torch.equal(noise(x, seed), noise(x, int(seed)))


@pytest.mark.parametrize("seed", [0.5, "0"])
def test_what_is_neither_a_seed_nor_a_generator_is_refused(seed: object) -> None:
    with pytest.raises(InvalidArgumentError, match="generator"):
        npf.perturbation("gaussian:1")(torch.rand(2, 3), seed)  # type: ignore[arg-type]


# The batch


@each_device
@each_shape
@each_spec
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_type_and_device_are_kept_and_the_input_is_not_touched(
    spec: str, shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> None:
    x = torch.rand(shape, device=device).to(dtype)
    before = x.clone()
    perturbed = npf.perturbation(spec)(x, 0)
    assert (perturbed.shape, perturbed.dtype, perturbed.device) == (x.shape, dtype, x.device)
    assert bool(perturbed.isfinite().all())
    assert torch.equal(x, before)
    assert torch.equal(perturbed, x) == (spec == "clean")


@each_spec
@each_shape
def test_a_batch_of_one(spec: str, shape: tuple[int, ...]) -> None:
    assert npf.perturbation(spec)(torch.rand(1, *shape[1:]), 0).shape == (1, *shape[1:])


def test_a_batch_that_is_not_contiguous() -> None:
    x = torch.rand(4, 8, 8, 3).permute(0, 3, 1, 2)
    noise = npf.perturbation("gaussian:0.1")
    assert torch.equal(noise(x, 0), noise(x.contiguous(), 0))


@pytest.mark.parametrize("spec", ["gaussian:0.1", "uniform:0.1", "clean", "gaussian:0.1+uniform:0.1"])
def test_gradients_pass_through(spec: str) -> None:
    x = torch.full((2, 1, 4, 4), 0.5, requires_grad=True)
    npf.perturbation(spec)(x, 0).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


# What is refused


@each_spec
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((1, 1, 2, 2), 1.1), r"images must have values in \[0, 1\], got values from 1.1 to 1.1"),
        (torch.full((1, 1, 2, 2), -0.1), r"images must have values in \[0, 1\], got values from -0.1 to -0.1$"),
        (torch.full((1, 1, 2, 2), 255.0), "got values from 255 to 255; divide by 255"),
        (torch.full((1, 1, 2, 2), 1 + 2e-6), r"images must have values in \[0, 1\]"),
        (torch.tensor([0.5, torch.nan]).view(1, 1, 1, 2), r"images must have values in \[0, 1\], .*nan"),
        (torch.tensor([0.5, torch.inf]).view(1, 1, 1, 2), r"images must have values in \[0, 1\], .*inf"),
    ],
    ids=["above", "below", "bytes-as-floats", "just-above", "nan", "inf"],
)
def test_images_outside_the_unit_interval_are_refused(spec: str, images: Tensor, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        npf.perturbation(spec)(images, 0)


@each_spec
@pytest.mark.parametrize("value", [1 + 5e-7, -5e-7])
def test_rounding_is_tolerated(spec: str, value: float) -> None:
    assert npf.perturbation(spec)(torch.full((1, 1, 2, 2), value), 0).shape == (1, 1, 2, 2)


@each_spec
@each_shape
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_inputs_that_are_not_floating_are_refused(spec: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(InvalidArgumentError, match=f"floating.*{dtype}"):
        npf.perturbation(spec)(torch.zeros(shape, dtype=dtype), 0)


def test_bytes_are_told_how_to_become_images() -> None:
    with pytest.raises(InvalidArgumentError, match="divide by 255"):
        npf.perturbation("gaussian:0.1")(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), 0)


@pytest.mark.parametrize("x", [torch.rand(5), torch.tensor(0.5)])
def test_a_batch_needs_its_dimension(x: Tensor) -> None:
    with pytest.raises(InvalidArgumentError, match=r"batch \(N, …\)"):
        npf.perturbation("gaussian:0.1")(x, 0)


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize(("kind", "argument"), [(GaussianNoise, "std"), (UniformNoise, "amplitude")])
def test_a_strength_is_finite_and_not_negative(kind: type[npf.Perturbation], argument: str, strength: float) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{argument} of the perturbation '{kind.name}' must be .*>= 0"):
        kind(strength)  # type: ignore[call-arg]


def test_a_strength_is_a_number() -> None:
    with pytest.raises(InvalidArgumentError, match="std of the perturbation 'gaussian' must be a number, got '8/255'"):
        GaussianNoise("8/255")  # type: ignore[arg-type]


def test_perturbations_are_values() -> None:
    assert GaussianNoise(0.5) == npf.perturbation("gaussian:0.5")
    assert len({GaussianNoise(0.5), GaussianNoise(0.5), UniformNoise(0.5)}) == 2
    assert Chain((Clean(), GaussianNoise(0.5))) == npf.perturbation("clean+gaussian:0.5")
    assert list(PERTURBATIONS) == sorted(PERTURBATIONS)
    assert {"clean", "gaussian", "uniform"} <= set(PERTURBATIONS)
