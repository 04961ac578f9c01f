"""Comparisons as a whole: what they leave, and how they go on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import noiseproof as npf
from noiseproof import experiments
from noiseproof.errors import InvalidArgumentError, RunFolderError, UnknownNameError
from noiseproof.evaluation import Comparison, RobustnessReport
from noiseproof.experiments import evaluate_run
from noiseproof.training import Recipe, load_recipe
from noiseproof.training import run as run_module
from tests.cli.problems import TINY, contents
from tests.evaluation.problems import report

METHODS, SEEDS = ("normal", "noisy"), (0, 1)
RUNS = ["normal/seed-0", "normal/seed-1", "noisy/seed-0", "noisy/seed-1"]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.from_mapping(yaml.safe_load(TINY))


def compare(recipe: Recipe, folder: Path, **more: Any) -> Comparison:
    return npf.compare(recipe, METHODS, SEEDS, out=folder, **more)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    compare(recipe, folder)
    return folder


def lasting(folder: Path) -> dict[str, bytes]:
    """What must be the same in every comparison of the same recipe: all but the seconds that an epoch took."""
    return {name: data for name, data in contents(folder).items() if not name.endswith("metrics.jsonl")}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are trained, in order."""
    runs: list[str] = []
    real = experiments.train

    def train(recipe: Recipe, **more: Any) -> npf.Run:
        runs.append(f"{recipe.method}/seed-{recipe.seed}")
        return real(recipe, **more)

    monkeypatch.setattr(experiments, "train", train)
    return runs


def interrupt(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, call: int, before: Callable | None = None
) -> None:
    """Make the ``call``-th call of a function an interruption, after ``before`` has had its arguments."""
    real, count = getattr(module, name), 0

    def function(*arguments: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            if before is not None:
                before(*arguments, **more)
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(module, name, function)


def times(folder: Path, runs: list[str]) -> list[int]:
    return [(folder / run / "model.safetensors").stat().st_mtime_ns for run in runs]


def test_the_comparison_holds_every_run(recipe: Recipe, whole: Path, trained: list[str]) -> None:
    made = compare(recipe, whole)
    assert trained == []
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
    made = compare(recipe, whole)
    reports = [report for by_seed in made.reports.values() for report in by_seed.values()]
    assert all((report.labels == reports[0].labels).all() for report in reports)
    assert {report.seed for report in reports} == {0}


def test_the_json_holds_the_cells_and_the_recipe(recipe: Recipe, whole: Path) -> None:
    summary = json.loads((whole / "table.json").read_text(encoding="utf-8"))
    made = compare(recipe, whole)
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


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_goes_on_after_an_interruption_between_runs(
    recipe: Recipe, whole: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, experiments, "train", call)
        with pytest.raises(KeyboardInterrupt):
            compare(recipe, tmp_path / "out")
    done = RUNS[: call - 1]
    assert trained == done
    before = times(tmp_path / "out", done)
    compare(recipe, tmp_path / "out")
    assert trained == RUNS
    assert times(tmp_path / "out", done) == before
    assert lasting(tmp_path / "out") == lasting(whole)


def test_an_interrupted_run_is_trained_from_the_start(
    recipe: Recipe, whole: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_a_little(*_: Any, on_epoch: Callable[[dict], None], **__: Any) -> None:
        on_epoch({"epoch": 1, "step": 1, "loss": 123.0})

    folder = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt(patch, run_module, "fit", 3, before=train_a_little)
        with pytest.raises(KeyboardInterrupt):
            compare(recipe, folder)
    assert "123.0" in (folder / RUNS[2] / "metrics.jsonl").read_text()
    assert not (folder / "report.html").exists()
    with pytest.raises(RunFolderError, match="did not finish"):
        npf.Run(folder / RUNS[2])
    compare(recipe, folder)
    assert trained == [*RUNS[:3], *RUNS[2:]]
    assert "123.0" not in (folder / RUNS[2] / "metrics.jsonl").read_text()
    assert lasting(folder) == lasting(whole)


def test_what_an_unfinished_run_left_is_not_used(
    recipe: Recipe, whole: Path, tmp_path: Path, trained: list[str]
) -> None:
    folder = tmp_path / "out"
    left = folder / RUNS[0]
    other = load_recipe(recipe, {"train.optimizer.lr": 0.5})
    npf.train(other, "normal", 0, out=left)
    report({"clean": [1], "gaussian:0.2": [1, 2]}).save(left / "evaluation")
    (left / "model.safetensors").rename(left / ".model.safetensors.1.tmp")
    compare(recipe, folder)
    assert trained == RUNS
    assert lasting(folder) == lasting(whole)


def test_an_interrupted_evaluation_does_not_cost_the_training(
    recipe: Recipe, whole: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, experiments, "evaluate", 3)
        with pytest.raises(KeyboardInterrupt):
            compare(recipe, tmp_path / "out")
    compare(recipe, tmp_path / "out")
    assert trained == RUNS
    assert lasting(tmp_path / "out") == lasting(whole)


def test_a_damaged_report_is_measured_again(recipe: Recipe, whole: Path, tmp_path: Path, trained: list[str]) -> None:
    compare(recipe, tmp_path / "out")
    (tmp_path / "out" / RUNS[1] / "evaluation" / "report.npz").write_bytes(b"cut")
    compare(recipe, tmp_path / "out")
    assert trained == RUNS
    assert lasting(tmp_path / "out") == lasting(whole)


def test_overwrite_trains_and_measures_everything_again(recipe: Recipe, tmp_path: Path, trained: list[str]) -> None:
    compare(recipe, tmp_path / "out")
    report({"clean": [1], "gaussian:0.2": [1, 2]}).save(tmp_path / "out" / RUNS[0] / "evaluation")
    compare(recipe, tmp_path / "out", overwrite=True)
    assert trained == RUNS * 2
    assert len(RobustnessReport.load(tmp_path / "out" / RUNS[0] / "evaluation").labels) == 360


@pytest.mark.parametrize(
    "overrides",
    [{"train.optimizer.lr": 0.5}, {"noise.train": "uniform:0.1"}, {"data.split_seed": 1}, {"evaluate.draws": 3}],
)
def test_a_folder_of_another_recipe_is_refused_with_the_difference(
    recipe: Recipe, whole: Path, trained: list[str], overrides: dict[str, Any]
) -> None:
    before = contents(whole)
    with pytest.raises(RunFolderError) as caught:
        compare(recipe, whole, overrides=overrides)
    ((path, value),) = overrides.items()
    assert f"{path} is " in str(caught.value)
    assert f"{value!r} here" in str(caught.value)
    assert str(caught.value).count(" here") == 1
    assert trained == []
    assert contents(whole) == before


def test_another_description_is_no_other_recipe(recipe: Recipe, whole: Path, trained: list[str]) -> None:
    compare(recipe, whole, overrides={"description": "the same, in other words"})
    assert trained == []


def test_finished_runs_on_data_that_has_changed_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    compare(recipe, tmp_path / "out")
    path = tmp_path / "out" / RUNS[0] / "recipe.yaml"
    path.write_text(path.read_text().replace("data_fingerprint: ", "data_fingerprint: 0"))
    with pytest.raises(RunFolderError, match="changed"):
        compare(recipe, tmp_path / "out")


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


def test_an_evaluation_is_kept_and_used_again_for_the_same_question_only(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = experiments.evaluate

    def evaluate(model: Any, data: Any, perturbations: tuple[str, ...], **more: Any) -> RobustnessReport:
        asked.append((tuple(perturbations), more["draws"], more["seed"]))
        return real(model, data, perturbations, **more)

    monkeypatch.setattr(experiments, "evaluate", evaluate)
    run = npf.train(recipe, "normal", 0, out=tmp_path / "run")
    usual = (("clean", "gaussian:0.2"), 2, 0)
    first = evaluate_run(run)
    assert evaluate_run(run) == first == run.report()
    assert asked == [usual]
    evaluate_run(run, again=True)
    evaluate_run(run, draws=3)
    evaluate_run(run, seed=1)
    evaluate_run(run, ["clean"])
    assert asked == [usual, usual, (usual[0], 3, 0), (usual[0], 2, 1), (("clean",), 2, 0)]
    assert run.report() == evaluate_run(run, ["clean"])
    assert len(asked) == 5
