"""Pretrained weights: asked for only where a model is first made, and a clear word where they cannot be had."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision

import noiseproof as npf
from noiseproof.errors import NoiseproofError
from noiseproof.models.files import ModelDescription, load_model, save_model


def test_weights_that_cannot_be_fetched_are_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", fail)
    with pytest.raises(NoiseproofError, match=r"weights of 'torchvision/mobilenet_v3_small' .*weights=null"):
        npf.build_model("torchvision/mobilenet_v3_small", 3, weights="DEFAULT")


def test_a_saved_model_is_loaded_without_asking_for_pretrained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, asked = torchvision.models.get_model, []

    def without_network(name: str, weights: str | None = None, **options: object) -> torch.nn.Module:
        asked.append(weights)
        return original(name, **options)

    monkeypatch.setattr(torchvision.models, "get_model", without_network)
    description = ModelDescription(
        "torchvision/mobilenet_v3_small", None, ("a", "b", "c"), (3, 32, 32), (0.5,), (0.2,), {"weights": "DEFAULT"}
    )
    model = description.build().eval()
    assert (asked, model.num_classes) == (["DEFAULT"], 3)
    save_model(tmp_path / "model.safetensors", model, description)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(load_model(tmp_path / "model.safetensors")(x), model(x))
    assert asked == ["DEFAULT", None]
