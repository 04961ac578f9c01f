"""Where data lie and what they vary by, against the plain formula."""

from __future__ import annotations

import pytest
import torch

from noiseproof.data import ArrayDataset
from noiseproof.errors import DataError
from noiseproof.suggesting import suggest
from noiseproof.suggesting.scales import Scale, obstacle_to, scale_of, scale_of_dataset, shares_of
from noiseproof.suggesting.sensor import SensorNoise


@pytest.mark.parametrize("shape", [(50, 4), (50, 4, 9), (50, 4, 5, 6)])
def test_the_scale_is_mean_and_std_of_all_values_of_a_channel(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    flat = inputs.double().transpose(0, 1).flatten(1)
    found = scale_of_dataset(ArrayDataset(inputs, torch.arange(50) % 2, ["a", "b"]), 2000)
    assert found.mean == pytest.approx(flat.mean(1).tolist())
    assert found.std == pytest.approx(flat.std(1, unbiased=False).tolist())


def test_small_variation_of_large_values_is_kept_and_rounding_is_none() -> None:
    columns = torch.stack([101_325 + 0.05 * torch.linspace(-1, 1, 50).double(), torch.full((50,), 0.1).double()], 1)
    found = scale_of(columns)
    assert found.std[0] == pytest.approx(float(columns[:, 0].std(unbiased=False)))
    assert found.std[1] == 0


def noise(*channels: float) -> SensorNoise:
    return SensorNoise("from repeats", channels, channels, channels, 10)


def test_shares_are_of_the_std_where_there_is_one() -> None:
    assert shares_of(noise(0.1, 2.0, 1.0), Scale((0, 0, 0), (1.0, 100.0, 0.0))) == pytest.approx((0.1, 0.02, None))


@pytest.mark.parametrize(
    ("channels", "std", "hindered"),
    [
        ((0.1, 0.1), (1.0, 1000.0), False),  # noise that is alike is served by one level, whatever the data vary by
        ((0.1, 10.0), (1.0, 100.0), True),
        ((0.01, 0.9), (1.0, 1.0), False),  # of one scale already: a compromise is the best there is
        ((0.0, 0.1), (0.0, 1.0), False),
    ],
)
def test_one_level_fits_no_channel_where_noise_and_scale_differ(
    channels: tuple[float, ...], std: tuple[float, ...], hindered: bool
) -> None:
    scale = Scale((0.0, 0.0), std)
    assert (obstacle_to(noise(*channels), scale, None, fixed=False) is not None) == hindered
    assert obstacle_to(noise(*channels), scale, None, fixed=True) is None


def test_scaling_that_does_not_bring_noise_together_is_said_to_leave_a_compromise() -> None:
    found = obstacle_to(noise(0.001, 10.0), Scale((0.0, 0.0), (1.0, 100.0)), None, fixed=False)
    assert found is not None
    assert "still a compromise" in found.remedy


@pytest.mark.parametrize(
    ("mean", "std", "told"),
    [
        ((0.0, 0.0), (0.1, 0.1), None),  # a scene at rest
        ((3.0, 0.0), (1.0, 1.0), None),
        ((0.0, 40.0), (1.0, 1.0), "in channel 1 their mean is 40, the data's 0 ± 1"),
        ((0.0, 0.0), (50.0, 1.0), "in channel 0 they are 0 ± 50, the data's 0 ± 1"),
    ],
)
def test_recordings_far_from_the_data_are_told(
    mean: tuple[float, ...], std: tuple[float, ...], told: str | None
) -> None:
    data = Scale((0.0, 0.0), (1.0, 1.0))
    found = obstacle_to(noise(0.1, 0.1), data, Scale(mean, std), fixed=True)
    assert (found is None) if told is None else (found is not None and told in found.reason)


def test_noise_far_above_what_the_data_vary_by_is_told() -> None:
    recordings = Scale((0.0, 0.0), (5.0, 1.0))
    found = obstacle_to(noise(4.5, 0.1), Scale((0.0, 0.0), (1.0, 1.0)), recordings, fixed=False)
    assert found is not None
    assert "in channel 0 their noise is 4.5, the data's own std 1" in found.reason


def test_a_quiet_channel_without_noise_is_no_channel_of_another_scale() -> None:
    """As the edge of handwritten digits is, which hardly varies: the others are of one scale."""
    found = noise(0.0, 0.04, 0.23)
    assert obstacle_to(found, Scale((0.0,) * 3, (0.004, 0.18, 0.36)), None, fixed=False) is None
    assert obstacle_to(found, Scale((0.0,) * 3, (0.004, 0.18, 3.6)), None, fixed=False) is not None


@pytest.mark.parametrize("shape", [(5, 2, 3, 8), (5, 8), (5, 2, 9, 8)])
def test_recordings_of_other_channels_than_the_data_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"repeats must have the shape \(R, N, 8, 8\), got"):
        suggest("series", repeats=torch.rand(shape))
