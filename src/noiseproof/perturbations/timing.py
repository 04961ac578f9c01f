"""What happens to a series as time goes on: stretches lost or stuck, drift, hum, and a start at the wrong time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noiseproof.checks import check_range, check_whole
from noiseproof.perturbations.base import Kind, Perturbation, register
from noiseproof.perturbations.extents import check_extent, covered, places
from noiseproof.perturbations.faults import some_channels

__all__ = ["Drift", "Gap", "Hum", "Stuck", "TimeShift"]


@register
@dataclass(frozen=True)
class Gap(Perturbation):
    """Stretches of time, of all channels together, that are lost; each series has its own, and they may overlap.

    Attributes:
        length: of a gap, in steps where it is 1 or more, else as a fraction of the series.
        n: how many, ≥ 1.
        fill: what stands in a gap, in units of the input; 0 is the mean of standardised inputs.
    """

    name: ClassVar[str] = "gap"
    takes: ClassVar[tuple[Kind, ...]] = ("series",)

    length: float
    n: int = 1
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_extent("length of the perturbation 'gap'", self.length)
        check_whole("n of the perturbation 'gap'", self.n, 1)
        check_range("fill of the perturbation 'gap'", self.fill)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        steps = x.shape[2]
        length = places(self.length, steps, "gap", "length", "series' {} steps")
        lost = covered(len(x), self.n, length, steps, generator, x.device).any(1)
        return x.masked_fill(lost.unsqueeze(1), self.fill)


@register
@dataclass(frozen=True)
class Stuck(Perturbation):
    """Channels that keep, from a random step on, the value that they have there; each series has its own.

    Attributes:
        n: how many channels, ≥ 1.
    """

    name: ClassVar[str] = "stuck"
    takes: ClassVar[tuple[Kind, ...]] = ("series",)

    n: int = 1

    def __post_init__(self) -> None:
        check_whole("n of the perturbation 'stuck'", self.n, 1)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        samples, channels, steps = x.shape
        stuck = some_channels(x, self.n, generator, self.name)
        last = torch.randint(steps, (samples, channels, 1), generator=generator, device=x.device)
        time = torch.arange(steps, device=x.device).expand(x.shape)
        return x.gather(2, torch.where(stuck, time.minimum(last), time))


@register
@dataclass(frozen=True)
class Drift(Perturbation):
    """x + b·t, t from 0 at the first step to 1 at the last, b ~ N(0, std²) for each channel: a zero that moves.

    Attributes:
        std: of the change from first to last, ≥ 0, in units of the input.
    """

    name: ClassVar[str] = "drift"
    takes: ClassVar[tuple[Kind, ...]] = ("series",)
    level_key: ClassVar[str] = "std"

    std: float

    def __post_init__(self) -> None:
        check_range("std of the perturbation 'drift'", self.std, 0)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        moved = torch.randn(*x.shape[:2], 1, generator=generator, device=x.device, dtype=x.dtype)
        time = torch.linspace(0, 1, x.shape[2], device=x.device, dtype=x.dtype)
        return torch.addcmul(x, moved, time, value=self.std)


@register
@dataclass(frozen=True)
class Hum(Perturbation):
    """x + amplitude · sin(2π(t/period + φ)) on all channels, φ uniform for each series: a mains nearby.

    Attributes:
        amplitude: ≥ 0 in units of the input.
        period: in steps, ≥ 2, below which no series can show it.
    """

    name: ClassVar[str] = "hum"
    takes: ClassVar[tuple[Kind, ...]] = ("series",)
    level_key: ClassVar[str] = "amplitude"

    amplitude: float
    period: float

    def __post_init__(self) -> None:
        check_range("amplitude of the perturbation 'hum'", self.amplitude, 0)
        check_range("period of the perturbation 'hum'", self.period, 2)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        phase = torch.rand(len(x), 1, 1, generator=generator, device=x.device)
        turns = torch.arange(x.shape[2], device=x.device) / self.period + phase
        return torch.add(x, (2 * torch.pi * turns).sin().to(x.dtype), alpha=self.amplitude)


@register
@dataclass(frozen=True)
class TimeShift(Perturbation):
    """A series that begins too early or too late; its first or last value is repeated where there is none.

    Attributes:
        steps: the most that it is moved, in [0, 2³¹]; every whole number from −steps to steps is as likely.
    """

    name: ClassVar[str] = "time-shift"
    takes: ClassVar[tuple[Kind, ...]] = ("series",)
    level_key: ClassVar[str] = "steps"

    steps: int

    def __post_init__(self) -> None:
        check_whole("steps of the perturbation 'time-shift'", self.steps, 0)
        check_range("steps of the perturbation 'time-shift'", self.steps, 0, 2**31)

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        length = x.shape[2]
        moved = torch.randint(-self.steps, self.steps + 1, (len(x), 1, 1), generator=generator, device=x.device)
        time = torch.arange(length, device=x.device) - moved
        return x.gather(2, time.clamp(0, length - 1).expand(x.shape))
