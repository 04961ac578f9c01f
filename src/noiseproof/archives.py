"""Results on disk: ``NAME.json`` for people and other programs, ``NAME.npz`` for what is known of each sample."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noiseproof.errors import NoiseproofError
from noiseproof.files import write_atomically, write_text

__all__ = ["digest", "finite", "load_result", "reading", "save_result"]

Arrays = dict[str, NDArray[Any]]

# What NumPy, zipfile and json raise for files that are missing, cut short, damaged or something else altogether.
_UNREADABLE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SyntaxError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def save_result(folder: str | Path, name: str, summary: Mapping[str, Any], arrays: Arrays) -> None:
    """Write both files into ``folder``, which is made; a checksum in the one ties them together."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(folder / f"{name}.npz", write)
    content = {**summary, "sha256": digest(summary, arrays)}
    write_text(folder / f"{name}.json", json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def load_result(folder: str | Path, name: str, version: int) -> tuple[dict[str, Any], Arrays]:
    """Read what :func:`save_result` wrote, a summary with ``version`` as its format; call it inside :func:`reading`.

    Raises:
        ValueError: the files are of another format, or do not belong together.
    """
    folder = Path(folder)
    summary = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    if not isinstance(summary, dict) or "format" not in summary:
        raise ValueError(f"{name}.json does not say which format it has")
    if summary["format"] != version:
        raise ValueError(f"it was written by another version, in format {summary['format']}, not {version}")
    with (folder / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    if summary.pop("sha256", None) != digest(summary, arrays):
        raise ValueError(f"{name}.json and {name}.npz do not belong together, or were changed")
    return summary, arrays


@contextmanager
def reading(what: str, folder: str | Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into one line that names the folder.

    Raises:
        NoiseproofError: a file is missing, damaged, or not what it should be.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise NoiseproofError(f"cannot read {what} in {folder}: {' '.join(str(error).split())}") from error


def digest(summary: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 over a summary and arrays, as hexadecimal."""
    hashed = hashlib.sha256(json.dumps(summary, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        hashed.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def finite(value: float) -> float | None:
    """Return a number that JSON can hold: None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None
