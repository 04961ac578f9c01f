"""Names that shells complete, found without importing what they stand for: that would load torch at every Tab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources

__all__ = ["experiments", "methods", "methods_with_commas", "presets", "recipes"]

_METHOD = re.compile(r'^    name = "([\w-]+)"$', re.MULTILINE)
_ALL, _LIST = "all", "list"
_PRESETS = ("paper", "best", "authors-code")


def recipes(incomplete: str) -> list[str]:
    """Names of packaged recipes."""
    return _beginning(_files("recipes"), incomplete)


def methods(incomplete: str) -> list[str]:
    """Names of methods, as their files give them."""
    return _beginning(_methods(), incomplete)


def methods_with_commas(incomplete: str) -> list[str]:
    """Complete the last of several methods with commas between; those that are named already are left out."""
    before, comma, last = incomplete.rpartition(",")
    named = set(before.split(","))
    known = [name for name in (*_methods(), *(() if comma else (_ALL,))) if name not in named]
    return [f"{before}{comma}{name}" for name in _beginning(known, last)]


def presets(incomplete: str) -> list[str]:
    """Names of presets."""
    return _beginning(list(_PRESETS), incomplete)


def experiments(incomplete: str) -> list[str]:
    """Names of the paper's experiments, and ``list``."""
    return _beginning([*_files("paper", "declarations"), _LIST], incomplete)


def _methods() -> list[str]:
    folder = resources.files("noiseproof") / "methods"
    texts = (path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name.endswith(".py"))
    return sorted(found[1] for found in map(_METHOD.search, texts) if found)


def _files(*place: str) -> Iterator[str]:
    """The YAML files in a folder of the package, without their ending."""
    folder = resources.files("noiseproof").joinpath(*place)
    names = (path.name for path in folder.iterdir())
    return iter(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def _beginning(names: Iterator[str] | list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
