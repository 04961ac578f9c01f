"""``export_onnx``: the file answers as the model does, says what it is, and is not there where it would not."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.deploying import OnnxExport, check_onnx, export_onnx
from noiseproof.errors import ExportError, InvalidArgumentError

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

NETWORKS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("resnet18-cifar", (3, 8, 8), {}),
    ("resnet8-cifar", (1, 12, 12), {"width": 2}),
    ("small-cnn", (1, 10, 10), {"width": 2}),  # a feature map of 5×5 pooled to 2×2
    ("mlp", (13,), {"width": 4}),
    ("series-cnn", (2, 10), {"width": 2}),
    ("torchvision/resnet18", (3, 32, 32), {}),
    ("timm/test_resnet", (3, 32, 32), {}),
]

NAMES = ["猫", "a|b", 'say "hi"']


@pytest.fixture(scope="module")
def linear() -> nn.Module:
    """A model of two numbers."""
    return nn.Linear(2, 3)


@pytest.fixture(scope="module")
def exported(linear: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> OnnxExport:
    """Its file."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    return export_onnx(linear, path, torch.rand(5, 2), class_names=NAMES, metadata={"recipe": "ünï"})


def trained(model: nn.Module, *shape: int) -> nn.Module:
    """Batch statistics and weights that are not those of a fresh model."""
    with torch.no_grad():
        for _ in range(2):
            model.train()(torch.rand(8, *shape))
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def run(path: Path, inputs: Tensor) -> tuple[np.ndarray[Any, Any], ...]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return tuple(session.run(["logits", "probabilities"], {"input": inputs.numpy()}))


def metadata(path: Path) -> dict[str, str]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(session.get_modelmeta().custom_metadata_map)


@pytest.mark.parametrize(("name", "shape", "options"), NETWORKS, ids=[name for name, _, _ in NETWORKS])
def test_every_kind_of_network_answers_as_torch_does(
    tmp_path: Path, name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    channels = shape[0]
    own = None if "/" in name else 4
    model = npf.build_model(name, 3, own, in_channels=channels, mean=[0.4] * channels, std=[0.3] * channels, **options)
    trained(model, *shape)
    exported = export_onnx(model, tmp_path / "model.onnx", torch.rand(9, *shape), noise="gaussian:0.1")
    for size in (1, 3, 65):
        inputs = torch.rand(size, *shape)
        with torch.no_grad():
            expected = model(inputs)
        logits, probabilities = run(exported.path, inputs)
        np.testing.assert_allclose(logits, expected, atol=1e-4 * float(expected.abs().max()))
        np.testing.assert_allclose(probabilities, expected.softmax(1), atol=1e-4)
    assert [(each.view, each.batch_size, each.inputs) for each in exported.parity.batches] == [
        (view, size, inputs)
        for view in ("clean", "gaussian:0.1")
        for size, inputs in ((1, 8), (2, 16), (7, 56), (64, 64))
    ]
    assert exported.parity.logit_difference <= exported.parity.allowed
    onnx.checker.check_model(str(exported.path), full_check=True)


def test_a_model_that_was_split_takes_pixels(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    model = npf.FeatureClassifier.from_module(network.eval(), mean=0.5, std=0.25, example_input=torch.rand(2, 1, 8, 8))
    path = export_onnx(model, tmp_path / "deep" / "folder" / "model.onnx", torch.rand(1, 1, 8, 8)).path
    inputs = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        np.testing.assert_allclose(run(path, inputs)[0], network((inputs - 0.5) / 0.25), atol=1e-5)


def test_the_file_says_what_it_is_and_nothing_of_the_machine(
    tmp_path: Path, linear: nn.Module, exported: OnnxExport
) -> None:
    told = metadata(exported.path)
    assert json.loads(told["noiseproof.class_names"]) == NAMES
    assert json.loads(told["noiseproof.input"]) == {
        "name": "input", "kind": "vectors", "shape": ["batch", 2], "dtype": "float32", "range": None,
        "normalised_inside": True,
    }  # fmt: skip
    assert (told["noiseproof.version"], told["noiseproof.recipe"]) == (npf.__version__, "ünï")
    content = exported.path.read_bytes()
    again = export_onnx(linear, tmp_path / "b.onnx", torch.rand(5, 2), class_names=NAMES, metadata={"recipe": "ünï"})
    assert again.path.read_bytes() == content
    assert again.sha256 == exported.sha256 == hashlib.sha256(content).hexdigest()
    assert not any(part in content for part in (b".py", b"stack_trace", str(Path.cwd()).encode(), b"site-packages"))
    assert (exported.size, exported.opset >= 18) == (len(content), True)
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    assert [(each.name, each.shape, each.type) for each in session.get_inputs()] == [
        ("input", ["batch", 2], "tensor(float)")
    ]
    assert [each.name for each in session.get_outputs()] == ["logits", "probabilities"]


def test_the_model_stays_as_it_is(tmp_path: Path, tiny_model: npf.FeatureClassifier) -> None:
    tiny_model.train().to(torch.bfloat16)
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    export_onnx(tiny_model, tmp_path / "model.onnx", torch.rand(2, 1, 8, 8))
    assert all(part.training for part in tiny_model.modules())
    after = tiny_model.state_dict()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())
    assert all(parameter.requires_grad for parameter in tiny_model.parameters())


# What does not get its name


class Deceitful(nn.Module):
    """Answers otherwise when it is exported."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.change = nn.Linear(2, 3), change

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        return self.change(logits) if torch.compiler.is_compiling() else logits


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda logits: logits.flip(1), "answers differ"),
        (lambda logits: logits / 0, "differ by up to nan|differ by up to inf"),
        (lambda logits: logits[:, :2], r"gives \(8, 2\) for 8 inputs, not \(8, 3\)"),
    ],
)
def test_a_file_that_answers_otherwise_is_not_kept(
    tmp_path: Path, change: Callable[[Tensor], Tensor], named: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"the one before")
    with pytest.raises(ExportError, match=named):
        export_onnx(Deceitful(change), tmp_path / "model.onnx", torch.rand(9, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"the one before"


class Kinked(nn.Module):
    """Answers otherwise outside [-1, 1]."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inside(x)
        return logits + 100 * (x.abs().amax(1, keepdim=True) - 1).clamp_min(0)


def test_the_tolerance_decides(linear: nn.Module, exported: OnnxExport) -> None:
    scaled = copy.deepcopy(linear)
    with torch.no_grad():
        for parameter in scaled.parameters():
            parameter.mul_(1.01)
    found = check_onnx(exported.path, scaled, torch.rand(9, 2), tolerance=0.02)
    assert found.logit_difference == pytest.approx(found.allowed / 0.02 * 0.01 / 1.01, rel=1e-3)
    with pytest.raises(ExportError, match="does not agree"):
        check_onnx(exported.path, scaled, torch.rand(9, 2))


def test_noisy_inputs_are_looked_at_too(linear: nn.Module, exported: OnnxExport) -> None:
    inputs = torch.rand(9, 2)
    assert check_onnx(exported.path, Kinked(linear), inputs).logit_difference < 1e-5
    with pytest.raises(ExportError, match="on gaussian:3 inputs"):
        check_onnx(exported.path, Kinked(linear), inputs, noise="gaussian:3")


def test_a_damaged_file_is_told(tmp_path: Path, linear: nn.Module, exported: OnnxExport) -> None:
    inputs, whole, damaged = torch.rand(9, 2), exported.path.read_bytes(), tmp_path / "damaged.onnx"
    for content in (b"", b"no model at all", whole[: len(whole) // 2], whole[:-3]):
        damaged.write_bytes(content)
        with pytest.raises(ExportError, match=r"damaged\.onnx is no ONNX model that can be run, or is damaged"):
            check_onnx(damaged, linear, inputs)
    weights = linear.weight.detach().numpy().tobytes()
    assert weights in whole
    damaged.write_bytes(whole.replace(weights, weights[::-1]))
    with pytest.raises(ExportError):
        check_onnx(damaged, linear, inputs)
    with pytest.raises(ExportError, match=r"nowhere\.onnx"):
        check_onnx(tmp_path / "nowhere.onnx", linear, inputs)
    with pytest.raises(ExportError, match="does not agree"):
        check_onnx(exported.path, nn.Linear(2, 3), inputs)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.detach().sum()) > 0 else -x


class OfTwo(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)[:, :2].repeat(len(x) // 2, 1) if len(x) > 1 else x


@pytest.mark.parametrize("model", [Branching(), OfTwo()])
def test_what_cannot_be_exported_is_told_in_a_line(tmp_path: Path, model: nn.Module) -> None:
    with pytest.raises(ExportError) as caught:
        export_onnx(model, tmp_path / "model.onnx", torch.rand(4, 2))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) > 40
    assert list(tmp_path.iterdir()) == []


# Mistakes


@pytest.mark.parametrize(
    ("inputs", "settings", "named"),
    [
        (torch.rand(0, 2), {}, "floating batch"),
        (torch.rand(2), {}, "floating batch"),
        (torch.zeros(2, 2, dtype=torch.uint8), {}, "floating batch"),
        (None, {}, "NoneType"),
        (torch.rand(2, 5), {}, "cannot take inputs"),
        (torch.full((2, 2, 2, 2), 7.0), {}, r"values in \[0, 1\]"),
        (torch.rand(2, 2), {"class_names": ["a"]}, "class_names has 1 names, but the model 3 classes"),
        (torch.rand(2, 2), {"tolerance": 0}, "tolerance must be > 0"),
        (torch.rand(2, 2), {"noise": "gausian:1"}, "did you mean 'gaussian'"),
    ],
)
def test_wrong_arguments(tmp_path: Path, linear: nn.Module, inputs: Any, settings: Any, named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        export_onnx(linear, tmp_path / "model.onnx", inputs, **settings)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"model must be an nn\.Module, got function"):
        export_onnx(lambda x: x, tmp_path / "model.onnx", torch.rand(2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named(
    tmp_path: Path, linear: nn.Module, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidArgumentError, match=rf"needs {package}: pip install 'noiseproof\[onnx\]'"):
        export_onnx(linear, tmp_path / "model.onnx", torch.rand(2, 2))


def test_the_extra_that_is_named_is_there() -> None:
    assert importlib.util.find_spec("onnxruntime")
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert "\nonnx = [" in project
