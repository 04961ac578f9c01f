"""What all looks at a model have in common: nothing of it changes, progress is told, any data set will do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from noiseproof.analysis import theory
from noiseproof.analysis.theory.wording import median, number, percent, span
from noiseproof.data import ArrayDataset
from noiseproof.errors import InvalidArgumentError
from noiseproof.models import FeatureClassifier
from tests.analysis.theory.problems import Counter, condition, same, trained_looking

Look = Callable[..., Any]

LOOKS: dict[str, Look] = {
    "separation": lambda model, data, **more: theory.separation(model, data, delta_v=0.5, delta_d=1.0, **more),
    "rescaling": lambda model, data, **more: theory.rescaling(model, data, **more),
    "stability": lambda model, data, **more: theory.stability(model, data, sigma=0.1, delta=0.5, draws=20, **more),
    "generalisation": lambda model, data, **more: theory.generalisation(
        model, data, data, radius=1.0, rho=0.5, **more
    ),
    "divergence": lambda model, data, **more: theory.divergence(model, data, delta_v=0.5, folds=2, **more),
}


@pytest.fixture(params=sorted(LOOKS))
def look(request: pytest.FixtureRequest) -> Look:
    return LOOKS[request.param]


def images(n: int = 24) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    return torch.rand(n, 1, 8, 8, generator=g), torch.arange(n) % 3


def equal(first: Any, second: Any) -> bool:
    return all(same(getattr(first, field.name), getattr(second, field.name)) for field in fields(first))


def test_nothing_of_the_model_changes(look: Look, tiny_model: FeatureClassifier) -> None:
    model = trained_looking(tiny_model)
    before = condition(model)
    look(model, images())
    after = condition(model)
    assert [name for name in before if not same(before[name], after[name])] == []


def test_the_mode_of_the_model_does_not_matter(look: Look, tiny_model: FeatureClassifier) -> None:
    model = trained_looking(tiny_model)
    in_training = look(model, images())
    assert equal(in_training, look(model.eval(), images()))
    with torch.no_grad():
        assert equal(in_training, look(model, images()))


def test_any_data_set_will_do(look: Look, tiny_model: FeatureClassifier) -> None:
    x, y = images()
    of_a_tuple = look(tiny_model, (x, y))
    assert equal(of_a_tuple, look(tiny_model, TensorDataset(x, y)))
    assert equal(of_a_tuple, look(tiny_model, ArrayDataset(x, y, ["a", "b", "c"])))


def test_results_are_plain_numbers_without_graphs_or_the_datas_memory(
    look: Look, tiny_model: FeatureClassifier
) -> None:
    x, y = images()
    found = look(tiny_model, (x, y))
    for field in fields(found):
        value = getattr(found, field.name)
        assert not isinstance(value, Tensor)
        if isinstance(value, np.ndarray):
            assert not np.shares_memory(value, y.numpy())
            assert not np.shares_memory(value, tiny_model.head.weight.detach().numpy())
            assert value.dtype in (np.float64, np.int64)
    summary = found.summary()
    assert summary
    assert all(isinstance(what, str) and isinstance(told, str) and what and told for what, told in summary)
    assert len({what for what, _ in summary}) == len(summary)


def test_quantities_have_the_same_names_whatever_the_numbers() -> None:
    """So that models with other δ stand in one row of a table, and each tells its own."""
    model, data = FeatureClassifier(nn.Flatten(), nn.Linear(64, 3)), images()
    torch.manual_seed(0)
    for told in (
        [theory.separation(model, data, delta_v=v, delta_d=4 * v).summary() for v in (0.5, 2.0)],
        [theory.stability(model, data, sigma=0.1, delta=v, draws=2, limit=4).summary() for v in (0.5, 2.0)],
        [theory.generalisation(model, data, data, radius=v, rho=v**2 / 2).summary() for v in (0.5, 2.0)],
        [theory.divergence(model, data, delta_v=v, folds=2).summary() for v in (0.5, 2.0)],
    ):
        first, second = told
        assert [what for what, _ in first] == [what for what, _ in second]
        assert any("0.5" in value for _, value in first)
        assert first != second


def test_a_result_is_frozen(look: Look, tiny_model: FeatureClassifier) -> None:
    found = look(tiny_model, images())
    with pytest.raises(AttributeError):
        setattr(found, fields(found)[0].name, 1)


def test_a_model_that_works_in_place_leaves_the_data_alone(look: Look) -> None:
    def made(inplace: bool) -> FeatureClassifier:
        torch.manual_seed(0)
        layers = [nn.Hardtanh(0.3, 0.7, inplace=inplace), nn.Flatten(), nn.Linear(64, 5)]
        return FeatureClassifier(nn.Sequential(*layers), nn.Linear(5, 3))

    x, y = images()
    before = x.clone()
    found = look(made(inplace=True), (x, y))
    assert torch.equal(x, before)
    assert equal(found, look(made(inplace=False), (x, y)))


def test_progress_is_told_to_the_end(look: Look, tiny_model: FeatureClassifier) -> None:
    counter = Counter()
    look(tiny_model, images(), progress=counter, limit=18)
    assert counter.announced
    assert counter.done == counter.announced


def test_inputs_that_the_model_does_not_take_are_told(look: Look, tiny_model: FeatureClassifier) -> None:
    x, y = images()
    with pytest.raises(InvalidArgumentError, match=r"cannot take inputs of shape \((24|1), 2, 8, 8\)"):
        look(tiny_model, (x.expand(-1, 2, -1, -1), y))


def test_a_device_can_be_named(look: Look, tiny_model: FeatureClassifier) -> None:
    assert equal(look(tiny_model, images()), look(tiny_model, images(), device="cpu"))


def test_public_names_are_documented() -> None:
    for name in theory.__all__:
        assert getattr(theory, name).__doc__, name


def test_numbers_in_words() -> None:
    assert percent([True, False, True, True]) == "75.0 %"
    assert percent(0.5) == "50.0 %"
    assert percent([]) == percent([np.nan]) == "none"
    assert number(1234.5678) == "1.23e+03"
    assert number(np.nan) == median([np.nan]) == span([]) == "unknown"
    assert median([1.0, np.nan, 2.0, 4.0]) == "2"
    assert span([3.0, np.nan, 0.25]) == "0.25 to 3"
