"""Python, the packages that are needed, and the extras that are not."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

from noiseproof.doctor.findings import Finding, absent, broken, fine

__all__ = ["EXTRAS", "versions"]

# What each extra of the package is for.
EXTRAS = {
    "timm": "models named timm/NAME",
    "parquet": "data named parquet:FOLDER",
    "tensorboard": "train.tensorboard=true",
    "onnx": "export",
    "examples": "the scripts in examples/",
    "attacks": "evaluate -p pgd:8/255 and the other attacks",
}
_OLDEST_PYTHON = (3, 11)
_DEVELOPMENT = "dev"
# Packages that are imported, not only looked up: compiled ones, which may be there and not work.
_IMPORTED = ("torch", "torchvision", "accelerate")


def versions() -> Iterator[Finding]:
    """Look at Python and every requirement of the package."""
    value = f"{platform.python_version()}, {platform.platform(terse=True)}"
    if sys.version_info >= _OLDEST_PYTHON:
        yield fine("versions", "python", value)
    else:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        yield broken("versions", "python", value, f"use Python {oldest} or newer")
    try:
        needed = [Requirement(text) for text in requires("noiseproof") or ()]
        yield fine("versions", "noiseproof", version("noiseproof"))
    except PackageNotFoundError:
        needed = []
        yield absent(
            "versions", "noiseproof", "not installed, used from its source", "pip install . where pyproject.toml is"
        )
    plain = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    for name in _IMPORTED:
        yield _imported(name, next((each for each in plain if each.name == name), Requirement(name)))
    others = [_installed(each) for each in plain if each.name not in _IMPORTED]
    yield from (each for each in others if each.status != "ok")
    if others and all(each.status == "ok" for each in others):
        yield fine("versions", "others", ", ".join(f"{each.name} {each.value}" for each in others))
    yield from _extras(needed)


def _imported(name: str, requirement: Requirement) -> Finding:
    try:
        importlib.import_module(name)
    except Exception as error:  # a library that does not fit raises nearly anything
        told = (str(error) or type(error).__name__).splitlines()[0]
        again = f"pip install --force-reinstall '{requirement.name}{requirement.specifier}'"
        return broken("versions", name, f"cannot be imported: {told}", again)
    return _installed(requirement)


def _installed(requirement: Requirement) -> Finding:
    try:
        there = version(requirement.name)
    except PackageNotFoundError:
        return broken("versions", requirement.name, "not installed", f"pip install '{requirement}'")
    if not requirement.specifier.contains(there, prereleases=True):
        fix = f"pip install '{requirement.name}{requirement.specifier}'"
        return broken("versions", requirement.name, f"{there}, needs {requirement.specifier}", fix)
    return fine("versions", requirement.name, there)


def _extras(needed: list[Requirement]) -> Iterator[Finding]:
    """Say of each extra whether it is there; its packages are looked up, not imported."""
    names = list(metadata("noiseproof").get_all("Provides-Extra") or ()) if needed else list(EXTRAS)
    for extra in names:
        if extra == _DEVELOPMENT:
            continue
        own = [each for each in needed if each.marker is not None and each.marker.evaluate({"extra": extra})]
        found = [_installed(Requirement(f"{each.name}{each.specifier}")) for each in own]
        purpose = f"for {EXTRAS[extra]}" if extra in EXTRAS else ""
        wrong = [f"{each.name} {each.value}" for each in found if each.status != "ok"]
        if found and not wrong:
            there = ", ".join(f"{each.name} {each.value}" for each in found)
            yield fine("extras", extra, f"{there}, {purpose}".rstrip(", "))
        else:
            told = ", ".join(wrong) or "not looked up"
            yield absent("extras", extra, f"{told}; {purpose}".rstrip("; "), f"pip install 'noiseproof[{extra}]'")
