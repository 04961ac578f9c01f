"""What cannot be measured on a data set is told before anything is trained."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from noiseproof.data import ArrayDataset
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.evaluation.suitability import require_suitable

LABELS = torch.tensor([0, 1])
IMAGES = ArrayDataset(torch.rand(2, 3, 16, 16), LABELS, ["a", "b"])
BYTES = ArrayDataset(torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8), LABELS, ["a", "b"])
VECTORS = ArrayDataset(torch.randn(2, 5), LABELS, ["a", "b"])


@pytest.mark.parametrize("data", [IMAGES, BYTES, VECTORS], ids=["images", "bytes", "vectors"])
def test_noise_suits_all_data_and_draws_from_no_global_generator(data: ArrayDataset) -> None:
    state = torch.random.get_rng_state()
    require_suitable(["clean", "gaussian:8/255", "uniform:0.1+gaussian:0.1"], data)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["clean", "jpeg:30"], "'jpeg:30' cannot be measured on this data: jpeg takes images"),
        (
            ["gaussian:0.1+gaussian-blur:1"],
            "'gaussian:0.1+gaussian-blur:1' cannot be measured on this data: ",
        ),
        (["fgsm:8/255"], "'fgsm:8/255' cannot be measured on this data: fgsm takes floating images (N, C, H, W)"),
    ],
)
def test_what_takes_images_does_not_suit_vectors(given: list[str], told: str) -> None:
    require_suitable([name for name in given if name not in told], IMAGES)
    with pytest.raises(InvalidArgumentError, match=re.escape(told)):
        require_suitable(given, VECTORS)


def test_an_attack_without_its_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(InvalidArgumentError, match=re.escape("pip install 'noiseproof[attacks]'")):
        require_suitable(["pgd:8/255"], IMAGES)


def test_an_unknown_name_is_told_as_such() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gaussian'"):
        require_suitable(["gausian:0.1"], IMAGES)
