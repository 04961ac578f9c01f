"""Curvature: Eq. 21 against graphs of the gradient for every probe, the exact spectrum against Eq. 21, and memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import noiseproof as npf
from benchmarks.memory import peak_of
from benchmarks.ratios import Ratio, arguments, measure, save

IMAGES, PROBES, STEP = 4, 20, 1e-2


def straightforward(model: nn.Module, images: Tensor, labels: Tensor, probes: int, *, again: bool) -> Tensor:
    """Eq. 21 as it is often written: the gradient's graph is built for every probe.

    Args:
        model: in evaluation mode.
        images: (N, C, H, W).
        labels: (N,).
        probes: K.
        again: whether the gradient at x is computed anew for every probe too, instead of once.
    """

    def gradient(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x, create_graph=True)[0]

    here = gradient(images)
    total = torch.zeros(len(images))
    for number in range(probes):
        probe = torch.randn(images.shape, generator=torch.Generator().manual_seed(number))
        difference = gradient(images + STEP * probe) - (gradient(images) if again else here)
        total += (difference / STEP).flatten(1).square().sum(1).detach()
    return total / probes


def problem() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    return (
        npf.build_model("resnet18-cifar", num_classes=10).eval(),
        torch.rand(IMAGES, 3, 32, 32),
        torch.arange(IMAGES) % 10,
    )


def speed(rounds: int) -> list[Ratio]:
    model, images, labels = problem()

    def ours(estimator: npf.analysis.curvature.Estimator = "finite-difference") -> Callable[[], object]:
        return lambda: npf.input_curvature(model, (images, labels), estimator, probes=PROBES, step=STEP)

    exact = npf.input_curvature(model, (images, labels), probes=60, step=STEP).values.mean()
    plain = straightforward(model, images, labels, 60, again=False).mean()
    if not 0.67 < float(plain) / exact < 1.5:
        raise AssertionError(f"the two implementations measure different things: {float(plain)} and {exact}")
    name = f"Eq. 21, ResNet-18, {IMAGES} images, K = {PROBES}"
    return [
        measure(
            f"{name}, against graphs of the gradient",
            ours(),
            lambda: straightforward(model, images, labels, PROBES, again=False),
            rounds=rounds,
        ),
        measure(
            f"{name}, against graphs of both gradients for every probe",
            ours(),
            lambda: straightforward(model, images, labels, PROBES, again=True),
            rounds=rounds,
            aim=1 / 1.6,
        ),
        measure(f"exact spectrum, C = 10, against {name}", ours("gauss-newton"), ours(), rounds=rounds, aim=0.5),
    ]


def one_step(probes: int) -> None:
    """What :func:`benchmarks.memory.peak_of` runs."""
    model, images, labels = problem()
    npf.input_curvature(model, (images, labels), probes=probes, step=STEP)


def main() -> None:
    options = arguments(__doc__ or "")
    torch.set_num_threads(options.threads or torch.get_num_threads())
    ratios = speed(options.rounds)
    memory = {str(probes): peak_of(f"benchmarks.curvature:one_step({probes})") for probes in (2, 20, 100)}
    print("peak memory in MiB by the number of probes:", {key: round(value) for key, value in memory.items()})  # noqa: T201
    save(options.json, ratios, peak_MiB_by_probes=memory)


if __name__ == "__main__":
    main()
