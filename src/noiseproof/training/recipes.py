"""Finding, reading and changing recipes; the packaged ones lie in ``noiseproof/recipes``."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from noiseproof.errors import RecipeError, UnknownNameError
from noiseproof.losses.discriminative import LOSS_PRESETS
from noiseproof.training.recipe import Recipe

__all__ = ["dump_recipe", "load_recipe", "parse_override", "read_yaml", "recipe_names"]

_DEEPEST = 50  # levels of a recipe, whose deepest keys are some six levels down

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "data": {"validation_fraction": 0.1},
        "noise": {"view": "same"},
        "train": {"keep": "best-validation"},
        "methods": {"discriminative": dict(LOSS_PRESETS["paper"])},
    },
    "authors-code": {
        "data": {"validation_fraction": 0.0},
        "noise": {"view": "own"},
        "train": {"keep": "best-test"},
        "methods": {"discriminative": dict(LOSS_PRESETS["authors-code"])},
    },
    # Of the method alone, so that a recipe's data and training stay what they are.
    "best": {
        "methods": {"discriminative": {**LOSS_PRESETS["best"], "passes": "joint", "softmax_on": "both"}},
    },
}


def recipe_names() -> list[str]:
    """Return the names of the packaged recipes."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))


def load_recipe(recipe: str | Path | Recipe, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe, fill in what its preset says, and change what ``overrides`` says.

    A preset named in the recipe gives defaults, which the recipe's own keys win over, but not those of a recipe that
    it ``extends``; another preset asked for in ``overrides`` wins over the recipe; the other overrides win over all.

    Args:
        recipe: the name of a packaged recipe, or the path of a YAML file (with a ``/`` or ending in ``.yaml``).
        overrides: values by dotted path, such as ``{"train.epochs": 50}``.

    Raises:
        UnknownNameError: no such recipe.
        RecipeError: not YAML, or a missing, unknown or wrong key.
    """
    below, raw = ({}, recipe.model_dump()) if isinstance(recipe, Recipe) else _read(str(recipe))
    own_preset = raw.get("preset", below.get("preset", "paper"))
    changes: dict[str, Any] = {}
    for path, value in (overrides or {}).items():
        _put(changes, path, copy.deepcopy(value))
    if changes.get("preset", own_preset) != own_preset:
        layers = [below, raw, _preset(changes["preset"]), changes]
    elif "preset" in raw:
        layers = [below, _preset(own_preset), raw, changes]
    else:
        layers = [_preset(own_preset), below, raw, changes]
    merged = functools.reduce(_over, layers)
    source = _source(changes)
    packaged = not isinstance(recipe, Recipe) and str(recipe) in recipe_names()
    if packaged and source not in (None, _source(_over(below, raw))) and "description" not in changes:
        merged["description"] = f"The settings of the recipe {recipe}, with data from {source}."
    return Recipe.from_mapping(merged)


def _source(raw: Mapping[str, Any]) -> Any:
    """Where a recipe's data comes from, if it says so."""
    data = raw.get("data")
    return data.get("source") if isinstance(data, Mapping) else None


def _preset(name: Any) -> dict[str, Any]:
    if not isinstance(name, str) or name not in PRESETS:
        raise UnknownNameError("preset", str(name), PRESETS)
    return PRESETS[name]


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``train.epochs=50`` into path and value; the value is read as YAML.

    Raises:
        RecipeError: no ``=``, or a value that is not YAML.
    """
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"write an override as key=value, such as train.epochs=50, got {text!r}")
    return path.strip(), read_yaml(value, f"the value of {path.strip()!r}")


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML, every key in the order of its declaration."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _read(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a recipe extends, merged to the ground, and its own keys."""
    own = _read_file(name)
    below: dict[str, Any] = {}
    base, seen = own.pop("extends", None), {name}
    ancestors = []
    while base is not None:
        if not isinstance(base, str):
            raise RecipeError(f"the recipe {name} must extend a recipe by its name, got {base!r}")
        if base in seen:
            raise RecipeError(f"the recipe {name} extends itself, by way of {base!r}")
        seen.add(base)
        ancestors.append(_read_file(base))
        base = ancestors[-1].pop("extends", None)
    for ancestor in reversed(ancestors):
        below = _over(below, ancestor)
    return below, own


def _read_file(name: str) -> dict[str, Any]:
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if (path / "recipe.yaml").is_file():
            raise RecipeError(f"{name} is the folder of a run; its recipe is {path / 'recipe.yaml'}")
        if not path.is_file():
            raise RecipeError(f"the recipe file {name} does not exist")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"the recipe file {name} is not text in UTF-8") from error
    elif name in recipe_names():
        text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise UnknownNameError("recipe", name, recipe_names())
    raw = read_yaml(text, f"the recipe {name}")
    if not isinstance(raw, dict):
        raise RecipeError(f"the recipe {name} must be a mapping of keys to values")
    return raw


def read_yaml(text: str, what: str) -> Any:
    """Read plain YAML: no tags that make objects, and no aliases, which let nine lines stand for a billion values.

    Raises:
        RecipeError: anything else; ``what`` says where.
    """
    try:
        _check_events(text, what)
        value = _plain_numbers(yaml.safe_load(text))
        if _holds_bytes(value):
            raise RecipeError(f"{what} holds binary data, which recipes do not have")
        return value
    except yaml.YAMLError as error:
        raise RecipeError(f"{what} is not valid YAML: {' '.join(str(error).split())}") from error
    except (ValueError, LookupError, AttributeError) as error:  # of values that are not what their tags say
        raise RecipeError(f"{what} holds a value that cannot be read: {error}") from error


def _check_events(text: str, what: str) -> None:
    """Raise at the first alias, and where nesting gets too deep: what is read then, is read in time and memory."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise RecipeError(f"{what} uses YAML aliases (*name), which recipes do not have")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecipeError(f"{what} is nested more than {_DEEPEST} levels deep")


def _holds_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_bytes, (*value, *value.values())))
    return any(map(_holds_bytes, value)) if isinstance(value, list | set | tuple) else isinstance(value, bytes)


def _put(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    place = raw
    for key in parents:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"cannot set {path!r}: {key!r} holds {inner!r}, not keys")
        place = inner
    place[last] = value


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; what stands in ``above`` wins."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _over(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _plain_numbers(value: Any) -> Any:
    """Read ``1e-3`` as a number, which YAML 1.1 takes for text."""
    if isinstance(value, dict):
        return {key: _plain_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(inner) for inner in value]
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _folder() -> Any:
    return resources.files("noiseproof") / "recipes"
