"""Schedules and options of training, each against torch or against arithmetic by hand."""

from __future__ import annotations

import math
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

import noiseproof as npf
from noiseproof.data import load_splits
from noiseproof.errors import InvalidArgumentError
from noiseproof.methods import build_method
from noiseproof.progress import Silent
from noiseproof.training import load_recipe
from noiseproof.training.optimization import build_optimizer, build_scheduler, learning_rate_factor
from noiseproof.training.recipe import OptimizerSettings, ScheduleSettings
from noiseproof.training.signals import StopRequest
from noiseproof.training.trainer import Trainer
from tests.training.test_resume import TINY, assert_same_run, stop

PEAK = 0.3
CONSTANT: dict[str, Any] = {**TINY, "train.schedule": {"name": "constant", "warmup": 0.0}}


def optimizer() -> SGD:
    return SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)


def rates_of(scheduler: LRScheduler, steps: int, every: int = 1) -> list[float]:
    """The rate in each of ``steps``, with ``scheduler`` stepped after every so many of them."""
    rates = []
    for step in range(steps):
        rates.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return rates


def ours(steps_per_epoch: int, total: int, **settings: Any) -> list[float]:
    return rates_of(build_scheduler(optimizer(), ScheduleSettings(**settings), steps_per_epoch, total), total)


@pytest.mark.parametrize("total", [7, 20, 33, 100, 1001])
@pytest.mark.parametrize("rise", [0.2, 0.3, 0.5, 0.9])
def test_one_cycle_is_torchs(total: int, rise: float) -> None:
    theirs = OneCycleLR(optimizer(), max_lr=PEAK, total_steps=total, cycle_momentum=False, pct_start=rise)
    expected = [theirs.get_last_lr()[0]]
    for _ in range(total - 1):
        theirs.optimizer.step()
        theirs.step()
        expected.append(theirs.get_last_lr()[0])
    assert ours(5, total, name="one-cycle", warmup=rise) == pytest.approx(expected, rel=1e-9)
    if rise == 0.3:
        assert ours(5, total, name="one-cycle") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["constant", "multistep", "cosine", "one-cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("total", [1, 2, 3, 5])
def test_the_shortest_trainings_have_a_rate_too(name: Any, warmup: float, total: int) -> None:
    schedule = ScheduleSettings(name=name, warmup=warmup, milestones=(1,))
    factors = [learning_rate_factor(step, schedule, 2, total) for step in range(total + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(factor > 0 for factor in factors[:-1])


@pytest.mark.parametrize("milestones", [(1,), (2, 3), (3, 5, 6), ()])
def test_multistep_is_torchs_stepped_after_every_epoch(milestones: tuple[int, ...]) -> None:
    theirs = MultiStepLR(optimizer(), list(milestones), gamma=0.2)
    expected = rates_of(theirs, 32, every=4)
    assert ours(4, 32, name="multistep", milestones=milestones, factor=0.2) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("total", [2, 9, 40])
def test_cosine_is_torchs(total: int) -> None:
    expected = rates_of(CosineAnnealingLR(optimizer(), T_max=total), total)
    assert ours(4, total, name="cosine") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["constant", "multistep", "cosine"])
def test_warm_up_rises_along_a_line_to_the_full_rate(name: Any) -> None:
    rates = ours(100, 40, name=name, warmup=0.25)
    assert rates[:10] == pytest.approx([PEAK * (step + 1) / 11 for step in range(10)])
    assert rates[10] == pytest.approx(PEAK)
    assert max(rates) == pytest.approx(PEAK)
    after = [PEAK * (1 + math.cos(math.pi * step / 30)) / 2 for step in range(30)]
    assert rates[10:] == pytest.approx(after if name == "cosine" else [PEAK] * 30)


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimisers_get_their_settings(name: Any, kind: type[torch.optim.Optimizer]) -> None:
    settings = OptimizerSettings(name=name, lr=0.2, momentum=0.7, weight_decay=0.03)
    built = build_optimizer([torch.nn.Parameter(torch.zeros(2))], settings)
    assert type(built) is kind
    assert (built.defaults["lr"], built.defaults["weight_decay"]) == (0.2, 0.03)
    if name == "sgd":
        assert (built.defaults["momentum"], built.defaults["nesterov"]) == (0.7, True)


def test_sgd_without_momentum_needs_no_nesterov_set_off() -> None:
    build_optimizer([torch.nn.Parameter(torch.zeros(2))], OptimizerSettings(momentum=0.0))


def build_trainer(method: str = "normal", **overrides: Any) -> Trainer:
    recipe = load_recipe("digits", {**CONSTANT, **{key.replace("__", "."): v for key, v in overrides.items()}})
    torch.manual_seed(0)
    model = npf.build_model("small-cnn", 10, 8, in_channels=1, width=4)
    return Trainer(build_method(method, model), load_splits("digits", test_fraction=0.25), recipe)


def parameters(trainer: Trainer) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.method.parameters()])


def run(trainer: Trainer) -> list[dict[str, Any]]:
    metrics: list[dict[str, Any]] = []
    trainer.run(task=Silent(), on_epoch=metrics.append, checkpoint=lambda _: None, stop=StopRequest())
    return metrics


def test_averaged_weights_are_the_average_by_hand(tmp_path: Path) -> None:
    decay, steps = 0.6, 5
    average: dict[str, Tensor] = {}
    for step in range(1, steps + 1):
        overrides = {**CONSTANT, "train.max_steps": step, "train.optimizer.lr": 0.2}
        now = npf.train("digits", "normal", 0, overrides, tmp_path / str(step)).model().state_dict()
        for name, value in now.items():
            average[name] = decay * average[name] + (1 - decay) * value if step > 1 else value
    overrides = {**CONSTANT, "train.max_steps": steps, "train.optimizer.lr": 0.2, "train.ema_decay": decay}
    got = npf.train("digits", "normal", 0, overrides, tmp_path / "averaged").model().state_dict()
    for name, value in got.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, average[name], msg=lambda m, name=name: f"{name}: {m}")


def test_the_best_of_averaged_weights_is_chosen_by_their_own_accuracy(tmp_path: Path) -> None:
    overrides = {**TINY, "train.keep": "best-test", "train.ema_decay": 0.9, "train.optimizer.lr": 0.3}
    finished = npf.train("digits", "normal", 0, overrides, tmp_path / "a")
    accuracies = [line["test_accuracy"] for line in finished.metrics()]
    assert npf.evaluate(finished.model(), finished.data().test)["clean"].mean == max(accuracies)


@pytest.mark.parametrize("method", ["normal", "noisy", "mixed", "stability", "discriminative"])
def test_label_smoothing_is_torchs(method: str) -> None:
    built = build_trainer(method, train__label_smoothing=0.2).method
    logits, labels = torch.randn(6, 10), torch.arange(6)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.2)
    assert torch.equal(built.softmax_loss(logits, labels), expected)
    assert build_trainer(method).method.label_smoothing == 0


def test_label_smoothing_reaches_the_loss() -> None:
    hard, soft = (run(build_trainer(train__label_smoothing=s, train__max_steps=1))[0] for s in (0.0, 0.5))
    assert hard["loss"] != soft["loss"]
    assert hard["accuracy"] == soft["accuracy"]


def test_clipping_bounds_a_step() -> None:
    optimizer = {"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    moved = {}
    for bound in (None, 0.01):
        trainer = build_trainer(train__optimizer=optimizer, train__clip_grad_norm=bound, train__max_steps=1)
        before = parameters(trainer)
        run(trainer)
        moved[bound] = float((parameters(trainer) - before).norm())
    assert moved[None] > 0.05
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)


def test_max_steps_ends_within_an_epoch_and_does_not_add_epochs() -> None:
    metrics = run(build_trainer(train__max_steps=8))
    assert [(line["epoch"], line["step"]) for line in metrics] == [(1, 6), (2, 8)]
    assert run(build_trainer(train__epochs=1, train__max_steps=100))[-1]["step"] == 6


def test_the_state_is_a_copy_of_nothing_but_plain_values_and_tensors() -> None:
    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str | int) and plain(inner) for key, inner in value.items())
        if isinstance(value, list | tuple):
            return all(map(plain, value))
        return value is None or isinstance(value, Tensor | str | int | float | bool)

    trainer = build_trainer("discriminative", train__ema_decay=0.5, train__keep="best-test", train__max_steps=8)
    run(trainer)
    assert plain(trainer.state_dict())


def test_settings_are_what_a_result_depends_on() -> None:
    recipe = load_recipe("digits")
    beside = {"train.workers": 7, "train.checkpoint_every": 5, "train.tensorboard": True, "description": "other"}
    assert load_recipe("digits", beside).settings() == recipe.settings()
    for key, value in {
        "train.batch_size": 32, "train.precision": "bf16", "train.keep": "best-test", "train.label_smoothing": 0.1,
        "train.ema_decay": 0.5, "train.clip_grad_norm": 1.0, "train.schedule.warmup": 0.1, "data.split_seed": 1,
        "noise.view": "own", "model.options": {"width": 4}, "train.max_steps": 9,
    }.items():  # fmt: skip
        assert load_recipe("digits", {key: value}).settings() != recipe.settings(), key


def test_workers_and_checkpoints_may_change_when_resuming(tmp_path: Path) -> None:
    whole = npf.train("digits", "mixed", 0, TINY, tmp_path / "whole")
    stop(tmp_path / "a", 8, signal.SIGTERM, "mixed", 0, {**TINY, "train.workers": 0})
    changed = {**TINY, "train.workers": 3, "train.checkpoint_every": 2}
    assert_same_run(npf.train("digits", "mixed", 0, changed, tmp_path / "a", resume=True), whole)


def test_tensorboard_writes_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = npf.train("digits", "normal", 0, {**TINY, "train.tensorboard": True}, tmp_path / "a")
    assert list((run.folder / "tensorboard").glob("events.out.tfevents.*"))


@pytest.fixture
def no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def test_missing_tensorboard_is_told_with_what_to_install(tmp_path: Path, no_tensorboard: None) -> None:
    with pytest.raises(InvalidArgumentError, match=r"noiseproof\[tensorboard\]"):
        npf.train("digits", "normal", 0, {**TINY, "train.tensorboard": True}, tmp_path / "a")


def test_missing_tensorboard_is_told_before_a_run_is_overwritten(tmp_path: Path, no_tensorboard: None) -> None:
    finished = npf.train("digits", "normal", 0, TINY, tmp_path / "a")
    before = {path.name: path.read_bytes() for path in finished.folder.iterdir()}
    with pytest.raises(InvalidArgumentError):
        npf.train("digits", "normal", 0, {**TINY, "train.tensorboard": True}, tmp_path / "a", overwrite=True)
    assert {path.name: path.read_bytes() for path in finished.folder.iterdir()} == before
