"""The model that a run begins with: fresh, or with the trained weights that its recipe names."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noiseproof import seeding
from noiseproof.data import Splits
from noiseproof.data.dataset import to_unit_interval
from noiseproof.errors import InvalidArgumentError, NoiseproofError, RunFolderError
from noiseproof.evaluation.scales import outsized_noise
from noiseproof.methods import METHODS, Method
from noiseproof.models import FeatureClassifier
from noiseproof.models.files import ModelDescription
from noiseproof.models.modes import evaluating
from noiseproof.models.trained import TrainedWeights, file_digest
from noiseproof.training.engine import is_main_process
from noiseproof.training.folder import inner_runs
from noiseproof.training.recipe import Recipe
from noiseproof.training.recipes import load_recipe

__all__ = ["Beginning", "begin", "check_source", "require_apart", "source_of"]

# By the number of dimensions of an input: what it is called, and which model of which recipe takes it.
_MADE_FOR = {
    1: ("vectors", "mlp", "vectors"),
    2: ("series", "series-cnn", "series"),
    3: ("images", "small-cnn", "digits"),
}


@dataclass(frozen=True)
class Beginning:
    """What a run begins with.

    Attributes:
        description: of the model.
        method: holding the model.
        source: where the weights came from, for the run's provenance; empty where they are random.
    """

    description: ModelDescription
    method: Method
    source: dict[str, Any]


def begin(
    recipe: Recipe, splits: Splits, begun: Mapping[str, Any] | None = None, *, pretrained: bool = True
) -> Beginning:
    """Build the model and the method of a run.

    With ``model.init_from`` the weights and the normalisation in front of them are those of the file that it names,
    and the last layer too, where it has as many classes as the data.

    Args:
        recipe: of the run.
        splits: its data.
        begun: the ``source`` of the same run, whose checkpoint gives the weights. The file is then not needed.
        pretrained: False for random weights also where an option of the network asks for a library's, so that none
            are fetched.

    Raises:
        InvalidArgumentError: a model that cannot be built, does not fit the data, or has other weights than the file.
        NoiseproofError: no such file or run, or a damaged one.
    """
    trained = None if recipe.model.init_from is None or begun else TrainedWeights.read(_file(recipe.model.init_from))
    description = _describe(recipe, splits, trained, begun)
    if trained is not None:
        trained.require_same_network(description)
        _require_same_inputs(trained, description)
    with seeding.seeded(recipe.seed, "initial weights"):
        model = description.build(pretrained=pretrained and recipe.model.init_from is None)
        method = METHODS[recipe.method](model, recipe.options(recipe.method))
    source = dict(begun or {})
    if trained is not None:
        kept = trained.load_into(model, description)
        _tell_of_the_head(trained, kept, description)
        source = {
            "file": str(trained.path),
            "sha256": trained.sha256,
            "mean": list(description.mean),
            "std": list(description.std),
            "head": "kept" if kept else "new",
            **_caveat(trained.path, recipe, splits),
        }
    _check_fit(model, splits, recipe)
    return Beginning(description, method, source)


def source_of(folder: Path) -> dict[str, Any] | None:
    """Return the ``source`` that the run in ``folder`` began with; None where its recipe tells of none."""
    known = load_recipe(folder / "recipe.yaml").provenance.get("init_from")
    return known if isinstance(known, dict) and known.keys() >= {"sha256", "mean", "std"} else None


def check_source(folder: Path, recipe: Recipe) -> None:
    """Raise a :class:`RunFolderError` where the weights that the run in ``folder`` began with have changed since.

    A file that is no longer there is no change: the run goes on without it.
    """
    known = source_of(folder)
    if recipe.model.init_from is None or known is None:
        return
    path = Path(recipe.model.init_from).expanduser()
    path = path / "model.safetensors" if path.is_dir() else path
    if path.is_file() and file_digest(path) != known["sha256"]:
        raise RunFolderError(
            f"the weights in {path} have changed since the run in {folder} began with them; pass --overwrite to begin "
            "again, or choose another folder with --out"
        )


def require_apart(folder: Path, recipe: Recipe) -> None:
    """Raise a :class:`RunFolderError` where the weights to begin with lie in the folder that is to be written."""
    if recipe.model.init_from is None:
        return
    place = Path(recipe.model.init_from).expanduser().resolve()
    if folder.resolve() in (place, *place.parents):
        raise RunFolderError(
            f"the weights to begin with, {recipe.model.init_from}, lie in the output folder {folder}, whose run would "
            "replace them; choose another with --out"
        )


def _file(place: str) -> Path:
    """The file of weights that ``model.init_from`` names: itself, or that of the run in a folder."""
    path = Path(place).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise RunFolderError(f"there is nothing to begin with at {path}: name a run folder or a file of weights")
    if (path / "model.safetensors").is_file():
        return path / "model.safetensors"
    if (path / "recipe.yaml").is_file():
        raise RunFolderError(f"the run in {path} did not finish: there is no model.safetensors in it to begin with")
    if inner := inner_runs(path):
        raise RunFolderError(f"{path} holds several runs; name one to begin with, such as {inner[0]}")
    raise RunFolderError(f"{path} holds no run to begin with: there is no model.safetensors in it")


def _describe(
    recipe: Recipe, splits: Splits, trained: TrainedWeights | None, begun: Mapping[str, Any] | None
) -> ModelDescription:
    mean, std = _normalisation(recipe, splits, trained, begun)
    return ModelDescription(
        name=recipe.model.name,
        embedding_dim=recipe.model.embedding_dim,
        class_names=splits.train.class_names,
        input_shape=splits.train.input_shape,
        mean=tuple(mean),
        std=tuple(std),
        options=recipe.model.options,
        feature_names=splits.train.feature_names,
        scaling=splits.scaling,
    )


def _normalisation(
    recipe: Recipe, splits: Splits, trained: TrainedWeights | None, begun: Mapping[str, Any] | None
) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and std of the first layer: what the weights were trained with, else the recipe's, else the data's."""
    if begun:
        return begun["mean"], begun["std"]
    model = recipe.model
    asked = None if model.mean is None or model.std is None else (model.mean, model.std)
    known = None if trained is None else trained.normalisation
    if trained is not None and known is not None:
        if asked not in (None, known):
            raise InvalidArgumentError(
                f"the weights in {trained.path} were trained behind mean {known[0]} and std {known[1]}, but "
                f"model.mean is {model.mean} and model.std {model.std}: leave them out"
            )
        return known
    if asked is not None:
        return asked
    if trained is not None:
        _warn(
            f"{trained.path} does not say how its inputs were normalised, so the training set's mean and std are used;"
            " give model.mean and model.std if the weights were trained with others"
        )
    return _statistics(recipe, splits)


def _statistics(recipe: Recipe, splits: Splits) -> tuple[list[float], list[float]]:
    """Mean and std of the training set, per channel.

    A channel that hardly varies, a dead sensor say, is not stretched to the size of the others, since the noise on it
    would be stretched too: no std is taken for less than a tenth of the channels' root mean square.
    """
    mean, std = splits.train.channel_statistics()
    varying = [value for value in std if value != 1] or std  # that of a constant channel is given as 1
    _tell_of_scales(recipe, len(splits.train.input_shape), varying)
    floor = 0.1 * _root_mean_square(varying)
    return mean, [max(value, floor) for value in std]


def _tell_of_scales(recipe: Recipe, dimensions: int, varying: Sequence[float]) -> None:
    """Warn where the channels of vectors or series differ in scale, or the recipe's noise does not fit them."""
    if dimensions == 3:
        return
    quiet = sum(value < 0.1 * _root_mean_square(varying) for value in varying)
    what, enough = ("features", 1) if dimensions == 1 else ("channels", len(varying) / 3)  # one quiet channel may be
    if quiet >= enough:
        _warn(
            f"the {what} differ in scale, with stds from {min(varying):.3g} to {max(varying):.3g}: noise is as "
            "strong on each of them, and those that vary little are hardly seen; data.standardise=true brings them to "
            "one"
        )
    told = outsized_noise([recipe.noise.train, *recipe.evaluate.perturbations], varying)
    if told is not None:
        _warn(told)


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value**2 for value in values) / len(values))


def _require_same_inputs(trained: TrainedWeights, here: ModelDescription) -> None:
    """Raise where the weights were trained on other columns, or on standardised inputs and the run's are none."""
    known = trained.description
    if known is None:
        return
    if None not in (known.feature_names, here.feature_names) and known.feature_names != here.feature_names:
        those, these = (_listed(each.feature_names or ()) for each in (known, here))
        raise InvalidArgumentError(
            f"the weights in {trained.path} were trained on the columns {those}, those of the data are {these}: bring "
            "them into the same order"
        )
    there = known.scaling is not None
    if there != (here.scaling is not None):
        what = "standardised inputs" if there else "inputs in their own units"
        raise InvalidArgumentError(
            f"the weights in {trained.path} were trained on {what}: set data.standardise={str(there).lower()}"
        )


def _tell_of_the_head(trained: TrainedWeights, kept: bool, description: ModelDescription) -> None:
    """Warn where the last layer is new, or was trained for classes of other names."""
    here = description.class_names
    if not kept:
        _warn(
            f"the last layer is new: the model in {trained.path} has another number of classes than the data, which "
            f"has {len(here)}"
        )
        return
    there = here if trained.description is None else trained.description.class_names
    if there != here and not any(all(name.isdecimal() for name in names) for names in (there, here)):
        _warn(
            f"the classes of {trained.path} are {_listed(there)}, those of the data {_listed(here)}; the last "
            "layer is kept, in this order"
        )


def _caveat(path: Path, recipe: Recipe, splits: Splits) -> dict[str, str]:
    """What every table has to say of the run that the weights came from, as an entry of the provenance or none."""
    if path.name != "model.safetensors" or not (path.parent / "recipe.yaml").is_file():
        return {}
    try:
        there = load_recipe(path.parent / "recipe.yaml")
    except NoiseproofError:  # of a method, say, that is not known here
        return {}
    told = [f"Of the weights that it began with: {there.caveat}"] if there.caveat else []
    tested = there.provenance.get("test_fingerprint", splits.test.fingerprint())
    resized = there.data.image_size != recipe.data.image_size and _split(there) == _split(recipe)
    if there.data.source == recipe.data.source and tested != splits.test.fingerprint() and not resized:
        told.append("The weights that it began with may have been trained on some of the run's test samples.")
    return {"caveat": " ".join(told)} if told else {}


def _split(recipe: Recipe) -> tuple[float, int]:
    return recipe.data.test_fraction, recipe.data.split_seed


def _check_fit(model: FeatureClassifier, splits: Splits, recipe: Recipe) -> None:
    """Raise where the model cannot take the data's inputs, before anything is written."""
    try:
        with evaluating(model):
            model(to_unit_interval(splits.train[0][0]).unsqueeze(0))
    except (RuntimeError, ValueError) as error:
        shape = splits.train.input_shape
        kind, made_for, example = _MADE_FOR.get(len(shape), ("", recipe.model.name, ""))
        hint = (
            f"; for {kind} there is {made_for!r}, in the recipe {example!r}" if made_for != recipe.model.name else ""
        )
        raise InvalidArgumentError(
            f"the model {recipe.model.name!r} cannot take inputs of shape {shape}: {str(error).splitlines()[0]}{hint}"
        ) from error


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" … ({len(names)})" if len(names) > 5 else "")


def _warn(text: str) -> None:
    """Warn once, though several processes begin."""
    if is_main_process():
        warnings.warn(text, stacklevel=2)
