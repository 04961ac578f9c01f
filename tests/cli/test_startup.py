"""What a fresh process does: these tests start one."""

from __future__ import annotations

from pathlib import Path

import pytest

import noiseproof
from tests.cli.problems import one_line, run_command, run_python

HEAVY = ("torch", "torchvision", "matplotlib", "sklearn", "scipy", "accelerate", "numpy")


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["--version"], ["train"], ["nonsense"]])
def test_help_and_wrong_usage_import_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    outcome = run_python(
        f"""if True:
        import sys
        from noiseproof.cli import main
        try:
            main({arguments!r})
        finally:
            print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
        """,
        tmp_path,
    )
    assert outcome.out.splitlines()[-1] == "loaded: []"
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, noiseproof; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run_python(code, tmp_path).out == "[]\n"


def test_version(tmp_path: Path) -> None:
    assert run_command("--version", folder=tmp_path) == (0, f"noiseproof {noiseproof.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], []])
def test_help_lists_the_commands(tmp_path: Path, arguments: list[str]) -> None:
    outcome = run_command(*arguments, folder=tmp_path)
    shown = outcome.out + outcome.err
    assert outcome.code == (0 if arguments else outcome.code)
    assert "Traceback" not in shown
    assert all(command in shown for command in ("train", "evaluate", "compare", "recipes"))


def test_a_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    assert "did you mean 'digits'" in one_line(run_command("train", "digit", folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_warning_is_one_line_and_training_goes_on(tmp_path: Path, tiny: Path) -> None:
    changes = ["--set", "methods.discriminative.delta_d=0.5", "--out", "run"]
    outcome = run_command("train", str(tiny), *changes, folder=tmp_path)
    assert outcome.code == 0
    warning, progress = outcome.err.splitlines()
    assert warning.startswith("warning: delta_d = 0.5")
    assert "5.2" in warning
    assert "done in" in progress
    assert (tmp_path / "run" / "model.safetensors").is_file()
