"""Training in memory against training into a run folder."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

import noiseproof as npf
from noiseproof.data import ArrayDataset, Splits
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.training import fit_model, load_recipe
from noiseproof.training.run import load_data

SHORT = {"train.epochs": 2, "train.max_steps": 20, "model.options": {"width": 8}, "seed": 3}


@pytest.mark.parametrize("method", ["normal", "discriminative"])
def test_it_gives_the_model_that_a_run_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("vectors", {**SHORT, "method": method})
    fitted = fit_model(recipe, load_data(recipe), device="cpu")
    assert list(tmp_path.iterdir()) == []
    run = npf.train(recipe, out=tmp_path / "run")
    expected = run.model().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in fitted.model.state_dict().items())
    assert fitted.description.class_names == ("malignant", "benign")
    timed = {"seconds", "samples_per_second"}
    for here, there in zip(fitted.metrics, run.metrics(), strict=True):
        assert {key: here[key] for key in here.keys() - timed} == {key: there[key] for key in there.keys() - timed}


def test_weights_are_chosen_as_the_recipe_says() -> None:
    overrides = {**SHORT, "data.validation_fraction": 0.2, "train.keep": "best-validation", "train.max_steps": None}
    recipe = load_recipe("vectors", {**overrides, "train.epochs": 5, "train.optimizer.lr": 0.05, "method": "normal"})
    splits = load_data(recipe)
    fitted = fit_model(recipe, splits)
    assert npf.evaluate(fitted.model, splits.validation)["clean"].mean == max(
        metrics["validation_accuracy"] for metrics in fitted.metrics
    )


def test_handlers_of_signals_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a library call has no business with signals")

    monkeypatch.setattr(signal, "signal", refuse)
    recipe = load_recipe("vectors", SHORT)
    assert len(fit_model(recipe, load_data(recipe)).metrics) == 2


def test_what_cannot_be_trained_is_refused() -> None:
    inputs, labels = torch.randn(6, 30), torch.zeros(6, dtype=torch.long)
    lacking = ArrayDataset(inputs, labels, ["there", "absent"])
    with pytest.raises(DataError, match="no training sample has the class absent"):
        fit_model(load_recipe("vectors", SHORT), Splits(lacking, None, lacking))
    series = ArrayDataset(torch.randn(6, 3, 8), labels, ["a"])
    recipe = load_recipe("vectors", SHORT)
    with pytest.raises(InvalidArgumentError):
        fit_model(recipe, Splits(series, None, series))
