"""scikit-learn's tables as vectors, and its digits as series."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from noiseproof.data import ArrayDataset, load_splits
from noiseproof.data.sources import SOURCES, SourceOptions
from noiseproof.errors import InvalidArgumentError


def whole(name: str) -> ArrayDataset:
    data = SOURCES[name]("", SourceOptions())
    assert data.test is data.validation is None
    assert isinstance(data.train, ArrayDataset)
    return data.train


@pytest.mark.parametrize(
    ("name", "load", "shape", "names"),
    [
        ("wine", load_wine, (178, 13), ("class_0", "class_1", "class_2")),
        ("breast-cancer", load_breast_cancer, (569, 30), ("malignant", "benign")),
    ],
)
def test_a_table_is_standardised(name: str, load: object, shape: tuple[int, int], names: tuple[str, ...]) -> None:
    data, bunch = whole(name), load()  # type: ignore[operator]
    assert (data.inputs.dtype, tuple(data.inputs.shape), data.class_names) == (torch.float32, shape, names)
    assert data.labels.tolist() == bunch.target.tolist()
    torch.testing.assert_close(data.inputs.mean(0), torch.zeros(shape[1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.inputs.std(0, correction=0), torch.ones(shape[1]), atol=1e-5, rtol=0)
    expected = torch.from_numpy((bunch.data - bunch.data.mean(0)) / bunch.data.std(0)).float()
    torch.testing.assert_close(data.inputs, expected)


def test_digit_lines_are_the_digits_read_line_by_line() -> None:
    data, bunch = whole("digit-lines"), load_digits()
    assert (data.inputs.shape, data.class_names) == ((1797, 8, 8), tuple("0123456789"))
    for sample, row, column in ((0, 1, 5), (7, 3, 2), (1796, 6, 4)):
        assert float(data.inputs[sample, column, row]) == bunch.images[sample, row, column] / 16
    assert data.labels.tolist() == bunch.target.tolist()


@pytest.mark.parametrize("name", ["wine", "breast-cancer", "digit-lines"])
def test_they_split_and_take_no_argument(name: str) -> None:
    splits = load_splits(name, validation_fraction=0.1)
    assert splits.validation is not None
    assert len(splits.train) + len(splits.validation) + len(splits.test) == len(whole(name))
    with pytest.raises(InvalidArgumentError, match="takes no argument, got 'x'"):
        load_splits(f"{name}:x")
