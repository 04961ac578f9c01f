"""A run: one method trained once, and the folder it leaves.

``recipe.yaml``        all that is needed to run it again, with versions and the data's fingerprint
``metrics.jsonl``      one line per epoch
``last.ckpt``          while it trains: all that resuming needs, with the one before as ``previous.ckpt``
``model.safetensors``  the weights, with a description of the model; written last, so that it marks a finished run
``method.safetensors`` what the method itself has learnt, such as class centroids, at the last step
``evaluation/``        robustness reports; beside it ``certification/``, ``analysis/`` and ``export/``, if asked for,
                       and ``validation/``, the report that a study chooses by
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from noiseproof.data import Splits, load_splits
from noiseproof.data.sources import SourceOptions
from noiseproof.errors import RunBusyError, RunFolderError
from noiseproof.evaluation import RobustnessReport
from noiseproof.files import sole_user, write_text
from noiseproof.methods import METHODS
from noiseproof.models import FeatureClassifier
from noiseproof.models.files import load_model, read_description, save_buffers, save_model
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.scaling import Scaling
from noiseproof.training.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint
from noiseproof.training.engine import device_name, is_main_process, native_precision, wait_for_everyone
from noiseproof.training.fitting import make_trainer
from noiseproof.training.folder import DIVERGED, MEASURED, clear, remove_leftovers, require_free
from noiseproof.training.initial import check_source, require_apart, source_of
from noiseproof.training.log import MetricsLog
from noiseproof.training.recipe import Recipe
from noiseproof.training.recipes import dump_recipe, load_recipe
from noiseproof.training.signals import stop_between_steps
from noiseproof.training.trainer import EpochMetrics

__all__ = [
    "Part", "Run", "check_data", "default_folder", "load_data", "precision_for", "train", "with_provenance",
]  # fmt: skip

Part = Literal["test", "validation"]  # what a report is about

_REPORTS: dict[Part, str] = {"test": "evaluation", "validation": "validation"}

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
            raise RunFolderError(
                f"the run in {self.folder} did not finish: there is no model.safetensors in it; the command that "
                "began it goes on with it, noiseproof train with --resume"
            )

    @property
    def recipe(self) -> Recipe:
        """What was run."""
        recipe = load_recipe(self.folder / "recipe.yaml")
        return recipe.for_run(recipe.method, recipe.seed)

    @property
    def name(self) -> str:
        """The method's title and the seed, for people."""
        recipe = self.recipe
        return f"{METHODS[recipe.method].title_in(recipe.preset)}, seed {recipe.seed}"

    @property
    def num_classes(self) -> int:
        """How many classes the model tells apart."""
        return len(read_description(self.folder / "model.safetensors").class_names)

    @property
    def scaling(self) -> Scaling | None:
        """What brought the source's inputs to the units that the model takes; None where it takes them as they are."""
        return read_description(self.folder / "model.safetensors").scaling

    def model(self, device: torch.device | str = "cpu", *, raw: bool = False) -> FeatureClassifier:
        """Load the trained model, in evaluation mode.

        It takes inputs as :meth:`data` has them: standardised, where the recipe says ``data.standardise``. With
        ``raw`` it takes them as the source has them, in their own units, as the exported model does.
        """
        model = load_model(self.folder / "model.safetensors", device)
        return model.for_raw_inputs(self.scaling) if raw else model

    def centroids(self) -> Tensor | None:
        """Return the class centroids (C, d) that the discriminative method ended with; None for other methods.

        They are those of the last step, also where the weights of an earlier epoch were kept.
        """
        path = self.folder / "method.safetensors"
        return load_file(path).get("discriminative.centroids") if path.is_file() else None

    def data(self) -> Splits:
        """Load the data that the run was trained and is tested on.

        Raises:
            RunFolderError: the data is not what it was when the run was made.
        """
        splits = load_data(self.recipe)
        self.check_data(splits)
        return splits

    def check_data(self, splits: Splits) -> None:
        """Raise a :class:`RunFolderError` where ``splits`` is not the data that the run was made with."""
        check_data(self.folder, splits)

    def metrics(self) -> list[EpochMetrics]:
        """Return the metrics of every epoch."""
        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def save_report(self, report: RobustnessReport, part: Part = "test") -> None:
        """Keep ``report`` on a part of the data in the run's folder, in place of an earlier one."""
        report.save(self.folder / _REPORTS[part])

    def report(self, part: Part = "test") -> RobustnessReport | None:
        """Return the report on a part of the data that was saved, or None."""
        folder = self.folder / _REPORTS[part]
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
    resume: bool = False,
    deadline: float | None = None,
    data: Splits | None = None,
    progress: ProgressReporter | None = None,
) -> Run:
    """Train one method by a recipe and leave a run folder.

    SIGTERM and Ctrl-C let the step under way finish and write a checkpoint first. With ``resume`` the training goes
    on from the last checkpoint, however it ended, and gives the weights that it would have given uninterrupted.

    Args:
        recipe: the name of a packaged recipe, the path of a YAML file, or a recipe.
        method: which method; None for the recipe's.
        seed: of initialisation, order, augmentation and noise; None for the recipe's.
        overrides: changes of the recipe by dotted path, such as ``{"train.epochs": 50}``.
        out: the run folder; None for ``runs/RECIPE/METHOD/seed-SEED`` in the working directory.
        overwrite: whether to replace a run that is there.
        resume: whether to go on with the run that is there; starts it where there is none.
        deadline: the time, as of :func:`time.time`, from which on it stops as after Ctrl-C; None for never.
        data: the recipe's data, if it is loaded already.
        progress: where to report; None for nowhere.

    Returns:
        The finished :class:`Run`.

    Raises:
        RecipeError, UnknownNameError: see :func:`noiseproof.training.load_recipe`.
        RunFolderError: ``out`` holds a run already, one of another recipe (with ``resume``), or other files; or the
            weights that ``model.init_from`` names are not there, or have changed since the run that goes on began.
        InvalidArgumentError: the model does not fit the data, or the weights to begin with do not fit the model.
        RunBusyError: another process is training there.
        NonFiniteLossError, NonFiniteWeightsError: the training diverged.
        BudgetSpentError: the deadline passed.
    """
    base = load_recipe(recipe, overrides)
    settled = base.for_run(base.method if method is None else method, base.seed if seed is None else seed)
    folder = Path(out) if out is not None else default_folder(settled)
    require_apart(folder, settled)
    if is_main_process():
        require_free(folder, settled, overwrite=overwrite, resume=resume)
    resume = resume and not overwrite
    chosen = settled.with_precision(precision_for(folder, resume))
    splits = data if data is not None else _load_data_first_process_first(settled)
    with _alone_in(folder):
        if is_main_process():  # again, now that nobody else can change it
            require_free(folder, settled, overwrite=overwrite, resume=resume)
        return _trained(chosen, splits, folder, resume, deadline, progress or Silent(), _title(chosen, settled))


def _title(chosen: Recipe, settled: Recipe) -> str:
    """What is trained, for people, with what was not settled before."""
    start = chosen.model.init_from
    return (
        f"train {chosen.method}, seed {chosen.seed}"
        + ("" if start is None else f", from {start}")
        + ("" if chosen is settled else f", {chosen.train.precision}")
    )


def default_folder(settled: Recipe) -> Path:
    """Return where a run goes, if nothing else is said."""
    return Path("runs", settled.name, settled.method, f"seed-{settled.seed}")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes, but those of the same training, out of a run folder."""
    if not is_main_process():
        yield
        return
    with sole_user(folder) as alone:
        if not alone:
            raise RunBusyError(f"another process is training in {folder}")
        yield


def _trained(
    settled: Recipe,
    splits: Splits,
    folder: Path,
    resume: bool,
    deadline: float | None,
    progress: ProgressReporter,
    title: str,
) -> Run:
    first = is_main_process()
    if resume and (folder / "model.safetensors").is_file():
        finished = Run(folder)
        finished.check_data(splits)
        check_source(folder, settled)
        if first:
            _tidy(folder)
        return finished
    state = load_checkpoint(folder, repair=first) if resume else None
    begun = None
    if state is not None:
        check_data(folder, splits)
        check_source(folder, settled)
        begun = source_of(folder)
    trainer, beginning = make_trainer(settled, splits, begun=begun)
    if state is not None:
        trainer.load_state_dict(state)
    wait_for_everyone()
    if first:
        if state is None:
            clear(folder)
        write_text(folder / "recipe.yaml", dump_recipe(with_provenance(settled, splits, beginning.source)))
        for measured in MEASURED:
            shutil.rmtree(folder / measured, ignore_errors=True)

    log = MetricsLog(folder, keep_epochs=trainer.finished_epochs, tensorboard=settled.train.tensorboard, write=first)
    with log, progress.task(title, trainer.total_steps) as task, stop_between_steps(deadline) as stop:
        task.advance(trainer.step)
        try:
            trainer.run(
                task=task,
                on_epoch=log.add,
                checkpoint=lambda checkpointed: save_checkpoint(folder, checkpointed) if first else None,
                stop=stop,
            )
        except (KeyboardInterrupt, SystemExit) as stopped:
            if (folder / "last.ckpt").is_file():
                stopped.add_note(f"stopped after step {trainer.step} of {trainer.total_steps}, checkpoint in {folder}")
            raise
        if first:
            save_buffers(folder / "method.safetensors", trainer.method)
            save_model(folder / "model.safetensors", trainer.method.model, beginning.description)
            _tidy(folder)
        wait_for_everyone()
        if stop.signal is not None:
            stop.stop()
    return Run(folder)


def precision_for(folder: Path, resume: bool) -> str:
    """What ``auto`` stands for: the precision that a run began in, else the device's."""
    begun = folder / "recipe.yaml"
    return load_recipe(begun).train.precision if resume and begun.is_file() else native_precision()


def _tidy(folder: Path) -> None:
    """Remove what a finished run no longer needs."""
    remove_checkpoints(folder)
    remove_leftovers(folder)
    if (folder / DIVERGED).is_file():
        (folder / DIVERGED).unlink()


def _load_data_first_process_first(recipe: Recipe) -> Splits:
    """Load the data in one process before the others, so that one alone fetches what is not there."""
    if not is_main_process():
        wait_for_everyone()
    splits = load_data(recipe)
    if is_main_process():
        wait_for_everyone()
    return splits


def load_data(recipe: Recipe) -> Splits:
    """Load and split the data of a recipe."""
    return load_splits(
        recipe.data.source,
        test_fraction=recipe.data.test_fraction,
        validation_fraction=recipe.data.validation_fraction,
        train_fraction=recipe.data.train_fraction,
        split_seed=recipe.data.split_seed,
        standardise=recipe.data.standardise,
        options=SourceOptions(
            recipe.data.image_size, recipe.data.skip_broken, recipe.data.download, recipe.data.group
        ),
    )


def check_data(folder: Path, splits: Splits) -> None:
    """Raise a :class:`RunFolderError` where ``splits`` is not what the run in ``folder`` began with."""
    recipe = load_recipe(folder / "recipe.yaml")
    known = recipe.provenance.get("data_fingerprint")
    if known is not None and splits.fingerprint() != known:
        raise RunFolderError(f"the data of {recipe.data.source!r} has changed since the run in {folder}")


def with_provenance(recipe: Recipe, splits: Splits, source: Mapping[str, Any] | None = None) -> Recipe:
    """Return ``recipe`` with versions, hardware and the data's fingerprint written into it.

    Args:
        recipe: the recipe.
        splits: the data.
        source: what is known of the weights that a run began with, if they were not random.
    """
    provenance = {
        "versions": {name: version(name) for name in _VERSIONED},
        "python": platform.python_version(),
        "device": device_name(),
        "threads": torch.get_num_threads(),
        "data_fingerprint": splits.fingerprint(),
        "test_fingerprint": splits.test.fingerprint(),
        "samples": {name: len(part) for name, part in splits.parts().items()},
        "largest_class_share": splits.train.labels.bincount().max().item() / len(splits.train),
        **({"init_from": dict(source)} if source else {}),
    }
    return recipe.model_copy(update={"provenance": provenance})
