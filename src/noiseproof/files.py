"""Files that are whole or absent: written beside their place, flushed, then moved there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["is_temporary", "keep_as", "sole_user", "write_atomically", "write_text"]


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` with a temporary path beside ``path``, and move the result there once it is whole."""
    temporary = _temporary(path)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def keep_as(path: Path, other: Path) -> None:
    """Give the file at ``path`` the name ``other`` too, in place of what has it, so that both are whole all along."""
    spare = _temporary(other)
    spare.unlink(missing_ok=True)
    try:
        os.link(path, spare)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, spare)
    spare.replace(other)
    spare.unlink(missing_ok=True)  # renaming a file to another name of itself does nothing


@contextmanager
def sole_user(folder: Path) -> Iterator[bool]:
    """Inside the block no other process gets ``folder`` this way; yields whether this one did.

    The folder is made if it is not there; if it is still empty at the end it is removed again, with the parents made
    for it. The lock is on the folder itself, so that it leaves no file and ends with the process, however that ends.
    Where folders cannot be locked (Windows, some network file systems) everyone gets it.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield True
        return
    handle = _locked(folder)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # in use by now
            for place in made:
                place.rmdir()
        with suppress(OSError):  # where the folder could not be locked
            fcntl.flock(handle, fcntl.LOCK_UN)  # also for children that were forked meanwhile
        os.close(handle)


def _locked(folder: Path) -> int | None:
    """A handle that holds the lock of the folder of this name, or None where another process has it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed by the process that had it
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:
            return handle
        try:
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is a file that this module had under way when its process was killed."""
    return re.fullmatch(r"\..+\.\d+\.tmp", path.name) is not None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
