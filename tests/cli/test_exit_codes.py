"""What commands end with."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import noiseproof as npf
from noiseproof import errors
from noiseproof.cli.exit_codes import ExitCode, code_for, in_words
from tests.cli.problems import CommandLine

CODES = {"DONE": 0, "FAILED": 1, "USAGE": 2, "WORK_LEFT": 75, "INTERRUPTED": 130, "TERMINATED": 143}


def test_the_codes_are_those_that_scripts_know() -> None:
    assert {code.name: code.value for code in ExitCode} == CODES


def test_every_code_is_told_in_words(noiseproof: CommandLine) -> None:
    assert [int(number) for number in re.findall(r"\b\d+", in_words())] == sorted(CODES.values())
    shown = " ".join(noiseproof.done("--help").split())
    assert in_words() in shown


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.InvalidArgumentError("x"), 2),
        (errors.RecipeError("x"), 2),
        (errors.UnknownNameError("recipe", "x", ["y"]), 2),
        (errors.DataError("x"), 1),
        (errors.RunFolderError("x"), 1),
        (errors.RunBusyError("x"), 1),
        (errors.NonFiniteLossError("margin", float("nan"), 1, 2), 1),
        (errors.BudgetSpentError("x"), 75),
        (OSError("x"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit(143), 143),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_what_a_command_ends_with(
    noiseproof: CommandLine, tiny: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    def train(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(npf, "train", train)
    assert noiseproof("train", tiny).code == code


def test_errors_of_other_kinds_are_failures() -> None:
    assert code_for(errors.NoiseproofError("x")) is ExitCode.FAILED
    assert code_for(RuntimeError("x")) is ExitCode.FAILED


def test_no_other_place_has_numbers_of_its_own() -> None:
    import noiseproof.cli

    folder = Path(noiseproof.cli.__file__).parent
    for path in folder.glob("*.py"):
        if path.name == "exit_codes.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        numbers = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not numbers & {75, 130, 143}, path
        exits = [
            node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("xit")
        ]
        assert not any(isinstance(each, ast.Constant) for node in exits for each in node.args), path
