"""A new file is all that a new name takes."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.registry import Registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """An empty package on the import path, under a name of its own."""
    name = f"toys_of_{tmp_path.name}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(
        f"from noiseproof.registry import Registry\nTOYS = Registry('toy', package='{name}')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return name, folder


def add(folder: Path, file: str, toy: str, value: int) -> None:
    (folder / file).write_text(f"from .base import TOYS\nTOYS.register('{toy}')({value})\n")


def toys(name: str) -> Registry[int]:
    registry: Registry[int] = importlib.import_module(f"{name}.base").TOYS
    return registry


def test_a_file_registers_itself_before_the_first_look_up(package: tuple[str, Path]) -> None:
    name, folder = package
    add(folder, "ball.py", "ball", 1)
    add(folder, "kite.py", "kite", 2)
    registry = toys(name)
    assert f"{name}.ball" not in sys.modules
    assert registry["kite"] == 2
    assert list(registry) == ["ball", "kite"]


@pytest.mark.parametrize("look", [lambda r: list(r) == ["ball"], lambda r: "ball" in r, lambda r: r["ball"] == 1])
def test_every_kind_of_look_up_finds_it(package: tuple[str, Path], look: Callable[[Registry[int]], bool]) -> None:
    name, folder = package
    add(folder, "ball.py", "ball", 1)
    assert look(toys(name))


def test_a_file_that_fails_is_told_at_every_look_up(package: tuple[str, Path]) -> None:
    """Else a second look-up would call a name unknown that was never read."""
    name, folder = package
    add(folder, "zebra.py", "zebra", 1)
    (folder / "broken.py").write_text("raise RuntimeError('broken')\n")
    registry = toys(name)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            registry["zebra"]


def test_a_name_is_taken_once() -> None:
    registry: Registry[object] = Registry("toy")
    entry = object()
    assert registry.register("ball")(entry) is entry
    registry.register("ball")(entry)  # the same again does no harm
    with pytest.raises(InvalidArgumentError, match="the toy 'ball' is registered already"):
        registry.register("ball")(object())
    assert registry["ball"] is entry


def test_the_same_definition_made_again_takes_the_place_of_the_first() -> None:
    """As a cell of a notebook does that runs twice."""
    registry: Registry[object] = Registry("toy")

    def cell() -> type:
        class Ball: ...

        return Ball

    first, again = cell(), cell()
    registry.register("ball")(first)
    registry.register("ball")(again)
    assert registry["ball"] is again

    class Other: ...

    with pytest.raises(InvalidArgumentError, match="registered already"):
        registry.register("ball")(Other)


def test_an_unknown_name_gets_a_suggestion_or_all_names() -> None:
    registry: Registry[int] = Registry("toy")
    registry.register("ball")(1)
    registry.register("kite")(2)
    with pytest.raises(UnknownNameError) as caught:
        registry["bal"]
    assert str(caught.value) == "unknown toy 'bal'; did you mean 'ball'?"
    with pytest.raises(KeyError, match="known: ball, kite"):
        registry["zzz"]
    assert "zzz" not in registry


def test_files_dropped_into_the_package_are_a_perturbation_an_augmentation_and_a_source(tmp_path: Path) -> None:
    """In a process of its own, with folders that stand for the package's."""
    files = {
        "perturbations/negative.py": """
            from dataclasses import dataclass
            from typing import ClassVar
            from noiseproof.perturbations import Perturbation, register

            @register
            @dataclass(frozen=True)
            class Negative(Perturbation):
                name: ClassVar[str] = "negative"
                strength: float = 1.0

                def apply(self, x, generator):
                    return x + self.strength * (1 - 2 * x)
            """,
        "data/augmentations/upside.py": """
            from dataclasses import dataclass
            from typing import ClassVar
            from noiseproof.data.augmentations import Augmentation, register

            @register
            @dataclass(frozen=True)
            class UpsideDown(Augmentation):
                name: ClassVar[str] = "upside-down"

                def apply(self, x, generator):
                    return x.flip(-2)
            """,
        "data/sources/coins.py": """
            import torch
            from noiseproof.data import SOURCES, ArrayDataset
            from noiseproof.data.sources import SourceData

            @SOURCES.register("coins")
            def coins(argument, options):
                labels = torch.arange(int(argument)) % 2
                return SourceData(ArrayDataset(labels.float().unsqueeze(1), labels, ["heads", "tails"]))
            """,
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(textwrap.dedent(text))
    program = f"""
        import torch, noiseproof, noiseproof.perturbations, noiseproof.data.augmentations, noiseproof.data.sources
        noiseproof.perturbations.__path__.append({str(tmp_path / "perturbations")!r})
        noiseproof.data.augmentations.__path__.append({str(tmp_path / "data/augmentations")!r})
        noiseproof.data.sources.__path__.append({str(tmp_path / "data/sources")!r})
        x = torch.rand(2, 1, 3, 3)
        perturbed = noiseproof.perturbation("negative+negative:strength=0.5")(x, 0)
        assert torch.allclose(perturbed, torch.full_like(x, 0.5)), perturbed
        assert noiseproof.perturbation("negative:1/2").spec == "negative:strength=0.5"
        assert torch.equal(noiseproof.data.augmentation("upside-down")(x, torch.Generator()), x.flip(-2))
        splits = noiseproof.data.load_splits("coins:20", test_fraction=0.2)
        assert len(splits.train) == 16 and len(splits.test) == 4
        """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
