"""Which samples are looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from noiseproof.analysis.samples import Selection, select
from noiseproof.data import ArrayDataset
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.evaluation.blocks import BLOCK

FORMS = {
    "tuple": lambda x, y: (x, y),
    "array": lambda x, y: ArrayDataset(x, y, ["a", "b", "c"]),
    "dataset": TensorDataset,
}


def numbered(n: int) -> tuple[Tensor, Tensor]:
    """Inputs that are their own places."""
    return torch.arange(n, dtype=torch.float32)[:, None], torch.arange(n) * 7 % 3


def places(selection: Selection) -> list[int]:
    return torch.cat([block.inputs[:, 0] for block in selection]).int().tolist()


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("n", [1, 10, BLOCK, BLOCK + 1, 300])
@pytest.mark.parametrize("limit", [None, 1, 2, 3, 7, 10, 129, 299, 300, 1000])
def test_samples_are_evenly_spread(form: str, n: int, limit: int | None) -> None:
    x, y = numbered(n)
    found = select(FORMS[form](x, y), limit)
    count = n if limit is None else min(limit, n)
    expected = [k * n // count for k in range(count)]
    assert found.indices.tolist() == expected
    assert found.indices.dtype == found.labels.dtype == np.int64
    assert places(found) == expected
    assert found.labels.tolist() == y[expected].tolist()
    assert [block.number for block in found] == list(range(-(-count // BLOCK)))
    gaps = np.diff(found.indices)
    assert not gaps.size or gaps.max() - gaps.min() <= 1


def test_a_selection_is_read_again_and_again() -> None:
    found = select(TensorDataset(*numbered(10)), 4)
    assert places(found) == places(found) == [0, 2, 5, 7]


def test_only_what_is_chosen_is_read() -> None:
    class Careful(Dataset[tuple[Tensor, Tensor]]):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            assert index in (0, 3, 6)
            return torch.tensor([float(index)]), torch.tensor(0)

    assert places(select(Careful(), 3)) == [0, 3, 6]


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("limit", [3.0, np.int64(3), np.float32(3)], ids=["float", "int64", "float32"])
def test_a_whole_number_of_any_type_is_a_limit(form: str, limit: int) -> None:
    found = select(FORMS[form](*numbered(10)), limit)
    assert found.indices.tolist() == places(found) == [0, 3, 6]


@pytest.mark.parametrize("limit", [0, -1, 1.5, float("nan"), "3"])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(InvalidArgumentError, match="limit must be"):
        select(TensorDataset(*numbered(10)), limit)


@pytest.mark.parametrize("data", [None, 3, (torch.zeros(3, 2),), TensorDataset(torch.zeros(0, 2), torch.zeros(0))])
def test_what_is_no_data_set_is_refused(data: object) -> None:
    with pytest.raises(DataError):
        select(data)
