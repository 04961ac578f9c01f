"""``noiseproof doctor``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from noiseproof import doctor
from noiseproof.cli import checking
from noiseproof.doctor import Finding
from tests.cli.problems import CommandLine

GOOD = Finding("versions", "torch", "ok", "2.0 [cpu]")
LEFT_OUT = Finding("extras", "timm", "absent", "not installed", "pip install 'noiseproof[timm]'")
BAD = Finding("disk", "runs", "failed", "cannot be written", "choose another folder")


def finding(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    def examine(*_: object, **__: object) -> Iterator[Finding]:
        yield from findings

    monkeypatch.setattr(doctor, "examine", examine)


def test_all_is_well_here(noiseproof: CommandLine) -> None:
    shown = noiseproof.done("doctor", "--no-self-test")
    assert re.search(r"^  ok     torch: \d", shown, re.MULTILINE)
    assert shown.endswith("\nAll that is needed works.\n")
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", shown)
    assert not list(Path().iterdir())


def test_what_is_missing_but_not_needed_is_no_failure(
    noiseproof: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding(monkeypatch, GOOD, LEFT_OUT)
    assert noiseproof.done("doctor") == (
        "versions\n  ok     torch: 2.0 [cpu]\n\nextras\n  -      timm: not installed\n"
        "      pip install 'noiseproof[timm]'\n\nAll that is needed works.\n"
    )


def test_a_failure_gives_exit_code_1_and_what_to_do(noiseproof: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    finding(monkeypatch, GOOD, BAD)
    outcome = noiseproof("doctor")
    assert outcome.code == 1
    assert "  FAILED runs: cannot be written\n      choose another folder\n" in outcome.out
    assert "1 thing is not as needed" in outcome.out


@pytest.mark.parametrize(("findings", "code"), [((GOOD, LEFT_OUT), 0), ((GOOD, BAD), 1)])
def test_json(
    noiseproof: CommandLine, monkeypatch: pytest.MonkeyPatch, findings: tuple[Finding, ...], code: int
) -> None:
    finding(monkeypatch, *findings)
    outcome = noiseproof("doctor", "--json")
    content = json.loads(outcome.out)
    assert outcome.code == code
    assert content["ok"] is (code == 0)
    assert [Finding(**each) for each in content["findings"]] == list(findings)


def test_a_terminal_gets_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "output", lambda: Console(force_terminal=True))
    assert [checking._mark(status)[0] for status in ("ok", "absent", "failed")] == ["✓", "-", "✗"]
