"""Errors that a user can act on: each message names the argument, its value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BudgetSpentError",
    "DataError",
    "ExportError",
    "InvalidArgumentError",
    "ModelSplitError",
    "NoiseproofError",
    "NonFiniteLossError",
    "NonFiniteWeightsError",
    "RecipeError",
    "RunBusyError",
    "RunFolderError",
    "UnknownNameError",
    "did_you_mean",
]

_SHOWN = 40


class NoiseproofError(Exception):
    """Base of every error that noiseproof raises on purpose; the command line prints it as one line."""


class InvalidArgumentError(NoiseproofError, ValueError):
    """An argument is outside what is allowed."""


class UnknownNameError(InvalidArgumentError, KeyError):
    """A name that no recipe, method, perturbation, model, data source or key answers to."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"unknown {kind} {name!r}{did_you_mean(name, self.known)}")

    def __str__(self) -> str:  # KeyError would quote it
        return str(self.args[0])

    def __reduce__(self) -> tuple[type, tuple[str, str, tuple[str, ...]]]:
        return type(self), (self.kind, self.name, self.known)


class DataError(NoiseproofError, ValueError):
    """A data set that cannot be trained or measured on."""


class RecipeError(InvalidArgumentError):
    """A recipe with a wrong, missing or unknown key."""


class ModelSplitError(InvalidArgumentError):
    """A module that is not a feature extractor followed by one affine map."""


class RunFolderError(NoiseproofError):
    """A run folder that is taken, incomplete or not a run."""


class RunBusyError(RunFolderError):
    """A run folder that another process is writing."""


class BudgetSpentError(NoiseproofError):
    """The time that work was given is over; what is done is kept, and the same call goes on from there."""


class ExportError(NoiseproofError):
    """A model that cannot be exported, or whose export does not answer as it does, or would replace a file."""


class NonFiniteLossError(NoiseproofError, ArithmeticError):
    """A part of the training loss became NaN or infinite."""

    def __init__(self, part: str, value: float, epoch: int, step: int) -> None:
        self.part, self.value, self.epoch, self.step = part, value, epoch, step
        super().__init__(
            f"the loss part {part!r} became {value} in epoch {epoch}, step {step}; "
            "try a smaller train.optimizer.lr or set train.clip_grad_norm"
        )

    def __reduce__(self) -> tuple[type, tuple[str, float, int, int]]:
        return type(self), (self.part, self.value, self.epoch, self.step)


class NonFiniteWeightsError(NoiseproofError, ArithmeticError):
    """A step left NaN or infinity in a model, though its loss was finite."""

    def __init__(self, name: str, epoch: int, step: int) -> None:
        self.name, self.epoch, self.step = name, epoch, step
        super().__init__(
            f"{name} holds values that are not finite after step {step}, in epoch {epoch}, though the loss was finite"
            "; try a smaller train.optimizer.lr or set train.clip_grad_norm"
        )

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        return type(self), (self.name, self.epoch, self.step)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` where one of ``known`` is near to ``name``, else the list of what is known."""
    options = sorted(known)
    near = difflib.get_close_matches(name.lower(), options, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    shown = ", ".join(options[:_SHOWN]) + (f" and {len(options) - _SHOWN} more" if len(options) > _SHOWN else "")
    return f"; known: {shown}" if options else ""
