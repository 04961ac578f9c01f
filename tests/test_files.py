"""Who may use a folder: one process at a time, until it ends, however it ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, NoiseproofError, RunBusyError, RunFolderError
from noiseproof.files import sole_user
from tests.training.test_resume import StopAt

TINY: dict[str, Any] = {
    "train.epochs": 2, "train.max_steps": 3, "train.batch_size": 720, "model.options": {"width": 2},
    "model.embedding_dim": 4,
}  # fmt: skip
MISFIT: dict[str, Any] = {**TINY, "model.name": "mlp"}

# The package itself would take seconds to import, for torch.
HOLDER = """\
import importlib.util, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
with files.sole_user(Path(sys.argv[2])) as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""


class Other:
    """A process that uses a folder until it is told to end, or is killed.

    Attributes:
        alone: whether it got the folder.
    """

    def __init__(self, folder: Path) -> None:
        source = str(sys.modules["noiseproof.files"].__file__)
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, source, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.alone = {"True": True, "False": False}[self._process.stdout.readline().strip()]

    def end(self, number: signal.Signals | None = None) -> None:
        if number is not None:
            self._process.send_signal(number)
        self._process.communicate(timeout=100)


@contextmanager
def other_process(folder: Path) -> Iterator[Other]:
    other = Other(folder)
    try:
        yield other
    finally:
        other.end(signal.SIGKILL)


def available(folder: Path) -> bool:
    with sole_user(folder) as alone:
        return alone


# sole_user


def test_a_folder_that_nobody_uses_is_there_for_the_asking(tmp_path: Path) -> None:
    with sole_user(tmp_path) as alone:
        assert alone


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with sole_user(tmp_path) as alone, other_process(tmp_path) as other:
        assert (alone, other.alone) == (True, False)
    with other_process(tmp_path) as other:
        assert other.alone
        assert not available(tmp_path)
        other.end()
        assert available(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_was_killed_leaves_the_folder_to_the_next(tmp_path: Path, number: signal.Signals) -> None:
    with other_process(tmp_path) as other:
        assert other.alone
        assert not available(tmp_path)
        other.end(number)
        assert available(tmp_path)


def test_one_that_was_refused_does_not_take_the_folder_from_the_first(tmp_path: Path) -> None:
    with sole_user(tmp_path) as first:
        assert first
        assert not available(tmp_path)
        with other_process(tmp_path) as other:
            assert not other.alone
        assert not available(tmp_path)
    assert available(tmp_path)


def test_another_thread_is_refused_as_another_process_is(tmp_path: Path) -> None:
    found: list[bool] = []
    with sole_user(tmp_path):
        thread = threading.Thread(target=lambda: found.append(available(tmp_path)))
        thread.start()
        thread.join()
    assert found == [False]


def test_the_folder_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sole_user(tmp_path):
        raise ZeroDivisionError
    assert available(tmp_path)


def test_a_child_that_outlives_the_block_does_not_keep_the_folder(tmp_path: Path) -> None:
    """As the processes do that decode pictures, for a while after a training that was stopped."""
    reader, writer = os.pipe()
    with sole_user(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside torch's threads, from Python 3.12 on
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent closes its end
            os._exit(0)
    try:
        assert available(tmp_path)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


def test_nothing_is_left_in_or_beside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with sole_user(folder), other_process(folder):
        assert list(tmp_path.rglob("*")) == [folder]
    assert list(tmp_path.rglob("*")) == [folder]


def test_folders_within_and_beside_one_another_are_used_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with sole_user(tmp_path) as top, sole_user(tmp_path / "a") as a, other_process(tmp_path / "b") as other:
        assert (top, a, other.alone) == (True, True, True)


# Training in a folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("more", [{}, {"resume": True}, {"overwrite": True}])
def test_training_is_refused_in_a_folder_that_another_process_has_just_made(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    """Were the folder removed for being empty, the other process could not write into it, or no longer alone."""
    folder = tmp_path / "run"
    folder.mkdir()
    with other_process(folder):
        with pytest.raises(RunBusyError, match="another process is training in"):
            npf.train("digits", "normal", 0, TINY, folder, **more)
        assert folder.is_dir()
        assert list(folder.iterdir()) == []
        assert not available(folder)


@pytest.mark.parametrize("state", ["stopped", "finished"])
@pytest.mark.parametrize("more", [{"resume": True}, {"overwrite": True}])
def test_training_is_refused_in_a_run_that_another_process_is_at_and_leaves_it_alone(
    tmp_path: Path, state: str, more: dict[str, Any]
) -> None:
    folder = tmp_path / "run"
    if state == "stopped":
        with pytest.raises(SystemExit):
            npf.train("digits", "normal", 0, TINY, folder, progress=StopAt(1, signal.SIGTERM))
    else:
        npf.train("digits", "normal", 0, TINY, folder)
    before = contents(folder)
    with other_process(folder), pytest.raises(RunBusyError, match="another process is training in"):
        npf.train("digits", "normal", 0, TINY, folder, **more)
    assert contents(folder) == before
    assert npf.train("digits", "normal", 0, TINY, folder, **more).metrics()[-1]["step"] == 3


def test_a_busy_folder_is_an_error_that_users_can_act_on() -> None:
    assert issubclass(RunBusyError, RunFolderError)
    assert issubclass(RunBusyError, NoiseproofError)


def test_the_folder_of_a_training_is_not_there_for_others_and_is_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    seen: list[bool] = []

    class Looking(StopAt):
        def advance(self, amount: int = 1, note: str = "") -> None:
            seen.append(available(folder))

    npf.train("digits", "normal", 0, TINY, folder, progress=Looking(0, "killed"))
    assert set(seen) == {False}
    assert available(folder)


@pytest.mark.parametrize(
    ("overrides", "error"), [(MISFIT, InvalidArgumentError), ({**TINY, "model.options": {"with": 2}}, NoiseproofError)]
)
def test_a_training_that_fails_before_it_wrote_anything_leaves_no_folder(
    tmp_path: Path, overrides: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        npf.train("digits", "normal", 0, overrides, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_before_it_wrote_anything_leaves_no_folder_above_its_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError):
        npf.train("digits", "normal", 0, MISFIT, tmp_path / "runs" / "digits" / "seed-0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["working directory", "link"])
def test_what_went_wrong_is_told_where_the_folder_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real")
    out = Path() if kind == "working directory" else tmp_path / "link"
    with pytest.raises(InvalidArgumentError, match="cannot take inputs of shape"):
        npf.train("digits", "normal", 0, MISFIT, out)


def test_a_training_that_fails_leaves_a_run_that_was_there(tmp_path: Path) -> None:
    npf.train("digits", "normal", 0, TINY, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InvalidArgumentError):
        npf.train("digits", "normal", 0, MISFIT, tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_locked_is_everyones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems, where asking for a lock and giving it back both fail."""

    def fails(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("noiseproof.files.fcntl.flock", fails)
    with sole_user(tmp_path / "a") as first:
        assert first
        with sole_user(tmp_path / "a") as second:
            assert second
    run = npf.train("digits", "normal", 0, TINY, tmp_path / "run")
    assert (run.folder / "model.safetensors").is_file()
