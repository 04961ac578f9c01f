"""Trained weights in a network that is built anew: taken over to the last number, or refused with both sides named."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.models import FeatureClassifier, build_model
from noiseproof.models.files import ModelDescription, save_model
from noiseproof.models.trained import TrainedWeights

OWN = ModelDescription("small-cnn", 6, ("a", "b", "c"), (1, 8, 8), (0.3,), (0.4,), {"width": 2})
NAME = "torchvision/shufflenet_v2_x0_5"
LIBRARY = ModelDescription(NAME, None, ("a", "b", "c"), (3, 32, 32), (0.5,) * 3, (0.2,) * 3)


def trained(description: ModelDescription) -> FeatureClassifier:
    """Random weights, and statistics of batch normalisation that are not the first ones."""
    model = description.build()
    model.train()(torch.rand(4, *description.input_shape))
    return model.eval()


def logits(model: nn.Module, description: ModelDescription) -> Tensor:
    x = torch.rand(5, *description.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found: Tensor = model.eval()(x)
    return found


def taken_over(path: Path, description: ModelDescription) -> tuple[FeatureClassifier, bool]:
    weights = TrainedWeights.read(path)
    weights.require_same_network(description)
    model = description.build(pretrained=False)
    return model, weights.load_into(model, description)


@pytest.fixture
def described(tmp_path: Path) -> tuple[Path, FeatureClassifier]:
    model = trained(OWN)
    save_model(tmp_path / "own.safetensors", model, OWN)
    return tmp_path / "own.safetensors", model


def test_a_file_that_describes_itself(described: tuple[Path, FeatureClassifier]) -> None:
    path, model = described
    weights = TrainedWeights.read(path)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.normalisation == ((0.3,), (0.4,))
    loaded, kept = taken_over(path, OWN)
    assert kept
    torch.testing.assert_close(logits(loaded, OWN), logits(model, OWN), rtol=0, atol=0)


def test_other_classes_get_a_new_last_layer(described: tuple[Path, FeatureClassifier]) -> None:
    path, model = described
    five = dataclasses.replace(OWN, class_names=("a", "b", "c", "d", "e"))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        fresh = five.build().head.weight.detach().clone()
        torch.manual_seed(7)
        loaded, kept = taken_over(path, five)
    assert not kept
    torch.testing.assert_close(loaded.head.weight, fresh, rtol=0, atol=0)
    with torch.no_grad():
        x = torch.rand(2, 1, 8, 8)
        torch.testing.assert_close(loaded.eval().embed(x), model.embed(x), rtol=0, atol=0)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("normalised", [True, False])
def test_a_state_dict_of_a_feature_classifier(tmp_path: Path, suffix: str, normalised: bool) -> None:
    """As a loop of one's own saves it. A model that normalises nothing was trained on what came in."""
    mean = {"mean": 0.25, "std": 0.75} if normalised else {}
    model = build_model("small-cnn", 3, 6, in_channels=1, width=2, **mean).eval()
    path = tmp_path / f"own.{suffix}"
    (torch.save if suffix == "pt" else save_file)(model.state_dict(), path)
    weights = TrainedWeights.read(path)
    assert weights.normalisation == (((0.25,), (0.75,)) if normalised else ((0.0,), (1.0,)))
    wanted = dataclasses.replace(OWN, mean=weights.normalisation[0], std=weights.normalisation[1])
    loaded, kept = taken_over(path, wanted)
    assert kept
    torch.testing.assert_close(logits(loaded, OWN), logits(model, OWN), rtol=0, atol=0)


@pytest.mark.parametrize("classes", [3, 7])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_librarys_own_state_dict(tmp_path: Path, classes: int, wrapped: bool) -> None:
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=classes)
    network.train()(torch.rand(4, 3, 32, 32))
    state = network.state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state, tmp_path / "w.pt")
    assert TrainedWeights.read(tmp_path / "w.pt").normalisation is None
    loaded, kept = taken_over(tmp_path / "w.pt", LIBRARY)
    assert kept == (classes == 3)
    theirs = FeatureClassifier.from_module(network, mean=(0.5,) * 3, std=(0.2,) * 3)
    if kept:
        torch.testing.assert_close(logits(loaded, LIBRARY), logits(theirs, LIBRARY), rtol=0, atol=0)
    assert loaded.num_classes == 3
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval().embed(x), theirs.eval().embed(x), rtol=0, atol=0)


def test_a_librarys_network_without_its_last_layer(tmp_path: Path) -> None:
    state = torchvision.models.shufflenet_v2_x0_5(num_classes=2).state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, tmp_path / "w.pt")
    assert not taken_over(tmp_path / "w.pt", LIBRARY)[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "mlp"}, "model.name is 'small-cnn' there, 'mlp' here"),
        ({"options": {"width": 3}}, "model.options is {'width': 2} there, {'width': 3} here"),
        ({"embedding_dim": 7}, "model.embedding_dim is 6 there, 7 here"),
        ({"embedding_dim": None}, "model.embedding_dim is 6 there, 128 here"),
        ({"input_shape": (3, 8, 8)}, "the number of channels is 1 there, 3 here"),
    ],
)
def test_another_network_is_refused_with_both_sides(
    described: tuple[Path, FeatureClassifier], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        taken_over(described[0], dataclasses.replace(OWN, **change))
    assert message in str(caught.value)
    assert str(described[0]) in str(caught.value)


def test_options_for_pretrained_weights_and_other_sizes_make_no_difference(tmp_path: Path) -> None:
    there = dataclasses.replace(LIBRARY, options={"weights": None})
    save_model(tmp_path / "m.safetensors", trained(there), there)
    here = dataclasses.replace(LIBRARY, options={"weights": "DEFAULT"}, input_shape=(3, 64, 64))
    assert taken_over(tmp_path / "m.safetensors", here)[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"width": 3}}, "of another shape: 'backbone.0.weight'"),
        ({"embedding_dim": 7}, "have width 6, those of the recipe's model 7"),
        ({"name": "mlp", "input_shape": (5,)}, "do not fit 'mlp'"),
    ],
)
def test_bare_weights_of_another_network(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    torch.save(trained(OWN).state_dict(), tmp_path / "w.pt")
    wanted = dataclasses.replace(OWN, **change)
    if "input_shape" in change:
        wanted = dataclasses.replace(wanted, mean=(0.0,), std=(1.0,))
    with pytest.raises(InvalidArgumentError, match=message):
        taken_over(tmp_path / "w.pt", wanted)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (dataclasses.replace(LIBRARY, embedding_dim=16), "set model.embedding_dim=null"),
        (dataclasses.replace(LIBRARY, name="torchvision/resnet18"), "do not fit 'torchvision/resnet18': missing"),
    ],
)
def test_a_librarys_weights_in_another_network(tmp_path: Path, wanted: ModelDescription, message: str) -> None:
    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=3).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InvalidArgumentError, match=message):
        taken_over(tmp_path / "w.pt", wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    state = trained(OWN).state_dict()
    state["head.bias"][1] = value
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(NoiseproofError, match=r"'head.bias' in .*w\.pt holds values that are not finite"):
        TrainedWeights.read(tmp_path / "w.pt")


def test_objects_are_never_made(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(NoiseproofError, match="holds a whole model"):
        TrainedWeights.read(tmp_path / "w.pt")
