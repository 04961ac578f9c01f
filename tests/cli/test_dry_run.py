"""``--dry-run``: what it prints, that it writes nothing, and that it fails where the command would."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

from noiseproof.cli.dry_run import _short
from tests.cli.problems import CommandLine, contents

COMPARE = ("--methods", "normal,mixed", "--seeds", "0,1", "--out", "out")


def test_a_training(noiseproof: CommandLine, tiny: Path) -> None:
    before = contents(Path())
    shown = noiseproof.done("train", tiny, "-m", "mixed", "--seed", "3", "--dry-run")
    assert contents(Path()) == before
    assert "nothing is written" in shown
    assert "runs/tiny/mixed/seed-3  new" in shown
    assert "clean and noisy" in shown
    assert re.search(r"1 epochs?, 2 steps of 32 samples", shown)
    assert "evaluating it" not in shown
    assert re.search(r"takes about \d+ s .*from 1 timed step", shown)


def test_a_comparison_before_and_after(noiseproof: CommandLine, tiny: Path) -> None:
    before = noiseproof.done("compare", tiny, *COMPARE, "--dry-run")
    assert "4 runs: 4 new" in before
    assert "2 perturbations, 2 draws of each random one" in before
    assert not Path("out").exists()
    noiseproof.done("compare", tiny, "--methods", "normal", "--seeds", "0,1", "--out", "out")
    then = contents(Path())
    between = noiseproof.done("compare", tiny, *COMPARE, "--dry-run")
    assert "4 runs: 2 done, 2 new" in between
    assert "Normal training" not in between
    assert "2 of 2" in between
    noiseproof.done("compare", tiny, *COMPARE)
    after = noiseproof.done("compare", tiny, *COMPARE, "--dry-run")
    assert "Nothing is left to do." in after
    assert "takes about" not in after
    assert {name: value for name, value in contents(Path()).items() if "normal" in name} == {
        name: value for name, value in then.items() if "normal" in name
    }


def test_what_is_not_counted_is_said(noiseproof: CommandLine, tiny: Path) -> None:
    shown = noiseproof.done("compare", tiny, *COMPARE, "--dry-run", "--explain")
    assert "Not counted: the writing of files, the report and the sections of --explain." in shown


@pytest.mark.parametrize(("threads", "load", "told"), [(2, 1.5, True), (2, 0.5, False), (1, 9.0, False)])
def test_other_work_on_the_machine_is_told_with_what_helps(
    noiseproof: CommandLine, tiny: Path, monkeypatch: pytest.MonkeyPatch, threads: int, load: float, told: bool
) -> None:
    monkeypatch.setattr("noiseproof.rehearsing.rehearsal.native_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    shown = noiseproof.done("train", tiny, "-m", "mixed", "--dry-run")
    assert (f"Other work wants {load} cores too: with OMP_WAIT_POLICY=PASSIVE" in shown) is told
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert "Other work" not in noiseproof.done("train", tiny, "-m", "mixed", "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("train tiny.yaml --method nosy --dry-run", "did you mean 'noisy'?"),
        ("compare tiny.yaml --methods nosy --dry-run", "did you mean 'noisy'?"),
        ("compare tiny.yaml --seeds a --dry-run", "--seeds must be whole numbers"),
        ("compare tiny.yaml --seeds -1 --dry-run", "-1"),
        ("train tiny.yaml --data npz:none.npz --dry-run", "none.npz"),
    ],
)
def test_mistakes(noiseproof: CommandLine, tiny: Path, arguments: str, named: str) -> None:
    before = contents(Path())
    assert named in noiseproof.mistake(*arguments.split())
    assert contents(Path()) == before


def test_a_folder_that_is_taken(noiseproof: CommandLine, tiny: Path, run: Path) -> None:
    arguments = ("train", tiny, "--method", "normal", "--out", run)
    assert noiseproof.mistake(*arguments, "--dry-run") == noiseproof.mistake(*arguments)
    assert "done" in noiseproof.done(*arguments, "--dry-run", "--resume")
    assert "in place of the run" in noiseproof.done(*arguments, "--dry-run", "--overwrite")


@pytest.mark.parametrize(("seconds", "words"), [(0.0041, "4.1 ms"), (0.45, "450 ms"), (1.26, "1.3 s"), (31.4, "31 s")])
def test_short_lengths(seconds: float, words: str) -> None:
    assert _short(seconds) == words
