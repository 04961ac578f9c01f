"""Channels in units of their own standard deviation: the arithmetic, against scikit-learn and in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.models import FeatureClassifier, Normalize
from noiseproof.perturbations import perturbation
from noiseproof.perturbations.units import Scaled
from noiseproof.scaling import Scaling

UNITS = torch.tensor([1e-7, 1.0, 300.0, 2e6])


def table(rows: int = 200, offset: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return UNITS * (offset + torch.randn(rows, 4, generator=generator, dtype=torch.float64))


def test_vectors_are_standardised_as_scikit_learn_does_it() -> None:
    inputs = table()
    expected = StandardScaler().fit_transform(inputs.numpy())
    scaled = Scaling.of(inputs).apply(inputs)
    assert scaled.dtype == torch.float32
    np.testing.assert_allclose(scaled.numpy(), expected, atol=1e-5)


def test_channels_of_series_are_standardised_over_samples_and_time() -> None:
    inputs = table(6 * 50).reshape(6, 50, 4).transpose(1, 2)
    scaled = Scaling.of(inputs).apply(inputs)
    torch.testing.assert_close(scaled.mean((0, 2)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std((0, 2), correction=0), torch.ones(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, -7e5, 3e-12])
def test_a_channel_that_does_not_vary_becomes_zero_and_keeps_its_unit(value: float) -> None:
    inputs = torch.stack([torch.full((9,), value), torch.arange(9.0)], 1)
    scaling = Scaling.of(inputs)
    assert scaling.std[0] == 1
    torch.testing.assert_close(scaling.apply(inputs)[:, 0], torch.zeros(9), atol=1e-5, rtol=0)


def test_the_order_of_the_samples_does_not_show() -> None:
    inputs = table(5000, offset=1e4)
    for seed in range(5):
        order = torch.randperm(5000, generator=torch.Generator().manual_seed(seed))
        assert Scaling.of(inputs[order]) == Scaling.of(inputs)


@pytest.mark.parametrize(("value", "told"), [(1e200, "column 1, counted from 0, has mean"), (1e-60, "float32")])
def test_what_float32_cannot_hold_is_refused(value: float, told: str) -> None:
    inputs = torch.tensor([[1.0, 0.0], [2.0, value]], dtype=torch.float64)
    with pytest.raises(DataError, match=told):
        Scaling.of(inputs)


@pytest.mark.parametrize(
    ("mean", "std"),
    [((), ()), ((0.0,), (1.0, 1.0)), ((0.0,), (0.0,)), ((0.0,), (-1.0,)), ((float("nan"),), (1.0,))],
)
def test_numbers_that_are_no_scaling_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(InvalidArgumentError):
        Scaling(mean, std)


def test_inputs_with_another_number_of_channels_are_refused() -> None:
    with pytest.raises(DataError, match=r"must be \(N, 4, …\) to be standardised, got \(5, 3\)"):
        Scaling.of(table()).apply(torch.zeros(5, 3))


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)), min_size=1, max_size=4),
    st.floats(-5, 5),
    st.floats(0.1, 10),
)
def test_two_scalings_are_one_and_the_inverse_takes_back(
    channels: list[tuple[float, float]], mean: float, std: float
) -> None:
    scaling = Scaling(*zip(*channels, strict=True))
    z = torch.linspace(-3, 3, 7).unsqueeze(1).repeat(1, len(channels))
    m, s = (torch.tensor(each, dtype=torch.float64) for each in (scaling.mean, scaling.std))
    raw = z.double() * s + m
    torch.testing.assert_close(scaling.apply(raw), z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scaling.then([mean], [std]).apply(raw), (z - mean) / std, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(scaling.inverse().apply(z), raw.float(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e5])
def test_a_model_for_raw_inputs_answers_as_the_one_for_standardised_ones(offset: float) -> None:
    raw = table(64, offset).float()  # as far from 0 as float32 holds
    scaling = Scaling.of(raw)
    torch.manual_seed(0)
    model = FeatureClassifier(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3), Normalize([0.1], [0.5])).eval()
    other = model.for_raw_inputs(scaling)
    assert not other.training
    assert other.head is model.head
    torch.testing.assert_close(other(raw), model(scaling.apply(raw)), atol=1e-5, rtol=1e-5)
    assert model.for_raw_inputs(None) is model


def test_scaled_noise_is_a_share_of_what_each_channel_varies_by() -> None:
    inputs = table(4000)
    scaling = Scaling.of(inputs)
    noise = Scaled(perturbation("gaussian:0.5"), scaling)
    added = noise(inputs, generator=0) - inputs
    torch.testing.assert_close(
        added.std(0) / inputs.std(0), torch.full((4,), 0.5, dtype=torch.float64), rtol=0.05, atol=0
    )
    assert (noise.spec, noise.random) == ("gaussian:std=0.5", True)
    expected = perturbation("gaussian:0.5")(scaling.apply(inputs), torch.Generator().manual_seed(3))
    seen = scaling.apply(noise(inputs, torch.Generator().manual_seed(3)))
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-5)
