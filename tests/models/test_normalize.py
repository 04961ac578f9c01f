"""``Normalize`` against a loop over channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError

MEAN, STD = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 7), (4, 3, 5, 6), (1, 3, 1, 1)])
def test_each_channel_has_its_own_mean_and_std(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    expected = x.clone()
    for n in range(shape[0]):
        for c in range(3):
            expected[n, c] = (x[n, c] - MEAN[c]) / STD[c]
    before = x.clone()
    torch.testing.assert_close(npf.Normalize(MEAN, STD)(x), expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 7), (4, 1, 5, 6)])
def test_one_value_serves_all_channels(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    torch.testing.assert_close(npf.Normalize(0.5, 0.25)(x), (x - 0.5) / 0.25)


def test_gradients_reach_the_input() -> None:
    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    npf.Normalize(MEAN, STD)(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0, :, 0, 0], 1 / torch.tensor(STD))


def test_values_are_saved_and_moved_with_a_model() -> None:
    layer = npf.Normalize(MEAN, STD)
    assert set(layer.state_dict()) == {"mean", "std"}
    assert not list(layer.parameters())
    assert layer.double()(torch.rand(2, 3).double()).dtype == torch.float64
    other = npf.Normalize([0.0] * 3, [1.0] * 3)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other.mean, torch.tensor(MEAN))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.1, 0.2], [1.0], r"mean and std must be finite and of one length, got \[0\.1, 0\.2\] and \[1\.0\]"),
        (0.1, [1.0, 1.0, 1.0], "of one length"),
        ([], [], "mean and std"),
        (float("nan"), 1.0, "finite"),
        (float("inf"), 1.0, "finite"),
        (0.0, 0.0, r"std must be > 0, got 0\.0"),
        ([0.0, 0.0], [1.0, -1.0], r"std must be > 0, got \[1\.0, -1\.0\]"),
        (0.0, float("nan"), "std must be > 0, got nan"),
        (0.0, float("inf"), "std must be"),
    ],
)
def test_wrong_values_are_refused(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        npf.Normalize(mean, std)


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 2, 4, 4), (2, 1)])
def test_an_input_with_other_channels_is_refused_and_never_broadcast(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="3"):
        npf.Normalize(MEAN, STD)(torch.rand(shape))
