"""The house has no circles: a room imports only from rooms below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "noiseproof"

# From the ground up. Rooms on one floor do not know each other.
FLOORS = [
    {"errors"},
    {"registry", "checks", "files", "seeding", "progress", "partition", "durations", "scaling"},
    {"archives"},
    {"spec", "functional"},
    {"models", "losses", "perturbations", "data"},
    {"geometry", "methods"},
    {"evaluation"},
    {"analysis"},
    {"training", "reporting"},
    {"targets", "estimator"},
    {"explaining", "deploying"},
    {"presenting"},
    {"experiments"},
    {"scheduling", "rehearsing", "doctor", "suggesting"},
    {"studies"},
    {"paper"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "noiseproof":
            inner = node.module.split(".")[1:]
            rooms |= {inner[0]} if inner else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("noiseproof.")}
    return rooms


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    above = {other for other in imported_rooms(path) - {room} if FLOOR[other] >= FLOOR[room]}
    assert not above, f"{room} imports {above}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_and_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    names = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
             if isinstance(target, ast.Name)}  # fmt: skip
    assert "__all__" in names


def test_every_public_name_is_documented() -> None:
    import noiseproof

    for name in noiseproof.__all__:
        assert name == "__version__" or getattr(noiseproof, name).__doc__, name


def test_importing_the_package_writes_nothing_and_loads_no_torch(tmp_path: Path) -> None:
    code = "import sys, noiseproof; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
