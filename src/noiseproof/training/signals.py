"""Stopping between two steps, so that a checkpoint can be written: at SIGTERM, at Ctrl-C, or when time is over."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from noiseproof.errors import BudgetSpentError

__all__ = ["StopRequest", "stop_between_steps"]


class StopRequest:
    """Whether, and by what, the process was asked to stop.

    Args:
        deadline: the time, as of :func:`time.time`, from which on it is asked to; None for never.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.signal: int | None = None
        self._deadline = deadline

    def __bool__(self) -> bool:
        return self.signal is not None or self._time_is_over()

    def stop(self) -> None:
        """End as what asked for it would have.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            BudgetSpentError: at the deadline, also where that of another process passed first.
            SystemExit: after SIGTERM, or where another process was asked, with the usual code 143.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None and self._deadline is not None:
            raise BudgetSpentError("the time for this training is over; it goes on from its checkpoint")
        raise SystemExit(128 + (self.signal or signal.SIGTERM))

    def _time_is_over(self) -> bool:
        return self._deadline is not None and time.time() >= self._deadline


@contextmanager
def stop_between_steps(deadline: float | None = None) -> Iterator[StopRequest]:
    """Inside the block SIGTERM and Ctrl-C only leave a request; a second one acts at once.

    Outside the main thread, where Python lets no one handle signals, only the deadline asks to stop.

    Args:
        deadline: the time, as of :func:`time.time`, from which on it is asked to stop; None for never.
    """
    request = StopRequest(deadline)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, _: FrameType | None) -> None:
        if request.signal is not None:
            request.stop()
        request.signal = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
