"""Studies that end in a moment: reports made by hand, work that is only pretended, and small data for real work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noiseproof.scheduling.execution as execution
import noiseproof.studies.study as study_module
from noiseproof.evaluation import PerturbationResult, RobustnessReport
from noiseproof.evaluation.views import view
from noiseproof.progress import ProgressReporter
from noiseproof.scheduling import Divergence, PlannedRun
from noiseproof.studies import Study
from noiseproof.studies.planning import Plan
from noiseproof.training import Run, signals
from noiseproof.training.recipes import dump_recipe
from tests.paper.problems import Clock

SAMPLES = 40
NOISY = "gaussian:0.2"
COLUMNS = ("clean", NOISY)

# Changes of the recipe ``vectors`` that make a training last a moment.
SMALL: dict[str, Any] = {
    "method": "normal", "model.embedding_dim": 4, "model.options": {"width": 8}, "train.epochs": 2,
    "train.batch_size": 32, "evaluate.perturbations": list(COLUMNS), "evaluate.draws": 2,
}  # fmt: skip

RATE = "train.optimizer.lr"


def study(**given: Any) -> Study:
    """A study of the learning rate on small vectors, but for what is given."""
    return Study.of({"recipe": "vectors", "set": SMALL, "vary": {RATE: [0.01, 0.1]}, **given})


def planned(folder: Path = Path("runs"), changes: Mapping[str, Any] | None = None, **given: Any) -> Plan:
    return Plan.of(study(**given), folder, changes or {})


# Reports


def result(column: str, correct: np.ndarray) -> PerturbationResult:
    confidence = np.full(correct.shape, 0.5, dtype=np.float32)
    return PerturbationResult(column, view(column).spec, correct, confidence, random=column != "clean")


def report_of(correct: Mapping[str, np.ndarray]) -> RobustnessReport:
    """A report with the given answers, (draws, N) of bool by perturbation."""
    samples = next(iter(correct.values())).shape[1]
    labels = np.arange(samples, dtype=np.int64) % 2
    return RobustnessReport({c: result(c, given) for c, given in correct.items()}, labels, ("a", "b"), seed=0)


def report_with(right: Mapping[str, int], samples: int = SAMPLES, draws: int = 2) -> RobustnessReport:
    """A report in which so many of the samples are right, the first ones, in every draw."""
    return report_of({
        column: np.tile(np.arange(samples) < count, (1 if column == "clean" else draws, 1))
        for column, count in right.items()
    })  # fmt: skip


def random_report(random: np.random.Generator, draws: Mapping[str, int], samples: int) -> RobustnessReport:
    """A report with answers at random, each perturbation with its own number of draws and accuracy."""
    return report_of({
        column: random.random((count, samples)) < random.uniform(0.3, 0.9) for column, count in draws.items()
    })  # fmt: skip


# Work that is only pretended

Right = Callable[[PlannedRun], int | Mapping[str, int] | str]


class Pretended:
    """Stands in for training and measuring: leaves the folders and reports that a rule asks for.

    Args:
        right: how many of the samples a run gets right, under all or each perturbation; a text is what goes wrong.
        limit: how many runs are done in a call, as if time were over then; None for all.

    Attributes:
        done: row, seed and part of what was done, in that order.
    """

    def __init__(self, right: Right, limit: int | None = None) -> None:
        self.right, self.limit = right, limit
        self.done: list[tuple[str, int, str]] = []

    def __call__(
        self,
        planned: Sequence[PlannedRun],
        *,
        deadline: float | None = None,
        jobs: int = 1,
        progress: ProgressReporter | None = None,
    ) -> list[str]:
        wrong = []
        for run in planned:
            if run.done:
                continue
            if self.limit is not None and len(self.done) >= self.limit:
                break
            right = self.right(run)
            if isinstance(right, str):
                wrong.append(right)
                continue
            self.done.append((run.row, run.recipe.seed, run.part))
            run.folder.mkdir(parents=True, exist_ok=True)
            (run.folder / "model.safetensors").touch()
            provenance = {"versions": {}, "samples": {}, "device": "none", "data_fingerprint": "0" * 64}
            recipe = run.recipe.model_copy(update={"provenance": provenance})
            (run.folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
            of_each = right if isinstance(right, Mapping) else dict.fromkeys(run.columns, right)
            draws = run.recipe.evaluate.draws
            Run(run.folder).save_report(report_with(of_each, draws=draws), run.part)
        return wrong


def pretend(monkeypatch: pytest.MonkeyPatch, right: Right | int | str, limit: int | None = None) -> Pretended:
    """Let studies only pretend to work; a number or a text holds for every run."""
    pretended = Pretended(right if callable(right) else lambda _: right, limit)
    monkeypatch.setattr(study_module, "work", pretended)
    return pretended


def diverged(run: PlannedRun) -> str:
    """The line of a run that cannot be finished."""
    return Divergence(f"{run.name}: the loss part 'softmax' became nan in epoch 1, step 2")


def set_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that budgets are held against; it stands at 0."""
    clock = Clock()
    for module in (study_module, execution, signals):
        monkeypatch.setattr(module, "time", clock)
    return clock


# Data


def blobs(path: Path, *, disagree: bool = False, seed: int = 0) -> str:
    """Write vectors of two classes that a line tells apart, and return them as a source.

    Args:
        path: of the archive.
        disagree: whether the labels of the test set are the wrong way round, so that who learns is wrong there.
        seed: of the test set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {}
    for name, count, random in (("", 120, np.random.default_rng(0)), ("_test", 60, np.random.default_rng(seed + 1))):
        labels = np.arange(count) % 2
        inputs = random.normal(size=(count, 4)) + 3.0 * (2 * labels[:, None] - 1)
        told = 1 - labels if disagree and name else labels
        parts |= {f"x{name}": inputs.astype(np.float32), f"y{name}": told}
    np.savez(path, **parts)
    return f"npz:{path}"


# What is written


def without_times(path: Path) -> str:
    """A text file without the times of looks at the test set."""
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "TIME", path.read_text(encoding="utf-8"))


def looked_at(runs: Path) -> set[tuple[str, str]]:
    """Trial and seed of every run that was measured on the test set."""
    return {(path.parent.parent.name, path.parent.name) for path in runs.rglob("evaluation")}


def tables_in(markdown: str) -> list[list[list[str]]]:
    """The tables of a page as rows of cells; raises where one is not well-formed."""
    tables: list[list[list[str]]] = []
    lines = markdown.splitlines()
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if not line.startswith("|"):
            continue
        if not before.startswith("|"):
            assert before == "", f"no empty line before {line!r}"
            tables.append([])
        assert line.endswith(" |"), line
        assert after.startswith("|") or after == "", f"no empty line after {line!r}"
        tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    for table in tables:
        assert len(table) > 2
        assert {len(row) for row in table} == {len(table[0])}, table
        assert all(re.fullmatch(r":?-+:?", cell) for cell in table[1]), table[1]
    return tables
