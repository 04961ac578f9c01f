"""Runs that begin with trained weights: with exactly those, told of, and gone on with as any other run."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import noiseproof as npf
from noiseproof.data import load_splits
from noiseproof.errors import InvalidArgumentError, NoiseproofError, RecipeError, RunFolderError
from noiseproof.methods import METHODS
from noiseproof.models.files import read_description
from noiseproof.training import Run, load_recipe
from noiseproof.training.initial import begin
from noiseproof.training.trainer import Trainer
from tests.training.test_resume import TINY, assert_same_run, stop

STILL: dict[str, Any] = {  # one step that moves no weight, since none is far from 0 by 1e-38
    **TINY, "train.max_steps": 1, "train.optimizer": {"lr": 1e-38, "weight_decay": 0.0},
    "train.schedule": {"name": "constant", "warmup": 0.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return npf.train("digits", "normal", 1, TINY, tmp_path_factory.mktemp("base") / "run")


def parameters(run: Run) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in run.model().named_parameters()}


def start_of(run: Run) -> dict[str, Any]:
    start: dict[str, Any] = run.recipe.provenance["init_from"]
    return start


def fine_tuned(tmp_path: Path, source: Path, method: str = "normal", **changes: Any) -> Run:
    overrides = {**STILL, **changes, "model.init_from": source}
    return npf.train("digits", method, 0, overrides, tmp_path / "fine")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_it_begins_with_those_weights(tmp_path: Path, base: Run, method: str) -> None:
    run = fine_tuned(tmp_path, base.folder, method)
    torch.testing.assert_close(parameters(run), parameters(base), rtol=0, atol=0)


def test_statistics_of_batch_normalisation_are_taken_too(base: Run) -> None:
    recipe = load_recipe("digits", {**TINY, "model.init_from": base.folder})
    model = begin(recipe, load_splits("digits")).method.model
    torch.testing.assert_close(dict(model.state_dict()), dict(base.model().state_dict()), rtol=0, atol=0)


def test_averaged_weights_begin_there_too(base: Run) -> None:
    recipe = load_recipe("digits", {**TINY, "model.init_from": base.folder, "train.ema_decay": 0.9})
    splits = load_splits("digits")
    averaged = Trainer(begin(recipe, splits).method, splits, recipe).average.model
    assert averaged is not None
    torch.testing.assert_close(dict(averaged.state_dict()), dict(base.model().state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("overrides", [{}, {"train.ema_decay": 0.5}], ids=["plain", "average"])
def test_training_goes_on_from_there(tmp_path: Path, base: Run, overrides: dict[str, Any]) -> None:
    """Some steps of fine-tuning end nearer to the data than as many from random weights."""
    short = {**TINY, **overrides, "train.max_steps": 6}
    run = npf.train("digits", "mixed", 0, {**short, "model.init_from": str(base.folder)}, tmp_path / "fine")
    fresh = npf.train("digits", "mixed", 0, short, tmp_path / "fresh")
    assert run.metrics()[0]["loss"] < fresh.metrics()[0]["loss"]
    assert not torch.equal(parameters(run)["head.weight"], parameters(base)["head.weight"])


def test_normalisation_is_that_of_the_source(tmp_path: Path, base: Run) -> None:
    """Of vectors that are ten times as large now, the weights know nothing."""

    def write(scale: float) -> str:
        labels = np.arange(120) % 3
        x = scale * (np.random.default_rng(0).normal(size=(120, 4)) + labels[:, None])
        np.savez(tmp_path / f"{scale}.npz", x=x.astype(np.float32), y=labels)
        return f"npz:{tmp_path / f'{scale}.npz'}"

    short = {"train.epochs": 1, "train.max_steps": 2, "model.options": {"width": 4}}
    first = npf.train("vectors", "normal", 0, {**short, "data.source": write(1.0)}, tmp_path / "a")
    second = npf.train(
        "vectors", "normal", 0, {**short, "data.source": write(10.0), "model.init_from": first.folder}, tmp_path / "b"
    )
    for name in ("mean", "std"):
        torch.testing.assert_close(
            getattr(second.model().normalize, name), getattr(first.model().normalize, name), rtol=0, atol=0
        )


def test_what_it_began_with_is_told(tmp_path: Path, base: Run) -> None:
    start = start_of(fine_tuned(tmp_path, base.folder))
    file = base.folder / "model.safetensors"
    assert start["file"] == str(file)
    assert start["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert start["head"] == "kept"
    assert start["mean"] == pytest.approx(base.model().normalize.mean.tolist())
    assert "init_from" not in base.recipe.provenance
    assert base.recipe.model.init_from is None


@pytest.mark.parametrize("what", ["folder", "file", "state dict", "state dict in safetensors"])
def test_whatever_holds_the_weights(tmp_path: Path, base: Run, what: str) -> None:
    from safetensors.torch import save_file

    torch.save({"state_dict": base.model().state_dict()}, tmp_path / "w.pt")
    save_file(base.model().state_dict(), tmp_path / "w.safetensors")
    source = {
        "folder": base.folder, "file": base.folder / "model.safetensors", "state dict": tmp_path / "w.pt",
        "state dict in safetensors": tmp_path / "w.safetensors",
    }[what]  # fmt: skip
    run = fine_tuned(tmp_path, source)
    torch.testing.assert_close(parameters(run), parameters(base), rtol=0, atol=0)
    torch.testing.assert_close(run.model().normalize.mean, base.model().normalize.mean, rtol=0, atol=0)


def test_other_classes_get_a_new_last_layer_and_are_told(tmp_path: Path, base: Run) -> None:
    splits = load_splits("digits")
    few = splits.train.labels < 4
    np.savez(tmp_path / "few.npz", x=splits.train.inputs[few].numpy(), y=splits.train.labels[few].numpy())
    with pytest.warns(UserWarning, match=r"the last layer is new: .* another number of classes .* which has 4"):
        run = fine_tuned(tmp_path, base.folder, **{"data.source": f"npz:{tmp_path / 'few.npz'}"})
    ours, theirs = parameters(run), parameters(base)
    assert ours.pop("head.weight").shape == (4, 8)
    assert ours.pop("head.bias").shape == (4,)
    torch.testing.assert_close(ours, {name: theirs[name] for name in ours}, rtol=0, atol=0)
    assert start_of(run)["head"] == "new"


def test_classes_of_other_names_are_told(tmp_path: Path) -> None:
    def write(*names: str) -> str:
        labels = np.arange(60) % 2
        x = np.random.default_rng(0).normal(size=(60, 4)) + labels[:, None]
        path = tmp_path / f"{names[0]}.npz"
        np.savez(path, x=x.astype(np.float32), y=labels, class_names=np.array(names))
        return f"npz:{path}"

    short = {"train.epochs": 1, "train.max_steps": 1}
    first = npf.train("vectors", "normal", 0, {**short, "data.source": write("cat", "dog")}, tmp_path / "a")
    with pytest.warns(UserWarning, match="are cat, dog, those of the data dog, cat; the last layer is kept"):
        npf.train(
            "vectors", "normal", 0, {**short, "data.source": write("dog", "cat"), "model.init_from": first.folder},
            tmp_path / "b",
        )  # fmt: skip


def test_weights_that_do_not_tell_their_normalisation(tmp_path: Path) -> None:
    import torchvision

    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=3).state_dict(), tmp_path / "w.pt")
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(30) % 3)
    changes: dict[str, Any] = {
        "model.name": "torchvision/shufflenet_v2_x0_5", "model.embedding_dim": None, "model.options": {},
        "model.init_from": tmp_path / "w.pt", "data.source": f"npz:{tmp_path / 'd.npz'}", "data.augment": "none",
    }  # fmt: skip
    splits = load_splits(changes["data.source"])
    with pytest.warns(UserWarning, match=r"does not say how its inputs were normalised.*give model\.mean"):
        begin(load_recipe("digits", changes), splits)
    told = {"model.mean": (0.485, 0.456, 0.406), "model.std": (0.229, 0.224, 0.225)}
    begun = begin(load_recipe("digits", {**changes, **told}), splits)
    assert (begun.description.mean, begun.description.std) == tuple(told.values())


def test_a_normalisation_of_ones_own(tmp_path: Path) -> None:
    run = npf.train("digits", "normal", 0, {**STILL, "model.mean": [0.5], "model.std": [0.25]}, tmp_path / "a")
    assert run.model().normalize.mean.tolist() == [0.5]
    assert run.model().normalize.std.tolist() == [0.25]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.options": {"width": 5}}, r"model\.options is {'width': 4} there, {'width': 5} here"),
        ({"model.embedding_dim": 9}, r"model\.embedding_dim is 8 there, 9 here"),
        ({"model.name": "resnet8-cifar"}, r"model\.name is 'small-cnn' there, 'resnet8-cifar' here"),
        ({"model.mean": [0.5], "model.std": [0.5]}, r"trained behind mean \(0\.30.*leave them out"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, base: Run, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        fine_tuned(tmp_path, base.folder, **changes)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_source(tmp_path: Path, base: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "unfinished").mkdir()
    shutil.copy(base.folder / "recipe.yaml", tmp_path / "unfinished")
    shutil.copytree(base.folder, tmp_path / "several" / "normal" / "seed-0")
    for name, message in {
        "nowhere": "nothing to begin with at .*nowhere: name a run folder or a file",
        "empty": "empty holds no run",
        "unfinished": "did not finish",
        "several": "several runs; name one to begin with, such as .*seed-0",
        "unfinished/recipe.yaml": "cannot read weights",
    }.items():
        with pytest.raises(NoiseproofError, match=message):
            fine_tuned(tmp_path, tmp_path / name)
        assert not (tmp_path / "fine").exists()


def test_a_run_never_replaces_what_it_begins_with(tmp_path: Path, base: Run) -> None:
    out = tmp_path / "run"
    shutil.copytree(base.folder, out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    for source in (out, out / "model.safetensors"):
        with pytest.raises(RunFolderError, match="lie in the output folder"):
            npf.train("digits", "mixed", 0, {**TINY, "model.init_from": source}, out, overwrite=True)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_mean_and_std_go_together_and_a_source_has_a_name() -> None:
    with pytest.raises(RecipeError, match=r"model\.mean and model\.std go together"):
        load_recipe("digits", {"model.mean": [0.5]})
    with pytest.raises(RecipeError, match=r"model\.init_from = ''"):
        load_recipe("digits", {"model.init_from": ""})


# Resuming


@pytest.mark.parametrize("left", ["there", "gone"])
def test_stopped_and_gone_on_with_is_the_run_never_stopped(tmp_path: Path, left: str) -> None:
    """After the first checkpoint the source is not needed any more, not even for its normalisation."""
    source = tmp_path / "source"
    npf.train("digits", "normal", 1, {**TINY, "model.mean": [0.4], "model.std": [0.3]}, source)
    overrides = {**TINY, "model.init_from": source, "train.ema_decay": 0.8}
    expected = npf.train("digits", "discriminative", 3, overrides, tmp_path / "whole")
    out = tmp_path / "stopped"
    stop(out, 2, "killed", "discriminative", 3, overrides)  # before any checkpoint
    stop(out, 7, "killed", "discriminative", 3, overrides)
    if left == "gone":
        shutil.rmtree(source)
    stop(out, 13, "killed", "discriminative", 3, overrides)
    run = npf.train("digits", "discriminative", 3, overrides, out, resume=True)
    assert_same_run(run, expected)
    assert read_description(out / "model.safetensors").mean == (0.4,)
    assert start_of(run) == start_of(expected)
    assert npf.train("digits", "discriminative", 3, overrides, out, resume=True).folder == out


@pytest.mark.parametrize("finished", [True, False])
def test_a_source_that_has_changed_is_refused(tmp_path: Path, base: Run, finished: bool) -> None:
    source = tmp_path / "source"
    shutil.copytree(base.folder, source)
    overrides = {**TINY, "model.init_from": source}
    if finished:
        npf.train("digits", "normal", 0, overrides, tmp_path / "fine")
    else:
        stop(tmp_path / "fine", 8, "killed", "normal", 0, overrides)
    before = {path: path.read_bytes() for path in (tmp_path / "fine").iterdir()}
    npf.train("digits", "normal", 9, TINY, source, overwrite=True)
    with pytest.raises(RunFolderError, match=r"have changed since the run in .* began with them; pass --overwrite"):
        npf.train("digits", "normal", 0, overrides, tmp_path / "fine", resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "fine").iterdir()} == before


def test_another_source_is_another_recipe(tmp_path: Path, base: Run) -> None:
    fine_tuned(tmp_path, base.folder)
    with pytest.raises(RunFolderError, match=r"model\.init_from is '.*' there, None here"):
        npf.train("digits", "normal", 0, STILL, tmp_path / "fine", resume=True)


# What tables have to say


def test_weights_that_saw_the_test_samples_are_told(tmp_path: Path, base: Run) -> None:
    run = fine_tuned(tmp_path, base.folder, **{"data.split_seed": 5})
    assert "may have been trained on some of the run's test samples" in run.recipe.caveat
    assert base.recipe.caveat == ""


def test_the_same_test_samples_are_no_reason_to_complain(tmp_path: Path, base: Run) -> None:
    """Holding out samples to choose weights on leaves the test set as it is."""
    run = fine_tuned(tmp_path, base.folder, **{"data.validation_fraction": 0.2})
    assert run.recipe.caveat == ""


def test_weights_chosen_on_the_test_set_stay_that(tmp_path: Path) -> None:
    first = npf.train("digits", "normal", 0, {**STILL, "train.keep": "best-test"}, tmp_path / "first")
    second = fine_tuned(tmp_path, first.folder)
    assert "began with: The weights were chosen on the test set" in second.recipe.caveat


def test_a_comparison_begins_every_run_there_and_says_so(tmp_path: Path) -> None:
    first = npf.train("digits", "normal", 0, {**STILL, "train.keep": "best-test"}, tmp_path / "first")
    overrides = {**STILL, "model.init_from": first.folder, "evaluate.perturbations": ["clean"]}
    found = npf.compare("digits", ["normal", "mixed"], [0], overrides, tmp_path / "out")
    assert "chosen on the test set" in found.caveat
    for method in ("normal", "mixed"):
        run = Run(tmp_path / "out" / method / "seed-0")
        torch.testing.assert_close(parameters(run), parameters(first), rtol=0, atol=1e-30)
