"""Model files: what is saved is what is loaded, and nothing else is taken for a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from noiseproof.errors import NoiseproofError
from noiseproof.models.files import ModelDescription, load_model, read_description, save_model

DESCRIPTIONS = [
    ModelDescription("small-cnn", 12, ("a", "b"), (1, 8, 8), (0.3,), (0.4,), {"width": 4}),
    ModelDescription("mlp", None, ("no", "yes", "µ"), (5,), (0.1,) * 5, (1.5,) * 5),
    ModelDescription("series-cnn", 7, ("x", "y"), (2, 30), (0.0, -1.0), (1.0, 3.0), {"width": 4}),
    ModelDescription("torchvision/shufflenet_v2_x0_5", 6, ("x", "y"), (3, 32, 32), (0.5,) * 3, (0.2,) * 3),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=lambda description: description.name)
def test_a_saved_model_comes_back_with_its_weights_and_its_description(
    description: ModelDescription, path: Path
) -> None:
    model = description.build()
    x = torch.rand(4, *description.input_shape)
    model.train()(x)  # moves the statistics of batch normalisation
    save_model(path, model, description)
    loaded = load_model(path)
    assert read_description(path) == description
    assert not any(part.training for part in loaded.modules())
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), model.eval()(x), rtol=0, atol=0)
    assert loaded.num_classes == len(description.class_names)


def test_a_description_builds_a_fresh_model_of_that_kind() -> None:
    model = DESCRIPTIONS[0].build()
    assert (model.num_classes, model.embedding_dim) == (2, 12)
    torch.testing.assert_close(model.normalize.mean, torch.tensor([0.3]))
    torch.testing.assert_close(model.normalize.std, torch.tensor([0.4]))


def test_saving_replaces_the_file_and_leaves_nothing_else(path: Path) -> None:
    first, second = DESCRIPTIONS[0].build(), DESCRIPTIONS[0].build()
    save_model(path, first, DESCRIPTIONS[0])
    save_model(path, second, DESCRIPTIONS[0])
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]
    torch.testing.assert_close(load_model(path).head.weight, second.head.weight)


def test_a_save_that_fails_leaves_the_earlier_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def fail(temporary: Path, content: bytes) -> int:
        write(temporary, content[: len(content) // 2])
        raise OSError("disk full")

    model = DESCRIPTIONS[0].build()
    save_model(path, model, DESCRIPTIONS[0])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="disk full"):
            save_model(path, DESCRIPTIONS[0].build(), DESCRIPTIONS[0])
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]
    torch.testing.assert_close(load_model(path).head.weight, model.head.weight)


def test_the_file_is_plain_safetensors(path: Path) -> None:
    model = DESCRIPTIONS[0].build()
    save_model(path, model, DESCRIPTIONS[0])
    torch.testing.assert_close(load_file(path), dict(model.state_dict()))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64, b"\x10" + b"\0" * 7 + b"{"])
def test_garbage_is_no_model_file(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(NoiseproofError, match=r"cannot read the model file .*model\.safetensors"):
        load_model(path)


def test_a_file_that_was_cut_off_is_refused(path: Path) -> None:
    save_model(path, DESCRIPTIONS[0].build(), DESCRIPTIONS[0])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(NoiseproofError, match="cannot read the model file"):
        load_model(path)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(NoiseproofError, match=r"model\.safetensors"):
        load_model(path)


def test_a_folder_is_no_model_file(tmp_path: Path) -> None:
    with pytest.raises(NoiseproofError):
        load_model(tmp_path)


def test_weights_of_somebody_else_are_refused(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path, {"format": "pt"})
    with pytest.raises(NoiseproofError, match="holds weights, but not which model they belong to"):
        load_model(path)


def test_weights_without_metadata_are_refused(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(NoiseproofError, match="holds weights"):
        read_description(path)


@pytest.mark.parametrize("text", ["not json", "[]", "{}", json.dumps({"name": "mlp", "new_field": 1})])
def test_a_description_that_cannot_be_read_is_refused(text: str, path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path, {"noiseproof.model": text})
    with pytest.raises(NoiseproofError, match=r"model\.safetensors"):
        read_description(path)


def test_weights_that_do_not_fit_their_description_are_refused(path: Path) -> None:
    save_model(path, DESCRIPTIONS[1].build(), DESCRIPTIONS[0])
    with pytest.raises(NoiseproofError, match=r"model\.safetensors"):
        load_model(path)
