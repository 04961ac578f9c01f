"""Data that can be loaded without a download, and room for runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from noiseproof.doctor.findings import Finding, absent, broken, fine

__all__ = ["data", "disk"]

_LEAST_FREE = 500 * 2**20
_EMBEDDED = ("digits", "digit-lines", "wine", "breast-cancer")
_SVHN = ("train_32x32.mat", "test_32x32.mat")


def data() -> Iterator[Finding]:
    """Load the sources that are part of the installation, and look for the files of the published ones."""
    from noiseproof.data.sources import SOURCES, SourceOptions

    for name in _EMBEDDED:
        try:
            train = SOURCES[name]("", SourceOptions()).train
        except Exception as error:  # scikit-learn's files, whose faults are of many kinds
            yield broken("data", name, f"cannot be loaded: {error}", "pip install --force-reinstall scikit-learn")
            continue
        shape = "×".join(map(str, train.input_shape))
        yield fine("data", name, f"{len(train):,} samples of {shape}, {train.num_classes} classes")
    for name, files in _published().items():
        yield _published_source(name, files)


def _published() -> dict[str, tuple[str, ...]]:
    """The files that each published data set consists of, below its folder."""
    from torchvision.datasets import CIFAR10, CIFAR100

    found = {}
    for name, dataset in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        files = [file for file, _ in (*dataset.train_list, *dataset.test_list)]
        found[name] = tuple(f"{dataset.base_folder}/{file}" for file in files)
    return {**found, "svhn": _SVHN, "svhn-extra": (*_SVHN, "extra_32x32.mat")}


def _published_source(name: str, files: tuple[str, ...]) -> Finding:
    from noiseproof.data.sources.base import data_folder

    folder = data_folder(name.removesuffix("-extra"), "")
    missing = [file for file in files if not (folder / file).is_file()]
    if not missing:
        return fine("data", name, f"its files are in {folder}")
    what = "is not there" if len(missing) == len(files) else f"lacks {', '.join(missing)}"
    fix = f"name its folder as --data {name}:PATH or in NOISEPROOF_DATA, or fetch it with --set data.download=true"
    return absent("data", name, f"{folder} {what}", fix)


def disk(runs: Path) -> Iterator[Finding]:
    """Look whether runs can be written below ``runs``, which is not made, and how much room there is."""
    place = next(folder for folder in (runs, *runs.absolute().parents) if folder.exists())
    if not place.is_dir():
        yield broken("disk", str(runs), f"{place} is a file", "move it, or choose another folder with --out")
        return
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"noiseproof")
            file.flush()
    except OSError as error:
        fix = "choose another folder with --out, or mend its permissions"
        yield broken("disk", str(runs), f"cannot be written: {error.strerror or error}", fix)
        return
    free = shutil.disk_usage(place).free
    told = f"can be written, {free / 2**30:.1f} GiB free"
    if free < _LEAST_FREE:
        yield broken("disk", str(runs), told, "free some room, or choose another disk with --out")
    else:
        yield fine("disk", str(runs), told)
