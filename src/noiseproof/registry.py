"""Names to objects. A file dropped into the right package registers itself; nothing else has to change."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from noiseproof.errors import InvalidArgumentError, UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from a name that users type to the object behind it.

    Args:
        kind: what the names stand for, as error messages say it (``"method"``).
        package: a package whose modules are all imported before the first look-up, so that each can register itself.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters its object under ``name``.

        The same definition made again, as a notebook does when a cell runs twice, takes the place of the first.

        Raises:
            InvalidArgumentError: the name is taken by another object.
        """

        def enter(entry: T) -> T:
            if name in self._entries and _definition(self._entries[name]) != _definition(entry):
                raise InvalidArgumentError(f"the {self.kind} {name!r} is registered already")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        self._discover()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._entries))

    def _discover(self) -> None:
        package, self._package = self._package, None  # a module imported here may look names up itself
        if package is None:
            return
        try:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")
        except BaseException:
            self._package = package
            raise


def _definition(entry: object) -> object:
    """Where a class or function is defined; anything else is itself."""
    place = (getattr(entry, "__module__", None), getattr(entry, "__qualname__", None))
    return entry if None in place else place
