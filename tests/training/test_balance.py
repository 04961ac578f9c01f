"""Classes of unequal size: weights by hand, and against repeated samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import noiseproof as npf
from noiseproof.data import ArrayDataset, Splits
from noiseproof.errors import RecipeError
from noiseproof.methods import METHODS, Views, build_method
from noiseproof.models import FeatureClassifier
from noiseproof.training import load_recipe
from noiseproof.training.balance import balanced_weights
from noiseproof.training.fitting import make_trainer


def data(labels: list[int], classes: int = 3) -> ArrayDataset:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(len(labels), 4, generator=generator)
    return ArrayDataset(inputs, torch.tensor(labels), [str(c) for c in range(classes)])


def test_the_weights_by_hand() -> None:
    labels = [0] * 7 + [1] * 2 + [2]
    found = balanced_weights(data(labels))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([10 / 21, 10 / 6, 10 / 3])
    assert float(found[torch.tensor(labels)].mean()) == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_class_that_counts_twice_is_as_if_its_samples_were_there_twice(
    smoothing: float, tiny_model: FeatureClassifier
) -> None:
    method = build_method("normal", tiny_model)
    method.label_smoothing = smoothing
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 1, 2])
    twice = torch.tensor([0, 0, 1, 1, 2])
    plain = method.softmax_loss(logits[[0, 0, 1, 2, 3]], twice)
    method.class_weight = torch.tensor([2.0, 1.0, 1.0]) * 4 / 5
    torch.testing.assert_close(method.softmax_loss(logits, labels), plain)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_the_weights_in_its_loss(name: str, tiny_model: FeatureClassifier) -> None:
    tiny_model.eval()
    clean = torch.rand(6, 1, 8, 8)
    views = Views(torch.tensor([0, 0, 0, 0, 1, 2]), clean, (clean + 0.1).clamp(0, 1))
    method = build_method(name, tiny_model)
    plain = method(views)
    assert "class_weight" not in method.state_dict()
    method.class_weight = torch.full((3,), 3.0)
    weighted = method(views)
    for part in plain.parts:
        factor = 3.0 if part.startswith("softmax") else 1.0
        torch.testing.assert_close(weighted.parts[part], factor * plain.parts[part])


def test_the_trainer_weighs_the_classes_of_the_training_set() -> None:
    splits = Splits(train=data([0] * 6 + [1] * 3 + [2] * 3), validation=None, test=data([0, 1, 2]))
    changes = {"train.keep": "last", "data.validation_fraction": 0, "train.batch_size": 4}

    def weight(**more: object) -> Tensor | None:
        recipe = load_recipe("vectors", {**changes, **more}).for_run("normal", 0)
        trainer, _ = make_trainer(recipe, splits)
        return trainer.method.class_weight

    assert weight() is None
    found = weight(**{"train.class_weight": "balanced"})
    assert found is not None
    torch.testing.assert_close(found, torch.tensor([12 / 18, 12 / 9, 12 / 9]))


def test_a_rare_class_is_found_more_often(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.array([0] * 380 + [1] * 20 + [0] * 500 + [1] * 500)
    x = random.normal(size=(1400, 4)).astype(np.float32) + 0.8 * labels[:, None]
    np.savez(tmp_path / "rare.npz", x=x[:400], y=labels[:400], x_test=x[400:].astype(np.float32), y_test=labels[400:])
    recalls = []
    for given in (None, "balanced"):
        changes = {"data.source": f"npz:{tmp_path / 'rare.npz'}", "train.class_weight": given, "train.epochs": 10}
        run = npf.train("vectors", "normal", 0, changes, tmp_path / str(given))
        report = npf.evaluate(run.model(), run.data().test)
        recalls.append(float(report.per_class("clean")[1]))
    assert recalls[1] > recalls[0] + 0.1


def test_other_values_are_refused_and_the_default_changes_no_digest() -> None:
    with pytest.raises(RecipeError, match=r"train\.class_weight = 'even'"):
        load_recipe("digits", {"train.class_weight": "even"})
    assert "class_weight" not in load_recipe("digits").settings_to_digest()["train"]
