"""Training steps: what the method costs beyond its passes, the trainer beyond a bare loop; memory layouts."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import noiseproof as npf
from benchmarks.ratios import Ratio, arguments, measure, save
from noiseproof.data import ArrayDataset, Splits
from noiseproof.methods import Views, build_method
from noiseproof.progress import Silent
from noiseproof.training import Recipe, load_recipe
from noiseproof.training.kernels import kernels
from noiseproof.training.signals import StopRequest
from noiseproof.training.trainer import Trainer

BATCH = 64
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# A step on a GPU takes milliseconds, and the host runs ahead of it: what counts is how many steps go through.
REPEATS, STEPS = (20, 100) if DEVICE.type == "cuda" else (1, 4)


def network(name: str = "resnet18-cifar") -> npf.FeatureClassifier:
    torch.manual_seed(0)
    return npf.build_model(name, num_classes=10, embedding_dim=128).to(DEVICE, memory_format=torch.channels_last)


def views() -> Views:
    clean = torch.rand(BATCH, 3, 32, 32, device=DEVICE).contiguous(memory_format=torch.channels_last)
    noisy = (clean + 0.06 * torch.randn_like(clean)).clamp(0, 1)
    return Views(torch.arange(BATCH, device=DEVICE) % 10, clean, noisy)


def method_step(name: str, precision: torch.dtype | None = None, **options: object) -> Callable[[], object]:
    """Forward, backward and update of a method on one batch."""
    method, batch = build_method(name, network(), options).train(), views()
    optimizer = torch.optim.SGD(method.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step() -> None:
        with torch.autocast(DEVICE.type, precision or torch.bfloat16, enabled=precision is not None):
            loss = method(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def methods(rounds: int) -> list[Ratio]:
    aim = 1.10 if DEVICE.type == "cuda" else 1.03
    return [
        measure(
            f"a step of discriminative against one of mixed, both with separate passes, ResNet-18, batch {BATCH}",
            method_step("discriminative"),
            method_step("mixed", passes="separate"),
            rounds=rounds,
            repeats=REPEATS,
            aim=aim,
        )
    ]


def _splits(samples: int) -> Splits:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, 3, 32, 32), dtype=torch.uint8, generator=generator)
    data = ArrayDataset(images, torch.arange(samples) % 10, [str(c) for c in range(10)])
    return Splits(train=data, validation=None, test=data)


def _recipe() -> Recipe:
    overrides = {
        "data.augment": "none", "train.epochs": 1, "train.precision": "fp32", "train.schedule.name": "constant",
        "train.batch_size": BATCH, "train.optimizer.lr": 1e-3, "data.validation_fraction": 0, "train.keep": "last",
        "model.name": "resnet18-cifar",
    }  # fmt: skip
    recipe = load_recipe("cifar10", overrides)
    return recipe.for_run("normal", 0)


def trainer(rounds: int, steps: int = STEPS) -> list[Ratio]:
    """An epoch of the trainer against the same batches, noise and arithmetic in a loop by hand, with its kernels."""
    splits, recipe = _splits(steps * BATCH), _recipe()
    # Built beforehand, one for each timing and one to warm up: what is timed are the steps.
    trainers = iter([Trainer(build_method("normal", network()), splits, recipe) for _ in range(rounds + 1)])
    networks = iter([network().train() for _ in range(rounds + 1)])

    def trained() -> None:
        next(trainers).run(task=Silent(), on_epoch=lambda _: None, checkpoint=lambda _: None, stop=StopRequest())

    def bare() -> None:
        model = next(networks)
        optimizer = torch.optim.SGD(
            model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=DEVICE.type == "cuda"
        )
        order = torch.randperm(steps * BATCH).to(DEVICE)
        images, labels = splits.train.inputs.to(DEVICE), splits.train.labels.to(DEVICE)
        with kernels(DEVICE, deterministic=False):
            for rows in order.split(BATCH):
                batch: Tensor = images[rows].float().div(255).contiguous(memory_format=torch.channels_last)
                loss = F.cross_entropy(model(batch), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return [
        measure(
            f"an epoch of {steps} steps with the trainer against a loop by hand, ResNet-18, batch {BATCH}",
            trained,
            bare,
            rounds=rounds,
            aim=1.03,
        )
    ]


def layouts(rounds: int) -> list[Ratio]:
    """bfloat16 in channels-last against float32 in the usual layout and in channels-last."""

    def contiguous() -> Callable[[], object]:
        method, batch = build_method("normal", network().to(memory_format=torch.contiguous_format)).train(), views()
        usual = Views(batch.labels, batch.pair()[0].contiguous())
        optimizer = torch.optim.SGD(method.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)

        def step() -> None:
            loss = method(usual).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step

    fast = method_step("normal", torch.bfloat16)
    return [
        measure(
            "bf16 channels-last against fp32 contiguous, ResNet-18",
            fast,
            contiguous(),
            rounds=rounds,
            repeats=REPEATS,
            aim=0.5,
        ),
        measure(
            "bf16 channels-last against fp32 channels-last, ResNet-18",
            fast,
            method_step("normal"),
            rounds=rounds,
            repeats=REPEATS,
        ),
    ]


def main() -> None:
    options = arguments(__doc__ or "")
    torch.set_num_threads(options.threads or torch.get_num_threads())
    with kernels(DEVICE, deterministic=False):
        steps = [*methods(options.rounds), *layouts(options.rounds)]
    save(options.json, [*steps, *trainer(options.rounds)])


if __name__ == "__main__":
    main()
