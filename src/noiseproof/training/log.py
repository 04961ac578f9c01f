"""The metrics of every epoch, on disk as they come."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from noiseproof.errors import InvalidArgumentError
from noiseproof.files import write_text

__all__ = ["MetricsLog", "require_tensorboard"]


class MetricsLog:
    """Writes ``metrics.jsonl``, a line per epoch, and if wanted TensorBoard's event files.

    Args:
        folder: the run folder.
        keep_epochs: how many epochs of a file that is there to keep; the rest, a half-written line too, is dropped.
        tensorboard: whether to write event files into ``folder/tensorboard``.
        write: whether this process writes at all.

    Raises:
        InvalidArgumentError: TensorBoard is wanted, but not installed.
    """

    def __init__(self, folder: Path, *, keep_epochs: int = 0, tensorboard: bool = False, write: bool = True) -> None:
        self._path = folder / "metrics.jsonl"
        self._write = write
        self._board = _board(folder / "tensorboard", keep_epochs + 1) if tensorboard and write else None
        if write:
            kept = _whole_lines(self._path)[:keep_epochs]
            if len(kept) < keep_epochs:
                warnings.warn(f"{self._path} has lost the metrics of {keep_epochs - len(kept)} epochs", stacklevel=3)
            write_text(self._path, "".join(line + "\n" for line in kept))

    def add(self, metrics: dict[str, Any]) -> None:
        """Write the metrics of one epoch."""
        if not self._write:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            os.fsync(file.fileno())  # a checkpoint may follow, which counts on this line
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, metrics["epoch"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()


def _whole_lines(path: Path) -> list[str]:
    """The lines of a log up to the first that was half written."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for number, line in enumerate(lines):
        try:
            json.loads(line)
        except ValueError:
            return lines[:number]
    return lines


def require_tensorboard() -> None:
    """Raise an :class:`InvalidArgumentError` where TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise InvalidArgumentError(
            "train.tensorboard needs TensorBoard: pip install 'noiseproof[tensorboard]'"
        ) from None


def _board(folder: Path, first_epoch: int) -> Any:
    require_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_epoch)
