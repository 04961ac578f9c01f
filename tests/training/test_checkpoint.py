"""Checkpoint files: whole or absent, verified when read, and the one before as a reserve."""

from __future__ import annotations

import os
import random
import signal
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

import noiseproof as npf
from noiseproof.errors import RunFolderError
from noiseproof.training.checkpoint import _digest, load_checkpoint, remove_checkpoints, save_checkpoint
from tests.training.test_resume import TINY, assert_same_run, stop


def state(step: int) -> dict[str, Any]:
    return {
        "step": step, "weights": OrderedDict(a=torch.full((3, 2), float(step)), b=torch.tensor(step)),
        "best": {"accuracy": 0.25, "weights": None}, "rates": [0.1, 0.2], "empty": torch.zeros(0),
        "half": torch.ones(3, dtype=torch.bfloat16), "seen": torch.tensor([True, False]),
    }  # fmt: skip


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with the checkpoints of steps 1 and 2."""
    save_checkpoint(tmp_path, state(1))
    save_checkpoint(tmp_path, state(2))
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_last_two_are_kept(two: Path) -> None:
    save_checkpoint(two, state(3))
    assert names(two) == {"last.ckpt", "previous.ckpt"}
    assert load_checkpoint(two)["step"] == 3
    (two / "last.ckpt").unlink()
    assert load_checkpoint(two)["step"] == 2
    remove_checkpoints(two)
    assert names(two) == set()
    assert load_checkpoint(two) is None


def test_what_is_read_is_what_was_written(two: Path) -> None:
    assert _digest(load_checkpoint(two)) == _digest(state(2))


def test_it_is_read_without_running_code(tmp_path: Path) -> None:
    for keep in ("last", "best-test"):
        out = tmp_path / keep
        overrides = {**TINY, "train.optimizer.name": "adam", "train.ema_decay": 0.5, "train.keep": keep}
        stop(out, 8, signal.SIGTERM, "discriminative", 0, overrides)
        sealed = torch.load(out / "last.ckpt", weights_only=True)
        assert sealed["state"]["step"] == 8
        assert sealed["sha256"] == _digest(sealed["state"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:10],
        lambda raw: raw[100:],
        lambda raw: random.Random(0).randbytes(len(raw)),
        lambda raw: bytes(len(raw)),
        lambda _: b"not a checkpoint\n",
        lambda raw: raw + raw,
    ],
)
def test_a_damaged_one_is_told_and_the_one_before_is_used(two: Path, damage: Any) -> None:
    last = two / "last.ckpt"
    last.write_bytes(damage(last.read_bytes()))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        got = load_checkpoint(two)
    assert _digest(got) in (_digest(state(1)), _digest(state(2)))
    assert (got["step"] == 1) == any("last.ckpt is damaged" in str(warning.message) for warning in told)


def test_a_changed_byte_anywhere_never_changes_the_state(two: Path) -> None:
    last = two / "last.ckpt"
    raw = last.read_bytes()
    good = {_digest(state(1)): True, _digest(state(2)): False}
    used_before = 0
    for offset in range(0, len(raw), 3):
        for mask in (0xFF, 1 << (offset % 8)):
            changed = bytearray(raw)
            changed[offset] ^= mask
            last.write_bytes(changed)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                digest = _digest(load_checkpoint(two))
            assert digest in good, f"offset {offset}"
            messages = [str(warning.message) for warning in told]
            assert any("damaged" in message for message in messages) == good[digest], f"offset {offset}"
            used_before += good[digest]
    assert used_before > 50


@pytest.mark.parametrize(
    "content", [[1, 2], {"state": {}}, {"sha256": "0"}, "text", {"state": {"step": 1}, "sha256": "0"}, 3]
)
def test_a_whole_file_that_is_no_checkpoint_is_not_used(two: Path, content: Any) -> None:
    torch.save(content, two / "last.ckpt")
    with pytest.warns(UserWarning, match="damaged"):
        assert load_checkpoint(two)["step"] == 1


def test_a_checkpoint_that_would_run_code_is_not_used(two: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(two / "owned"),)

    torch.save({"state": Evil(), "sha256": ""}, two / "last.ckpt")
    with pytest.warns(UserWarning, match="damaged"):
        assert load_checkpoint(two)["step"] == 1
    assert not (two / "owned").exists()


def test_all_damaged_is_an_error(two: Path) -> None:
    for name in ("last.ckpt", "previous.ckpt"):
        (two / name).write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(RunFolderError, match="--overwrite"):
        load_checkpoint(two)


def test_a_run_goes_on_from_the_checkpoint_before(tmp_path: Path) -> None:
    whole = npf.train("digits", "discriminative", 0, TINY, tmp_path / "whole")
    out = tmp_path / "a"
    stop(out, 8, signal.SIGTERM, "discriminative", 0, TINY)
    stop(out, 14, signal.SIGTERM, "discriminative", 0, TINY)
    raw = bytearray((out / "last.ckpt").read_bytes())
    raw[len(raw) // 2] ^= 0x10
    (out / "last.ckpt").write_bytes(raw)
    with pytest.warns(UserWarning, match="last.ckpt is damaged"):
        assert_same_run(npf.train("digits", "discriminative", 0, TINY, out, resume=True), whole)


def test_overwriting_helps_where_all_are_damaged(tmp_path: Path) -> None:
    out = tmp_path / "a"
    stop(out, 8, signal.SIGTERM, "normal", 0, TINY)
    for path in out.glob("*.ckpt"):
        path.write_bytes(b"")
    before = names(out)
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(RunFolderError, match="--overwrite"):
        npf.train("digits", "normal", 0, TINY, out, resume=True)
    assert names(out) == before
    npf.train("digits", "normal", 0, TINY, out, overwrite=True)


def test_a_failed_write_leaves_what_was_there(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in two.iterdir()}

    write = Path.write_bytes

    def full(path: Path, content: bytes) -> None:
        write(path, bytes(content)[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            save_checkpoint(two, state(3))
    assert {path.name: path.read_bytes() for path in two.iterdir()} == before
    save_checkpoint(two, state(3))
    assert load_checkpoint(two)["step"] == 3


def test_a_write_that_fails_late_leaves_a_whole_checkpoint_and_nothing_else(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="Input/output"):
            save_checkpoint(two, state(3))
    assert load_checkpoint(two)["step"] == 2
    save_checkpoint(two, state(4))
    assert names(two) == {"last.ckpt", "previous.ckpt"}
    assert load_checkpoint(two)["step"] == 4


T = torch.tensor
PAIRS: list[tuple[Any, Any]] = [
    (T([1, 2]), T([1, 3])),
    (T([0, 0], dtype=torch.int32), T([0.0, 0.0])),
    (T([1, 2]), T([[1, 2]])),
    (torch.zeros(2, 3), torch.zeros(3, 2)),
    (T(1), T([1])),
    (T(1), 1),
    (torch.zeros(0), torch.zeros(0, 1)),
    (T(0.0), T(-0.0)),
    ({"a": 1}, {"b": 1}),
    ({"a": 1}, {1: "a"}),
    ({"a": 1}, {"a": 1, "b": None}),
    ({}, []),
    ([1, [2]], [[1], 2]),
    ([1, 2], [[1, 2]]),
    ([[], 1], [[1]]),
    (1, 1.0),
    (1, True),
    (1, "1"),
    (None, "None"),
    ([1, 23], [12, 3]),
    ({1: 23}, {12: 3}),
    ([1.5, 5], [1.55]),
    ([True, 1], [T([True]), 1]),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_no_two_states_have_the_same_digest(one: Any, other: Any) -> None:
    assert _digest(one) != _digest(other)
    assert _digest({"x": one}) != _digest({"x": other})


def test_the_digest_sees_values_and_not_memory() -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert _digest(x) == _digest(x.contiguous(memory_format=torch.channels_last))
    assert _digest(x.flatten()[::2]) == _digest(x.flatten()[::2].clone())
    assert _digest(x.clone().requires_grad_()) == _digest(x)
    assert _digest((1, 2)) == _digest([1, 2])
    assert _digest(OrderedDict(a=1)) == _digest({"a": 1})
