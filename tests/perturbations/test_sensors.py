"""Faults of sensors: what is lost, stuck, moved, too coarse or too late, on vectors, series and images."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
VECTORS, SERIES, IMAGES = (4, 6), (4, 3, 10), (4, 3, 8, 7)
ANY = ["missing:0.4", "dead-channels", "spikes:0.4,size=2", "offset:0.5", "gain:0.5", "quantization:0.3"]
OF_SERIES = ["gap:0.3", "gap:3,n=2,fill=9", "stuck", "stuck:3", "drift:0.5", "hum:0.5,period=4", "time-shift:3"]
SPECS = [*ANY, *OF_SERIES, "clipping:0.7"]
FIXED = {"quantization", "clipping"}

each_spec = pytest.mark.parametrize("spec", SPECS)
each_device = pytest.mark.parametrize("device", DEVICES)


def name_of(spec: str) -> str:
    return spec.partition(":")[0]


def shapes_of(spec: str) -> list[tuple[int, ...]]:
    if spec in ANY:
        return [VECTORS, SERIES, IMAGES]
    return [SERIES] if spec in OF_SERIES else [VECTORS, SERIES]


def inputs(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand if len(shape) == 4 else torch.randn
    return draw(shape, generator=generator)


def assert_binomial(hits: float, trials: int, share: float) -> None:
    assert abs(hits - trials * share) < 5 * math.sqrt(trials * share * (1 - share)) + 1e-9


def assert_uniform(values: Tensor, number: int) -> None:
    assert stats.chisquare(np.bincount(values.flatten().numpy(), minlength=number)).pvalue > 0.001
    assert int(values.max()) < number


def assert_standard_normal(values: Tensor) -> None:
    assert stats.kstest(values.flatten().double().numpy(), "norm").pvalue > 0.001


# What all of them promise ------------------------------------------------------------------------------------------


@each_device
@each_spec
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_type_and_device_are_kept_and_the_input_is_not_touched(
    spec: str, dtype: torch.dtype, device: str
) -> None:
    for shape in shapes_of(spec):
        x = inputs(shape).to(device, dtype)
        before = x.clone()
        perturbed = npf.perturbation(spec)(x, 0)
        assert (perturbed.shape, perturbed.dtype, perturbed.device) == (x.shape, dtype, x.device)
        assert bool(perturbed.isfinite().all())
        assert not torch.equal(perturbed, x)
        assert torch.equal(x, before)


@each_device
@each_spec
def test_one_seed_gives_the_same_and_another_another(spec: str, device: str) -> None:
    noise = npf.perturbation(spec)
    assert noise.random is (name_of(spec) not in FIXED)
    for shape in shapes_of(spec):
        x = inputs(shape).to(device)
        assert torch.equal(noise(x, 3), noise(x, 3))
        assert torch.equal(noise(x, 3), noise(x, 4)) is not noise.random


@each_spec
def test_each_sample_is_perturbed_in_its_own_way(spec: str) -> None:
    for shape in shapes_of(spec):
        x = inputs((1, *shape[1:])).expand(20, *shape[1:])
        different = {tuple(sample.flatten().tolist()) for sample in npf.perturbation(spec)(x, 0)}
        assert len(different) == 1 if name_of(spec) in FIXED else len(different) >= 3


@each_spec
def test_batches_of_one_of_none_and_of_any_layout(spec: str) -> None:
    noise = npf.perturbation(spec)
    for shape in shapes_of(spec):
        assert noise(inputs((1, *shape[1:])), 0).shape == (1, *shape[1:])
        assert noise(inputs((0, *shape[1:])), 0).shape == (0, *shape[1:])
        x = inputs(shape)
        strided = x.transpose(0, 1).contiguous().transpose(0, 1)
        assert torch.equal(noise(strided, 0), noise(x, 0))
        small = inputs((1, *shape[1:]))
        assert torch.equal(noise(small.expand(shape), 0), noise(small.expand(shape).clone(), 0))


@pytest.mark.parametrize("spec", [*OF_SERIES, "clipping:0.7"])
@pytest.mark.parametrize("shape", [VECTORS, SERIES, IMAGES], ids=["vectors", "series", "images"])
def test_inputs_of_another_kind_are_refused(spec: str, shape: tuple[int, ...]) -> None:
    if shape in shapes_of(spec):
        npf.perturbation(spec)(inputs(shape), 0)
        return
    taken = r"series \(N, C, T\)" if spec in OF_SERIES else r"vectors \(N, F\) or series \(N, C, T\)"
    with pytest.raises(InvalidArgumentError, match=f"^{name_of(spec)} takes {taken}, got a batch"):
        npf.perturbation(spec)(inputs(shape), 0)


@pytest.mark.parametrize(
    "spec", ["missing:0", "spikes:0,size=3", "spikes:1,size=0", "offset:0", "gain:0", "drift:0", "hum:0,period=4",
             "time-shift:0", "clipping:100"],
)  # fmt: skip
def test_at_no_strength_nothing_changes(spec: str) -> None:
    x = inputs(SERIES)
    assert torch.equal(npf.perturbation(spec)(x, 0), x)


def test_images_stay_in_the_unit_interval() -> None:
    for spec in ANY:
        perturbed = npf.perturbation(spec)(inputs(IMAGES), 0)
        assert 0 <= float(perturbed.min()) <= float(perturbed.max()) <= 1
    assert float(npf.perturbation("spikes:0.4,size=2,clamp=no")(inputs(IMAGES), 0).max()) > 1


# What is lost ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(200, 50), (50, 4, 50), (20, 3, 12, 15)])
@pytest.mark.parametrize(("amount", "fill"), [(0.1, 0.0), (0.6, 0.25), (1.0, 0.0)])
def test_values_are_missing_one_by_one(shape: tuple[int, ...], amount: float, fill: float) -> None:
    x = 0.3 + 0.5 * torch.rand(shape)
    perturbed = npf.perturbation(f"missing:{amount},fill={fill}")(x, 0)
    lost = perturbed != x
    assert bool((perturbed[lost] == fill).all())
    assert_binomial(int(lost.sum()), x.numel(), amount)
    neighbours = lost.flatten()[1:] & lost.flatten()[:-1]
    assert abs(float(neighbours.double().mean()) - amount**2) < 0.03


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3000, 4), (3000, 4, 5), (3000, 4, 2, 3)])
def test_whole_channels_die_and_every_set_of_them_is_as_likely(n: int, shape: tuple[int, ...]) -> None:
    x = 0.1 + 0.8 * torch.rand(shape)
    dead = (npf.perturbation(f"dead-channels:{n},fill=0")(x, 0) == 0).reshape(3000, 4, -1)
    assert torch.equal(dead.any(2), dead.all(2))
    sets = list(itertools.combinations(range(4), n))
    found = torch.tensor([sets.index(tuple(row.nonzero().flatten().tolist())) for row in dead.all(2)])
    if len(sets) > 1:
        assert_uniform(found, len(sets))


@pytest.mark.parametrize("spec", ["dead-channels:5", "stuck:5"])
def test_more_channels_than_there_are(spec: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"n=5 .*{name_of(spec)}.* more than the input's 3 channels"):
        npf.perturbation(spec)(inputs(SERIES), 0)


@pytest.mark.parametrize("shape", [(200, 50), (50, 4, 50), (20, 3, 12, 15)])
def test_spikes_go_up_and_down(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    jumps = npf.perturbation("spikes:0.2,size=0.1,clamp=no")(x, 0) - x
    for direction in (-1, 1):
        hits = (jumps - 0.1 * direction).abs() < 1e-12
        assert_binomial(int(hits.sum()), x.numel(), 0.1)
    assert bool(((jumps == 0) | ((jumps.abs() - 0.1).abs() < 1e-12)).all())


@pytest.mark.parametrize(("length", "steps"), [(3, 3), (0.25, 3), (1, 1), (0.01, 1), (0.99, 12), (12, 12)])
def test_a_gap_is_one_stretch_of_all_channels_anywhere(length: float, steps: int) -> None:
    x = 0.1 + torch.rand(4000, 2, 12)
    lost = npf.perturbation(f"gap:{length},fill=-7")(x, 0) == -7
    assert torch.equal(lost[:, 0], lost[:, 1])
    assert bool((lost[:, 0].sum(1) == steps).all())
    first = lost[:, 0].int().argmax(1)
    assert torch.equal(lost[:, 0], (torch.arange(12) >= first[:, None]) & (torch.arange(12) < first[:, None] + steps))
    if steps < 12:
        assert_uniform(first, 13 - steps)


def test_gaps_may_overlap() -> None:
    lost = npf.perturbation("gap:2,n=3,fill=9")(torch.zeros(2000, 1, 9), 0)[:, 0] == 9
    assert set(lost.sum(1).tolist()) == {2, 3, 4, 5, 6}


def test_a_gap_longer_than_the_series() -> None:
    with pytest.raises(InvalidArgumentError, match="length=11 of the perturbation 'gap' is more than the series' 10"):
        npf.perturbation("gap:11")(inputs(SERIES), 0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_stuck_channel_keeps_its_value_from_some_step_on(n: int) -> None:
    x = torch.randn(3000, 3, 5)
    perturbed = npf.perturbation(f"stuck:{n}")(x, 0)
    last = torch.full((3000, 3), 4)
    for sample, channel in (perturbed != x).any(2).nonzero().tolist():
        changed = perturbed[sample, channel] != x[sample, channel]
        step = int(changed.int().argmax()) - 1
        assert bool((perturbed[sample, channel, step:] == x[sample, channel, step]).all())
        last[sample, channel] = step
    stuck = last < 4
    assert int(stuck.sum(1).max()) <= n
    assert_binomial(int(stuck.sum()), 3000 * n, 4 / 5)  # in one of five it sticks at the last step, which nobody sees
    assert_uniform(last[stuck], 4)
    for channel in range(3):
        assert_binomial(int(stuck[:, channel].sum()), 3000, 4 / 5 * n / 3)


# Wrong scales ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 20), (300, 20, 6), (300, 3, 4, 5)])
def test_an_offset_and_a_gain_are_one_number_each_channel(shape: tuple[int, ...]) -> None:
    x = 0.5 + torch.rand(shape, dtype=torch.float64) / 2
    for spec, moved in (
        ("offset:0.4,clamp=no", lambda y: (y - x) / 0.4),
        ("gain:0.4,clamp=no", lambda y: (y / x - 1) / 0.4),
    ):
        drawn = moved(npf.perturbation(spec)(x, 0)).reshape(*shape[:2], -1)
        torch.testing.assert_close(drawn, drawn[:, :, :1].expand_as(drawn))
        assert_standard_normal(drawn[:, :, 0])


def test_on_vectors_an_offset_is_gaussian_noise() -> None:
    x, generators = inputs(VECTORS), [torch.Generator().manual_seed(1) for _ in range(2)]
    one, other = (
        npf.perturbation(spec)(x, g) for spec, g in zip(("offset:0.3", "gaussian:0.3"), generators, strict=True)
    )
    assert torch.equal(one, other)


def test_clipping() -> None:
    x = torch.tensor([[-3.0, -1.5, -0.2, 0.0, 1.5, 9.0]])
    assert npf.perturbation("clipping:1.5")(x).tolist() == [[-1.5, -1.5, pytest.approx(-0.2), 0.0, 1.5, 1.5]]


@pytest.mark.parametrize("step", [0.1, 0.75, 3.0])
def test_quantized_values_are_the_nearest_multiples(step: float) -> None:
    x = 4 * torch.randn(50, 40, dtype=torch.float64)
    rounded = npf.perturbation(f"quantization:{step}")(x)
    torch.testing.assert_close(rounded / step, (rounded / step).round(), rtol=0, atol=1e-9)
    assert float((rounded - x).abs().max()) <= step / 2 + 1e-9


def test_an_image_of_two_bits_has_four_greys() -> None:
    greys = npf.perturbation("quantization:1/3")(torch.linspace(0, 1, 100).reshape(1, 1, 10, 10)).unique()
    torch.testing.assert_close(greys, torch.tensor([0, 1 / 3, 2 / 3, 1]))


# Through time ------------------------------------------------------------------------------------------------------


def test_drift_is_a_straight_line_from_nothing() -> None:
    x = torch.randn(400, 5, 8, dtype=torch.float64)
    drift = npf.perturbation("drift:0.6")(x, 0) - x
    torch.testing.assert_close(drift, drift[:, :, -1:] * torch.arange(8).double() / 7)
    assert_standard_normal(drift[:, :, -1] / 0.6)


@pytest.mark.parametrize("period", [2, 4.5, 30])
def test_hum_is_a_sine_that_all_channels_share(period: float) -> None:
    x = torch.randn(500, 2, 16, dtype=torch.float64)
    hum = npf.perturbation(f"hum:0.7,period={period}")(x, 0) - x
    torch.testing.assert_close(hum[:, 0], hum[:, 1])
    time = 2 * math.pi * np.arange(16) / period
    if period == 2:  # the sine part is 0 at every step: what is left is the phase's sine, with alternating sign
        assert float(hum.abs().max()) <= 0.7 + 1e-6
        return
    waves = np.stack([np.sin(time), np.cos(time)], 1)
    parts, *_ = np.linalg.lstsq(waves, hum[:, 0].numpy().T, rcond=None)
    np.testing.assert_allclose(waves @ parts, hum[:, 0].numpy().T, atol=1e-5)
    np.testing.assert_allclose(np.hypot(*parts), 0.7, atol=1e-5)
    assert stats.kstest(np.arctan2(parts[1], parts[0]) / (2 * math.pi) % 1, "uniform").pvalue > 0.001


def test_a_series_may_be_moved_out_of_sight() -> None:
    perturbed = npf.perturbation("time-shift:100")(torch.randn(4000, 1, 4), 0)
    constant = (perturbed == perturbed[:, :, :1]).all(2).double().mean()
    assert abs(float(constant) - (1 - 5 / 201)) < 0.015  # moved by 3 or more, but for −2 to 2, all is the edge


@pytest.mark.parametrize(("steps", "most"), [(1, 1), (3, 3), (50, 6)])
def test_a_moved_series_repeats_its_edge(steps: int, most: int) -> None:
    x = torch.randn(3000, 2, 6)
    perturbed = npf.perturbation(f"time-shift:{steps}")(x, 0)
    moves = []
    for before, after in zip(x, perturbed, strict=True):
        candidates = {
            move: torch.stack([before[:, min(max(t - move, 0), 5)] for t in range(6)], 1)
            for move in range(-most, most + 1)
        }
        fitting = [move for move, wanted in candidates.items() if torch.equal(wanted, after)]
        assert fitting  # the outermost two look alike where nothing is left of the series
        moves.append(fitting[0] + most)
    if steps < 6:
        assert_uniform(torch.tensor(moves), 2 * steps + 1)


@each_device
def test_a_training_may_use_them_together(device: str) -> None:
    noise = npf.perturbation("missing:0.1+drift:0.2+dead-channels:1+gaussian:0.1")
    x = inputs(SERIES).to(device)
    assert noise(x, 0).shape == x.shape
    assert noise.spec == "missing:amount=0.1+drift:std=0.2+dead-channels+gaussian:std=0.1"
