"""Training in two processes, with half of every batch each, is training in one."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from accelerate import PartialState
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import nn

import noiseproof as npf
from noiseproof.data import Splits, load_splits
from noiseproof.experiments import evaluate_run
from noiseproof.models.build import BACKBONES
from noiseproof.training import trainer as trainer_module
from noiseproof.training.engine import is_main_process
from tests.training.test_resume import StopAt, timeless

WORLD = 2
SETTINGS: dict[str, Any] = {
    "train.epochs": 3, "train.max_steps": 16, "train.batch_size": 128, "train.optimizer.lr": 0.1,
    "model.name": "plain", "model.embedding_dim": 8,
}  # fmt: skip
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "normal": ("normal", {"train.clip_grad_norm": 0.5}),
    "noisy": ("noisy", {"train.optimizer.name": "adam", "train.optimizer.lr": 1e-3}),
    "mixed": ("mixed", {"train.ema_decay": 0.7}),
    "stability": ("stability", {"train.keep": "best-test"}),
    "discriminative": ("discriminative", {}),
    "momentum": ("discriminative", {"methods.discriminative.centroids": "momentum"}),
    "fine-tuned": ("discriminative", {"model.init_from": "normal"}),
}


def plain(in_channels: int, embedding_dim: int) -> nn.Module:
    """Without batch normalisation, whose statistics on CPUs are those of one process."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, embedding_dim))


def data() -> Splits:
    """Ten batches of 128, so that every batch has two halves."""
    splits = load_splits("digits", test_fraction=0.25)
    return Splits(splits.train.subset(torch.arange(1280)), None, splits.test)


def train_all(folder: Path) -> None:
    """All of RUNS, with the method's state (centroids too) beside each; then one that is stopped and goes on."""
    splits = data()
    states: list[dict[str, torch.Tensor]] = []
    original = trainer_module.Trainer.run

    def run_and_look(self: trainer_module.Trainer, **arguments: Any) -> None:
        original(self, **arguments)
        states.append(self.method.state_dict())

    trainer_module.Trainer.run = run_and_look  # type: ignore[method-assign]
    try:
        for name, (method, changes) in RUNS.items():
            if "model.init_from" in changes:  # an earlier one of these runs
                changes = {**changes, "model.init_from": folder / changes["model.init_from"]}
            npf.train("digits", method, 2, {**SETTINGS, **changes}, folder / name, data=splits)
            if PartialState().is_main_process:
                torch.save(states[-1], folder / f"{name}.pt")
    finally:
        trainer_module.Trainer.run = original  # type: ignore[method-assign]
    try:
        npf.train(
            "digits", "discriminative", 2, SETTINGS, folder / "stopped", data=splits,
            progress=StopAt(7, signal.SIGTERM),
        )  # fmt: skip
    except SystemExit as stopped:
        (folder / f"stopped-{PartialState().process_index}").write_text(str(stopped.code))
    npf.train("digits", "discriminative", 2, SETTINGS, folder / "stopped", data=splits, resume=True)


def process(rank: int, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    BACKBONES.register("plain")(plain)
    main = is_main_process()
    Path(folder, f"rank-{rank}").write_text(
        f"{PartialState().process_index} of {PartialState().num_processes}, {main}"
    )
    if PartialState().num_processes != WORLD:  # so that the other tests can tell something
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState(cpu=True)
    try:
        train_all(Path(folder))
        gc.collect()  # the reducers must be gone before their process group is
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process and what two processes left."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(process, (str(two), port), nprocs=WORLD)
    before = dict(BACKBONES._entries)
    BACKBONES._entries["plain"] = plain
    try:
        train_all(one)
    finally:
        BACKBONES._entries.clear()
        BACKBONES._entries.update(before)
    return one, two


def test_started_processes_know_of_each_other(folders: tuple[Path, Path]) -> None:
    """By what torchrun and accelerate put into the environment, before the first Accelerator is made."""
    told = [(folders[1] / f"rank-{rank}").read_text() for rank in range(WORLD)]
    assert told == ["0 of 2, True", "1 of 2, False"]


@pytest.mark.parametrize("name", RUNS)
def test_weights_and_centroids_are_those_of_one_process(folders: tuple[Path, Path], name: str) -> None:
    one, two = (torch.load(folder / f"{name}.pt", weights_only=True) for folder in folders)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}")
    one, two = (load_file(folder / name / "model.safetensors") for folder in folders)
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", RUNS)
def test_metrics_are_those_of_one_process(folders: tuple[Path, Path], name: str) -> None:
    one, two = (timeless(npf.Run(folder / name)) for folder in folders)
    assert len(one) == len(two) == 2
    for expected, line in zip(one, two, strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_one_process_writes_once(folders: tuple[Path, Path], name: str) -> None:
    folder = folders[1] / name
    names = {path.name for path in folder.iterdir()}
    assert names - {"method.safetensors"} == {"recipe.yaml", "metrics.jsonl", "model.safetensors"}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]


def test_both_processes_stop_and_go_on_with_the_same_weights(folders: tuple[Path, Path]) -> None:
    folder = folders[1]
    assert [(folder / f"stopped-{rank}").read_text() for rank in range(WORLD)] == ["143", "143"]
    files = [(folder / name / "model.safetensors").read_bytes() for name in ("stopped", "discriminative")]
    assert files[0] == files[1]


def test_both_processes_stop_and_go_on_with_the_same_metrics(folders: tuple[Path, Path]) -> None:
    folder = folders[1]
    pairs = zip(timeless(npf.Run(folder / "stopped")), timeless(npf.Run(folder / "discriminative")), strict=True)
    for stopped, straight in pairs:
        assert stopped == pytest.approx(straight, rel=1e-5)  # the sums are averaged over processes at another time


def test_a_run_of_two_processes_is_evaluated_as_any_other(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BACKBONES, "_entries", {**BACKBONES._entries, "plain": plain})
    AcceleratorState._reset_state(reset_partial_state=True)
    one, two = (
        evaluate_run(npf.Run(folder / "discriminative"), ["clean", "gaussian:0.3"], draws=2, test=data().test)
        for folder in folders
    )
    for spec in one:
        assert two[spec].mean == pytest.approx(one[spec].mean, abs=0.01)
