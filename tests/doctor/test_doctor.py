"""What the examination finds, also where something is wrong."""

from __future__ import annotations

import importlib
import json
import tempfile
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import noiseproof.doctor.places as places
import noiseproof.doctor.versions as versions
from noiseproof.doctor import Finding, examine
from noiseproof.doctor.devices import devices
from noiseproof.doctor.selftest import selftest
from noiseproof.methods import METHODS
from noiseproof.training.trainer import Trainer


def by_name(findings: Any) -> dict[str, Finding]:
    return {found.name: found for found in findings}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISEPROOF_DATA", raising=False)


def test_nothing_is_left_behind_and_nothing_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "temporary"
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    found = list(examine("runs/mine", self_test=False))
    assert [each.section for each in found if each.status == "failed"] == []
    assert {each.section for each in found} == {"versions", "extras", "disk", "devices", "data"}
    assert all(each.value for each in found)
    assert not list(other.glob("noiseproof*"))
    assert list(tmp_path.iterdir()) == [other]


def test_versions_are_those_that_are_installed() -> None:
    found = by_name(versions.versions())
    for name in ("torch", "torchvision", "accelerate"):
        assert found[name] == Finding("versions", name, "ok", version(name))


def test_every_extra_is_said_to_be_for_something() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(versions.EXTRAS) == set(project["optional-dependencies"]) - {"dev"}


def installed(monkeypatch: pytest.MonkeyPatch, **there: str | None) -> None:
    """Let packages have other versions, or none."""

    def look_up(name: str) -> str:
        if name in there:
            told = there[name]
            if told is None:
                raise PackageNotFoundError(name)
            return told
        return version(name)

    monkeypatch.setattr(versions, "version", look_up)


@pytest.mark.parametrize(("name", "there"), [("torch", "1.0"), ("rich", "2.0"), ("jinja2", None)])
def test_a_requirement_that_is_missing_or_too_old(
    monkeypatch: pytest.MonkeyPatch, name: str, there: str | None
) -> None:
    installed(monkeypatch, **{name: there})
    found = by_name(versions.versions())[name]
    assert found.status == "failed"
    assert found.value.startswith("not installed" if there is None else f"{there}, needs >=")
    assert found.fix.startswith(f"pip install '{name}>=")


def test_an_extra_that_is_missing_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, timm=None)
    found = by_name(versions.versions())["timm"]
    assert (found.section, found.status) == ("extras", "absent")
    assert "timm/NAME" in found.value
    assert found.fix == "pip install 'noiseproof[timm]'"


def test_a_package_that_is_used_from_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(versions, "requires", none)
    found = by_name(versions.versions())
    assert found["noiseproof"].status == "absent"
    assert found["torch"].status == "ok"


def test_without_torch_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def broken(name: str) -> object:
        if name == "torch":
            raise OSError("libcudart.so.12: cannot open shared object file\nand more")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    found = list(examine())
    (failed,) = [each for each in found if each.status == "failed"]
    assert failed.value == "cannot be imported: libcudart.so.12: cannot open shared object file"
    assert failed.fix.startswith("pip install --force-reinstall 'torch")
    assert {each.section for each in found} == {"versions", "extras", "disk"}


def test_the_room_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(places.shutil, "disk_usage", lambda _: Usage(2**30))
    (found,) = places.disk(Path("a/b"))
    assert (found.status, found.value) == ("ok", "can be written, 1.0 GiB free")
    monkeypatch.setattr(places.shutil, "disk_usage", lambda _: Usage(2**20))
    (found,) = places.disk(Path("a/b"))
    assert found.status == "failed"
    assert "--out" in found.fix


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(places.tempfile, "TemporaryFile", refused)
    (found,) = places.disk(Path("runs"))
    assert (found.status, found.value) == ("failed", "cannot be written: Permission denied")


def test_a_file_in_the_place_of_the_folder() -> None:
    Path("runs").write_text("")
    (found,) = places.disk(Path("runs/mine"))
    assert (found.status, found.value) == ("failed", f"{Path('runs').absolute()} is a file")


def test_published_data_is_looked_for_in_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = by_name(places.data())
    assert {name for name, each in before.items() if each.status == "ok"} == {
        "digits", "digit-lines", "wine", "breast-cancer",
    }  # fmt: skip
    assert before["digits"].value == "1,797 samples of 1×8×8, 10 classes"
    assert "data/svhn is not there" in before["svhn"].value
    assert "--set data.download=true" in before["svhn"].fix
    monkeypatch.setenv("NOISEPROOF_DATA", str(tmp_path / "sets"))
    folder = tmp_path / "sets" / "svhn"
    folder.mkdir(parents=True)
    (folder / "train_32x32.mat").touch()
    assert by_name(places.data())["svhn"].value == f"{folder} lacks test_32x32.mat"
    (folder / "test_32x32.mat").touch()
    after = by_name(places.data())
    assert after["svhn"].status == "ok"
    assert after["svhn-extra"].value == f"{folder} lacks extra_32x32.mat"


def test_the_devices() -> None:
    found = by_name(devices())
    assert f"{torch.get_num_threads()} torch threads" in found["cpu"].value
    assert found["training"].status == "ok"
    if not torch.cuda.is_available():
        assert found["cuda"].status == "absent"


def test_a_gpu_is_told_and_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def gpu(monkeypatch: pytest.MonkeyPatch, move: Callable[..., torch.Tensor]) -> Finding:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**30, 2**31))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Some GPU")
        monkeypatch.setattr(torch.Tensor, "to", move)
        return by_name(devices())["cuda:0"]

    def refuses(*_: object) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nfor this device")

    with monkeypatch.context() as patch:
        found = gpu(patch, lambda tensor, *_: tensor)
    assert (found.status, found.value) == ("ok", "Some GPU, 1.0 of 2.0 GiB free, compute capability 9.0")
    with monkeypatch.context() as patch:
        found = gpu(patch, refuses)
    assert found.status == "failed"
    assert found.value.endswith("does not compute: no kernel image is available")
    with monkeypatch.context() as patch:
        found = gpu(patch, lambda tensor, *_: tensor + 0.1)
    assert (found.status, found.value.rpartition("; ")[2]) == ("failed", "computes wrong")


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_passes_its_self_test(method: str) -> None:
    (found,) = selftest([method])
    assert (found.section, found.name, found.status) == ("self-test", method, "ok"), found.value


def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Trainer.load_state_dict

    def load(self: Trainer, state: dict[str, Any]) -> None:
        real(self, {**state, "step": state["step"] + 1})

    monkeypatch.setattr(Trainer, "load_state_dict", load)


def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: Trainer, views: Any) -> None:
        with torch.no_grad():
            self.monitor.add(self.trained(views))
        self.step += 1

    monkeypatch.setattr(Trainer, "_step", step)
    monkeypatch.setattr(Trainer, "_note", lambda *_: "")


def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: object) -> None:
        raise RuntimeError("mkldnn: unsupported\noperation")

    monkeypatch.setattr(Trainer, "_step", step)


@pytest.mark.parametrize(
    ("fault", "told"),
    [(forgetful, "the resumed run has other weights"), (idle, "no better than chance"), (failing, "mkldnn")],
)
def test_faults_are_found(monkeypatch: pytest.MonkeyPatch, fault: Callable[..., None], told: str) -> None:
    fault(monkeypatch)
    (found,) = selftest(["normal"])
    assert found.status == "failed"
    assert told in found.value
    assert "\n" not in found.value
    assert found.fix


def test_findings_are_plain_values() -> None:
    json.dumps([vars(found) for found in places.disk(Path("runs"))])
