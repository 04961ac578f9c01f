"""Progress: plain lines where no terminal watches, bars where one does, nothing unless asked for."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from noiseproof.progress import ConsoleProgress, Silent


def plain() -> tuple[ConsoleProgress, io.StringIO]:
    stream = io.StringIO()
    return ConsoleProgress(Console(file=stream, width=60)), stream


def test_elsewhere_than_on_a_terminal_a_line_says_what_is_done() -> None:
    progress, stream = plain()
    with progress.task("train normal, seed 0", 3) as task:
        task.advance()
        task.advance(2, "loss 1.5")
        assert stream.getvalue() == ""
    assert re.fullmatch(r"train normal, seed 0: done in \d+\.\d s \(loss 1\.5\)\n", stream.getvalue())


def test_long_work_says_every_minute_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"time": 0.0}
    monkeypatch.setattr("noiseproof.progress.time.perf_counter", lambda: clock["time"])
    progress, stream = plain()
    with progress.task("train normal, seed 0", 2000) as task:
        for step in range(1, 11):
            clock["time"] = 20.0 * step
            task.advance(200, "loss 1.5" if step > 4 else "")
    assert stream.getvalue().splitlines() == [
        "train normal, seed 0: 600 of 2,000 in 60 s",
        "train normal, seed 0: 1,200 of 2,000 in 120 s (loss 1.5)",
        "train normal, seed 0: 1,800 of 2,000 in 180 s (loss 1.5)",
        "train normal, seed 0: done in 200.0 s (loss 1.5)",
    ]


def test_tasks_inside_a_task_come_first() -> None:
    progress, stream = plain()
    with progress.task("outer", 1) as outer:
        with progress.task("inner", 1) as inner:
            inner.advance()
        outer.advance()
    assert [line.partition(":")[0] for line in stream.getvalue().splitlines()] == ["inner", "outer"]


def test_lines_are_not_wrapped_and_have_no_control_codes() -> None:
    progress, stream = plain()
    with progress.task("x" * 200, 1) as task:
        task.advance(1, "y" * 200)
    assert stream.getvalue().count("\n") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", stream.getvalue())


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/x]", ":smiley:"])
def test_titles_and_notes_are_shown_to_the_letter(text: str) -> None:
    progress, stream = plain()
    with progress.task(text, 1) as task:
        task.advance(1, text)
    assert stream.getvalue().count(text) == 2


def test_what_failed_is_not_called_done() -> None:
    progress, stream = plain()
    with pytest.raises(ValueError, match="no"), progress.task("train", 1):
        raise ValueError("no")
    assert "done" not in stream.getvalue()


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Silent().task("train", 3) as task:
        task.advance()
        task.advance(2, "note")
    assert capsys.readouterr() == ("", "")


def terminal() -> tuple[ConsoleProgress, io.StringIO]:
    stream = io.StringIO()
    return ConsoleProgress(Console(file=stream, width=100, force_terminal=True)), stream


@pytest.mark.parametrize("title", ["train", "[/x]", "[bold]y"])
def test_a_terminal_gets_bars_that_vanish(title: str) -> None:
    progress, stream = terminal()
    for _ in range(2):
        with progress.task("compare", 2) as outer:
            with progress.task(title, 3) as inner:
                inner.advance(3, f"note {title}")
            outer.advance()
    assert title in stream.getvalue()
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 2  # the cursor comes back


def test_a_terminal_is_left_in_order_after_an_error() -> None:
    progress, stream = terminal()
    with pytest.raises(ValueError, match="no"), progress.task("compare", 2), progress.task("train", 1):
        raise ValueError("no")
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h")
    with progress.task("again", 1) as task:
        task.advance()
