"""Disks that are full or read-only, files that are damaged, and folders that two processes want: told in one line,
what was there stays whole, and once the cause is gone the run ends as the run that nothing happened to."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.test_kills import (
    KILL,
    RUNS,
    SHORT,
    STEPS_AN_EPOCH,
    TERM,
    Ended,
    Event,
    Warm,
    Whole,
    contents,
    differing,
    done,
    flip,
    lines_of,
    step_of,
    wait_until,
    warm,
    whole,
)

__all__ = ["warm", "whole"]  # fixtures

# What a run of SHORT writes, in order: recipe, empty metrics, then a line of metrics and a checkpoint for each epoch
# but the last, which has no checkpoint, then the method's state and the weights.
RECIPE, FIRST_LINE, FIRST_CHECKPOINT, THIRD_CHECKPOINT, LAST_LINE, METHOD, WEIGHTS = 1, 3, 4, 8, 9, 10, 11
CHECKPOINTED = {
    RECIPE: 0,
    FIRST_LINE: 0,
    FIRST_CHECKPOINT: 0,
    THIRD_CHECKPOINT: 2,
    LAST_LINE: 3,
    METHOD: 3,
    WEIGHTS: 3,
}
NAMES = {
    RECIPE: "recipe", FIRST_LINE: "metrics", FIRST_CHECKPOINT: "first checkpoint",
    THIRD_CHECKPOINT: "third checkpoint", LAST_LINE: "last metrics", METHOD: "method", WEIGHTS: "weights",
}  # fmt: skip
EVALUATION = ["--set=evaluate.perturbations=[clean,'gaussian:0.2']", "--set=evaluate.draws=2"]
COMPARE = ["compare", *SHORT[1:2], *SHORT[3:], "--set=train.max_steps=3", "--methods=normal", "--seeds=0", *EVALUATION]


def mount(*arguments: str) -> bool:
    tool = shutil.which("mount")
    return tool is not None and subprocess.run([tool, *arguments], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=2m", "noiseproof-torture", str(folder)):
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> Path:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError:
            pass
    return path


def told(ended: Ended, *parts: str, code: int = 1) -> str:
    """The one line of a command that failed, but for the progress before it."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    lines = [line for line in ended.err.splitlines() if ": done in " not in line]
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
    return lines[0]


def temporary(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


# No space left


@pytest.mark.parametrize("content", CHECKPOINTED, ids=NAMES.__getitem__)
def test_no_space_left_is_told_and_the_run_goes_on_when_there_is_some(
    warm: Warm, whole: Whole, disk: Path, content: int
) -> None:
    out, filler = disk / "run", disk / "filler"
    arguments = [*SHORT, "--resume", f"--out={out}"]
    ended = warm.run(arguments, out, Event("content", content, fill=str(filler)))
    assert filler.exists()
    assert temporary(disk) == []
    assert step_of(out) == CHECKPOINTED[content] * STEPS_AN_EPOCH
    assert not (out / "model.safetensors").exists()
    filler.unlink()
    done(warm, arguments, out)
    assert differing(out, whole["discriminative"]) == []
    told(ended, "No space left")


@pytest.mark.parametrize("content", [RECIPE, FIRST_LINE, THIRD_CHECKPOINT, METHOD, WEIGHTS], ids=NAMES.__getitem__)
def test_a_file_that_may_not_grow_is_told_and_the_run_goes_on_when_it_may(
    warm: Warm, whole: Whole, tmp_path: Path, content: int
) -> None:
    """The same without a file system of its own: a quota, as of ``ulimit -f``."""
    out = tmp_path / "run"
    arguments = [*SHORT, "--resume", f"--out={out}"]
    limit = 1024 if content > FIRST_LINE else 100
    ended = warm.run(arguments, out, Event("content", content, limit=limit))
    assert temporary(tmp_path) == []
    assert step_of(out) == CHECKPOINTED[content] * STEPS_AN_EPOCH
    done(warm, arguments, out)
    assert differing(out, whole["discriminative"]) == []
    told(ended, "File too large")


def test_a_stop_whose_checkpoint_finds_no_space_is_told_and_costs_no_more_than_the_epoch(
    warm: Warm, whole: Whole, disk: Path
) -> None:
    out, filler = disk / "run", disk / "filler"
    arguments = [*SHORT, "--resume", f"--out={out}"]
    ended = warm.run(arguments, out, Event("step", 15, TERM, fill=str(filler)))
    assert step_of(out) == 2 * STEPS_AN_EPOCH
    assert temporary(disk) == []
    filler.unlink()
    done(warm, arguments, out)
    assert differing(out, whole["discriminative"]) == []
    told(ended, "No space left")


def test_a_full_disk_costs_a_finished_run_and_its_report_nothing(warm: Warm, disk: Path) -> None:
    out = disk / "run"
    done(warm, [*SHORT, *EVALUATION, "--set=train.max_steps=3", f"--out={out}"], out)
    before = contents(out)
    filler = fill(disk / "filler")
    first = warm.run(["evaluate", str(out)], out)
    assert {name: raw for name, raw in contents(out).items() if not name.startswith("evaluation/")} == before
    assert temporary(disk) == []
    filler.unlink()
    done(warm, ["evaluate", str(out)], out)
    before = contents(out)
    assert {name for name in before if name.startswith("evaluation/")} == {
        "evaluation/report.json", "evaluation/report.npz",
    }  # fmt: skip
    fill(filler)
    again = warm.run(["evaluate", str(out), "--draws=3"], out)
    assert contents(out) == before
    told(first, "No space left")
    told(again, "No space left")


@pytest.mark.parametrize("name", ["table.md", "table.json", "report.html"])
def test_a_full_disk_costs_a_comparison_nothing_but_another_go(
    warm: Warm, disk: Path, tmp_path: Path, name: str
) -> None:
    expected = done(warm, [*COMPARE, f"--out={tmp_path / 'whole'}"], tmp_path / "whole")
    log = tmp_path / "log"
    assert warm.run([*COMPARE, f"--out={tmp_path / 'noted'}"], tmp_path / "noted", Event(log=str(log))).code == 0
    notes = [line for line in log.read_text().splitlines() if line.startswith("content")]
    number = next(place for place, line in enumerate(notes, 1) if f".{name}." in line)
    ended = warm.run(
        [*COMPARE, f"--out={disk / 'run'}"], disk / "run",
        Event("content", number, fill=str(disk / "filler")),
    )  # fmt: skip
    assert temporary(disk) == []
    assert not (disk / "run" / name).exists()
    (disk / "filler").unlink()
    done(warm, [*COMPARE, f"--out={disk / 'run'}"], disk / "run")
    assert differing(disk / "run", expected) == []
    told(ended, "No space left")


# Read-only folders


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder to fill, for :func:`freeze` to make read-only."""
    folder = tmp_path / "frozen"
    folder.mkdir()
    if os.geteuid() == 0 and not mount("-t", "tmpfs", "-o", "size=2m", "noiseproof-torture", str(folder)):
        pytest.skip("root may write anywhere, and no file system may be mounted here")
    yield folder
    if os.geteuid() == 0:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    else:
        thaw(folder)


def freeze(folder: Path) -> None:
    if os.geteuid() == 0:
        assert mount("-o", "remount,ro", str(folder))
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)


def thaw(folder: Path) -> None:
    if os.geteuid() == 0:
        assert mount("-o", "remount,rw", str(folder))
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def test_a_new_run_in_a_read_only_folder_is_told(warm: Warm, read_only: Path) -> None:
    freeze(read_only)
    ended = warm.run([*SHORT, f"--out={read_only / 'run'}"], read_only)
    told(ended, str(read_only / "run"))
    assert list(read_only.iterdir()) == []


def test_a_run_that_became_read_only_is_told_kept_and_goes_on_when_it_may_be_written(
    warm: Warm, whole: Whole, read_only: Path
) -> None:
    out = read_only / "run"
    assert warm.run([*SHORT, f"--out={out}"], out, Event("step", 15, KILL)).code == -9
    before = contents(out)
    freeze(read_only)
    resumed = warm.run([*SHORT, "--resume", f"--out={out}"], out)
    overwritten = warm.run([*SHORT, "--overwrite", f"--out={out}"], out)
    assert contents(out) == before
    thaw(read_only)
    done(warm, [*SHORT, "--resume", f"--out={out}"], out)
    assert differing(out, whole["discriminative"]) == []
    told(resumed, str(out))
    told(overwritten, str(out))


def test_a_finished_run_in_a_read_only_folder_is_returned_as_anywhere_else(warm: Warm, read_only: Path) -> None:
    """As on a disk that an archive is mounted from: there is nothing to be written."""
    out = read_only / "run"
    done(warm, [*SHORT, "--set=train.max_steps=3", f"--out={out}"], out)
    freeze(read_only)
    ended = warm.run([*SHORT, "--set=train.max_steps=3", "--resume", f"--out={out}"], out)
    assert ended.code == 0, ended.err


def test_a_report_that_cannot_be_kept_in_a_read_only_folder_is_told(warm: Warm, read_only: Path) -> None:
    out = read_only / "run"
    done(warm, [*SHORT, *EVALUATION, "--set=train.max_steps=3", f"--out={out}"], out)
    freeze(read_only)
    told(warm.run(["evaluate", str(out)], out), str(out))


# Damaged files


@pytest.fixture(scope="module")
def stopped(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of steps 12, at the end of an epoch, and 15."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    assert warm.run([*SHORT, f"--out={out}"], out, Event("step", 15, TERM)).code == 143
    assert (step_of(out), lines_of(out)) == (15, 2)
    return out


def test_a_checkpoint_cut_short_or_changed_is_told_and_the_one_before_is_used(
    warm: Warm, whole: Whole, stopped: Path, tmp_path: Path
) -> None:
    random_ = random.Random("damage")
    for number in range(max(2, RUNS // 2)):
        out = tmp_path / f"{number}"
        shutil.copytree(stopped, out)
        last = out / "last.ckpt"
        raw = bytearray(last.read_bytes())
        if number % 2:
            del raw[random_.randrange(len(raw)) :]
        else:
            raw[random_.randrange(len(raw))] ^= 1 << random_.randrange(8)
        last.write_bytes(raw)
        harmless = step_of(out) == 15  # a byte that means nothing
        ended = warm.run([*SHORT, "--resume", f"--out={out}"], out)
        assert ended.code == 0, ended.err
        assert harmless or f"warning: the checkpoint {last} is damaged" in ended.err
        assert differing(out, whole["discriminative"]) == []


def test_checkpoints_that_are_all_damaged_are_told_and_stay(warm: Warm, stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    flip(out / "last.ckpt")
    flip(out / "previous.ckpt")
    before = contents(out)
    ended = warm.run([*SHORT, "--resume", f"--out={out}"], out)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[-1].startswith("error: every checkpoint in")
    assert contents(out) == before


@pytest.mark.parametrize("half", ['{"epoch": 3, "st', "{", '{"epoch": 3, "step": 18}', "\x00" * 40, "{\n\n\n"])
def test_a_half_written_line_after_the_checkpoint_is_trimmed(
    warm: Warm, whole: Whole, stopped: Path, tmp_path: Path, half: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    with (out / "metrics.jsonl").open("a") as file:
        file.write(half)
    done(warm, [*SHORT, "--resume", f"--out={out}"], out)
    assert differing(out, whole["discriminative"]) == []


@pytest.mark.parametrize("cut", [1, 40], ids=["without its newline", "in the middle"])
def test_a_half_written_line_that_the_checkpoint_counts_does_not_stay_half(
    warm: Warm, whole: Whole, stopped: Path, tmp_path: Path, cut: int
) -> None:
    """After a power cut: the checkpoint is flushed to the disk, the metrics written before it are not."""
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    metrics = out / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-cut])
    ended = warm.run([*SHORT, "--resume", f"--out={out}"], out)
    assert "Traceback" not in ended.err
    if ended.code == 0:  # else it was told
        assert "warning: " in ended.err or differing(out, whole["discriminative"]) == []
        contents(out)  # every line of the metrics can be read
        assert (out / "model.safetensors").read_bytes() == (whole["discriminative"] / "model.safetensors").read_bytes()
    else:
        told(ended, "metrics.jsonl")


def test_lost_lines_of_metrics_are_told(warm: Warm, whole: Whole, stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    (out / "metrics.jsonl").write_bytes((out / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0])
    ended = warm.run([*SHORT, "--resume", f"--out={out}"], out)
    assert "Traceback" not in ended.err
    assert "metrics" in ended.err or differing(out, whole["discriminative"]) == []


# Two processes on one run folder


@pytest.mark.parametrize("flags", [[], ["--resume"], ["--overwrite"]], ids=["plain", "resume", "overwrite"])
def test_a_second_process_is_refused_and_the_first_does_not_notice(
    warm: Warm, tmp_path: Path, flags: list[str]
) -> None:
    longer = [*SHORT, "--set=train.epochs=12"]
    expected = done(warm, [*longer, f"--out={tmp_path / 'whole'}"], tmp_path / "whole")
    out = tmp_path / "run"
    first = warm.start([*longer, f"--out={out}"], out)
    wait_until(lambda: first.ended() or lines_of(out) >= 1)
    first.send(signal.SIGSTOP)  # so that it is still at it
    second = warm.run([*longer, *flags, f"--out={out}"], out)
    assert not first.ended()
    first.send(signal.SIGCONT)
    ended = first.wait()
    assert ended.code == 0, ended.err
    assert differing(out, expected) == []
    told(second, "another process is training in" if flags else "already holds a run")


def test_of_processes_that_start_at_once_one_trains(warm: Warm, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    processes = [warm.start([*SHORT, "--resume", f"--out={out}"], out) for _ in range(3)]
    ended = [process.wait() for process in processes]
    assert any(one.code == 0 for one in ended)
    for one in ended:
        if one.code != 0:
            told(one, "another process is training in")
    assert differing(out, whole["discriminative"]) == []


def test_a_run_that_was_made_while_the_data_was_loading_is_not_replaced(warm: Warm, tmp_path: Path) -> None:
    """Without --overwrite nothing ever replaces a run, however long the data of another process takes to load."""
    out, loaded = tmp_path / "run", tmp_path / "loaded"
    slow = warm.start([*SHORT, "--set=train.max_steps=3", f"--out={out}"], out, Event(wait_for=str(loaded)))
    wait_until(lambda: slow.ended() or loaded.with_name("loaded.waiting").exists())
    done(warm, [*SHORT, "--set=train.max_steps=5", f"--out={out}"], out)
    before = contents(out)
    loaded.touch()
    ended = slow.wait()
    assert contents(out) == before
    told(ended, str(out))
