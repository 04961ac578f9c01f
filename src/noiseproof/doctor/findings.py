"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Status", "absent", "broken", "fine"]

Status = Literal["ok", "absent", "failed"]


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        section: ``versions``, ``extras``, ``devices``, ``data``, ``disk`` or ``self-test``.
        name: what was looked at.
        status: ``ok``; ``absent``, which nothing needs but what the line says; or ``failed``.
        value: what was found.
        fix: what to do, where it is not ``ok``.
    """

    section: str
    name: str
    status: Status
    value: str
    fix: str = ""


def fine(section: str, name: str, value: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(section, name, "ok", value)


def absent(section: str, name: str, value: str, fix: str = "") -> Finding:
    """Return a finding that something optional is not there."""
    return Finding(section, name, "absent", value, fix)


def broken(section: str, name: str, value: str, fix: str) -> Finding:
    """Return a finding that something needed does not work; ``fix`` says what to do."""
    return Finding(section, name, "failed", value, fix)
