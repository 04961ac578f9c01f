from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.cli.problems import CommandLine


@pytest.fixture
def noiseproof(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line, in a folder of its own; `main` decides how warnings are shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    return CommandLine(capsys)
