"""``npz:PATH``: images, vectors or series from a NumPy archive, and archives that are not what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noiseproof.data import load_splits
from noiseproof.data.sources import SOURCES, SourceData, SourceOptions
from noiseproof.errors import DataError, NoiseproofError

Y = np.array([0, 1, 0, 1])


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def images(n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, 5, 6), dtype=np.uint8)


def read(folder: Path, **arrays: Any) -> SourceData:
    np.savez(folder / "data.npz", **arrays)
    return SOURCES["npz"](str(folder / "data.npz"), SourceOptions())


def test_images_stay_bytes(tmp_path: Path) -> None:
    x = images()
    data = read(tmp_path, x=x, y=Y)
    assert data.train.inputs.dtype == torch.uint8
    assert np.array_equal(data.train.inputs.numpy(), x)
    assert (data.train.labels.tolist(), data.train.class_names) == ([0, 1, 0, 1], ("0", "1"))
    assert data.test is None


@pytest.mark.parametrize("shape", [(4, 7), (4, 2, 9), (4, 1, 5, 5)], ids=["vectors", "series", "images"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_inputs_become_float32(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    x = np.random.default_rng(0).random(shape).astype(dtype)
    data = read(tmp_path, x=x, y=Y).train
    assert (data.inputs.dtype, data.input_shape) == (torch.float32, shape[1:])
    assert np.array_equal(data.inputs.numpy(), x.astype(np.float32))


def test_vectors_of_whole_numbers_are_numbers(tmp_path: Path) -> None:
    assert read(tmp_path, x=np.arange(8).reshape(4, 2), y=Y).train.inputs.tolist()[3] == [6.0, 7.0]


def test_a_test_set_and_names(tmp_path: Path) -> None:
    data = read(tmp_path, x=images(), y=Y, x_test=images(2), y_test=np.array([2, 0]), class_names=["a", "b", "ç"])
    assert data.test is not None
    assert data.test.labels.tolist() == [2, 0]
    assert data.test.class_names == data.train.class_names == ("a", "b", "ç")
    assert len(load_splits(f"npz:{tmp_path / 'data.npz'}").test) == 2


def test_classes_are_counted_over_both_parts(tmp_path: Path) -> None:
    data = read(tmp_path, x=images(), y=Y, x_test=images(1), y_test=np.array([3]))
    assert data.train.class_names == ("0", "1", "2", "3")


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i4"])
def test_labels_may_be_of_any_whole_type(tmp_path: Path, dtype: str) -> None:
    assert read(tmp_path, x=images(), y=Y.astype(dtype)).train.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_inputs_may_be_of_another_byte_order(tmp_path: Path, dtype: str) -> None:
    assert read(tmp_path, x=np.ones((4, 3), dtype), y=Y).train.inputs.unique().tolist() == [1.0]


@pytest.mark.parametrize("name", ["x", "y", "class_names", "other"])
def test_pickled_objects_are_never_executed(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    trap = np.empty(4, dtype=object)
    trap[:] = [Trap(mark)] * 4
    with pytest.raises(DataError, match=rf"cannot read the array {name} in .*\.astype\(str\)") as caught:
        read(tmp_path, **{"x": images(), "y": Y, name: trap})
    assert "allow_pickle" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": Y, "y": Y}, "needs arrays x and y .*it has: a, y"),
        ({"x": images()}, "needs arrays x and y .*it has: x"),
        ({"x": images(), "y": Y, "x_test": images()}, "x_test with y_test"),
        ({"x": images(), "y": Y, "y_test": Y}, "x_test with y_test"),
        ({"x": images(), "y": Y.astype(float)}, r"whole numbers.*float64.*\.astype\(int\)"),
        ({"x": images(), "y": Y + 0.5}, r"whole numbers.*float64 \(4,\)$"),
        ({"x": images(), "y": np.full(4, np.nan)}, r"whole numbers.*float64 \(4,\)$"),
        ({"x": images(), "y": Y.astype(bool)}, r"whole numbers.*bool.*\.astype\(int\)"),
        ({"x": images(), "y": np.array(list("abab"))}, "whole numbers.*name them in an array class_names"),
        ({"x": images(), "y": np.eye(4, dtype=int)}, "whole numbers of shape"),
        ({"x": images(), "y": np.array(1)}, "whole numbers of shape"),
        ({"x": images(), "y": Y, "x_test": images(), "y_test": Y[:, None]}, "whole numbers of shape"),
        ({"x": images(), "y": Y[:3]}, "3 entries for 4 samples"),
        ({"x": images(), "y": Y - 1}, "must lie in"),
        ({"x": images(), "y": Y, "class_names": ["a"]}, r"must lie in \[0, 1\), as class_names has 1, got 1"),
        ({"x": images(0), "y": Y[:0]}, "N > 0"),
        ({"x": images()[:, 0, 0, 0], "y": Y}, r"inputs must be \(N, …\)"),
        ({"x": images().astype(float), "y": Y}, "divide by 255"),
        ({"x": np.full((4, 2), np.nan), "y": Y}, "x holds NaN or infinite values: 8 of 8, .* row 0, column 0"),
        ({"x": np.ones((4, 2)), "y": Y, "x_test": np.full((1, 2), np.inf), "y_test": Y[:1]}, "x_test holds NaN"),
        ({"x": np.full((4, 2), "a"), "y": Y}, "x"),
        ({"x": np.ones((4, 2), complex), "y": Y}, "x"),
        ({"x": images(), "y": Y, "class_names": np.array("cats")}, "class_names"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(NoiseproofError, match=message) as caught:
        read(tmp_path, **arrays)
    assert "\n" not in str(caught.value)


def test_test_inputs_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoiseproofError, match="x_test"):
        read(tmp_path, x=np.ones((4, 3)), y=Y, x_test=np.ones((4, 2)), y_test=Y)


def not_an_archive(path: Path, kind: str) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("x,y\n1,2\n")
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, images())
    else:
        np.savez_compressed(path, x=images(40), y=np.arange(40))
        content = bytearray(path.read_bytes())
        if kind == "cut":
            content = content[:-30]
        else:
            content[300:400] = b"\xff" * 100
        path.write_bytes(content)


@pytest.mark.parametrize("kind", ["empty", "text", "npy", "cut", "damaged"])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data.npz"
    not_an_archive(path, kind)
    with pytest.raises(DataError, match=r"cannot read .*data\.npz") as caught:
        load_splits(f"npz:{path}")
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"), [("t.csv", r"; did you mean csv:.*t\.csv\?"), ("t.npy", "; it is one array, .*"), ("t.txt", "")]
)
def test_what_a_file_that_is_no_archive_is_meant_for(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / name).write_text("a,b,label\n1,2,0\n")
    with pytest.raises(
        DataError, match=rf"cannot read .*{name} as an \.npz archive: it is none, or is cut short{hint}$"
    ):
        load_splits(f"npz:{tmp_path / name}")


def test_a_file_must_be_given_and_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a file, as in npz:PATH; nothing is none"):
        load_splits("npz")
    for place in (tmp_path, tmp_path / "nowhere.npz"):
        with pytest.raises(DataError, match="needs a file, as in npz:PATH"):
            load_splits(f"npz:{place}")
