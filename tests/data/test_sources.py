"""The embedded digits, and what ``load_splits`` makes of any source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from noiseproof.data import ArrayDataset, Splits, load_splits
from noiseproof.data.sources import SourceData, load_test_set
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.registry import Registry
from noiseproof.training import load_recipe

Register = Callable[[SourceData], str]


def rows(data: ArrayDataset) -> Counter[tuple[bytes, int]]:
    return Counter((x.numpy().tobytes(), y) for x, y in zip(data.inputs, data.labels.tolist(), strict=True))


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_splits("digits", test_fraction=0.25)


def test_the_digits_are_scikit_learns(digits: Splits) -> None:
    bunch = load_digits()
    images = torch.from_numpy(bunch.images / 16).float().unsqueeze(1)
    whole = ArrayDataset(images, torch.from_numpy(bunch.target), digits.train.class_names)
    assert len(whole) == 1797
    assert rows(digits.train) + rows(digits.test) == rows(whole)


def test_the_digits_are_images_in_the_unit_interval(digits: Splits) -> None:
    for part in (digits.train, digits.test):
        assert part.input_shape == (1, 8, 8)
        assert part.class_names == tuple("0123456789")
        assert part.inputs.dtype == torch.float32
        assert (float(part.inputs.min()), float(part.inputs.max())) == (0.0, 1.0)
    assert digits.validation is None


def test_a_quarter_of_every_digit_is_for_testing(digits: Splits) -> None:
    test, train = digits.test.labels.bincount(), digits.train.labels.bincount()
    assert (len(digits.train), len(digits.test)) == (1347, 450)
    assert bool(((test - 0.25 * (test + train)).abs() <= 1).all())


def test_no_image_is_in_two_parts() -> None:
    splits = load_splits("digits", test_fraction=0.25, validation_fraction=0.1)
    assert splits.validation is not None
    parts = [set(rows(part)) for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797


def test_the_split_is_the_same_every_time(digits: Splits) -> None:
    torch.rand(5)
    assert load_splits("digits", test_fraction=0.25).fingerprint() == digits.fingerprint()
    other = load_splits("digits", test_fraction=0.25, split_seed=1)
    assert other.test.fingerprint() != digits.test.fingerprint()


def test_training_on_a_fraction_leaves_test_and_validation_alone_and_keeps_the_balance() -> None:
    whole = load_splits("digits", validation_fraction=0.2)
    part = load_splits("digits", validation_fraction=0.2, train_fraction=0.25)
    assert part.test.fingerprint() == whole.test.fingerprint()
    assert part.validation is not None
    assert whole.validation is not None
    assert part.validation.fingerprint() == whole.validation.fingerprint()
    assert len(part.train) == pytest.approx(0.25 * len(whole.train), abs=1)
    counts, all_counts = (torch.bincount(splits.train.labels, minlength=10) for splits in (part, whole))
    assert bool(((counts - 0.25 * all_counts).abs() <= 1).all())
    everything = {row.numpy().tobytes() for row in whole.train.inputs}
    assert {row.numpy().tobytes() for row in part.train.inputs} <= everything


@pytest.mark.parametrize("fraction", [0, 1.5, -0.1])
def test_a_fraction_to_train_on_is_a_share(fraction: float) -> None:
    with pytest.raises(InvalidArgumentError, match="train_fraction"):
        load_splits("digits", train_fraction=fraction)


def test_holding_out_for_validation_leaves_the_test_set_alone(digits: Splits) -> None:
    splits = load_splits("digits", test_fraction=0.25, validation_fraction=0.2)
    assert splits.validation is not None
    assert splits.test.fingerprint() == digits.test.fingerprint()
    assert (len(splits.train), len(splits.validation)) == (1077, 270)
    assert rows(splits.train) + rows(splits.validation) == rows(digits.train)


# Any source


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[SourceData], str]:
    """Make data known as a source, in a registry of its own."""

    def enter(data: SourceData) -> str:
        registry: Registry[Callable[..., SourceData]] = Registry("data source")
        registry.register("made-up")(lambda *_: data)
        monkeypatch.setattr("noiseproof.data.sources.SOURCES", registry)
        return "made-up"

    return enter


def numbers(n: int, classes: int) -> ArrayDataset:
    return ArrayDataset(torch.rand(n, 3), torch.arange(n) % classes, [str(c) for c in range(classes)])


def test_parts_that_a_source_sets_apart_are_kept(register: Register) -> None:
    train, test, validation = numbers(20, 2), numbers(8, 2), numbers(6, 2)
    splits = load_splits(register(SourceData(train, test, validation)), test_fraction=0.5, validation_fraction=0.5)
    assert (splits.train, splits.validation, splits.test) == (train, validation, test)


def test_a_source_with_a_test_set_still_gives_a_validation_set(register: Register) -> None:
    splits = load_splits(register(SourceData(numbers(20, 2), numbers(8, 2))), validation_fraction=0.2)
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (16, 4, 8)


def test_data_of_one_class_is_refused(register: Register) -> None:
    with pytest.raises(NoiseproofError, match="the data of 'made-up' has 1 class; at least 2 are needed"):
        load_splits(register(SourceData(numbers(20, 1))))


def test_data_of_one_class_raises_what_is_documented(register: Register) -> None:
    with pytest.raises(DataError):
        load_splits(register(SourceData(numbers(20, 1))))


def test_an_unknown_source_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown data source 'digit'; did you mean 'digits'\?"):
        load_splits("digit")
    with pytest.raises(UnknownNameError, match=r"unknown data source 'zzz'; known: .*digits"):
        load_splits("zzz:argument")
    with pytest.raises(UnknownNameError, match=r"unknown data source 'npzz'; did you mean 'npz'\?"):
        load_splits("npzz:x.npz")


@pytest.mark.parametrize(
    ("place", "reader"),
    [("series.npz", "npz"), ("Table.CSV", "csv"), ("t.tsv", "csv"), ("photos", "folder"), ("shards", "parquet")],
)
def test_a_path_without_the_name_of_a_source_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, reader: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "train-00000-of-00001.parquet").write_bytes(b"")
    for path in (place, f"{tmp_path}/{place}"):
        for load in (load_splits, load_test_set, lambda source: load_recipe("digits", {"data.source": source})):
            with pytest.raises(InvalidArgumentError) as caught:
                load(path)
            assert str(caught.value) == f"unknown data source {path!r}; did you mean '{reader}:{path}'?"


def test_digits_take_no_argument() -> None:
    with pytest.raises(InvalidArgumentError, match="the data source 'digits' takes no argument, got 'x'"):
        load_splits("digits:x")


@pytest.mark.parametrize(
    ("argument", "fraction"),
    [
        ("test_fraction", 0.0), ("test_fraction", -0.1), ("test_fraction", 1.0), ("test_fraction", 1.5),
        ("test_fraction", 100), ("test_fraction", float("nan")), ("validation_fraction", -0.1),
        ("validation_fraction", 1.0), ("validation_fraction", 50), ("validation_fraction", float("nan")),
    ],
)  # fmt: skip
def test_a_fraction_out_of_range_is_named(argument: str, fraction: float) -> None:
    with pytest.raises(InvalidArgumentError, match=argument) as caught:
        load_splits("digits", **{argument: fraction})
    assert "\n" not in str(caught.value)


def test_a_fraction_too_small_for_every_class_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"cannot split off 0\.001 of 1797 samples.*number of classes"):
        load_splits("digits", test_fraction=0.001)
