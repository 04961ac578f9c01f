"""From an estimator's parameters to the recipe that it trains by, and from a recipe's errors to those parameters."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from noiseproof.checks import check_range
from noiseproof.errors import InvalidArgumentError, NonFiniteLossError, NonFiniteWeightsError, RecipeError
from noiseproof.perturbations import Perturbation, perturbation
from noiseproof.perturbations.noise import GaussianNoise
from noiseproof.training import Recipe, load_recipe

__all__ = ["in_parameters_words", "noise_text", "recipe_for", "seed_from"]

_PARAMETERS = {
    "model.embedding_dim": "embedding_dim",
    "train.epochs": "epochs",
    "train.batch_size": "batch_size",
    "train.optimizer.lr": "learning_rate",
    "train.optimizer.weight_decay": "weight_decay",
    "data.validation_fraction": "validation_fraction",
}


def recipe_for(parameters: Mapping[str, Any], seed: int, samples: int) -> Recipe:
    """Return the recipe that an estimator with these parameters trains by, given so many samples.

    It is the packaged recipe ``vectors`` with another optimiser; the data that it names is not looked at.

    Raises:
        RecipeError, InvalidArgumentError: a wrong parameter.
        UnknownNameError: an unknown method or perturbation.
    """
    method, options = parameters["method"], parameters["method_options"]
    if not isinstance(method, str):
        raise InvalidArgumentError(f"method must be the name of a method, got {method!r}")
    if not (options is None or isinstance(options, Mapping)):
        raise InvalidArgumentError(f"method_options must be a dict such as {{'delta_d': 5.0}}, got {options!r}")
    plain = {path: _plain(parameters[name]) for path, name in _PARAMETERS.items()}
    if parameters["batch_size"] == "auto":
        plain["train.batch_size"] = min(max(64, samples // 20), 256)
    with in_parameters_words(method):
        return load_recipe(
            "vectors",
            {
                **plain,
                "preset": parameters["preset"],
                "seed": seed,
                "method": method,
                "methods": {method: {key: _plain(value) for key, value in (options or {}).items()}},
                "noise.train": noise_text(parameters["noise"]),
                "model.options": {"hidden": _widths(parameters["hidden_layer_sizes"])},
                "train.optimizer.name": "adamw",
                "train.keep": "best-validation" if plain["data.validation_fraction"] else "last",
                "train.checkpoint_every": 2**31,  # a checkpoint would go nowhere
                "train.deterministic": True,  # as scikit-learn's users expect of a random_state, on a GPU too
            },
        )


def noise_text(noise: str | float | Perturbation) -> str:
    """Return the text of a perturbation; a number is the standard deviation of Gaussian noise.

    Raises:
        InvalidArgumentError: a negative number, or none of these.
        UnknownNameError: no such perturbation.
    """
    if isinstance(noise, numbers.Real):
        return GaussianNoise(float(check_range("noise", float(noise), 0))).spec
    if not isinstance(noise, str | Perturbation):
        raise InvalidArgumentError(f"noise must be a number or a text such as 'gaussian:0.5', got {noise!r}")
    return perturbation(noise).spec


def seed_from(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed: ``random_state`` itself if it is a number, else one drawn from it.

    Raises:
        ValueError: it is nothing that scikit-learn takes for a random state.
    """
    generator = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, numbers.Integral) else int(generator.randint(2**31 - 1))


@contextmanager
def in_parameters_words(method: str) -> Iterator[None]:
    """Inside the block errors that name keys of a recipe name the estimator's parameters in their place."""
    try:
        yield
    except (RecipeError, NonFiniteLossError, NonFiniteWeightsError) as error:
        message = str(error).replace(" or set train.clip_grad_norm", "").replace(f"methods.{method}", "method_options")
        for path, name in _PARAMETERS.items():
            message = message.replace(path, name)
        error.args = (message,)
        raise


def _widths(sizes: Any) -> list[Any]:
    """The widths of hidden layers; (64), which is 64 in Python, is one layer."""
    if isinstance(sizes, numbers.Integral):
        return [int(sizes)]
    if not isinstance(sizes, list | tuple | np.ndarray):
        raise InvalidArgumentError(f"hidden_layer_sizes must be a tuple of widths such as (128, 128), got {sizes!r}")
    widths = [_plain(size) for size in sizes]
    for width in widths:
        if not isinstance(width, int) or width < 1:
            raise InvalidArgumentError(f"hidden_layer_sizes must hold whole numbers >= 1, got {sizes!r}")
    return widths


def _plain(value: Any) -> Any:
    """A NumPy number, as grids are often made of, as Python's."""
    return value.item() if isinstance(value, np.generic) else value
