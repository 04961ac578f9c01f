"""Recipes: what is read, what is refused, and what the error says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noiseproof.errors import NoiseproofError, RecipeError, UnknownNameError
from noiseproof.training import Recipe, load_recipe, recipe_names
from noiseproof.training.recipes import dump_recipe, parse_override

MINIMAL: dict[str, Any] = {
    "name": "mine",
    "data": {"source": "digits"},
    "model": {"name": "small-cnn"},
    "noise": {"train": "gaussian:0.1"},
}


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_is_valid_and_is_read_back_from_its_own_text(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name).with_all_options()
    path = tmp_path / "copy.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_defaults_are_the_papers() -> None:
    recipe = Recipe.from_mapping(MINIMAL)
    assert (recipe.method, recipe.preset, recipe.train.keep, recipe.noise.view) == (
        "discriminative", "paper", "best-validation", "same",
    )  # fmt: skip
    options = recipe.options("discriminative").model_dump()
    assert (options["delta_v"], options["delta_d"], options["gamma_reg"], options["momentum"]) == (0.5, 5.0, 1e-3, 0.9)
    assert (recipe.options("mixed").model_dump()["passes"], options["passes"]) == ("joint", "separate")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.epoch": 3}, "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ({"epochs": 3}, "unknown key 'epochs'; did you mean 'train.epochs'?"),
        ({"train.lr": 3}, "unknown key 'train.lr'; did you mean 'train.optimizer.lr'?"),
        ({"noise.name": "gaussian"}, "unknown key 'noise.name'; known: train, view"),
        ({"noise": "gaussian:0.2"}, "noise = 'gaussian:0.2': set one of its keys: noise.train, noise.view"),
        ({"train.optimizer": "sgd"}, "train.optimizer = 'sgd': set one of its keys: train.optimizer.name, train."),
        ({"methods.mixed": "joint"}, "methods.mixed = 'joint': set one of its keys, as methods.mixed.KEY=VALUE"),
        ({"evaluate.perturbations": "gaussian:0.3"}, "'gaussian:0.3': must be a list, as [clean,gaussian:0.3]"),
        ({"evaluate.perturbations": ["clean", 0.3]}, "perturbations.1 = 0.3: name a perturbation, as gaussian:0.3"),
        ({"data.image_size": 224}, "data.image_size = 224: must be a list, as [HEIGHT,WIDTH]"),
        ({"train.schedule.milestones": 60}, "train.schedule.milestones = 60: must be a list, as [60]"),
        ({"noise.train": 0.2}, "noise.train = 0.2: name a perturbation, as gaussian:0.2"),
        ({"noise.train": True}, "noise.train = True: input should be a valid string"),
        ({"trian.epochs": 3}, "unknown key 'trian'; did you mean 'train'"),
        ({"train.optimizer.learning_rate": 3}, "unknown key 'train.optimizer.learning_rate'"),
        ({"train.epochs": 0}, "train.epochs = 0: input should be greater than or equal to 1"),
        ({"train.epochs": "many"}, "train.epochs = 'many': input should be a valid integer"),
        ({"train.optimizer.lr": float("nan")}, "train.optimizer.lr = nan"),
        ({"train.keep": "best"}, "train.keep = 'best'"),
        ({"train.keep": "best-validation"}, "needs data.validation_fraction > 0"),
        ({"method": "discriminativ"}, "did you mean 'discriminative'"),
        (
            {"methods.stability.wieght": 1},
            "unknown key 'methods.stability.wieght'; did you mean 'methods.stability.weight'",
        ),
        ({"methods.stabilty.weight": 1}, "unknown method 'stabilty'; did you mean 'stability'"),
        ({"methods.discriminative.momentum": 1}, "methods.discriminative.momentum = 1: input should be less than 1"),
        ({"noise.train": "gausian:0.1"}, "did you mean 'gaussian'"),
        ({"evaluate.perturbations": ["uniform"]}, "'uniform' needs amplitude"),
        ({"data.source": "digit"}, "unknown data source 'digit'; did you mean 'digits'"),
        ({"data.augment": "crop"}, "'crop' needs padding"),
        ({"preset": "author-code"}, "did you mean 'authors-code'"),
        ({"train": 3, "train.epochs": 1}, "cannot set 'train.epochs': 'train' holds 3, not keys"),
    ],
)
def test_faults_are_told_with_path_value_and_remedy(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(NoiseproofError) as error:
        load_recipe("digits", overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_key_is_named() -> None:
    with pytest.raises(RecipeError, match=r"the key 'noise' is missing"):
        Recipe.from_mapping({key: value for key, value in MINIMAL.items() if key != "noise"})


def test_several_faults_are_told_together() -> None:
    with pytest.raises(RecipeError, match=r"train\.epochs.*train\.batch_size"):
        load_recipe("digits", {"train.epochs": 0, "train.batch_size": 0})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.epochs=50", ("train.epochs", 50)),
        ("train.optimizer.lr=1e-3", ("train.optimizer.lr", 1e-3)),
        ("noise.train=gaussian:8/255", ("noise.train", "gaussian:8/255")),
        ("evaluate.perturbations=[clean, 'gaussian:0.1']", ("evaluate.perturbations", ["clean", "gaussian:0.1"])),
        ("train.max_steps=null", ("train.max_steps", None)),
    ],
)
def test_overrides_are_read_as_yaml(text: str, expected: tuple[str, Any]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["train.epochs", "=3", "train.epochs=[", "train.x=!!python/object:os.system {}"])
def test_malformed_overrides_are_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_override(text)


def test_recipe_with_python_tags_is_refused_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.system ['true']\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(path)


@pytest.mark.parametrize(("name", "error"), [("digit", UnknownNameError), ("no/such.yaml", RecipeError)])
def test_unknown_recipe(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_recipe(name)


def test_preset_in_a_recipe_lies_under_its_keys_and_an_asked_for_preset_above(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    raw = {**MINIMAL, "preset": "authors-code", "methods": {"discriminative": {"momentum": 0.5}}}
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    recipe = load_recipe(path)
    options = recipe.options("discriminative").model_dump()
    assert (options["momentum"], options["alpha"], options["lambda_noisy"]) == (0.5, 0.5, 0.5)
    assert (recipe.noise.view, recipe.train.keep) == ("own", "best-test")

    asked = load_recipe(path, {"preset": "paper", "noise.view": "own"})
    options = asked.options("discriminative").model_dump()
    assert (options["momentum"], options["alpha"], asked.noise.view) == (0.9, 1.0, "own")
    assert (asked.train.keep, asked.data.validation_fraction) == ("best-validation", 0.1)


@pytest.mark.parametrize("name", recipe_names())
def test_the_best_preset_changes_the_method_and_leaves_data_and_training_alone(name: str) -> None:
    plain, best = (load_recipe(name, changes).with_all_options() for changes in ({}, {"preset": "best"}))
    wanted = {"delta_v": 2.0, "centroids": "naive", "passes": "joint", "softmax_on": "both"}
    assert best.methods["discriminative"].items() >= wanted.items()
    if plain.preset == "paper":
        methods = {**plain.methods, "discriminative": {**plain.methods["discriminative"], **wanted}}
        assert best == plain.model_copy(update={"preset": "best", "methods": methods})


@pytest.mark.parametrize("name", recipe_names())
def test_weights_are_chosen_on_data_held_out_or_not_at_all(name: str) -> None:
    recipe = load_recipe(name)
    if name.endswith("-authors-code"):
        assert (recipe.train.keep, recipe.data.validation_fraction) == ("best-test", 0)
        assert "too good" in recipe.caveat
    elif recipe.train.schedule.name in {"cosine", "one-cycle"}:  # ends with a learning rate of 0
        assert (recipe.train.keep, recipe.data.validation_fraction) == ("last", 0)
    else:
        assert (recipe.train.keep, recipe.data.validation_fraction) == ("best-validation", 0.1)


def test_recipe_of_a_run_holds_its_method_whole_and_no_other() -> None:
    recipe = load_recipe("digits").for_run("stability", 7)
    assert (recipe.method, recipe.seed) == ("stability", 7)
    assert recipe.methods == {"stability": {"weight": 1.0, "passes": "separate"}}
