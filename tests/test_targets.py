"""Whatever can be measured: what is loaded for a text, on which samples, and what of it a run keeps."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.data import ArrayDataset, load_splits
from noiseproof.data.sources import SourceOptions, load_test_set
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError, RunFolderError, UnknownNameError
from noiseproof.evaluation import RobustnessReport
from noiseproof.experiments import evaluate_run, evaluate_target
from noiseproof.models import build_model
from noiseproof.targets import Target, load_target
from noiseproof.training import Recipe
from tests.cli.problems import TINY, contents
from tests.evaluation.problems import report
from tests.evaluation.test_statistics_of_a_report import save_in_format_1

CODE = """\
import torch
from torch import nn

def make():
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.from_mapping(yaml.safe_load(TINY))


@pytest.fixture(scope="module")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tests leave as it is."""
    return npf.train(recipe, "normal", 0, out=tmp_path_factory.mktemp("trained") / "run").folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run of one's own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module."""
    monkeypatch.chdir(tmp_path)
    Path("code_of_targets.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("code_of_targets", None)


def npz(path: Path, shape: tuple[int, ...] = (1, 8, 8), classes: int = 10, **more: Any) -> str:
    """A data source of 40 samples in an archive."""
    random = np.random.default_rng(1)
    np.savez(path, x=random.random((40, *shape)), y=np.arange(40) % classes, **more)
    return f"npz:{path}"


def logits(model: nn.Module, data: ArrayDataset) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(data.inputs[:7].float())
    return found


# Test sets


def test_a_source_with_a_test_set_is_measured_on_it(tmp_path: Path) -> None:
    more = {"x_test": np.full((3, 1, 8, 8), 0.5), "y_test": np.array([2, 1, 0])}
    data = load_test_set(npz(tmp_path / "x.npz", **more))
    assert data.labels.tolist() == [2, 1, 0]
    assert data.num_classes == 10


def test_a_source_without_a_test_set_is_measured_on_all_of_it(tmp_path: Path) -> None:
    data = load_test_set(npz(tmp_path / "x.npz"))
    assert data.labels.tolist() == [index % 10 for index in range(40)]
    splits = load_splits("digits")
    assert len(load_test_set("digits")) == len(splits.train) + len(splits.test) == 1797


def test_how_pictures_are_read_is_handed_on(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 10), "red").save(tmp_path / name / "1.png")
    assert load_test_set(f"folder:{tmp_path}", SourceOptions(image_size=(6, 5))).input_shape == (3, 6, 5)
    assert load_test_set(f"folder:{tmp_path}").input_shape == (3, 10, 20)


@pytest.mark.parametrize(
    ("source", "kind"), [("digit", UnknownNameError), ("npz:nowhere.npz", DataError), ("folder:nowhere", DataError)]
)
def test_a_source_that_is_none_is_refused(source: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        load_test_set(source)


# Runs


def test_a_run_is_measured_on_its_own_test_set(trained: Path) -> None:
    target, run = load_target(str(trained)), npf.Run(trained)
    assert target.run is not None
    assert target.run.folder == trained
    assert target.title == run.name == "Normal training, seed 0"
    assert target.test.fingerprint() == run.data().test.fingerprint()
    assert target.caveat == ""
    assert isinstance(target.test, ArrayDataset)
    torch.testing.assert_close(logits(target.model, target.test), logits(run.model(), target.test), rtol=0, atol=0)


def test_a_run_on_other_data_is_no_longer_that_run(trained: Path, tmp_path: Path) -> None:
    target = load_target(str(trained), data=npz(tmp_path / "x.npz"))
    assert target.run is None
    assert len(target.test) == 40
    assert target.title == "Normal training, seed 0"


def test_the_caveat_of_a_run_goes_with_it(recipe: Recipe, tmp_path: Path) -> None:
    overrides = {"preset": "authors-code", "train.keep": "best-test"}
    run = npf.train(recipe, "normal", 0, overrides, tmp_path / "run")
    assert "chosen on the test set" in run.recipe.caveat
    for target in (load_target(str(run.folder)), load_target(str(run.folder), data=npz(tmp_path / "x.npz"))):
        assert target.caveat == run.recipe.caveat
        assert evaluate_target(target, ["clean"], limit=5).caveat == run.recipe.caveat


@pytest.mark.parametrize("more", [{"model": "small-cnn"}, {"mean": [0.0], "std": [1.0]}, {"mean": [0.0]}])
def test_what_a_run_says_itself_is_not_to_be_said_again(trained: Path, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="leave out model, mean and std"):
        load_target(str(trained), **more)


def test_a_folder_of_a_comparison_names_one_of_its_runs(trained: Path, tmp_path: Path) -> None:
    inner = tmp_path / "out" / "normal" / "seed-0"
    shutil.copytree(trained, inner)
    with pytest.raises(RunFolderError, match="holds several runs") as caught:
        load_target(str(tmp_path / "out"))
    assert str(inner) in str(caught.value)
    assert load_target(str(inner)).run is not None


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run"):
        load_target(str(tmp_path))


def test_a_run_that_did_not_finish_is_refused(run: Path) -> None:
    (run / "model.safetensors").unlink()
    with pytest.raises(RunFolderError, match="did not finish"):
        load_target(str(run))


@pytest.mark.parametrize("text", ["nowhere", "no/where", "nowhere.pt", "package.module"])
def test_a_path_that_is_not_there_is_named(here: Path, text: str) -> None:
    with pytest.raises(RunFolderError, match=f"{text} is no run folder, no file"):
        load_target(text, data="digits")


# Files and factories


def test_the_file_of_a_run_is_the_run(trained: Path) -> None:
    target = load_target(str(trained / "model.safetensors"), data="digits")
    assert target.run is not None
    assert (target.run.folder, len(target.test)) == (trained, 360)


def test_data_that_a_run_was_trained_on_means_its_test_set(trained: Path) -> None:
    target = load_target(str(trained), data="digits")
    assert target.run is not None
    assert len(target.test) == 360


def test_data_with_other_classes_than_the_models_is_refused(trained: Path, tmp_path: Path) -> None:
    x, y = np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 1, 2, 9])
    np.savez(tmp_path / "x.npz", x=x, y=y, class_names=np.array(list("9876543210")))
    with pytest.raises(DataError, match=r"classes of .* are 0, 1, 2, 3, 4 … \(10\), those of the data 9, 8, 7"):
        load_target(str(trained), data=f"npz:{tmp_path / 'x.npz'}")


def test_a_file_of_noiseproof_needs_no_name(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "model.safetensors", tmp_path)
    target = load_target(str(tmp_path / "model.safetensors"), data="digits")
    assert (target.run, target.title, len(target.test)) == (None, "model.safetensors", 1797)
    assert isinstance(target.test, ArrayDataset)
    expected = logits(npf.Run(trained).model(), target.test)
    torch.testing.assert_close(logits(target.model, target.test), expected, rtol=0, atol=0)


def test_bare_weights_need_a_name(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = build_model("small-cnn", 10, 4, in_channels=1)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    target = load_target(str(tmp_path / "weights.pt"), model="small-cnn", data="digits")
    assert target.title == "weights.pt"
    assert isinstance(target.test, ArrayDataset)
    expected = logits(network, target.test)
    torch.testing.assert_close(logits(target.model, target.test), expected, rtol=0, atol=0)
    with pytest.raises(InvalidArgumentError, match=r"does not say whose weights it holds.*--model"):
        load_target(str(tmp_path / "weights.pt"), data="digits")
    with pytest.raises(NoiseproofError, match="do not fit 'small-cnn' with 9 classes"):
        load_target(str(tmp_path / "weights.pt"), model="small-cnn", data=npz(tmp_path / "x.npz", classes=9))


def test_a_factory_is_called_for_its_model(here: Path) -> None:
    target = load_target("code_of_targets:make", data="digits")
    assert (target.run, target.title) == (None, "code_of_targets:make")
    torch.manual_seed(5)
    expected = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert isinstance(target.test, ArrayDataset)
    torch.testing.assert_close(logits(target.model, target.test), logits(expected, target.test), rtol=0, atol=0)


def test_mean_and_std_stand_in_front_of_the_model(here: Path) -> None:
    plain = load_target("code_of_targets:make", data="digits")
    behind = load_target("code_of_targets:make", data="digits", mean=[0.3], std=[0.25])
    assert isinstance(plain.test, ArrayDataset)
    with torch.no_grad():
        expected = plain.model((plain.test.inputs[:7] - 0.3) / 0.25)
    torch.testing.assert_close(logits(behind.model, plain.test), expected)


def test_mean_and_std_of_bytes_are_refused_for_pictures(here: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"a mean of 123\.7 is too much: divide mean and std by 255"):
        load_target("code_of_targets:make", data="digits", mean=[123.7], std=[58.4])


@pytest.mark.parametrize("more", [{"mean": [0.3]}, {"std": [0.3]}])
def test_mean_and_std_go_together(here: Path, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="mean and std go together"):
        load_target("code_of_targets:make", data="digits", **more)


@pytest.mark.parametrize("text", ["code_of_targets:make", "weights.pt", "model.safetensors"])
def test_what_is_no_run_needs_data(here: Path, trained: Path, text: str) -> None:
    shutil.copy(trained / "model.safetensors", "model.safetensors")
    Path("weights.pt").write_bytes(b"")
    with pytest.raises(InvalidArgumentError, match=f"{text} is no run folder, so it has no test set.*--data"):
        load_target(text)


def test_a_file_that_holds_no_weights_is_named(here: Path) -> None:
    Path("notes.safetensors").write_text("hello")
    with pytest.raises(NoiseproofError, match=r"notes\.safetensors"):
        load_target("notes.safetensors", data="digits")


# Evaluation


def test_a_run_keeps_its_report_and_uses_it_again(run: Path) -> None:
    found = evaluate_target(load_target(str(run)))
    assert list(found) == ["clean", "gaussian:0.2"]
    assert len(found["gaussian:0.2"].correct) == 2
    assert found == npf.Run(run).report()
    before = (run / "evaluation" / "report.npz").stat().st_mtime_ns
    assert evaluate_target(load_target(str(run))) == found
    assert (run / "evaluation" / "report.npz").stat().st_mtime_ns == before


def test_a_run_with_a_report_of_an_earlier_version_is_measured_anew(run: Path) -> None:
    save_in_format_1(report({"clean": [9], "gaussian:0.2": [5, 7]}), run / "evaluation")
    found = evaluate_run(npf.Run(run))
    assert len(found.labels) == 360
    assert RobustnessReport.load(run / "evaluation") == found


def test_a_part_of_the_test_set_is_not_the_runs_report(run: Path) -> None:
    before = contents(run)
    target = load_target(str(run))
    found = evaluate_target(target, ["clean"], limit=50)
    assert contents(run) == before
    everything = evaluate_target(target, ["clean"])
    places = [index * 360 // 50 for index in range(50)]
    assert found.labels.tolist() == everything.labels[places].tolist()
    assert found["clean"].correct.tolist() == everything["clean"].correct[:, places].tolist()


def test_other_data_is_not_the_runs_report(run: Path, tmp_path: Path) -> None:
    evaluate_target(load_target(str(run)))
    before = contents(run)
    found = evaluate_target(load_target(str(run), data=npz(tmp_path / "x.npz")), ["gaussian:0.1"], draws=3)
    assert found["gaussian:0.1"].correct.shape == (3, 40)
    assert contents(run) == before


def test_labels_outside_the_models_classes_are_told_and_cost_nothing(run: Path, tmp_path: Path) -> None:
    evaluate_target(load_target(str(run)))
    before = contents(run)
    with pytest.raises(DataError, match=r"those of the data .*\(13\)"):
        evaluate_target(load_target(str(run), data=npz(tmp_path / "x.npz", classes=13)), ["clean"])
    assert contents(run) == before


def test_inputs_that_the_model_cannot_take_are_told_and_cost_nothing(run: Path, tmp_path: Path) -> None:
    before = contents(run)
    with pytest.raises(InvalidArgumentError, match=r"cannot take inputs of shape \(40, 7\)"):
        evaluate_target(load_target(str(run), data=npz(tmp_path / "x.npz", (7,))), ["clean"])
    assert contents(run) == before


def test_other_models_are_measured_on_clean_inputs_and_with_ten_draws(here: Path) -> None:
    target = load_target("code_of_targets:make", data="digits")
    assert list(evaluate_target(target, limit=30)) == ["clean"]
    found = evaluate_target(target, ["gaussian:0.2"], limit=30, seed=3)
    assert found["gaussian:0.2"].correct.shape == (10, 30)
    assert found.seed == 3


def test_an_evaluation_of_a_target_is_that_of_its_model_and_samples(here: Path) -> None:
    target = load_target("code_of_targets:make", data="digits", mean=[0.3], std=[0.25])
    found = evaluate_target(target, ["clean", "gaussian:0.2"], draws=2, seed=4, batch_size=100)
    assert found == npf.evaluate(target.model, target.test, ["clean", "gaussian:0.2"], draws=2, seed=4)
    assert 0.01 < found["clean"].mean < 0.5
    labelled = Target("mine", "here", target.model, target.test, caveat="Take care.")
    assert evaluate_target(labelled, ["clean"]).caveat == "Take care."


@pytest.mark.parametrize("more", [{"limit": 0}, {"limit": 2.5}, {"draws": 0}, {"batch_size": 0}, {"draws": 1.5}])
def test_wrong_numbers_are_refused(run: Path, more: dict[str, Any]) -> None:
    before = contents(run)
    with pytest.raises(InvalidArgumentError, match=next(iter(more))):
        evaluate_target(load_target(str(run)), ["gaussian:1"], **more)
    assert contents(run) == before
