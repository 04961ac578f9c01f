"""What a perturbation is, and how one is made from its text."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from noiseproof import seeding
from noiseproof.checks import check_unit_interval
from noiseproof.errors import InvalidArgumentError
from noiseproof.registry import Registry
from noiseproof.spec import format_part, parse

__all__ = ["PERTURBATIONS", "Chain", "Kind", "Perturbation", "perturbation", "register"]

Kind = Literal["vectors", "series", "images"]
_BATCHES: dict[Kind, str] = {"vectors": "(N, F)", "series": "(N, C, T)", "images": "(N, C, H, W)"}
_DIMENSIONS: dict[int, Kind] = {2: "vectors", 3: "series", 4: "images"}
PERTURBATIONS: Registry[type[Perturbation]] = Registry("perturbation", package="noiseproof.perturbations")


@dataclass(frozen=True)
class Perturbation(ABC):
    """A change of a batch of inputs that keeps its shape, type and device, and does not touch the input itself.

    An input of three dimensions is a batch of series; a single image needs a first dimension of 1.

    A subclass is a frozen dataclass; its fields are the keys that a user types, so they are validated in
    ``__post_init__``.

    Attributes:
        takes: the kinds of inputs that it knows what to do with.
        clamp: whether images, (N, C, H, W), are clamped to [0, 1]. Vectors and series never are.
    """

    name: ClassVar[str]
    random: ClassVar[bool] = True
    takes: ClassVar[tuple[Kind, ...]] = tuple(_BATCHES)
    level_key: ClassVar[str | None] = None  # the field that says how strong it is, 0 for not at all

    clamp: bool = field(default=True, kw_only=True)

    def __call__(self, x: Tensor, generator: torch.Generator | int | None = None) -> Tensor:
        """Perturb a batch.

        Args:
            x: (N, C, H, W) images in [0, 1], (N, F) vectors or (N, C, T) series; floating.
            generator: a generator on the device of ``x``, or a seed; None draws from torch's global generator.

        Returns:
            A tensor like ``x``.

        Raises:
            InvalidArgumentError: not floating, no batch dimension, (on the CPU) image values outside [0, 1], or inputs
                that this perturbation does not take.
        """
        if x.ndim < 2 or not x.is_floating_point():
            hint = "; turn bytes into floats and divide by 255" if x.dtype == torch.uint8 else ""
            raise InvalidArgumentError(
                f"{self.name} takes a floating batch (N, …), got {x.dtype} {tuple(x.shape)}{hint}"
            )
        if x.ndim == 4:
            check_unit_interval("images", x)
        if isinstance(generator, numbers.Integral):
            generator = seeding.generator(int(generator), self.spec, device=x.device)
        if not (generator is None or isinstance(generator, torch.Generator)):
            raise InvalidArgumentError(f"generator must be a torch.Generator, a seed or None, got {generator!r}")
        return self.clamped(x, generator)

    def clamped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the perturbed batch, clamped if it is of images and clamping is on."""
        if len(self.takes) < len(_BATCHES) and _DIMENSIONS.get(x.ndim) not in self.takes:
            taken = " or ".join(f"{kind} {_BATCHES[kind]}" for kind in self.takes)
            raise InvalidArgumentError(f"{self.name} takes {taken}, got a batch {tuple(x.shape)}")
        before = None if x.is_inference() else x._version
        perturbed = self.apply(x, generator)
        if before is not None and x._version != before:
            raise InvalidArgumentError(
                f"{self.name} changes its input in place, and with it what else is measured: its apply must work on a "
                "copy, as x = x.clone() makes one"
            )
        return perturbed.clamp(0, 1) if x.ndim == 4 and self.clamp else perturbed

    @abstractmethod
    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the perturbed batch, before clamping."""

    @property
    def spec(self) -> str:
        """The canonical text, from which :func:`perturbation` makes an equal object."""
        return format_part(self.name, self)

    @property
    def level(self) -> float | None:
        """How strong the perturbation is, in its own units; None where no single number says it."""
        return None if self.level_key is None else float(getattr(self, self.level_key))

    def __str__(self) -> str:
        return self.spec


def unrounded(x: Tensor) -> Tensor:
    """Return a batch as products and convolutions are to see it: in float64 on CUDA, which rounds float32 to TF32."""
    return x.double() if x.device.type == "cuda" else x


def register(cls: type[Perturbation]) -> type[Perturbation]:
    """Class decorator that makes a perturbation known under its ``name``."""
    return PERTURBATIONS.register(cls.name)(cls)


@dataclass(frozen=True)
class Chain(Perturbation):
    """Perturbations applied one after the other, each clamping for itself."""

    name: ClassVar[str] = "chain"

    parts: tuple[Perturbation, ...] = ()
    clamp: bool = field(default=False, kw_only=True)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        for part in self.parts:
            x = part.clamped(x, generator)
        return x

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether any part draws random numbers."""
        return any(part.random for part in self.parts)

    @property
    def spec(self) -> str:
        return "+".join(part.spec for part in self.parts)


def perturbation(spec: str | Perturbation) -> Perturbation:
    """Make a perturbation from its text.

    Args:
        spec: ``"gaussian:8/255"``, ``"uniform:0.06"``, ``"clean"``; joined with ``+`` they apply from left to right.

    Returns:
        A callable ``noise(x, generator=…)``.

    Raises:
        UnknownNameError: no such perturbation or key.
        InvalidArgumentError: a wrong value.
    """
    if isinstance(spec, Perturbation):
        return spec
    parts = parse(spec, PERTURBATIONS)
    return parts[0] if len(parts) == 1 else Chain(tuple(parts))
