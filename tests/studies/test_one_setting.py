"""A study that varies nothing: its one setting, named in advance, against rivals on the test set."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from noiseproof.errors import InvalidArgumentError
from noiseproof.studies import StudyResult, load_study, sweep
from noiseproof.studies.planning import Plan
from tests.studies.problems import SMALL, diverged, looked_at, planned, pretend, study, tables_in

RIVALS = {"noise": {"method": "noisy"}, "both": {"method": "mixed"}}
SALT = "salt-and-pepper:0.1"
RIGHT = {"base": 30, "noise": 20, "both": 24}


def one_setting(out: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> StudyResult:
    pretend(monkeypatch, lambda run: RIGHT[run.row])
    return sweep(study(vary={}, rivals=RIVALS, **given), out=out)


def test_nothing_is_tried_and_everything_is_measured_on_the_test_set_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = pretend(monkeypatch, lambda run: RIGHT[run.row])
    found = sweep(study(vary={}, rivals=RIVALS, seeds=[4, 5]), out=tmp_path)
    assert (found.complete, found.done, found.total) == (True, 6, 6)
    assert set(work.done) == {(row, seed, "test") for row in RIGHT for seed in (4, 5)}
    assert looked_at(tmp_path / "runs") == {(row, f"seed-{seed}") for row in RIGHT for seed in (4, 5)}
    assert len(json.loads((tmp_path / "looks.json").read_text())) == 1
    assert found.chosen == tmp_path / "chosen.yaml"


def test_the_page_says_that_nothing_was_chosen_and_calls_the_setting_by_its_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_setting(tmp_path, monkeypatch, transfer=[SALT])
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "Nothing was chosen here: one setting, Normal training, stands against 2 rivals on the test set" in page
    assert len(re.findall("The test set was looked at once, at ", page)) == 1
    assert "Chosen on the validation split" not in page
    assert "Trials, the best first" not in page
    test, *differences, transfer = tables_in(page)
    assert [row[0] for row in test[2:]] == ["Normal training", "noise", "both"]
    assert [len(each) for each in differences] == [4, 4]
    assert "## Normal training against noise" in page
    assert transfer[0][1:] == [SALT]


def test_the_title_tells_a_preset_that_is_not_the_papers() -> None:
    settings = {**SMALL, "method": "discriminative", "preset": "best"}
    assert planned(vary={}, rivals=RIVALS, set=settings).titles["base"] == "Discriminative (best)"
    assert planned(rivals=RIVALS, set=settings).titles["base"] == "base"


def test_nothing_is_held_out_to_choose_by_unless_the_recipe_does() -> None:
    def held_out(**given: Any) -> set[float]:
        recipes = planned(rivals=RIVALS, **given).recipes.values()
        return {recipe.data.validation_fraction for recipe in recipes}

    assert held_out(vary={}) == {0}
    assert held_out(vary={}, set={**SMALL, "data.validation_fraction": 0.2}) == {0.2}
    assert held_out() == {0.1}


def test_again_it_looks_no_further_and_what_is_written_can_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = one_setting(tmp_path, monkeypatch)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    work = pretend(monkeypatch, 1)
    again = sweep(tmp_path / "study.yaml", out=tmp_path)
    assert (again.complete, work.done) == (True, [])
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page
    assert Plan.of(load_study(tmp_path / "study.yaml"), tmp_path / "runs", {}).recipes == found.plan.recipes


def test_where_time_is_over_it_says_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda run: RIGHT[run.row], limit=1)
    found = sweep(study(vary={}, rivals=RIVALS), out=tmp_path)
    assert (found.complete, found.done, found.total) == (False, 1, 3)
    assert "- noise, seed 0: 0 of 2 epochs" in (tmp_path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("fallen", ["base", "noise"])
def test_what_diverges_is_told_and_the_rest_is_shown(
    fallen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda run: diverged(run) if run.row == fallen else RIGHT[run.row])
    found = sweep(study(vary={}, rivals=RIVALS), out=tmp_path)
    assert (found.complete, len(found.diverged)) == (True, 1)
    assert looked_at(tmp_path / "runs") == {(row, "seed-0") for row in RIGHT if row != fallen}
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "## Could not be finished" in page
    tables_in(page)


def test_without_a_look_there_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="varies nothing is its look at the test set"):
        sweep(study(vary={}, rivals=RIVALS), out=tmp_path / "out", look=False)
    assert not (tmp_path / "out").exists()
