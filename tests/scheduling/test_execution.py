"""Planned runs are done once, go on where they were stopped, and end as if nothing had stopped them."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import noiseproof as npf
import noiseproof.scheduling.execution as work_module
from noiseproof.data import Splits, load_splits
from noiseproof.errors import NoiseproofError, RunFolderError
from noiseproof.evaluation import evaluate
from noiseproof.files import sole_user
from noiseproof.paper import Setting, reproduce
from noiseproof.scheduling import Divergence, PlannedRun
from noiseproof.scheduling.execution import check_folders, work
from noiseproof.training import Recipe, signals
from noiseproof.training.run import load_data
from tests.paper.problems import (
    SMALL,
    SMALL_ROAD,
    Clock,
    Ticking,
    change_pixels,
    cifar_like,
    copied,
    lasting,
    planned_runs,
    report_of,
    road_like,
    setting,
    svhn_like,
    weights_of,
)
from tests.test_experiments import Watcher

ROWS = ["normal", "noisy"]
BOTH = [
    "train cifar10, normal, seed 0", "measure cifar10, normal, seed 0", "train cifar10, noisy, seed 0",
    "measure cifar10, noisy, seed 0",
]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return cifar_like(tmp_path_factory.mktemp("data") / "cifar.npz")


def two_runs(folder: Path, source: str, **changes: Any) -> list[PlannedRun]:
    """Two rows of Table 1 with one seed."""
    how = setting(folder, {"cifar10": source}, changes={**SMALL, **changes})
    return planned_runs("table1", how, seeds=[0], rows=ROWS)


@pytest.fixture(scope="module")
def whole(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two runs, never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "runs"
    assert work(two_runs(folder, source)) == []
    return folder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that deadlines are held against; it stands at 0."""
    made = Clock()
    monkeypatch.setattr(work_module, "time", made)
    monkeypatch.setattr(signals, "time", made)
    return made


def when(clock: Clock, kind: str, step: int) -> Ticking:
    """A watcher with which the clock passes 100 at a step of a piece of work."""
    return Ticking(kind, step, lambda: setattr(clock, "now", 100.0))


# Doing all of it


def test_runs_are_trained_and_measured_in_the_planned_order(source: str, whole: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    runs = two_runs(tmp_path / "runs", source)
    assert work(runs, progress=watcher) == []
    assert watcher.begun == BOTH
    assert all(run.done for run in runs)
    assert lasting(tmp_path / "runs") == lasting(whole)


def test_a_run_is_the_one_that_train_makes(source: str, whole: Path, tmp_path: Path) -> None:
    for run in two_runs(whole, source):
        alone = npf.train(run.recipe, out=tmp_path / run.row)
        assert weights_of(run) == (alone.folder / "model.safetensors").read_bytes()


def test_a_report_is_that_of_one_evaluation_under_all_columns(source: str, whole: Path) -> None:
    test = load_splits(source).test
    for run in two_runs(whole, source):
        at_once = evaluate(npf.Run(run.folder).model(), test, run.columns, draws=2, seed=0)
        assert report_of(run) == at_once
        assert list(report_of(run)) == list(run.columns)


def test_done_runs_are_not_begun_again(source: str, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    watcher = Watcher()
    assert work(two_runs(whole, source), progress=watcher) == []
    assert watcher.begun == []
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_done_runs_need_no_data(whole: Path) -> None:
    assert work(two_runs(whole, "npz:/nowhere/cifar.npz")) == []


def test_a_run_that_is_missing_is_done_and_the_others_are_left(source: str, whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "runs")
    runs = two_runs(folder, source)
    shutil.rmtree(runs[0].folder)
    watcher = Watcher()
    work(runs, progress=watcher)
    assert watcher.begun == BOTH[:2]
    assert lasting(folder) == lasting(whole)


def test_the_data_is_loaded_once_for_runs_that_share_it(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def counted(recipe: Recipe) -> Splits:
        loaded.append(recipe.data.source)
        return load_data(recipe)

    monkeypatch.setattr(work_module, "load_data", counted)
    work(two_runs(tmp_path, source))
    assert loaded == [source]


# Measurements


def test_only_what_is_not_measured_is_measured(source: str, whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "runs")
    run, _ = runs = two_runs(folder, source)
    report_of(run).only(["clean", "gaussian:8/255"]).save(run.folder / "evaluation")
    measured: list[int] = []

    class Counting(Watcher):
        @contextmanager
        def task(self, title: str, total: int) -> Iterator[Watcher]:
            measured.append(total)
            with super().task(title, total) as task:
                yield task

    watcher = Counting()
    work(runs, progress=watcher)
    assert (watcher.begun, measured) == (BOTH[1:2], [len(run.columns) - 2])
    assert set(report_of(run)) == set(run.columns)
    assert report_of(run).only(run.columns) == report_of(two_runs(whole, source)[0])


@pytest.mark.parametrize("how", ["another seed", "other draws", "damaged", "gone"])
def test_a_report_that_does_not_answer_is_made_anew(source: str, whole: Path, tmp_path: Path, how: str) -> None:
    folder = copied(whole, tmp_path / "runs")
    run, _ = runs = two_runs(folder, source)
    place = run.folder / "evaluation"
    if how == "damaged":
        (place / "report.npz").write_bytes(b"cut")
    elif how == "gone":
        shutil.rmtree(place)
    else:
        draws, seed = (2, 1) if how == "another seed" else (3, 0)
        model, test = npf.Run(run.folder).model(), load_splits(source).test
        evaluate(model, test, ["clean", "gaussian:8/255"], draws=draws, seed=seed).save(place)
    watcher = Watcher()
    work(runs, progress=watcher)
    assert watcher.begun == BOTH[1:2]
    assert lasting(folder) == lasting(whole)


def test_table_4_after_table_3_trains_nothing_and_measures_its_own_columns(tmp_path: Path) -> None:
    sources = {"road": road_like(tmp_path / "photos")}
    how = Setting(scale="reduced", sources=sources, changes=SMALL_ROAD, runs=tmp_path / "runs")
    (third,), (fourth,) = (planned_runs(name, how, seeds=[0], rows=["noisy"]) for name in ("table3", "table4"))
    watcher = Watcher()
    work([third], progress=watcher)
    weights, of_third = weights_of(third), report_of(third)
    assert (third.done, fourth.trained, fourth.unmeasured) == (True, True, list(fourth.columns))
    work([fourth], progress=watcher)
    work([third, fourth], progress=watcher)
    name = "road-reduced, noisy, seed 0"
    assert watcher.begun == [f"train {name}", f"measure {name}", f"measure {name}"]
    assert weights_of(fourth) == weights
    assert report_of(fourth).only(third.columns) == of_third
    assert list(report_of(fourth)) == [*third.columns, *fourth.columns]
    assert third.done
    assert fourth.done


# Deadlines


def test_a_deadline_that_is_over_begins_nothing(tmp_path: Path) -> None:
    watcher = Watcher()
    assert work(two_runs(tmp_path, "npz:/nowhere/cifar.npz"), deadline=time.time() - 1, progress=watcher) == []
    assert watcher.begun == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [1, 4])
def test_a_deadline_stops_between_perturbations_and_the_rest_is_measured_later(
    source: str, whole: Path, tmp_path: Path, clock: Clock, step: int
) -> None:
    run, other = runs = two_runs(tmp_path / "runs", source)
    watcher = when(clock, "measure", step)
    assert work(runs, deadline=100, progress=watcher) == []
    assert watcher.begun == BOTH[:2]
    assert list(report_of(run)) == list(run.columns[:step])
    assert (run.trained, run.done, run.unmeasured) == (True, False, list(run.columns[step:]))
    assert not other.folder.exists()
    later = Watcher()
    assert work(runs, progress=later) == []
    assert later.begun == BOTH[1:]
    assert lasting(tmp_path / "runs") == lasting(whole)


def test_a_deadline_stops_a_training_at_its_next_step_and_it_goes_on_later(
    source: str, whole: Path, tmp_path: Path, clock: Clock
) -> None:
    run, other = runs = two_runs(tmp_path / "runs", source)
    watcher = when(clock, "train", 2)
    assert work(runs, deadline=100, progress=watcher) == []
    assert watcher.begun == BOTH[:1]
    assert (run.folder / "last.ckpt").is_file()
    assert not run.trained
    assert not other.folder.exists()
    assert work(runs) == []
    assert lasting(tmp_path / "runs") == lasting(whole)


def test_a_deadline_that_passes_at_the_end_of_a_run_begins_no_other(
    source: str, whole: Path, tmp_path: Path, clock: Clock
) -> None:
    run, other = runs = two_runs(tmp_path / "runs", source)
    assert work(runs, deadline=100, progress=when(clock, "measure", len(run.columns))) == []
    assert (run.done, other.folder.exists()) == (True, False)
    work(runs)
    assert lasting(tmp_path / "runs") == lasting(whole)


def test_slices_that_are_too_short_for_anything_but_a_step_come_to_the_end(
    source: str, whole: Path, tmp_path: Path, clock: Clock
) -> None:
    runs = two_runs(tmp_path / "runs", source)
    slices = 0
    while not all(run.done for run in runs):
        clock.now = 0.0
        work(runs, deadline=100, progress=when(clock, "", 1))
        slices += 1
        assert slices <= 50, "no headway"
    assert slices > 10
    assert lasting(tmp_path / "runs") == lasting(whole)


def test_ctrl_c_is_passed_on_and_the_work_goes_on_later(source: str, whole: Path, tmp_path: Path) -> None:
    runs = two_runs(tmp_path / "runs", source)
    stopping = Ticking("train cifar10, noisy", 2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        work(runs, deadline=time.time() + 3600, progress=stopping)
    assert (runs[1].folder / "last.ckpt").is_file()
    work(runs)
    assert lasting(tmp_path / "runs") == lasting(whole)


# What goes wrong


def test_a_run_that_diverges_is_told_and_the_others_are_done(source: str, tmp_path: Path) -> None:
    how = setting(tmp_path, {"cifar10": source}, changes={**SMALL, "methods.discriminative.alpha": 1e39})
    runs = planned_runs("table1", how, seeds=[0, 1], rows=["discriminative", "normal"])
    (first, second) = work(runs)
    assert first.startswith("cifar10, discriminative, seed 0: the loss part ")
    assert second.startswith("cifar10, discriminative, seed 1: the loss part ")
    assert {(run.row, run.done) for run in runs} == {("discriminative", False), ("normal", True)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_training_that_diverged_is_not_repeated(
    jobs: int, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = setting(tmp_path, {"cifar10": source}, changes={**SMALL, "methods.discriminative.alpha": 1e39})
    runs = planned_runs("table1", how, seeds=[0, 1], rows=["discriminative"])
    told = work(runs)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr(work_module, "train", None)  # whoever trains fails
        again = work(runs, jobs=jobs)
    assert (len(again), again) == (2, told)
    assert all(isinstance(line, Divergence) for line in again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files
    assert str(runs[0].folder) in told[0]
    shutil.rmtree(runs[0].folder)
    assert work(runs) == told
    assert runs[0].divergence is not None


def test_a_divergence_on_other_data_is_not_taken_for_one_on_this(tmp_path: Path) -> None:
    path = tmp_path / "cifar.npz"
    how = setting(tmp_path, {"cifar10": cifar_like(path)}, changes={**SMALL, "methods.discriminative.alpha": 1e39})
    runs = planned_runs("table1", how, seeds=[0], rows=["discriminative"])
    work(runs)
    change_pixels(path)
    (line,) = work(runs)
    assert not isinstance(line, Divergence)
    assert "data" in line


def test_what_will_be_measured_and_cannot_be_is_told_before_the_training(source: str, tmp_path: Path) -> None:
    first, second = (
        dataclasses.replace(run, later=("jpeg:30", "occlusion:n=1,size=40")) for run in two_runs(tmp_path, source)
    )
    (line,) = work([first, second])
    assert "occlusion" in line
    assert not first.folder.exists()


def test_a_folder_with_other_files_is_told_and_left_alone(source: str, whole: Path, tmp_path: Path) -> None:
    broken, fine = runs = two_runs(tmp_path / "runs", source)
    broken.folder.mkdir(parents=True)
    (broken.folder / "thesis.tex").write_text("years of work")
    (line,) = work(runs)
    assert line.startswith(f"{broken.name}: ")
    assert str(broken.folder) in line
    assert [path.name for path in broken.folder.iterdir()] == ["thesis.tex"]
    assert lasting(fine.folder) == lasting(two_runs(whole, source)[1].folder)


def test_a_run_whose_checkpoints_are_damaged_is_told_and_the_others_are_done(
    source: str, tmp_path: Path, clock: Clock
) -> None:
    broken, fine = runs = two_runs(tmp_path / "runs", source)
    work(runs, deadline=100, progress=when(clock, "train", 2))
    (broken.folder / "last.ckpt").write_bytes(b"cut")
    with pytest.warns(UserWarning, match="damaged"):
        (line,) = work(runs)
    assert re.match(f"{broken.name}: every checkpoint in .* is damaged", line)
    assert (broken.done, fine.done) == (False, True)


def test_a_recipe_that_cannot_be_read_is_an_error_that_names_it(source: str, tmp_path: Path) -> None:
    runs = two_runs(tmp_path / "runs", source)
    runs[1].folder.mkdir(parents=True)
    (runs[1].folder / "recipe.yaml").write_text("name: [")
    with pytest.raises(NoiseproofError, match=re.escape(str(runs[1].folder / "recipe.yaml"))):
        work(runs)


def test_data_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    how = setting(tmp_path / "runs", {"cifar10": f"npz:{tmp_path / 'nothing.npz'}"})
    (line,) = work(planned_runs("table1", how))
    assert line.startswith("cifar10: ")
    assert "nothing.npz" in line
    assert not (tmp_path / "runs").exists()


def test_data_of_one_recipe_that_cannot_be_read_does_not_keep_another_from_being_run(tmp_path: Path) -> None:
    sources = {"cifar10": f"npz:{tmp_path / 'nothing.npz'}", "svhn": svhn_like(tmp_path / "svhn")}
    runs = planned_runs("fig8", setting(tmp_path / "runs", sources), rows=["normal"])
    (line,) = work(runs)
    assert line.startswith("cifar10: ")
    assert [(run.recipe.name, run.done) for run in runs] == [("cifar10", False), ("svhn", True)]


def test_a_folder_of_another_recipe_is_refused_before_anything_begins(
    source: str, whole: Path, tmp_path: Path
) -> None:
    folder = copied(whole, tmp_path / "runs")
    shutil.rmtree(two_runs(folder, source)[0].folder)
    before = lasting(folder)
    runs = two_runs(folder, source, **{"train.optimizer.lr": 0.5})
    watcher = Watcher()
    told = r"noisy/seed-0 .*\(train\.optimizer\.lr is 0\.001 there, 0\.5 here\)"
    with pytest.raises(RunFolderError, match=told):
        check_folders(runs)
    with pytest.raises(RunFolderError, match=told):
        work(runs, progress=watcher)
    assert watcher.begun == []
    assert lasting(folder) == before


# Where the data is and what it is


@pytest.mark.parametrize("kind", ["train", "measure"])
def test_data_that_moved_is_gone_on_with(source: str, whole: Path, tmp_path: Path, clock: Clock, kind: str) -> None:
    path = tmp_path / "here.npz"
    shutil.copyfile(source.removeprefix("npz:"), path)
    work(two_runs(tmp_path / "runs", f"npz:{path}"), deadline=100, progress=when(clock, kind, 2))
    path = path.rename(tmp_path / "there.npz")
    runs = two_runs(tmp_path / "runs", f"npz:{path}")
    watcher = Watcher()
    assert work(runs, progress=watcher) == []
    assert watcher.begun == (BOTH if kind == "train" else BOTH[1:])
    for run, expected in zip(runs, two_runs(whole, source), strict=True):
        assert weights_of(run) == weights_of(expected)
        assert report_of(run) == report_of(expected)


@pytest.mark.parametrize("kind", ["train", "measure"])
def test_data_that_changed_is_refused(source: str, tmp_path: Path, clock: Clock, kind: str) -> None:
    path = tmp_path / "cifar.npz"
    shutil.copyfile(source.removeprefix("npz:"), path)
    run = two_runs(tmp_path / "runs", f"npz:{path}")[0]
    work([run], deadline=100, progress=when(clock, kind, 2))
    before = lasting(run.folder)
    change_pixels(path)
    (line,) = work([run])
    assert line.startswith(run.recipe.name)
    assert "has changed" in line
    assert lasting(run.folder) == before


def test_finished_runs_are_not_joined_by_runs_on_other_data(source: str, tmp_path: Path) -> None:
    """One table is of one data set: else rows or seeds are compared that were trained on different pictures."""
    path = tmp_path / "cifar.npz"
    shutil.copyfile(source.removeprefix("npz:"), path)
    finished, _ = runs = two_runs(tmp_path / "runs", f"npz:{path}")
    work([finished])
    change_pixels(path)
    with contextlib.suppress(NoiseproofError):
        assert work(runs) != [], "nothing was told of the change"
    of_each = {npf.Run(run.folder).recipe.provenance["data_fingerprint"] for run in runs if run.trained}
    assert len(of_each) == 1


def test_a_figure_is_drawn_of_finished_runs_whose_data_moved(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first, then = tmp_path / "here", tmp_path / "there"
    work(planned_runs("fig11", setting(runs, {"svhn": svhn_like(first)}), rows=["normal"]))
    first.rename(then)
    moved = setting(runs, {"svhn": f"svhn:{then}"})
    assert reproduce("fig11", moved, rows=["normal"], out=tmp_path / "results", limit=10).complete


# Several processes


def test_a_run_in_the_hands_of_another_process_is_left_to_it(source: str, whole: Path, tmp_path: Path) -> None:
    busy, free = runs = two_runs(tmp_path / "runs", source)
    busy.folder.mkdir(parents=True)
    with sole_user(busy.folder) as alone:
        assert alone
        assert work(runs) == []
        assert (busy.trained, free.done) == (False, True)
        assert busy.folder.is_dir()
    assert work(runs) == []
    assert lasting(tmp_path / "runs") == lasting(whole)


def test_a_run_that_another_process_is_measuring_is_left_to_it(source: str, whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "runs")
    run, _ = runs = two_runs(folder, source)
    shutil.rmtree(run.folder / "evaluation")
    watcher = Watcher()
    with sole_user(run.folder):
        assert work(runs, progress=watcher) == []
    assert (watcher.begun, run.done) == ([], False)


def test_two_processes_make_the_same_runs_as_one(
    source: str, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = two_runs(tmp_path / "runs", source)
    assert work(runs, jobs=2) == []
    assert lasting(tmp_path / "runs") == lasting(whole)
    told = capfd.readouterr().err
    assert sorted(re.findall(r"^(\w+ cifar10, \w+, seed 0): done", told, re.MULTILINE)) == sorted(BOTH)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-9, ", killed for memory perhaps"), (137, ", killed for memory perhaps"), (-11, ", killed by signal 11"),
        (1, r', for the reason that its traceback tells; .* below `if __name__ == "__main__":`'), (3, ""),
    ],
)  # fmt: skip
def test_a_process_that_ends_badly_is_told_with_what_its_code_says(
    code: int, reason: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Context:
        class Process:
            exitcode = code

            def __init__(self, **_: object) -> None: ...

            def start(self) -> None: ...

            def join(self) -> None: ...

        @staticmethod
        def SimpleQueue() -> Any:  # noqa: N802
            return multiprocessing.SimpleQueue()

    monkeypatch.setattr(multiprocessing, "get_context", lambda _: Context)
    (line,) = work(two_runs(tmp_path / "runs", source), jobs=2)
    assert re.fullmatch(f"a process ended with code {code}{reason}; its runs are left", line)


class Noting(Watcher):
    """Adds a line to a file for every piece of work that is begun."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Watcher]:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(title + "\n")
        with super().task(title, total) as task:
            yield task


def caller(runs: list[PlannedRun], told: Path, together: Any) -> None:
    """What one of several processes does."""
    torch.set_num_threads(1)
    together.wait(100)
    assert work(runs, progress=Noting(told)) == []


def test_two_callers_at_once_do_nothing_twice(source: str, whole: Path, tmp_path: Path) -> None:
    how = setting(tmp_path / "runs", {"cifar10": source})
    runs = planned_runs("table1", how, seeds=[0, 1, 2], rows=ROWS)
    context = multiprocessing.get_context("spawn")
    together, told = context.Barrier(2), tmp_path / "told"
    other = context.Process(target=caller, args=(runs, told, together))
    other.start()
    try:
        caller(runs, told, together)
        other.join(100)
        assert other.exitcode == 0
    finally:
        other.kill()
    lines = told.read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == sorted(f"{what} {run.name}" for run in runs for what in ("train", "measure"))
    assert all(run.done for run in runs)
    for run, expected in zip(runs[:2], two_runs(whole, source), strict=True):
        assert lasting(run.folder) == lasting(expected.folder)


SIDE_BY_SIDE = """\
import sys
from pathlib import Path

import torch

from noiseproof.scheduling.execution import work
from tests.paper.problems import SMALL, planned_runs, setting

if __name__ == "__main__":
    torch.set_num_threads(1)
    slow = {**SMALL, "train.batch_size": 20, "model.name": "resnet18-cifar", "model.options": {}}
    how = setting(Path(sys.argv[1]), {"cifar10": sys.argv[2]}, changes=slow)
    work(planned_runs("table1", how, seeds=[0], rows=["normal", "noisy"]), jobs=2)
"""


def test_ctrl_c_at_a_terminal_leaves_checkpoints_of_runs_side_by_side(tmp_path: Path) -> None:
    """A terminal sends it to all processes that it started, and the first of them passes it on. On a busy machine the
    workers get the two one after the other, which must not be taken for someone who insists."""
    (tmp_path / "script.py").write_text(SIDE_BY_SIDE)
    source = cifar_like(tmp_path / "cifar.npz", train=200)  # nine steps an epoch, of about a second
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "runs"), source],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 100
        while len(begun := list((tmp_path / "runs").rglob("metrics.jsonl"))) < 2:
            assert time.monotonic() < end, "does not train"
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=100)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert all((metrics.parent / "last.ckpt").is_file() for metrics in begun)
