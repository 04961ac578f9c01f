"""Compiled trainings, fused optimisers, and kernels that give the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, RecipeError, RunFolderError
from noiseproof.training import load_recipe
from noiseproof.training.kernels import kernels
from noiseproof.training.optimization import build_optimizer
from noiseproof.training.recipe import OptimizerSettings

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CPU = torch.device("cpu")
FEW = {"train.max_steps": 8, "train.batch_size": 200, "train.keep": "last", "train.optimizer.lr": 1e-3}


def weights(run: npf.Run) -> torch.Tensor:
    return torch.cat([each.flatten().float() for each in run.model().state_dict().values()])


def settings() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        cudnn.benchmark,
        cudnn.deterministic,
    )


# Compilation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "passes"), [("mixed", "separate"), ("discriminative", "joint")])
def test_a_compiled_training_gives_the_weights_of_an_eager_one(tmp_path: Path, method: str, passes: str) -> None:
    """In an epoch with a smaller last batch and one more step, so for both shapes and with stored centroids."""
    changes = {**FEW, f"methods.{method}.passes": passes}
    eager = npf.train("digits", method, 0, changes, tmp_path / "eager")
    compiled = npf.train("digits", method, 0, {**changes, "train.compile": "default"}, tmp_path / "compiled")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(weights(compiled), weights(eager), rtol=1e-3, atol=1e-4)
    assert compiled.metrics()[-1]["loss"] == pytest.approx(eager.metrics()[-1]["loss"], rel=1e-4)


def test_a_run_that_was_not_compiled_does_not_go_on_compiled(tmp_path: Path) -> None:
    npf.train("digits", "normal", 0, FEW, tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"train\.compile"):
        npf.train("digits", "normal", 0, {**FEW, "train.compile": "default"}, tmp_path / "run", resume=True)


def test_where_there_is_no_compiler_it_says_so(tmp_path: Path) -> None:
    """In a process of its own: torch looks for a compiler once, and keeps what it compiled on disk."""
    few = [f"--set={key}={value}" for key, value in {**FEW, "train.compile": "default"}.items()]
    done = subprocess.run(
        [sys.executable, "-m", "noiseproof", "train", "digits", "--method", "normal", *few, "--out", "run"],
        env={**os.environ, "CXX": "/no/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    message = " ".join(done.stderr.split())
    assert "train.compile: " in message
    assert "No working C++ compiler found" in message
    assert "Traceback" not in message


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"train\.compile = 'fast'"):
        load_recipe("digits", {"train.compile": "fast"})


# Fused optimisers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_fused_optimiser_does_what_the_other_does(name: Any) -> None:
    found = []
    for fused in (False, True):
        torch.manual_seed(0)
        layer = nn.Linear(5, 3)
        optimizer = build_optimizer(layer.parameters(), OptimizerSettings(name=name, lr=0.1), fused=fused)
        for _ in range(4):
            optimizer.zero_grad()
            layer(torch.ones(2, 5)).square().sum().backward()
            optimizer.step()
        found.append(layer.weight.detach())
    torch.testing.assert_close(*found)


# Determinism --------------------------------------------------------------------------------------------------------


def test_torchs_settings_are_put_back_also_after_an_error() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), kernels(CPU, deterministic=True):
        1 // (0 if torch.are_deterministic_algorithms_enabled() else 1)
    assert settings() == before


def test_settings_that_a_user_made_stay() -> None:
    before = settings()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with kernels(CPU, deterministic=False):
            assert torch.are_deterministic_algorithms_enabled()
        with kernels(CPU, deterministic=True):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def test_on_cuda_kernels_are_tried_out_unless_they_must_be_deterministic() -> None:
    before = settings()
    with kernels(torch.device("cuda"), deterministic=False):
        assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.deterministic
    with kernels(torch.device("cuda"), deterministic=True):
        assert not torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.deterministic
    assert settings() == before


def test_an_operator_without_a_deterministic_kernel_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"train\.deterministic: put_"), kernels(CPU, deterministic=True):
        torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), kernels(CPU, deterministic=True):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_on_a_cpu_deterministic_changes_no_bit(tmp_path: Path) -> None:
    runs = [
        npf.train("digits", "discriminative", 0, {**FEW, "train.deterministic": exact}, tmp_path / str(exact))
        for exact in (False, True)
    ]
    assert bool((weights(runs[0]) == weights(runs[1])).all())
    assert not torch.are_deterministic_algorithms_enabled()


@GPU
@pytest.mark.parametrize("method", ["normal", "noisy", "mixed", "stability", "discriminative"])
def test_on_cuda_two_deterministic_trainings_and_their_reports_are_the_same(tmp_path: Path, method: str) -> None:
    changes = {**FEW, "train.deterministic": True, "model.name": "resnet8-cifar", "model.options": {"width": 8}}
    runs = [npf.train("digits", method, 0, changes, tmp_path / str(number)) for number in range(2)]
    assert bool((weights(runs[0]) == weights(runs[1])).all())
    reports = [npf.evaluate(run.model("cuda"), run.data().test, ["gaussian:0.3"], draws=2) for run in runs]
    first, second = (report["gaussian:0.3"] for report in reports)
    assert (first.correct == second.correct).all()
    assert (first.confidence == second.confidence).all()
