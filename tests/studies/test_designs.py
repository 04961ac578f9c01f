"""Designs hold the trials that they should, under names that can be folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noiseproof.errors import InvalidArgumentError
from noiseproof.studies.designs import BASE, Trial, design_trials
from noiseproof.studies.factors import Factor, factor

LISTS = ["train.epochs=1,2,3", "model.name=a,b", "noise.train=clean,gaussian:0.1"]


def factors(*texts: str) -> list[Factor]:
    return [factor(text) for text in texts]


def of_values(*values: Any, path: str = "m.key") -> list[Trial]:
    return design_trials("one-at-a-time", [Factor(path=path, values=values)])


# Which trials


def test_a_grid_is_every_combination() -> None:
    trials = design_trials("grid", factors(*LISTS))
    expected = []
    for epochs in (1, 2, 3):
        for name in ("a", "b"):
            for noise in ("clean", "gaussian:0.1"):
                expected.append({"train.epochs": epochs, "model.name": name, "noise.train": noise})
    assert [dict(trial.levels) for trial in trials] == expected
    assert [dict(trial.changes) for trial in trials] == expected
    assert trials[0].name == BASE


def test_one_at_a_time_is_the_base_and_every_single_change_of_it() -> None:
    trials = design_trials("one-at-a-time", factors(*LISTS))
    base = {"train.epochs": 1, "model.name": "a", "noise.train": "clean"}
    assert [dict(trial.levels) for trial in trials] == [
        base,
        base | {"train.epochs": 2},
        base | {"train.epochs": 3},
        base | {"model.name": "b"},
        base | {"noise.train": "gaussian:0.1"},
    ]
    assert [trial.name for trial in trials] == [
        BASE, "train.epochs=2", "train.epochs=3", "model.name=b", "noise.train=gaussian_0.1",
    ]  # fmt: skip


def test_a_factor_with_one_value_changes_nothing() -> None:
    for design in ("grid", "one-at-a-time"):
        (trial,) = design_trials(design, factors("a=1", "b=x"))
        assert (trial.name, dict(trial.changes)) == (BASE, {"a": 1, "b": "x"})


def test_a_random_design_draws_each_factor_by_itself() -> None:
    several = factors("a=0..1", "b=1e-3..1,log", "c=x,y,z")
    trials = design_trials("random", several, trials=200, seed=3)
    assert len({trial.name for trial in trials}) == 200
    for index, trial in enumerate(trials):
        assert trial.levels == trial.changes == {each.path: each.draw(3, index) for each in several}
    joint = {(trial.levels["c"], trial.levels["a"] < 0.5) for trial in trials}  # type: ignore[operator]
    assert len(joint) == 6


def test_asking_for_more_random_trials_leaves_the_first_ones_as_they_were() -> None:
    ranges = factors("a=0..1", "b=x,y")
    few, many = (design_trials("random", ranges, trials=count, seed=7) for count in (5, 1200))
    assert many[:5] == few
    assert len({trial.name for trial in many}) == 1200
    with_another = design_trials("random", factors("c=0..1", "a=0..1", "b=x,y"), trials=5, seed=7)
    assert [trial.levels["a"] for trial in with_another] == [trial.levels["a"] for trial in few]


def test_another_seed_draws_other_trials() -> None:
    a, b = (design_trials("random", factors("a=0..1"), trials=50, seed=seed) for seed in (0, 1))
    assert len({trial.levels["a"] for trial in (*a, *b)}) > 90


def test_a_random_design_covers_its_ranges() -> None:
    values = np.array([trial.levels["a"] for trial in design_trials("random", factors("a=0..1"), trials=400)])
    assert np.histogram(values, bins=10, range=(0, 1))[0].min() >= 20


@pytest.mark.parametrize("design", ["grid", "one-at-a-time"])
def test_where_nothing_varies_there_is_the_base_alone(design: Any) -> None:
    assert design_trials(design, []) == [Trial(BASE, {}, {})]


# Mistakes


@pytest.mark.parametrize(
    ("design", "texts", "trials", "told"),
    [
        ("random", [], 3, "a random design needs something that varies"),
        ("grid", ["a=1,2", "a=3,4"], 0, "a varies twice; give all its values at once"),
        ("grid", ["a=1,2", "b=1..2"], 0, "b is a range, which only the design 'random' draws from"),
        ("one-at-a-time", ["b=1..2"], 0, "b is a range, which only the design 'random' draws from"),
        ("random", ["a=1..2"], 0, "a random design, and no other, needs a number of trials above 0"),
        ("grid", ["a=1,2"], 3, "a random design, and no other, needs a number of trials above 0"),
        ("one-at-a-time", ["a=1,2"], 3, "a random design, and no other, needs a number of trials above 0"),
    ],
)
def test_a_design_that_cannot_be_made_is_told(design: Any, texts: list[str], trials: int, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=re.escape(told)):
        design_trials(design, factors(*texts), trials=trials)


# Names


def test_a_name_tells_what_differs_from_the_base() -> None:
    grid = design_trials("grid", factors("train.optimizer.lr=0.1,0.01", "train.optimizer.nesterov=true,false"))
    assert [trial.name for trial in grid] == [BASE, "nesterov=no", "lr=0.01", "lr=0.01,nesterov=no"]
    names = [trial.name for trial in of_values("x", None, True, 1e-5, -2, "joint", "npz:a/b", path="a.b.c")]
    assert names == [BASE, "c=none", "c=yes", "c=1e-05", "c=-2", "c=joint", "c=npz_a_b"]


ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="/:"), max_size=130)
PLAIN = st.one_of(st.integers(), st.floats(allow_nan=False), ASCII)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(values=st.lists(PLAIN, min_size=2, max_size=5, unique_by=lambda value: str(value).casefold()))
def test_names_are_different_and_can_be_folders(values: list[Any]) -> None:
    names = [trial.name for trial in of_values(*values)]
    assert len(set(names)) == len(values)
    for name in names:
        assert Path(name).name == name
        assert name not in ("", ".", "..")
        assert not name.startswith("-")
        assert len(name.encode()) <= 255
        assert not set(name) & set('<>:"/\\|?*\n\r\t\0 ')


@pytest.mark.parametrize("value", ["../../up", "/etc", "a\\b", "a\nb", "a\0b", "..", "x" * 5000, "$(x)", "`x`", "*"])
def test_hostile_values_make_harmless_names(value: str, tmp_path: Path) -> None:
    _, trial = of_values("first", value)
    folder = tmp_path / trial.name / "seed-0"
    folder.mkdir(parents=True)
    assert folder.resolve().parent.parent == tmp_path.resolve()
    assert re.fullmatch(r"[\w=,.+~-]+", trial.name)


def test_long_names_that_begin_alike_are_told_apart() -> None:
    names = [trial.name for trial in of_values("first", "x" * 300, "x" * 301, "x" * 300 + "y")]
    assert len(set(names)) == 4


def test_a_name_in_any_script_is_short_enough_for_a_folder(tmp_path: Path) -> None:
    _, trial = of_values("first", "漢" * 200)
    (tmp_path / trial.name).mkdir()


@pytest.mark.parametrize(
    "values",
    [
        ("x", "npz:a/b", "npz:a_b"),
        ("x", "gaussian:8/255", "gaussian_8_255"),
        ("x", "none", None),
        ("x", 1, "1"),
    ],
)
def test_different_values_have_different_names(values: tuple[Any, ...]) -> None:
    names = [trial.name for trial in of_values(*values)]
    assert len(set(names)) == len(values)


@pytest.mark.parametrize("values", [(1, True), (0, False), (1, 1.0)])
def test_values_that_are_equal_are_refused_or_told_apart(values: tuple[Any, ...]) -> None:
    try:
        trials = of_values(*values)
    except ValueError:
        return
    assert len({trial.name for trial in trials}) == 2


def test_commas_in_values_are_told_from_those_between_factors() -> None:
    trials = design_trials("grid", factors("m.a=x,'1','1,m.b=2'", "m.b=y,'2'"))
    assert len({trial.name for trial in trials}) == len(trials) == 6


def test_names_differ_by_more_than_case() -> None:
    names = [trial.name.casefold() for trial in of_values("x", "ReLU", "relu")]
    assert len(set(names)) == 3
