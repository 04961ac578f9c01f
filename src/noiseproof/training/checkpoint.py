"""Checkpoints: everything that resuming needs, written whole, verified when read, with the one before kept."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noiseproof.errors import RunFolderError
from noiseproof.files import keep_as, write_atomically

__all__ = ["CHECKPOINTS", "load_checkpoint", "remove_checkpoints", "save_checkpoint", "sealed"]

LAST, PREVIOUS = CHECKPOINTS = "last.ckpt", "previous.ckpt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` as ``last.ckpt``; the one that was there becomes ``previous.ckpt``.

    Args:
        folder: the run folder.
        state: nested dicts, lists, tensors and plain values.
    """
    whole = sealed(state)

    def write(path: Path) -> None:
        path.write_bytes(whole)  # in one go, so that a full disk is an OSError that names the file
        if (folder / LAST).exists():
            keep_as(folder / LAST, folder / PREVIOUS)

    write_atomically(folder / LAST, write)


def sealed(state: dict[str, Any]) -> memoryview:
    """Return the bytes of a checkpoint: ``state`` with its checksum."""
    whole = io.BytesIO()
    torch.save({"state": state, "sha256": _digest(state)}, whole)
    return whole.getbuffer()


def load_checkpoint(folder: Path, *, repair: bool = False) -> dict[str, Any] | None:
    """Read the newest whole checkpoint in ``folder``; None where there is none at all.

    A damaged one is warned about, and the one before is used.

    Args:
        folder: the run folder.
        repair: whether to remove a damaged one, so that more can be saved.

    Raises:
        RunFolderError: there are checkpoints, but all are damaged.
    """
    found = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for path in found:
        state = _verified(path)
        if state is not None:
            if repair and path.name == PREVIOUS:
                (folder / LAST).unlink(missing_ok=True)  # or the next save would keep it in place of this one
            return state
        warnings.warn(f"the checkpoint {path} is damaged and is not used", stacklevel=2)
    if found:
        raise RunFolderError(f"every checkpoint in {folder} is damaged; pass --overwrite to start again")
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove what is only needed to resume."""
    for name in (LAST, PREVIOUS):
        if (folder / name).exists():  # on a disk that cannot be written there is nothing to remove
            (folder / name).unlink()


def _verified(path: Path) -> dict[str, Any] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = found["state"]
        return state if found["sha256"] == _digest(state) else None
    except Exception:  # a damaged file makes torch raise nearly anything
        return None


def _digest(value: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Hash nested values in order, with their types, so that no two states look alike."""
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous()
        digest.update(f"tensor {array.dtype} {tuple(array.shape)} ".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)} ".encode())
        for key, inner in value.items():
            _feed(digest, key)
            _feed(digest, inner)
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)} ".encode())
        for inner in value:
            _feed(digest, inner)
    else:
        text = repr(value)
        digest.update(f"{type(value).__name__} {len(text)} {text} ".encode())
