"""Doing planned runs, one after another or side by side, in slices that end when the time is over.

Every process does the same: it takes the next run that is neither done nor in another process's hands. So one command
may use several processes, the same command may be started twice, and whoever is killed leaves nothing undone for good.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.process import BaseProcess
from types import FrameType

import torch
from rich.console import Console

from noiseproof.data import LabelledDataset, Splits
from noiseproof.errors import (
    BudgetSpentError,
    NoiseproofError,
    NonFiniteLossError,
    NonFiniteWeightsError,
    RunBusyError,
)
from noiseproof.evaluation import evaluate
from noiseproof.evaluation.suitability import require_suitable
from noiseproof.files import sole_user, write_text
from noiseproof.progress import ConsoleProgress, ProgressReporter, Silent, Task
from noiseproof.scheduling.planned import EVALUATION_SEED, PlannedRun, measured_so_far
from noiseproof.training import Run, train
from noiseproof.training.engine import native_device
from noiseproof.training.folder import DIVERGED, require_same_recipe
from noiseproof.training.run import check_data, load_data

__all__ = ["Divergence", "check_folders", "work"]

_INTERRUPTED, _TERMINATED = 130, 143  # exit codes
_KILLED = (-9, 137)  # those of a process that was killed, as systems do where memory is short


class Divergence(str):
    """A line on a run whose training diverged: what it was asked is answered, and asking again gives the same."""

    __slots__ = ()


def check_folders(planned: Sequence[PlannedRun], advice: str = "choose another folder for runs") -> None:
    """Raise where a folder holds a run of another recipe, before anything is begun, with ``advice``.

    Raises:
        RunFolderError: names the folder and the differences.
    """
    for run in planned:
        if (run.folder / "recipe.yaml").is_file():
            require_same_recipe(run.folder, run.recipe, advice)


def work(
    planned: Sequence[PlannedRun],
    *,
    deadline: float | None = None,
    jobs: int = 1,
    progress: ProgressReporter | None = None,
) -> list[str]:
    """Train and measure what is not done, in the given order.

    Args:
        planned: the runs.
        deadline: the time, as of :func:`time.time`, at which to stop; None for never. A training stops at its next
            step, with a checkpoint, and a measurement after its present perturbation.
        jobs: how many processes share the work; with more than one, a script must be a file that calls this below
            ``if __name__ == "__main__":``.
        progress: where to report; with several processes each writes a line for every piece that it has done.

    Returns:
        What went wrong, a line for each run that cannot be finished; a :class:`Divergence` where training diverged.

    Raises:
        RunFolderError: a folder holds a run of another recipe.
        KeyboardInterrupt, SystemExit: asked to stop, after checkpoints.
    """
    check_folders(planned)
    if jobs == 1 or sum(not run.done for run in planned) <= 1:
        return _share(planned, deadline, progress or Silent())
    return _side_by_side(planned, deadline, jobs)


def _share(planned: Sequence[PlannedRun], deadline: float | None, progress: ProgressReporter) -> list[str]:
    """Do what no other process does, until all is done or the time is over."""
    data = _DataOfTheMoment()
    wrong: dict[str, str] = {}
    for run in planned:
        if run.done or run.recipe.name in wrong:
            continue
        try:
            _stop_when_over(deadline)
            splits = data.of(run, planned)
            if run.divergence is not None:
                check_data(run.folder, splits)
                wrong[run.name] = _diverged(run, run.divergence)
                continue
            if not run.trained:
                require_suitable((*run.columns, *run.later), splits.part(run.part))
        except BudgetSpentError:
            break
        except NoiseproofError as error:
            wrong[run.recipe.name] = f"{run.recipe.name}: {error}"
            continue
        try:
            _finish(run, splits, deadline, progress)
        except RunBusyError:
            continue
        except BudgetSpentError:
            break
        except (NonFiniteLossError, NonFiniteWeightsError) as error:
            with suppress(OSError):  # it would only be told without being tried again
                write_text(run.folder / DIVERGED, f"{error}\n")
            wrong[run.name] = _diverged(run, str(error))
        except (NoiseproofError, OSError, torch.OutOfMemoryError) as error:
            wrong[run.name] = f"{run.name}: {error}"
    return list(wrong.values())


def _diverged(run: PlannedRun, how: str) -> Divergence:
    return Divergence(f"{run.name}: {how}; it is not repeated unless {run.folder} is deleted")


class _DataOfTheMoment:
    """The data of the last recipe asked for, so that runs on the same data load it once.

    It must be what the finished runs with the same settings were made with: no table mixes data.
    """

    def __init__(self) -> None:
        self._settings: object = None
        self._splits: Splits | None = None

    def of(self, run: PlannedRun, planned: Sequence[PlannedRun]) -> Splits:
        if self._splits is None or self._settings != run.recipe.data:
            splits = load_data(run.recipe)
            for other in planned:
                if other.trained and other.recipe.data == run.recipe.data:
                    Run(other.folder).check_data(splits)
            self._settings, self._splits = run.recipe.data, splits
        return self._splits


def _finish(run: PlannedRun, splits: Splits, deadline: float | None, progress: ProgressReporter) -> None:
    trained = train(
        run.recipe, out=run.folder, resume=True, deadline=deadline, data=splits, progress=_Named(progress, run)
    )
    with sole_user(run.folder) as alone:
        if not alone:
            raise RunBusyError(f"another process is measuring {run.folder}")
        _measure(run, trained, splits.part(run.part), deadline, progress)


def _measure(
    run: PlannedRun, trained: Run, data: LabelledDataset, deadline: float | None, progress: ProgressReporter
) -> None:
    """Measure what is not measured, and keep it after each perturbation."""
    remaining = run.unmeasured
    if not remaining:
        return
    report = measured_so_far(run)
    model = trained.model(native_device())
    with progress.task(f"measure {run.name}", len(remaining)) as task:
        for spec in remaining:
            _stop_when_over(deadline)
            part = evaluate(
                model, data, [spec], draws=run.recipe.evaluate.draws, seed=EVALUATION_SEED, caveat=run.recipe.caveat
            )
            report = part if report is None else report.joined(part)
            trained.save_report(report, run.part)
            task.advance()


def _stop_when_over(deadline: float | None) -> None:
    if deadline is not None and time.time() >= deadline:
        raise BudgetSpentError("the time is over")


class _Named:
    """Reports a training under the name of its planned run, which tells the row too."""

    def __init__(self, progress: ProgressReporter, run: PlannedRun) -> None:
        self._progress, self._run = progress, run

    def task(self, title: str, total: int) -> AbstractContextManager[Task]:
        _, _, more = title.partition(f"seed {self._run.recipe.seed}")
        return self._progress.task(f"train {self._run.name}{more}", total)


def _side_by_side(planned: Sequence[PlannedRun], deadline: float | None, jobs: int) -> list[str]:
    """Share the work among several processes and wait for them; a signal to stop is passed on."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    answers = context.SimpleQueue()
    workers = [
        context.Process(target=_worker, args=(list(planned), deadline, threads, answers.put)) for _ in range(jobs)
    ]
    for worker in workers:
        worker.start()

    with _passing_on_signals(workers):
        for worker in workers:
            worker.join()
    codes = [worker.exitcode or 0 for worker in workers]
    stopped: BaseException | None = None
    if _INTERRUPTED in codes:
        stopped = KeyboardInterrupt()
    elif any(code in (-signal.SIGTERM, _TERMINATED) for code in codes):
        stopped = SystemExit(_TERMINATED)
    if stopped is not None:
        stopped.add_note("stopped, with a checkpoint of every training that was under way")
        raise stopped
    wrong = {f"a process ended with code {code}{_reason(code)}; its runs are left" for code in codes if code}
    while not answers.empty():
        wrong |= set(answers.get())
    return sorted(wrong)


def _reason(code: int) -> str:
    """What the exit code of a worker says."""
    if code in _KILLED:
        return ", killed for memory perhaps"
    if code < 0:
        return f", killed by signal {-code}"
    if code == 1:  # what Python ends with after a traceback, in a worker most likely as it could not import the script
        return (
            ", for the reason that its traceback tells; a script that asks for more than one job must be a file, with "
            'the call below `if __name__ == "__main__":`'
        )
    return ""


@contextmanager
def _passing_on_signals(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """Inside the block SIGTERM and Ctrl-C go to the workers, which end by themselves."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, _: FrameType | None) -> None:
        for worker in workers:
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _worker(
    planned: Sequence[PlannedRun], deadline: float | None, threads: int, answer: Callable[[list[str]], None]
) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # or a terminal's Ctrl-C would come twice, from it and from the parent
    torch.set_num_threads(threads)
    console = Console(stderr=True, force_terminal=False)
    try:
        answer(_share(planned, deadline, ConsoleProgress(console)))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
