"""What the documents promise is true: their Python runs, and the names they give exist."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from noiseproof.data.sources import SOURCES, SourceOptions
from noiseproof.evaluation import ATTACKS
from noiseproof.methods import METHODS
from noiseproof.perturbations import PERTURBATIONS
from noiseproof.perturbations.corruption import SEVERITIES

ROOT = Path(__file__).parent.parent


def code_blocks(document: str) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def test_python_in_the_readme_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = code_blocks("README.md")
    assert len(blocks) >= 3
    exec(compile("\n".join(blocks), "README.md", "exec"), {"__name__": "readme"})  # noqa: S102
    assert (tmp_path / "my-report" / "report.json").is_file()


def test_python_in_contributing_registers_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for registry in (METHODS, PERTURBATIONS, SOURCES):
        assert "no such name" not in registry  # discovers what is packaged, so that only the copy changes below
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    for number, block in enumerate(code_blocks("CONTRIBUTING.md")):
        (tmp_path / f"contributed_{number}.py").write_text(block, encoding="utf-8")
        importlib.import_module(f"contributed_{number}")
    assert "confidence-penalty" in METHODS
    assert "laplace-example" in PERTURBATIONS
    assert SOURCES["blobs-example"]("10", SourceOptions()).train.inputs.shape == (10, 3)


WITH_PYTHON = [
    str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")) if "```python" in path.read_text()
]


@pytest.mark.parametrize("document", WITH_PYTHON)
def test_python_in_the_documents_runs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no such name" not in PERTURBATIONS
    monkeypatch.setattr(PERTURBATIONS, "_entries", dict(PERTURBATIONS._entries))
    blocks = code_blocks(document)
    assert blocks
    exec(compile("\n".join(blocks), document, "exec", dont_inherit=True), {"__name__": "document"})  # noqa: S102


def test_every_perturbation_and_attack_is_described() -> None:
    text = (ROOT / "docs/perturbations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == set(PERTURBATIONS)
    assert all(f"`{name}:" in text for name in ATTACKS)
    for kind in SEVERITIES["cifar"]:
        assert f"`{kind}`" in text


def mapped_names() -> list[str]:
    text = (ROOT / "docs/paper-to-code.md").read_text(encoding="utf-8")
    return re.findall(r"`(noiseproof\.[\w.]+)`", text)


def test_map_covers_the_equations_of_the_loss() -> None:
    text = (ROOT / "docs/paper-to-code.md").read_text(encoding="utf-8")
    assert all(
        re.search(rf"^\| Eq\..*\b{number}\b", text, re.MULTILINE) for number in (1, 3, 4, 7, 8, 9, 10, 11, 12, 13)
    )


@pytest.mark.parametrize("name", mapped_names())
def test_every_name_in_the_paper_to_code_map_exists(name: str) -> None:
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[split:]:
            found = getattr(found, attribute)
        assert found.__doc__
        return
    pytest.fail(f"{name} cannot be imported")


def test_test_files_that_the_map_names_exist() -> None:
    text = (ROOT / "docs/paper-to-code.md").read_text(encoding="utf-8")
    paths = re.findall(r"`(tests/[\w/.]+)`", text)
    assert paths
    assert all((ROOT / path).is_file() for path in paths)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-b", "html", str(ROOT / "docs")]
    built = subprocess.run([*command, str(tmp_path / "site")], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "reference" / "loss.html").read_text(encoding="utf-8")
    assert "Eq. 9" in page
    assert "delta_d" in page


def test_every_command_is_in_the_documents() -> None:
    from noiseproof.cli.app import app

    text = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert len(names) > 12
    assert not [name for name in names if f"noiseproof {name}" not in text]
