"""The answers to a few samples are those behind the report on all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import noiseproof as npf
from noiseproof.data import ArrayDataset
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.evaluation import answers
from noiseproof.evaluation.blocks import BLOCK
from noiseproof.perturbations import perturbation
from tests.evaluation.problems import Linear, samples

# Shot noise takes more random numbers the brighter the samples before are.
KEYS = ("clean", "gaussian:0.3", "shot:20", "occlusion:n=1,size=0.5", "fgsm:0.1")


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    inputs, labels = samples(BLOCK + 37, 1, 4, 4)
    return ArrayDataset(inputs, labels, ["a", "b", "c"])


@pytest.mark.parametrize("key", KEYS)
def test_they_are_right_where_the_report_says_so(data: ArrayDataset, key: str) -> None:
    model, places = Linear(16), [BLOCK + 36, 0, 5, BLOCK - 1, BLOCK]
    result = npf.evaluate(model, data, [key], draws=3, seed=7)[key]
    found = answers(model, data, key, places, draws=3, seed=7)
    assert np.array_equal(found.classes == data.labels[places].numpy(), result.correct[:, places])
    assert found.probabilities.max(axis=2) == pytest.approx(result.confidence[:, places], abs=1e-6)
    assert found.probabilities.sum(axis=2) == pytest.approx(np.ones((len(result.correct), 5)), abs=1e-5)


def test_the_inputs_are_what_the_model_saw(data: ArrayDataset) -> None:
    model = Linear(16)
    found = answers(model, data, "gaussian:0.3", [3, 140], draws=2)
    with torch.no_grad():
        again = model(torch.from_numpy(found.inputs[1])).softmax(1)
    assert again.numpy() == pytest.approx(found.probabilities[1], abs=1e-6)
    assert (found.inputs[0] != found.inputs[1]).any()
    clean = answers(model, data, "clean", [3, 140])
    assert clean.inputs.shape == (1, 2, 1, 4, 4)
    assert np.array_equal(clean.inputs[0], data.inputs[[3, 140]].numpy())


def test_the_mode_of_the_model_is_left_alone(data: ArrayDataset) -> None:
    model = Linear(16).train()
    answers(model, data, "clean", [0])
    assert model.training


@pytest.mark.parametrize("indices", [[], [-1], [BLOCK + 37], [0.5]])
def test_samples_that_are_not_there(data: ArrayDataset, indices: list[int]) -> None:
    with pytest.raises(InvalidArgumentError):
        answers(Linear(16), data, "clean", indices)


def test_an_unknown_noise(data: ArrayDataset) -> None:
    with pytest.raises(UnknownNameError):
        answers(Linear(16), data, "gausian:1", [0])
    assert perturbation(KEYS[1]).random
