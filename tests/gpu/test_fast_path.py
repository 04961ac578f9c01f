"""The fast path on a CUDA GPU: graphs, no waiting within an epoch, and the same results as the plain path."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import noiseproof as npf
import noiseproof.training.trainer as trainer_module
from noiseproof.errors import BudgetSpentError
from noiseproof.methods import METHODS
from noiseproof.training import load_recipe
from noiseproof.training.fitting import make_trainer
from noiseproof.training.run import load_data

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

EVERY = sorted(METHODS)
SIZES = [(10, 64, 16), (50, 20, 8)]  # classes, samples, width: fewer classes than samples, and more
CUDA = torch.device("cuda")


@contextmanager
def no_waiting() -> Iterator[None]:
    """Inside the block it is an error that the host waits for the GPU."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that this is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def batch(size: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    classes, samples, width = size
    clean = torch.randn(samples, width, generator=generator)
    noisy = clean + 0.1 * torch.randn(samples, width, generator=generator)
    return clean.to(CUDA), noisy.to(CUDA), torch.randint(classes, (samples,), generator=generator).to(CUDA)


# The loss -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_host_never_waits_for_the_loss(size: tuple[int, int, int]) -> None:
    loss, head = npf.DiscriminativeLoss(size[0], size[2]).to(CUDA), nn.Linear(size[2], size[0]).to(CUDA)
    clean, noisy, labels = batch(size, 0)
    with no_waiting():
        for _ in range(2):
            loss(clean.requires_grad_(), labels, head, noisy_embeddings=noisy).total.backward()


@pytest.mark.parametrize("centroids", ["naive", "momentum", "partial"])
@pytest.mark.parametrize("size", SIZES)
def test_the_loss_can_be_captured_in_a_graph(size: tuple[int, int, int], centroids: Any) -> None:
    head = nn.Linear(size[2], size[0]).to(CUDA)
    eager = npf.DiscriminativeLoss(size[0], size[2], centroids=centroids).to(CUDA)
    captured = copy.deepcopy(eager)
    clean, noisy, labels = batch(size, 0)
    clean.requires_grad_()

    def step() -> Tensor:
        total: Tensor = captured(clean, labels, head, noisy_embeddings=noisy).total
        (gradient,) = torch.autograd.grad(total, clean)
        return torch.cat([total.reshape(1), gradient.flatten()])

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # as torch asks: a few calls before
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    captured.load_state_dict(eager.state_dict())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = step()
    captured.load_state_dict(eager.state_dict())
    for seed in (1, 2, 3):
        fresh = batch(size, seed)
        with torch.no_grad():
            for old, new in zip((clean, noisy, labels), fresh, strict=True):
                old.copy_(new)
        graph.replay()
        x = fresh[0].clone().requires_grad_()
        total = eager(x, fresh[2], head, noisy_embeddings=fresh[1]).total
        (gradient,) = torch.autograd.grad(total, x)
        torch.testing.assert_close(answer, torch.cat([total.reshape(1), gradient.flatten()]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(captured.centroids, eager.centroids)


# Training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", EVERY)
def test_within_an_epoch_the_host_waits_only_where_it_looks_at_the_loss(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "_STEPS_BETWEEN_LOOKS", 10**9)
    recipe = load_recipe("digits", {"data.augment": "crop:padding=1+flip", "train.ema_decay": 0.9}).for_run(method, 0)
    trainer, _ = make_trainer(recipe, load_data(recipe))
    trainer.trained.train()
    batches = trainer.batches.epoch(0)
    trainer._step(next(batches))  # the first sets up what stays; it is step 0, in which the loss is looked at
    with no_waiting():
        for views in batches:
            trainer._step(views)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("method", EVERY)
def test_a_compiled_training_gives_the_weights_of_an_eager_one(tmp_path: Path, method: str, mode: str) -> None:
    few = {"train.max_steps": 8, "train.batch_size": 200, "train.keep": "last", "train.optimizer.lr": 1e-3}
    runs, graphs = [], []
    for compiled in (None, mode):
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        runs.append(npf.train("digits", method, 0, {**few, "train.compile": compiled}, tmp_path / str(compiled)))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"] - before)
    assert graphs[0] == 0
    assert graphs[1] > 0
    weights = [torch.cat([w.flatten().float() for w in run.model().state_dict().values()]) for run in runs]
    torch.testing.assert_close(*weights, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("method", ["mixed", "discriminative"])
def test_the_fast_path_is_as_accurate_as_the_plain_one(tmp_path: Path, method: str) -> None:
    fast = {"train.precision": "bf16", "train.compile": "default"}
    plain = {"train.precision": "fp32"}
    found = []
    for name, changes in (("fast", fast), ("plain", plain)):
        run = npf.train("digits", method, 0, changes, tmp_path / name)
        report = npf.evaluate(run.model("cuda"), run.data().test, ["clean", "gaussian:0.3"], draws=5)
        found.append([report["clean"].mean, report["gaussian:0.3"].mean])
    assert found[0] == pytest.approx(found[1], abs=0.04)  # seeds differ by as much


def test_a_deterministic_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    changes = {"train.deterministic": True, "train.epochs": 3, "train.keep": "last"}
    whole = npf.train("digits", "discriminative", 0, changes, tmp_path / "whole")
    with pytest.raises(BudgetSpentError):
        npf.train("digits", "discriminative", 0, changes, tmp_path / "parts", deadline=0.0)
    parts = npf.train("digits", "discriminative", 0, changes, tmp_path / "parts", resume=True)
    for (name, one), other in zip(
        whole.model().state_dict().items(), parts.model().state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_a_gpu_and_a_cpu_measure_the_same(tmp_path: Path) -> None:
    run = npf.train("digits", "mixed", 0, {"train.epochs": 5}, tmp_path / "run")
    data = run.data().test
    found = [npf.evaluate(run.model(device), data, ["clean"])["clean"].mean for device in ("cpu", "cuda")]
    assert found[0] == pytest.approx(found[1], abs=0.005)
