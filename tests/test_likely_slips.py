"""Slips that users make and that would otherwise end in an error from deep inside, or in none at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import noiseproof as npf
from noiseproof.cli import main
from noiseproof.data import load_splits
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.models import FeatureClassifier
from noiseproof.training import load_recipe


def test_the_model_in_place_of_its_head(tiny_model: FeatureClassifier) -> None:
    with pytest.raises(InvalidArgumentError, match=r"head must be the model's last nn\.Linear, got FeatureClassifier"):
        npf.DiscriminativeLoss(3, 5)(torch.rand(2, 5), torch.tensor([0, 1]), tiny_model)


def test_a_loader_in_place_of_its_data_set(tiny_model: FeatureClassifier) -> None:
    data = TensorDataset(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))
    with pytest.raises(DataError, match=r"pass loader\.dataset"):
        npf.evaluate(tiny_model, DataLoader(data))


def test_a_function_in_place_of_a_model() -> None:
    with pytest.raises(InvalidArgumentError, match=r"model must be an nn\.Module, got function"):
        npf.evaluate(lambda x: x, (torch.rand(4, 2), torch.tensor([0, 1, 1, 0])))  # type: ignore[arg-type]


def test_inputs_that_the_model_cannot_take(tiny_model: FeatureClassifier) -> None:
    with pytest.raises(InvalidArgumentError, match=r"cannot take inputs of shape \(\d+, 3, 8, 8\)"):
        npf.evaluate(tiny_model, (torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])))


def test_channels_last_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((6, 8, 8, 3), np.uint8), y=np.arange(6) % 2)
    with pytest.raises(DataError, match=r"looks like \(N, H, W, C\)"):
        load_splits(f"npz:{tmp_path / 'x.npz'}")


def test_asking_for_the_preset_that_a_recipe_has_changes_nothing() -> None:
    assert load_recipe("road", {"preset": "paper"}) == load_recipe("road")
    assert load_recipe("road").train.keep == "best-validation"
    assert load_recipe("road", {"preset": "authors-code"}).train.keep == "best-test"


def test_training_by_the_published_code_says_what_its_accuracies_are_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["--set", "preset=authors-code", "--set", "train.max_steps=2", "--set", "model.options={width: 4}"]
    with pytest.raises(SystemExit) as exit_:
        main(["train", "digits", *changes, "--out", str(tmp_path / "run")])
    assert exit_.value.code == 0
    assert "chosen on the test set" in capsys.readouterr().out


def test_a_head_without_a_bias_is_a_head() -> None:
    terms = npf.DiscriminativeLoss(3, 5)(torch.rand(2, 5), torch.tensor([0, 1]), nn.Linear(5, 3, bias=False))
    assert bool(terms.total.isfinite())
