"""What is proposed, and how it is told."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

__all__ = ["Advice", "Proposal", "Value", "rounded"]

Value = float | str | tuple[str, ...]


@dataclass(frozen=True)
class Proposal:
    """A value for a key of the recipe.

    Attributes:
        key: dotted path, as ``methods.discriminative.delta_d``.
        value: proposed; None where neither theory nor measurement gives one.
        now: the present value.
        reason: with the measured numbers.
        sweep: values to try, where that is what is left to do.
    """

    key: str
    value: Value | None
    now: Value | None
    reason: str
    sweep: tuple[float | str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    @property
    def changes(self) -> bool:
        """Whether another value than the present one is proposed."""
        return self.value is not None and self.value != self.now

    @property
    def setting(self) -> str:
        """How the proposed value is set on the command line; empty where none other is proposed."""
        if self.value is None or not self.changes:
            return ""
        return f"--set {shlex.quote(f'{self.key}={_text(self.value)}')}"

    @property
    def varying(self) -> str:
        """How the values to try are given to a sweep; empty where there are none."""
        return f"--vary {self.key}={','.join(map(_text, self.sweep))}" if self.sweep else ""


@dataclass(frozen=True)
class Advice:
    """Everything that is told about a model, its data and its sensor.

    Attributes:
        title: what it is about.
        facts: (what, value) in plain words, as measured.
        proposals: in the order that they matter.
        notes: what the proposals do not tell.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    proposals: tuple[Proposal, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Proposal:
        """Return the proposal for the key that is, or ends with, ``name``."""
        return next(each for each in self.proposals if name in (each.key, each.name))


def rounded(value: float, digits: int = 2) -> float:
    """Return ``value`` to so many significant digits; more would not be meant."""
    return float(f"{value:.{digits}g}")


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(value)}]"
    return f"{value:g}" if isinstance(value, float | int) else str(value)
