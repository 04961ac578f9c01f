"""``ArrayDataset``: what it refuses, what its samples, statistics and fingerprint are."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from noiseproof.data import ArrayDataset, Splits
from noiseproof.data.dataset import thinned, to_unit_interval
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError

NAMES = ("a", "b", "c")
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
SHAPES = [(6, 2, 4, 5), (6, 7), (6, 2, 9)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["images", "vectors", "series"])


def images() -> Tensor:
    return torch.rand(6, 2, 4, 5, generator=torch.Generator().manual_seed(0))


def byte_images() -> Tensor:
    return torch.randint(256, (6, 2, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


# Samples


@each_shape
def test_it_is_a_map_style_data_set(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(shape)
    data = ArrayDataset(inputs, LABELS, NAMES)
    assert (len(data), data.num_classes, data.input_shape) == (6, 3, shape[1:])
    for index in range(6):
        x, y = data[index]
        assert torch.equal(x, inputs[index])
        assert int(y) == int(LABELS[index])
    batch, labels = next(iter(DataLoader(data, batch_size=4)))
    assert torch.equal(batch, inputs[:4])
    assert labels.tolist() == [0, 1, 2, 0]


def test_bytes_become_floats_in_the_unit_interval() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    found = to_unit_interval(every)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.arange(256) / 255)
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)
    assert every.tolist() == list(range(256))


def test_samples_of_bytes_are_in_the_unit_interval() -> None:
    inputs = byte_images()
    x, _ = ArrayDataset(inputs, LABELS, NAMES)[3]
    torch.testing.assert_close(x, inputs[3].float() / 255)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_samples_are_float32(dtype: torch.dtype) -> None:
    assert ArrayDataset(images().to(dtype), LABELS, NAMES)[0][0].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_labels_of_any_whole_type_become_long(dtype: torch.dtype) -> None:
    data = ArrayDataset(images(), LABELS.to(dtype), NAMES)
    assert data.labels.dtype == torch.long
    assert torch.equal(data.labels, LABELS)


def test_a_subset_is_in_the_order_asked_for() -> None:
    data = ArrayDataset(images(), LABELS, NAMES)
    part = data.subset(torch.tensor([5, 0, 0]))
    assert torch.equal(part.inputs, data.inputs[[5, 0, 0]])
    assert part.labels.tolist() == [2, 0, 0]
    assert part.class_names == NAMES


def test_a_data_set_moves_as_a_whole() -> None:
    moved = ArrayDataset(images(), LABELS, NAMES).to(torch.device("cpu"))
    assert torch.equal(moved.inputs, images())


# What is refused


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.eye(3).long().repeat(2, 1), r"labels must have shape \(N,\).*\(6, 3\); turn one-hot rows .*argmax"),
        (LABELS.float(), "labels must be integers .*got torch.float32"),
        (LABELS > 0, "labels must be integers .*got torch.bool"),
        (LABELS + 1, r"labels must lie in \[0, 3\), got 3"),
        (LABELS - 1, r"labels must lie in \[0, 3\), got -1"),
        (LABELS[:5], "labels has 5 entries for 6 samples"),
    ],
    ids=["one-hot", "float", "bool", "one-based", "negative", "short"],
)
def test_wrong_labels_are_told_what_is_wrong(labels: Tensor, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ArrayDataset(images(), labels, NAMES)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.rand(0, 1, 2, 2), r"inputs must be \(N, …\) with N > 0, got \(0, 1, 2, 2\)"),
        (torch.rand(6), r"inputs must be \(N, …\) with N > 0, got \(6,\)"),
        (torch.ones(6, 1, 2, 2).int(), "inputs must be uint8 or floating, got torch.int32"),
        (torch.full((6, 1, 2, 2), torch.nan), "inputs hold NaN or infinite values: 24 of 24, .* row 0, channel 0"),
        (torch.full((6, 3), torch.nan), "inputs hold NaN or infinite values: 18 of 18, .* row 0, column 0"),
        (torch.full((6, 3), torch.inf), "inputs hold NaN or infinite values: 18 of 18, .* row 0, column 0"),
        (torch.full((6, 1, 2, 2), 200.0), r"images must have values in \[0, 1\].*divide by 255"),
        (torch.full((6, 1, 2, 2), -1.0), r"images must have values in \[0, 1\], got values from -1 to -1"),
    ],
    ids=["empty", "scalars", "int32", "nan-images", "nan-vectors", "inf-vectors", "bytes-as-floats", "negative"],
)
def test_wrong_inputs_are_told_what_is_wrong(inputs: Tensor, message: str) -> None:
    with pytest.raises(NoiseproofError, match=message):
        ArrayDataset(inputs, LABELS[: len(inputs)], NAMES)


def test_images_outside_the_unit_interval_raise_what_is_documented() -> None:
    with pytest.raises(InvalidArgumentError, match=r"images must have values in \[0, 1\]"):
        ArrayDataset(255 * images(), LABELS, NAMES)


def test_images_may_be_off_by_rounding_and_vectors_have_no_range() -> None:
    ArrayDataset(images().clamp(0.2).mul(0) + 1 + 5e-7, LABELS, NAMES)
    ArrayDataset(1e3 * torch.randn(6, 3), LABELS, NAMES)


@pytest.mark.parametrize(
    ("shape", "place"), [((6, 3), "column 2"), ((6, 4, 9), "channel 2"), ((6, 3, 5, 5), "channel 2")]
)
def test_the_first_value_that_is_not_finite_is_told_and_how_many(shape: tuple[int, ...], place: str) -> None:
    inputs = torch.rand(shape)
    inputs[4, 2], inputs[5, 0] = torch.nan, torch.inf
    count = 2 * inputs[0, 0].numel()
    with pytest.raises(DataError, match=rf"values: {count} of {inputs.numel()}, the first in row 4, {place}, counted"):
        ArrayDataset(inputs, LABELS, NAMES)


# Statistics


@each_shape
def test_channel_statistics_are_numpys(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(shape)
    mean, std = ArrayDataset(inputs, LABELS, NAMES).channel_statistics()
    array = inputs.double().numpy()
    axes = tuple(axis for axis in range(array.ndim) if axis != 1)
    np.testing.assert_allclose(mean, array.mean(axes), rtol=1e-12)
    np.testing.assert_allclose(std, array.std(axes), rtol=1e-9)


def test_channel_statistics_of_bytes_are_in_units_of_the_unit_interval() -> None:
    inputs = byte_images()
    mean, std = ArrayDataset(inputs, LABELS, NAMES).channel_statistics()
    array = inputs.numpy() / 255
    np.testing.assert_allclose(mean, array.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, array.std((0, 2, 3)), rtol=1e-6)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    inputs = images()
    inputs[:, 1] = 0.3
    mean, std = ArrayDataset(inputs, LABELS, NAMES).channel_statistics()
    assert mean[1] == pytest.approx(0.3)
    assert std[1] == 1.0
    assert std[0] < 0.5


def test_statistics_do_not_change_the_data() -> None:
    inputs = byte_images()
    ArrayDataset(inputs, LABELS, NAMES).channel_statistics()
    assert torch.equal(inputs, byte_images())


# Fingerprints


@pytest.mark.parametrize("inputs", [images(), byte_images(), torch.rand(6, 7).double(), images().half()])
def test_a_fingerprint_is_that_of_the_numbers(inputs: Tensor) -> None:
    data = ArrayDataset(inputs, LABELS, NAMES)
    assert len(bytes.fromhex(data.fingerprint())) == hashlib.sha256().digest_size
    assert ArrayDataset(inputs.clone(), LABELS.clone(), NAMES).fingerprint() == data.fingerprint()
    assert data.subset(torch.arange(6)).fingerprint() == data.fingerprint()


def test_a_fingerprint_does_not_depend_on_the_layout_in_memory_or_on_reading() -> None:
    data = ArrayDataset(images(), LABELS, NAMES)
    before = data.fingerprint()
    strided = images().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not strided.is_contiguous()
    assert ArrayDataset(strided, LABELS.int(), NAMES).fingerprint() == before
    data.channel_statistics()
    _ = data[0]
    assert data.fingerprint() == before


def test_a_fingerprint_changes_with_one_pixel_one_label_the_order_the_shape_or_the_type() -> None:
    data = ArrayDataset(images(), LABELS, NAMES)
    pixel, label = images(), LABELS.clone()
    pixel[5, 1, 3, 4] += 1e-6
    label[2] = 0
    others = [
        ArrayDataset(pixel.clamp(0, 1), LABELS, NAMES),
        ArrayDataset(images(), label, NAMES),
        data.subset(torch.tensor([1, 0, 2, 3, 4, 5])),
        data.subset(torch.arange(5)),
        ArrayDataset(images().view(6, 2, 5, 4), LABELS, NAMES),
        ArrayDataset(images().double(), LABELS, NAMES),
    ]
    prints = {other.fingerprint() for other in [data, *others]}
    assert len(prints) == 1 + len(others)


def test_a_fingerprint_of_bfloat16() -> None:
    data = ArrayDataset(images().bfloat16(), LABELS, NAMES)
    assert data.fingerprint() == ArrayDataset(images().bfloat16(), LABELS, NAMES).fingerprint()


def test_the_fingerprint_of_splits_covers_every_part() -> None:
    whole = ArrayDataset(torch.rand(6, 3), LABELS, NAMES)
    one, two, three = (whole.subset(torch.tensor(rows)) for rows in ([0, 1], [2, 3], [4, 5]))
    prints = [
        splits.fingerprint()
        for splits in (
            Splits(one, two, three), Splits(two, one, three), Splits(one, three, two), Splits(one, None, three),
            Splits(one, None, two),
        )
    ]  # fmt: skip
    assert len(set(prints)) == len(prints)
    assert Splits(one, two, three).fingerprint() == prints[0]


# Thinning


@pytest.mark.parametrize("size", [1, 7, 100, 359])
@pytest.mark.parametrize("limit", [1, 2, 6, 50])
def test_thinning_spreads_evenly_and_keeps_the_order(size: int, limit: int) -> None:
    data = ArrayDataset(torch.arange(float(size)).unsqueeze(1), torch.arange(size) % 3, NAMES)
    chosen = [int(x) for x in thinned(data, limit).inputs]
    count = min(size, limit)
    assert len(chosen) == len(set(chosen)) == count
    assert chosen == sorted(chosen)
    assert chosen[0] == 0
    gaps = [after - before for before, after in zip(chosen, [*chosen[1:], size], strict=True)]
    assert max(gaps) - min(gaps) <= 1
    assert thinned(data, limit).class_names == NAMES


def test_thinning_data_sorted_by_class_leaves_every_class() -> None:
    data = ArrayDataset(torch.arange(90.0).unsqueeze(1), torch.arange(90) // 30, NAMES)
    assert thinned(data, 9).labels.bincount().tolist() == [3, 3, 3]


def test_a_limit_that_is_not_reached_leaves_the_data_as_it_is() -> None:
    data = ArrayDataset(images(), LABELS, NAMES)
    assert thinned(data, 6) is data
    assert thinned(data, 1000) is data


@pytest.mark.parametrize("limit", [0, -1, 2.5])
def test_a_limit_is_a_whole_number_above_0(limit: float) -> None:
    with pytest.raises(InvalidArgumentError, match="limit"):
        thinned(ArrayDataset(images(), LABELS, NAMES), limit)  # type: ignore[arg-type]


def test_a_whole_limit_may_be_a_floating_number() -> None:
    data = ArrayDataset(images(), LABELS, NAMES)
    assert thinned(data, 3.0).labels.tolist() == [0, 2, 1]  # type: ignore[arg-type]
