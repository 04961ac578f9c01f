"""One sample under many perturbations: every picture shows what the perturbation makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import noiseproof as npf
from noiseproof.reporting import perturbation_gallery

ROWS = [["clean", "gaussian:0.3"], ["missing:0.2"]]


@pytest.mark.parametrize("channels", [1, 3])
def test_images(channels: int) -> None:
    image = torch.rand(channels, 6, 5)
    figure = perturbation_gallery(image, ROWS, seed=4)
    shown = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes if axes.images}
    assert list(shown) == ["clean", "gaussian:0.3", "missing:0.2"]
    for spec, pixels in shown.items():
        expected = npf.perturbation(spec)(image.unsqueeze(0), 4)[0].permute(1, 2, 0).squeeze(-1)
        np.testing.assert_array_equal(pixels, expected)


def test_series_with_the_unperturbed_one_behind() -> None:
    series = torch.randn(2, 12)
    figure = perturbation_gallery(series, [*ROWS, ["drift:2", "stuck"]], seed=4)
    assert len(figure.axes) == 6
    for axes in figure.axes:
        lines = [line.get_ydata() for line in axes.get_lines()]
        if not axes.get_title():
            assert not lines
            continue
        perturbed = npf.perturbation(axes.get_title())(series.unsqueeze(0), 4)[0]
        for channel in range(2):
            before, after = lines[2 * channel : 2 * channel + 2]
            np.testing.assert_allclose(after - before, perturbed[channel] - series[channel], atol=1e-5)
        assert axes.get_lines()[0].get_color() == axes.get_lines()[2].get_color()
        assert lines[0].mean() > lines[2].mean()  # one above the other
