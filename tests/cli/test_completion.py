"""Completion of words in a shell, asked for as shells ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from noiseproof.cli import completion
from noiseproof.methods import METHODS
from noiseproof.paper import experiment_names
from noiseproof.training import recipe_names
from noiseproof.training.recipes import PRESETS
from tests.cli.problems import Outcome
from tests.cli.test_startup import HEAVY

_CODE = f"""if True:
    import sys
    sys.argv[0] = "noiseproof"
    from noiseproof.cli import main
    try:
        main([])
    finally:
        print("loaded:", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def ask(folder: Path, **environment: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-c", _CODE], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_names_are_those_of_the_registries() -> None:
    assert completion.recipes("") == recipe_names()
    assert completion.methods("") == list(METHODS)
    assert sorted(completion.presets("")) == sorted(PRESETS)
    assert sorted(completion.experiments("")) == sorted([*experiment_names(), "list"])


@pytest.mark.parametrize(
    ("incomplete", "expected"),
    [
        ("", ["discriminative", "mixed", "noisy", "normal", "stability", "all"]),
        ("no", ["noisy", "normal"]),
        ("normal,", ["normal,discriminative", "normal,mixed", "normal,noisy", "normal,stability"]),
        ("mixed,no", ["mixed,noisy", "mixed,normal"]),
        ("mixed,mi", []),
        ("zzz", []),
    ],
)
def test_methods_with_commas(incomplete: str, expected: list[str]) -> None:
    assert completion.methods_with_commas(incomplete) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("noiseproof tra", ["train"]),
        ("noiseproof train di", ["digits"]),
        ("noiseproof paper table", ["table1", "table1-why", "table2", "table3", "table4", "table5"]),
        ("noiseproof compare digits --methods normal,st", ["normal,stability"]),
    ],
)
def test_bash(tmp_path: Path, words: str, expected: list[str]) -> None:
    number = str(len(words.split()) - 1)
    found = ask(tmp_path, _NOISEPROOF_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=number)
    assert found.code == 0
    assert found.out.split() == expected
    assert found.err.splitlines()[-1] == "loaded: []"
    assert not list(tmp_path.iterdir())


def test_zsh(tmp_path: Path) -> None:
    found = ask(tmp_path, _NOISEPROOF_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="noiseproof train digits -m st")
    assert "stability" in found.out
    assert "normal" not in found.out
    assert found.err.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_that_a_shell_sources(tmp_path: Path, shell: str) -> None:
    found = ask(tmp_path, _NOISEPROOF_COMPLETE=f"source_{shell}")
    assert found.code == 0
    assert f"_NOISEPROOF_COMPLETE=complete_{shell}" in found.out
