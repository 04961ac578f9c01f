"""Parquet files in the layout of image data sets on the Hugging Face hub.

``parquet:FOLDER`` with files named ``SPLIT-iiiii-of-nnnnn.parquet``: a column of encoded images (a struct with
``bytes``) and one of integer labels, whose names stand in the schema's ``huggingface`` metadata.
"""

from __future__ import annotations

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.images import decode_rgb
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, existing_folder, numbered_classes
from noiseproof.errors import DataError

__all__ = ["parquet"]

_SHARD = re.compile(r"(?P<split>\w+)-(?P<number>\d+)-of-(?P<count>\d+)\.parquet$")
_TRAIN, _VALIDATION, _TEST = ("train",), ("validation", "valid", "val"), ("test",)


@SOURCES.register("parquet")
def parquet(argument: str, options: SourceOptions) -> SourceData:  # noqa: ARG001
    """Return the splits that lie in a folder, all images decoded to uint8.

    Raises:
        DataError: no such folder, a shard or a column missing, images of different sizes, or pyarrow not installed.
    """
    folder = existing_folder("parquet", argument)
    shards: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        if match := _SHARD.match(path.name):
            shards.setdefault(match["split"], []).append(path)
    for split, paths in shards.items():
        expected = int(_SHARD.match(paths[0].name)["count"])  # type: ignore[index]
        if len(paths) != expected:
            raise DataError(f"{folder} holds {len(paths)} of the {expected} shards of the split {split!r}")
    wanted = {"train": _TRAIN, "validation": _VALIDATION, "test": _TEST}
    parts = {part: _load(shards[split]) for part, splits in wanted.items() for split in splits if split in shards}
    if "train" not in parts:
        raise DataError(f"{folder} holds no files named train-00000-of-….parquet; found splits: {sorted(shards)}")
    largest = max(int(part.labels.max()) for part in parts.values())
    names = parts["train"].class_names or numbered_classes(largest)
    data = {part: ArrayDataset(loaded.images, loaded.labels, names) for part, loaded in parts.items()}
    return SourceData(data["train"], test=data.get("test"), validation=data.get("validation"))


class _Part(NamedTuple):
    """A split as it lies in its files; ``class_names`` is empty where the files name none."""

    images: Tensor
    labels: Tensor
    class_names: list[str]


def _load(paths: list[Path]) -> _Part:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError("reading Parquet needs pyarrow: pip install 'noiseproof[parquet]'") from None
    try:
        table = pa.concat_tables([pq.read_table(path) for path in paths])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {paths[0].name} and its like: {error}") from error
    image_column, label_column = _columns(table, paths[0])
    cells = table.column(image_column).to_pylist()
    labels = table.column(label_column).to_pylist()
    for row, (cell, label) in enumerate(zip(cells, labels, strict=True)):
        if cell is None or cell.get("bytes") is None or label is None:
            raise DataError(
                f"row {row} of {paths[0].name} and its like has no {'image' if label is not None else 'label'}"
            )
        if not isinstance(cell["bytes"], bytes) or not abs(label) < 2**63:
            wrong = "bytes" if not isinstance(cell["bytes"], bytes) else "label"
            raise DataError(f"row {row} of {paths[0].name} and its like holds {wrong} that cannot be read")
    names = [f"row {row}" + (f" ({cell['path']})" if cell.get("path") else "") for row, cell in enumerate(cells)]
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda cell, name: decode_rgb(io.BytesIO(cell["bytes"]), name), cells, names))
    sizes = {tuple(image.shape) for image in images}
    if len(sizes) != 1:
        raise DataError(f"the images of {paths[0].name} have different sizes, such as {sorted(sizes)[:2]}")
    return _Part(torch.stack(images), torch.tensor(labels), _class_names(table.schema, label_column))


def _columns(table: Any, path: Path) -> tuple[str, str]:
    import pyarrow as pa

    fields = list(table.schema)
    images = [f.name for f in fields if pa.types.is_struct(f.type) and any(part.name == "bytes" for part in f.type)]
    labels = [f.name for f in fields if pa.types.is_integer(f.type)]
    if not images or not labels:
        raise DataError(
            f"{path.name} needs a column of images (a struct with 'bytes') and one of integer labels; "
            f"it has {', '.join(f'{field.name}: {field.type}' for field in fields)}"
        )
    preferred = [name for name in ("label", "labels", "fine_label") if name in labels]
    return images[0], (preferred or labels)[0]


def _class_names(schema: Any, column: str) -> list[str]:
    """The names in the schema's metadata; none where it has none."""
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names") or []
        return [str(name) for name in names]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"the names of the classes in the Parquet metadata cannot be read: {error}") from error
