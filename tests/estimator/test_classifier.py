"""The estimator by itself: labels, inputs, randomness, what is left alone, files, and mistakes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError, NonFiniteLossError, UnknownNameError
from noiseproof.estimator.settings import recipe_for
from noiseproof.losses.discriminative import LOSS_PRESETS
from noiseproof.models.files import load_model
from noiseproof.training.engine import make_accelerator
from tests.estimator.problems import small, wine


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["red", "white", "rosé"]),
        np.array(["red", "white", "rosé"], dtype=object),
        np.array([-7, 10**12, 3]),
        np.array([0.0, 2.0, 1.0]),
    ],
)
def test_labels_of_any_type_come_back(labels: np.ndarray[Any, Any]) -> None:
    X, y = wine()
    fitted = small().fit(X, labels[y])
    predicted = fitted.predict(X)
    assert predicted.dtype == labels.dtype
    assert fitted.score(X, labels[y]) > 0.9
    np.testing.assert_array_equal(fitted.classes_, np.sort(labels))
    np.testing.assert_array_equal(predicted, fitted.classes_[fitted.predict_proba(X).argmax(1)])


def test_two_classes_have_one_decision() -> None:
    X, y = wine()
    fitted = small().fit(X, y == 1)
    decision = fitted.decision_function(X)
    np.testing.assert_array_equal(decision > 0, fitted.predict(X))
    np.testing.assert_allclose(fitted.predict_proba(X)[:, 1], 1 / (1 + np.exp(-decision)))


def test_the_model_takes_inputs_as_they_are() -> None:
    X, y = wine()
    fitted = small().fit(X, y)
    logits = fitted.model_(torch.tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(logits.softmax(1).detach().numpy(), fitted.predict_proba(X), atol=1e-4)
    assert not fitted.model_.training
    np.testing.assert_allclose(fitted.scaler_.mean_, X.mean(0))


def test_a_saved_model_answers_like_the_estimator(tmp_path: Path) -> None:
    X, y = wine()
    fitted = small(hidden_layer_sizes=(12, 7)).fit(X, y)
    fitted.save(tmp_path / "wine.safetensors")
    model = load_model(tmp_path / "wine.safetensors")
    x = torch.tensor(X, dtype=torch.float32)
    assert torch.equal(model(x), fitted.model_(x))


def test_hidden_layers_are_as_wide_as_was_said() -> None:
    X, y = wine()
    for sizes, expected in (((9, 5), [13, 9, 5, 4]), (6, [13, 6, 4]), ((), [13, 4]), ([np.int64(8)], [13, 8, 4])):
        fitted = small(hidden_layer_sizes=sizes, embedding_dim=4, epochs=1).fit(X, y)
        layers = [layer for layer in fitted.model_.backbone.modules() if isinstance(layer, nn.Linear)]
        assert [layers[0].in_features, *(layer.out_features for layer in layers)] == expected


def test_one_random_state_gives_one_classifier_whatever_ran_before() -> None:
    X, y = wine()
    first = small(random_state=3).fit(X, y).predict_proba(X)
    torch.randn(7)
    np.random.rand(7)
    np.testing.assert_array_equal(small(random_state=3).fit(X, y).predict_proba(X), first)
    assert not np.array_equal(small(random_state=4).fit(X, y).predict_proba(X), first)
    drawn = [small(random_state=np.random.RandomState(5)).fit(X, y).predict_proba(X) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)
    state = np.random.RandomState(5)
    twice = [small(random_state=state).fit(X, y).predict_proba(X) for _ in range(2)]
    np.testing.assert_array_equal(twice[0], drawn[0])
    assert not np.array_equal(*twice)
    assert not np.array_equal(*(small(random_state=None).fit(X, y).predict_proba(X) for _ in range(2)))


def test_a_second_fit_forgets_the_first() -> None:
    X, y = wine()
    fitted = small().fit(X[:, :4], y == 0)
    fitted.fit(X, y)
    np.testing.assert_array_equal(fitted.predict_proba(X), small().fit(X, y).predict_proba(X))


def test_what_belongs_to_the_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    X, y = wine()
    monkeypatch.chdir(tmp_path)
    users = make_accelerator("bf16")
    inputs = X.copy()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    threads = torch.get_num_threads(), torch.get_num_interop_threads()
    fitted = small(validation_fraction=0.2).fit(inputs, y)
    fitted.predict(inputs)
    fitted.robustness(inputs, y, ["gaussian:0.5"], draws=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert (torch.get_num_threads(), torch.get_num_interop_threads()) == threads
    assert (users.mixed_precision, users.device.type) == ("bf16", "cpu")
    np.testing.assert_array_equal(inputs, X)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_standard_error_if_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    small(verbose=True).fit(*wine())
    out, err = capfd.readouterr()
    assert out == ""
    assert "train discriminative, seed 0: done in" in err


def test_what_is_held_out_chooses_the_epoch() -> None:
    X, y = wine()
    fitted = small(validation_fraction=0.3, learning_rate=0.3, epochs=8, random_state=1).fit(X, y)
    scores = fitted.validation_scores_
    assert len(scores) == 8
    assert scores[-1] < max(scores)
    last = small(validation_fraction=0.3, learning_rate=0.3, epochs=8, random_state=1)
    last.set_params(validation_fraction=0.0).fit(X, y)
    assert last.validation_scores_ is None
    held_out = len(X) - fitted.scaler_.n_samples_seen_
    assert held_out == 54
    hits = np.array(scores) * held_out
    np.testing.assert_allclose(hits, hits.round(), atol=1e-6)


def test_batches_are_as_large_as_the_data_calls_for() -> None:
    sizes = [recipe_for(small(batch_size="auto").get_params(), 0, n).train.batch_size for n in (5, 1280, 2000, 10**6)]
    assert sizes == [64, 64, 100, 256]
    with pytest.raises(InvalidArgumentError, match=r"^batch_size = 'all': input should be a valid integer"):
        small(batch_size="all").fit(*wine())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_numbers_of_any_type(dtype: type) -> None:
    X, y = wine()
    whole = np.round(X * 100).astype(dtype)
    expected = small().fit(whole.astype(np.float64), y).predict_proba(whole)
    np.testing.assert_array_equal(small().fit(whole, y).predict_proba(whole), expected)


def test_constant_features_change_nothing_but_chance() -> None:
    X, y = wine()
    padded = np.hstack([X, np.full((len(X), 2), 5e6)])
    fitted = small(epochs=12).fit(padded, y)
    assert fitted.score(padded, y) > 0.93
    everything_constant = small().fit(np.ones((10, 3)), [0, 1] * 5)
    assert np.isfinite(everything_constant.predict_proba(np.ones((2, 3)))).all()


@pytest.mark.parametrize("preset", ["paper", "best", "authors-code"])
def test_a_preset_fills_in_what_is_left_open(preset: str) -> None:
    known = LOSS_PRESETS[preset]
    open_, given = (
        recipe_for(small(preset=preset, method_options=options).get_params(), 0, 100).methods["discriminative"]
        for options in (None, {"delta_v": 0.25, "passes": "separate"})
    )
    assert {name: open_[name] for name in known} == dict(known)
    assert open_.get("passes") == ("joint" if preset == "best" else None)
    assert given == {**open_, "delta_v": 0.25, "passes": "separate"}


def test_presets_train_different_classifiers() -> None:
    X, y = wine()
    paper, best = (small(preset=preset).fit(X, y).predict_proba(X) for preset in ("paper", "best"))
    np.testing.assert_array_equal(small().fit(X, y).predict_proba(X), paper)
    assert np.abs(paper - best).max() > 1e-3


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_a_handful_of_samples(samples: int) -> None:
    X, y = np.arange(samples * 2.0).reshape(samples, 2), np.arange(samples) % 2
    for batch_size in (2, 128):
        fitted = small(batch_size=batch_size, hidden_layer_sizes=(8,)).fit(X, y)
        assert np.isfinite(fitted.predict_proba(X[:1])).all()


def test_inputs_far_outside_what_was_seen_get_an_answer() -> None:
    X, y = wine()
    fitted = small().fit(X, y)
    probabilities = fitted.predict_proba(np.vstack([np.full(13, 1e300), np.full(13, -1e300)]))
    np.testing.assert_allclose(probabilities.sum(1), 1)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"method": "discriminativ"}, UnknownNameError, "unknown method .*; did you mean 'discriminative'"),
        ({"method": None}, InvalidArgumentError, "method must be the name of a method, got None"),
        ({"method_options": {"delta_dd": 1}}, InvalidArgumentError, "unknown key 'method_options.delta_dd'; did you"),
        ({"method_options": {"delta_d": -1}}, InvalidArgumentError, "^method_options.delta_d = -1: input should be"),
        ({"method_options": 5}, InvalidArgumentError, "method_options must be a dict such as {'delta_d': 5.0}, got 5"),
        ({"preset": "bets"}, UnknownNameError, "unknown preset 'bets'; did you mean 'best'"),
        ({"preset": None}, UnknownNameError, "unknown preset 'None'; known: authors-code, best, paper"),
        ({"noise": -0.5}, InvalidArgumentError, "noise must be >= 0, got -0.5"),
        ({"noise": float("nan")}, InvalidArgumentError, "noise must be >= 0, got nan"),
        ({"noise": "gausian:1"}, UnknownNameError, "did you mean 'gaussian'"),
        ({"noise": None}, InvalidArgumentError, "noise must be a number or a text such as 'gaussian:0.5', got None"),
        ({"noise": "jpeg:10"}, InvalidArgumentError, "jpeg takes images"),
        ({"hidden_layer_sizes": (8, 0)}, InvalidArgumentError, r"whole numbers >= 1, got \(8, 0\)"),
        ({"hidden_layer_sizes": "8"}, InvalidArgumentError, "must be a tuple of widths such as .* got '8'"),
        ({"embedding_dim": 0}, InvalidArgumentError, "^embedding_dim = 0: input should be greater than or equal to 1"),
        ({"epochs": 0}, InvalidArgumentError, "^epochs = 0: input should be greater than or equal to 1$"),
        ({"epochs": 1.5}, InvalidArgumentError, "^epochs = 1.5: input should be a valid integer"),
        ({"batch_size": 1}, InvalidArgumentError, "^batch_size = 1: input should be greater than or equal to 2"),
        ({"learning_rate": 0}, InvalidArgumentError, "^learning_rate = 0: input should be greater than 0"),
        ({"weight_decay": -1}, InvalidArgumentError, "^weight_decay = -1: input should be greater than or equal to 0"),
        ({"validation_fraction": 1}, InvalidArgumentError, "^validation_fraction = 1: input should be less than 1"),
        ({"validation_fraction": 0.001}, InvalidArgumentError, "^validation_fraction = 0.001 of 178 samples cannot"),
        ({"device": "gpu"}, InvalidArgumentError, "device 'gpu' is not there"),
        ({"random_state": -1}, ValueError, "Seed must be between 0"),
        ({"learning_rate": 1e30}, NonFiniteLossError, "became .* in epoch .*; try a smaller learning_rate$"),
    ],
)
def test_mistakes_are_told_in_the_parameters_words(
    parameters: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        small(**parameters).fit(*wine())


def test_data_that_cannot_be_learnt_from() -> None:
    X, y = wine()
    with pytest.raises(DataError, match="y holds 1 class, 'a'; at least 2 are needed"):
        small().fit(X, ["a"] * len(X))
    with pytest.raises(DataError, match=r"feature 2 has mean .*, which is outside the range of float32"):
        small().fit(X * np.where(np.arange(13) == 2, 1e40, 1), y)
    with pytest.raises(ValueError, match="contains NaN"):
        small().fit(np.where(X > 1, X, np.nan), y)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        small().fit(X, X[:, 0])


def test_before_fit_there_is_nothing_to_ask(tmp_path: Path) -> None:
    X, y = wine()
    unfitted = small()
    for ask in (
        lambda: unfitted.predict(X), lambda: unfitted.robustness(X, y), lambda: unfitted.predict_stability(X),
        lambda: unfitted.save(tmp_path / "x"),
    ):  # fmt: skip
        with pytest.raises(NotFittedError):
            ask()


def test_a_fit_that_failed_lets_the_next_one_in() -> None:
    X, y = wine()
    with pytest.raises(NoiseproofError):
        small(learning_rate=1e30).fit(X, y)
    assert small().fit(X, y).score(X, y) > 0.9
