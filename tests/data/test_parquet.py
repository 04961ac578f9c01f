"""``parquet:FOLDER`` on made files in the layout of image data sets on the Hugging Face hub."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from noiseproof.data import Splits, load_splits
from noiseproof.data.sources import SOURCES, SourceData, SourceOptions
from noiseproof.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(value: int, kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> bytes:
    colour = value if mode in ("L", "P") else (value, value // 2, 0)
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def write(
    path: Path, images: list[Any], labels: list[int], *, image: str = "img", label: str = "label",
    names: list[str] | None = None,
) -> None:  # fmt: skip
    cells = [{"bytes": cell, "path": f"{i}.png"} if isinstance(cell, bytes) else cell for i, cell in enumerate(images)]
    table = pa.table({image: pa.array(cells, STRUCT), label: pa.array(labels, pa.int64())})
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def read(folder: Path) -> SourceData:
    return SOURCES["parquet"](str(folder), SourceOptions())


def one(folder: Path, images: list[Any], labels: list[int], **options: Any) -> SourceData:
    write(folder / "train-00000-of-00001.parquet", images, labels, **options)
    return read(folder)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("image", ["img", "image"])
@pytest.mark.parametrize("label", ["label", "fine_label"])
def test_images_labels_and_names(tmp_path: Path, kind: str, image: str, label: str) -> None:
    images = [encoded(value, kind) for value in (10, 200, 30)]
    data = one(tmp_path, images, [1, 0, 1], image=image, label=label, names=["cat", "dog"]).train
    assert data.inputs.dtype == torch.uint8
    assert data.inputs.shape == (3, 3, 8, 8)
    assert data.inputs[:, :, 3, 3].tolist() == [[10, 5, 0], [200, 100, 0], [30, 15, 0]]
    assert (data.labels.tolist(), data.class_names) == ([1, 0, 1], ("cat", "dog"))


def test_the_fine_label_is_taken_where_there_is_a_coarse_one(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": encoded(v), "path": None} for v in (1, 2)], STRUCT)
    table = pa.table({"img": cells, "coarse_label": [0, 0], "fine_label": [0, 1]})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    assert read(tmp_path).train.labels.tolist() == [0, 1]


def test_shards_are_joined_in_order(tmp_path: Path) -> None:
    for shard in (2, 0, 1):
        write(tmp_path / f"train-0000{shard}-of-00003.parquet", [encoded(shard * 10), encoded(shard * 10 + 1)], [0, 1])
    data = read(tmp_path).train
    assert data.inputs[:, 0, 0, 0].tolist() == [0, 1, 10, 11, 20, 21]
    assert data.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_splits_in_sub_folders_are_kept_apart(tmp_path: Path, name: str) -> None:
    for value, split in enumerate(("train", name, "test")):
        write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", [encoded(value)] * 2, [0, 1], names=["a", "b"])
    splits = load_splits(f"parquet:{tmp_path}")
    assert isinstance(splits, Splits)
    parts = (splits.train, splits.validation, splits.test)
    assert [int(part.inputs[0, 0, 0, 0]) for part in parts if part is not None] == [0, 1, 2]


def test_without_names_classes_are_numbered(tmp_path: Path) -> None:
    assert one(tmp_path, [encoded(1), encoded(2)], [0, 2]).train.class_names == ("0", "1", "2")


def test_without_names_all_splits_have_the_classes_of_all(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00001.parquet", [encoded(1)] * 3, [0, 1, 2])
    write(tmp_path / "test-00000-of-00001.parquet", [encoded(1)] * 2, [0, 1])
    data = read(tmp_path)
    assert data.test is not None
    assert data.test.class_names == data.train.class_names == ("0", "1", "2")


def test_grey_and_palette_images_become_rgb(tmp_path: Path) -> None:
    grey, palette = encoded(90, mode="L"), io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).convert("P", palette=Image.Palette.ADAPTIVE).save(palette, "PNG")
    data = one(tmp_path, [grey, palette.getvalue()], [0, 1]).train
    assert data.inputs[:, :, 0, 0].tolist() == [[90, 90, 90], [1, 2, 3]]


def test_a_missing_shard_is_told(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", [encoded(1)], [0])
    with pytest.raises(DataError, match="1 of the 2 shards of the split 'train'"):
        read(tmp_path)


def test_missing_columns_are_answered_with_those_there_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"pixels": [1.0], "text": ["a"]}), tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"needs a column of images.*it has pixels: double, text: string"):
        read(tmp_path)


@pytest.mark.parametrize("broken", [encoded(1)[:40], b"", b"text"])
def test_a_broken_image_is_named_by_its_row(tmp_path: Path, broken: bytes) -> None:
    with pytest.raises(DataError, match=r"row 2 \(2\.png\)"):
        one(tmp_path, [encoded(1), encoded(2), broken], [0, 1, 0])


@pytest.mark.parametrize("cell", [None, {"bytes": None, "path": "elsewhere.png"}])
def test_a_row_without_an_image_is_named(tmp_path: Path, cell: object) -> None:
    with pytest.raises(DataError, match="row 1"):
        one(tmp_path, [encoded(1), cell], [0, 1])


def test_a_row_without_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label"):
        one(tmp_path, [encoded(1), encoded(2)], [0, None])  # type: ignore[list-item]


def test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="different sizes"):
        one(tmp_path, [encoded(1), encoded(2, size=(9, 8))], [0, 1])


def test_splits_of_different_sizes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00001.parquet", [encoded(1)] * 2, [0, 1])
    write(tmp_path / "test-00000-of-00001.parquet", [encoded(1, size=(9, 8))] * 2, [0, 1])
    with pytest.raises(DataError, match="test"):
        load_splits(f"parquet:{tmp_path}")


@pytest.mark.parametrize("content", [b"", b"this is no Parquet", b"PAR1" + bytes(50)])
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train-00000-of-00001.parquet").write_bytes(content)
    with pytest.raises(DataError, match="cannot read train-00000-of-00001"):
        read(tmp_path)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        one(tmp_path, [], [])


def test_a_folder_must_be_given_and_hold_training_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a folder, as in parquet:PATH"):
        load_splits("parquet")
    with pytest.raises(DataError, match="does not exist"):
        load_splits(f"parquet:{tmp_path / 'nowhere'}")
    write(tmp_path / "test-00000-of-00001.parquet", [encoded(1)], [0])
    with pytest.raises(DataError, match=r"no files named train-.*found splits: \['test'\]"):
        read(tmp_path)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train-00000-of-00001.parquet", [encoded(1)], [0])
    for module in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"pip install 'noiseproof\[parquet\]'"):
        read(tmp_path)
