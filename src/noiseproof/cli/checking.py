"""The command that looks at the installation: doctor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from noiseproof.cli.app import app
from noiseproof.cli.common import show
from noiseproof.cli.console import output
from noiseproof.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from noiseproof.doctor import Finding

__all__ = ["doctor"]

_MARKS = {"ok": ("✓", "green"), "absent": ("-", "dim"), "failed": ("✗", "bold red")}
_WORDS = {"ok": "ok", "absent": "-", "failed": "FAILED"}  # for files, and terminals that know no such signs


@app.command()
def doctor(
    runs: Annotated[Path, typer.Option(help="The folder that runs go to.")] = Path("runs"),
    self_test: Annotated[
        bool, typer.Option("--self-test/--no-self-test", help="Train each method for a few steps on digits.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Write the findings as JSON.")] = False,
) -> None:
    """Look whether everything works here: versions, devices, data, disk, and a training in small.

    Exit code 1 if something needed does not work; each such line says what to do. Nothing is left behind.
    """
    from noiseproof.doctor import examine

    findings = examine(runs, self_test=self_test)
    found = list(findings if as_json else _shown(findings))
    failed = [each for each in found if each.status == "failed"]
    if as_json:
        content = {"ok": not failed, "findings": [asdict(each) for each in found]}
        show(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        count = "1 thing is" if len(failed) == 1 else f"{len(failed)} things are"
        show(f"\n{count} not as needed: see the lines with what to do." if failed else "\nAll that is needed works.")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _shown(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Print findings as they come."""
    section = ""
    for found in findings:
        if found.section != section:
            show(f"{chr(10) if section else ''}{found.section}")
            section = found.section
        line = Text.assemble("  ", _mark(found.status), f" {found.name}: {found.value}")
        output().print(line, highlight=False, soft_wrap=True)
        if found.fix:
            show(f"      {found.fix}")
        yield found


def _mark(status: str) -> tuple[str, str]:
    console = output()
    sign, style = _MARKS[status]
    plain = not console.is_terminal or not console.encoding.lower().startswith("utf")
    return (f"{_WORDS[status]:<6}", "") if plain else (sign, style)
