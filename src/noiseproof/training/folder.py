"""What belongs to a run in its folder, and whether a folder may be used for a run."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

from noiseproof.errors import RunFolderError
from noiseproof.files import is_temporary
from noiseproof.training.recipe import Recipe
from noiseproof.training.recipes import load_recipe

__all__ = ["DIVERGED", "MEASURED", "clear", "inner_runs", "remove_leftovers", "require_free", "require_same_recipe"]

# Folders of what was measured on the run's model or made from it, which mean nothing once it is trained again.
MEASURED = ("evaluation", "validation", "certification", "analysis", "export")

DIVERGED = "diverged.txt"  # how a training ended that was planned with others, so that none of them repeats it

_PARTS = (
    "recipe.yaml",
    "metrics.jsonl",
    "model.safetensors",
    "method.safetensors",
    "last.ckpt",
    "previous.ckpt",
    DIVERGED,
    *MEASURED,
    "tensorboard",
)


def require_free(folder: Path, recipe: Recipe, *, overwrite: bool, resume: bool) -> None:
    """Raise where ``folder`` is taken, and change nothing.

    Args:
        folder: where a run is to be.
        recipe: of that run.
        overwrite: whether it may replace a run that is there.
        resume: whether it may go on with a run that is there, if that has the same recipe.

    Raises:
        RunFolderError: ``folder`` is a file, holds anything that is no part of a run, or holds a run that may
            neither be replaced nor gone on with.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"the output folder {folder} is a file; choose another with --out")
    there = [path for path in folder.iterdir() if not is_temporary(path)] if folder.is_dir() else []
    if not there:
        return
    if not (folder / "recipe.yaml").is_file() or any(path.name not in _PARTS for path in there):
        raise RunFolderError(f"the output folder {folder} holds files that are no run; choose another with --out")
    if overwrite:
        return
    if not resume:
        raise RunFolderError(
            f"the output folder {folder} already holds a run; choose another with --out, or pass --resume to go on "
            "with it or --overwrite to replace it"
        )
    require_same_recipe(
        folder, recipe, "go on with it by its own recipe, as `noiseproof train "
        f"{shlex.quote(str(folder / 'recipe.yaml'))} --out {shlex.quote(str(folder))} --resume` does, choose another "
        "folder with --out, or replace it with --overwrite",
    )  # fmt: skip


def require_same_recipe(folder: Path, recipe: Recipe, advice: str) -> None:
    """Raise where the run in ``folder`` was made by another recipe, naming the differences and what to do."""
    there = load_recipe(folder / "recipe.yaml")
    settled = recipe.with_precision(there.train.precision)  # a run goes on in the precision that it began in
    known, wanted = there.for_run(there.method, there.seed).settings(), settled.settings()
    known.pop("preset"), wanted.pop("preset")  # a name; what it stands for is in the other keys
    if "data_fingerprint" in there.provenance:  # what the data is, wherever it lies now, is looked at later
        known["data"].pop("source"), wanted["data"].pop("source")
    differences = _differences(known, wanted)
    if differences:
        raise RunFolderError(f"{folder} holds a run of another recipe ({'; '.join(differences)}); {advice}")


def inner_runs(folder: Path) -> list[Path]:
    """Return the runs up to three levels below ``folder``, as a comparison leaves them."""
    return sorted(recipe.parent for depth in ("*", "*/*", "*/*/*") for recipe in folder.glob(f"{depth}/recipe.yaml"))


def clear(folder: Path) -> None:
    """Remove a run and nothing else from ``folder``, which is made if it is not there.

    The recipe goes last: as long as anything of the run is there, the folder can be told to hold one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    for name in reversed(_PARTS):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process had half written."""
    for path in folder.iterdir():
        if is_temporary(path):
            path.unlink()


def _differences(there: Any, wanted: Any, path: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = [*there, *(key for key in wanted if key not in there)]
        return [
            line
            for key in keys
            for line in _differences(there.get(key), wanted.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if there == wanted else [f"{path} is {there!r} there, {wanted!r} here"]
