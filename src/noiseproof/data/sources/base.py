"""What a source of data hands over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from noiseproof.data.dataset import ArrayDataset
from noiseproof.errors import InvalidArgumentError
from noiseproof.registry import Registry

__all__ = ["SOURCES", "SourceData", "refuse_argument"]


@dataclass(frozen=True)
class SourceData:
    """Training data, and the parts that the source itself sets apart."""

    train: ArrayDataset
    test: ArrayDataset | None = None
    validation: ArrayDataset | None = None


SOURCES: Registry[Callable[[str], SourceData]] = Registry("data source", package="noiseproof.data.sources")


def refuse_argument(name: str, argument: str) -> None:
    """Raise where a source that takes no argument was given one."""
    if argument:
        raise InvalidArgumentError(f"the data source {name!r} takes no argument, got {argument!r}")
