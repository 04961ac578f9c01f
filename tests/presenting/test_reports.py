"""Reports on runs as a user asks for them: which runs belong together, what is refused, and what the page says."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, RunFolderError, UnknownNameError
from noiseproof.evaluation import RobustnessReport
from noiseproof.explaining import sections
from noiseproof.presenting import find_runs, group, joint_comparison
from noiseproof.presenting.describing import setup_of
from noiseproof.presenting.mistakes import worst_samples, worst_to_noise
from noiseproof.reporting import comparison_table
from noiseproof.training import Recipe, Run
from tests.cli.problems import TINY, contents
from tests.evaluation.problems import report
from tests.reporting.test_page import Reader
from tests.test_experiments import Watcher

HARD = "\N{NO-BREAK SPACE}"
DAY = 1_700_000_000  # 14 November 2023, wherever on Earth but near the date line


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.from_mapping(yaml.safe_load(TINY))


@pytest.fixture(scope="module")
def place(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of several methods, options and seeds."""
    folder = tmp_path_factory.mktemp("reports")
    npf.compare(recipe, ["noisy", "normal"], [0, 1], out=folder / "compared")
    for name, method, seed, changes in (
        ("weak", "discriminative", 0, {"methods.discriminative.lambda_noisy": 0.5}),
        ("strong", "discriminative", 0, {"methods.discriminative.lambda_noisy": 2}),
        ("long", "normal", 0, {"train.max_steps": 3}),
        ("loud", "normal", 0, {"noise.train": "gaussian:0.6"}),
        ("other-split", "normal", 0, {"data.split_seed": 1}),
    ):
        npf.train(recipe, method, seed, changes, folder / name)
    return folder


def page(places: Any, out: Path, **settings: Any) -> Reader:
    return Reader(npf.write_report(places, out / "page.html", **settings).read_text(encoding="utf-8"))


def titles(*folders: Path) -> list[str]:
    return [row.title for row in group(find_runs(folders))]


def test_a_preset_in_the_title_tells_the_options_that_come_with_it(tmp_path: Path) -> None:
    """All else in which runs differ is told, and options where runs share the preset."""
    few = {"train.max_steps": 2, "train.epochs": 1}
    given: dict[str, dict[str, Any]] = {
        "best": {"preset": "best"}, "paper": {}, "wide": {"methods.discriminative.delta_v": 0.9},
        "loud": {"preset": "best", "noise.train": "gaussian:0.9"},
    }  # fmt: skip
    for name, changes in given.items():
        npf.train("vectors", "discriminative", 0, {**few, **changes}, tmp_path / name)
    best, paper, wide, loud = (tmp_path / name for name in given)
    assert titles(best, paper) == ["Discriminative (best)", "Discriminative (paper)"]
    assert titles(paper, wide, best) == [
        "Discriminative (paper), delta_v 0.5", "Discriminative (paper), delta_v 0.9", "Discriminative (best)",
    ]  # fmt: skip
    assert titles(paper, loud) == ["Discriminative (paper), noise σ 0.5", "Discriminative (best), noise σ 0.9"]


# Which runs there are


def test_a_folder_of_a_comparison_stands_for_its_runs(place: Path) -> None:
    found = find_runs([place / "compared"])
    names = {str(run.folder.relative_to(place / "compared")) for run in found}
    assert names == {f"{method}/seed-{seed}" for method in ("noisy", "normal") for seed in (0, 1)}
    assert [run.folder for run in find_runs([place / "weak" / "model.safetensors"])] == [place / "weak"]


def test_a_run_named_twice_is_there_once(place: Path) -> None:
    twice = [place / "compared", place / "compared" / "normal" / "seed-0", str(place / "compared" / ".." / "compared")]
    assert len(find_runs(twice)) == 4
    assert len(find_runs([Run(place / "weak"), place / "weak"])) == 1


def test_what_did_not_finish_is_left_out_and_told(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "compared", tmp_path / "c")
    (tmp_path / "c" / "noisy" / "seed-1" / "model.safetensors").unlink()
    with pytest.warns(UserWarning, match="did not finish: .*noisy/seed-1"):
        assert len(find_runs([tmp_path / "c"])) == 3


@pytest.mark.parametrize(
    ("made", "said"), [("missing", "no folder"), ("empty", "holds no run"), ("file.txt", "no folder")]
)
def test_places_without_a_run(tmp_path: Path, made: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(RunFolderError, match=said):
        find_runs([tmp_path / made])


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="at least one run"):
        npf.write_report([], tmp_path / "page.html")


# Rows


def test_runs_that_differ_in_the_seed_alone_are_one_row(place: Path) -> None:
    rows = group(find_runs([place / "compared"]))
    assert [(row.key, row.title) for row in rows] == [("normal", "Normal training"), ("noisy", "Only noisy inputs")]
    assert [list(row.runs) for row in rows] == [[0, 1], [0, 1]]


def test_options_of_a_method_make_rows_named_by_them(place: Path) -> None:
    assert titles(place / "weak", place / "compared", place / "strong") == [
        "Normal training",
        "Only noisy inputs",
        "Discriminative (paper), lambda_noisy 0.5",
        "Discriminative (paper), lambda_noisy 2.0",
    ]


def test_rows_are_named_by_what_tells_them_from_others_of_their_method_alone(place: Path) -> None:
    normal = place / "compared" / "normal" / "seed-0"
    assert titles(normal, place / "long", place / "weak") == [
        "Normal training, max_steps 2", "Normal training, max_steps 3", "Discriminative (paper)",
    ]  # fmt: skip
    assert titles(normal, place / "loud") == ["Normal training, noise σ 0.3", "Normal training, noise σ 0.6"]
    assert titles(place / "loud", place / "weak") == ["Normal training", "Discriminative (paper)"]


def test_how_runs_were_measured_and_what_their_recipe_is_called_makes_no_rows(recipe: Recipe, tmp_path: Path) -> None:
    npf.train(recipe, "normal", 0, out=tmp_path / "a")
    npf.train(recipe, "normal", 1, {"name": "renamed", "evaluate.draws": 5, "description": "x"}, tmp_path / "b")
    (row,) = group(find_runs([tmp_path / "a", tmp_path / "b"]))
    assert list(row.runs) == [0, 1]


def test_the_same_training_twice_is_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "weak", tmp_path / "copy")
    with pytest.raises(InvalidArgumentError, match="the same training"):
        npf.write_report([place / "weak", tmp_path / "copy"], tmp_path / "page.html")


# What is measured, and on what


def test_a_run_that_was_not_measured_is_measured_once_and_keeps_the_report(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "weak", tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    watcher = Watcher()
    page(tmp_path / "run", tmp_path, progress=watcher)
    assert watcher.of("evaluate") == ["evaluate"]
    kept = Run(tmp_path / "run").report()
    assert kept is not None
    assert list(kept) == ["clean", "gaussian:0.2"]
    page(tmp_path / "run", tmp_path, progress=watcher)
    assert watcher.begun == ["evaluate"]


def test_what_was_measured_is_shown_whatever_it_was(place: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(place / "weak", tmp_path / "run"))
    npf.experiments.evaluate_run(run, ["clean", "uniform:0.4"], draws=2)
    read = page(run, tmp_path)
    assert "uniform:0.4" in " ".join(read.text("h2"))


def test_runs_with_other_test_samples_are_refused_by_name(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="do not have the same test data") as caught:
        npf.write_report([place / "weak", place / "other-split"], tmp_path / "page.html")
    assert "other-split" in str(caught.value)
    assert contents(tmp_path) == {}


def with_report(run: Run, tmp_path: Path, found: RobustnessReport) -> Run:
    copy = Run(shutil.copytree(run.folder, tmp_path / run.folder.name))
    copy.save_report(found)
    return copy


def test_perturbations_that_not_all_runs_were_measured_under_are_left_out_and_told(
    place: Path, tmp_path: Path
) -> None:
    rows = group(find_runs([place / "weak", place / "loud"]))
    reports = {
        place / "weak": report({"clean": [9], "gaussian:0.1": [7, 7]}),
        place / "loud": report({"gaussian:std=0.1": [5, 5], "uniform:0.1": [5, 5], "clean": [8]}),
    }
    with pytest.warns(UserWarning, match="not measured on all runs: uniform:0.1$"):
        made = joint_comparison("t", rows, reports)
    assert set(made.perturbations) == {"gaussian:std=0.1", "clean"}
    assert "Normal training" in str(comparison_table(made))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (report({"uniform:0.1": [5, 5]}), "no perturbation was measured on all"),
        (report({"clean": [5], "gaussian:0.1": [5, 5, 5]}), "other seeds or numbers of draws"),
        (report({"clean": [5], "gaussian:0.1": [5, 5]}, seed=1), "other seeds or numbers of draws"),
    ],
)
def test_runs_measured_otherwise_are_refused_with_what_to_do(place: Path, other: RobustnessReport, said: str) -> None:
    rows = group(find_runs([place / "loud", place / "weak"]))
    reports = {place / "loud": report({"clean": [9], "gaussian:0.1": [7, 7]}), place / "weak": other}
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        joint_comparison("t", rows, reports)
    assert f"noiseproof evaluate {place / 'weak'}" in str(caught.value)


# The page


def test_the_page_of_a_comparison_is_the_page_of_its_runs_but_for_the_occasion(place: Path, tmp_path: Path) -> None:
    ours = npf.write_report(place / "compared", tmp_path / "page.html").read_text(encoding="utf-8")
    theirs = (place / "compared" / "report.html").read_text(encoding="utf-8")
    occasion = re.compile(r'<p class="lead">The 4 runs ended on [^<]*</p>\n')
    assert len(occasion.findall(ours)) == 1
    assert not occasion.search(theirs)
    # compare was asked for "noisy" first, so its recipe and rows are in that order
    same = [line for line in occasion.sub("", ours).splitlines() if "σ" in line and "<p" in line]
    assert same == [line for line in theirs.splitlines() if "σ" in line and "<p" in line]


def test_what_was_trained_is_told_in_sentences(place: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(place / "compared", tmp_path / "runs"))
    for weights in folder.rglob("model.safetensors"):
        os.utime(weights, (DAY, DAY))
    said = [text.replace(HARD, " ") for text in page(folder, tmp_path).text("p")][1:4]
    assert said[0] == (
        "Two training methods were applied to digits (1,293 training samples of 8×8 pixels, 10 classes), with the "
        "network small-cnn, for at most 2 steps, with seeds 0 and 1. Noisy training inputs carry Gaussian noise of "
        "σ 0.3."
    )
    assert (
        said[1] == "All were tested on the same 360 samples, on clean inputs and under one perturbation with 2 draws."
    )
    assert re.fullmatch(r"The 4 runs ended on 1[45] November 2023 and took \d+ s of training on .*\.", said[2])


def test_runs_with_other_numbers_of_training_samples_are_told_so(place: Path, recipe: Recipe, tmp_path: Path) -> None:
    for share in (0.5, 0.25):
        npf.train(recipe, "normal", 0, {"data.train_fraction": share}, tmp_path / str(share))
    whole, half, quarter = place / "compared" / "normal" / "seed-0", tmp_path / "0.5", tmp_path / "0.25"
    sizes = [len(Run(folder).data().train) for folder in (half, quarter)]
    assert f"({sizes[0]} or 1,293 training samples of" in page([half, whole], tmp_path).text("p")[1]
    assert f"({sizes[1]} to 1,293 training samples of" in page([half, whole, quarter], tmp_path).text("p")[1]
    assert f"({sizes[0]} training samples of" in page(half, tmp_path).text("p")[1]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"gaussian:0.1": [5, 5, 5], "uniform:0.1": [5, 5, 5]}, "two perturbations with 3 draws each."),
        ({"gaussian:0.1": [5, 5], "uniform:0.1": [5] * 3}, "two perturbations with 2 to 3 draws each."),
        (
            {"gaussian:0.1": [5] * 3, "uniform:0.1": [5] * 3, "jpeg:20": [5]},
            "three perturbations with 3 draws of each random one.",
        ),
        ({"gaussian:0.1": [5] * 3, "jpeg:20": [5]}, "two perturbations with 3 draws of the random one."),
        ({"gaussian:0.1": [5], "jpeg:20": [5]}, "two perturbations."),
        ({"jpeg:20": [5]}, "one perturbation."),
    ],
)
def test_draws_are_told_of_what_is_random(place: Path, counts: dict[str, list[int]], said: str) -> None:
    rows = group(find_runs([place / "weak"]))
    made = joint_comparison("t", rows, {place / "weak": report({"clean": [9], **counts})})
    setup = setup_of(rows, made, Run(place / "weak").data(), occasion=False)
    assert setup.sentences[1].endswith(f" samples, on clean inputs and under {said}")


def test_one_run_is_told_of_as_one(place: Path, tmp_path: Path) -> None:
    said = page(place / "weak", tmp_path).text("p")[1:4]
    assert said[0].startswith("“Discriminative (paper)” was applied to digits")
    assert said[1].startswith("It was tested on 360 samples")
    assert said[2].startswith("The run ended on ")


def test_a_lost_log_is_no_obstacle(place: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(place / "weak", tmp_path / "run"))
    (copy / "metrics.jsonl").unlink()
    said = " ".join(page(copy, tmp_path).text("p"))
    assert "The run ended on" in said
    assert "of training on" not in said


def test_differences_of_recipes_are_a_table_and_the_recipe_is_shown(place: Path, tmp_path: Path) -> None:
    read = page([place / "weak", place / "strong", place / "loud"], tmp_path)
    cells = [" ".join(cell.split()) for cell in read.cells]
    at = cells.index("methods.discriminative.lambda_noisy")
    assert cells[at : at + 4] == ["methods.discriminative.lambda_noisy", "", "0.5", "2.0"]
    at = cells.index("noise.train")
    assert cells[at : at + 4] == ["noise.train", "gaussian:0.6", "gaussian:0.3", "gaussian:0.3"]
    (recipe,) = read.text("pre")
    assert yaml.safe_load(recipe)["provenance"]["data_fingerprint"] == Run(place / "weak").data().fingerprint()
    assert not any("Settings in which" in text for text in page(place / "compared", tmp_path).text("caption"))


def test_title_and_noise_are_asked_for(place: Path, tmp_path: Path) -> None:
    read = page(place / "compared", tmp_path, title="My sensors", noise="clean")
    assert read.text("h1") == ["My sensors"]
    assert read.text("h2")[0].startswith("On clean inputs")
    with pytest.raises(UnknownNameError, match=r"did you mean 'gaussian:0\.2'"):
        page(place / "compared", tmp_path, noise="gaussian:0.3")


def test_analyses_are_made_when_asked_for_and_shown_from_then_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sections.Explanation
    monkeypatch.setattr(sections, "Explanation", lambda run, **settings: whole(run, **settings, limit=20))
    folder = Path(shutil.copytree(place / "compared", tmp_path / "runs"))
    watcher = Watcher()
    assert "How curved the loss is" not in page(folder, tmp_path, progress=watcher).text("h2")
    assert watcher.begun == []
    assert "How curved the loss is" in page(folder, tmp_path, explain=True, progress=watcher).text("h2")
    begun = len(watcher.begun)
    assert begun > 0
    assert (folder / "explanation.json").is_file()
    assert "How curved the loss is" in page(folder, tmp_path, progress=watcher).text("h2")
    assert "How curved the loss is" not in page(folder, tmp_path, explain=False, progress=watcher).text("h2")
    assert len(watcher.begun) == begun


# The file


def test_only_pages_of_noiseproof_are_replaced(place: Path, tmp_path: Path) -> None:
    path = npf.write_report(place / "weak", tmp_path / "deep" / "page.html")
    assert npf.write_report(place / "weak", path) == path
    path.write_text("<p>my own page, with noiseproof in it</p>")
    with pytest.raises(RunFolderError, match=r"page\.html is there and is no page of noiseproof"):
        npf.write_report(place / "weak", path)
    assert path.read_text().startswith("<p>my own")
    with pytest.raises(RunFolderError, match="is a folder"):
        npf.write_report(place / "weak", tmp_path)


# The worst examples


def test_the_worst_samples_are_right_when_clean_and_wrong_most_often() -> None:
    made = report({"clean": [6], "gaussian:0.1": [9, 4, 2]})
    assert worst_samples(made, "clean", "gaussian:0.1", 10).tolist() == [4, 5, 2, 3]
    made["clean"].confidence[0, 5] = 0.95
    assert worst_samples(made, "clean", "gaussian:0.1", 3).tolist() == [5, 4, 2]


def test_their_answers_are_those_behind_the_report(place: Path) -> None:
    run = Run(place / "compared" / "normal" / "seed-0")
    found, test = run.report(), run.data().test
    assert found is not None
    # A model that is right when clean and wrong under noise now and then, so that there is something to show.
    model = run.model()
    torch.nn.init.normal_(model.head.weight, std=3.0, generator=torch.Generator().manual_seed(1))
    found = npf.evaluate(model, test, ["clean", "gaussian:0.5"], draws=3, seed=5)
    shown = worst_to_noise("“A”", model, test, found, "gaussian:0.5", count=4)
    assert shown is not None
    assert 2 <= len(shown.samples) <= 4
    for sample in shown.samples:
        assert sample.wrong == int((~found["gaussian:0.5"].correct[:, sample.index]).sum()) > 0
        assert found["clean"].correct[0, sample.index]
        assert sample.class_name == test.class_names[int(test.labels[sample.index])] != sample.answer
        assert np.array_equal(sample.clean, test[sample.index][0].numpy())
        assert sample.clean_probability == pytest.approx(found["clean"].confidence[0, sample.index], abs=1e-5)
        with torch.no_grad():
            again = model(torch.from_numpy(sample.noisy[None])).softmax(1)[0]
        assert sample.answer == test.class_names[int(again.argmax())]
        assert sample.probability == pytest.approx(float(again.max()), abs=1e-5)


def test_vectors_have_no_pictures_and_series_have_lines(tmp_path: Path) -> None:
    changes = {"train.max_steps": 30, "train.epochs": 3, "evaluate.draws": 2}
    for name in ("vectors", "series"):
        npf.train(name, "normal", 0, changes, tmp_path / name)
    assert "Where noise does most harm" not in page(tmp_path / "vectors", tmp_path).text("h2")
    lines = [svg for svg in page(tmp_path / "series", tmp_path).all("svg") if svg.get("class") == "spark"]
    assert lines
    assert {svg["role"] for svg in lines} == {"img"}
