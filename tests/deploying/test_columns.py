"""A model that was trained on a table finds its columns by their names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import noiseproof as npf
from noiseproof.data import ArrayDataset, load_splits
from noiseproof.deploying import export, write_card
from noiseproof.deploying.trained import load_trained
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.experiments import evaluate_target
from noiseproof.models.files import read_description
from noiseproof.targets import load_target
from noiseproof.training import Run

COLUMNS = ("temperature", "pressure", "flow|rate")
SHORT = {"train.epochs": 3, "model.options": {"width": 8}}


def table(path: Path, order: list[str], head: bool = True, rows: int = 60) -> Path:
    """The same samples with their columns in this order; what is no feature is a text or the class."""
    random = np.random.default_rng(0)
    labels = np.arange(rows) % 3
    values = {name: random.normal(size=rows) + (labels == place) for place, name in enumerate(COLUMNS)}
    cells = {**{name: each.tolist() for name, each in values.items()}, "note": ["ok"] * rows, "label": labels.tolist()}
    lines = [",".join(str(cells[name][row]) for name in order) for row in range(rows)]
    path.write_text("\n".join([*([",".join(order)] if head else []), *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("columns")
    source = f"csv:{table(folder / 't.csv', [*COLUMNS, 'label'])}"
    return npf.train("vectors", "mixed", 0, {"data.source": source, **SHORT}, folder / "run")


def asked(run: Run | Path, path: Path) -> list[tuple[str, float]]:
    found = npf.predict(run, path)
    assert not found.failures
    return [(each.class_name, each.probability) for each in found]


@pytest.mark.parametrize(
    "order",
    [
        ["flow|rate", "temperature", "pressure"], ["label", *COLUMNS], ["note", *reversed(COLUMNS), "label"],
        [*COLUMNS, "note"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_columns_are_found_wherever_they_stand(run: Run, tmp_path: Path, order: list[str]) -> None:
    plain = asked(run, table(tmp_path / "plain.csv", list(COLUMNS)))
    assert asked(run, table(tmp_path / "other.csv", order)) == plain
    assert asked(run, table(tmp_path / "bare.csv", list(COLUMNS), head=False)) == plain
    shutil.copy(run.folder / "model.safetensors", tmp_path / "m.safetensors")
    found = npf.predict(tmp_path / "m.safetensors", tmp_path / "other.csv", perturb="gaussian:0.5")
    assert [(each.class_name, each.probability) for each in found] == plain


def test_other_tables_are_measured_by_their_names_too(run: Run, tmp_path: Path) -> None:
    tables = [table(tmp_path / "a.csv", [*COLUMNS, "label"]), table(tmp_path / "b.csv", ["label", *COLUMNS[::-1]])]
    shutil.copy(run.folder / "model.safetensors", tmp_path / "m.safetensors")
    for target in (str(run.folder), str(tmp_path / "m.safetensors")):
        one, other = (evaluate_target(load_target(target, data=f"csv:{each}"), ["gaussian:0.5"]) for each in tables)
        assert one == other
    assert load_trained(tmp_path / "m.safetensors").feature_names == COLUMNS


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (["temperature", "note", "flow|rate"], "there is no column 'pressure', which the model takes; it has temp"),
        ([*COLUMNS, "pressure"], "there are 2 columns 'pressure'"),
    ],
)
def test_a_column_that_is_missing_or_there_twice_is_told(
    run: Run, tmp_path: Path, order: list[str], told: str
) -> None:
    (failure,) = npf.predict(run, table(tmp_path / "t.csv", order)).failures
    assert told in failure.reason
    source = f"csv:{table(tmp_path / 'u.csv', ['temperature', 'flow|rate', 'label'])}"
    with pytest.raises(DataError, match="there is no column 'pressure', which the model takes; it has temperature, "):
        load_target(str(run.folder), data=source)


def test_a_row_that_is_too_short_is_told_and_the_others_answered(run: Run, tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["note", *COLUMNS], rows=3)
    path.write_text(path.read_text() + "ok,1\n")
    found = npf.predict(run, path)
    assert len(found) == 3
    assert "[3] must hold 3 numbers, it has 2" in found.failures[0].reason


def test_names_are_in_the_file_the_card_and_the_exported_model(run: Run, tmp_path: Path) -> None:
    assert read_description(run.folder / "model.safetensors").feature_names == COLUMNS
    card = write_card(run, tmp_path / "card.md").read_text(encoding="utf-8")
    assert "Features, in the order of the input: temperature, pressure, flow\\|rate." in card
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    found = export(run, tmp_path / "m.onnx")
    told = onnxruntime.InferenceSession(found.onnx.path).get_modelmeta().custom_metadata_map
    assert json.loads(told["noiseproof.feature_names"]) == list(COLUMNS)


def test_a_fine_tuned_model_keeps_its_columns(run: Run, tmp_path: Path) -> None:
    begin = {"model.init_from": str(run.folder), "train.max_steps": 1, **SHORT}
    other = {"data.source": f"csv:{table(tmp_path / 't.csv', [*COLUMNS[::-1], 'label'])}", **begin}
    with pytest.raises(InvalidArgumentError, match=r"trained on the columns temperature, .*: bring them into"):
        npf.train("vectors", "mixed", 0, other, tmp_path / "a")
    same = {"data.source": f"csv:{table(tmp_path / 'u.csv', ['label', *COLUMNS])}", **begin}
    assert npf.train("vectors", "mixed", 0, same, tmp_path / "b").scaling is not None


def test_names_that_are_alike_are_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,a,label\n1,2,0\n3,4,1\n" * 1 + "1,2,0\n3,4,1\n" * 9)
    assert load_splits(f"csv:{tmp_path / 't.csv'}").train.feature_names is None


def test_a_data_set_keeps_its_names() -> None:
    data = ArrayDataset(torch.arange(6.0).view(2, 3), torch.tensor([0, 1]), ("x", "y"), COLUMNS)
    for same in (data.subset(torch.tensor([1])), data.to(torch.device("cpu")), data.standardised(data.scaling())):
        assert same.feature_names == COLUMNS
    assert data.with_features(["flow|rate", "pressure"]).inputs.tolist() == [[2, 1], [5, 4]]
    with pytest.raises(DataError, match=r"2 names of features do not fit inputs \(2, 3\)"):
        ArrayDataset(data.inputs, data.labels, ("x", "y"), ("a", "b"))


def test_an_estimator_hands_its_names_on(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(table(tmp_path / "t.csv", [*COLUMNS, "label"]))
    model = npf.NoiseRobustClassifier(epochs=2, random_state=0).fit(frame[list(COLUMNS)], frame["label"])
    model.save(tmp_path / "m.safetensors")
    assert read_description(tmp_path / "m.safetensors").feature_names == COLUMNS
