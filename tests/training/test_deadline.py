"""A training with a deadline stops after a step, with a checkpoint, and goes on as if it had never stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import noiseproof as npf
from noiseproof.errors import BudgetSpentError, NoiseproofError, RunFolderError
from noiseproof.training import Run, signals
from noiseproof.training.signals import stop_between_steps
from tests.training.test_resume import TINY, StopAt, assert_same_run

OVER = 1.0  # long ago
DEADLINE = 100.0
STEPS, STEPS_AN_EPOCH = 16, 6
LAST: dict[str, Any] = {"train.epochs": 1, "train.max_steps": None, "train.batch_size": 1797}  # one step in all


class Clock:
    """Stands in for the module ``time`` where deadlines are held against it; passes the deadline at a step.

    Args:
        step: of this call, counted from 1, in which the deadline passes; 0 for before the first, None for never.
        then: what else happens in that step.
    """

    def __init__(self, step: int | None, then: Callable[[], None] = lambda: None) -> None:
        self.now = DEADLINE if step == 0 else 0.0
        self.steps: list[int] = []
        self._step, self._then = step, then

    def time(self) -> float:
        return self.now

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Clock]:
        self.steps = []
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.steps.append(amount)
        if sum(self.steps[1:]) == self._step and amount:
            self.now = DEADLINE
            self._then()

    @property
    def done(self) -> int:
        """How many steps are behind the run, those of earlier calls included."""
        return sum(self.steps)


def sliced(
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
    clock: Clock,
    method: str = "normal",
    changes: dict[str, Any] | None = None,
) -> Run:
    """Train with a deadline that passes as the clock says."""
    monkeypatch.setattr(signals, "time", clock)
    overrides = {**TINY, **(changes or {})}
    return npf.train("digits", method, 0, overrides, out, resume=True, deadline=DEADLINE, progress=clock)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return npf.train("digits", "discriminative", 0, TINY, tmp_path_factory.mktemp("whole") / "run")


# Stopping and going on


def test_a_deadline_in_the_past_stops_after_one_step_with_a_checkpoint(tmp_path: Path, whole: Run) -> None:
    clock = Clock(None)
    with pytest.raises(BudgetSpentError, match="goes on from its checkpoint"):
        npf.train("digits", "discriminative", 0, TINY, tmp_path, deadline=time.time() - 3600, progress=clock)
    assert clock.done == 1
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "metrics.jsonl", "recipe.yaml"}
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path, resume=True), whole)


@pytest.mark.parametrize("step", [0, 1, 3, 5, 6, 7, 12, 15])
def test_a_training_stops_at_the_step_in_which_its_deadline_passes(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    clock = Clock(step)
    with pytest.raises(BudgetSpentError):
        sliced(monkeypatch, tmp_path, clock, "discriminative")
    assert clock.done == max(step, 1)
    assert (tmp_path / "last.ckpt").is_file()
    assert not (tmp_path / "model.safetensors").exists()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == step // STEPS_AN_EPOCH
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path, resume=True), whole)


def test_every_slice_makes_headway_however_short_it_is(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for done in range(1, STEPS):
        clock = Clock(0)
        with pytest.raises(BudgetSpentError):
            sliced(monkeypatch, tmp_path, clock, "discriminative")
        assert clock.done == done
    assert_same_run(sliced(monkeypatch, tmp_path, Clock(0), "discriminative"), whole)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("mixed", {"train.ema_decay": 0.5, "train.keep": "best-test"}),
        ("normal", {
            "train.keep": "best-validation", "data.validation_fraction": 0.2, "train.batch_size": 200,
            "train.optimizer.lr": 0.3,
        }),
        ("stability", {"train.precision": "bf16", "train.schedule": {"name": "one-cycle"}}),
        ("discriminative", {"methods.discriminative.lambda_noisy": 0.0, "train.checkpoint_every": 3}),
    ],
)  # fmt: skip
def test_slices_of_every_kind_of_training_give_the_uninterrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, changes: dict[str, Any]
) -> None:
    expected = npf.train("digits", method, 0, {**TINY, **changes}, tmp_path / "whole")
    for step in (2, 4, 5):  # to step 11
        with pytest.raises(BudgetSpentError):
            sliced(monkeypatch, tmp_path / "sliced", Clock(step), method, changes)
    assert_same_run(sliced(monkeypatch, tmp_path / "sliced", Clock(None), method, changes), expected)


def test_an_epoch_of_one_step_stops_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {**LAST, "train.epochs": 3}
    with pytest.raises(BudgetSpentError):
        sliced(monkeypatch, tmp_path / "a", Clock(0), changes=changes)
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == 1
    expected = npf.train("digits", "normal", 0, {**TINY, **changes}, tmp_path / "b")
    assert_same_run(sliced(monkeypatch, tmp_path / "a", Clock(None), changes=changes), expected)


@pytest.mark.parametrize("changes", [{}, LAST])
def test_a_deadline_that_passes_in_the_last_step_lets_the_training_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    run = sliced(monkeypatch, tmp_path, Clock(1 if changes else STEPS), changes=changes)
    assert (tmp_path / "model.safetensors").is_file()
    assert not (tmp_path / "last.ckpt").exists()
    assert len(run.metrics()) == (1 if changes else 3)


def test_a_deadline_far_away_changes_nothing(tmp_path: Path, whole: Run) -> None:
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path, deadline=time.time() + 3600), whole)


def test_a_finished_run_is_returned_although_the_deadline_is_over(tmp_path: Path, whole: Run) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in whole.folder.iterdir()}
    run = npf.train("digits", "discriminative", 0, TINY, whole.folder, resume=True, deadline=OVER)
    assert run.folder == whole.folder
    assert {path.name: path.stat().st_mtime_ns for path in whole.folder.iterdir()} == before


def test_errors_come_before_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(NoiseproofError, match="cannot take inputs of shape"):
        npf.train("digits", "normal", 0, {**TINY, "model.name": "mlp"}, tmp_path / "a", deadline=OVER)
    with pytest.raises(BudgetSpentError):
        npf.train("digits", "normal", 0, TINY, tmp_path / "b", deadline=OVER)
    with pytest.raises(RunFolderError, match="--resume"):
        npf.train("digits", "normal", 0, TINY, tmp_path / "b", deadline=OVER)


def test_a_training_that_the_deadline_stopped_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(BudgetSpentError):
        npf.train("digits", "normal", 0, TINY, tmp_path, deadline=OVER)
    with pytest.raises(RunFolderError, match="did not finish"):
        Run(tmp_path)


# Signals


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("passes", [None, 3])
def test_a_signal_ends_a_training_with_a_deadline_as_one_without(
    tmp_path: Path,
    whole: Run,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    expected: type[BaseException],
    passes: int | None,
) -> None:
    """Also where both are asked for in one step: who pressed Ctrl-C wants the whole program to stop."""
    if passes is None:
        monkeypatch.setattr(signals, "time", Clock(None))
        progress: Any = StopAt(3, number)
    else:
        progress = Clock(passes, lambda: signal.raise_signal(number))
        monkeypatch.setattr(signals, "time", progress)
    with pytest.raises(expected) as caught:
        npf.train("digits", "discriminative", 0, TINY, tmp_path, deadline=DEADLINE, progress=progress)
    if expected is SystemExit:
        assert getattr(caught.value, "code", None) == 143
    assert (tmp_path / "last.ckpt").is_file()
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path, resume=True), whole)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_in_the_last_step_is_not_lost_where_the_deadline_passed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, expected: type[BaseException]
) -> None:
    with pytest.raises(expected):
        sliced(monkeypatch, tmp_path, Clock(STEPS, lambda: signal.raise_signal(number)))
    assert (tmp_path / "model.safetensors").is_file()


def test_handlers_are_put_back_after_a_deadline(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(BudgetSpentError):
        npf.train("digits", "normal", 0, TINY, tmp_path, deadline=OVER)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# The request itself


def test_it_is_asked_to_stop_from_the_deadline_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(None)
    monkeypatch.setattr(signals, "time", clock)
    with stop_between_steps(DEADLINE) as stop:
        clock.now = DEADLINE - 0.001
        assert not stop
        clock.now = DEADLINE
        assert stop
        with pytest.raises(BudgetSpentError):
            stop.stop()


def test_without_a_deadline_time_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(None)
    clock.now = float("inf")
    monkeypatch.setattr(signals, "time", clock)
    with stop_between_steps() as stop:
        assert not stop


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_after_the_deadline_one_signal_still_leaves_time_for_a_checkpoint_and_a_second_acts_at_once(
    number: signal.Signals, expected: type[BaseException]
) -> None:
    with stop_between_steps(OVER) as stop:
        assert stop
        signal.raise_signal(number)
        assert stop.signal == number
        with pytest.raises(expected):
            stop.stop()
        with pytest.raises(expected):
            signal.raise_signal(number)


# Other threads


def in_a_thread(call: Callable[[], Any]) -> list[Any]:
    """What a call gives, or raises, in a thread other than the main one."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


def test_a_deadline_holds_in_another_thread_and_the_training_goes_on_in_either(tmp_path: Path, whole: Run) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    clock = Clock(None)

    def train(folder: Path, **more: Any) -> Run:
        return npf.train("digits", "discriminative", 0, TINY, folder, resume=True, progress=clock, **more)

    for done in (1, 2):
        (error,) = in_a_thread(lambda: train(tmp_path / "a", deadline=OVER))
        assert isinstance(error, BudgetSpentError)
        assert clock.done == done
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert_same_run(train(tmp_path / "a"), whole)
    (run,) = in_a_thread(lambda: train(tmp_path / "b"))
    assert_same_run(run, whole)


def test_a_signal_during_a_training_in_another_thread_is_the_main_threads(tmp_path: Path) -> None:
    """Where it does what it would do anyway; the training neither takes it nor ends by it."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        progress = StopAt(3, signal.SIGTERM)
        (run,) = in_a_thread(
            lambda: npf.train("digits", "normal", 0, TINY, tmp_path, deadline=time.time() + 3600, progress=progress)
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(run, Run)
    assert seen == [signal.SIGTERM]
