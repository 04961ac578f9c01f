"""Comparisons as a whole: what they leave, and how they go on after an interruption."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, RunFolderError, UnknownNameError
from noiseproof.evaluation import Comparison, RobustnessReport
from noiseproof.experiments import evaluate_run
from noiseproof.rehearsing import rehearse
from noiseproof.reporting import comparison_table
from noiseproof.training import Recipe, load_recipe
from tests.cli.problems import TINY, contents
from tests.evaluation.problems import report

METHODS, SEEDS = ("normal", "noisy"), (0, 1)
RUNS = ["normal/seed-0", "normal/seed-1", "noisy/seed-0", "noisy/seed-1"]
TRAININGS = ["train normal, seed 0", "train normal, seed 1", "train noisy, seed 0", "train noisy, seed 1"]


class Watcher:
    """A progress reporter that notes what is begun, and interrupts the ``call``-th piece of a kind at a step."""

    def __init__(self, kind: str = "", call: int = 0, step: int = 1) -> None:
        self.begun: list[str] = []
        self._kind, self._call, self._step = kind, call, step
        self._armed = False

    def of(self, kind: str) -> list[str]:
        return [title for title in self.begun if title.startswith(kind)]

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Watcher]:
        self.begun.append(title)
        self._armed = title.startswith(self._kind) and len(self.of(self._kind)) == self._call
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        if self._armed and amount:
            self._step -= 1
            if self._step == 0:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.from_mapping(yaml.safe_load(TINY))


def compare(recipe: Recipe, folder: Path, **more: Any) -> tuple[Comparison, Watcher]:
    watcher = Watcher()
    return npf.compare(recipe, METHODS, SEEDS, out=folder, progress=watcher, **more), watcher


def interrupted(recipe: Recipe, folder: Path, *when: Any) -> Watcher:
    """Begin a comparison that does not come to its end."""
    watcher = Watcher(*when)
    with pytest.raises(KeyboardInterrupt):
        npf.compare(recipe, METHODS, SEEDS, out=folder, progress=watcher)
    assert not (folder / "report.html").exists()
    return watcher


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    compare(recipe, folder)
    return folder


def lasting(folder: Path) -> dict[str, bytes]:
    """What is the same in every comparison of the same recipe: all but how fast an epoch was."""
    return {
        name: re.sub(rb'"\w*second\w*": [^,}]+', b"", data) if name.endswith(".jsonl") else data
        for name, data in contents(folder).items()
    }


def times(folder: Path, runs: list[str]) -> list[int]:
    return [(folder / run / "model.safetensors").stat().st_mtime_ns for run in runs]


def test_the_comparison_holds_every_run(recipe: Recipe, whole: Path) -> None:
    made, watcher = compare(recipe, whole)
    assert watcher.of("train") == watcher.of("evaluate") == []
    assert made.title == "tiny"
    assert made.methods == list(METHODS)
    assert made.method_titles == {"normal": "Normal training", "noisy": "Only noisy inputs"}
    assert made.perturbations == ("clean", "gaussian:0.2")
    for method in METHODS:
        for seed in SEEDS:
            assert made.reports[method][seed] == npf.Run(whole / method / f"seed-{seed}").report()


def test_every_run_is_the_one_that_train_makes(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    npf.train(recipe, "noisy", 1, out=tmp_path / "run")
    assert lasting(tmp_path / "run") == {
        name: data for name, data in lasting(whole / "noisy/seed-1").items() if not name.startswith("evaluation")
    }


def test_a_method_gets_the_same_numbers_whatever_it_is_compared_with(
    recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    made = npf.compare(recipe, ["noisy"], [1], out=tmp_path / "out")
    assert made.reports["noisy"][1] == npf.Run(whole / "noisy/seed-1").report()


def test_all_runs_meet_the_same_samples_and_noise(recipe: Recipe, whole: Path) -> None:
    made, _ = compare(recipe, whole)
    reports = [report for by_seed in made.reports.values() for report in by_seed.values()]
    assert all((report.labels == reports[0].labels).all() for report in reports)
    assert {report.seed for report in reports} == {0}


def test_the_json_holds_the_cells_and_the_recipe(recipe: Recipe, whole: Path) -> None:
    summary = json.loads((whole / "table.json").read_text(encoding="utf-8"))
    made, _ = compare(recipe, whole)
    for record in summary["accuracies"]:
        cell = made.cell(record["method"], record["perturbation"])
        assert (record["mean"], record["best"]) == (cell.mean, cell.best)
    assert Recipe.from_mapping(summary["recipe"]).settings() == recipe.with_all_options().settings()


def test_the_page_shows_the_recipe_with_versions_and_fingerprint(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    fingerprint = npf.Run(whole / RUNS[0]).data().fingerprint()
    assert fingerprint in page
    assert "versions:" in page
    assert page.count("<img") == 3 * 2


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("call", [1, 3, 4])
def test_goes_on_after_an_interrupted_training(
    recipe: Recipe, whole: Path, tmp_path: Path, call: int, step: int
) -> None:
    assert interrupted(recipe, tmp_path, "train", call, step).of("train") == TRAININGS[:call]
    done = RUNS[: call - 1]
    before = times(tmp_path, done)
    with pytest.raises(RunFolderError, match="did not finish"):
        npf.Run(tmp_path / RUNS[call - 1])
    _, watcher = compare(recipe, tmp_path)
    assert watcher.of("train") == TRAININGS[call - 1 :]
    assert times(tmp_path, done) == before
    assert lasting(tmp_path) == lasting(whole)


@pytest.mark.parametrize("call", [1, 3])
def test_an_interrupted_evaluation_does_not_cost_the_training(
    recipe: Recipe, whole: Path, tmp_path: Path, call: int
) -> None:
    interrupted(recipe, tmp_path, "evaluate", call)
    _, watcher = compare(recipe, tmp_path)
    assert watcher.of("train") == TRAININGS[call:]
    assert len(watcher.of("evaluate")) == 5 - call
    assert lasting(tmp_path) == lasting(whole)


def test_going_on_twice(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    interrupted(recipe, tmp_path, "train", 2, 2)
    interrupted(recipe, tmp_path, "train", 1, 1)
    interrupted(recipe, tmp_path, "train", 2, 2)
    compare(recipe, tmp_path)
    assert lasting(tmp_path) == lasting(whole)


def test_the_report_of_weights_that_are_gone_is_not_used(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    compare(recipe, tmp_path)
    report({"clean": [1], "gaussian:0.2": [1, 2]}).save(tmp_path / RUNS[0] / "evaluation")
    (tmp_path / RUNS[0] / "model.safetensors").unlink()
    _, watcher = compare(recipe, tmp_path)
    assert watcher.of("train") == TRAININGS[:1]
    assert lasting(tmp_path) == lasting(whole)


def test_a_damaged_report_is_measured_again(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    compare(recipe, tmp_path)
    (tmp_path / RUNS[1] / "evaluation" / "report.npz").write_bytes(b"cut")
    _, watcher = compare(recipe, tmp_path)
    assert watcher.of("train") == []
    assert lasting(tmp_path) == lasting(whole)


def test_overwrite_trains_and_measures_everything_again(recipe: Recipe, tmp_path: Path) -> None:
    compare(recipe, tmp_path)
    report({"clean": [1], "gaussian:0.2": [1, 2]}).save(tmp_path / RUNS[0] / "evaluation")
    _, watcher = compare(recipe, tmp_path, overwrite=True)
    assert watcher.of("train") == TRAININGS
    assert len(RobustnessReport.load(tmp_path / RUNS[0] / "evaluation").labels) == 360


@pytest.mark.parametrize(
    "overrides",
    [{"train.optimizer.lr": 0.5}, {"noise.train": "uniform:0.1"}, {"data.split_seed": 1}, {"evaluate.draws": 3}],
)
def test_a_folder_of_another_recipe_is_refused_with_the_difference(
    recipe: Recipe, whole: Path, overrides: dict[str, Any]
) -> None:
    before = contents(whole)
    with pytest.raises(RunFolderError) as caught:
        compare(recipe, whole, overrides=overrides)
    ((path, value),) = overrides.items()
    assert f"{path} is " in str(caught.value)
    assert f"{value!r} here" in str(caught.value)
    assert str(caught.value).count(" here") == 1
    assert contents(whole) == before


def test_another_description_is_no_other_recipe(recipe: Recipe, whole: Path) -> None:
    _, watcher = compare(recipe, whole, overrides={"description": "the same, in other words"})
    assert watcher.of("train") == []


def test_finished_runs_on_data_that_has_changed_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    compare(recipe, tmp_path)
    path = tmp_path / RUNS[0] / "recipe.yaml"
    path.write_text(path.read_text().replace("data_fingerprint: ", "data_fingerprint: 0"))
    with pytest.raises(RunFolderError, match="changed"):
        compare(recipe, tmp_path)


def test_runs_go_below_the_working_directory_by_default(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    npf.compare(recipe, ["normal"], [0])
    assert Path("runs/tiny/normal/seed-0/model.safetensors").is_file()
    assert Path("runs/tiny/report.html").is_file()


@pytest.mark.parametrize(
    ("methods", "seeds", "kind"),
    [
        ([], [0], InvalidArgumentError),
        (["normal"], [], InvalidArgumentError),
        (["normal"], [-1], InvalidArgumentError),
        (["normal"], [0.5], InvalidArgumentError),
        (["normal", "nosy"], [0], UnknownNameError),
    ],
)
def test_wrong_methods_and_seeds_are_refused_before_anything_is_done(
    recipe: Recipe, tmp_path: Path, methods: list[str], seeds: list[Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        npf.compare(recipe, methods, seeds, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("overrides", [{"evaluate.perturbations": []}, {"evaluate.perturbations": ["cleen"]}])
def test_wrong_perturbations_are_refused_before_anything_is_done(
    recipe: Recipe, tmp_path: Path, overrides: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError):
        compare(recipe, tmp_path / "out", overrides=overrides)
    assert not (tmp_path / "out").exists()


def test_a_perturbation_that_does_not_suit_the_data_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    recipe = load_recipe("vectors", {"train.epochs": 1, "evaluate.perturbations": ["clean"]})
    unsuitable = {"evaluate.perturbations": ["clean", "jpeg:30"]}
    with pytest.raises(InvalidArgumentError, match="'jpeg:30' cannot be measured on this data: jpeg takes images"):
        npf.compare(recipe, ["normal"], [0], unsuitable, out=tmp_path / "out")
    with pytest.raises(InvalidArgumentError, match="'jpeg:30' cannot be measured"):
        rehearse(recipe, ["normal"], [0], unsuitable, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_evaluation_is_kept_and_used_again_for_the_same_question_only(recipe: Recipe, tmp_path: Path) -> None:
    run = npf.train(recipe, "normal", 0, out=tmp_path / "run")
    watcher = Watcher()
    first = evaluate_run(run, progress=watcher)
    assert evaluate_run(run, progress=watcher) == first == run.report()
    assert len(watcher.begun) == 1
    evaluate_run(run, again=True, progress=watcher)
    assert len(evaluate_run(run, draws=3, progress=watcher)["gaussian:0.2"].correct) == 3
    assert evaluate_run(run, seed=1, progress=watcher).seed == 1
    assert list(evaluate_run(run, ["clean"], progress=watcher)) == ["clean"]
    assert len(watcher.begun) == 5
    assert evaluate_run(run, ["clean"], progress=watcher) == run.report()
    assert len(watcher.begun) == 5


def test_what_was_measured_of_other_perturbations_stays_in_a_runs_report(recipe: Recipe, tmp_path: Path) -> None:
    run = npf.train(recipe, "normal", 0, out=tmp_path / "run")
    whole = evaluate_run(run, draws=2)
    asked = evaluate_run(run, ["uniform:0.2", "clean"], draws=2)
    assert list(asked) == ["uniform:0.2", "clean"]
    kept = run.report()
    assert kept is not None
    assert list(kept) == [*whole, "uniform:0.2"]
    assert kept.only(list(whole)) == whole
    assert kept.only(list(asked)) == asked
    watcher = Watcher()
    assert evaluate_run(run, draws=2, progress=watcher) == whole
    assert not watcher.begun
    evaluate_run(run, ["clean", "gaussian:0.2"], draws=3)
    replaced = run.report()
    assert replaced is not None
    assert list(replaced) == ["clean", "gaussian:0.2"]  # of other draws, so nothing goes with it


def test_a_report_of_other_draws_may_stay(recipe: Recipe, tmp_path: Path) -> None:
    run = npf.train(recipe, "normal", 0, out=tmp_path / "run")
    kept = evaluate_run(run, draws=2)
    assert len(evaluate_run(run, ["gaussian:0.2"], draws=3, replace=False)["gaussian:0.2"].correct) == 3
    assert run.report() == kept
    evaluate_run(run, ["uniform:0.2"], draws=2, replace=False)
    joined = run.report()
    assert joined is not None
    assert list(joined) == [*kept, "uniform:0.2"]
    with pytest.raises(InvalidArgumentError):
        evaluate_run(run, [])


def test_tables_of_weights_chosen_on_the_test_set_say_so(tmp_path: Path) -> None:
    overrides = {
        "preset": "authors-code",
        "train.epochs": 1,
        "train.max_steps": 2,
        "evaluate.perturbations": ["clean"],
    }
    comparison = npf.compare("digits", ["normal"], [0], overrides, tmp_path / "runs")
    assert "chosen on the test set" in comparison_table(comparison).caption
    for name in ("table.md", "table.json", "report.html"):
        assert "chosen on the test set" in (tmp_path / "runs" / name).read_text(encoding="utf-8")


def test_a_comparison_is_not_written_into_a_run(recipe: Recipe, tmp_path: Path) -> None:
    npf.train(recipe, out=tmp_path / "a")
    before = contents(tmp_path)
    with pytest.raises(RunFolderError, match="is that of a run"):
        npf.compare(recipe, ["normal"], [0], out=tmp_path / "a")
    assert contents(tmp_path) == before
