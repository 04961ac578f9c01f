"""Trials, finalists, the choice and the look at the test set, with work that is only pretended: what is run and when,
what is chosen, and what is said of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from noiseproof.errors import NoiseproofError
from noiseproof.scheduling import PlannedRun
from noiseproof.studies import StudyResult, load_study, sweep
from noiseproof.studies.findings import ranked
from noiseproof.studies.looks import note_look
from noiseproof.studies.planning import Plan
from noiseproof.training import Run
from tests.studies.problems import (
    NOISY,
    RATE,
    SAMPLES,
    SMALL,
    diverged,
    looked_at,
    planned,
    pretend,
    report_with,
    study,
    tables_in,
)

RATES = [0.01, 0.1, 0.2, 0.3]
NAMES = ["base", "lr=0.1", "lr=0.2", "lr=0.3"]

Right = Callable[[PlannedRun], int | Mapping[str, int] | str]


def by_row(**right: Any) -> Right:
    """How many are right by the trial's rate, written as ``lr_01``; the base is ``base``."""
    named = {name.replace("lr_", "lr=0."): value for name, value in right.items()}
    return lambda run: named[run.row]


def entries(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "looks.json").read_text(encoding="utf-8"))


def page(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def named(found: StudyResult) -> str | None:
    return None if found.findings.chosen is None else found.findings.chosen.name


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


# Ranking


def test_trials_with_fewer_seeds_come_after_those_with_all(out: Path) -> None:
    plan = planned(vary={RATE: RATES})
    right = {"base": (10, 10), "lr=0.1": (40,), "lr=0.2": (11, 10), "lr=0.3": ()}
    reports = {
        name: {seed: report_with(dict.fromkeys(plan.columns, count)) for seed, count in enumerate(counts)}
        for name, counts in right.items()
    }
    assert [trial.name for trial in ranked(plan, reports)] == ["lr=0.2", "base", "lr=0.1"]


def test_equal_scores_keep_the_order_of_the_design() -> None:
    plan = planned(vary={RATE: RATES})
    reports = {name: {0: report_with(dict.fromkeys(plan.columns, 20))} for name in reversed(NAMES)}
    assert [trial.name for trial in ranked(plan, reports)] == NAMES


@pytest.mark.parametrize(
    ("score", "order"), [([], ["lr=0.2", "lr=0.1", "base"]), (["clean"], ["base", "lr=0.2", "lr=0.1"]),
                         ([NOISY], ["lr=0.1", "lr=0.2", "base"])],
)  # fmt: skip
def test_the_perturbations_of_the_score_make_the_order(score: list[str], order: list[str]) -> None:
    plan = planned(vary={RATE: RATES[:3]}, score=score)
    right = {"base": (30, 10), "lr=0.1": (10, 31), "lr=0.2": (20, 22)}
    reports = {name: {0: report_with({"clean": c, NOISY: n})} for name, (c, n) in right.items()}
    assert [trial.name for trial in ranked(plan, reports)] == order


# Choosing


def test_the_best_on_the_validation_split_is_chosen_and_looked_at_once(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the test set the others would be better, which nobody asks."""
    right = {"base": 20, "lr=0.1": 22, "lr=0.2": 30, "lr=0.3": 25}
    work = pretend(monkeypatch, lambda run: right[run.row] if run.part == "validation" else 40 - right[run.row])
    found = sweep(study(vary={RATE: RATES}), out=out)
    assert (named(found), found.complete, found.wrong) == ("lr=0.2", True, ())
    assert work.done == [*((name, 0, "validation") for name in NAMES), ("base", 0, "test"), ("lr=0.2", 0, "test")]
    assert looked_at(out / "runs") == {("base", "seed-0"), ("lr=0.2", "seed-0")}
    assert (found.done, found.total) == (6, 6)
    (look,) = entries(out)
    assert (look["chosen"], look["trials"]) == ("lr=0.2", 4)
    assert "**Chosen on the validation split, from 4 trials: lr=0.2** (`train.optimizer.lr: 0.2`)" in page(out)
    assert f"The test set was looked at once, at {look['time']}." in page(out)
    written = json.loads((out / "study.json").read_text())
    assert written["chosen"] == {"trial": "lr=0.2", RATE: 0.2}
    assert [record["trial"] for record in written["trials"]] == ["lr=0.2", "lr=0.3", "lr=0.1", "base"]
    assert {(each["method"], each["mean"]) for each in written["test"]} == {("base", 0.5), ("lr=0.2", 0.25)}


def test_the_recipe_of_the_chosen_is_written(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noiseproof.training import load_recipe

    pretend(monkeypatch, by_row(base=1, lr_1=2, lr_2=3, lr_3=4))
    found = sweep(study(vary={RATE: RATES}), {"train.batch_size": 16}, out)
    assert found.chosen == out / "chosen.yaml"
    recipe = load_recipe(out / "chosen.yaml")
    assert (recipe.train.optimizer.lr, recipe.train.batch_size) == (0.3, 16)
    assert recipe == found.plan.recipes["lr=0.3"]


def test_where_the_base_is_best_it_alone_is_looked_at(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, by_row(base=30, lr_1=20))
    found = sweep(study(), out=out)
    assert (named(found), found.complete) == ("base", True)
    assert looked_at(out / "runs") == {("base", "seed-0")}
    tables_in(page(out))


def test_only_finalists_are_trained_with_the_final_seeds_and_the_best_over_all_seeds_is_chosen(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {
        ("base", 0): 20, ("lr=0.1", 0): 30, ("lr=0.2", 0): 28, ("lr=0.3", 0): 25,
        ("lr=0.1", 1): 20, ("lr=0.1", 2): 22, ("lr=0.2", 1): 27, ("lr=0.2", 2): 26, ("base", 1): 0, ("base", 2): 0,
    }  # fmt: skip
    work = pretend(monkeypatch, lambda run: right[run.row, run.recipe.seed])
    found = sweep(study(vary={RATE: RATES}, finalists=2, final_seeds=[1, 2]), out=out)
    assert (named(found), found.complete) == ("lr=0.2", True)
    validated = {(row, seed) for row, seed, part in work.done if part == "validation"}
    assert validated == {*((name, 0) for name in NAMES), *((name, s) for name in NAMES[1:3] for s in (1, 2))}
    assert looked_at(out / "runs") == {(name, f"seed-{seed}") for name in ("base", "lr=0.2") for seed in (0, 1, 2)}
    assert [trial.name for trial in found.findings.ranking] == ["lr=0.2", "lr=0.1", "lr=0.3", "base"]
    _, _, ranking, *_ = tables_in(page(out))
    assert [(row[0], row[-1]) for row in ranking[2:]] == [
        ("lr=0.2", "3"), ("lr=0.1", "3"), ("lr=0.3", "1"), ("base", "1"),
    ]  # fmt: skip


def test_more_finalists_than_trials_are_all_of_them(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = {("base", 0): 20, ("lr=0.1", 0): 21, ("base", 1): 20, ("lr=0.1", 1): 10}
    pretend(monkeypatch, lambda run: right[run.row, run.recipe.seed])
    found = sweep(study(finalists=9, final_seeds=[1]), out=out)
    assert (named(found), found.complete) == ("base", True)


def test_rivals_are_trained_when_the_choice_is_made_and_measured_on_the_test_set_alone(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"base": 10, "lr=0.1": 20, "noise": 40, "both": 40}
    work = pretend(monkeypatch, lambda run: right[run.row])
    rivals = {"noise": {"method": "noisy"}, "both": {"method": "mixed"}}
    found = sweep(study(rivals=rivals, seeds=[0, 1]), out=out)
    assert named(found) == "lr=0.1"
    assert {(row, part) for row, _, part in work.done if row in rivals} == {("noise", "test"), ("both", "test")}
    assert work.done.index(("lr=0.1", 1, "validation")) < work.done.index(("noise", 0, "test"))
    assert looked_at(out / "runs") == {(n, f"seed-{s}") for n in ("base", "lr=0.1", *rivals) for s in (0, 1)}
    test, *differences = tables_in(page(out))[:4]
    assert [row[0] for row in test[2:]] == ["base", "lr=0.1", "noise", "both"]
    assert len(differences) == 3
    assert "## lr=0.1 against noise" in page(out)


def test_without_a_look_nothing_is_measured_on_the_test_set(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = pretend(monkeypatch, by_row(base=1, lr_1=2, other=3))
    found = sweep(study(rivals={"other": {}}), out=out, look=False)
    assert (named(found), found.complete, found.findings.test) == ("lr=0.1", True, None)
    assert looked_at(out / "runs") == set()
    assert not (out / "looks.json").exists()
    assert "test set was looked at" not in page(out)
    assert all(part == "validation" for _, _, part in work.done)
    later = sweep(study(rivals={"other": {}}), out=out)
    assert (named(later), later.complete, len(entries(out))) == ("lr=0.1", True, 1)


# Transfer

SALT, SPECKLE = "salt-and-pepper:0.1", "speckle:0.2"


def test_transfer_is_measured_in_the_look_alone_and_chooses_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def right(run: PlannedRun) -> dict[str, int]:
        better = {"base": 20, "lr=0.1": 24, "other": 22}[run.row]
        return {column: better if column in ("clean", NOISY) else 40 - better for column in run.columns}

    pretend(monkeypatch, right)
    found = sweep(study(transfer=[SALT, "clean", SPECKLE], rivals={"other": {}}), out=out)
    assert named(found) == "lr=0.1"
    reports = {part: Run(out / "runs" / "lr=0.1" / "seed-0").report(part) for part in ("validation", "test")}
    assert {part: list(report or ()) for part, report in reports.items()} == {
        "validation": ["clean", NOISY], "test": ["clean", NOISY, SALT, SPECKLE],
    }  # fmt: skip
    test, *_, transfer, ranking, _ = tables_in(page(out))
    assert test[0] == ["Method", "clean", "σ 0.2"]
    assert transfer[0][1:] == [SALT, SPECKLE]
    shares = [(row[0], row[1].strip("*").split()[0]) for row in transfer[2:]]
    assert shares == [("base", "50.0"), ("lr=0.1", "40.0"), ("other", "45.0")]
    assert ranking[0][0] == "Trial"
    written = json.loads((out / "study.json").read_text())
    assert {(each["method"], each["perturbation"]) for each in written["transfer"]} == {
        (name, column) for name in ("base", "lr=0.1", "other") for column in (SALT, SPECKLE)
    }


def test_transfer_may_be_asked_for_later_without_another_look(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, by_row(base=1, lr_1=2))
    assert sweep(study(), out=out).findings.transfer is None
    again = pretend(monkeypatch, by_row(base=1, lr_1=2))
    found = sweep(study(transfer=[SALT]), out=out)
    assert again.done == [("base", 0, "test"), ("lr=0.1", 0, "test")]
    assert found.findings.transfer is not None
    assert found.findings.transfer.perturbations == (SALT,)
    assert len(entries(out)) == 1


# Looks


def test_the_same_study_again_does_nothing_and_looks_no_further(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, by_row(base=1, lr_1=2))
    sweep(study(), out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = pretend(monkeypatch, by_row(base=1, lr_1=2))
    sweep(study(), out=out)
    assert again.done == []
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert len(entries(out)) == 1


def test_a_wider_study_that_chooses_another_has_looked_twice_and_says_so(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = pretend(monkeypatch, by_row(base=1, lr_1=20, lr_2=30))
    sweep(study(), out=out)
    count = len(work.done)
    for _ in range(2):
        found = sweep(study(vary={RATE: RATES[:3]}), out=out)
    assert named(found) == "lr=0.2"
    assert work.done[count:] == [("lr=0.2", 0, "validation"), ("lr=0.2", 0, "test")]
    assert [(look["chosen"], look["trials"]) for look in entries(out)] == [("lr=0.1", 2), ("lr=0.2", 3)]
    assert "**The test set was looked at 2 times** (lr=0.1 of 2 trials at " in page(out)
    assert "may be too good" in page(out)


@pytest.mark.parametrize("wider", [{"vary": {RATE: RATES[:3]}}, {"final_seeds": [1]}, {"rivals": {"other": {}}}])
def test_another_study_that_chooses_the_same_has_looked_again(
    wider: dict[str, Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes what is tried after a look may have done so because of it."""
    pretend(monkeypatch, by_row(base=1, lr_1=20, lr_2=10, other=5))
    sweep(study(), out=out)
    assert named(sweep(study(**wider), out=out)) == "lr=0.1"
    assert [look["chosen"] for look in entries(out)] == ["lr=0.1", "lr=0.1"]


def test_a_look_is_noted_before_it_is_begun(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is stopped while looking, and then changes the study, has looked."""
    pretend(monkeypatch, by_row(base=1, lr_1=20, lr_2=30), limit=2)
    found = sweep(study(), out=out)
    assert (named(found), found.complete, looked_at(out / "runs")) == ("lr=0.1", False, set())
    assert len(entries(out)) == 1
    pretend(monkeypatch, by_row(base=1, lr_1=20, lr_2=30))
    sweep(study(), out=out)
    assert len(entries(out)) == 1
    sweep(study(vary={RATE: RATES[:3]}), out=out)
    assert len(entries(out)) == 2


def test_a_look_may_be_stopped_between_the_base_and_the_chosen(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, by_row(base=1, lr_1=20), limit=3)
    found = sweep(study(), out=out)
    assert (named(found), found.complete, looked_at(out / "runs")) == ("lr=0.1", False, {("base", "seed-0")})
    assert "- lr=0.1, seed 0: to be measured on the test split" in page(out)


def test_a_chosen_trial_that_cannot_be_measured_on_the_test_set_is_told(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda run: f"{run.name}: out of memory" if (run.row, run.part) == ("lr=0.1", "test")
            else {"base": 10, "lr=0.1": 20}[run.row])  # fmt: skip
    found = sweep(study(), out=out)
    assert (named(found), found.wrong) == ("lr=0.1", ("vectors, lr=0.1, seed 0: out of memory",))


DAMAGED = [
    "{",
    "null",
    "[1]",
    "[[]]",
    '[{"time": "x"}]',
    '[{"time": "", "chosen": "", "trials": 1, "of": "", "a": 1}]',
]


@pytest.mark.parametrize("content", [*(text.encode() for text in DAMAGED), b"\xff"])
def test_a_damaged_record_of_looks_is_told(content: bytes, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, by_row(base=1, lr_1=2))
    (out / "looks.json").write_bytes(content)
    with pytest.raises(NoiseproofError, match=r"looks at the test set, .*looks\.json, is damaged"):
        sweep(study(), out=out)
    assert (out / "looks.json").read_bytes() == content
    assert looked_at(out / "runs") == set()


@pytest.mark.parametrize("content", ["{}", '""'])
def test_a_record_of_looks_that_is_no_list_is_damaged(
    content: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, by_row(base=1, lr_1=2))
    (out / "looks.json").write_text(content)
    with pytest.raises(NoiseproofError, match="is damaged"):
        sweep(study(), out=out)


def test_a_damaged_record_of_looks_is_told_before_anything_is_run(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = pretend(monkeypatch, by_row(base=1, lr_1=2))
    (out / "looks.json").write_text("{")
    with pytest.raises(NoiseproofError, match="is damaged"):
        sweep(study(), out=out)
    assert work.done == []


# What goes wrong


def test_a_trial_that_diverges_is_told_and_left_out(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda run: diverged(run) if run.row == "lr=0.2" else {"base": 10, "lr=0.1": 12}[run.row])
    found = sweep(study(vary={RATE: RATES[:3]}), out=out)
    assert (named(found), found.complete) == ("lr=0.1", True)
    assert found.wrong == ("vectors, lr=0.2, seed 0: the loss part 'softmax' became nan in epoch 1, step 2",)
    assert f"## Could not be finished\n\n- {found.wrong[0]}\n" in page(out)
    assert "Not finished" not in page(out)
    assert looked_at(out / "runs") == {("base", "seed-0"), ("lr=0.1", "seed-0")}


def test_where_the_base_diverges_the_others_are_held_against_each_other(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda run: diverged(run) if run.row == "base" else 12)
    found = sweep(study(rivals={"other": {}}), out=out)
    assert (named(found), found.complete, found.findings.effects) == ("lr=0.1", True, ())
    assert looked_at(out / "runs") == {("lr=0.1", "seed-0"), ("other", "seed-0")}
    tables_in(page(out))


def test_where_all_diverge_nothing_is_chosen(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, diverged)
    found = sweep(study(), out=out)
    assert (named(found), found.complete, found.chosen, len(found.wrong)) == (None, False, None, 2)
    assert "Not decided yet: 0 of 2 trials are measured." in page(out)
    assert not (out / "looks.json").exists()


def test_a_trial_that_diverges_with_one_seed_is_not_chosen_for_the_other(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda run: diverged(run) if (run.row, run.recipe.seed) == ("lr=0.1", 1)
            else {"base": 10, "lr=0.1": 39}[run.row])  # fmt: skip
    found = sweep(study(seeds=[0, 1]), out=out)
    assert (named(found), found.complete) == ("base", True)


def test_where_no_trial_has_all_seeds_nothing_is_chosen(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda run: diverged(run) if run.recipe.seed == 1 else 10)
    found = sweep(study(seeds=[0, 1]), out=out)
    assert (named(found), found.complete, len(found.wrong)) == (None, False, 2)
    assert not (out / "looks.json").exists()


def test_a_finalist_that_diverges_leaves_the_choice_to_the_others(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda run: diverged(run) if (run.row, run.recipe.seed) == ("lr=0.1", 1)
            else {"base": 10, "lr=0.1": 39, "lr=0.2": 20}[run.row])  # fmt: skip
    found = sweep(study(vary={RATE: RATES[:3]}, finalists=2, final_seeds=[1]), out=out)
    assert (named(found), found.complete) == ("lr=0.2", True)


def test_where_every_finalist_diverges_the_next_best_takes_its_place(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda run: diverged(run) if (run.row, run.recipe.seed) == ("lr=0.1", 1)
            else {"base": 10, "lr=0.1": 39, "lr=0.2": 20}[run.row])  # fmt: skip
    found = sweep(study(vary={RATE: RATES[:3]}, final_seeds=[1]), out=out)
    assert (named(found), found.complete) == ("lr=0.2", True)


@pytest.mark.parametrize(
    "reason", ["[Errno 28] No space left on device", "the output folder out holds files that are no run"]
)  # fmt: skip
def test_a_trial_that_could_not_be_tried_is_not_left_out_of_the_choice(
    reason: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlike a loss that is not finite, it says nothing of the setting. What was chosen without it, and looked at on
    the test set, is chosen again when there is space on the disk: a second look."""
    pretend(monkeypatch, lambda run: f"{run.name}: {reason}" if run.row == "lr=0.1" else 10)
    found = sweep(study(), out=out)
    assert (named(found), found.complete) == (None, False)
    assert looked_at(out / "runs") == set()
    assert not (out / "looks.json").exists()


@pytest.mark.parametrize(
    "line", ["vectors: no such data", "a process ended with code -9, killed for memory perhaps; its runs are left"]
)
def test_what_goes_wrong_with_more_than_a_run_decides_nothing(
    line: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda run: line if run.row == "lr=0.1" else 10)
    found = sweep(study(), out=out)
    assert (named(found), found.complete, found.wrong) == (None, False, (line,))
    assert looked_at(out / "runs") == set()
    assert "Not decided yet: 1 of 2 trials are measured." in page(out)


def test_a_grid_in_which_two_trials_diverge_with_different_seeds_is_finished(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {("lr=0.1", 0), ("lr=0.1,train.batch_size=16", 1)}
    pretend(monkeypatch, lambda run: diverged(run) if (run.row, run.recipe.seed) in lost else 10)
    vary = {RATE: [0.01, 0.1], "train.batch_size": [32, 16]}
    assert sweep(study(vary=vary, design="grid", seeds=[0, 1]), out=out).complete


# Time that is over


def test_stopped_wherever_it_may_be_a_study_decides_when_all_is_there_and_ends_the_same(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"base": 10, "lr=0.1": 12, "lr=0.2": 14}
    given = study(vary={RATE: RATES[:3]}, seeds=[0, 1], finalists=2, final_seeds=[2])
    pretend(monkeypatch, lambda run: right[run.row])
    whole = sweep(given, out=out.with_name("whole"))
    assert (whole.complete, whole.total) == (True, 14)
    for step in range(1, 8):  # three trials with two seeds, two finalists with one more
        work = pretend(monkeypatch, lambda run: right[run.row], limit=1)
        found = sweep(given, out=out)
        assert len(work.done) == 1
        assert (named(found), found.complete) == (None, False)
        assert "Not decided yet" in page(out)
        assert f"{min(step, 3)} of 3 trials are measured" in page(out)
        assert "## Not finished" in page(out)
        assert not (out / "looks.json").exists()
        tables_in(page(out))
    pretend(monkeypatch, lambda run: right[run.row])
    assert sweep(given, out=out).complete
    for name in ("study.yaml", "trials.csv", "chosen.yaml"):
        assert (out / name).read_bytes() == (out.with_name("whole") / name).read_bytes()
    assert timeless(out) == timeless(out.with_name("whole"))


def timeless(folder: Path) -> str:
    return re.sub(r'"time": "[^"]*"', '"time": ""', (folder / "study.json").read_text(encoding="utf-8"))


def test_effects_stand_on_the_seeds_that_all_trials_have(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Final seeds, which only the best are trained with, would make them look better or worse than they are."""
    pretend(monkeypatch, lambda run: {"base": 10, "lr=0.1": 20}[run.row] + 10 * run.recipe.seed * (run.row != "base"))
    found = sweep(study(finalists=2, final_seeds=[1]), out=out)
    (effect,) = found.findings.effects
    assert effect.by_column[""].mean == pytest.approx(10 / SAMPLES)
    assert effect.by_column[""].seeds == 1


def test_the_first_trial_of_the_page_is_the_chosen_one(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wider study has a new finalist, which turns out to be worse than the one of the study before."""
    right = {("lr=0.1", 0): 20, ("lr=0.1", 1): 30, ("lr=0.2", 0): 21, ("lr=0.2", 1): 5}
    pretend(monkeypatch, lambda run: right.get((run.row, run.recipe.seed), 10))
    sweep(study(final_seeds=[1]), out=out)
    found = sweep(study(vary={RATE: RATES[:3]}, final_seeds=[1]), out=out)
    assert found.findings.ranking[0] == found.findings.chosen


# The study that is written


STUDIES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "values that YAML could misread": {
        "vary": {"train.ema_decay": [None, 0.9], "train.optimizer.nesterov": [True, False], RATE: [1e-5, 0.1, 1.0],
                 "noise.train": ["gaussian:0.1", "gaussian:std=0.2", "clean"]},
    },
    "ranges": {
        "vary": {RATE: {"low": 1e-5, "high": 1, "scale": "log"}, "train.optimizer.momentum": {"low": 0, "high": 0.9}},
        "design": "random", "trials": 6, "random_seed": 4,
    },
    "everything": {
        "title": "Größe: what? | #1 'x'", "design": "grid", "vary": {RATE: [0.1, 0.2], "train.batch_size": [16, 32]},
        "rivals": {"noise": {"method": "noisy"}, "on": {"train.epochs": 3}}, "seeds": [3, 1], "finalists": 2,
        "final_seeds": [0], "score": [NOISY], "validation_fraction": 0.2,
    },
}  # fmt: skip


@pytest.mark.parametrize("given", STUDIES.values(), ids=STUDIES)
def test_the_study_that_is_written_can_be_given_again(
    given: dict[str, Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 10, limit=0)
    declared = study(**given)
    found = sweep(declared, out=out)
    read = load_study(out / "study.yaml")
    assert read == declared
    again = Plan.of(read, out / "runs", {})
    assert (again.trials, again.rivals, again.recipes) == (found.plan.trials, found.plan.rivals, found.plan.recipes)
    text = (out / "study.yaml").read_text(encoding="utf-8")
    sweep(out / "study.yaml", out=out)
    assert (out / "study.yaml").read_text(encoding="utf-8") == text


def test_the_study_that_is_written_leads_to_the_same_recipes(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 10, limit=0)
    found = sweep(study(), {"train.epochs": 7}, out=out)
    assert Plan.of(load_study(out / "study.yaml"), out / "runs", {}).recipes == found.plan.recipes


def test_a_folder_that_is_not_there_is_made_though_nothing_could_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "vectors: no such data")
    found = sweep(study(), out=tmp_path / "new" / "out")
    assert found.wrong == ("vectors: no such data",)


def test_notes_are_taken_into_the_page(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, by_row(base=1, lr_1=2))
    (out / "notes.md").write_text("What I think of it: ±0.\n", encoding="utf-8")
    sweep(study(title="Which rate?"), out=out, command="noiseproof sweep x")
    assert page(out).startswith("# Which rate?\n\n**Chosen")
    assert "\n\nWhat I think of it: ±0.\n\n## Test accuracy" in page(out)
    assert "Made by `noiseproof sweep x`." in page(out)


def test_a_random_study_tells_what_the_score_goes_with(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda run: round(20 * run.recipe.train.optimizer.lr))
    ranges = {RATE: {"low": 0.1, "high": 1.9}, "train.optimizer.name": ["sgd", "adam"]}
    found = sweep(study(vary=ranges, design="random", trials=12, set={**SMALL, RATE: 0.01}), out=out, look=False)
    (correlation,) = found.findings.correlations
    assert correlation.rho > 0.98
    assert correlation.trials == 12  # the base, which was not drawn, does not count
    assert len(found.findings.ranking) == 13
    assert found.findings.effects[0].path == "train.optimizer.name" if found.findings.effects else True
    assert tables_in(page(out))[-1][0] == ["Number", "Spearman's ρ", "p"]


def test_titles_and_values_with_bars_keep_the_tables_whole(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 10)
    sweep(study(title="a|b", vary={"train.optimizer.name": ["sgd", "adam"]}, rivals={"x-y": {}}), out=out)
    tables_in(page(out))


def test_a_look_that_is_on_record_stays_the_same_look_in_later_versions(out: Path) -> None:
    """A study of this repository whose test set was looked at before recipes had all the keys that they have now."""
    study_folder = Path(__file__).parents[2] / "results" / "best" / "confirm"
    (recorded,) = json.loads((study_folder / "looks.json").read_text(encoding="utf-8"))
    plan = Plan.of(load_study(study_folder / "study.yaml"), out / "runs", {})
    (chosen,) = (trial for trial in plan.trials if trial.name == recorded["chosen"])
    assert note_look(out, plan, chosen)[0].of == recorded["of"]
