"""``noiseproof predict`` and ``noiseproof export``, against what Python says of the same model."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import noiseproof as npf
from noiseproof.training import Recipe, Run
from tests.cli.problems import TINY, CommandLine, contents, one_line, run_python
from tests.cli.test_startup import HEAVY

CODE = """\
import torch
from torch import nn

def make():
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe.from_mapping(yaml.safe_load(TINY))
    return npf.train(recipe, "normal", 0, out=tmp_path_factory.mktemp("trained") / "run").folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run of one's own, in the working directory."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("b.png", "inner/ä ö.png"):
        Image.fromarray(random.integers(0, 256, (9, 8), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def code() -> Iterator[str]:
    """A factory in the working directory."""
    Path("code_to_ship.py").write_text(CODE)
    yield "code_to_ship:make"
    sys.modules.pop("code_to_ship", None)


@pytest.mark.parametrize("command", ["predict", "export"])
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


# Predict


def test_answers_in_every_format_are_those_of_python(noiseproof: CommandLine, run: Path, photos: Path) -> None:
    found = npf.predict(run, photos, perturb="gaussian:0.4", draws=5, seed=2, top=2)
    assert [Path(each.name).name for each in found] == ["b.png", "ä ö.png"]
    asked = ("predict", run, photos, "-p", "gaussian:0.4", "--draws", "5", "--seed", "2", "--top", "2", "--format")

    told = json.loads(noiseproof.done(*asked, "json"))
    assert {key: told[key] for key in ("perturbation", "draws", "seed", "failures")} == {
        "perturbation": "gaussian:0.4", "draws": 5, "seed": 2, "failures": [],
    }  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(noiseproof.done(*asked, "csv"))))
    shown = noiseproof.done(*asked, "terminal")
    for answer, entry, row in zip(found, told["predictions"], rows, strict=True):
        assert (entry["input"], entry["class"], entry["probability"]) == (
            answer.name, answer.class_name, answer.probability
        )  # fmt: skip
        assert (entry["stability"], entry["stability_interval_95"]) == (answer.stability, list(answer.interval))
        assert [(each["class"], each["probability"]) for each in entry["top"]] == list(answer.top)
        assert (row["input"], row["class"], float(row["probability"])) == (
            answer.name, answer.class_name, answer.probability
        )  # fmt: skip
        assert (row["class_2"], float(row["probability_2"])) == answer.top[1]
        assert (float(row["stability"]), int(row["agreeing"]), int(row["draws"])) == (
            answer.stability, answer.agreeing, 5
        )  # fmt: skip
        (line,) = [line for line in shown.splitlines() if answer.name in line]
        assert re.search(rf" {answer.class_name} +{100 * answer.probability:.1f} ", line)
        assert f"{100 * answer.stability:.0f} ({answer.agreeing} of 5)" in line
    assert "5 draws of gaussian:0.4 (seed 2)" in shown


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(noiseproof: CommandLine, run: Path, photos: Path) -> None:
    (photos / "broken.jpg").write_text("no picture")
    outcome = noiseproof("predict", run, "nowhere.png", photos, "--format", "csv")
    assert outcome.code == 1
    assert [row["input"] for row in csv.DictReader(io.StringIO(outcome.out))] == [
        str(photos / "b.png"), str(photos / "inner" / "ä ö.png"),
    ]  # fmt: skip
    wrong = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert wrong[0] == "error: nowhere.png does not exist"
    assert wrong[1].startswith(f"error: cannot read the picture {photos / 'broken.jpg'}")
    assert len(wrong) == 2
    told = json.loads(noiseproof("predict", run, "nowhere.png", photos, "--format", "json").out)
    assert [each["input"] for each in told["failures"]] == ["nowhere.png", str(photos / "broken.jpg")]


@pytest.mark.parametrize("layout", ["terminal", "csv"])
def test_nothing_to_answer_leaves_standard_output_empty(noiseproof: CommandLine, run: Path, layout: str) -> None:
    Path("empty").mkdir()
    outcome = noiseproof("predict", run, "empty", "--format", layout)
    assert (outcome.code, outcome.out) == (1, "")
    assert "the folder empty holds no pictures (.bmp, " in outcome.err


def test_predicting_changes_no_file_and_needs_no_data(noiseproof: CommandLine, run: Path, photos: Path) -> None:
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("source: digits", "source: folder:gone"))
    before = contents(Path())
    noiseproof.done("predict", run, photos)
    assert contents(Path()) == before


def test_a_model_that_is_no_run_takes_its_classes_from_data(noiseproof: CommandLine, code: str, photos: Path) -> None:
    asked = ("predict", code, photos, "--data", "digits")
    told = json.loads(noiseproof.done(*asked, "-p", "gaussian:0.1", "--format", "json"))
    assert [each["class"] in "0123456789" for each in told["predictions"]] == [True, True]
    assert "name one with --perturb" in noiseproof.mistake(*asked)


@pytest.mark.parametrize(
    ("arguments", "code_of_exit", "named"),
    [
        (["run"], 2, "inputs"),
        (["nowhere", "photos"], 1, "nowhere is no run folder"),
        (["photos", "photos"], 1, "photos holds no run"),
        (["run", "photos", "-p", "gausian:1"], 2, "did you mean 'gaussian'?"),
        (["run", "photos", "-p", "pgd:8/255"], 2, "is an attack, not noise"),
        (["run", "photos", "--draws", "0"], 2, "draws must be >= 1, got 0"),
        (["run", "photos", "--top", "0"], 2, "top must be >= 1, got 0"),
        (["run", "photos", "--seed", "-1"], 2, "seed must be >= 0, got -1"),
        (["run", "photos", "--batch-size", "0"], 2, "batch_size must be >= 1, got 0"),
        (["run", "photos", "--device", "nope"], 2, "nope"),
        (["run", "photos", "--format", "xml"], 2, "--format"),
        (["run", "photos", "--model", "small-cnn"], 2, "leave out model"),
        (["some.module:make", "photos"], 2, "name data that does, as in --data folder:photos"),
    ],
)
def test_mistakes_about_predictions(
    noiseproof: CommandLine, run: Path, photos: Path, arguments: list[str], code_of_exit: int, named: str
) -> None:
    outcome = noiseproof("predict", *arguments)
    assert named in one_line(outcome)
    assert outcome.code == code_of_exit


# Export


def test_an_export_is_checked_shown_and_kept_until_the_run_is_made_again(
    noiseproof: CommandLine, run: Path, tiny: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    shown = noiseproof.done("export", run)
    files = {"export/model.onnx", "export/MODEL_CARD.md"}
    assert files <= contents(run).keys()
    for view in ("clean", "gaussian:0.3"):
        for size, inputs in ((1, 8), (2, 16), (7, 56), (64, 64)):
            assert re.search(rf"{view}, batches of {size} +{inputs} +\S+e-\d+ +{inputs} of {inputs}", shown)
    assert f"model: {run / 'export' / 'model.onnx'}" in shown
    assert f"model card: {run / 'export' / 'MODEL_CARD.md'}" in shown
    session = onnxruntime.InferenceSession(run / "export" / "model.onnx", providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    recipe = Run(run).recipe
    assert json.loads(told["noiseproof.class_names"]) == list("0123456789")
    assert told["noiseproof.data_fingerprint"] == recipe.provenance["data_fingerprint"]
    assert (told["noiseproof.method"], told["noiseproof.noise"]) == ("normal", "gaussian:0.3")
    assert re.fullmatch(r"[0-9a-f]{64}", told["noiseproof.recipe_sha256"])

    before = contents(run)
    for kind in ("onnx", "card"):
        outcome = noiseproof("export", run, "--format", kind)
        assert "is there already; choose another with --out, or pass --overwrite" in one_line(outcome)
        assert outcome.code == 1
    assert contents(run) == before
    noiseproof.done("train", tiny, "--method", "normal", "--out", run, "--overwrite")
    assert not files & contents(run).keys()


def test_the_card_alone(noiseproof: CommandLine, run: Path) -> None:
    noiseproof.done("evaluate", run)
    assert noiseproof.done("export", run, "--format", "card", "--out", "my card.md") == "model card: my card.md\n"
    card = Path("my card.md").read_text(encoding="utf-8")
    assert "| gaussian:0.2 |" in card
    assert "noiseproof evaluate" not in card
    assert noiseproof.done("export", run, "--format", "card", "--out", "my card.md", "--overwrite")
    assert not (run / "export").exists()


def test_a_model_that_is_no_run_is_exported_without_a_card(noiseproof: CommandLine, code: str) -> None:
    pytest.importorskip("onnxruntime")
    asked = ("export", code, "--data", "digits")
    assert "name the file to write with --out" in noiseproof.mistake(*asked)
    outcome = noiseproof(*asked, "--out", "deep/model.onnx", "--tolerance", "1e-12")
    assert (outcome.code, outcome.out) == (1, "")
    assert "the exported model does not agree with its original on clean inputs" in outcome.err.splitlines()[-1]
    assert not list(Path("deep").iterdir())
    shown = noiseproof.done(*asked, "--out", "deep/model.onnx")
    assert "no model card, since code_to_ship:make is no run" in shown
    assert [path.name for path in Path("deep").iterdir()] == ["model.onnx"]
    assert "enough known for a model card" in noiseproof.mistake("export", code, "--format", "card")


def test_a_run_whose_data_has_moved_is_exported_with_the_data_named(noiseproof: CommandLine, run: Path) -> None:
    pytest.importorskip("onnxruntime")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("source: digits", "source: npz:gone.npz"))
    assert "gone.npz" in noiseproof.mistake("export", run)
    noiseproof.done("export", run, "--data", "digits", "--out", "out/model.onnx")
    assert {path.name for path in Path("out").iterdir()} == {"model.onnx", "MODEL_CARD.md"}


@pytest.mark.parametrize(
    ("arguments", "code_of_exit", "named"),
    [
        (["nowhere"], 1, "nowhere is no run folder"),
        (["run", "--format", "pt2"], 2, "'pt2' is not one of 'onnx', 'card'"),
        (["run", "--tolerance", "0"], 2, "tolerance must be > 0"),
        (["run", "--out", "photos"], 1, "photos is a folder"),
        (["nowhere", "--format", "card"], 1, "nowhere is no run folder"),
    ],
)
def test_mistakes_about_exports(
    noiseproof: CommandLine, run: Path, photos: Path, arguments: list[str], code_of_exit: int, named: str
) -> None:
    pytest.importorskip("onnxruntime")
    before = contents(Path())
    outcome = noiseproof("export", *arguments)
    assert named in outcome.err.splitlines()[-1]
    assert one_line(outcome)
    assert outcome.code == code_of_exit
    assert contents(Path()) == before


def test_a_damaged_model_is_told(noiseproof: CommandLine, run: Path) -> None:
    shutil.copy(run / "recipe.yaml", run / "model.safetensors")
    for command in (("export", run), ("export", run, "--format", "card"), ("predict", run, "photos")):
        assert "model.safetensors" in noiseproof.mistake(*command)
