"""A run that was stopped anywhere and resumed is the run that was never stopped."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import noiseproof as npf
from noiseproof.errors import RunFolderError
from noiseproof.methods import METHODS
from noiseproof.models.build import BACKBONES
from noiseproof.training import Run
from noiseproof.training import run as run_module
from noiseproof.training.log import MetricsLog

# 6 steps an epoch, the last one smaller.
TINY: dict[str, Any] = {
    "train.epochs": 4, "train.max_steps": 16, "train.batch_size": 256, "model.options": {"width": 4},
    "model.embedding_dim": 8,
}  # fmt: skip


class Killed(BaseException):
    """Ends training as SIGKILL would: nothing is written any more."""


class StopAt:
    """A progress reporter that ends training after a step.

    Args:
        step: counted from 1, from the run's beginning.
        how: a signal; or ``"killed"`` right after the step; or ``"logged"``, killed once an epoch's metrics are
            written and its checkpoint is not.
    """

    def __init__(self, step: int, how: signal.Signals | str) -> None:
        self.step, self.how, self.done = step, how, 0

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[StopAt]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount
        if self.done != self.step:
            return
        if amount == 1 and isinstance(self.how, signal.Signals):
            signal.raise_signal(self.how)
        elif (amount, self.how) in {(1, "killed"), (0, "logged")}:
            raise Killed


def stop(out: Path, step: int, how: signal.Signals | str, *arguments: Any, **options: Any) -> None:
    expected = {signal.SIGTERM: SystemExit, signal.SIGINT: KeyboardInterrupt}.get(how, Killed)
    with pytest.raises(expected):
        npf.train("digits", *arguments, out=out, resume=True, progress=StopAt(step, how), **options)


def timeless(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in run.metrics()]


def assert_same_run(run: Run, expected: Run) -> None:
    assert (run.folder / "model.safetensors").read_bytes() == (expected.folder / "model.safetensors").read_bytes()
    assert timeless(run) == timeless(expected)
    assert names(run.folder) == names(expected.folder)
    assert names(run.folder) - {"method.safetensors"} == {"recipe.yaml", "metrics.jsonl", "model.safetensors"}
    if (centroids := run.centroids()) is not None:
        assert torch.equal(centroids, expected.centroids())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def dropout_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))

    @BACKBONES.register("dropout")
    def build(in_channels: int, embedding_dim: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, embedding_dim), nn.ReLU(), nn.Dropout(0.2))


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{method: (method, {}) for method in sorted(METHODS)},
    "momentum centroids": ("discriminative", {"methods.discriminative.centroids": "momentum"}),
    "naive centroids": ("discriminative", {"methods.discriminative.centroids": "naive"}),
    "split passes": ("mixed", {"methods.mixed.passes": "split"}),
    "own view": ("stability", {"noise.view": "own"}),
    "adam, multistep": ("normal", {
        "train.optimizer.name": "adam", "train.schedule": {"name": "multistep", "milestones": [1, 2]},
    }),
    "adamw, one-cycle": ("noisy", {"train.optimizer.name": "adamw", "train.schedule": {"name": "one-cycle"}}),
    "cosine, warm-up": ("normal", {"train.schedule": {"name": "cosine", "warmup": 0.6}}),
    "average": ("discriminative", {"train.ema_decay": 0.8}),
    "best on validation": ("normal", {
        "train.keep": "best-validation", "data.validation_fraction": 0.2, "train.batch_size": 200,
        "train.optimizer.lr": 0.3,
    }),
    "best on test, averaged": ("mixed", {"train.keep": "best-test", "train.ema_decay": 0.5}),
    "dropout": ("discriminative", {"model.name": "dropout", "model.options": {}}),
    "smoothing, bf16, clipping": ("stability", {
        "train.label_smoothing": 0.1, "train.precision": "bf16", "train.clip_grad_norm": 0.1,
    }),
    "checkpoint every other epoch": ("discriminative", {"train.checkpoint_every": 2}),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_five_times_in_five_ways(tmp_path: Path, variant: str, dropout_backbone: None) -> None:
    method, changes = VARIANTS[variant]
    overrides = {**TINY, **changes}
    expected = npf.train("digits", method, 3, overrides, tmp_path / "whole")
    out = tmp_path / "stopped"
    ways = [(2, "killed"), (4, signal.SIGTERM), (9, "killed"), (12, "logged"), (13, signal.SIGINT)]
    for step, how in ways:
        stop(out, step, how, method, 3, overrides)
        assert not (out / "model.safetensors").exists()
    torch.randn(5)
    assert_same_run(npf.train("digits", method, 3, overrides, out, resume=True), expected)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return npf.train("digits", "discriminative", 0, TINY, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("how", [signal.SIGTERM, "killed"])
@pytest.mark.parametrize("step", [1, 3, 5, 6, 7, 11, 12, 15])
def test_stopped_at_any_step(tmp_path: Path, whole: Run, step: int, how: signal.Signals | str) -> None:
    stop(tmp_path / "a", step, how, "discriminative", 0, TINY)
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path / "a", resume=True), whole)


def test_stopped_after_every_step(tmp_path: Path, whole: Run) -> None:
    for step in range(1, 16):
        stop(tmp_path / "a", step, signal.SIGTERM, "discriminative", 0, TINY)
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path / "a", resume=True), whole)


def test_resuming_goes_on_and_does_not_start_over(tmp_path: Path) -> None:
    stop(tmp_path / "a", 4, signal.SIGTERM, "normal", 0, TINY)
    advances: list[int] = []

    class Watched(StopAt):
        def advance(self, amount: int = 1, note: str = "") -> None:
            advances.append(amount)

    watched = Watched(-1, "killed")
    npf.train("digits", "normal", 0, TINY, tmp_path / "a", resume=True, progress=watched)
    assert advances[0] == 4
    assert sum(advances) == 16


def test_resuming_where_nothing_is_starts(tmp_path: Path, whole: Run) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "absent", tmp_path / "empty"):
        assert_same_run(npf.train("digits", "discriminative", 0, TINY, out, resume=True), whole)


def test_resuming_a_finished_run_returns_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = npf.train("digits", "normal", 0, TINY, tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    monkeypatch.setattr(run_module, "make_trainer", None)
    assert npf.train("digits", "normal", 0, TINY, run.folder, resume=True).folder == run.folder
    assert {path: path.stat().st_mtime_ns for path in run.folder.iterdir()} == before


@pytest.mark.parametrize("finished", [False, True])
def test_another_recipe_is_refused_with_the_difference(tmp_path: Path, finished: bool) -> None:
    out = tmp_path / "a"
    if finished:
        npf.train("digits", "normal", 0, TINY, out)
    else:
        stop(out, 4, signal.SIGTERM, "normal", 0, TINY)
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(RunFolderError, match=r"train.optimizer.lr is 0.01 there, 0.5 here"):
        npf.train("digits", "normal", 0, {**TINY, "train.optimizer.lr": 0.5}, out, resume=True)
    with pytest.raises(RunFolderError, match=r"method is 'normal' there, 'mixed' here"):
        npf.train("digits", "mixed", 0, TINY, out, resume=True)
    with pytest.raises(RunFolderError, match=r"seed is 0 there, 1 here"):
        npf.train("digits", "normal", 1, TINY, out, resume=True)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_stopped_run_needs_resume_or_overwrite(tmp_path: Path, whole: Run) -> None:
    stop(tmp_path / "a", 4, signal.SIGTERM, "discriminative", 0, TINY)
    with pytest.raises(RunFolderError, match="--resume"):
        npf.train("digits", "discriminative", 0, TINY, tmp_path / "a")
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path / "a", overwrite=True), whole)


def test_changed_data_is_refused_as_for_a_finished_run(tmp_path: Path) -> None:
    def write(shift: float) -> None:
        labels = np.arange(120) % 3
        x = np.random.default_rng(0).normal(size=(120, 4)) + labels[:, None] + shift
        np.savez(tmp_path / "d.npz", x=x.astype(np.float32), y=labels)

    overrides = {"data.source": f"npz:{tmp_path / 'd.npz'}", "train.epochs": 3, "train.max_steps": None}
    write(0.0)
    with pytest.raises(Killed):
        npf.train("vectors", "normal", 0, overrides, tmp_path / "a", progress=StopAt(4, "killed"))
    write(7.0)
    if not (tmp_path / "a" / "last.ckpt").exists():
        pytest.fail("the run was to be stopped after its first checkpoint")
    with pytest.raises(RunFolderError, match="changed"):
        npf.train("vectors", "normal", 0, overrides, tmp_path / "a", resume=True)


def test_a_half_written_line_and_later_epochs_are_trimmed(tmp_path: Path, whole: Run) -> None:
    stop(tmp_path / "a", 12, signal.SIGTERM, "discriminative", 0, TINY)
    metrics = tmp_path / "a" / "metrics.jsonl"
    assert len(metrics.read_text().splitlines()) == 2
    with metrics.open("a") as file:
        file.write('{"epoch": 3, "step": 18, "lo')
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path / "a", resume=True), whole)


def test_the_log_keeps_whole_epochs(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    with MetricsLog(tmp_path, keep_epochs=1) as log:
        log.add({"epoch": 2, "loss": 0.5})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1}, {"epoch": 2, "loss": 0.5}]


def test_files_of_a_write_that_was_killed_do_not_stay(tmp_path: Path, whole: Run) -> None:
    stop(tmp_path / "a", 8, "killed", "discriminative", 0, TINY)
    for name in (".last.ckpt.1.tmp", ".metrics.jsonl.1.tmp", ".model.safetensors.1.tmp"):
        (tmp_path / "a" / name).write_bytes(b"half")
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path / "a", resume=True), whole)


def test_killed_after_the_weights_and_before_the_checkpoints_are_gone(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "remove_checkpoints", killed)
        with pytest.raises(Killed):
            npf.train("digits", "discriminative", 0, TINY, tmp_path / "a")
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path / "a", resume=True), whole)


@pytest.mark.parametrize("again", [{"resume": True}, {"overwrite": True}])
def test_killed_while_the_recipe_is_written(tmp_path: Path, whole: Run, again: dict[str, bool]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".recipe.yaml.1.tmp").write_text("name: dig")
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, tmp_path / "a", **again), whole)


def test_killed_while_a_run_is_being_overwritten(tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its recipe the rest of the old run would be taken for files that are no run."""
    out = tmp_path / "a"
    npf.train("digits", "normal", 0, TINY, out)
    unlink = Path.unlink

    def dies(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path.name == "recipe.yaml":
            raise Killed

    def recipe_first(folder: Path) -> list[Path]:
        return sorted(listed(folder), reverse=True)

    listed = Path.iterdir
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(Path, "unlink", dies)
        patch.setattr(Path, "iterdir", recipe_first)
        npf.train("digits", "discriminative", 0, TINY, out, overwrite=True)
    assert_same_run(npf.train("digits", "discriminative", 0, TINY, out, overwrite=True), whole)


def test_overwrite_wins_over_resume(tmp_path: Path, whole: Run) -> None:
    """Or both together are refused; but never another recipe's weights given back as this one's."""
    npf.train("digits", "normal", 5, TINY, tmp_path / "a")
    try:
        run = npf.train("digits", "discriminative", 0, TINY, tmp_path / "a", overwrite=True, resume=True)
    except npf.errors.NoiseproofError:
        return
    assert_same_run(run, whole)


def test_another_preset_that_changes_nothing_of_a_run_is_no_other_recipe(tmp_path: Path) -> None:
    """``best`` says something of the discriminative method alone."""
    few = {"train.max_steps": 2, "train.epochs": 1}
    run = npf.train("digits", "mixed", 0, few, tmp_path / "mixed")
    again = npf.train("digits", "mixed", 0, {**few, "preset": "best"}, run.folder, resume=True)
    assert again.folder == run.folder
    npf.train("digits", "discriminative", 0, few, tmp_path / "ours")
    with pytest.raises(RunFolderError, match=r"methods\.discriminative\.delta_v is 0\.5 there, 2\.0 here"):
        npf.train("digits", "discriminative", 0, {**few, "preset": "best"}, tmp_path / "ours", resume=True)
