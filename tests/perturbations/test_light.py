"""Brightness against the standard library's HSV, contrast against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import noiseproof as npf
from tests.oracles.pictures import brighten


def colours() -> Tensor:
    """All corners, edges and some inside points of the colour cube, and shades of grey, as one 3×9×19 image."""
    steps = torch.linspace(0, 1, 5, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps, steps)
    greys = torch.rand(10, 1, dtype=torch.float64).expand(-1, 3)
    dark = 1e-4 * torch.rand(10, 3, dtype=torch.float64)
    others = torch.rand(26, 3, dtype=torch.float64)
    return torch.cat([grid, greys, dark, others]).T.reshape(1, 3, 9, 19).contiguous()


@pytest.mark.parametrize("shift", [-1, -0.5, -0.05, 0, 0.1, 0.3, 0.99, 1])
def test_brightness_moves_the_value_and_keeps_hue_and_saturation(shift: float) -> None:
    x = colours()
    expected = torch.from_numpy(brighten(x[0].numpy(), shift))
    torch.testing.assert_close(npf.perturbation(f"brightness:{shift}")(x)[0], expected, rtol=0, atol=1e-12)
    single = npf.perturbation(f"brightness:{shift}")(x.float())[0].double()
    expected = torch.from_numpy(brighten(x[0].float().double().numpy(), shift))
    torch.testing.assert_close(single, expected, rtol=0, atol=1e-6)


def test_brightness_of_black_is_grey() -> None:
    assert torch.equal(npf.perturbation("brightness:0.25")(torch.zeros(1, 3, 2, 2)), torch.full((1, 3, 2, 2), 0.25))


@pytest.mark.parametrize("shift", [-0.5, 0, 0.3, 1])
def test_brightness_of_grey_images_is_added(shift: float) -> None:
    x = torch.rand(2, 1, 5, 7)
    torch.testing.assert_close(npf.perturbation(f"brightness:{shift}")(x), (x + shift).clamp(0, 1))


@pytest.mark.parametrize("factor", [0, 0.05, 0.75, 1, 3])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_contrast_is_around_the_mean_of_each_channel_of_each_image(factor: float, channels: int) -> None:
    x = torch.rand(3, channels, 6, 5, dtype=torch.float64) * torch.rand(3, channels, 1, 1, dtype=torch.float64)
    unclamped = np.zeros(x.shape)
    for n, c in np.ndindex(x.shape[:2]):
        picture = x[n, c].numpy()
        unclamped[n, c] = (picture - picture.mean()) * factor + picture.mean()
    expected = torch.from_numpy(unclamped)
    torch.testing.assert_close(npf.perturbation(f"contrast:{factor},clamp=no")(x), expected, rtol=0, atol=1e-12)
    clamped = npf.perturbation(f"contrast:{factor}")(x)
    torch.testing.assert_close(clamped, expected.clamp(0, 1), rtol=0, atol=1e-12)
