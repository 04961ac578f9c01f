"""``data.standardise`` from table to exported file: noise in standard deviations, inputs in their own units."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

import noiseproof as npf
from noiseproof.data import ArrayDataset, load_splits
from noiseproof.deploying import export, load_trained, write_card
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError
from noiseproof.experiments import evaluate_run, evaluate_target
from noiseproof.models.files import load_model, read_description
from noiseproof.scaling import Scaling
from noiseproof.suggesting import suggest
from noiseproof.targets import load_target
from noiseproof.training import Recipe, Run
from tests.cli.problems import TINY, CommandLine

UNITS = np.array([1e-4, 1.0, 250.0], dtype=np.float32)
OFFSETS = np.array([0.02, -3.0, 101_000.0], dtype=np.float32)
SETTINGS = {
    "model": {"name": "mlp", "embedding_dim": 4, "options": {"width": 8}},
    "train": {"epochs": 6, "batch_size": 32, "optimizer": {"lr": 0.05}, "keep": "last"},
    "evaluate": {"perturbations": ["clean", "gaussian:0.5"], "draws": 3},
}


def samples(kind: int, count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors of three columns, or series of as many channels, in very different units, and three classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.array([[0, 0, 2], [2, 0, 0], [0, 2, 0]])[labels]
    noise = random.normal(size=(count, 3)) if kind == 1 else random.normal(size=(count, 3, 5))
    inputs = noise + (centres if kind == 1 else centres[:, :, None])
    shape = (3,) if kind == 1 else (3, 1)
    return (OFFSETS.reshape(shape) + UNITS.reshape(shape) * inputs).astype(np.float32), labels


def recipe_for(source: str, kind: int, *, standardise: bool) -> Recipe:
    data = {"source": source, "standardise": standardise, "validation_fraction": 0}
    network = {} if kind == 1 else {"model": {**SETTINGS["model"], "name": "series-cnn"}}
    return Recipe.from_mapping(yaml.safe_load(TINY) | SETTINGS | network | {"data": data})


def archive(folder: Path, kind: int) -> str:
    (x, y), (x_test, y_test) = samples(kind, 90, 0), samples(kind, 60, 1)
    np.savez(folder / "raw.npz", x=x, y=y, x_test=x_test, y_test=y_test)
    return f"npz:{folder / 'raw.npz'}"


@pytest.fixture(scope="module", params=[1, 2], ids=["vectors", "series"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("standardised")
    recipe = recipe_for(archive(folder, request.param), request.param, standardise=True)
    trained = npf.train(recipe, "mixed", 0, out=folder / "run")
    evaluate_run(trained)
    return trained


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on vectors alone."""
    folder = tmp_path_factory.mktemp("table")
    return npf.train(recipe_for(archive(folder, 1), 1, standardise=True), "mixed", 0, out=folder / "run")


def raw(run: Run, name: str = "x_test") -> torch.Tensor:
    with np.load(run.recipe.data.source.removeprefix("npz:")) as arrays:
        return torch.from_numpy(arrays[name])


def test_it_is_what_standardising_by_hand_gives_to_the_last_bit(run: Run, tmp_path: Path) -> None:
    kind = raw(run).ndim - 1
    scaling = Scaling.of(raw(run, "x"))
    with np.load(run.recipe.data.source.removeprefix("npz:")) as arrays:
        by_hand = {name: arrays[name] for name in ("y", "y_test")}
    for name in ("x", "x_test"):
        by_hand[name] = scaling.apply(raw(run, name)).numpy()
    np.savez(tmp_path / "by-hand.npz", **by_hand)
    recipe = recipe_for(f"npz:{tmp_path / 'by-hand.npz'}", kind, standardise=False)
    other = npf.train(recipe, "mixed", 0, out=tmp_path / "run")
    torch.testing.assert_close(dict(run.model().state_dict()), dict(other.model().state_dict()), rtol=0, atol=0)
    known, found = run.report(), evaluate_run(other)
    assert known is not None
    for key in known:
        np.testing.assert_array_equal(known[key].correct, found[key].correct)
    assert (run.scaling, other.scaling) == (scaling, None)


def test_statistics_are_those_of_the_training_samples_alone(run: Run) -> None:
    splits = run.data()
    assert splits.scaling == run.scaling == Scaling.of(raw(run, "x"))
    train = torch.stack([splits.train[row][0] for row in range(len(splits.train))])
    channels = train.transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(channels.std(1, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_the_model_takes_standardised_inputs_and_raw_ones_if_asked_for(run: Run) -> None:
    test = run.data().test
    scaled = torch.stack([test[row][0] for row in range(len(test))])
    torch.testing.assert_close(run.model(raw=True)(raw(run)), run.model()(scaled), atol=1e-4, rtol=1e-4)


def test_a_model_is_asked_about_inputs_in_their_own_units(run: Run) -> None:
    answers = npf.predict(run, raw(run), draws=8)
    report = run.report()
    assert report is not None
    expected = run.model(raw=True)(raw(run)).argmax(1).tolist()
    assert [answer.class_index for answer in answers] == expected
    stability = np.mean([answer.stability for answer in answers])
    assert 0.5 < stability < 1  # noise of 0.5 in a column's own units would change nothing or everything
    assert np.mean([a.class_index == y for a, y in zip(answers, report.labels, strict=True)]) > 0.6


def test_other_data_and_a_file_without_its_run_are_measured_in_the_same_units(run: Run, tmp_path: Path) -> None:
    with np.load(run.recipe.data.source.removeprefix("npz:")) as arrays:
        np.savez(tmp_path / "new.npz", x=arrays["x_test"], y=arrays["y_test"])
    shutil.copy(run.folder / "model.safetensors", tmp_path / "m.safetensors")
    source = f"npz:{tmp_path / 'new.npz'}"
    known = run.report()
    assert known is not None
    for target in (str(run.folder), str(tmp_path / "m.safetensors")):
        found = evaluate_target(load_target(target, data=source), ["clean", "gaussian:0.5"], draws=3)
        for key in known:
            np.testing.assert_array_equal(found[key].correct, known[key].correct)
    assert load_trained(tmp_path / "m.safetensors").scaling == run.scaling


@pytest.mark.filterwarnings("ignore:the features differ in scale")
def test_a_model_of_raw_inputs_beside_it_sees_the_same_noisy_samples(table: Run, tmp_path: Path) -> None:
    """The same network for raw inputs, as a run whose first layer standardises, answers as the run itself."""
    raw_run = npf.train(
        recipe_for(table.recipe.data.source, 1, standardise=False), "mixed", 0,
        {"train.max_steps": 1}, tmp_path / "raw",
    )  # fmt: skip
    first = load_target(str(table.folder))
    second = load_target(str(raw_run.folder), beside=first)
    assert second.test is first.test
    scaled = torch.stack([first.test[row][0] for row in range(len(first.test))])
    torch.testing.assert_close(second.model(scaled), raw_run.model()(raw(table)), atol=1e-3, rtol=1e-3)
    back = load_target(str(table.folder), beside=load_target(str(raw_run.folder)))
    torch.testing.assert_close(back.model(raw(table)), table.model()(scaled), atol=1e-4, rtol=1e-4)
    assert (second.scaling, back.scaling) == (table.scaling, None)


@pytest.mark.filterwarnings("ignore:the features differ in scale")
def test_a_model_trained_on_raw_inputs_cannot_begin_one_of_standardised_ones(table: Run, tmp_path: Path) -> None:
    source = table.recipe.data.source
    begin = {"model.init_from": str(table.folder), "train.max_steps": 2}
    with pytest.raises(InvalidArgumentError, match=r"standardised inputs: set data\.standardise=true"):
        npf.train(recipe_for(source, 1, standardise=False), "mixed", 0, begin, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    tuned = npf.train(recipe_for(source, 1, standardise=True), "mixed", 0, begin, tmp_path / "b")
    assert tuned.scaling == table.scaling
    begin["model.init_from"] = str(
        npf.train(recipe_for(source, 1, standardise=False), "mixed", 0, {"train.max_steps": 1}, tmp_path / "c").folder
    )
    with pytest.raises(InvalidArgumentError, match=r"in their own units: set data\.standardise=false"):
        npf.train(recipe_for(source, 1, standardise=True), "mixed", 0, begin, tmp_path / "d")


def test_images_keep_their_range(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only vectors and series can be standardised; images keep their range"):
        load_splits("digits", standardise=True)
    with pytest.raises(DataError, match="only vectors and series"):
        npf.train(yaml_file(tmp_path), "normal", 0, {"data.standardise": True}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_series_of_bytes_are_standardised_as_the_numbers_that_they_stand_for() -> None:
    inputs = torch.randint(256, (30, 3, 5), dtype=torch.uint8)
    data = ArrayDataset(inputs, torch.arange(30) % 2, ("a", "b"))
    scaling = data.scaling()
    assert scaling == Scaling.of(inputs / 255)
    torch.testing.assert_close(data.standardised(scaling)[4][0], scaling.apply(data[4][0][None])[0])


def yaml_file(folder: Path) -> Path:
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return folder / "tiny.yaml"


def test_what_the_model_cannot_be_given_is_told(table: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "wide.npz", x=np.ones((6, 4), dtype=np.float32), y=np.arange(6) % 3)
    with pytest.raises(DataError, match=r"must be \(N, 3, …\) to be standardised, got \(6, 4\)"):
        load_target(str(table.folder), data=f"npz:{tmp_path / 'wide.npz'}")


def test_the_file_says_it_and_a_wrong_scaling_in_it_is_refused(table: Run, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = table.folder / "model.safetensors"
    assert read_description(path).scaling == table.scaling
    with safe_open(path, framework="pt") as file:
        fields = json.loads(file.metadata()["noiseproof.model"])
    for wrong in ({"mean": [0.0], "std": [1.0]}, {"mean": [0.0] * 3, "std": [0.0] * 3}, {"mean": [0.0] * 3}, 5):
        changed = {"noiseproof.model": json.dumps({**fields, "scaling": wrong})}
        save_file(load_file(path), tmp_path / "wrong.safetensors", changed)
        with pytest.raises(NoiseproofError, match="cannot be read"):
            load_model(tmp_path / "wrong.safetensors")


@pytest.mark.filterwarnings("ignore:the features differ in scale")
def test_runs_without_it_are_the_runs_of_earlier_versions(tmp_path: Path) -> None:
    recipe = recipe_for(archive(tmp_path, 1), 1, standardise=False)
    assert "standardise" not in recipe.settings_to_digest()["data"]
    assert "standardise" in recipe_for(archive(tmp_path, 1), 1, standardise=True).settings_to_digest()["data"]
    plain = npf.train(recipe, "normal", 0, {"train.max_steps": 1}, tmp_path / "run")
    assert b'"scaling' not in (plain.folder / "model.safetensors").read_bytes()


def test_the_exported_file_takes_raw_inputs_and_the_card_says_what_noise_means(run: Run, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    found = export(run, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(found.onnx.path, providers=["CPUExecutionProvider"])
    logits, _ = session.run(None, {"input": raw(run).numpy()})
    np.testing.assert_allclose(logits, run.model(raw=True)(raw(run)).detach().numpy(), atol=1e-3)
    told = session.get_modelmeta().custom_metadata_map
    assert run.scaling is not None
    assert json.loads(told["noiseproof.noise_unit"]) == list(run.scaling.std)
    np.testing.assert_allclose(
        json.loads(told["noiseproof.normalisation_mean"]), run.scaling.mean, rtol=1e-3, atol=1e-4
    )
    card = write_card(run, tmp_path / "card.md").read_text(encoding="utf-8")
    assert "Noise of strength 1, here and below, by channel" in card
    assert f"{run.scaling.std[2]:.4g}" in card


def test_noise_of_a_sensor_is_measured_in_the_same_units(tmp_path: Path) -> None:
    x, y = samples(1, 90, 0)
    still = x[:4] + 0.1 * UNITS * np.random.default_rng(0).normal(size=(40, 4, 3))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["a", "b", "c", "label"], *[[*row, label] for row, label in zip(x, y, strict=True)]]
        )
    np.savez(tmp_path / "still.npz", repeats=still.astype(np.float32))
    advice = suggest("vectors", data=f"csv:{tmp_path / 't.csv'}", repeats=tmp_path / "still.npz")
    spread = x.std(0) / UNITS  # of the classes and within them
    expected = np.sqrt(np.mean((0.1 / spread) ** 2))
    levels = [float(str(text).removeprefix("gaussian:")) for text in advice["noise.train"].sweep]
    assert min(levels) == pytest.approx(expected, rel=0.1)
    assert "standardised" in dict(advice.facts)["Data"]


def test_commands_say_what_noise_is_in_units_of(table: Run, command: CommandLine, tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", x=raw(table).numpy())
    for arguments in (("evaluate", table.folder), ("predict", table.folder, tmp_path / "new.npz")):
        outcome = command(*arguments)
        assert outcome.code == 0
        assert "noise is in units of each column's or channel's standard deviation" in outcome.err
    page = npf.write_report(table, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Every component is standardised, so that noise is in units of its standard deviation." in page


def test_the_recipe_for_tables_warns_of_no_scale(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    changes = {"data.source": archive(tmp_path, 1), "train.max_steps": 1}
    npf.train("vectors", "normal", 0, changes, tmp_path / "run")
    assert not [str(each.message) for each in recwarn if "scale" in str(each.message)]
