"""The loss, forward and backward, eager and compiled, against plain transcriptions of Eq. 8 to 12 with loops.

Also its memory, and how its time grows with the number of classes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import noiseproof as npf
from benchmarks.memory import forget_high_water, high_water, resident
from benchmarks.ratios import Ratio, arguments, measure, save

# (C, N, d) with the speed-up that is aimed at.
SIZES = {(10, 64, 128): 6.0, (100, 256, 512): 60.0, (1000, 256, 512): 80.0}
LARGE = (20_000, 1024, 512)
DELTA_V, DELTA_D, GAMMA_REG, MOMENTUM = 0.5, 5.0, 1e-3, 0.9


class PlainLoss:
    """Eq. 8, 9, 11 and 12, class by class, with partial momentum (§4.4)."""

    def __init__(self, num_classes: int) -> None:
        self.stored: dict[int, Tensor] = {}
        self.num_classes = num_classes

    def __call__(self, clean: Tensor, labels: Tensor, head: nn.Linear, noisy: Tensor) -> Tensor:
        compact = align = margin = norm = clean.new_zeros(())
        present = sorted(set(labels.tolist()))
        for c in present:
            mine = clean[labels == c]
            batch_mean = mine.mean(0)
            centroid = MOMENTUM * self.stored[c] + (1 - MOMENTUM) * batch_mean if c in self.stored else batch_mean
            self.stored[c] = centroid.detach()
            compact = compact + self._hinges(mine, centroid)
            align = align + self._hinges(noisy[labels == c], centroid)
            worst = [
                torch.relu(DELTA_D + self._distance(batch_mean, c, i, head)) for i in range(self.num_classes) if i != c
            ]
            margin = margin + torch.stack(worst).max()
            norm = norm + centroid.norm()
        return (compact + margin + GAMMA_REG * norm + align) / len(present)

    @staticmethod
    def _hinges(features: Tensor, centroid: Tensor) -> Tensor:
        return torch.relu((features - centroid).norm(dim=1) - DELTA_V).square().mean()

    @staticmethod
    def _distance(point: Tensor, c: int, i: int, head: nn.Linear) -> Tensor:
        difference = head.weight[i] - head.weight[c]
        return (difference @ point + head.bias[i] - head.bias[c]) / difference.norm()


class PlainRows(PlainLoss):
    """The same with the boundaries of one class at once, which is how a careful author would write it."""

    def __call__(self, clean: Tensor, labels: Tensor, head: nn.Linear, noisy: Tensor) -> Tensor:
        compact = align = margin = norm = clean.new_zeros(())
        present = labels.unique().tolist()
        for c in present:
            mine = clean[labels == c]
            batch_mean = mine.mean(0)
            centroid = MOMENTUM * self.stored[c] + (1 - MOMENTUM) * batch_mean if c in self.stored else batch_mean
            self.stored[c] = centroid.detach()
            compact = compact + self._hinges(mine, centroid)
            align = align + self._hinges(noisy[labels == c], centroid)
            others = torch.arange(self.num_classes) != c
            difference = head.weight[others] - head.weight[c]
            gap = difference @ batch_mean + head.bias[others] - head.bias[c]
            margin = margin + torch.relu(DELTA_D + gap / difference.norm(dim=1)).max()
            norm = norm + centroid.norm()
        return (compact + margin + GAMMA_REG * norm + align) / len(present)


def problem(num_classes: int, samples: int, width: int) -> tuple[Tensor, Tensor, nn.Linear, Tensor]:
    torch.manual_seed(0)
    clean = torch.randn(samples, width, requires_grad=True)
    noisy = torch.randn(samples, width, requires_grad=True)
    return clean, torch.randint(num_classes, (samples,)), nn.Linear(width, num_classes), noisy


def steps(num_classes: int, samples: int, width: int) -> tuple[Callable[[], Tensor], ...]:
    """Forward and backward passes of noiseproof's loss, eager and compiled, and of both transcriptions, on the same
    numbers."""
    clean, labels, head, noisy = problem(num_classes, samples, width)
    ours, inner = (
        npf.DiscriminativeLoss(num_classes, width, DELTA_V, DELTA_D, gamma_reg=GAMMA_REG, momentum=MOMENTUM)
        for _ in range(2)
    )
    compiled = torch.compile(inner, fullgraph=True, dynamic=False)

    def backward(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def step() -> Tensor:
            for tensor in (clean, noisy, head.weight, head.bias):
                tensor.grad = None
            value = loss()
            value.backward()
            return value.detach()

        return step

    rows, loops = PlainRows(num_classes), PlainLoss(num_classes)
    return (
        backward(lambda: ours(clean, labels, head, noisy_embeddings=noisy).total),
        backward(lambda: compiled(clean, labels, head, noisy_embeddings=noisy).total),
        backward(lambda: rows(clean, labels, head, noisy)),
        backward(lambda: loops(clean, labels, head, noisy)),
    )


def speed(rounds: int) -> list[Ratio]:
    found = []
    for size, aim in SIZES.items():
        ours, compiled, rows, loops = steps(*size)
        value = rows()
        for step in (ours, compiled):
            torch.testing.assert_close(step(), value, rtol=1e-4, atol=1e-4)
        repeats = 20 if size[0] <= 10 else 3
        name = f"loss at (C, N, d) = {size}"
        for way, step in (("", ours), (", compiled", compiled)):
            told = f"{name}{way}, against loops over classes"
            found.append(measure(told, step, rows, rounds=rounds, repeats=repeats, aim=1 / aim))
        if size[0] <= 100:
            found.append(measure(f"{name}, against loops over pairs of classes", ours, loops, rounds=rounds))
    return found


def growth() -> dict[str, float]:
    """Milliseconds of one step by the number of classes, each in a process of its own: none disturbs another."""
    found = {}
    for num_classes in (2_000, 4_000, 8_000, 16_000):
        code = f"from benchmarks.loss import time_of_one_step; time_of_one_step({num_classes})"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
        found[str(num_classes)] = float(done.stdout)
    told = ", ".join(f"{milliseconds:.0f} ms at {classes}" for classes, milliseconds in found.items())
    print(f"loss by the number of classes, N = 256, d = 512, one thread: {told}")  # noqa: T201
    return found


def time_of_one_step(num_classes: int) -> None:
    """Print the median of fifteen steps in milliseconds, after five to warm up."""
    torch.set_num_threads(1)
    step = steps(num_classes, 256, 512)[0]
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    print(1e3 * statistics.median(times[5:]))  # noqa: T201


def memory_of_one_step() -> None:
    """Print the peak of one step at LARGE above its inputs and their gradients, in MiB."""
    clean, labels, head, noisy = problem(*LARGE)
    loss = npf.DiscriminativeLoss(LARGE[0], LARGE[2])
    for tensor in (clean, noisy, head.weight, head.bias):
        tensor.grad = torch.zeros_like(tensor)
    small = npf.DiscriminativeLoss(4, 8)  # what a first step allocates whatever its size
    small(torch.randn(4, 8, requires_grad=True), torch.arange(4), nn.Linear(8, 4)).total.backward()
    forget_high_water()
    before = resident()
    loss(clean, labels, head, noisy_embeddings=noisy).total.backward()
    print(high_water() - before)  # noqa: T201


def peak_memory() -> float:
    """What :func:`memory_of_one_step` prints, from a process of its own."""
    code = "from benchmarks.loss import memory_of_one_step; memory_of_one_step()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    peak = float(done.stdout)
    print(f"loss at (C, N, d) = {LARGE}: peak {peak:.0f} MiB above its inputs and their gradients, aim < 1024")  # noqa: T201
    return peak


def main() -> None:
    options: argparse.Namespace = arguments(__doc__ or "")
    torch.set_num_threads(options.threads or torch.get_num_threads())
    ratios = speed(options.rounds)
    save(options.json, ratios, milliseconds_by_classes=growth(), peak_MiB_above_inputs=peak_memory())


if __name__ == "__main__":
    main()
