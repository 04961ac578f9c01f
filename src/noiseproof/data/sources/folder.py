"""Pictures in folders: ``folder:PATH`` with one sub-folder per class, at the top or inside train, val and test."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from PIL import Image

from noiseproof.data.dataset import LabelledDataset
from noiseproof.data.files import ImageFiles
from noiseproof.data.images import FORMATS, SUFFIXES
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, existing_folder
from noiseproof.errors import DataError

__all__ = ["folder"]

_TRAIN, _VALIDATION, _TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")
_IN_MEMORY = 2 * 2**30


@SOURCES.register("folder")
def folder(argument: str, options: SourceOptions) -> SourceData:
    """Return the pictures below a folder, sorted by class and name.

    They are decoded into memory where that takes no more than 2 GiB, else when they are needed.

    Raises:
        DataError: no such folder, no classes or pictures in it, or a picture that cannot be read.
    """
    top = existing_folder("folder", argument)
    parts = {
        part: next((top / name for name in names if (top / name).is_dir()), None)
        for part, names in {"train": _TRAIN, "validation": _VALIDATION, "test": _TEST}.items()
    }
    if parts["train"] is None and (parts["validation"] or parts["test"]):
        raise DataError(f"{top} has a folder for validation or testing, but none named train")
    root = parts["train"] or top
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{root} needs a sub-folder for each of at least two classes, found: {classes}")
    train = _read(root, classes, options)
    size = train.input_shape[1:]
    fixed = options._replace(image_size=(size[0], size[1]))
    validation, test = (
        None if place is None else _read(place, classes, fixed) for place in (parts["validation"], parts["test"])
    )
    return SourceData(train, test=test, validation=validation)


def _read(root: Path, classes: list[str], options: SourceOptions) -> LabelledDataset:
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"the name of the folder {name!r} in {root} is not UTF-8: rename it") from None
    unknown = {path.name for path in root.iterdir() if path.is_dir() and not _hidden(path, root)} - set(classes)
    if unknown:
        raise DataError(f"{root} has the classes {', '.join(sorted(unknown))}, which the training part has not")
    pairs = [
        (path, label)
        for label, name in enumerate(classes)
        if (root / name).is_dir()
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _hidden(path, root)
    ]
    if not pairs:
        raise DataError(f"{root} holds no pictures ({', '.join(SUFFIXES)})")
    paths, labels = zip(*pairs, strict=True)
    files = ImageFiles(paths, torch.tensor(labels), classes, options.image_size or (1, 1))
    if options.skip_broken:
        files, faults = files.readable()
        if faults:
            warnings.warn(f"left out {len(faults)} pictures that cannot be read, such as: {faults[0]}", stacklevel=2)
    if options.image_size is None:
        files = ImageFiles(files.paths, files.labels, classes, _size_of(files.paths[0]))
    height, width = files.size
    return files.loaded() if len(files) * 3 * height * width <= _IN_MEMORY else files


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _size_of(path: Path) -> tuple[int, int]:
    """The size of the first picture, to which the others are brought where the recipe names none."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return picture.height, picture.width
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the picture {path}: {error}") from error
