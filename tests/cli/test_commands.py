"""The commands, doing what they are for."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

import noiseproof as npf
from noiseproof.cli.training import _learnt_nothing
from noiseproof.evaluation import RobustnessReport
from noiseproof.training import load_recipe
from noiseproof.training.trainer import Trainer
from tests.cli.problems import CommandLine, contents


def test_recipes_lists_the_packaged_ones(noiseproof: CommandLine) -> None:
    assert re.search(r"^digits  scikit-learn's handwritten digits", noiseproof.done("recipes"), re.MULTILINE)


@pytest.mark.parametrize("name", ["digits", "tiny.yaml"])
def test_a_recipe_is_shown_as_yaml_that_is_the_same_recipe(noiseproof: CommandLine, tiny: Path, name: str) -> None:
    shown = noiseproof.done("recipes", name)
    Path("shown.yaml").write_text(shown, encoding="utf-8")
    assert load_recipe("shown.yaml") == load_recipe(name).with_all_options()
    assert set(yaml.safe_load(shown)["methods"]) == {"normal", "noisy", "mixed", "stability", "discriminative"}


@pytest.mark.parametrize("text", ["[bold]x", "[/bold]", ":smiley:", "a" * 300, "σ\\[x]"])
def test_a_recipe_is_shown_to_the_letter(noiseproof: CommandLine, tiny: Path, text: str) -> None:
    tiny.write_text(tiny.read_text().replace("Two steps on the digits.", json.dumps(text)), encoding="utf-8")
    assert yaml.safe_load(noiseproof.done("recipes", tiny))["description"] == text


def test_train_leaves_a_run_folder(noiseproof: CommandLine) -> None:
    small = ["--set", "train.epochs=1", "--set", "train.max_steps=2", "--set", "model.options.width=2"]
    outcome = noiseproof("train", "digits", "--method", "noisy", "--seed", "3", *small, "--out", "a/run")
    assert outcome.code == 0
    assert contents(Path("a/run")).keys() >= {"metrics.jsonl", "model.safetensors", "recipe.yaml"}
    assert "a/run" in outcome.out
    assert "2 steps" in outcome.out
    assert len(outcome.err.splitlines()) == 1
    recipe = load_recipe("a/run/recipe.yaml")
    assert (recipe.method, recipe.seed, recipe.train.max_steps) == ("noisy", 3, 2)
    (metrics,) = [json.loads(line) for line in Path("a/run/metrics.jsonl").read_text().splitlines()]
    assert metrics["step"] == 2


def test_a_preset_is_trained_with_and_named_in_every_table(noiseproof: CommandLine, tiny: Path) -> None:
    out = noiseproof.done("train", tiny, "-m", "discriminative", "--preset", "best", "--out", "run")
    assert out.startswith("Discriminative (best), seed 0: ")
    recipe = npf.Run("run").recipe
    assert (recipe.preset, recipe.options("discriminative").model_dump()["centroids"]) == ("best", "naive")
    compared = noiseproof.done("compare", tiny, "--preset", "best", *COMPARE)
    assert "Discriminative (best)" in compared
    assert "Discriminative (paper)" not in compared
    assert "Discriminative (best)" in Path("out/report.html").read_text(encoding="utf-8")


def test_an_unknown_preset_is_refused(noiseproof: CommandLine, tiny: Path) -> None:
    outcome = noiseproof("train", tiny, "--preset", "bets", "--out", "run")
    assert outcome.code == 2
    assert "did you mean 'best'" in outcome.err
    assert not Path("run").exists()


def test_runs_go_below_the_working_directory_by_default(noiseproof: CommandLine, tiny: Path) -> None:
    noiseproof.done("train", tiny, "-m", "mixed", "--seed", "1")
    assert Path("runs/tiny/mixed/seed-1/model.safetensors").is_file()


@pytest.mark.parametrize("name", ["x[b]y", "x[", "[a]", "x[/b]", ":x:"])
def test_folders_may_have_any_name(noiseproof: CommandLine, tiny: Path, name: str) -> None:
    assert name in noiseproof.done("train", tiny, "-m", "normal", "--out", name)
    assert (Path(name) / "model.safetensors").is_file()


def test_overwrite_replaces_a_run(noiseproof: CommandLine, tiny: Path, run: Path) -> None:
    before = contents(run)
    (run / "evaluation").mkdir()
    noiseproof.done("train", tiny, "-m", "normal", "--seed", "5", "--out", run, "--overwrite")
    assert contents(run)["model.safetensors"] != before["model.safetensors"]
    assert not (run / "evaluation").exists()


def test_a_run_can_be_made_again_from_its_recipe(noiseproof: CommandLine, run: Path) -> None:
    noiseproof.done("train", run / "recipe.yaml", "--out", "again")
    assert contents(Path("again"))["model.safetensors"] == contents(run)["model.safetensors"]


def test_evaluate_prints_a_table_and_keeps_the_report(noiseproof: CommandLine, run: Path) -> None:
    shown = noiseproof.done("evaluate", run)
    report = RobustnessReport.load(run / "evaluation")
    assert list(report) == ["clean", "gaussian:0.2"]
    assert report["gaussian:0.2"].correct.shape == (2, 360)
    for key, result in report.items():
        row = next(line.split() for line in shown.splitlines() if line.split()[:1] == [key])
        assert row[1] == f"{100 * result.mean:.1f}"
        assert row[-1] == str(len(result.correct))


def test_evaluate_takes_perturbations_draws_and_seed(noiseproof: CommandLine, run: Path) -> None:
    noiseproof.done("evaluate", run, "--perturb", "uniform:0.3", "-p", "gaussian:8/255", "--draws", "3", "--seed", "7")
    report = RobustnessReport.load(run / "evaluation")
    assert [(key, len(result.correct)) for key, result in report.items()] == [
        ("uniform:0.3", 3),
        ("gaussian:8/255", 3),
    ]
    assert report.seed == 7
    finished = npf.Run(run)
    assert report == npf.evaluate(finished.model(), finished.data().test, list(report), draws=3, seed=7)


def test_evaluating_again_does_not_measure_again(noiseproof: CommandLine, run: Path) -> None:
    first, again = (noiseproof("evaluate", run) for _ in range(2))
    assert first.err.startswith("evaluate: done")
    assert again == (0, first.out, "")


COMPARE = ("--methods", "normal,discriminative", "--seeds", "0,1", "--out", "out")
TABLES = ("differences.md", "report.html", "table.csv", "table.json", "table.md")


def test_compare_writes_tables_and_a_report(noiseproof: CommandLine, tiny: Path) -> None:
    outcome = noiseproof("compare", tiny, *COMPARE)
    assert outcome.code == 0
    folder = Path("out")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["discriminative", "normal", *TABLES])
    for name in ("normal/seed-0", "normal/seed-1", "discriminative/seed-0", "discriminative/seed-1"):
        run = npf.Run(folder / name)
        assert run.report() is not None
        assert f"{run.recipe.method}/seed-{run.recipe.seed}" == name
    assert "Normal training" in outcome.out
    assert "Discriminative (paper)" in outcome.out
    assert "out/report.html" in outcome.out
    records = json.loads((folder / "table.json").read_text())["accuracies"]
    for record in records:
        reports = [npf.Run(folder / record["method"] / f"seed-{seed}").report() for seed in (0, 1)]
        means = [report[record["perturbation"]].mean for report in reports]
        assert record["mean"] == pytest.approx(sum(means) / 2)
        assert f"{100 * record['mean']:.1f}" in outcome.out
    assert len(list(csv.DictReader((folder / "table.csv").read_text().splitlines()))) == len(records) == 4


def test_comparing_again_trains_nothing_and_changes_nothing(noiseproof: CommandLine, tiny: Path) -> None:
    def times() -> list[int]:
        return [path.stat().st_mtime_ns for path in sorted(Path("out").glob("*/*/**/*"))]

    first = noiseproof("compare", tiny, *COMPARE)
    before, then = contents(Path("out")), times()
    again = noiseproof("compare", tiny, *COMPARE)
    assert first.err.count("train ") == first.err.count("evaluate") == 4
    assert re.fullmatch(r"compare tiny: done in .*\n", again.err)
    assert again.out == first.out
    assert contents(Path("out")) == before
    assert times() == then


def test_a_comparison_made_elsewhere_is_the_same(noiseproof: CommandLine, tiny: Path) -> None:
    for folder in ("one", "other"):
        noiseproof.done("compare", tiny, "--methods", "normal,stability", "--seeds", "0,1", "--out", folder)
    for name in TABLES:
        assert Path("one", name).read_bytes() == Path("other", name).read_bytes()


def test_a_comparison_can_be_extended(noiseproof: CommandLine, tiny: Path) -> None:
    noiseproof.done("compare", tiny, "--methods", "normal", "--seeds", "0", "--out", "out")
    before = Path("out/normal/seed-0/model.safetensors").stat().st_mtime_ns
    noiseproof.done("compare", tiny, "--methods", "normal,noisy", "--seeds", "0,1", "--out", "out")
    assert Path("out/normal/seed-0/model.safetensors").stat().st_mtime_ns == before
    assert len(json.loads(Path("out/table.json").read_text())["accuracies"]) == 4


def test_compare_takes_every_method_by_default(
    noiseproof: CommandLine, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def compare(recipe: str, methods: list[str], seeds: list[int], *_: object, **__: object) -> None:
        asked.update(methods=methods, seeds=seeds)
        raise KeyboardInterrupt

    monkeypatch.setattr(npf, "compare", compare)
    noiseproof("compare", tiny)
    assert asked == {
        "methods": ["normal", "noisy", "mixed", "stability", "discriminative"], "seeds": [0, 1, 2],
    }  # fmt: skip


def test_spaces_in_lists_are_no_matter(noiseproof: CommandLine, tiny: Path) -> None:
    noiseproof.done("compare", tiny, "--methods", " normal , noisy", "--seeds", "0, 1 ", "--out", "out")
    assert {path.name for path in Path("out").iterdir() if path.is_dir()} == {"normal", "noisy"}


def test_the_same_seed_twice_counts_once(noiseproof: CommandLine, tiny: Path) -> None:
    noiseproof.done("compare", tiny, "--methods", "normal,normal", "--seeds", "0,0", "--out", "out")
    assert {record["seeds"] for record in json.loads(Path("out/table.json").read_text())["accuracies"]} == {1}


@pytest.mark.parametrize("command", ["train", "evaluate", "compare"])
def test_results_go_to_standard_output_without_control_codes(
    noiseproof: CommandLine, tiny: Path, run: Path, command: str
) -> None:
    arguments = {
        "train": ("train", tiny, "-m", "normal"),
        "evaluate": ("evaluate", run),
        "compare": ("compare", tiny, "--methods", "normal", "--seeds", "0"),
    }[command]
    outcome = noiseproof(*arguments)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", outcome.out + outcome.err)
    assert outcome.out
    assert "done in" not in outcome.out


def test_an_interruption_exits_with_130(noiseproof: CommandLine, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(npf, "train", interrupted)
    outcome = noiseproof("train", tiny)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert "interrupted" in outcome.err


@pytest.mark.parametrize(
    ("number", "code", "command", "again"),
    [
        (signal.SIGINT, 130, ["train", "-m", "normal"], "the same command with --resume goes on"),
        (signal.SIGTERM, 143, ["train", "-m", "normal"], "the same command with --resume goes on"),
        (signal.SIGTERM, 143, ["compare", "--methods", "normal", "--seeds", "0"], "the same command goes on"),
        (signal.SIGTERM, 143, ["train", "-m", "normal", "--overwrite"], "with --resume without --overwrite goes on"),
    ],
)
def test_what_is_stopped_says_how_far_it_is_and_how_to_go_on(
    noiseproof: CommandLine,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
    command: list[str],
    again: str,
) -> None:
    step = Trainer._step

    def signalled(trainer: Trainer, views: Any) -> None:
        step(trainer, views)
        if trainer.step == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "_step", signalled)
    name, *options = command
    outcome = noiseproof(name, tiny, *options, "--set", "train.max_steps=4", "--set", "train.epochs=4", "--out", "out")
    assert outcome.code == code
    folder = "out" if name == "train" else "out/normal/seed-0"
    assert f"stopped after step 2 of 4, checkpoint in {folder}; " in outcome.err
    assert again in outcome.err
    if name == "train":
        assert "noiseproof train with --resume" in noiseproof.mistake("evaluate", "out")


@pytest.mark.filterwarnings("always:the features differ in scale")
def test_what_all_runs_of_a_comparison_would_warn_of_is_told_once(noiseproof: CommandLine) -> None:
    random = np.random.default_rng(0)
    np.savez("scales.npz", x=random.normal(size=(60, 3)) * [1, 1000, 1], y=np.arange(60) % 2)
    few = ["--methods", "normal,mixed", "--seeds", "0,1", "--set", "train.epochs=1"]
    raw = ["--set", "data.standardise=false"]
    outcome = noiseproof("compare", "vectors", "--data", "npz:scales.npz", *few, *raw, "--out", "out")
    assert outcome.code == 0
    assert outcome.err.count("the features differ in scale, with stds from") == 1


@pytest.mark.filterwarnings("always")
def test_sizes_that_do_not_fit_are_told(noiseproof: CommandLine) -> None:
    random = np.random.default_rng(0)
    table = {"x": random.normal(size=(80, 3)), "y": np.arange(80) % 2}
    np.savez("right.npz", **table)
    np.savez("large.npz", **{**table, "x": 1000 * table["x"]})
    np.savez("series.npz", x=random.normal(size=(80, 2, 9)) * [[1], [50]], y=table["y"])
    quick = ["-m", "mixed", "--set", "train.epochs=1", "--set", "train.optimizer.lr=1e-4"]
    warned = noiseproof("train", "series", "--data", "npz:series.npz", *quick, "--out", "series")
    assert "the channels differ in scale, with stds from" in warned.err
    raw = ["--set", "data.standardise=false"]
    warned = noiseproof("train", "vectors", "--data", "npz:large.npz", *quick, *raw, "--out", "large")
    assert "gaussian:std=2.0, the strongest noise here, is next to nothing" in warned.err
    assert "warning" not in noiseproof("train", "vectors", "--data", "npz:right.npz", *quick, "--out", "run").err
    told = "the inputs are not of the size that the model was trained on"
    assert told in noiseproof("evaluate", "run", "--data", "npz:large.npz", "-p", "clean").err
    assert told in noiseproof("predict", "run", "large.npz").err
    for command in (
        ["evaluate", "run"],
        ["evaluate", "run", "--data", "npz:right.npz"],
        ["predict", "run", "right.npz"],
    ):
        assert "warning" not in noiseproof(*command).err


def test_to_go_on_where_there_is_nothing_says_that_it_begins(noiseproof: CommandLine, tiny: Path) -> None:
    outcome = noiseproof("train", tiny, "--resume", "--out", "new")
    assert outcome.code == 0
    assert "there is no run in new to go on with: it begins anew\n" in outcome.out
    told = noiseproof.mistake("train", tiny, "--resume", "--seed", "9", "--out", "new")
    assert "`noiseproof train new/recipe.yaml --out new --resume`" in told
    assert "or replace it with --overwrite" in told
    assert "begins anew" not in noiseproof.done("train", "new/recipe.yaml", "--resume", "--out", "new")
    assert "new is the folder of a run; its recipe is new/recipe.yaml" in noiseproof.mistake("train", "./new")


def test_to_go_on_and_to_begin_anew_are_not_asked_for_together(noiseproof: CommandLine, tiny: Path) -> None:
    assert "give one of them" in noiseproof.mistake("train", tiny, "--resume", "--overwrite")


def test_a_training_that_learnt_nothing_says_so(noiseproof: CommandLine, tiny: Path) -> None:
    still = noiseproof.done("train", tiny, "-m", "normal", "--set", "train.optimizer.lr=1e-12", "--out", "still")
    assert "\nthe training accuracy is no better than guessing one of 10 classes; try another" in still
    assert "mixed" not in still
    learnt = noiseproof.done("train", "vectors", "-m", "normal", "--set", "train.epochs=2", "--out", "learnt")
    assert "guessing" not in learnt


@pytest.mark.parametrize(
    ("accuracy", "share", "balanced", "told"),
    [
        (0.50, 0.90, False, "guessing one of 2 classes"),
        (0.70, 0.90, False, "always answering the most frequent of 2 classes, 90.0 % of the samples"),
        (0.9001, 0.90, False, "always answering the most frequent"),
        (0.99, 0.90, False, None),
        (0.70, 0.90, True, None),
        (0.53, 0.51, False, "guessing one of 2 classes"),
        (0.60, 0.51, False, None),
    ],
)
def test_a_training_that_learnt_no_more_than_what_is_frequent_says_so(
    accuracy: float, share: float, balanced: bool, told: str | None
) -> None:
    overrides = {"train.class_weight": "balanced"} if balanced else {}
    provenance = {"samples": {"train": 1000}, "largest_class_share": share}
    recipe = load_recipe("vectors", overrides).model_copy(update={"provenance": provenance})
    run = SimpleNamespace(recipe=recipe, num_classes=2, metrics=lambda: [{"accuracy": accuracy}])
    found = _learnt_nothing(run)  # type: ignore[arg-type]
    assert (found is None) == (told is None)
    assert (told or "") in (found or "")


def test_a_run_knows_how_large_its_largest_class_is(noiseproof: CommandLine) -> None:
    x = np.random.default_rng(0).normal(size=(100, 3))
    np.savez("unequal.npz", x=x, y=np.arange(100) % 5 // 3)  # three of five are of class 0
    noiseproof.done("train", "vectors", "--data", "npz:unequal.npz", "--set", "train.epochs=1", "--out", "run")
    assert npf.Run("run").recipe.provenance["largest_class_share"] == 0.6


def test_data_of_ones_own_does_not_get_the_description_of_the_recipes() -> None:
    told = load_recipe("digits", {"data.source": "npz:mine.npz"}).description
    assert told == "The settings of the recipe digits, with data from npz:mine.npz."
    own = {"data.source": "npz:mine.npz", "description": "Mine."}
    assert load_recipe("digits", own).description == "Mine."
    assert "handwritten" in load_recipe("digits", {"data.source": "digits"}).description
