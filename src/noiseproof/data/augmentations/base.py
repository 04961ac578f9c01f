"""What an augmentation is, and how one is made from its text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.errors import InvalidArgumentError
from noiseproof.registry import Registry
from noiseproof.spec import parse

__all__ = ["AUGMENTATIONS", "Augmentation", "augmentation", "register"]


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change of a whole batch, drawn for every sample on its own, on the device of the batch."""

    name: ClassVar[str]

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a changed copy of images ``x`` (N, C, H, W), uint8 or floating, of the same shape.

        Raises:
            InvalidArgumentError: ``x`` are no images.
        """
        if x.ndim != 4:
            raise InvalidArgumentError(
                f"the augmentation {self.name!r} takes images (N, C, H, W), got {tuple(x.shape)}"
            )
        return self.apply(x, generator)

    @abstractmethod
    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the changed images."""


AUGMENTATIONS: Registry[type[Augmentation]] = Registry("augmentation", package="noiseproof.data.augmentations")


def register(cls: type[Augmentation]) -> type[Augmentation]:
    """Class decorator that makes an augmentation known under its ``name``."""
    return AUGMENTATIONS.register(cls.name)(cls)


@dataclass(frozen=True)
class Chain(Augmentation):
    """Augmentations applied one after the other; none leaves the batch as it is."""

    name: ClassVar[str] = "chain"

    parts: tuple[Augmentation, ...] = ()

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.apply(x, generator)

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        for part in self.parts:
            x = part(x, generator)
        return x


def augmentation(spec: str) -> Augmentation:
    """Make an augmentation from its text, such as ``"crop:padding=4+flip"``; an empty text or ``"none"`` is none.

    Raises:
        UnknownNameError: no such augmentation or key.
        InvalidArgumentError: a wrong value.
    """
    return Chain(tuple(parse(spec, AUGMENTATIONS)) if spec not in ("", "none") else ())
