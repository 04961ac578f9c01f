"""``noiseproof report``: as a user types it, with mistakes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.cli.problems import CommandLine, contents


def test_report_measures_what_is_not_measured_and_says_where_the_page_is(noiseproof: CommandLine, run: Path) -> None:
    outcome = noiseproof("report", run)
    assert outcome.out == "report: report.html\n"
    assert outcome.err.startswith("evaluate: done")
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (run / "evaluation" / "report.json").is_file()
    again = noiseproof("report", run, "-o", "deep/other.html", "--title", "Mine", "--noise", "clean")
    assert again == (0, "report: deep/other.html\n", "")
    assert "<h1>Mine</h1>" in Path("deep/other.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        (["nowhere"], "nowhere is no folder of a run", 1),
        (["."], "holds no finished run", 1),
        ([], "missing argument 'run", 2),
        (["{run}", "--noise", "gausian:0.2"], "did you mean 'gaussian:0.2'?", 2),
        (["{run}", "-o", "."], ". is a folder: name a file for the page", 1),
        (["{run}", "-o", "tiny.yaml"], "tiny.yaml is there and is no page of noiseproof", 1),
    ],
)
def test_mistakes_are_one_line_and_leave_everything_as_it_was(
    noiseproof: CommandLine, run: Path, arguments: list[str], named: str, code: int
) -> None:
    noiseproof.done("evaluate", run)
    if arguments == ["."]:
        (run / "model.safetensors").unlink()
    before = contents(Path())
    outcome = noiseproof("report", *(each.format(run=run) for each in arguments))
    lines = outcome.err.splitlines()
    assert (len(lines), outcome.code, outcome.out) == (1, code, "")
    assert named in lines[0].lower()
    assert contents(Path()) == before


def test_what_was_left_out_is_a_warning(noiseproof: CommandLine, tiny: Path) -> None:
    for seed in ("0", "1"):
        noiseproof.done("train", tiny, "--method", "normal", "--out", f"runs/{seed}", "--seed", seed)
    Path("runs/1/model.safetensors").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        outcome = noiseproof("report", "runs")
    assert outcome.code == 0
    assert outcome.err.splitlines()[0] == "warning: left out what did not finish: runs/1"
