"""Whole studies, trained and measured: what they look at, what they choose by, and that stopping changes nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noiseproof as npf
import noiseproof.scheduling.execution as execution
from noiseproof.data import LabelledDataset
from noiseproof.errors import RunFolderError
from noiseproof.evaluation import RobustnessReport, evaluate
from noiseproof.studies import Study, sweep
from tests.cli.problems import run_python
from tests.oracles.effects import differences_by_seed, score_by_loops
from tests.paper.problems import Ticking, timeless
from tests.studies.problems import COLUMNS, RATE, blobs, looked_at, set_clock, study, tables_in, without_times
from tests.test_experiments import Watcher

# Two trainings of eight steps, or so, for every seed.
GIVEN: dict[str, Any] = {
    "vary": {RATE: [1e-4, 0.05], "train.batch_size": [32, 24]}, "seeds": [0, 1],
    "rivals": {"noise": {"method": "noisy", RATE: 0.05}},
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return blobs(tmp_path_factory.mktemp("data") / "blobs.npz")


@pytest.fixture(scope="module")
def whole(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert sweep(study(**GIVEN), {"data.source": source}, folder).complete
    return folder


def lasting(folder: Path) -> dict[str, Any]:
    """All that a study left, but for times."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".md", ".yaml", ".csv"):
            found[str(path.relative_to(folder))] = without_times(path)
        elif path.suffix == ".jsonl":
            found[str(path.relative_to(folder))] = timeless(path)
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


# The test set


DIGITS = Study.of({
    "recipe": "digits",
    "set": {"method": "normal", "model.embedding_dim": 4, "model.options": {"width": 2}, "train.max_steps": 4,
            "evaluate.perturbations": ["clean", "gaussian:0.3"], "evaluate.draws": 2},
    "vary": {RATE: [0.001, 0.1], "train.batch_size": [32, 64]},
    "design": "grid",
    "final_seeds": [1],
    "rivals": {"noise": {"method": "noisy"}},
})  # fmt: skip


def test_nothing_but_the_chosen_the_base_and_rivals_is_ever_measured_on_the_test_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noting(model: object, data: LabelledDataset, *args: Any, **more: Any) -> RobustnessReport:
        asked.append(len(data))
        return evaluate(model, data, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(execution, "evaluate", noting)
    found = sweep(DIGITS, out=tmp_path)
    assert found.complete
    assert found.findings.chosen is not None
    chosen = found.findings.chosen.name
    assert looked_at(tmp_path / "runs") == {
        (name, f"seed-{seed}") for name in {chosen, "base", "noise"} for seed in (0, 1)
    }
    validation, test = 135, 450  # of 1797, a quarter for the test and a tenth of the rest to choose by
    assert set(asked) == {validation, test}
    assert asked == sorted(asked)  # the look comes last
    for metrics in (tmp_path / "runs").rglob("metrics.jsonl"):
        assert "test" not in metrics.read_text(encoding="utf-8")
    for report in (tmp_path / "runs").rglob("report.json"):
        samples = json.loads(report.read_text(encoding="utf-8"))["samples"]
        assert samples == (test if report.parent.name == "evaluation" else validation)
    assert len(json.loads((tmp_path / "looks.json").read_text(encoding="utf-8"))) == 1
    tables_in((tmp_path / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("rates", [[1e-9, 0.05], [0.05, 1e-9]])
def test_the_validation_split_chooses_even_where_the_test_set_says_otherwise(
    rates: list[float], tmp_path: Path
) -> None:
    """Who learns is right on the validation split, and wrong on a test set whose labels are the wrong way round."""
    source = blobs(tmp_path / "blobs.npz", disagree=True)
    found = sweep(study(vary={RATE: rates, "train.epochs": [6]}), {"data.source": source}, tmp_path / "out")
    assert found.complete
    chosen, test = found.findings.chosen, found.findings.test
    assert chosen is not None
    assert test is not None
    assert chosen.changes[RATE] == 0.05
    assert score_by_loops(found.findings.reports[chosen.name], COLUMNS) > 0.9
    assert score_by_loops(test.reports[chosen.name], COLUMNS) < 0.1
    if chosen.name != "base":
        assert test.cell("base", "clean").mean > test.cell(chosen.name, "clean").mean
    assert looked_at(tmp_path / "out" / "runs") == {(name, "seed-0") for name in {chosen.name, "base"}}


def test_no_number_before_the_look_depends_on_the_test_set(tmp_path: Path) -> None:
    written = []
    for seed in (0, 1):
        source = blobs(tmp_path / str(seed) / "blobs.npz", seed=seed, disagree=bool(seed))
        sweep(study(), {"data.source": source}, tmp_path / str(seed))
        written.append(json.loads((tmp_path / str(seed) / "study.json").read_text(encoding="utf-8")))
    for part in ("trials", "effects", "chosen"):
        assert written[0][part] == written[1][part]
    assert written[0]["test"] != written[1]["test"]


def test_what_is_written_is_what_loops_find_in_the_reports(whole: Path) -> None:
    reports = {
        trial: {seed: RobustnessReport.load(whole / "runs" / trial / f"seed-{seed}" / "validation") for seed in (0, 1)}
        for trial in ("base", "lr=0.05", "train.batch_size=24")
    }
    written = json.loads((whole / "study.json").read_text(encoding="utf-8"))
    scores = {trial: score_by_loops(found, COLUMNS) for trial, found in reports.items()}
    assert {each["trial"]: each["score"] for each in written["trials"]} == pytest.approx(scores)
    assert written["chosen"]["trial"] == max(scores, key=lambda trial: scores[trial]) == "lr=0.05"
    for effect, trial in zip(written["effects"], ("lr=0.05", "train.batch_size=24"), strict=True):
        for column in ("", *COLUMNS):
            columns = [column] if column else COLUMNS
            expected = differences_by_seed([(reports[trial], reports["base"])], columns)
            assert effect["by_column"][column]["mean"] == pytest.approx(np.mean(expected), abs=1e-12)
    csv = (whole / "trials.csv").read_text(encoding="utf-8").splitlines()
    assert csv[0] == "trial,score,clean,gaussian:0.2,seeds"
    assert [line.split(",")[0] for line in csv[1:]] == [each["trial"] for each in written["trials"]]


def test_a_trial_is_the_run_that_train_makes(whole: Path, source: str, tmp_path: Path) -> None:
    """And a rival of another method that of its method."""
    for name, method, folder in (("chosen.yaml", "normal", "lr=0.05"), (None, "noisy", "noise")):
        there = whole / "runs" / folder / "seed-1"
        recipe = there / "recipe.yaml" if name is None else whole / name
        alone = npf.train(recipe, seed=1, out=tmp_path / folder)
        assert alone.recipe.method == method
        assert (alone.folder / "model.safetensors").read_bytes() == (there / "model.safetensors").read_bytes()
        assert (there / "evaluation" / "report.json").is_file()


# Stopping and going on


def test_slices_of_time_end_as_if_nothing_had_stopped_it(
    whole: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, slices, decided = set_clock(monkeypatch), 0, False
    while True:
        clock.now = 0.0
        slices += 1
        watcher = Ticking("", 12, lambda: setattr(clock, "now", 100.0))
        found = sweep(study(**GIVEN), {"data.source": source}, tmp_path, budget=100, progress=watcher)
        decided = decided or found.findings.chosen is not None
        assert (tmp_path / "looks.json").exists() == decided
        if not decided:
            assert "Not decided yet" in (tmp_path / "README.md").read_text(encoding="utf-8")
            assert not (tmp_path / "chosen.yaml").exists()
        if found.complete:
            break
        assert slices < 30, "no headway"
    assert slices > 5
    assert lasting(tmp_path) == lasting(whole)


def test_ctrl_c_leaves_a_checkpoint_that_the_same_study_goes_on_from(whole: Path, source: str, tmp_path: Path) -> None:
    stopping = Ticking("train vectors, lr=0.05, seed 1", 5, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        sweep(study(**GIVEN), {"data.source": source}, tmp_path, progress=stopping)
    assert (tmp_path / "runs" / "lr=0.05" / "seed-1" / "last.ckpt").is_file()
    assert not (tmp_path / "looks.json").exists()
    later = Watcher()
    assert sweep(study(**GIVEN), {"data.source": source}, tmp_path, progress=later).complete
    assert later.of("train")[0] == "train vectors, lr=0.05, seed 1"
    assert lasting(tmp_path) == lasting(whole)


KILLED = """\
import os, signal
from noiseproof.studies import sweep
from tests.paper.problems import Ticking
from tests.studies.test_sweep import GIVEN, study

kill = Ticking("train vectors, lr=0.05, seed 0", 6, lambda: os.kill(os.getpid(), signal.SIGKILL))
sweep(study(**GIVEN), {{"data.source": {source!r}}}, {out!r}, progress=kill)
"""


def test_a_study_that_was_killed_goes_on(whole: Path, source: str, tmp_path: Path) -> None:
    killed = run_python(KILLED.format(source=source, out=str(tmp_path)), Path(__file__).parents[2])
    assert killed.code == -signal.SIGKILL, killed.err
    broken = tmp_path / "runs" / "lr=0.05" / "seed-0"
    assert (broken / "recipe.yaml").is_file()
    assert not (broken / "model.safetensors").is_file()
    assert sweep(study(**GIVEN), {"data.source": source}, tmp_path).complete
    assert lasting(tmp_path) == lasting(whole)


def test_runs_side_by_side_give_the_same_study(source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given, one, two = study(vary={RATE: [0.05, 1e-4, 1e-3]}), tmp_path / "one", tmp_path / "two"
    for folder, jobs in ((one, 1), (two, 2)):
        capfd.readouterr()
        assert sweep(given, {"data.source": source}, folder, jobs=jobs).complete
    trained = re.findall(r"^train vectors, (\S+), seed 0: done", capfd.readouterr().err, re.MULTILINE)
    assert sorted(trained) == ["base", "lr=0.0001", "lr=0.001"]
    assert lasting(one) == lasting(two)


UNGUARDED = """
import sys
from tests.studies.problems import study
from noiseproof import sweep
print(*sweep(study(), {"data.source": sys.argv[1]}, sys.argv[2], jobs=2, look=False).wrong)
"""


def test_a_script_without_a_guard_is_told_what_it_needs(source: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), source, str(tmp_path / "out")], capture_output=True, text=True,
        check=False, timeout=300, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert ended.stdout == (
        "a process ended with code 1, for the reason that its traceback tells; a script that asks for more than one "
        'job must be a file, with the call below `if __name__ == "__main__":`; its runs are left\n'
    ), ended.stderr


def test_a_folder_of_another_study_is_refused_before_anything_begins(whole: Path, source: str) -> None:
    before = lasting(whole)
    watcher = Watcher()
    other = study(**{**GIVEN, "vary": {**GIVEN["vary"], "train.epochs": [3]}})
    with pytest.raises(RunFolderError, match=r"train\.epochs is 2 there, 3 here"):
        sweep(other, {"data.source": source}, whole, progress=watcher)
    assert watcher.begun == []
    assert lasting(whole) == before


def test_a_study_of_a_rival_alone_is_refused_too(whole: Path, source: str) -> None:
    """Rivals come last, and a folder that does not fit them is told first."""
    watcher = Watcher()
    other = study(**{**GIVEN, "rivals": {"noise": {"method": "noisy", RATE: 0.07}}, "seeds": [0, 1, 2]})
    with pytest.raises(RunFolderError, match=r"noise/seed-0 .*lr is 0.05 there, 0.07 here"):
        sweep(other, {"data.source": source}, whole, progress=watcher)
    assert watcher.begun == []


def test_data_that_moved_is_no_other_study(source: str, whole: Path, tmp_path: Path) -> None:
    """A finished study is shown again wherever its data is now; nobody looks at anything."""
    copy, moved = tmp_path / "copy", tmp_path / "moved.npz"
    shutil.copytree(whole, copy)
    shutil.copyfile(source.removeprefix("npz:"), moved)
    watcher = Watcher()
    assert sweep(study(**GIVEN), {"data.source": f"npz:{moved}"}, copy, progress=watcher).complete
    assert watcher.begun == []
    assert len(json.loads((copy / "looks.json").read_text(encoding="utf-8"))) == 1


def test_how_much_is_trained_on_may_vary(source: str, tmp_path: Path) -> None:
    """The trials then have other training data, and are measured on the same samples all the same."""
    given = study(vary={"data.train_fraction": [1.0, 0.5]})
    found = sweep(given, {"data.source": source}, tmp_path / "out")
    assert (found.complete, found.wrong) == (True, ())
    whole, half = (npf.Run(run).recipe.provenance for run in sorted((tmp_path / "out" / "runs").glob("*/seed-0")))
    assert half["samples"]["train"] * 2 == pytest.approx(whole["samples"]["train"], abs=3)
    assert half["test_fingerprint"] == whole["test_fingerprint"]


def test_transfer_that_does_not_suit_the_data_is_told_before_anything_is_trained(source: str, tmp_path: Path) -> None:
    found = sweep(study(transfer=["jpeg:30"]), {"data.source": source}, tmp_path)
    (line,) = found.wrong
    assert "'jpeg:30' cannot be measured on this data" in line
    assert not found.complete
    assert not list(tmp_path.rglob("recipe.yaml"))
