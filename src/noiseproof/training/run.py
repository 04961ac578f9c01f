"""A run: one method trained once, and the folder it leaves.

``recipe.yaml``        all that is needed to run it again, with versions and the data's fingerprint
``metrics.jsonl``      one line per epoch
``model.safetensors``  the weights, with a description of the model; written last, so that it marks a finished run
``evaluation/``        robustness reports
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from noiseproof import seeding
from noiseproof.data import Splits, load_splits
from noiseproof.errors import RunFolderError
from noiseproof.evaluation import RobustnessReport
from noiseproof.files import write_text
from noiseproof.methods import METHODS
from noiseproof.models import FeatureClassifier
from noiseproof.models.files import ModelDescription, load_model, save_model
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.training.batches import TrainingBatches, steps_for
from noiseproof.training.recipe import Recipe
from noiseproof.training.recipes import dump_recipe, load_recipe
from noiseproof.training.trainer import EpochMetrics, fit

__all__ = ["Run", "load_data", "train", "with_provenance"]

_VERSIONED = ("noiseproof", "torch", "torchvision", "accelerate", "numpy", "scikit-learn")


class Run:
    """A finished run, read from its folder.

    Args:
        folder: as written by :func:`train`.

    Raises:
        RunFolderError: ``folder`` holds no finished run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "recipe.yaml").is_file():
            raise RunFolderError(f"{self.folder} holds no run: there is no recipe.yaml in it")
        if not (self.folder / "model.safetensors").is_file():
            raise RunFolderError(f"the run in {self.folder} did not finish: there is no model.safetensors in it")

    @property
    def recipe(self) -> Recipe:
        """What was run."""
        recipe = load_recipe(self.folder / "recipe.yaml")
        return recipe.for_run(recipe.method, recipe.seed)

    @property
    def name(self) -> str:
        """The method's title and the seed, for people."""
        recipe = self.recipe
        return f"{METHODS[recipe.method].title}, seed {recipe.seed}"

    def model(self, device: torch.device | str = "cpu") -> FeatureClassifier:
        """Load the trained model, in evaluation mode."""
        return load_model(self.folder / "model.safetensors", device)

    def data(self) -> Splits:
        """Load the data that the run was trained and is tested on.

        Raises:
            RunFolderError: the data is not what it was when the run was made.
        """
        recipe = self.recipe
        splits = load_data(recipe)
        known = recipe.provenance.get("data_fingerprint")
        if known is not None and splits.fingerprint() != known:
            raise RunFolderError(f"the data of {recipe.data.source!r} has changed since the run in {self.folder}")
        return splits

    def metrics(self) -> list[EpochMetrics]:
        """Return the metrics of every epoch."""
        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def save_report(self, report: RobustnessReport) -> None:
        """Keep ``report`` in the run's folder, in place of an earlier one."""
        report.save(self.folder / "evaluation")

    def report(self) -> RobustnessReport | None:
        """Return the report that was saved, or None."""
        folder = self.folder / "evaluation"
        return RobustnessReport.load(folder) if (folder / "report.json").is_file() else None

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"


def train(
    recipe: str | Path | Recipe,
    method: str | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    data: Splits | None = None,
    progress: ProgressReporter | None = None,
) -> Run:
    """Train one method by a recipe and leave a run folder.

    Args:
        recipe: the name of a packaged recipe, the path of a YAML file, or a recipe.
        method: which method; None for the recipe's.
        seed: of initialisation, order, augmentation and noise; None for the recipe's.
        overrides: changes of the recipe by dotted path, such as ``{"train.epochs": 50}``.
        out: the run folder; None for ``runs/RECIPE/METHOD/seed-SEED`` in the working directory.
        overwrite: whether to replace a run that is there.
        data: the recipe's data, if it is loaded already.
        progress: where to report; None for nowhere.

    Returns:
        The finished :class:`Run`.

    Raises:
        RecipeError, UnknownNameError: see :func:`noiseproof.training.load_recipe`.
        RunFolderError: ``out`` holds a run already, or other files.
        NonFiniteLossError: the training diverged.
    """
    base = load_recipe(recipe, overrides)
    settled = base.for_run(base.method if method is None else method, base.seed if seed is None else seed)
    folder = Path(out) if out is not None else Path("runs", settled.name, settled.method, f"seed-{settled.seed}")
    _claim(folder, overwrite)
    splits = data if data is not None else load_data(settled)
    description = _describe(settled, splits)
    with seeding.seeded(settled.seed, "initial weights"):
        trained = METHODS[settled.method](description.build(), settled.options(settled.method))

    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.yaml", dump_recipe(with_provenance(settled, splits)))
    steps, _ = steps_for(
        settled.train.epochs,
        TrainingBatches.count(len(splits.train), settled.train.batch_size),
        settled.train.max_steps,
    )
    title = f"train {settled.method}, seed {settled.seed}"
    with (
        (folder / "metrics.jsonl").open("w", encoding="utf-8") as log,
        (progress or Silent()).task(title, steps) as task,
    ):

        def record(metrics: EpochMetrics) -> None:
            log.write(json.dumps(metrics) + "\n")
            log.flush()

        fit(trained, splits, settled, task=task, on_epoch=record)
    save_model(folder / "model.safetensors", trained.model, description)
    return Run(folder)


def load_data(recipe: Recipe) -> Splits:
    """Load and split the data of a recipe."""
    return load_splits(
        recipe.data.source,
        test_fraction=recipe.data.test_fraction,
        validation_fraction=recipe.data.validation_fraction,
        split_seed=recipe.data.split_seed,
    )


def _claim(folder: Path, overwrite: bool) -> None:
    """Raise where ``folder`` is taken; with ``overwrite``, clear it if what it holds is a run."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if not folder.exists():
        return
    if not (folder / "recipe.yaml").is_file():
        raise RunFolderError(f"the output folder {folder} holds files that are no run; choose another with --out")
    if not overwrite:
        raise RunFolderError(
            f"the output folder {folder} already holds a run; choose another with --out, or pass --overwrite"
        )
    shutil.rmtree(folder)


def _describe(recipe: Recipe, splits: Splits) -> ModelDescription:
    mean, std = splits.train.channel_statistics()
    return ModelDescription(
        name=recipe.model.name,
        embedding_dim=recipe.model.embedding_dim,
        class_names=splits.train.class_names,
        input_shape=splits.train.input_shape,
        mean=tuple(mean),
        std=tuple(std),
        options=recipe.model.options,
    )


def with_provenance(recipe: Recipe, splits: Splits) -> Recipe:
    """Return ``recipe`` with versions, hardware and the data's fingerprint written into it."""
    provenance = {
        "versions": {name: version(name) for name in _VERSIONED},
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU",
        "threads": torch.get_num_threads(),
        "data_fingerprint": splits.fingerprint(),
        "samples": {name: len(part) for name, part in vars(splits).items() if part is not None},
    }
    return recipe.model_copy(update={"provenance": provenance})
