"""``noiseproof evaluate`` and ``noiseproof certify``: every option, against what Python says of the same model."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import noiseproof as npf
from noiseproof.evaluation import Certification, CorruptionReport, RobustnessReport, compare_methods, compare_reports
from noiseproof.reporting import method_difference_table
from noiseproof.targets import load_target
from noiseproof.training import Recipe
from tests.cli.problems import TINY, CommandLine, contents, one_line, run_python
from tests.cli.test_startup import HEAVY
from tests.evaluation.problems import report
from tests.evaluation.test_statistics_of_a_report import save_in_format_1
from tests.reporting.test_robustness import latex_rows, read_latex
from tests.reporting.test_tables import markdown_cells

CAVEAT = "The weights were chosen on the test set, so these accuracies are too good."
FORMATS = ("terminal", "markdown", "latex", "csv")
CODE = """\
import torch
from torch import nn

def make():
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
MORE = {"train.epochs": 3, "train.max_steps": 60, "train.optimizer.lr": 0.01, "model.options.width": 32}
needs_torchattacks = pytest.mark.skipif(
    importlib.util.find_spec("torchattacks") is None, reason="torchattacks is an optional dependency"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: one that learnt, one that hardly did, and one whose weights were chosen on the test set."""
    recipe = Recipe.from_mapping(yaml.safe_load(TINY))
    folder = tmp_path_factory.mktemp("trained")
    npf.train(recipe, "normal", 0, MORE, folder / "good")
    npf.train(recipe, "noisy", 0, {"train.max_steps": 20, "train.optimizer.lr": 0.01}, folder / "poor")
    npf.train(recipe, "normal", 0, {"preset": "authors-code", "train.keep": "best-test"}, folder / "warned")
    return folder


@pytest.fixture
def good(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "good", tmp_path / "good"))


@pytest.fixture
def poor(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "poor", tmp_path / "poor"))


@pytest.fixture
def warned(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "warned", tmp_path / "warned"))


@pytest.fixture
def code(tmp_path: Path) -> Iterator[str]:
    """A factory in the working directory."""
    Path("code_to_measure.py").write_text(CODE)
    yield "code_to_measure:make"
    sys.modules.pop("code_to_measure", None)


def archive(path: Path, run: Path, **changes: Any) -> str:
    """The test set of a run as a data source of its own."""
    data = npf.Run(run).data().test
    arrays = {"x": np.stack([x.numpy() for x, _ in data]), "y": data.labels.numpy(), **changes}
    np.savez(path, **arrays)
    return f"npz:{path}"


def tables(markdown: str) -> list[list[list[str]]]:
    """Heading and rows of every Markdown table in a text."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    return [markdown_cells(block) for block in blocks]


def rows_of(shown: str, layout: str) -> list[list[str]]:
    """The rows of the first table, without its heading."""
    if layout == "markdown":
        return tables(shown)[0][1:]
    if layout == "latex":
        return [read_latex(row) for row in latex_rows(shown.split("\\end{table}")[0])[1:]]
    assert layout == "terminal"
    lines = shown.splitlines()
    rule = next(index for index, line in enumerate(lines) if set(line.strip()) == {"─"})
    end = next(index for index in range(rule + 1, len(lines)) if not lines[index].strip())
    return [re.split(r"\s{2,}", line.strip()) for line in lines[rule + 1 : end]]


def records_of(shown: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(shown)))


# Help


@pytest.mark.parametrize("command", ["evaluate", "certify"])
def test_help_imports_nothing_heavy(tmp_path: Path, command: str) -> None:
    code = f"""if True:
        import sys
        from noiseproof.cli import main
        try:
            main([{command!r}, "--help"])
        finally:
            print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
    """
    outcome = run_python(code, tmp_path)
    assert outcome.out.splitlines()[-1] == "loaded: []"
    assert "--format" in outcome.out
    assert outcome.err == ""


def test_help_names_an_extra_to_install_that_there_is(noiseproof: CommandLine) -> None:
    shown = noiseproof.done("evaluate", "--help")
    assert "noiseproof[attacks]" in re.sub(r"\s", "", shown)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "attacks" in project["optional-dependencies"]


# Evaluate


@pytest.mark.parametrize("layout", ["terminal", "markdown", "latex"])
def test_the_table_holds_the_numbers_of_the_report(noiseproof: CommandLine, good: Path, layout: str) -> None:
    shown = noiseproof.done("evaluate", good, "-p", "clean", "-p", "gaussian:0.3", "--draws", "3", "--format", layout)
    found = RobustnessReport.load(good / "evaluation")
    assert 0.5 < found["gaussian:0.3"].mean < found["clean"].mean < 1
    for row, result in zip(rows_of(shown, layout), found.values(), strict=True):
        low, high = result.interval
        spread = [f"±{100 * result.std:.1f}"] if result.random else []
        expected = [
            result.key, f"{100 * result.mean:.1f}", *spread, f"{100 * low:.1f} to {100 * high:.1f}",
            f"{100 * result.calibration_error:.1f}", str(len(result.correct)),
        ]  # fmt: skip
        assert [cell for cell in row if cell] == expected
    for word in ("Normal training, seed 0", "360 samples", "Accuracy against noise level", "gaussian"):
        assert word in shown


def test_csv_holds_the_numbers_of_the_report_in_full(noiseproof: CommandLine, good: Path) -> None:
    shown = noiseproof.done("evaluate", good, "-p", "clean", "-p", "gaussian:0.3", "--format", "csv")
    found = RobustnessReport.load(good / "evaluation")
    records = records_of(shown)
    assert [record["perturbation"] for record in records] == list(found)
    for record, result in zip(records, found.values(), strict=True):
        told = [float(record[key]) for key in ("mean", "std_over_draws", "low_95", "high_95", "calibration_error")]
        assert told == [result.mean, result.std, *result.interval, result.calibration_error]
        assert (int(record["draws"]), int(record["samples"])) == (len(result.correct), 360)
        assert record["upper_bound_only"] == "False"


def test_one_draw_leaves_an_empty_place_in_csv(noiseproof: CommandLine, good: Path) -> None:
    (record,) = records_of(noiseproof.done("evaluate", good, "-p", "gaussian:0.3", "--draws", "1", "--format", "csv"))
    assert record["std_over_draws"] == ""


@pytest.mark.parametrize("layout", ["markdown", "latex"])
def test_by_class_shows_every_class(noiseproof: CommandLine, good: Path, layout: str) -> None:
    asked = ("-p", "clean", "-p", "gaussian:0.3", "-p", "uniform:0.5", "--by-class", "--format", layout)
    shown = noiseproof.done("evaluate", good, *asked)
    found = RobustnessReport.load(good / "evaluation")
    if layout == "markdown":
        heading, *rows = tables(shown)[-1]
    else:
        heading, *rows = (read_latex(row) for row in latex_rows(shown.split("\\end{table}")[-2]))
    assert heading == ["Class", "Samples", "clean", "σ 0.3", "uniform:0.5"]
    *classes, mean = rows
    for index, (name, samples, *accuracies) in enumerate(classes):
        assert name == found.class_names[index]
        assert int(samples) == (found.labels == index).sum()
        assert accuracies == [f"{100 * found.per_class(key)[index]:.1f}" for key in found]
    assert len(classes) == 10
    assert mean == ["mean", "", *(f"{100 * found.balanced(key):.1f}" for key in found)]


def test_confusion_shows_the_most_frequent_mistakes(noiseproof: CommandLine, good: Path) -> None:
    asked = ("evaluate", good, "-p", "clean", "-p", "gaussian:0.3", "--confusion", "--format", "markdown")
    heading, *rows = tables(noiseproof.done(*asked))[-1]
    found = RobustnessReport.load(good / "evaluation")
    assert heading == ["Class", "Taken for", "clean", "σ 0.3"]
    assert len(rows) == 10
    for true, answered, *shares in rows:
        place = found.class_names.index(true), found.class_names.index(answered)
        assert shares == [f"{100 * found.confusion(key)[place]:.1f}" for key in found]
    without = {key: replace(each, answered=None) for key, each in found.items()}  # as of an earlier version
    RobustnessReport(without, found.labels, found.class_names, found.seed).save(good / "evaluation")
    assert tables(noiseproof.done(*asked))[-1] == [heading, *rows]
    assert RobustnessReport.load(good / "evaluation") == found


@pytest.mark.parametrize("option", ["--by-class", "--confusion"])
def test_what_is_told_of_one_model_is_not_told_of_two(noiseproof: CommandLine, good: Path, option: str) -> None:
    told = noiseproof.mistake("evaluate", good, "--against", good, "-p", "clean", option)
    assert "--against takes no --by-class or --confusion" in told


def test_by_class_shows_any_number_of_perturbations_whole(noiseproof: CommandLine, good: Path) -> None:
    asked = [f"uniform:0.{level}" for level in range(100, 125)]
    perturb = [part for spec in asked for part in ("-p", spec)]
    shown = noiseproof.done("evaluate", good, *perturb, "--draws", "1", "--limit", "20", "--by-class")
    assert "…" not in shown
    assert all(shown.count(spec) >= 2 for spec in asked)


def test_a_limit_measures_samples_that_are_evenly_spread_and_keeps_nothing(
    noiseproof: CommandLine, good: Path
) -> None:
    before = contents(good)
    shown = noiseproof.done("evaluate", good, "-p", "clean", "--limit", "40", "--out", "some")
    assert contents(good) == before
    assert "40 samples" in shown
    found = RobustnessReport.load("some")
    run = npf.Run(good)
    everything = npf.evaluate(run.model(), run.data().test, ["clean"])
    places = [index * 360 // 40 for index in range(40)]
    assert found["clean"].correct.tolist() == everything["clean"].correct[:, places].tolist()
    assert found.labels.tolist() == everything.labels[places].tolist()


def test_out_saves_the_report_there_too(noiseproof: CommandLine, good: Path) -> None:
    noiseproof.done("evaluate", good, "--out", "here/and/there")
    assert RobustnessReport.load("here/and/there") == RobustnessReport.load(good / "evaluation")


@pytest.mark.parametrize("batch_size", ["1", "100000"])
def test_batch_size_and_device_do_not_change_the_answer(noiseproof: CommandLine, good: Path, batch_size: str) -> None:
    asked = ("evaluate", good, "-p", "gaussian:0.3", "--draws", "2", "--limit", "150", "--format", "markdown")
    expected = noiseproof.done(*asked)
    assert noiseproof.done(*asked, "--batch-size", batch_size, "--device", "cpu") == expected


def test_a_file_of_weights_behind_its_normalisation_is_the_run_it_came_from(
    noiseproof: CommandLine, good: Path
) -> None:
    weights = npf.Run(good).model().state_dict()
    mean, std = (weights.pop(f"normalize.{name}").tolist() for name in ("mean", "std"))
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, "weights.pth")
    source = archive(Path("test.npz"), good)
    perturb = ("-p", "clean", "-p", "gaussian:0.3", "--draws", "3", "--seed", "2", "--format", "markdown")
    expected = noiseproof.done("evaluate", good, *perturb)
    expect = ("--mean", ",".join(map(repr, mean)), "--std", ",".join(map(repr, std)))
    shown = noiseproof.done("evaluate", "weights.pth", "--model", "small-cnn", "--data", source, *expect, *perturb)
    assert tables(shown) == tables(expected)
    assert shown.startswith("weights.pth")
    without = noiseproof.done("evaluate", "weights.pth", "--model", "small-cnn", "--data", source, *perturb)
    assert tables(without) != tables(expected)
    itself = noiseproof.done("evaluate", good / "model.safetensors", "--data", source, *perturb)
    assert tables(itself) == tables(expected)


def test_a_factory_in_the_working_directory_is_measured(noiseproof: CommandLine, code: str) -> None:
    outcome = noiseproof("evaluate", code, "--data", "digits", "--limit", "100", "--out", "report")
    assert outcome.code == 0
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    found = RobustnessReport.load("report")
    assert list(found) == ["clean"]
    assert f"{100 * found['clean'].mean:.1f}" in outcome.out
    whole = npf.evaluate(model, load_target(code, data="digits").test)
    assert found["clean"].correct.tolist() == whole["clean"].correct[:, [i * 1797 // 100 for i in range(100)]].tolist()


def test_pictures_are_brought_to_a_size(noiseproof: CommandLine) -> None:
    from PIL import Image

    for index, name in enumerate(("cat", "dog")):
        Path("photos", name).mkdir(parents=True)
        for number in range(3):
            shade = 60 * index + 20 * number
            Image.new("RGB", (12 + number, 9), (shade, 0, 0)).save(Path("photos", name, f"{number}.png"))
    Path("code_for_photos.py").write_text(CODE.replace("64, 10", "3 * 6 * 5, 2"))
    asked = ("evaluate", "code_for_photos:make", "--data", "folder:photos", "--image-size")
    try:
        assert "6 samples" in noiseproof.done(*asked, "6,5")
        assert "(6, 3, 5, 5)" in noiseproof.mistake(*asked, "5,5")
    finally:
        sys.modules.pop("code_for_photos", None)


@needs_torchattacks
def test_an_attack_is_measured_beside_noise(noiseproof: CommandLine, good: Path) -> None:
    asked = ("evaluate", good, "-p", "clean", "-p", "fgsm:0.1", "--limit", "60", "--format")
    shown = noiseproof.done(*asked, "markdown")
    clean, attacked = rows_of(shown, "markdown")
    assert attacked[0] == "fgsm:0.1"
    assert attacked[1].startswith("≤ ")
    assert float(attacked[1].removeprefix("≤ ")) < float(clean[1])
    assert "bounds the robustness from above only" in shown
    records = records_of(noiseproof.done(*asked, "csv"))
    assert [record["upper_bound_only"] for record in records] == ["False", "True"]


def test_a_report_of_an_earlier_version_is_measured_anew(noiseproof: CommandLine, good: Path) -> None:
    save_in_format_1(report({"clean": [9], "gaussian:0.2": [5, 7]}), good / "evaluation")
    outcome = noiseproof("evaluate", good)
    assert outcome.code == 0
    assert outcome.err.startswith("evaluate: done")
    assert "360 samples" in outcome.out
    assert len(RobustnessReport.load(good / "evaluation").labels) == 360


def test_other_data_with_labels_outside_the_classes_costs_a_run_nothing(noiseproof: CommandLine, good: Path) -> None:
    noiseproof.done("evaluate", good)
    before = contents(good)
    source = archive(Path("other.npz"), good, y=np.arange(360) % 13)
    outcome = noiseproof("evaluate", good, "--data", source)
    assert outcome.code == 1
    assert "(10), those of the data 0, 1, 2, 3, 4 … (13)" in outcome.err
    assert contents(good) == before


# What has to be said


@pytest.mark.parametrize("layout", FORMATS)
def test_a_run_chosen_on_the_test_set_says_so_in_every_format(
    noiseproof: CommandLine, warned: Path, layout: str
) -> None:
    shown = noiseproof.done("evaluate", warned, "--format", layout)
    assert CAVEAT in " ".join(shown.split())
    assert json.loads((warned / "evaluation" / "report.json").read_text(encoding="utf-8"))["caveat"] == CAVEAT
    if layout == "csv":
        assert [record["caveat"] for record in records_of(shown)] == [CAVEAT, CAVEAT]


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "warned", "--limit", "20"),
        ("evaluate", "warned", "--against", "good"),
        ("evaluate", "good", "--against", "warned"),
        ("evaluate", "warned", "--corruptions", "corrupted"),
        ("certify", "warned", "--sigma", "0.25", "--n", "20", "--limit", "3"),
    ],
)
def test_a_run_chosen_on_the_test_set_says_so_whatever_is_measured(
    noiseproof: CommandLine, good: Path, warned: Path, corrupted: Path, arguments: tuple[str, ...]
) -> None:
    assert CAVEAT in " ".join(noiseproof.done(*arguments).split())


# Against another model


@pytest.mark.parametrize("layout", ["terminal", "markdown", "latex"])
def test_two_runs_are_compared_on_the_same_draws(noiseproof: CommandLine, good: Path, poor: Path, layout: str) -> None:
    shown = noiseproof.done("evaluate", good, "--against", poor, "--draws", "3", "--format", layout)
    one, other = (RobustnessReport.load(run / "evaluation") for run in (good, poor))
    paired = compare_reports(one, other)
    rows = rows_of(shown, layout)
    assert len(rows) == 2
    for row, each in zip(rows, paired.values(), strict=True):
        assert row[:3] == [each.key, f"{100 * one[each.key].mean:.1f}", f"{100 * other[each.key].mean:.1f}"]
        assert row[3] == f"+{100 * (one[each.key].mean - other[each.key].mean):.1f}"
        assert row[4] == f"+{100 * each.low:.1f} to +{100 * each.high:.1f}"
        assert row[5:] == ["< 0.0001", "first better"]
    assert "Normal training, seed 0 against Only noisy inputs, seed 0" in shown


def test_the_other_way_round_the_second_is_better(noiseproof: CommandLine, good: Path, poor: Path) -> None:
    rows = rows_of(noiseproof.done("evaluate", poor, "--against", good, "--format", "markdown"), "markdown")
    assert {row[6] for row in rows} == {"second better"}
    assert all(row[3].startswith("−") for row in rows)


def test_differences_as_csv(noiseproof: CommandLine, good: Path, poor: Path) -> None:
    shown = noiseproof.done("evaluate", good, "--against", poor, "--format", "csv")
    paired = compare_reports(*(RobustnessReport.load(run / "evaluation") for run in (good, poor)))
    for record, each in zip(records_of(shown), paired.values(), strict=True):
        assert record["key"] == each.key
        for name in ("a_mean", "b_mean", "difference", "low", "high", "p_value"):
            assert float(record[name]) == getattr(each, name)


def test_a_run_does_not_differ_from_itself(noiseproof: CommandLine, good: Path) -> None:
    shown = noiseproof.done("evaluate", good, "--against", good, "--format", "markdown")
    for row in rows_of(shown, "markdown"):
        assert row[3:] == ["+0.0", "+0.0 to +0.0", "1", "no difference shown"]


def test_both_are_measured_under_what_is_asked_for(noiseproof: CommandLine, good: Path, poor: Path) -> None:
    asked = ("-p", "uniform:0.3", "--draws", "2", "--limit", "50", "--seed", "4", "--format", "markdown")
    shown = noiseproof.done("evaluate", good, "--against", poor, *asked)
    (row,) = rows_of(shown, "markdown")
    accuracies = []
    for folder in (good, poor):
        run = npf.Run(folder)
        data = run.data().test.subset(torch.arange(50) * 360 // 50)
        accuracies.append(npf.evaluate(run.model(), data, ["uniform:0.3"], draws=2, seed=4)["uniform:0.3"].mean)
    assert row[:3] == ["uniform:0.3", *(f"{100 * accuracy:.1f}" for accuracy in accuracies)]
    assert "50 samples" in shown


def test_a_run_is_compared_with_a_factory_on_given_data(noiseproof: CommandLine, good: Path, code: str) -> None:
    source = archive(Path("test.npz"), good)
    shown = noiseproof.done("evaluate", good, "--against", code, "--data", source, "--format", "markdown")
    (row,) = rows_of(shown, "markdown")
    run = npf.Run(good)
    assert row[1] == f"{100 * npf.evaluate(run.model(), run.data().test)['clean'].mean:.1f}"
    assert row[6] == "first better"
    assert f"against {code}" in shown


def test_runs_whose_recipes_ask_for_other_draws_are_compared(noiseproof: CommandLine, good: Path, poor: Path) -> None:
    recipe = (poor / "recipe.yaml").read_text()
    assert "draws: 2" in recipe
    (poor / "recipe.yaml").write_text(recipe.replace("draws: 2", "draws: 3"))
    shown = noiseproof.done("evaluate", good, "--against", poor, "--format", "markdown")
    assert [row[0] for row in rows_of(shown, "markdown")] == ["clean", "gaussian:0.2"]


def test_the_accuracy_of_each_class_stands_in_the_csv(noiseproof: CommandLine, good: Path) -> None:
    shown = noiseproof.done("evaluate", good, "-p", "clean", "-p", "gaussian:0.2", "--by-class", "--format", "csv")
    report = npf.Run(good).report()
    assert report is not None
    for row in csv.DictReader(io.StringIO(shown)):
        found = [float(row[f"accuracy of {name}"]) for name in report.class_names]
        np.testing.assert_allclose(found, report.per_class(row["perturbation"]))


def test_what_two_models_are_compared_by_does_not_replace_what_a_run_keeps(
    noiseproof: CommandLine, good: Path, poor: Path
) -> None:
    noiseproof.done("evaluate", good, "--draws", "3")
    kept = npf.Run(good).report()
    noiseproof.done("evaluate", good, "--against", poor, "--draws", "2")
    assert npf.Run(good).report() == kept
    assert npf.Run(poor).report() is not None


def test_runs_on_other_samples_are_not_compared(noiseproof: CommandLine, good: Path, poor: Path) -> None:
    recipe = (poor / "recipe.yaml").read_text()
    changed = recipe.replace("test_fraction: 0.2", "test_fraction: 0.3")
    (poor / "recipe.yaml").write_text(re.sub(r"data_fingerprint: \w+", "data_fingerprint: null", changed))
    outcome = noiseproof("evaluate", good, "--against", poor)
    assert outcome.code == 2
    assert "not have the same test data (data.test_fraction: 0.2 and 0.3)" in outcome.err.splitlines()[-1]
    assert outcome.out == ""


def test_a_second_model_that_is_none_is_told_before_the_first_is_measured(noiseproof: CommandLine, good: Path) -> None:
    assert "nowhere" in noiseproof.mistake("evaluate", good, "--against", "nowhere")


# Methods against methods


def test_a_comparison_tells_the_differences_of_its_last_method_to_every_other(
    noiseproof: CommandLine, tiny: Path
) -> None:
    noiseproof.done("compare", tiny, "--methods", "normal,mixed,noisy", "--seeds", "0,1", "--out", "out")
    made = npf.compare(str(tiny), ["normal", "mixed", "noisy"], [0, 1], out="out")
    expected = [
        method_difference_table(compare_methods(made, "noisy", other), made.method_titles).to_markdown()
        for other in ("normal", "mixed")
    ]
    assert Path("out/differences.md").read_text(encoding="utf-8") == "\n".join(expected)
    assert "Only noisy inputs against Normal training" in expected[0]


def test_a_comparison_of_one_method_tells_of_no_difference(noiseproof: CommandLine, tiny: Path) -> None:
    noiseproof.done("compare", tiny, "--methods", "normal", "--seeds", "0", "--out", "out")
    assert "against" not in Path("out/differences.md").read_text(encoding="utf-8")


def test_differences_of_weights_chosen_on_the_test_set_say_so(noiseproof: CommandLine, tiny: Path) -> None:
    changes = ("--set", "preset=authors-code", "--set", "train.keep=best-test")
    noiseproof.done("compare", tiny, "--methods", "normal,noisy", "--seeds", "0", "--out", "out", *changes)
    assert CAVEAT in Path("out/table.md").read_text(encoding="utf-8")
    assert CAVEAT in Path("out/differences.md").read_text(encoding="utf-8")


# Corruptions


@pytest.fixture
def corrupted(trained: Path, tmp_path: Path) -> Path:
    """Forty test images in the layout of CIFAR-10-C, brighter and brighter, and turned to noise little by little."""
    data = npf.Run(trained / "good").data().test.subset(torch.arange(40) * 9)
    images = (np.stack([x.numpy() for x, _ in data]) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    noise = np.random.default_rng(0).integers(0, 256, images.shape).astype(np.float64)
    folder = tmp_path / "corrupted"
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(data.labels.numpy(), 5))
    for name, other in (("brightness", 255), ("speckle_noise", noise)):
        stages = [(images * (1 - share) + other * share).astype(np.uint8) for share in (0.1, 0.3, 0.5, 0.7, 1.0)]
        np.save(folder / f"{name}.npy", np.concatenate(stages))
    return folder


def accuracies_on(folder: Path, run: Path) -> dict[str, list[float]]:
    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    model = npf.Run(run).model()
    found = {}
    for name in ("brightness", "speckle_noise"):
        images = torch.from_numpy(np.load(folder / f"{name}.npy")).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            right = model(images).argmax(1) == labels
        found[name] = right.view(5, 40).double().mean(1).tolist()
    return found


@pytest.mark.parametrize("layout", ["terminal", "markdown", "latex"])
def test_corrupted_images_are_measured(noiseproof: CommandLine, good: Path, corrupted: Path, layout: str) -> None:
    before = contents(good)
    shown = noiseproof.done("evaluate", good, "--corruptions", corrupted, "--format", layout, "--out", "saved")
    expected = accuracies_on(corrupted, good)
    for row, (name, accuracies) in zip(rows_of(shown, layout), expected.items(), strict=True):
        assert row == [name, *(f"{100 * each:.2f}" for each in (*accuracies, sum(accuracies) / 5))]
    saved = CorruptionReport.load("saved")
    assert saved.accuracies.tolist() == [pytest.approx(accuracies) for accuracies in expected.values()]
    assert f"{100 * (1 - sum(expected['brightness']) / 5):.2f}" in shown  # speckle is not of the benchmark's 15
    assert contents(good) == before
    assert 0.1 < sum(expected["brightness"]) / 5 < 0.95


def test_corrupted_images_as_csv(noiseproof: CommandLine, good: Path, corrupted: Path) -> None:
    records = records_of(noiseproof.done("evaluate", good, "--corruptions", corrupted, "--format", "csv"))
    told = {name: [float(each["accuracy"]) for each in records if each["corruption"] == name]
            for name in ("brightness", "speckle_noise")}  # fmt: skip
    expected = accuracies_on(corrupted, good)
    assert {name: pytest.approx(accuracies) for name, accuracies in expected.items()} == told
    assert [record["severity"] for record in records] == list("12345") * 2


def test_corruption_errors_relative_to_another_model(
    noiseproof: CommandLine, good: Path, poor: Path, corrupted: Path
) -> None:
    asked = ("evaluate", good, "--corruptions", corrupted, "--against", poor, "--format", "markdown")
    ours, theirs = (sum(1 - each for each in accuracies_on(corrupted, run)["brightness"]) for run in (good, poor))
    assert f"{100 * ours / theirs:.2f} %" in noiseproof.done(*asked)


def test_a_limit_holds_for_corrupted_images_too(noiseproof: CommandLine, good: Path, corrupted: Path) -> None:
    noiseproof.done("evaluate", good, "--corruptions", corrupted, "--limit", "7", "--out", "saved")
    assert CorruptionReport.load("saved").samples == 7


# Certify


def test_certify_saves_below_the_run_and_shows_the_certificates(noiseproof: CommandLine, good: Path) -> None:
    asked = ("certify", good, "--sigma", "0.25", "--n", "100", "--n0", "20", "--alpha", "0.01", "--limit", "20")
    shown = noiseproof.done(*asked, "--seed", "3", "--format", "markdown")
    found = Certification.load(good / "certification" / "sigma-0.25")
    run = npf.Run(good)
    assert found == npf.certify(run.model(), run.data().test, 0.25, 20, 100, 0.01, seed=3, limit=20)
    assert len(found.labels) == 20
    assert found.mean_radius > 0
    rows = rows_of(shown, "markdown")
    assert [row[0] for row in rows] == ["0", "0.125", "0.25", "0.375", "0.5", "0.625", "0.75"]
    for radius, accuracy in rows:
        right = [sure for sure, label, answer in zip(found.radii, found.labels, found.predictions, strict=True)
                 if label == answer and sure >= float(radius)]  # fmt: skip
        assert accuracy == f"{100 * len(right) / 20:.1f}"
    assert "smoothed" in shown


@pytest.mark.parametrize("layout", FORMATS)
def test_the_same_seed_gives_the_same_certificates(noiseproof: CommandLine, good: Path, layout: str) -> None:
    asked = ("certify", good, "--sigma", "0.3", "--n", "30", "--n0", "10", "--limit", "10", "--format", layout)
    one, again = (noiseproof.done(*asked, "--out", folder) for folder in ("one", "again"))
    assert one == again
    assert contents(Path("one")) == contents(Path("again"))
    assert contents(Path("one")).keys() == {"certification.json", "certification.npz"}
    assert not (good / "certification").exists()


def test_another_seed_gives_other_certificates(noiseproof: CommandLine, good: Path) -> None:
    asked = ("certify", good, "--sigma", "0.3", "--n", "30", "--limit", "10")
    for seed in ("0", "1"):
        noiseproof.done(*asked, "--seed", seed, "--out", f"seed-{seed}")
    assert Certification.load("seed-0").radii.tolist() != Certification.load("seed-1").radii.tolist()


def test_every_sigma_has_its_own_certificates(noiseproof: CommandLine, good: Path) -> None:
    for sigma in ("0.25", "0.5", "1"):
        noiseproof.done("certify", good, "--sigma", sigma, "--n", "10", "--limit", "2")
    names = {path.name for path in (good / "certification").iterdir()}
    assert names == {"sigma-0.25", "sigma-0.5", "sigma-1"}


def test_certificates_as_csv_for_given_radii(noiseproof: CommandLine, good: Path) -> None:
    asked = ("--n", "100", "--limit", "20", "--radii", "0, 0.1,0.3", "--format", "csv")
    records = records_of(noiseproof.done("certify", good, "--sigma", "0.5", *asked))
    found = Certification.load(good / "certification" / "sigma-0.5")
    assert [float(record["radius"]) for record in records] == [0, 0.1, 0.3]
    for record in records:
        assert float(record["certified_accuracy"]) == found.certified_accuracy(float(record["radius"]))


def test_radii_are_not_rounded_in_csv(noiseproof: CommandLine, good: Path) -> None:
    """Neither is what is certified for them: at the largest radius of all, one digit more decides."""
    asked = ("certify", good, "--sigma", "0.3", "--n", "100", "--limit", "20", "--format", "csv")
    noiseproof.done(*asked)
    found = Certification.load(good / "certification" / "sigma-0.3")
    largest = float(found.radii[found.correct].max())
    (record,) = records_of(noiseproof.done(*asked, "--radii", repr(largest)))
    assert float(record["radius"]) == largest
    assert float(record["certified_accuracy"]) == found.certified_accuracy(largest)


def test_certifying_what_is_no_run_keeps_nothing_unless_told(noiseproof: CommandLine, code: str) -> None:
    before = contents(Path())
    asked = ("certify", code, "--data", "digits", "--sigma", "0.2", "--n", "20", "--limit", "5")
    assert "5 samples" in noiseproof.done(*asked)
    assert contents(Path()) == before
    noiseproof.done(*asked, "--out", "there")
    assert len(Certification.load("there").labels) == 5


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "code_of_exit", "named"),
    [
        ("--mean text --std 1", 2, "--mean must be numbers with commas between, got 'text'"),
        ("--mean 0.5 --std much", 2, "--std must be numbers"),
        ("--mean 0.5", 2, "mean and std go together"),
        ("--mean 0.5 --std 0", 2, "std must be > 0"),
        ("--mean , --std ,", 2, "mean and std"),
        ("--mean 0.5,0.5,0.5 --std 1,1,1", 2, "1 channels, but mean and std have 3 values"),
        ("--mean nan --std 1", 2, "finite"),
        ("--image-size 3", 2, "--image-size must be height and width, as 224,224, got '3'"),
        ("--image-size 3,4,5", 2, "--image-size"),
        ("--image-size 0,4", 2, "--image-size"),
        ("--image-size x", 2, "--image-size"),
        ("--format nope", 2, "--format"),
        ("--limit 0", 2, "limit must be >= 1, got 0"),
        ("--limit -3", 2, "limit"),
        ("--limit some", 2, "--limit"),
        ("--seed x", 2, "--seed"),
        ("--batch-size 0", 2, "batch_size must be >= 1, got 0"),
        ("--draws 0", 2, "draws must be >= 1, got 0"),
        ("--device nope", 2, "nope"),
        ("--device cuda:many", 2, "cuda:many"),
        ("--device=", 2, "device"),
        ("--perturb fgsn:0.1", 2, "fgsn"),
        ("--corruptions nowhere", 1, "nowhere"),
        ("--corruptions .", 1, "labels.npy"),
        ("--data nope", 2, "unknown data source 'nope'"),
        ("--data npz:nowhere.npz", 1, "nowhere.npz"),
    ],
)
def test_mistakes_about_a_model(
    noiseproof: CommandLine, code: str, arguments: str, code_of_exit: int, named: str
) -> None:
    before = contents(Path())
    given = ("evaluate", code, "--data", "digits", *arguments.split())
    outcome = noiseproof(*given)
    assert named in one_line(outcome)
    assert outcome.code == code_of_exit
    assert {name for name in contents(Path()) if "__pycache__" not in name} == before.keys()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("", "--sigma"),
        ("--sigma -1", "sigma must be > 0, got -1.0"),
        ("--sigma 0", "sigma must be > 0"),
        ("--sigma x", "--sigma"),
        ("--sigma nan", "sigma"),
        ("--sigma 1 --n 0", "n must be >= 1, got 0"),
        ("--sigma 1 --n0 0", "n0 must be >= 1, got 0"),
        ("--sigma 1 --n many", "--n"),
        ("--sigma 1 --alpha 0", "alpha must be > 0"),
        ("--sigma 1 --alpha 1.5", "alpha"),
        ("--sigma 1 --limit 0", "limit must be >= 1, got 0"),
        ("--sigma 1 --batch-size 0", "batch_size"),
        ("--sigma 1 --seed -1", "seed must be >= 0, got -1"),
        ("--sigma 1 --format nope", "--format"),
        ("--sigma 1 --mean 0.5 --std 1", "leave out model, mean and std"),
        ("--sigma 1 --n 10 --limit 2 --device nope", "nope"),
        ("--sigma 1 --n 10 --limit 2 --radii x", "--radii must be numbers with commas between, got 'x'"),
        ("--sigma 1 --n 10 --limit 2 --radii=-1", "-1"),
        ("--sigma 1 --n 10 --limit 2 --radii ,", "--radii"),
        ("--sigma 1 --n 10 --limit 2 --radii , --format csv", "--radii"),
    ],
)
def test_mistakes_about_certificates(noiseproof: CommandLine, good: Path, arguments: str, named: str) -> None:
    before = contents(good)
    given = ("certify", good, *arguments.split())
    outcome = noiseproof(*given)
    assert named in one_line(outcome)
    assert outcome.code == 2
    assert contents(good) == before


@pytest.mark.parametrize("command", [("evaluate",), ("certify", "--sigma", "1", "--n", "5", "--limit", "1")])
def test_targets_that_are_none(noiseproof: CommandLine, good: Path, command: tuple[str, ...]) -> None:
    Path("empty").mkdir()
    Path("weights.pt").write_bytes(b"")
    shutil.copytree(good, "out/normal/seed-0")
    for target, code, named in (
        ("nowhere", 1, "nowhere is no run folder, no file, and not of the form package.module:factory"),
        ("empty", 1, "empty holds no run"),
        ("out", 1, "out/normal/seed-0"),
        ("weights.pt", 2, "--data"),
        ("nobodys_code:make", 2, "--data"),
    ):
        outcome = noiseproof(*command, target)
        assert named in one_line(outcome)
        assert outcome.code == code
    for target, code, named in (
        ("weights.pt", 2, "--model"),
        ("nobodys_code:make", 2, "No module named 'nobodys_code'"),
    ):
        outcome = noiseproof(*command, target, "--data", "digits")
        assert named in one_line(outcome)
        assert outcome.code == code
    line = noiseproof.mistake(*command, "weights.pt", "--data", "digits", "--model", "torchvision/resnet18")
    assert "cannot read weights from weights.pt" in line
    assert "leave out model" in noiseproof.mistake(*command, good, "--model", "small-cnn")
