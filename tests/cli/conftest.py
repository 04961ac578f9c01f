from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.cli.problems import TINY, CommandLine


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write below the working directory; and `main` decides how warnings are shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


@pytest.fixture
def noiseproof(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A recipe file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def run(noiseproof: CommandLine, tiny: Path, tmp_path: Path) -> Path:
    """A finished run."""
    noiseproof.done("train", tiny, "--method", "normal", "--out", tmp_path / "run")
    return tmp_path / "run"
