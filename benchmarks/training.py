"""Training as users run it: samples per second of each way to compute, against a loop with a DataLoader of pictures.

On a GPU this tells what `train.precision`, `train.compile` and `train.deterministic` bring and cost there, and what
share of the device's own speed at matrix products the network reaches. Every timing compiles anew; where time is
short, give fewer methods, samples and rounds. On a CPU give fewer steps too, and a smaller network. What is measured
is written after each ratio.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

import noiseproof as npf
from benchmarks.ratios import Ratio, measure_timed, save, synchronize
from noiseproof.data import ArrayDataset, Splits
from noiseproof.methods import build_method
from noiseproof.progress import Silent, Task
from noiseproof.training import Recipe, load_recipe
from noiseproof.training.batches import TrainingBatches
from noiseproof.training.signals import StopRequest
from noiseproof.training.trainer import Trainer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# The first is what the others are compared with.
WAYS: dict[str, dict[str, Any]] = {
    "fp32": {"train.precision": "fp32"},
    "bf16": {"train.precision": "bf16"},
    "bf16, deterministic": {"train.precision": "bf16", "train.deterministic": True},
    "bf16, compiled": {"train.precision": "bf16", "train.compile": "default"},
    "bf16, compiled, reduce-overhead": {"train.precision": "bf16", "train.compile": "reduce-overhead"},
    "fp32, compiled": {"train.precision": "fp32", "train.compile": "default"},
}


class Stopwatch(Silent):
    """Times the steps after the first ``untimed`` ones."""

    def __init__(self, untimed: int) -> None:
        self._untimed, self._steps, self._begun = untimed, 0, 0.0

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:  # noqa: ARG002
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:  # noqa: ARG002
        self._steps += steps
        if steps and self._steps == self._untimed:
            synchronize()
            self._begun = time.perf_counter()

    def stop(self) -> float:
        synchronize()
        return time.perf_counter() - self._begun


def splits(samples: int) -> Splits:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, 3, 32, 32), dtype=torch.uint8, generator=generator)
    data = ArrayDataset(images, torch.arange(samples) % 10, [str(c) for c in range(10)])
    return Splits(train=data, validation=None, test=data)


def untimed_steps(options: argparse.Namespace) -> int:
    """An epoch and a little more, so that both shapes of batches were met."""
    return TrainingBatches.count(options.samples, options.batch_size) + 5


def recipe(options: argparse.Namespace, method: str, way: dict[str, Any]) -> Recipe:
    changes = {
        "data.validation_fraction": 0, "train.keep": "last", "train.batch_size": options.batch_size,
        "train.max_steps": untimed_steps(options) + options.steps, "train.schedule.name": "constant",
        "model.name": options.model, "model.options": {"width": 16} if options.model == "resnet8-cifar" else {},
        **way,
    }  # fmt: skip
    return load_recipe("cifar10", changes).for_run(method, 0)


def network(settled: Recipe) -> npf.FeatureClassifier:
    torch.manual_seed(0)
    return npf.build_model(settled.model.name, num_classes=10, embedding_dim=128, **settled.model.options)


def seconds_of_training(settled: Recipe, data: Splits, untimed: int) -> float:
    """Time the steps of a training after the untimed ones, everything that a step takes included."""
    trainer = Trainer(build_method(settled.method, network(settled), settled.methods[settled.method]), data, settled)
    watch = Stopwatch(untimed)
    trainer.run(task=watch, on_epoch=lambda _: None, checkpoint=lambda _: None, stop=StopRequest())
    return watch.stop()


class Pictures(Dataset[tuple[Any, int]]):
    """Pillow images, cropped and flipped one by one, as most training scripts have them."""

    def __init__(self, data: ArrayDataset) -> None:
        self._images = [v2.functional.to_pil_image(image) for image in data.inputs]
        self._labels = data.labels.tolist()
        self._transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(self._images[index]), self._labels[index]


def seconds_by_hand(settled: Recipe, pictures: Pictures, untimed: int, steps: int) -> float:
    """The same training of ``normal`` in float32 with a DataLoader and an eager loop."""
    model = network(settled).to(DEVICE).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loader = DataLoader(
        pictures, settled.train.batch_size, shuffle=True, num_workers=min(8, os.cpu_count() or 1), drop_last=True,
        persistent_workers=True, pin_memory=DEVICE.type == "cuda",
    )  # fmt: skip
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    begun = 0.0
    for number, (images, labels) in enumerate(itertools.islice(batches, untimed + steps)):
        if number == untimed:
            synchronize()
            begun = time.perf_counter()
        loss = F.cross_entropy(model(images.to(DEVICE)), labels.to(DEVICE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    synchronize()
    return time.perf_counter() - begun


def flops_of_a_step(settled: Recipe) -> float:
    """Floating-point operations of one step of ``normal``, forward and backward."""
    model = network(settled).train()
    images, labels = torch.rand(settled.train.batch_size, 3, 32, 32), torch.arange(settled.train.batch_size) % 10
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(images), labels).backward()
    return float(counter.get_total_flops())


def flops_of_products(size: int, dtype: torch.dtype = torch.bfloat16) -> float:
    """Floating-point operations per second of square matrix products: what the device can do, measured."""
    left, right = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    synchronize()
    begun, repeats = time.perf_counter(), 20
    for _ in range(repeats):
        left @ right
    synchronize()
    return 2.0 * size**3 * repeats / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--model", default="resnet18-cifar", choices=["resnet18-cifar", "resnet8-cifar"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100, help="steps that are timed")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", nargs="*", default=["mixed", "discriminative"], help="beside normal")
    parser.add_argument("--samples", type=int, default=10_000)
    options = parser.parse_args()
    untimed = untimed_steps(options)
    data = splits(options.samples)
    pictures = Pictures(data.train)
    plain = recipe(options, "normal", WAYS["fp32"])
    samples = options.steps * options.batch_size

    ratios: list[Ratio] = []
    speeds: dict[str, float] = {}

    def keep(**more: object) -> None:
        """Write what is measured so far."""
        told = {name: value for name, value in vars(options).items() if name != "json"}
        save(options.json, ratios, samples_per_second=speeds, options=told, **more)

    for method in ["normal", *options.methods]:
        first, *others = (
            (
                f"{method}, {way}",
                functools.partial(seconds_of_training, recipe(options, method, changes), data, untimed),
            )
            for way, changes in WAYS.items()
        )
        for name, seconds in others:
            ratio = measure_timed(f"{name}, against fp32", seconds, first[1], rounds=options.rounds)
            ratios.append(ratio)
            speeds |= {name: samples / ratio.candidate, first[0]: samples / ratio.baseline}
            keep()
    fastest = max(WAYS, key=lambda way: speeds[f"normal, {way}"])
    ratios.append(
        measure_timed(
            f"normal, {fastest}, against a DataLoader of pictures and an eager loop in fp32",
            lambda: seconds_of_training(recipe(options, "normal", WAYS[fastest]), data, untimed),
            lambda: seconds_by_hand(plain, pictures, untimed, options.steps),
            rounds=options.rounds,
        )
    )
    done = flops_of_a_step(plain) / options.batch_size * speeds[f"normal, {fastest}"]
    able = flops_of_products(8192 if DEVICE.type == "cuda" else 1024)
    print(f"{done / 1e12:.3g} of {able / 1e12:.3g} TFLOP/s that products of matrices reach: {done / able:.1%}")  # noqa: T201
    keep(flops_per_second=done, flops_per_second_of_products=able)


if __name__ == "__main__":
    main()
