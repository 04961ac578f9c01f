"""What is held out: a share of every class, the same for the same seed, and groups whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import noiseproof as npf
from noiseproof.data import ArrayDataset, LabelledDataset, SourceOptions, load_splits, load_test_set
from noiseproof.data.splitting import held_out
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.targets import load_target

NAMES = ("a", "b", "c")


def numbered(labels: Tensor) -> ArrayDataset:
    """A data set whose inputs are the samples' places."""
    return ArrayDataset(torch.arange(float(len(labels))).unsqueeze(1), labels, NAMES)


def places(data: LabelledDataset) -> list[int]:
    return [int(data[row][0][0]) for row in range(len(data))]


def test_a_split_takes_its_share_of_every_class() -> None:
    labels = torch.tensor([0] * 40 + [1] * 20 + [2] * 60)
    rest, part = held_out(numbered(labels), 0.25, seed=0)
    assert labels[part].bincount().tolist() == [10, 5, 15]
    assert labels[rest].bincount().tolist() == [30, 15, 45]
    assert sorted([*rest.tolist(), *part.tolist()]) == list(range(120))
    assert rest.tolist() == sorted(rest.tolist())
    assert part.tolist() == sorted(part.tolist())


@pytest.mark.parametrize("groups", [None, torch.arange(120) // 4], ids=["single", "groups"])
def test_a_split_depends_on_its_seed_alone(groups: Tensor | None) -> None:
    data = numbered(torch.arange(120) % 3)
    state, numpy_state = torch.random.get_rng_state(), str(np.random.get_state())
    first = held_out(data, 0.2, 4, groups)[1]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert str(np.random.get_state()) == numpy_state
    torch.rand(3)
    assert torch.equal(held_out(data, 0.2, 4, groups)[1], first)
    assert not torch.equal(held_out(data, 0.2, 5, groups)[1], first)


def test_a_class_of_one_sample_cannot_be_split() -> None:
    with pytest.raises(InvalidArgumentError, match=r"cannot split off 0\.5 of 5 samples"):
        held_out(numbered(torch.tensor([0, 0, 1, 1, 2])), 0.5, seed=0)


# Groups


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.75]), st.integers(10, 30))
def test_no_group_is_parted_and_no_sample_lost(seed: int, fraction: float, count: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, count)
    groups = torch.from_numpy(np.repeat(random.permutation(count), sizes))
    labels = torch.from_numpy(random.integers(0, 3, len(groups)))
    try:
        rest, part = held_out(numbered(labels), fraction, seed, groups)
    except DataError:  # a class is in those groups alone that would be held out, which is looked at below
        return
    assert sorted([*rest.tolist(), *part.tolist()]) == list(range(len(groups)))
    assert not set(groups[rest].tolist()) & set(groups[part].tolist())
    assert set(labels[rest].tolist()) == set(labels.tolist())
    assert len(rest)
    assert len(part)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.5, 0.75, 0.9])
def test_even_groups_are_held_out_by_that_share_of_every_class(fraction: float) -> None:
    groups = torch.arange(1200) // 10  # of one class each
    labels = groups % 3
    _, part = held_out(numbered(labels), fraction, 0, groups)
    assert len(part) == pytest.approx(fraction * 1200, abs=30)
    shares = labels[part].bincount(minlength=3) / 400
    assert shares.tolist() == pytest.approx([fraction] * 3, abs=0.05)


def test_too_few_groups_are_told() -> None:
    with pytest.raises(DataError, match=r"to hold out 0\.2 of the groups takes at least 5; there are 3"):
        held_out(numbered(torch.arange(30) % 3), 0.2, 0, torch.arange(30) // 10)


def test_a_class_in_one_group_alone_is_told_by_its_name() -> None:
    labels = torch.cat([torch.arange(20) % 2, torch.full((10,), 2)])
    groups = torch.cat([torch.arange(20) // 4, torch.full((10,), 9)])
    told = []
    for seed in range(6):
        try:
            held_out(numbered(labels), 0.5, seed, groups)
        except DataError as error:
            told.append(str(error))
    assert told
    assert all("all samples of the class c are in groups that would be held out" in each for each in told)


def archive(folder: Path, groups: Any, **more: Any) -> str:
    x = np.arange(120, dtype=np.float32)[:, None]
    np.savez(folder / "data.npz", x=x, y=np.arange(120) % 3, machine=groups, **more)
    return f"npz:{folder / 'data.npz'}"


@pytest.mark.parametrize("kind", [int, str])
def test_an_archive_names_groups_in_an_array(tmp_path: Path, kind: type) -> None:
    groups = np.array([kind(place // 6) for place in range(120)])
    source = archive(tmp_path, groups)
    splits = load_splits(source, validation_fraction=0.25, options=SourceOptions(group="machine"))
    found = [{place // 6 for place in places(part)} for part in splits.parts().values()]
    assert [len(each) for each in found] == [12, 4, 4]
    assert len(set.union(*found)) == 20
    thin = load_splits(source, train_fraction=0.5, options=SourceOptions(group="machine"))
    assert thin.test.fingerprint() == splits.test.fingerprint()
    assert len(thin.train) == 48


def test_a_column_of_texts_is_told_what_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("machine,a,label\nm1,1,x\nm2,2,y\n")
    told = "column 'machine', holds 'm1', which is no number; if it tells which rows belong together, set data.group="
    with pytest.raises(DataError, match=told):
        load_splits(f"csv:{tmp_path / 't.csv'}")
    (tmp_path / "t.csv").write_text("machine,a,label\n1,1,x\nm2,2,y\n")
    with pytest.raises(DataError, match=r"which is no number$"):
        load_splits(f"csv:{tmp_path / 't.csv'}")


def test_a_table_names_groups_in_a_column_that_is_no_input(tmp_path: Path) -> None:
    rows = [f"{place // 6},{place},{NAMES[place % 3]}" for place in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(["y,value,kind", *rows]))  # without data.group, y would be the class
    source = f"csv:{tmp_path / 't.csv'}"
    splits = load_splits(source, options=SourceOptions(group="y"))
    assert splits.train.class_names == NAMES
    assert splits.train.input_shape == (1,)
    assert not {p // 6 for p in places(splits.train)} & {p // 6 for p in places(splits.test)}
    assert len(load_test_set(source, SourceOptions(group="y"))) == 120


@pytest.mark.parametrize(
    ("text", "group", "told"),
    [
        ("a,b,label\n1,2,x\n3,4,y\n", "c", "has no column 'c', which data.group names; it has: a, b, label"),
        ("a,a,label\n1,2,x\n3,4,y\n", "a", "has 2 columns 'a'"),
        ("a,b,label\n1,2,x\n3,,y\n", "b", "line 3 of .*, column 'b', is empty, but names the row's group"),
        ("a,label\n1,x\n3,y\n", "a", "has no column of numbers beside those of classes and groups"),
    ],
)
def test_a_table_whose_groups_cannot_be_read_is_refused(tmp_path: Path, text: str, group: str, told: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        load_splits(f"csv:{tmp_path / 't.csv'}", options=SourceOptions(group=group))


@pytest.mark.parametrize("groups", [np.zeros(119, dtype=int), np.zeros((120, 2), dtype=int), np.zeros(120)])
def test_an_archive_whose_groups_cannot_be_read_is_refused(tmp_path: Path, groups: Any) -> None:
    with pytest.raises(DataError, match="machine must hold a whole number or a text for each of the 120 samples"):
        load_splits(archive(tmp_path, groups), options=SourceOptions(group="machine"))
    with pytest.raises(DataError, match=r"has no array 'person', which data\.group names; it has: x, y, machine"):
        load_splits(archive(tmp_path, groups), options=SourceOptions(group="person"))


def test_a_source_that_tells_of_no_groups_is_told() -> None:
    with pytest.raises(DataError, match=r"'digits' tells of no groups: data\.group is for csv and npz"):
        load_splits("digits", options=SourceOptions(group="writer"))


def test_a_run_keeps_groups_whole_and_its_report_says_so(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [f"{place // 6},{random.normal() + place % 3},{random.normal()},{place % 3}" for place in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(["person,a,b,label", *rows]))
    changes = {"data.source": f"csv:{tmp_path / 't.csv'}", "data.group": "person", "train.epochs": 2}
    run = npf.train("vectors", "mixed", 0, changes, tmp_path / "run")
    assert run.data().train.input_shape == (2,)
    page = npf.write_report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Samples that share a person were held out together." in page
    (tmp_path / "new.csv").write_text((tmp_path / "t.csv").read_text())
    assert len(load_target(str(run.folder), data=f"csv:{tmp_path / 'new.csv'}").test) == 120
    assert run.recipe.settings_to_digest()["data"]["group"] == "person"
