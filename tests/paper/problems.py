"""Small made data in the published layouts, settings that train in a moment, and a clock that tests set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from noiseproof.evaluation import RobustnessReport
from noiseproof.paper import Setting, load_experiment, plan
from noiseproof.scheduling import PlannedRun
from tests.test_experiments import Watcher

# Of recipes at full scale, whose networks have no options that another network would not take.
SMALL: dict[str, Any] = {
    "train.epochs": 1, "train.batch_size": 32, "train.precision": "fp32", "model.name": "small-cnn",
    "model.options": {"width": 2}, "model.embedding_dim": 4, "evaluate.draws": 2,
}  # fmt: skip

# Of reduced recipes for CIFAR-10 and SVHN.
SMALL_REDUCED: dict[str, Any] = {
    "train.epochs": 1, "train.precision": "fp32", "model.options": {"width": 2}, "model.embedding_dim": 4,
    "evaluate.draws": 2,
}  # fmt: skip

# Of the reduced recipe for pictures of roads.
SMALL_ROAD: dict[str, Any] = {
    "train.epochs": 1, "train.precision": "fp32", "data.image_size": [32, 40], "data.augment": "flip",
    "evaluate.draws": 2,
}  # fmt: skip


def pictures(count: int, height: int, width: int, classes: int, seed: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Noise (N, height, width, 3) around a colour of each class, and labels; every class is there equally often."""
    random = np.random.default_rng(seed)
    colours = np.random.default_rng(99).integers(40, 216, (classes, 1, 1, 3))
    labels = [index % classes for index in range(count)]
    noise = random.integers(-40, 40, (count, height, width, 3))
    return (colours[labels] + noise).clip(0, 255).astype(np.uint8), labels


def cifar_like(path: Path, *, train: int = 100, test: int = 60, seed: int = 0) -> str:
    """Write an archive of images as CIFAR-10's, ten classes with a test set, and return it as a source."""
    (x, y), (x_test, y_test) = (pictures(n, 32, 32, 10, seed + part) for part, n in enumerate((train, test)))
    np.savez(path, x=x.transpose(0, 3, 1, 2), y=y, x_test=x_test.transpose(0, 3, 1, 2), y_test=y_test)
    return f"npz:{path}"


def svhn_like(folder: Path, *, train: int = 100, test: int = 40) -> str:
    """Write SVHN's pair of files, where a zero is called 10, and return the folder as a source."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate({"train": train, "test": test}.items()):
        images, labels = pictures(count, 32, 32, 10, seed)
        column = np.array([label or 10 for label in labels], dtype=np.uint8).reshape(-1, 1)
        savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": column})
    return f"svhn:{folder}"


def road_like(folder: Path, *, count: int = 40) -> str:
    """Write pictures of two classes, a folder each, and return it as a source."""
    images, labels = pictures(count, 32, 40, 2, 0)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / ("dry", "wet")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index:03}.png")
    return f"folder:{folder}"


def setting(runs: Path, sources: Mapping[str, str] | None = None, **more: Any) -> Setting:
    """A setting at full scale with :data:`SMALL`, and what is given on top."""
    return Setting(runs=runs, sources=sources or {}, **{"changes": SMALL, **more})


def planned_runs(name: str, how: Setting, **more: Any) -> list[PlannedRun]:
    """The runs of an experiment in their order, those of all recipes."""
    return [run for of_recipe in plan(load_experiment(name), how, **more).values() for run in of_recipe]


def report_of(run: PlannedRun) -> RobustnessReport:
    """What is measured of a run."""
    return RobustnessReport.load(run.folder / "evaluation")


def weights_of(run: PlannedRun) -> bytes:
    """The file of its weights."""
    return (run.folder / "model.safetensors").read_bytes()


def lasting(folder: Path) -> dict[str, Any]:
    """All files below a folder by name, but for how fast an epoch was."""
    return {
        str(path.relative_to(folder)): timeless(path) if path.suffix == ".jsonl" else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def timeless(metrics: Path) -> list[dict[str, Any]]:
    """The lines of a log of metrics without what depends on the machine."""
    lines = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
    return [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in lines]


def change_pixels(path: Path) -> None:
    """Change the training images of an archive, and nothing else of it."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, "x": arrays["x"] ^ 1})


def copied(source: Path, target: Path) -> Path:
    """Copy a folder, so that what a test does to it stays with the test."""
    shutil.copytree(source, target)
    return target


class Clock:
    """Stands in for the module ``time``; it stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now


class Ticking(Watcher):
    """A progress reporter that notes what is begun and calls ``then`` once, at a step.

    Args:
        kind: what the titles of the tasks begin with whose steps are counted.
        step: counted from 1; steps that were made before, which a training tells all at once, do not count.
        then: what happens.
    """

    def __init__(self, kind: str, step: int, then: Callable[[], None]) -> None:
        super().__init__()
        self._wanted, self._left, self._then = kind, step, then
        self._counting = False

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Ticking]:
        self.begun.append(title)
        outer, self._counting = self._counting, title.startswith(self._wanted)
        yield self
        self._counting = outer

    def advance(self, amount: int = 1, note: str = "") -> None:
        if self._counting and amount == 1:
            self._left -= 1
            if self._left == 0:
                self._then()
