"""Small data with known answers, a transcription of the evaluation in loops, and reports made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from noiseproof import seeding
from noiseproof.evaluation import Comparison, PerturbationResult, RobustnessReport
from noiseproof.evaluation.blocks import BLOCK
from noiseproof.perturbations import perturbation

CLASSES = 3


class Linear(nn.Module):
    """Logits W·flatten(x) with rows of W that are easy to tell apart."""

    def __init__(self, features: int, classes: int = CLASSES) -> None:
        super().__init__()
        weight = torch.randn(classes, features, generator=torch.Generator().manual_seed(1))
        self.weight = nn.Parameter(weight - weight.mean(1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


class Recorder(Linear):
    """Keeps every batch that it was given."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return super().forward(x)


def samples(n: int, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (n, *shape) in [0, 1] and labels of which the linear model gets most right."""
    inputs = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))
    labels = Linear(inputs[0].numel())(inputs).argmax(1)
    labels[::7] = (labels[::7] + 1) % CLASSES
    return inputs, labels


def correct_by_loops(model: Linear, inputs: Tensor, labels: Tensor, spec: str, draws: int, seed: int) -> np.ndarray:
    """(draws, N) of bool: noise block by block from its generator, then one sample and one logit at a time."""
    kind, _, value = spec.partition(":")
    canonical = perturbation(spec).spec
    weight = model.weight.detach().numpy().astype(np.float64)
    correct = np.zeros((draws, len(labels)), dtype=bool)
    for draw in range(draws):
        for start in range(0, len(labels), BLOCK):
            block = inputs[start : start + BLOCK]
            generator = seeding.generator(seed, canonical, draw, start // BLOCK)
            if kind == "gaussian":
                noisy = block + float(value) * torch.randn(block.shape, generator=generator)
            else:
                noisy = block + float(value) * (2 * torch.rand(block.shape, generator=generator) - 1)
            if block.ndim == 4:
                noisy = noisy.clamp(0, 1)
            for offset, x in enumerate(noisy.flatten(1).numpy().astype(np.float64)):
                logits = [sum(w * value for w, value in zip(row, x, strict=True)) for row in weight]
                correct[draw, start + offset] = logits.index(max(logits)) == int(labels[start + offset])
    return correct


def result(key: str, counts: Sequence[int], samples: int = 10) -> PerturbationResult:
    """A result with ``counts[k]`` of ``samples`` right in draw k."""
    noise = perturbation(key)
    correct = np.array([[index < count for index in range(samples)] for count in counts], dtype=bool)
    confidence = np.where(correct, 0.9, 0.6).astype(np.float32)
    return PerturbationResult(key, noise.spec, correct, confidence, noise.random)


def report(counts: Mapping[str, Sequence[int]], samples: int = 10, seed: int = 0) -> RobustnessReport:
    """A report on ``samples`` samples of two classes, with the right answers of every draw counted by hand."""
    labels = np.arange(samples, dtype=np.int64) % 2
    results = {key: result(key, per_draw, samples) for key, per_draw in counts.items()}
    return RobustnessReport(results, labels, ("even", "odd"), seed)


def comparison(title: str = "toy", titles: Mapping[str, str] | None = None, seeds: int = 2) -> Comparison:
    """Two methods and three perturbations; "robust" is best under noise, "plain" on clean inputs."""
    counts = {
        "plain": [
            {"clean": [10], "gaussian:0.1": [8, 7, 9], "gaussian:0.5": [3, 2, 5]},
            {"clean": [9], "gaussian:0.1": [7, 7, 8], "gaussian:0.5": [2, 2, 4]},
        ],
        "robust": [
            {"clean": [9], "gaussian:0.1": [9, 8, 9], "gaussian:0.5": [7, 6, 8]},
            {"clean": [8], "gaussian:0.1": [9, 9, 9], "gaussian:0.5": [6, 7, 6]},
        ],
    }
    reports = {name: {s: report(each) for s, each in enumerate(runs[:seeds])} for name, runs in counts.items()}
    return Comparison(title, reports, titles or {"plain": "Plain training", "robust": "Robust training"})
