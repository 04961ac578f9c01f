"""Precision that is chosen by the hardware: where it is bf16, that it is told, and that a run keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

import noiseproof as npf
from noiseproof.progress import Silent, Task
from noiseproof.training import engine, load_recipe, recipe_names

SHORT = {"train.epochs": 1, "train.max_steps": 2, "model.options": {"width": 2}, "model.embedding_dim": 4}


class Titles(Silent):
    """Notes what is begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        self.begun.append(title)
        yield self


def with_capabilities(monkeypatch: pytest.MonkeyPatch, **known: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict(known), raising=False)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"avx512_bf16": True, "avx2": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"bf16": True}, "bf16"),
        ({"avx512_bf16": False, "avx512_f": True}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_a_processor_gets_bf16_where_it_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, bool], expected: str
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with_capabilities(monkeypatch, **known)
    assert engine.native_precision() == expected


def test_older_versions_of_torch_are_asked_in_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert engine.native_precision() == "fp32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert engine.native_precision() == "bf16"


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp32")])
def test_a_gpu_gets_bf16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(engine, "_on_cpu", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert engine.native_precision() == expected


@pytest.mark.parametrize(
    ("gpu", "flag", "expected"), [(True, "no", "cuda"), (True, "yes", "cpu"), (False, "no", "cpu")]
)
def test_a_run_is_measured_where_it_is_trained(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, flag: str, expected: str
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", flag)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert engine.native_device().type == expected


@pytest.mark.parametrize("mode", [None, "default"])
def test_compiling_rounds_no_products_of_what_follows(monkeypatch: pytest.MonkeyPatch, mode: str | None) -> None:
    """Accelerate switches TF32 on for the whole process where it compiles on CUDA."""
    before = torch.get_float32_matmul_precision()

    class Switching(Accelerator):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            if given["dynamo_plugin"].backend != "NO":
                torch.backends.cuda.matmul.allow_tf32 = True

    monkeypatch.setattr(engine, "Accelerator", Switching)
    try:
        with engine.accelerate_as_it_was():
            engine.make_accelerator("fp32", "cpu", mode)
        assert torch.get_float32_matmul_precision() == before
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


def test_what_a_user_set_by_torchs_newer_names_stays_when_compiling() -> None:
    products: Any = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32"
    try:
        with engine.accelerate_as_it_was():
            engine.make_accelerator("fp32", "cpu", "default")
        assert products.fp32_precision == "tf32"
    finally:
        products.fp32_precision = before


@pytest.mark.parametrize(("native", "there"), [(True, "bf16"), (False, "fp32")])
def test_the_choice_is_told_and_written_into_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool, there: str
) -> None:
    with_capabilities(monkeypatch, avx512_bf16=native)
    titles = Titles()
    run = npf.train("digits", "normal", overrides={**SHORT, "train.precision": "auto"}, out=tmp_path, progress=titles)
    assert titles.begun[0] == f"train normal, seed 0, {there}"
    assert run.recipe.train.precision == there


def test_a_choice_of_ones_own_is_kept_and_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_capabilities(monkeypatch, avx512_bf16=True)
    titles = Titles()
    run = npf.train("digits", "normal", overrides={**SHORT, "train.precision": "fp32"}, out=tmp_path, progress=titles)
    assert titles.begun[0] == "train normal, seed 0"
    assert run.recipe.train.precision == "fp32"


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_goes_on_in_the_precision_that_it_began_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    overrides = {**SHORT, "train.max_steps": None, "train.epochs": 2, "train.precision": "auto"}
    with_capabilities(monkeypatch, avx512_bf16=False)
    run = npf.train("digits", "normal", overrides=overrides, out=tmp_path / "run")
    whole = (run.folder / "model.safetensors").read_bytes()
    if not finished:
        (run.folder / "model.safetensors").unlink()
    with_capabilities(monkeypatch, avx512_bf16=True)
    again = npf.train("digits", "normal", overrides=overrides, out=run.folder, resume=True)
    assert again.recipe.train.precision == "fp32"
    assert (run.folder / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_are_exact_or_leave_it_to_the_hardware(name: str) -> None:
    assert load_recipe(name).train.precision in ("fp32", "auto")
