"""Classifiers made elsewhere: weights are read as data and never run, and factories are found where they lie."""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from noiseproof.errors import InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.models import FeatureClassifier, build_model
from noiseproof.models.build import library_model
from noiseproof.models.files import ModelDescription, describes_itself, load_model, save_model
from noiseproof.models.foreign import call_factory, load_weights

NAME = "torchvision/shufflenet_v2_x0_5"
CLASSES = 4


@functools.cache
def original(num_classes: int = CLASSES, in_channels: int = 3) -> nn.Module:
    """What a torchvision script would have trained, with statistics of batch normalisation that are not the first."""
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=num_classes)
    if in_channels != 3:
        network.conv1[0] = nn.Conv2d(in_channels, 24, 3, 2, 1, bias=False)
    network.train()(torch.rand(4, in_channels, 32, 32))
    return network


def logits(network: nn.Module, channels: int = 3) -> Tensor:
    images = torch.rand(5, channels, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found: Tensor = network.eval()(images)
    return found


Write = Callable[[dict[str, Tensor], Path], None]


def bare(weights: dict[str, Tensor], path: Path) -> None:
    torch.save(weights, path)


def legacy(weights: dict[str, Tensor], path: Path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


def wrapped(key: str) -> Write:
    def write(weights: dict[str, Tensor], path: Path) -> None:
        torch.save({key: weights, "epoch": 3, "optimizer": {"lr": 0.1, "state": {}}, "note": "x"}, path)

    return write


def parallel(weights: dict[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, path)


def in_both(weights: dict[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": {"model": weights}}, path)


def tensors(weights: dict[str, Tensor], path: Path) -> None:
    save_file(weights, path)


WRITERS: dict[str, tuple[str, Write]] = {
    "bare": ("weights.pt", bare),
    "another suffix": ("weights.pth.tar", bare),
    "legacy": ("weights.pth", legacy),
    "state_dict": ("last.ckpt", wrapped("state_dict")),
    "model": ("last.pt", wrapped("model")),
    "model_state_dict": ("last.pt", wrapped("model_state_dict")),
    "data parallel": ("last.pt", parallel),
    "wrapped twice": ("last.pt", in_both),
    "safetensors": ("weights.safetensors", tensors),
}


# Weights


@pytest.mark.parametrize("form", WRITERS)
def test_weights_of_a_torchvision_model_give_its_logits(tmp_path: Path, form: str) -> None:
    name, write = WRITERS[form]
    network = original()
    write(network.state_dict(), tmp_path / name)
    loaded = load_weights(tmp_path / name, NAME, CLASSES, 3)
    torch.testing.assert_close(logits(loaded), logits(network), rtol=0, atol=0)
    assert float(logits(network).std()) > 0


@pytest.mark.parametrize("channels", [1, 2])
def test_weights_for_another_number_of_channels_are_taken_as_they_are(tmp_path: Path, channels: int) -> None:
    network = original(in_channels=channels)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    loaded = load_weights(tmp_path / "weights.pt", NAME, CLASSES, channels)
    torch.testing.assert_close(logits(loaded, channels), logits(network, channels), rtol=0, atol=0)


@pytest.mark.parametrize("embedding_dim", [7, None])
def test_weights_of_the_own_networks_tell_how_wide_they_are(tmp_path: Path, embedding_dim: int | None) -> None:
    network = build_model("small-cnn", CLASSES, embedding_dim, in_channels=2)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    loaded = load_weights(tmp_path / "weights.pt", "small-cnn", CLASSES, 2)
    assert isinstance(loaded, FeatureClassifier)
    assert loaded.embedding_dim == (embedding_dim or 128)
    torch.testing.assert_close(logits(loaded, 2), logits(network, 2), rtol=0, atol=0)


def test_weights_saved_on_an_accelerator_come_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load(path: Path, **options: Any) -> Any:
        asked.update(options)
        return original().state_dict()

    monkeypatch.setattr(torch, "load", load)
    (tmp_path / "weights.pt").write_bytes(b"x")
    load_weights(tmp_path / "weights.pt", NAME, CLASSES, 3)
    assert asked == {"weights_only": True, "map_location": "cpu"}


def test_library_models_are_those_of_the_library() -> None:
    found = library_model(NAME, CLASSES)
    assert type(found) is torchvision.models.ShuffleNetV2
    assert found.state_dict().keys() == original().state_dict().keys()
    assert logits(library_model(NAME, 9, 2), 2).shape == (5, 9)
    timm = pytest.importorskip("timm")
    there = timm.create_model("resnet18", num_classes=3, in_chans=2)
    assert library_model("timm/resnet18", 3, 2).state_dict().keys() == there.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision/shufflenet_v2_x0_6", "did you mean 'shufflenet_v2_x"),
        ("torchvison/resnet18", "unknown model library 'torchvison'; did you mean 'torchvision'"),
        ("torchvision/", "unknown torchvision model ''"),
        ("/resnet18", "unknown model library ''"),
        ("small-cn", "unknown model 'small-cn'; did you mean 'small-cnn'"),
        ("", "unknown model ''"),
    ],
)
def test_an_unknown_network_is_named(tmp_path: Path, name: str, message: str) -> None:
    torch.save(original().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UnknownNameError, match=message):
        load_weights(tmp_path / "weights.pt", name, CLASSES, 3)


def refusal(path: Path, name: str = NAME, classes: int = CLASSES, channels: int = 3) -> str:
    """Why weights are refused: one line that names the file."""
    with pytest.raises(NoiseproofError) as caught:
        load_weights(path, name, classes, channels)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 3000
    return message


@pytest.mark.parametrize("form", WRITERS)
def test_another_number_of_classes_is_told(tmp_path: Path, form: str) -> None:
    name, write = WRITERS[form]
    write(original().state_dict(), tmp_path / name)
    message = refusal(tmp_path / name, classes=CLASSES + 1)
    assert f"do not fit {NAME!r} with {CLASSES + 1} classes" in message
    assert "fc.weight" in message


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "small-cnn", "mlp"])
def test_weights_of_another_network_are_refused(tmp_path: Path, name: str) -> None:
    torch.save(original().state_dict(), tmp_path / "weights.pt")
    assert f"do not fit {name!r}" in refusal(tmp_path / "weights.pt", name)


def test_weights_for_another_number_of_channels_than_the_data_has_are_refused(tmp_path: Path) -> None:
    torch.save(original().state_dict(), tmp_path / "weights.pt")
    assert "do not fit" in refusal(tmp_path / "weights.pt", channels=1)


def test_weights_that_lack_one_or_have_one_more_are_refused(tmp_path: Path) -> None:
    weights = original().state_dict()
    torch.save({**weights, "extra.weight": torch.zeros(2)}, tmp_path / "more.pt")
    assert "extra.weight" in refusal(tmp_path / "more.pt")
    del weights["fc.bias"]
    torch.save(weights, tmp_path / "fewer.pt")
    assert "fc.bias" in refusal(tmp_path / "fewer.pt")


@pytest.mark.parametrize("head", [torch.zeros(3), torch.tensor(1.0), torch.zeros(4, 2, 2)])
def test_a_head_of_another_shape_is_refused(tmp_path: Path, head: Tensor) -> None:
    torch.save({"head.weight": head}, tmp_path / "weights.pt")
    refusal(tmp_path / "weights.pt", "small-cnn")


# Files that are no weights


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        3,
        None,
        "text",
        {"fc.weight": [1.0, 2.0]},
        {"state_dict": {"network": {"fc.weight": torch.zeros(2)}}},
        {"state_dict": 3},
        {"epoch": 3},
    ],
)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pt")
    assert "holds no state dict" in refusal(tmp_path / "weights.pt")


@pytest.mark.parametrize("form", ["bare", "legacy", "safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 10, 100, 1000, -100, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, form: str, keep: int) -> None:
    name, write = WRITERS[form]
    write(original().state_dict(), tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:keep])
    assert not refusal(tmp_path / name).endswith(": ")


GARBAGE = {
    "empty": b"", "text": b"hello world", "page": b"<!DOCTYPE html><html>not found</html>", "json": b'{"fc": [1, 2]}',
    "zeros": b"\0" * 200, "ones": b"\xff" * 200, "empty zip": b"PK\x05\x06" + b"\0" * 18,
    "short string": b"U\t\x92%6/\xf8", "no memo": b"h\x65.", "no stack": b"r*\x862\xc3\xc1", "float": b"G(U.F_Zo",
    "large file pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_garbage_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(GARBAGE[kind])
    assert "cannot read weights" in refusal(tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "nowhere.pt")
    refusal(tmp_path / "nowhere.safetensors")
    refusal(tmp_path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.path, "caught")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("form", ["pickle", "bare", "legacy", "among weights"])
def test_code_in_a_file_is_not_run(tmp_path: Path, form: str, suffix: str) -> None:
    path, sign = tmp_path / f"weights{suffix}", tmp_path / "sign"
    trap: Any = Trap(sign)
    if form == "pickle":
        path.write_bytes(pickle.dumps(trap, protocol=2))
    elif form == "among weights":
        torch.save({"state_dict": original().state_dict(), "args": trap}, path)
    else:
        {"bare": bare, "legacy": legacy}[form](trap, path)
    refusal(path)
    assert not sign.exists()


def test_the_trap_would_have_worked(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sign")))  # noqa: S301
    assert (tmp_path / "sign").read_text() == "caught"


def test_a_whole_pickled_model_is_refused_in_words_that_help(tmp_path: Path) -> None:
    torch.save(original(), tmp_path / "model.pt")
    message = refusal(tmp_path / "model.pt")
    assert message.isprintable()
    assert "can still be loaded" not in message


# Files that say themselves whose weights they hold


def test_a_model_file_describes_itself_and_bare_weights_do_not(tmp_path: Path) -> None:
    description = ModelDescription("small-cnn", 6, ("a", "b"), (1, 8, 8), (0.3,), (0.4,), {"width": 2})
    model = description.build()
    save_model(tmp_path / "model.safetensors", model, description)
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    save_file(model.state_dict(), tmp_path / "other.safetensors", {"format": "pt"})
    assert describes_itself(tmp_path / "model.safetensors")
    assert not describes_itself(tmp_path / "bare.safetensors")
    assert not describes_itself(tmp_path / "other.safetensors")
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(load_model(tmp_path / "model.safetensors")(x), model.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100])
def test_whether_something_else_describes_itself_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(NoiseproofError, match=r"x\.safetensors"):
        describes_itself(tmp_path / "x.safetensors")


# Factories

CODE = """\
from torch import nn

class Net(nn.Module):
    def __init__(self, features=6):
        super().__init__()
        self.features = features

made = Net()
number = 3

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 3))

def make_with(features=5, *, more=1, **rest):
    return Net(features + more)

def need(features):
    return Net(features)

def give_a_number():
    return 3

def give_nothing():
    pass

def give_the_class():
    return Net

def fail():
    raise ValueError("bad luck")

def import_a_neighbour():
    import a_neighbour
    return a_neighbour.make()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with code in it, none of which is there afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    Path("somebodys_code.py").write_text(CODE)
    Path("a_neighbour.py").write_text(CODE)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_factory_is_called(here: Path) -> None:
    model = call_factory("somebodys_code:make")
    assert isinstance(model, nn.Sequential)
    assert model(torch.rand(2, 6)).shape == (2, 3)
    assert call_factory("somebodys_code:make") is not model


def test_a_class_and_a_factory_with_defaults_are_called(here: Path) -> None:
    assert call_factory("somebodys_code:Net").features == 6
    assert call_factory("somebodys_code:make_with").features == 6


def test_a_model_in_place_of_a_factory_is_taken_as_it_is(here: Path) -> None:
    assert call_factory("somebodys_code:made") is sys.modules["somebodys_code"].made


def test_a_factory_of_an_installed_package_is_found(here: Path) -> None:
    assert isinstance(call_factory("torchvision.models:squeezenet1_1"), torchvision.models.SqueezeNet)


@pytest.mark.parametrize("name", ["we-ird name", "größe", "_x1", "class", "2fast"])
def test_modules_may_have_any_name(here: Path, name: str) -> None:
    Path(f"{name}.py").write_text(CODE, encoding="utf-8")
    assert isinstance(call_factory(f"{name}:make"), nn.Sequential)


@pytest.mark.parametrize("package", [True, False], ids=["package", "namespace"])
def test_modules_in_packages_are_found(here: Path, package: bool) -> None:
    folder = Path("some_lab/deep")
    folder.mkdir(parents=True)
    (folder / "models.py").write_text(CODE + "\nfrom some_lab.deep.layers import Layer\n")
    (folder / "layers.py").write_text("Layer = 1\n")
    if package:
        Path("some_lab/__init__.py").touch()
        (folder / "__init__.py").touch()
    assert isinstance(call_factory("some_lab.deep.models:make"), nn.Sequential)


def test_a_factory_may_import_its_neighbours_when_it_is_called(here: Path) -> None:
    assert isinstance(call_factory("somebodys_code:import_a_neighbour"), nn.Sequential)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobodys_code:make", "cannot import 'nobodys_code:make': No module named 'nobodys_code'"),
        ("somebodys_code.inner:make", "cannot import"),
        ("somebodys_code:mak", "has no attribute 'mak'"),
        ("somebodys_code:", "cannot import"),
        (":make", "cannot import"),
        (":", "cannot import"),
        ("somebodys_code:make:more", "has no attribute 'make:more'"),
        (".somebodys_code:make", "cannot import"),
        ("..:make", "cannot import"),
        ("somebodys_code:number", "somebodys_code:number"),
        ("somebodys_code:need", r"cannot call somebodys_code:need\(\): .*'features'"),
        ("somebodys_code:give_a_number", r"somebodys_code:give_a_number\(\) must give an nn\.Module, got int"),
        ("somebodys_code:give_nothing", r"must give an nn\.Module, got NoneType"),
        ("somebodys_code:give_the_class", r"must give an nn\.Module, got type"),
    ],
)
def test_what_is_no_factory_is_refused(here: Path, text: str, message: str) -> None:
    before = sys.path.copy()
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        call_factory(text)
    assert "\n" not in str(caught.value)
    assert sys.path == before


def test_a_factory_that_fails_tells_why(here: Path) -> None:
    before = sys.path.copy()
    with pytest.raises(ValueError, match="bad luck"):
        call_factory("somebodys_code:fail")
    assert sys.path == before


def test_a_module_that_cannot_be_imported_tells_why(here: Path) -> None:
    before = sys.path.copy()
    Path("broken_code.py").write_text("import no_such_package_of_anybody\n")
    with pytest.raises(InvalidArgumentError, match="no_such_package_of_anybody"):
        call_factory("broken_code:make")
    assert sys.path == before


@pytest.mark.parametrize("text", ["somebodys_code:make", "somebodys_code:made"])
def test_the_search_path_is_put_back(here: Path, text: str) -> None:
    before = sys.path.copy()
    call_factory(text)
    assert sys.path == before


def test_a_module_that_changes_the_search_path_keeps_its_change(here: Path) -> None:
    before = sys.path.copy()
    Path("changing_code.py").write_text("import sys\nsys.path.insert(0, '/somewhere/else')\n" + CODE)
    call_factory("changing_code:make")
    assert sys.path == ["/somewhere/else", *before]
