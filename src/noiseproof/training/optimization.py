"""Optimisers and learning-rate schedules of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from noiseproof.training.recipe import OptimizerSettings, ScheduleSettings

__all__ = ["build_optimizer", "build_scheduler", "learning_rate_factor"]


def build_optimizer(
    parameters: Iterable[nn.Parameter], settings: OptimizerSettings, *, fused: bool = False
) -> torch.optim.Optimizer:
    """Make the optimiser that ``settings`` describe; ``fused`` has it update all weights in one kernel."""
    if settings.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            weight_decay=settings.weight_decay,
            fused=fused or None,  # None leaves it to torch, which then takes one kernel for several weights
        )
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused or None)


def build_scheduler(
    optimizer: torch.optim.Optimizer, settings: ScheduleSettings, steps_per_epoch: int, total_steps: int
) -> LambdaLR:
    """Make a scheduler that is stepped once after every optimiser step."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings, steps_per_epoch, total_steps))


def learning_rate_factor(step: int, settings: ScheduleSettings, steps_per_epoch: int, total_steps: int) -> float:
    """Return what the learning rate is multiplied by in ``step`` (counted from 0)."""
    if settings.name == "one-cycle":
        return _one_cycle(step, settings.warmup or 0.3, total_steps)
    warmup = settings.warmup * total_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.name == "multistep":
        passed = sum(step >= milestone * steps_per_epoch for milestone in settings.milestones)
        return float(settings.factor**passed)
    if settings.name == "cosine":
        progress = min(1.0, (step - warmup) / max(1.0, total_steps - warmup))
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


def _one_cycle(step: int, rise: float, total_steps: int) -> float:
    """The shape of ``torch.optim.lr_scheduler.OneCycleLR`` with its default divisors, as a multiple of the peak."""
    low, lowest = 1 / 25, 1 / 25 / 1e4
    peak = rise * total_steps - 1
    if step <= peak:
        return _cosine(low, 1.0, step / peak if peak > 0 else 1.0)
    fall = total_steps - 1 - peak
    return _cosine(1.0, lowest, min(1.0, (step - peak) / fall) if fall > 0 else 1.0)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
