"""``svhn:FOLDER`` on made ``.mat`` pairs in the published format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from noiseproof.data import load_splits
from noiseproof.data.sources import SOURCES, SourceData, SourceOptions
from noiseproof.errors import DataError, NoiseproofError


def pixels(n: int, seed: int = 0) -> np.ndarray:
    """(N, 32, 32, 3)"""
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def write(folder: Path, split: str, images: np.ndarray, labels: list[int]) -> None:
    column = np.array(labels, dtype=np.uint8).reshape(-1, 1)
    savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": column})


def read(folder: Path, name: str = "svhn") -> SourceData:
    return SOURCES[name](str(folder), SourceOptions())


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    write(tmp_path, "train", pixels(4), [10, 1, 9, 5])
    write(tmp_path, "test", pixels(2, seed=1), [3, 10])
    return tmp_path


def test_ten_means_zero(pair: Path) -> None:
    data = read(pair)
    assert data.test is not None
    assert data.train.labels.tolist() == [0, 1, 9, 5]
    assert data.test.labels.tolist() == [3, 0]
    assert data.train.class_names == tuple("0123456789")


def test_every_pixel_is_in_its_place(pair: Path) -> None:
    data = read(pair)
    assert data.test is not None
    assert (data.train.inputs.dtype, data.train.inputs.shape) == (torch.uint8, (4, 3, 32, 32))
    assert torch.equal(data.train.inputs, torch.from_numpy(pixels(4)).permute(0, 3, 1, 2))
    assert torch.equal(data.test.inputs, torch.from_numpy(pixels(2, seed=1)).permute(0, 3, 1, 2))


def test_torchvision_reads_the_same(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    monkeypatch.setattr(SVHN, "_check_integrity", lambda _: True)
    theirs, ours = SVHN(str(pair), split="train"), read(pair).train
    assert np.array_equal(theirs.data, ours.inputs.numpy())
    assert theirs.labels.tolist() == ours.labels.tolist()


def test_extra_images_are_added_for_training(pair: Path) -> None:
    write(pair, "extra", pixels(3, seed=2), [2, 10, 4])
    data = read(pair, "svhn-extra")
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (7, 2)
    assert data.train.labels.tolist() == [0, 1, 9, 5, 2, 0, 4]
    assert torch.equal(data.train.inputs[4:], torch.from_numpy(pixels(3, seed=2)).permute(0, 3, 1, 2))
    assert len(read(pair).train) == 4


def test_the_test_set_is_the_published_one(pair: Path) -> None:
    assert len(load_splits(f"svhn:{pair}", test_fraction=0.5).test) == 2


@pytest.mark.parametrize(("name", "split"), [("svhn", "train"), ("svhn", "test"), ("svhn-extra", "extra")])
def test_a_missing_file_and_the_ways_out_are_named(pair: Path, name: str, split: str) -> None:
    (pair / f"{split}_32x32.mat").unlink(missing_ok=True)
    with pytest.raises(DataError, match=rf"{split}_32x32\.mat does not exist; .*svhn:PATH.*data\.download=true"):
        read(pair, name)


def test_the_folder_may_come_from_the_environment(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair / "svhn").mkdir()
    for split in ("train", "test"):
        (pair / f"{split}_32x32.mat").rename(pair / "svhn" / f"{split}_32x32.mat")
    monkeypatch.setenv("NOISEPROOF_DATA", str(pair))
    assert len(load_splits("svhn").train) == 4


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.zeros((32, 32, 1, 4), np.uint8), np.ones((4, 1))), (np.zeros((4, 32, 32, 3), np.uint8), np.ones((4, 1))),
        (np.zeros((32, 32, 3, 4), np.uint8), np.ones((3, 1))), (np.zeros((32, 32, 3), np.uint8), np.ones((1, 1))),
    ],
)  # fmt: skip
def test_wrong_shapes_are_refused(pair: Path, x: np.ndarray, y: np.ndarray) -> None:
    savemat(pair / "train_32x32.mat", {"X": x, "y": y})
    with pytest.raises(DataError, match=r"train_32x32\.mat must hold X \(32, 32, 3, N\)"):
        read(pair)


def test_pixels_that_are_no_bytes_are_refused(pair: Path) -> None:
    savemat(pair / "train_32x32.mat", {"X": np.random.default_rng(0).random((32, 32, 3, 4)), "y": np.ones((4, 1))})
    with pytest.raises(NoiseproofError, match="X"):
        read(pair)


@pytest.mark.parametrize("label", [11, 25])
def test_labels_beyond_ten_are_refused(pair: Path, label: int) -> None:
    write(pair, "train", pixels(2), [1, label])
    with pytest.raises(NoiseproofError, match=str(label)):
        read(pair)


def test_other_variables_are_refused(pair: Path) -> None:
    savemat(pair / "train_32x32.mat", {"images": np.zeros(3)})
    with pytest.raises(DataError, match=r"cannot read X and y in .*train_32x32\.mat"):
        read(pair)


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "damaged"])
def test_a_file_that_is_no_mat_is_named(pair: Path, kind: str) -> None:
    path = pair / "train_32x32.mat"
    if kind == "damaged":
        savemat(path, {"X": pixels(4).transpose(1, 2, 3, 0), "y": np.ones((4, 1))}, do_compression=True)
    whole = path.read_bytes()
    contents = {
        "empty": b"", "text": b"no mat " * 40, "cut": whole[: len(whole) // 2],
        "damaged": whole[:200] + b"\xff" * 200 + whole[400:],
    }  # fmt: skip
    path.write_bytes(contents[kind])
    with pytest.raises(DataError, match=r"cannot read X and y in .*train_32x32\.mat"):
        read(pair)


@pytest.mark.parametrize("error", [RuntimeError("File not found or corrupted."), OSError("no route to host")])
def test_a_download_that_fails_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("torchvision.datasets.SVHN", fail)
    with pytest.raises(DataError, match="svhn"):
        SOURCES["svhn"](str(tmp_path), SourceOptions(download=True))
