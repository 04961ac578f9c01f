"""Whatever can be measured: a finished run, weights in a file, or a factory in somebody's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from noiseproof.data import LabelledDataset, SourceOptions, load_test_set
from noiseproof.errors import InvalidArgumentError, RunFolderError
from noiseproof.models import Normalize
from noiseproof.models.files import describes_itself, load_model
from noiseproof.models.foreign import call_factory, load_weights
from noiseproof.training import Run

__all__ = ["Target", "load_target"]


@dataclass(frozen=True)
class Target:
    """A model and the samples it is measured on.

    Attributes:
        title: what tables call it.
        model: takes inputs as they are, images in [0, 1].
        test: the samples.
        caveat: what tables have to say of how the model came about; empty for nothing.
        run: the run that it is, measured on its own test set; None for everything else.
    """

    title: str
    model: nn.Module
    test: LabelledDataset
    caveat: str = ""
    run: Run | None = None


def load_target(
    target: str,
    *,
    model: str | None = None,
    data: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: tuple[int, int] | None = None,
) -> Target:
    """Load a model and what it is measured on.

    Args:
        target: a run folder; a ``.safetensors`` file or a state dict; or ``package.module:factory``, which runs that
            code.
        model: which network the weights in a file belong to, such as ``torchvision/resnet18``.
        data: a data source; None for the test set of a run. Its own test set is taken, or all of it if it has none.
        mean: what the model expects to be subtracted per channel; None, with ``std``, where it takes [0, 1], as the
            models of runs do.
        std: what it expects to be divided by.
        image_size: (height, width) that pictures on disk are resized to.

    Raises:
        RunFolderError: a folder that holds no finished run.
        InvalidArgumentError: ``target`` is nothing of all that, or an argument is missing.
        NoiseproofError: a file that cannot be read.
    """
    path = Path(target)
    test = None if data is None else load_test_set(data, SourceOptions(image_size=image_size))
    if path.is_dir():
        if model is not None or mean is not None or std is not None:
            raise InvalidArgumentError(
                "a run says itself what its model is and expects: leave out model, mean and std"
            )
        return _run(path, test)
    if not path.is_file() and ":" not in target:
        raise RunFolderError(f"{target} is no run folder, no file, and not of the form package.module:factory")
    if test is None:
        raise InvalidArgumentError(
            f"{target} is no run folder, so it has no test set: say which data, as in --data digits"
        )
    if (mean is None) != (std is None):
        raise InvalidArgumentError("mean and std go together: give both or neither")
    network = _network(target, path, model, test)
    normalised = network if mean is None or std is None else nn.Sequential(Normalize(mean, std), network)
    return Target(path.name if path.is_file() else target, normalised, test)


def _run(folder: Path, test: LabelledDataset | None) -> Target:
    if not (folder / "recipe.yaml").is_file():
        inner = sorted(path.parent for path in folder.glob("*/*/recipe.yaml"))
        if inner:
            raise RunFolderError(f"{folder} holds several runs; name one, such as {inner[0]}")
    run = Run(folder)
    if test is None:
        return Target(run.name, run.model(), run.data().test, run.recipe.caveat, run)
    return Target(run.name, run.model(), test, run.recipe.caveat)


def _network(target: str, path: Path, name: str | None, test: LabelledDataset) -> nn.Module:
    if path.is_file():
        if name is not None:
            return load_weights(path, name, test.num_classes, test.input_shape[0])
        if path.suffix == ".safetensors" and describes_itself(path):
            return load_model(path)
        raise InvalidArgumentError(
            f"{path} does not say whose weights it holds: name the network, as in --model torchvision/resnet18"
        )
    return call_factory(target)
