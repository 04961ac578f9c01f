"""SIGTERM, Ctrl-C and SIGKILL, at the processes that a user starts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import noiseproof as npf
from noiseproof.training.signals import stop_between_steps
from tests.training.test_resume import TINY, StopAt, assert_same_run

LONG: dict[str, Any] = {
    "train.max_steps": 400, "train.epochs": 60, "train.batch_size": 128, "model.options": {"width": 4},
    "model.embedding_dim": 8,
}  # fmt: skip


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    changes = [f"--set={key}={value}" for key, value in LONG.items() if key != "model.options"]
    command = [sys.executable, "-m", "noiseproof", "train", "digits", "--method", "discriminative", "--seed", "1"]
    return subprocess.Popen(
        [*command, *changes, "--set=model.options.width=4", "--out", str(out), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for_epoch(process: subprocess.Popen[str], out: Path, epoch: int) -> None:
    end = time.monotonic() + 100
    while time.monotonic() < end:
        metrics = out / "metrics.jsonl"
        if metrics.is_file() and metrics.read_bytes().count(b"\n") >= epoch:
            return
        if process.poll() is not None:
            pytest.fail(f"ended early: {process.communicate()}")
        time.sleep(0.002)
    process.kill()
    pytest.fail("does not train")


def test_a_process_that_is_killed_again_and_again_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = npf.train("digits", "discriminative", 1, LONG, tmp_path / "whole")
    out = tmp_path / "a"
    drawn = random.Random()
    kills = [(2, signal.SIGKILL, -9), (10, signal.SIGTERM, 143), (20, signal.SIGINT, 130)]
    for epoch, number, code in kills:
        process = start(out, "--resume")
        wait_for_epoch(process, out, epoch)
        time.sleep(drawn.random() * 0.05)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == code, stderr
        assert "Traceback" not in stderr
        begun = f"there is no run in {out} to go on with: it begins anew\n"
        assert stdout == (begun if number == signal.SIGKILL else "")
        assert (out / "recipe.yaml").is_file()
        assert not (out / "model.safetensors").exists()
        if number != signal.SIGKILL:
            assert (out / "last.ckpt").is_file()
            assert not list(out.glob(f".*.{process.pid}.tmp"))
    process = start(out, "--resume")
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    assert_same_run(npf.Run(out), whole)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_second_signal_acts_at_once(number: signal.Signals, expected: type[BaseException]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_between_steps() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        with pytest.raises(expected) as raised:
            signal.raise_signal(number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    if expected is SystemExit:
        assert raised.value.code == 143


def test_handlers_are_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stop_between_steps():
        raise ZeroDivisionError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_training_in_another_thread_handles_no_signals(tmp_path: Path) -> None:
    runs: list[npf.Run] = []
    thread = threading.Thread(target=lambda: runs.append(npf.train("digits", "normal", 0, TINY, tmp_path / "a")))
    thread.start()
    thread.join()
    assert runs[0].metrics()[-1]["step"] == 16


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_in_the_last_step_is_not_lost(
    tmp_path: Path, number: signal.Signals, expected: type[BaseException]
) -> None:
    """Else Ctrl-C during the last step of one run of a comparison does not stop the comparison."""
    with pytest.raises(expected):
        npf.train("digits", "normal", 0, TINY, tmp_path / "a", progress=StopAt(16, number))


def test_ctrl_c_stops_a_comparison_and_it_goes_on(tmp_path: Path) -> None:
    short = {**TINY, "evaluate.perturbations": ["clean"]}
    with pytest.raises(KeyboardInterrupt):
        npf.compare("digits", ["normal", "noisy"], [0], short, tmp_path / "a", progress=StopAt(8, signal.SIGINT))
    assert (tmp_path / "a" / "normal" / "seed-0" / "last.ckpt").is_file()
    assert not (tmp_path / "a" / "noisy").exists()
    comparison = npf.compare("digits", ["normal", "noisy"], [0], short, tmp_path / "a")
    whole = npf.compare("digits", ["normal", "noisy"], [0], short, tmp_path / "b")
    assert (tmp_path / "a" / "table.md").read_text() == (tmp_path / "b" / "table.md").read_text()
    assert comparison.title == whole.title
