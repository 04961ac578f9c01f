"""What a model can be shown in place of the clean input: a perturbation, or the work of an attack."""

from __future__ import annotations

from typing import TypeAlias

from noiseproof.evaluation.attacks import Attack, attack, is_attack
from noiseproof.perturbations import Perturbation, perturbation

__all__ = ["View", "is_random", "view"]

View: TypeAlias = Perturbation | Attack


def view(spec: str | View) -> View:
    """Make a perturbation or an attack from its text.

    Raises:
        UnknownNameError: neither has that name.
        InvalidArgumentError: a wrong value.
    """
    if isinstance(spec, Perturbation | Attack):
        return spec
    return attack(spec) if is_attack(spec) else perturbation(spec)


def is_random(view: View) -> bool:
    """Whether draws of a view differ. An attack is carried out once, though it may start at random."""
    return isinstance(view, Perturbation) and view.random
