"""Optimisers and learning-rate schedules of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from noiseproof.training.recipe import OptimizerSettings, ScheduleSettings

__all__ = ["build_optimizer", "build_scheduler", "learning_rate_factor"]


def build_optimizer(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Make the optimiser that ``settings`` describe."""
    if settings.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            weight_decay=settings.weight_decay,
        )
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=settings.lr, weight_decay=settings.weight_decay)


def build_scheduler(
    optimizer: torch.optim.Optimizer, settings: ScheduleSettings, steps_per_epoch: int, total_steps: int
) -> LambdaLR:
    """Make a scheduler that is stepped once after every optimiser step."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings, steps_per_epoch, total_steps))


def learning_rate_factor(step: int, settings: ScheduleSettings, steps_per_epoch: int, total_steps: int) -> float:
    """Return what the learning rate is multiplied by in ``step`` (counted from 0)."""
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
