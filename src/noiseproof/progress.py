"""Progress as a person sees it: a bar on a terminal, sparse plain lines elsewhere, nothing in a library call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["ConsoleProgress", "ProgressReporter", "Silent", "Task"]

_SECONDS_BETWEEN_LINES = 60.0  # where no terminal watches


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Say that ``amount`` more is done, and how it goes."""


class ProgressReporter(Protocol):
    """Where work reports how far it is."""

    def task(self, title: str, total: int) -> AbstractContextManager[Task]:
        """Return a context in which ``total`` units of work are done."""


class Silent:
    """Reports nothing."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:  # noqa: ARG002
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Do nothing."""


class ConsoleProgress:
    """Bars while a terminal watches; otherwise a line a minute, and one when a piece of work is done.

    Args:
        console: where to write; standard error is usual, so that results alone go to standard output.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        if not self._console.is_terminal:
            plain = _PlainTask(title, total, self._line)
            yield plain
            self._line(plain.summary())
            return
        outermost = self._progress is None
        progress = self._progress or Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self._console,
            transient=True,
        )
        if outermost:
            self._progress = progress
            progress.start()
        bar = progress.add_task(title, total=total, note="")
        try:
            yield _BarTask(progress, bar)
        finally:
            progress.remove_task(bar)
            if outermost:
                progress.stop()
                self._progress = None

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


class _BarTask:
    def __init__(self, progress: Progress, bar: TaskID) -> None:
        self._progress, self._bar = progress, bar

    def advance(self, amount: int = 1, note: str = "") -> None:
        if note:
            self._progress.update(self._bar, advance=amount, note=note)
        else:
            self._progress.update(self._bar, advance=amount)


class _PlainTask:
    def __init__(self, title: str, total: int, say: Callable[[str], None]) -> None:
        self._title, self._total, self._say = title, total, say
        self._done, self._note = 0, ""
        self._start = self._said = time.perf_counter()

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        self._note = note or self._note
        if time.perf_counter() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = time.perf_counter()
            self._say(
                f"{self._title}: {self._done:,} of {self._total:,} in {self._said - self._start:.0f} s"
                + (f" ({self._note})" if self._note else "")
            )

    def summary(self) -> str:
        seconds = time.perf_counter() - self._start
        return f"{self._title}: done in {seconds:.1f} s" + (f" ({self._note})" if self._note else "")
