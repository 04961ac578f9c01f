"""The examples run as their docstrings say, on little, and print their table."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBERS = re.compile(r"\d+\.\d")

# What each is started with, how many rows its table has, and what it needs that may be missing.
RUNS: dict[str, tuple[str, int, str | None]] = {
    "plain_before": ("--epochs 1", 4, None),
    "plain_after": ("--epochs 1", 4, None),
    "lightning_module": ("--epochs 1", 2, "lightning"),
    "timm_model": ("--epochs 1", 2, "timm"),
    "hugging_face": ("--epochs 1 --more-epochs 1", 3, "transformers"),
    "fine_tune_for_noise": ("--epochs 1 --more-epochs 1 --seeds 1", 3, None),
    "sensor_table": ("--epochs 1", 3, None),
    "time_series": ("--epochs 1 --series 60", 3, None),
}


def run(name: str, arguments: str, folder: Path) -> str:
    """Start an example in an empty folder, as a user does, and return what it printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments.split()],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text: str) -> list[list[float]]:
    """The lines that hold accuracies, as numbers; those of Markdown's head hold none."""
    lines = [
        line for line in text.splitlines() if NUMBERS.search(line) and not line.startswith(("test accuracy in", "| M"))
    ]
    return [[float(number) for number in NUMBERS.findall(line)] for line in lines]


@pytest.mark.parametrize("name", RUNS)
def test_it_runs_and_prints_its_table(name: str, tmp_path: Path) -> None:
    arguments, count, needed = RUNS[name]
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    found = rows(run(name, arguments, tmp_path))
    assert len(found) == count
    assert all(0 <= number <= 100 for row in found for number in row)
    assert list(tmp_path.iterdir()) == []


def test_the_loss_takes_fewer_than_fifteen_changed_lines() -> None:
    before, after = ((EXAMPLES / f"plain_{when}.py").read_text().splitlines() for when in ("before", "after"))
    changed = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert 0 < len(changed) < 15, "\n".join(changed)


def test_every_example_is_told_of_run_and_shown() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(RUNS)
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\w+)\.py\)", index)) == names
    for name in names:
        told = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8")))
        assert told is not None
        assert f"python examples/{name}.py" in told
