"""Models that answer with an object which holds the logits are split like any other."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, ModelSplitError
from noiseproof.models.outputs import PlainLogits


@dataclass
class Answer:
    logits: Tensor
    loss: Tensor | None = None


class Wrapped(nn.Module):
    """As an image classifier of transformers: a body, a classifier, an output object."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout())
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
        self.scale = scale

    def forward(self, pixel_values: Tensor) -> Answer:
        return Answer(self.scale * self.classifier(self.body(pixel_values)))


def test_the_split_gives_the_logits() -> None:
    module = Wrapped().eval()
    split, x = npf.FeatureClassifier.from_module(module), torch.rand(4, 6)
    with torch.no_grad():
        torch.testing.assert_close(split(x), module(x).logits, rtol=0, atol=0)
        torch.testing.assert_close(split.embed(x), module.body(x), rtol=0, atol=0)
    assert split.head is module.classifier[1]
    assert {id(p) for p in split.parameters()} == {id(p) for p in module.parameters()}


@pytest.mark.parametrize("training", [True, False])
def test_every_part_keeps_its_mode(training: bool) -> None:
    module = Wrapped().train(training)
    split = npf.FeatureClassifier.from_module(module)
    assert {part.training for part in (*split.modules(), *module.modules())} == {training}
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in module.modules())


def test_training_the_split_trains_the_module_and_copies_stand_alone() -> None:
    module, x = Wrapped().train(), torch.rand(8, 6)
    split = npf.FeatureClassifier.from_module(module)
    apart = copy.deepcopy(split)
    before = module.eval()(x).logits
    nn.functional.cross_entropy(split(x), torch.arange(8) % 3).backward()
    torch.optim.SGD(split.parameters(), lr=1.0).step()
    torch.testing.assert_close(split.eval()(x), module.eval()(x).logits)
    assert not torch.allclose(split(x), before)
    torch.testing.assert_close(apart.eval()(x), before)


def test_a_scale_behind_the_last_layer_is_noticed_and_the_module_named() -> None:
    with pytest.raises(ModelSplitError, match="output of Wrapped is not that of its last"):
        npf.FeatureClassifier.from_module(Wrapped(scale=2.0))


@pytest.mark.parametrize("logits", [None, "many", [1.0]])
def test_logits_that_are_no_tensor(logits: Any) -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            super().forward(x)
            return SimpleNamespace(logits=logits)

    with pytest.raises(ModelSplitError, match=r"Odd must give \(N, C\) logits, got SimpleNamespace"):
        npf.FeatureClassifier.from_module(Odd(4, 2))


def test_measuring_such_a_model_tells_what_to_do() -> None:
    data = (torch.rand(4, 6), torch.tensor([0, 1, 2, 0]))
    module = Wrapped()
    with pytest.raises(InvalidArgumentError, match=r"got Answer for .*FeatureClassifier\.from_module\(model\)"):
        npf.evaluate(module, data)
    for model in (npf.FeatureClassifier.from_module(module), PlainLogits(module)):
        assert 0 <= npf.evaluate(model, data)["clean"].mean <= 1


def test_image_classifiers_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    body = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    vit = transformers.ViTConfig(**body, image_size=48, patch_size=16, num_channels=1, num_labels=3)
    resnet = transformers.ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], num_labels=3
    )
    x = torch.rand(2, 1, 48, 48)
    for module in (
        transformers.ViTForImageClassification(vit), transformers.ResNetForImageClassification(resnet),
    ):  # fmt: skip
        split = npf.FeatureClassifier.from_module(module.eval(), mean=0.5, std=0.5)
        with torch.no_grad():
            torch.testing.assert_close(split(x), module((x - 0.5) / 0.5).logits)
        assert (split.num_classes, split.embedding_dim) == (3, 8)
