"""Trainings that are killed at random, again and again, end as the training that nobody touched.

A start of Python with torch takes seconds, so that one warm process, without threads, forks the processes that are
killed: each runs the command line as ``python -m noiseproof`` would, with its own exit code and standard error. Where
there are many runs every tenth starts Python anew.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

RUNS = int(os.environ.get("NOISEPROOF_TORTURE", "4"))
REPOSITORY = Path(__file__).parent.parent.parent
PATIENCE = 120.0  # seconds, until a process is taken to hang
KILL, TERM, INT = (int(number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT))

# 4 epochs of 6 steps, the last one smaller.
STEPS, STEPS_AN_EPOCH = 24, 6
SHORT = [
    "train", "digits", "--seed=1", "--set=train.epochs=4", "--set=train.batch_size=256", "--set=model.options.width=4",
    "--set=model.embedding_dim=8",
]  # fmt: skip
VARIANTS: dict[str, list[str]] = {
    "discriminative": [],
    "mixed, averaged, best on test": ["--method=mixed", "--set=train.ema_decay=0.8", "--set=train.keep=best-test"],
    "stability, every other epoch": [
        "--method=stability", "--set=train.checkpoint_every=2", "--set=train.optimizer.name=adam",
        "--set=train.schedule.name=one-cycle",
    ],
    "noisy, best on validation": [
        "--method=noisy", "--set=train.keep=best-validation", "--set=data.validation_fraction=0.02",
        "--set=noise.train=salt-and-pepper:0.1",
    ],
}  # fmt: skip


# What happens inside the processes


@dataclass(frozen=True)
class Event:
    """Something that happens to a process.

    Attributes:
        when: ``"step"``, in the step of this number, counted in this process; ``"operation"``, before the operation of
            this number on a file in the folder; ``"content"``, when half the content of this number is written, be it
            a checkpoint, weights, a text or a line of metrics; ``"line"``, once there are so many lines of metrics,
            and ``"delay"``, both from outside.
        number: counted from 1; 0 for never.
        signal: what is sent, if anything.
        delay: seconds to wait first, from outside.
        twice: whether the signal comes again at the next operation.
        fill: a file that is made as large as the disk allows, before the content is written.
        log: a file that every operation and content is noted in.
        limit: how large files may be from then on, in bytes.
        wait_for: a file that loading the data waits for; its own name with ``.waiting`` says that it does.
    """

    when: str = ""
    number: int = 0
    signal: int = 0
    delay: float = 0.0
    twice: bool = False
    fill: str = ""
    log: str = ""
    limit: int | None = None
    wait_for: str = ""


class _Watch:
    """Counts what a process does, and lets the event happen."""

    def __init__(self, event: Event, folder: str) -> None:
        self.event, self.folder, self.seen, self.again = event, folder, Counter[str](), False

    def at(self, when: str, what: str) -> bool:
        """Note something; return whether the event is to happen now."""
        self.seen[when] += 1
        if self.event.log and when != "step":
            descriptor = os.open(self.event.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{when} {what}\n".encode())
            os.close(descriptor)
        if self.again and when == "operation":
            self.again = False
            return True
        if (when, self.seen[when]) != (self.event.when, self.event.number):
            return False
        self.again = self.event.twice
        return True

    def happen(self) -> None:
        import resource

        if self.event.fill:
            with open(self.event.fill, "wb", buffering=0) as file:  # noqa: PTH123
                try:
                    while file.write(bytes(1024)):
                        pass
                except OSError:  # full
                    pass
        if self.event.limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.event.limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        if self.event.signal:
            os.kill(os.getpid(), self.event.signal)

    def operation(self, name: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if name not in {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"} or not arguments:
            return
        if name == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        if path.startswith(self.folder) and path != self.event.log and self.at("operation", f"{name} {path}"):
            self.happen()

    def content(self, write: Callable[..., Any], place: int) -> Callable[..., Any]:
        """Let the event happen in the middle of ``write``, whose argument number ``place`` is the file."""

        def watched(*arguments: Any, **options: Any) -> Any:
            path = Path(arguments[place])
            if not str(path).startswith(self.folder) or not self.at("content", str(path)):
                return write(*arguments, **options)
            size = path.stat().st_size if path.exists() else 0  # of the lines that were there
            if self.event.signal != KILL:
                self.happen()
            result = write(*arguments, **options)
            if self.event.signal == KILL:
                os.truncate(path, (size + path.stat().st_size) // 2)
                self.happen()
            return result

        return watched

    def prepare(self) -> None:
        from noiseproof.training import run
        from noiseproof.training.log import MetricsLog
        from noiseproof.training.trainer import Trainer

        step, load, add = Trainer._step, run.load_data, MetricsLog.add

        def stepping(trainer: Any, views: Any) -> None:
            if self.at("step", ""):
                self.happen()
            step(trainer, views)

        def loading(recipe: Any) -> Any:
            splits = load(recipe)
            if self.event.wait_for:
                Path(self.event.wait_for + ".waiting").touch()
                wait_until(lambda: Path(self.event.wait_for).exists())
            return splits

        def adding(log: Any, metrics: Any) -> None:
            self.content(lambda _: add(log, metrics), 0)(log._path)

        for owner, name, new in (
            (Trainer, "_step", stepping),
            (run, "load_data", loading),
            (MetricsLog, "add", adding),
            (Path, "write_bytes", self.content(Path.write_bytes, 0)),
            (Path, "write_text", self.content(Path.write_text, 0)),
        ):
            setattr(owner, name, new)
        sys.addaudithook(self.operation)


def _in_the_child(request: dict[str, Any]) -> None:
    """Be the process that was asked for; never returns."""
    code = 1
    try:
        for place, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT)
            os.dup2(descriptor, place)
            os.close(descriptor)
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        event = Event(**request["event"])
        if event.number or event.log or event.wait_for:
            _Watch(event, request["folder"]).prepare()
        elif event.limit is not None:
            _Watch(event, request["folder"]).happen()
        from noiseproof.cli import main

        Path(request["begun"]).touch()
        main(request["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Fork the processes that are asked for on standard input, a line of JSON each."""
    import matplotlib.pyplot  # noqa: F401
    import torch

    import noiseproof.cli
    import noiseproof.data
    import noiseproof.experiments
    import noiseproof.training

    torch.set_num_threads(1)
    noiseproof.training.load_recipe("digits")  # which imports what is registered, torchvision too
    noiseproof.data.load_splits("digits")
    known: dict[int, int] = {}
    sys.stdout.write(f"{len(os.listdir('/proc/self/task')) if Path('/proc/self/task').is_dir() else 1}\n")  # noqa: PTH208
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        pid = request.get("pid")
        if pid is None:
            answer: int | None = os.fork()
            if answer == 0:
                _in_the_child(request)
        else:
            if pid not in known:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    known[pid] = os.waitstatus_to_exitcode(status)
            answer = known.get(pid)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


# Outside of them


class Ended(NamedTuple):
    """How a process ended: as in subprocess, minus the signal where it died of one."""

    code: int
    out: str
    err: str


def wait_until(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.0005)


class Started:
    """A process under way, forked by a warm one."""

    def __init__(self, warm: Warm, pid: int, files: dict[str, Path]) -> None:
        self._warm, self._pid, self._files = warm, pid, files
        self._code: int | None = None

    def ended(self) -> bool:
        if self._code is None:
            self._code = self._warm.ask({"pid": self._pid})
        return self._code is not None

    def begun(self) -> bool:
        """Whether the command line was entered."""
        return self._files["begun"].exists()

    def send(self, number: int) -> None:
        """Send a signal; to one that has ended it does nothing, since nobody has asked yet how."""
        if self._code is None:
            os.kill(self._pid, number)

    def wait(self) -> Ended:
        try:
            wait_until(self.ended)
        except TimeoutError:
            self.send(KILL)
            wait_until(self.ended)
            pytest.fail(f"a process hangs: {self._files['err'].read_text()}")
        assert self._code is not None
        return Ended(self._code, self._files["out"].read_text(), self._files["err"].read_text())


class StartedAnew:
    """The same for a process that starts Python anew."""

    def __init__(self, arguments: Sequence[str], cwd: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "noiseproof", *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def ended(self) -> bool:
        return self._process.poll() is not None

    def begun(self) -> bool:
        return True

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> Ended:
        out, err = self._process.communicate(timeout=PATIENCE)
        return Ended(self._process.returncode, out, err)


class Warm:
    """A process that has imported everything and forks one that runs a command.

    Args:
        scratch: a folder for what the processes say.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._count = scratch, 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.torture.test_kills import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        )  # fmt: skip
        assert self._process.stdout is not None
        threads = self._process.stdout.readline().strip()
        if threads != "1":
            self.close()
            pytest.fail(f"a process with {threads or 'unknown'} threads is not to fork")

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        arguments: Sequence[str],
        folder: Path,
        event: Event | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Started:
        self._count += 1
        files = {name: self._scratch / f"{self._count}.{name}" for name in ("out", "err", "begun")}
        request = {
            "arguments": list(arguments), "folder": str(folder), "event": asdict(event or Event()),
            "environment": dict(environment or {}), "cwd": str(cwd or self._scratch),
            **{name: str(path) for name, path in files.items()},
        }  # fmt: skip
        return Started(self, self.ask(request), files)

    def run(self, arguments: Sequence[str], folder: Path, event: Event | None = None, **more: Any) -> Ended:
        return self.start(arguments, folder, event, **more).wait()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    if not hasattr(os, "fork"):
        pytest.skip("processes cannot be forked here")
    process = Warm(tmp_path_factory.mktemp("said"))
    yield process
    process.close()


def contents(folder: Path) -> dict[str, Any]:
    """The bytes of every file, hidden ones too, and of the metrics all but the times."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    for name in [name for name in found if name.endswith("metrics.jsonl")]:
        lines = [json.loads(line) for line in found[name].decode().splitlines()]
        found[name] = [
            {key: value for key, value in line.items() if key not in ("seconds", "samples_per_second")}
            for line in lines
        ]
    return found


def differing(folder: Path, expected: Path) -> list[str]:
    """The files that are not the same in both folders."""
    one, two = contents(folder), contents(expected)
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def lines_of(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def step_of(folder: Path) -> int:
    """The step of the checkpoint that resuming would go on from."""
    from noiseproof.training.checkpoint import load_checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = load_checkpoint(folder) if folder.is_dir() else None
    return 0 if state is None else int(state["step"])


def done(warm: Warm, arguments: Sequence[str], folder: Path) -> Path:
    """Run a command in ``folder`` that must succeed."""
    ended = warm.run(arguments, folder)
    assert ended.code == 0, ended.err
    return folder


class Whole(dict[str, Path]):
    """Runs that nobody touched, by variant."""

    def __init__(self, warm: Warm, folder: Path) -> None:
        self._warm, self._folder = warm, folder

    def __missing__(self, variant: str) -> Path:
        folder = self._folder / str(len(self))
        self[variant] = done(self._warm, [*SHORT, *VARIANTS[variant], f"--out={folder}"], folder)
        assert lines_of(folder) == STEPS // STEPS_AN_EPOCH
        return folder


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(warm, tmp_path_factory.mktemp("whole"))


def tell(figures: Mapping[str, Any], record_property: Callable[[str, object], None], folder: Path) -> None:
    """Leave the figures in the report of the tests, on standard output, and in a file."""
    for name, value in figures.items():
        record_property(name, value)
    text = json.dumps(figures, indent=2)
    (folder / "figures.json").write_text(text)
    sys.stdout.write(text + "\n")


# Kills of one process


def drawn(random_: random.Random, outside: bool) -> Event:
    """A kill at random."""
    number = random_.choice((KILL, TERM, INT))
    when = random_.choice(("line", "delay") if outside else ("step", "step", "operation", "content", "line", "delay"))
    if when == "step":
        return Event(when, random_.randint(1, 9), number)
    if when == "operation":
        return Event(when, random_.randint(1, 30), number, twice=number != KILL and random_.random() < 0.5)
    if when == "content":
        return Event(when, random_.randint(1, 6), number)
    if when == "line":
        return Event(when, random_.randint(1, 3), number, random_.random() * 0.02)
    return Event(when, 0, number, random_.random() * (6 if outside else 0.6))


def from_outside(process: Started | StartedAnew, event: Event, out: Path) -> None:
    """Send the signal of an event that is not the process's own."""
    if event.when not in ("line", "delay"):
        return
    if event.when == "line":
        wait_until(lambda: process.ended() or lines_of(out) >= event.number)
    wait_until(lambda: process.ended() or process.begun())
    end = time.monotonic() + event.delay
    wait_until(lambda: process.ended() or time.monotonic() >= end)
    process.send(event.signal)


def faults_of(ended: Ended, event: Event, began_at: int, out: Path) -> list[str]:
    """What was wrong with how a killed process ended."""
    finished = (out / "model.safetensors").is_file()
    usual = {KILL: {-9}, TERM: {143}, INT: {130}}[event.signal]
    early = {KILL: {-9}, TERM: {143, -15}, INT: {130, -2}}[event.signal]
    found = []
    if event.when == "step" and began_at + event.number <= STEPS:
        if ended.code not in usual:
            found.append(f"exit code {ended.code}")
        if event.signal != KILL and not finished and step_of(out) != began_at + event.number:
            found.append(f"checkpoint of step {step_of(out)}, not {began_at + event.number}")
    elif ended.code not in early | {0}:
        found.append(f"exit code {ended.code}")
    if "Traceback" in ended.err:
        found.append(ended.err)
    if ended.code == 0 and not finished:
        found.append("said to be done, and is not")
    return found


def test_killed_runs_end_as_the_run_that_nobody_touched(
    warm: Warm, whole: Whole, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kills, codes = Counter[str](), Counter[str]()
    faults: list[str] = []
    identical, started, anew = 0, 0, 0
    for run in range(RUNS):
        random_ = random.Random(f"killed run {run}")
        variant = list(VARIANTS)[run % len(VARIANTS)]
        outside = run % 10 == 9
        anew += outside
        out = tmp_path / f"run-{run}"
        arguments = [*SHORT, *VARIANTS[variant], "--resume", f"--out={out}"]
        for _ in range(random_.randint(1, 2) if outside else random_.randint(1, 5)):
            if (out / "model.safetensors").is_file():
                break
            event, began_at = drawn(random_, outside), step_of(out)
            process = StartedAnew(arguments, tmp_path) if outside else warm.start(arguments, out, event)
            from_outside(process, event, out)
            ended = process.wait()
            started += 1
            killed = ended.code != 0
            kills[f"{signal.Signals(event.signal).name} at {event.when}{' twice' * event.twice}"] += killed
            codes[str(ended.code)] += 1
            faults += [f"run {run} ({variant}), {event}: {fault}" for fault in faults_of(ended, event, began_at, out)]
        ended = warm.run(arguments, out)
        started += 1
        if ended.code != 0:
            faults.append(f"run {run} ({variant}) cannot be resumed: {ended.err}")
        different = differing(out, whole[variant])
        identical += not different
        if different:
            faults.append(f"run {run} ({variant}): {different} differ")
        else:
            shutil.rmtree(out)
    figures = {
        "runs": RUNS, "of them with Python started anew": anew, "processes": started, "killed": kills.total(),
        "kills": dict(sorted((+kills).items())), "exit codes": dict(sorted(codes.items())),
        "ended bit-identical": identical,
    }  # fmt: skip
    tell(figures, record_property, tmp_path)
    assert not faults, "\n".join(faults)
    assert identical == RUNS
    assert kills.total() >= RUNS


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_checkpoint_is_written_at_the_very_step_and_the_exit_code_is_the_usual_one(
    warm: Warm, whole: Whole, tmp_path: Path, number: int
) -> None:
    arguments = [*SHORT, "--resume", f"--out={tmp_path / 'a'}"]
    for steps, behind in ((1, 1), (5, 6), (9, 15), (8, 23)):
        ended = warm.run(arguments, tmp_path / "a", Event("step", steps, number))
        assert ended.code == {TERM: 143, INT: 130}[number]
        assert "Traceback" not in ended.err
        assert step_of(tmp_path / "a") == behind
    done(warm, arguments, tmp_path / "a")
    assert differing(tmp_path / "a", whole["discriminative"]) == []


# Kills at every single thing that is done to a file


def noted(warm: Warm, arguments: Sequence[str], folder: Path, log: Path) -> list[str]:
    """What a process does to files in ``folder`` until it is done."""
    assert warm.run(arguments, folder, Event(log=str(log))).code == 0
    return log.read_text().splitlines()


def spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the numbers from 1 to ``count``, evenly."""
    return sorted({1 + round(place * (count - 1) / max(1, wanted - 1)) for place in range(min(wanted, count))})


@pytest.mark.parametrize("when", ["operation", "content"])
def test_killed_at_any_operation_on_any_file(
    warm: Warm, whole: Whole, tmp_path: Path, when: str, record_property: Callable[[str, object], None]
) -> None:
    """Every one of them, where there are many kills; else some."""
    started = [*SHORT, f"--out={tmp_path / 'noted'}"]
    steps = [line for line in noted(warm, started, tmp_path / "noted", tmp_path / "log") if line.startswith(when)]
    assert any(".last.ckpt." in step for step in steps)
    assert any("metrics.jsonl" in step for step in steps)
    faults = []
    tried = spread(len(steps), 2 * RUNS if RUNS >= 20 else 5)
    for number in tried:
        out = tmp_path / f"{number}"
        arguments = [*SHORT, "--resume", f"--out={out}"]
        ended = warm.run(arguments, out, Event(when, number, KILL))
        if ended.code != -9:
            faults.append(f"not killed at {number}, {steps[number - 1]}: {ended}")
        ended = warm.run(arguments, out)
        if ended.code != 0 or "damaged" in ended.err:
            faults.append(f"killed at {number}, {steps[number - 1]}: {ended}")
        if different := differing(out, whole["discriminative"]):
            faults.append(f"killed at {number}, {steps[number - 1]}: {different} differ")
    tell({f"kills, one at an {when}": len(tried), "of": len(steps)}, record_property, tmp_path)
    assert not faults, "\n".join(faults)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)


def test_killed_at_any_operation_after_a_damaged_checkpoint(
    warm: Warm, whole: Whole, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The one whole checkpoint that is left is the week of training: it stays until another is in its place."""
    begun = tmp_path / "begun"
    assert warm.run([*SHORT, f"--out={begun}"], begun, Event("step", 14, KILL)).code == -9
    flip(begun / "last.ckpt")
    assert step_of(begun) == STEPS_AN_EPOCH
    shutil.copytree(begun, tmp_path / "noted")
    arguments = [*SHORT, "--resume", f"--out={tmp_path / 'noted'}"]
    notes = noted(warm, arguments, tmp_path / "noted", tmp_path / "log")
    operations = [note for note in notes if note.startswith("operation")]
    checkpoint = next(n for n, note in enumerate(operations, 1) if ".previous.ckpt." in note)
    faults = []
    around = range(checkpoint + 1, checkpoint + 5)
    tried = range(1, len(operations) + 1) if RUNS >= 20 else around
    for number in tried:
        out = tmp_path / f"{number}"
        shutil.copytree(begun, out)
        arguments = [*SHORT, "--resume", f"--out={out}"]
        warm.run(arguments, out, Event("operation", number, KILL))
        ended = warm.run(arguments, out)
        what = f"killed at {number}, {operations[number - 1].replace(str(tmp_path), '')}"
        if ended.code != 0:
            faults.append(f"{what}: {ended.err.strip()}")
        elif different := differing(out, whole["discriminative"]):
            faults.append(f"{what}: {different} differ")
    tell({"kills after a damaged checkpoint": len(tried)}, record_property, tmp_path)
    assert not faults, "\n".join(faults)


# Two processes


def pair(
    warm: Warm, arguments: Sequence[str], out: Path, events: Sequence[Event | None] = (None, None)
) -> list[Started]:
    """Start two processes that share every batch, as torchrun would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        warm.start(
            [*arguments, "--set=train.batch_size=128", f"--out={out}"],
            out,
            event,
            environment={
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
            },
        )
        for rank, event in enumerate(events)
    ]  # fmt: skip


def both_done(warm: Warm, arguments: Sequence[str], out: Path) -> Path:
    for process in pair(warm, arguments, out):
        ended = process.wait()
        assert ended.code == 0, ended.err
    return out


@pytest.fixture(scope="module")
def whole_of_two(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return both_done(warm, SHORT, tmp_path_factory.mktemp("two") / "run")


def killed_pair(warm: Warm, out: Path, events: Sequence[Event | None]) -> list[Ended]:
    """Two processes of which one or both are killed; one that is left alone has to end by itself."""
    return [process.wait() for process in pair(warm, [*SHORT, "--resume"], out, events)]


def test_two_processes_that_are_killed_end_as_two_that_nobody_touched(
    warm: Warm, whole_of_two: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kills = Counter[str]()
    faults: list[str] = []
    runs = max(2, RUNS // 5)
    identical = 0
    for run in range(runs):
        random_ = random.Random(f"killed pair {run}")
        out = tmp_path / f"{run}"
        for number in random_.sample((KILL, TERM, INT), 2):
            event = Event("step", random_.randint(1, 18), number)
            events = random_.choice(([event, None], [None, event], [event, event]))
            ended = killed_pair(warm, out, events)
            kills[f"{signal.Signals(number).name} of {2 - events.count(None)}"] += 1
            for rank, one in enumerate(ended):
                if events[rank] is not None:
                    expected = {KILL: {-9}, TERM: {143}, INT: {130}}[number]
                else:
                    expected = {143} if number != KILL else set(range(1, 256)) | {-6}
                if one.code not in expected:
                    faults.append(f"pair {run}, {events}: rank {rank} ended with {one.code}: {one.err}")
        try:
            both_done(warm, [*SHORT, "--resume"], out)
        except AssertionError as error:
            faults.append(f"pair {run} cannot be resumed: {error}")
        # Of the metrics see the next test.
        different = [name for name in differing(out, whole_of_two) if name != "metrics.jsonl"]
        identical += not different
        if different:
            faults.append(f"pair {run}: {different} differ")
    figures = {"pairs": runs, "kills of pairs": dict(kills), "pairs ended with the same weights": identical}
    tell(figures, record_property, tmp_path)
    assert not faults, "\n".join(faults)


def test_two_processes_that_are_stopped_within_an_epoch_tell_the_same_metrics(
    warm: Warm, whole_of_two: Path, tmp_path: Path
) -> None:
    ended = killed_pair(warm, tmp_path / "a", [Event("step", 17, TERM), Event("step", 17, TERM)])
    assert [one.code for one in ended] == [143, 143]
    both_done(warm, [*SHORT, "--resume"], tmp_path / "a")
    assert contents(tmp_path / "a")["metrics.jsonl"] == contents(whole_of_two)["metrics.jsonl"]
