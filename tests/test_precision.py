"""Full float32 inside the block, whatever was set, and as it was after it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import noiseproof as npf
from noiseproof.perturbations import blur, resampling
from noiseproof.precision import full_float32


@pytest.fixture(params=["tf32", "none"])
def _set(request: pytest.FixtureRequest) -> Any:
    places: Any = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = request.param
    yield
    for place, precision in zip(places, before, strict=True):
        place.fp32_precision = precision


def precisions() -> tuple[str, str]:
    backends: Any = torch.backends
    return backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision


@pytest.mark.usefixtures("_set")
def test_it_is_full_inside_and_as_it_was_after() -> None:
    before = precisions()
    with pytest.raises(ZeroDivisionError), full_float32():
        1 // (0 if precisions() == ("ieee", "ieee") else 1)
    assert precisions() == before


@pytest.mark.usefixtures("_set")
def test_perturbations_that_convolve_or_multiply_do_so_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    convolve, averages = blur.conv2d, resampling._box_average

    class Product(torch.Tensor):
        """A matrix that notes how it is multiplied."""

        def __matmul__(self, other: Tensor) -> Tensor:
            seen.append(precisions())
            return super().__matmul__(other)

    def noting(*arguments: Tensor) -> Tensor:
        seen.append(precisions())
        return convolve(*arguments)

    monkeypatch.setattr(blur, "conv2d", noting)
    monkeypatch.setattr(resampling, "_box_average", lambda *sizes: averages(*sizes).as_subclass(Product))
    images = torch.rand(2, 3, 8, 8)
    npf.perturbation("gaussian-blur:1")(images)
    assert seen == [("ieee", "ieee")] * 2
    npf.perturbation("pixelate:0.5")(images)
    assert seen[-1] == ("ieee", "ieee")
