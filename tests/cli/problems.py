"""A recipe that trains in a moment, and the command line called from a test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from noiseproof.cli import main

TINY = """\
name: tiny
description: Two steps on the digits.
data: {source: digits}
model: {name: small-cnn, embedding_dim: 4, options: {width: 2}}
noise: {train: "gaussian:0.3"}
train: {epochs: 1, batch_size: 32, max_steps: 2}
evaluate: {perturbations: [clean, "gaussian:0.2"], draws: 2}
"""

# Subprocesses keep to one thread, for tests run side by side.
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


class Outcome(NamedTuple):
    """What a command left: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Outcome:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        return Outcome(int(caught.value.code or 0), *self._capsys.readouterr())

    def done(self, *arguments: str | Path) -> str:
        """Run a command that must succeed, and return its output."""
        outcome = self(*arguments)
        assert outcome.code == 0, outcome.err
        return outcome.out

    def mistake(self, *arguments: str | Path) -> str:
        """Run a command that must fail with one line on standard error, and return that line."""
        return one_line(self(*arguments))


def one_line(outcome: Outcome) -> str:
    """The error of a command that failed for a user's mistake: one line, no traceback, a code that says so."""
    assert outcome.code not in (0, 130)
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert re.match(r"error: \S", lines[0]), outcome.err
    return lines[0]


def run_python(code: str, folder: Path) -> Outcome:
    """Run Python code in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=_ENVIRONMENT, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_command(*arguments: str, folder: Path) -> Outcome:
    """Run a command in a process of its own."""
    return run_python(f"from noiseproof.cli import main\nmain({list(arguments)!r})", folder)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
