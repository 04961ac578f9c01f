"""``cifar10`` and ``cifar100``: what torchvision hands over, and what is said when it has nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noiseproof.data import load_splits
from noiseproof.data.sources import SOURCES, SourceOptions
from noiseproof.errors import DataError

CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
each_name = pytest.mark.parametrize("name", CLASSES)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a test tried to reach the network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


class Made:
    """Stands for torchvision's data set."""

    calls: list[tuple[str, bool, bool]]

    def __init__(self, root: str, train: bool, download: bool) -> None:
        self.calls.append((root, train, download))
        n = 6 if train else 4
        self.data = np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        self.targets = [i % 3 for i in range(n)]
        self.classes = ["plane", "car", "bird"]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type[Made]:
    Made.calls = []
    for cls in CLASSES.values():
        monkeypatch.setattr(f"torchvision.datasets.{cls}", Made)
    return Made


@each_name
def test_images_labels_and_names_arrive_right(name: str, made: type[Made], tmp_path: Path) -> None:
    splits = load_splits(f"{name}:{tmp_path}")
    for data, train in ((splits.train, True), (splits.test, False)):
        theirs = Made("", train, False)
        assert (data.inputs.dtype, data.input_shape) == (torch.uint8, (3, 32, 32))
        assert np.array_equal(data.inputs.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert data.labels.tolist() == theirs.targets
        assert data.class_names == ("plane", "car", "bird")
    assert splits.validation is None


@each_name
def test_a_download_is_made_only_if_asked(name: str, made: type[Made], tmp_path: Path) -> None:
    for download in (False, True):
        SOURCES[name](str(tmp_path), SourceOptions(download=download))
    assert [call[1:] for call in made.calls] == [(True, False), (False, False), (True, True), (False, True)]
    assert {call[0] for call in made.calls} == {str(tmp_path)}


@each_name
def test_a_missing_folder_is_answered_with_the_ways_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_splits(f"{name}:{tmp_path / 'nowhere'}")
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(tmp_path / "nowhere"), f"{name}:PATH", "parquet:PATH", "--set data.download=true"):
        assert part in message
    assert not (tmp_path / "nowhere").exists()


def test_damaged_official_files_are_never_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in ("batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (folder / file).write_bytes(b"cposix\nsystem\n(S'false'\ntR.")
    with pytest.raises(DataError, match="cifar10 is not in"):
        load_splits(f"cifar10:{tmp_path}")


@each_name
def test_the_folder_may_come_from_the_environment(
    name: str, made: type[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOISEPROOF_DATA", str(tmp_path))
    load_splits(name)
    monkeypatch.delenv("NOISEPROOF_DATA")
    load_splits(name)
    assert [call[0] for call in made.calls] == [str(tmp_path / name)] * 2 + [str(Path("data", name))] * 2


@pytest.mark.parametrize("error", [OSError("no route to host\nmore"), ConnectionResetError(), RuntimeError()])
def test_a_download_that_fails_is_a_data_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fail)
    with pytest.raises(DataError, match="cifar10 is not in"):
        SOURCES["cifar10"]("somewhere", SourceOptions(download=True))
