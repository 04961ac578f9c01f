"""Compiled trainings, fused optimisers, averaged weights, and kernels that give the same bits; all on the CPU."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import noiseproof as npf
from noiseproof.data import load_splits
from noiseproof.errors import BudgetSpentError, InvalidArgumentError, RecipeError, RunFolderError
from noiseproof.training import fit_model, load_recipe
from noiseproof.training.kernels import kernels
from noiseproof.training.optimization import build_optimizer
from noiseproof.training.recipe import OptimizerSettings
from noiseproof.training.trainer import _Average

COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="torch compiles with a C++ compiler"
)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CPU = torch.device("cpu")

# An epoch with a smaller last batch, and one more step.
FEW = {"train.max_steps": 8, "train.batch_size": 200, "train.keep": "last", "train.optimizer.lr": 1e-3}


def weights(model: nn.Module) -> Tensor:
    return torch.cat([each.flatten().double() for each in model.state_dict().values()])


def trained(method: str, changes: dict[str, Any]) -> Tensor:
    recipe = load_recipe("digits", {**FEW, **changes, "method": method})
    return weights(fit_model(recipe, load_splits("digits"), device="cpu").model)


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def settings() -> tuple[Any, ...]:
    cudnn, memory = torch.backends.cudnn, torch.utils.deterministic
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        memory.fill_uninitialized_memory,
        cudnn.benchmark,
        cudnn.deterministic,
    )


# Compilation --------------------------------------------------------------------------------------------------------


@COMPILER
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("mixed", {"methods.mixed.passes": "split", "train.ema_decay": 0.9}),
        ("discriminative", {"methods.discriminative.passes": "joint"}),
    ],
)
def test_a_compiled_training_gives_the_weights_of_an_eager_one(method: str, changes: dict[str, Any]) -> None:
    before = graphs()
    eager = trained(method, changes)
    assert graphs() == before
    compiled = trained(method, {**changes, "train.compile": "default"})
    assert graphs() - before == 2  # one for each size of batch
    torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)


@COMPILER
def test_however_many_settings_a_process_trains_with_each_is_compiled() -> None:
    """By itself torch stops after a few graphs of one function, and goes on eagerly."""
    with torch._dynamo.config.patch(recompile_limit=2):
        for smoothing in (0.0, 0.1, 0.2):
            before = graphs()
            trained("normal", {"train.max_steps": 1, "train.compile": "default", "train.label_smoothing": smoothing})
            assert graphs() - before == 1, smoothing


@COMPILER
def test_a_compiled_training_that_was_stopped_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    changes = {**FEW, "train.compile": "default"}
    whole = npf.train("digits", "discriminative", 0, changes, tmp_path / "whole")
    with pytest.raises(BudgetSpentError):
        npf.train("digits", "discriminative", 0, changes, tmp_path / "parts", deadline=0.0)
    parts = npf.train("digits", "discriminative", 0, changes, tmp_path / "parts", resume=True)
    assert torch.equal(weights(whole.model()), weights(parts.model()))


def test_a_run_that_was_not_compiled_does_not_go_on_compiled(tmp_path: Path) -> None:
    npf.train("digits", "normal", 0, FEW, tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"train\.compile"):
        npf.train("digits", "normal", 0, {**FEW, "train.compile": "default"}, tmp_path / "run", resume=True)


def test_where_there_is_no_compiler_it_says_so(tmp_path: Path) -> None:
    """In a process of its own: torch looks for a compiler once, and keeps what it compiled on disk."""
    few = [f"--set={key}={value}" for key, value in {**FEW, "train.compile": "default"}.items()]
    none = {
        "CXX": "/no/compiler",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(
        [sys.executable, "-m", "noiseproof", "train", "digits", "--method", "normal", *few, "--out", "run"],
        env={**os.environ, **none}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    message = " ".join(done.stderr.split())
    assert "train.compile: " in message
    assert "No working C++ compiler found" in message
    assert "Traceback" not in message


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"train\.compile = 'fast'"):
        load_recipe("digits", {"train.compile": "fast"})


def test_what_does_not_change_a_training_does_not_change_its_digest() -> None:
    """Looks at test sets and model cards of earlier versions know nothing of these keys."""
    plain = load_recipe("digits")
    assert {"compile", "deterministic"} <= set(plain.settings()["train"])
    assert not {"compile", "deterministic"} & set(plain.settings_to_digest()["train"])
    told = load_recipe("digits", {"train.compile": "default", "train.deterministic": True}).settings_to_digest()
    assert (told["train"]["compile"], told["train"]["deterministic"]) == ("default", True)


# Fused optimisers and averaged weights ------------------------------------------------------------------------------


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


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_averaged_weights_are_those_of_torch_to_the_bit(decay: float, tiny_model: npf.FeatureClassifier) -> None:
    ours = _Average(tiny_model, decay)
    reference = AveragedModel(tiny_model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    tiny_model.train()
    for step in range(6):
        tiny_model(torch.rand(4, 1, 8, 8))  # moves buffers, the counter among them
        with torch.no_grad():
            for parameter in tiny_model.parameters():
                parameter.add_(torch.randn_like(parameter))
        ours.update()
        reference.update_parameters(tiny_model)
        state = ours.state_dict() or {}
        assert state.keys() == reference.state_dict().keys()
        assert all(torch.equal(state[name], each) for name, each in reference.state_dict().items()), step


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


@COMPILER
def test_the_compiler_times_no_kernels_where_the_same_bits_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not those of the backward pass, which on CUDA runs in a thread of autograd's."""
    config = importlib.import_module("torch._inductor.config")
    graph: Any = importlib.import_module("torch._inductor.graph").GraphLowering
    codegen, seen = graph.codegen, []

    def noting(*arguments: Any, **given: Any) -> Any:
        seen.append(config.deterministic)
        return codegen(*arguments, **given)

    monkeypatch.setattr(graph, "codegen", noting)
    torch.compiler.reset()
    x = torch.rand(3, requires_grad=True)
    with torch._inductor.config.patch(fx_graph_cache=False), kernels(CPU, deterministic=True, compiled=True):
        y = torch.compile(lambda x: (x * x).sin().sum())(x)
        thread = threading.Thread(target=y.backward)
        thread.start()
        thread.join()
    assert x.grad is not None
    assert seen == [True, True]
    assert config.deterministic is False


def test_cublas_is_told_when_the_package_is_imported_and_a_users_word_stands() -> None:
    code = (
        "import os, sys, noiseproof; assert 'torch' not in sys.modules; print(os.environ['CUBLAS_WORKSPACE_CONFIG'])"
    )
    for given, wanted in (({}, ":4096:8"), ({"CUBLAS_WORKSPACE_CONFIG": ":16:8"}, ":16:8")):
        bare = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**bare, **given}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == wanted


def test_an_operator_without_a_deterministic_kernel_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"train\.deterministic: put_"), kernels(CPU, deterministic=True):
        torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))


def test_products_from_before_are_told_of() -> None:
    told = "Deterministic behavior was enabled with ... you must set CUBLAS_WORKSPACE_CONFIG=:4096:8 ..."
    with pytest.raises(InvalidArgumentError, match="before Python starts"), kernels(CPU, deterministic=True):
        raise RuntimeError(told)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), kernels(CPU, deterministic=True):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_on_a_cpu_deterministic_changes_no_bit() -> None:
    found = [trained("discriminative", {"train.deterministic": exact}) for exact in (False, True)]
    assert torch.equal(*found)
    assert not torch.are_deterministic_algorithms_enabled()


@GPU
@pytest.mark.parametrize("method", ["normal", "noisy", "mixed", "stability", "discriminative"])
def test_on_cuda_two_deterministic_trainings_and_their_reports_are_the_same(tmp_path: Path, method: str) -> None:
    changes = {**FEW, "train.deterministic": True}
    runs = [npf.train("digits", method, 0, changes, tmp_path / str(number)) for number in range(2)]
    assert torch.equal(*(weights(run.model()) for run in runs))
    reports = [npf.evaluate(run.model("cuda"), run.data().test, ["gaussian:0.3"], draws=2) for run in runs]
    first, second = (report["gaussian:0.3"] for report in reports)
    assert (first.correct == second.correct).all()
    assert (first.confidence == second.confidence).all()
