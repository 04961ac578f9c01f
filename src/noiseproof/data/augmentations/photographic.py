"""Augmentations of photographs (H.2) through torchvision's transforms, drawn anew for every sample of a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.transforms import v2

from noiseproof.checks import check_range
from noiseproof.data.augmentations.base import Augmentation, register
from noiseproof.errors import InvalidArgumentError

__all__ = ["ColorJitter", "RandomPerspective", "RandomRotation", "TrivialAugment"]


@dataclass(frozen=True)
class _PerSample(Augmentation):
    """A transform of torchvision, which draws once a call from torch's global generator, called sample by sample."""

    @abstractmethod
    def transform(self) -> Callable[[Tensor], Tensor]:
        """Return the transform of one image (C, H, W)."""

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        transform = self.transform()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return torch.stack([transform(image) for image in x])


@register
@dataclass(frozen=True)
class ColorJitter(_PerSample):
    """Random brightness, contrast and saturation, each multiplied by a factor from [1 − value, 1 + value]."""

    name: ClassVar[str] = "jitter"

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        for key in ("brightness", "contrast", "saturation"):
            check_range(f"{key} of the augmentation 'jitter'", getattr(self, key), 0, 1)

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if x.shape[1] not in (1, 3):
            raise InvalidArgumentError(f"the augmentation 'jitter' takes 1 or 3 channels, got {x.shape[1]}")
        return super().apply(x, generator)

    def transform(self) -> Callable[[Tensor], Tensor]:
        jitter: Callable[[Tensor], Tensor] = v2.ColorJitter(self.brightness, self.contrast, self.saturation)
        return jitter


@register
@dataclass(frozen=True)
class RandomRotation(_PerSample):
    """Rotation by an angle from [−degrees, degrees], black where nothing was.

    Attributes:
        degrees: in [0, 180].
    """

    name: ClassVar[str] = "rotate"

    degrees: float

    def __post_init__(self) -> None:
        check_range("degrees of the augmentation 'rotate'", self.degrees, 0, 180)

    def transform(self) -> Callable[[Tensor], Tensor]:
        rotation: Callable[[Tensor], Tensor] = v2.RandomRotation(self.degrees)
        return rotation


@register
@dataclass(frozen=True)
class RandomPerspective(_PerSample):
    """A random change of perspective, with torchvision's defaults.

    Attributes:
        distortion: how far corners move, in [0, 1].
        p: how often, in [0, 1].
    """

    name: ClassVar[str] = "perspective"

    distortion: float = 0.5
    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("distortion of the augmentation 'perspective'", self.distortion, 0, 1)
        check_range("p of the augmentation 'perspective'", self.p, 0, 1)

    def transform(self) -> Callable[[Tensor], Tensor]:
        perspective: Callable[[Tensor], Tensor] = v2.RandomPerspective(self.distortion, self.p)
        return perspective


@register
@dataclass(frozen=True)
class TrivialAugment(_PerSample):
    """One change for every sample, its kind and strength drawn at random, by torchvision's ``TrivialAugmentWide``.

    Müller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation" (arXiv 2103.10158). Samples
    are changed one by one, as by the other augmentations here.
    """

    name: ClassVar[str] = "trivial"

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if x.shape[1] not in (1, 3):
            raise InvalidArgumentError(f"the augmentation 'trivial' takes 1 or 3 channels, got {x.shape[1]}")
        return super().apply(x, generator)

    def transform(self) -> Callable[[Tensor], Tensor]:
        trivial: Callable[[Tensor], Tensor] = v2.TrivialAugmentWide(fill=0)
        return trivial
