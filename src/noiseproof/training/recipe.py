"""A recipe: everything a training run depends on, typed and validated."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from noiseproof.data import augmentation
from noiseproof.data.sources import find_source
from noiseproof.errors import RecipeError, did_you_mean
from noiseproof.evaluation.views import view
from noiseproof.methods import METHODS, MethodOptions
from noiseproof.perturbations import perturbation

__all__ = ["DataSettings", "NoiseSettings", "OptimizerSettings", "Recipe", "ScheduleSettings", "TrainSettings"]


M = TypeVar("M", bound=BaseModel)

# Those of ``torch.compile``; "reduce-overhead" is the one with CUDA graphs.
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]

# How those keys are written that take lists; the others as a list of what was given.
_LISTS = {"evaluate.perturbations": "[clean,gaussian:0.3]", "data.image_size": "[HEIGHT,WIDTH]"}

_LATER_KEYS: dict[tuple[str, str], Any] = {
    ("data", "standardise"): False,
    ("data", "group"): None,
    ("train", "class_weight"): None,
    ("train", "compile"): None,
    ("train", "deterministic"): False,
}


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _as_text(path: Any) -> Any:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


class DataSettings(_Settings):
    """source: NAME or NAME:ARGUMENT; test_fraction and validation_fraction are held out, by class;
    train_fraction of what is left is trained on; group: the column of a table, or the array of an archive, that says
    which samples belong together, so that they are held out together; standardise: whether columns of vectors and
    channels of series are brought to mean 0 and std 1, so that noise is in units of each one's std;
    augment: as ``crop:padding=4+flip``; image_size: (height, width) that pictures on disk are resized to;
    skip_broken: leave out pictures that cannot be read, instead of stopping; download: fetch a published data set
    that is not there."""

    source: str
    test_fraction: float = Field(0.2, gt=0, lt=1)
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    train_fraction: float = Field(1.0, gt=0, le=1)
    split_seed: int = Field(0, ge=0)
    group: str | None = None
    standardise: bool = False
    augment: str = "none"
    image_size: tuple[int, int] | None = None
    skip_broken: bool = False
    download: bool = False


class ModelSettings(_Settings):
    """The arguments of :func:`noiseproof.build_model` that the data does not give; and what it begins with.

    init_from: a run folder or a file of weights of the same network, to begin with in place of random ones; mean, std:
    per channel, of the first layer; None for those that the weights of ``init_from`` were trained with, else the
    training set's.
    """

    name: str
    embedding_dim: int | None = Field(128, ge=1)
    options: dict[str, Any] = {}
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    init_from: Annotated[str, BeforeValidator(_as_text), Field(min_length=1)] | None = None


class NoiseSettings(_Settings):
    """train: the perturbation of the noisy view; view: whether it shares the clean view's augmentation."""

    train: str
    view: Literal["same", "own"] = "same"


class OptimizerSettings(_Settings):
    """name and its usual arguments; momentum and nesterov belong to ``sgd``."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(1e-3, gt=0, le=1e38)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(5e-4, ge=0)


class ScheduleSettings(_Settings):
    """How the learning rate changes: ``multistep`` multiplies it by ``factor`` after each epoch in ``milestones``,
    ``cosine`` lets it fall to 0; before that it rises linearly during a share ``warmup`` of all steps. ``one-cycle``
    rises along a cosine for a share ``warmup`` (0.3 if that is 0), from 1/25 of the rate, and falls to 1/250,000."""

    name: Literal["constant", "multistep", "cosine", "one-cycle"] = "constant"
    milestones: tuple[int, ...] = ()
    factor: float = Field(0.2, gt=0, le=1)
    warmup: float = Field(0.0, ge=0, lt=1)


class TrainSettings(_Settings):
    """epochs and batch size (over all processes) of the training; ``max_steps`` ends it early; ``keep`` says which
    weights are kept; ``class_weight: balanced`` has every class count the same in the softmax loss, however many
    samples it has; ``ema_decay`` averages weights over time; ``precision`` is that of the network's passes, ``auto``
    that of :func:`noiseproof.training.engine.native_precision`; ``compile`` has ``torch.compile`` make the forward and
    backward pass, in one of its modes; ``deterministic`` keeps a GPU to kernels that give the same bits every time;
    ``workers`` decode pictures that stay on disk; ``checkpoint_every`` counts epochs."""

    epochs: int = Field(200, ge=1)
    batch_size: int = Field(64, ge=2, le=2**31)
    max_steps: int | None = Field(None, ge=1)
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    clip_grad_norm: float | None = Field(None, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weight: Literal["balanced"] | None = None
    ema_decay: float | None = Field(None, gt=0, lt=1)
    keep: Literal["last", "best-validation", "best-test"] = "best-validation"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    compile: CompileMode | None = None
    deterministic: bool = False
    workers: int = Field(2, ge=0)
    checkpoint_every: int = Field(1, ge=1)
    tensorboard: bool = False


class EvaluateSettings(_Settings):
    """perturbations to measure under, and how many independent draws of each."""

    perturbations: tuple[str, ...] = Field(("clean",), min_length=1)
    draws: int = Field(10, ge=1)


class Recipe(_Settings):
    """Everything that a run depends on. A file with these keys is a recipe; see ``noiseproof recipes NAME``.

    Attributes:
        preset: whose defaults hold where the paper, its authors' published code and our own findings differ.
        methods: options by method; those that are left out keep the method's defaults.
        provenance: versions, hardware and the data's fingerprint, written by a run and ignored when read.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    preset: Literal["paper", "authors-code", "best"] = "paper"
    method: str = "discriminative"
    seed: int = Field(0, ge=0)
    data: DataSettings
    model: ModelSettings
    noise: NoiseSettings
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    methods: dict[str, dict[str, Any]] = {}
    provenance: dict[str, Any] = {}

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Recipe:
        """Validate a mapping, as read from YAML.

        Raises:
            RecipeError: a missing, unknown or wrong key, each named with its path.
            UnknownNameError: an unknown method, data source, augmentation or perturbation.
        """
        recipe = _validated(cls, raw)
        recipe._check_names()
        return recipe

    def _check_names(self) -> None:
        for method, options in {self.method: {}, **self.methods}.items():
            _validated(METHODS[method].Options, options, f"methods.{method}.")
        find_source(self.data.source)
        augmentation(self.data.augment)
        perturbation(self.noise.train)
        for spec in self.evaluate.perturbations:
            view(spec)
        if (self.model.mean is None) != (self.model.std is None):
            raise RecipeError("model.mean and model.std go together: give both or neither")
        if self.train.keep == "best-validation" and self.data.validation_fraction == 0:
            raise RecipeError(
                "train.keep = 'best-validation' needs data.validation_fraction > 0; or keep the last weights with "
                "train.keep = 'last'"
            )

    def options(self, method: str) -> MethodOptions:
        """Return the options of ``method``, defaults filled in."""
        return METHODS[method].Options.model_validate(self.methods.get(method, {}))

    @property
    def caveat(self) -> str:
        """What every table made from this recipe has to say; empty for nothing."""
        own = "The weights were chosen on the test set, so these accuracies are too good."
        source = self.provenance.get("init_from")
        told = [own] if self.train.keep == "best-test" else []
        if isinstance(source, dict) and source.get("caveat"):
            told.append(str(source["caveat"]))
        return " ".join(told)

    def for_run(self, method: str, seed: int) -> Recipe:
        """Return the recipe of one run: one method with all its options, one seed."""
        methods = {method: self.options(method).model_dump()}
        return self.from_mapping({**self.model_dump(), "method": method, "seed": seed, "methods": methods})

    def with_precision(self, precision: str) -> Recipe:
        """Return the recipe with ``train.precision`` settled, where it is ``auto``."""
        if self.train.precision != "auto":
            return self
        return self.model_copy(update={"train": self.train.model_copy(update={"precision": precision})})

    def with_all_options(self) -> Recipe:
        """Return the recipe with the options of every method spelt out."""
        return self.model_copy(update={"methods": {name: self.options(name).model_dump() for name in METHODS}})

    def settings(self) -> dict[str, Any]:
        """Return all that a result depends on, as plain values."""
        beside: Any = {
            "description": True,
            "provenance": True,
            "train": {"workers", "checkpoint_every", "tensorboard"},
        }
        return self.model_dump(mode="json", exclude=beside)

    def settings_to_digest(self) -> dict[str, Any]:
        """:meth:`settings` without the keys of later versions where these change nothing, so that digests last."""
        settings = self.settings()
        for (part, key), default in _LATER_KEYS.items():
            if settings[part][key] == default:
                del settings[part][key]
        return settings


def _validated(model: type[M], raw: Mapping[str, Any], prefix: str = "") -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise RecipeError("; ".join(_explain(model, detail, prefix) for detail in error.errors())) from None


def _explain(model: type[BaseModel], detail: Any, prefix: str) -> str:
    """Turn one of pydantic's error details into a phrase with the key's path, the value and what is allowed."""
    path = prefix + ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown key {path!r}{_nearest(model, detail['loc'], prefix)}"
    if detail["type"] == "missing":
        return f"the key {path!r} is missing"
    return f"{path} = {detail['input']!r}: {_allowed(model, detail, path)}"


def _allowed(model: type[BaseModel], detail: Any, path: str) -> str:
    """What a key takes, and how it is written."""
    kind, value = detail["type"], detail["input"]
    if kind == "model_type":
        return f"set one of its keys: {', '.join(f'{path}.{key}' for key in _keys(model, detail['loc']))}"
    if kind == "dict_type":
        return f"set one of its keys, as {path}.KEY=VALUE"
    if kind == "tuple_type":
        return f"must be a list, as {_LISTS.get(path, f'[{value}]')}"
    named = path == "noise.train" or path.startswith("evaluate.perturbations.")
    if kind == "string_type" and named and isinstance(value, int | float) and not isinstance(value, bool):
        return f"name a perturbation, as gaussian:{value if value >= 0 else 0.3:g}"
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _nearest(model: type[BaseModel], unknown: tuple[Any, ...], prefix: str) -> str:
    """Name the one key that is called so elsewhere, else one beside it that is called alike, with their paths."""
    *parents, name = map(str, unknown)
    same = [path for path in _paths(model) if path.rpartition(".")[2] == name]
    if len(same) == 1:
        return f"; did you mean {prefix + same[0]!r}?"
    beside = did_you_mean(name, _keys(model, unknown[:-1]))
    return beside.replace("did you mean '", f"did you mean '{prefix}{''.join(f'{part}.' for part in parents)}")


def _paths(model: type[BaseModel], parent: str = "") -> Iterator[str]:
    """The dotted path of every key."""
    for key, field in model.model_fields.items():
        yield parent + key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _paths(field.annotation, f"{parent}{key}.")


def _keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for part in path:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
