"""A study is read, checked and turned into recipes before anything is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from noiseproof.errors import InvalidArgumentError, NoiseproofError, RecipeError, UnknownNameError
from noiseproof.studies import Study, load_study
from noiseproof.studies.factors import Range
from noiseproof.studies.planning import Plan
from noiseproof.training import load_recipe
from noiseproof.training.recipes import recipe_names
from tests.studies.problems import COLUMNS, NOISY, RATE, SMALL, planned, study

# Declarations


def test_a_study_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("""\
recipe: digits
title: Which rate?
set: {train.epochs: 3}
vary:
  train.optimizer.lr: {low: 1e-4, high: 1e-1, scale: log}
  noise.train: [clean, "occlusion:n=2,size=3"]
  train.ema_decay: [null, 0.9]
design: random
trials: 4
seeds: [1, 2]
rivals: {plain: {method: normal}}
""")
    read = load_study(path)
    assert (read.recipe, read.title, read.set) == ("digits", "Which rate?", {"train.epochs": 3})
    assert [each.path for each in read.vary] == ["train.optimizer.lr", "noise.train", "train.ema_decay"]
    assert read.vary[0].values == Range(low=1e-4, high=0.1, scale="log")
    assert [each.listed for each in read.vary[1:]] == [("clean", "occlusion:n=2,size=3"), (None, 0.9)]
    assert (read.design, read.trials, read.seeds) == ("random", 4, (1, 2))
    assert read.rivals == {"plain": {"method": "normal"}}
    assert read == Study.of(yaml.safe_load(path.read_text().replace("1e-4", "0.0001").replace("1e-1", "0.1")))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("recipe: [", "not valid YAML"),
        ("- a", "must be a mapping of keys to values"),
        ("", "must be a mapping of keys to values"),
        ("just text", "must be a mapping of keys to values"),
        ("recipe: digits", "vary: Field required"),
        ("vary: {train.epochs: [1, 2]}", "recipe: Field required"),
        ("{recipe: digits, vary: {train.epochs: [1]}, seed: 3}", "seed: Extra inputs are not permitted"),
        (
            "{recipe: digits, vary: {}}",
            "not right: a study varies at least one key or, with vary: {}, names rivals",
        ),
        ("{recipe: digits, vary: {train.epochs: []}}", "a factor needs at least one value"),
        ("{recipe: digits, vary: {train.epochs: [1, 1]}}", "no value may stand twice"),
        ("{recipe: digits, vary: {a: {low: 2, high: 1}}}", "low must be below high"),
        ("{recipe: digits, vary: {train.epochs: [1]}, seeds: []}", "seeds"),
        ("{recipe: digits, vary: {train.epochs: [1]}, seeds: [0, 0]}", "none of them twice"),
        ("{recipe: digits, vary: {train.epochs: [1]}, final_seeds: [-1]}", "from 0 upwards"),
        ("{recipe: digits, vary: {train.epochs: [1]}, finalists: 0}", "finalists"),
        ("{recipe: digits, vary: {train.epochs: [1]}, design: latin}", "'grid', 'one-at-a-time' or 'random'"),
        ("{recipe: digits, vary: {train.epochs: [1]}, validation_fraction: 1}", "validation_fraction"),
        ("{recipe: digits, vary: {train.epochs: &a [1]}, seeds: *a}", "YAML aliases"),
    ],
)
def test_a_wrong_study_names_the_file_and_the_fault(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=re.escape(told)) as caught:
        load_study(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("vary", ["5", "[train.epochs=1]", "{train.epochs: 5}", "{train.epochs: {lo: 1, high: 2}}"])
def test_wrong_factors_are_told_in_words_for_users(vary: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"{{recipe: digits, vary: {vary}}}")
    with pytest.raises(RecipeError) as caught:
        load_study(path)
    assert not re.search(r"function-after|nullable|Tuple|tuple|instance of|vary\.0", str(caught.value))


def test_a_study_that_is_no_readable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        load_study(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("title: Müller".encode("latin-1"))
    with pytest.raises(RecipeError, match="not text in UTF-8"):
        load_study(tmp_path / "latin.yaml")


def test_the_seeds_that_decide_are_those_of_the_study_and_then_the_others() -> None:
    assert study(seeds=[3, 1]).seeds_to_decide == (3, 1)
    assert study(seeds=[3, 1], final_seeds=[0, 1, 2]).seeds_to_decide == (3, 1, 0, 2)


# Recipes


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_can_be_studied(name: str) -> None:
    """With a validation split to choose by, and no weights chosen on the test set."""
    plan = Plan.of(Study.of({"recipe": name, "vary": {RATE: [0.01, 0.1]}}), Path("runs"), {})
    own = load_recipe(name)
    for recipe in plan.recipes.values():
        if own.data.validation_fraction > 0:  # as the recipe says
            assert recipe.data == own.data
            assert recipe.train.keep == own.train.keep
        else:
            assert recipe.data.validation_fraction == 0.1
            assert recipe.train.keep == "last"
        assert recipe.train.keep != "best-test"
        assert recipe.data.model_copy(update={"validation_fraction": own.data.validation_fraction}) == own.data


def test_transfer_names_known_perturbations_each_once() -> None:
    assert study(transfer=["uniform:0.4", "clean"]).transfer == ("uniform:0.4", "clean")
    with pytest.raises(RecipeError, match="no perturbation may be named twice"):
        study(transfer=["uniform:0.4", "uniform:0.40"])
    with pytest.raises(NoiseproofError, match="unifrom"):
        study(transfer=["unifrom:0.4"])


def test_the_share_that_is_held_out_can_be_chosen() -> None:
    for given in ({"validation_fraction": 0.25}, {"set": {**SMALL, "data.validation_fraction": 0.25}}):
        assert {r.data.validation_fraction for r in planned(**given).recipes.values()} == {0.25}


@pytest.mark.parametrize(
    "given",
    [
        {"set": {"train.keep": "best-test"}},
        {"set": {"train.keep": "best-test", "data.validation_fraction": 0.2}},
        {"rivals": {"other": {"train.keep": "best-test"}}},
        {"vary": {"train.keep": ["last", "best-test"]}},
        {"recipe": "cifar10", "set": {"train.keep": "best-test"}},
        {"recipe": "digits", "set": {"preset": "authors-code", "train.keep": "best-test"}},
    ],
)
def test_weights_may_not_be_chosen_on_the_test_set(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"chosen on it; set train.keep=last"):
        planned(**given)


def test_changes_win_over_the_study_and_lose_against_what_varies() -> None:
    given = {"set": {**SMALL, "train.batch_size": 16, RATE: 0.5}, "rivals": {"other": {"train.batch_size": 8}}}
    recipes = planned(changes={"train.batch_size": 24, RATE: 0.7, "train.clip_grad_norm": 2.0}, **given).recipes
    assert {name: r.train.optimizer.lr for name, r in recipes.items()} == {"base": 0.01, "lr=0.1": 0.1, "other": 0.7}
    assert {name: r.train.batch_size for name, r in recipes.items()} == {"base": 24, "lr=0.1": 24, "other": 8}
    assert {r.train.clip_grad_norm for r in recipes.values()} == {2.0}


def test_settings_that_are_nested_do_not_go_from_one_trial_to_the_next() -> None:
    """Rivals, which vary nothing, must not be trained with what the last trial varied."""
    nested = {"train": {"epochs": 5, "optimizer": {"momentum": 0.5}}}
    given = study(set=nested, rivals={"other": {"method": "noisy"}})
    recipes = Plan.of(given, Path("runs"), {}).recipes
    assert recipes["other"].train.optimizer.lr == load_recipe("vectors").train.optimizer.lr
    assert given.set == nested


def test_a_random_design_has_the_recipe_as_it_is_beside_it() -> None:
    plan = planned(vary={RATE: {"low": 0.01, "high": 0.1}}, design="random", trials=3, set={**SMALL, RATE: 0.5})
    assert [trial.name for trial in plan.trials] == ["base", "trial-000", "trial-001", "trial-002"]
    assert plan.recipes["base"].train.optimizer.lr == 0.5
    assert all(0.01 <= plan.recipes[f"trial-00{i}"].train.optimizer.lr <= 0.1 for i in range(3))


def test_a_rival_may_be_of_another_method_and_only_differs_in_what_it_says() -> None:
    rivals = {"noise": {"method": "noisy"}, "both": {"method": "mixed", "methods.mixed.passes": "separate"}}
    plan = planned(rivals=rivals)
    base = plan.recipes["base"].model_dump()
    assert plan.recipes["noise"].model_dump() | {"method": "normal"} == _with_rate(base)
    assert plan.recipes["both"].methods["mixed"]["passes"] == "separate"
    assert [rival.name for rival in plan.rivals] == ["noise", "both"]
    assert {run.recipe.method for run in plan.looking(plan.trials[1])} == {"normal", "noisy", "mixed"}


def _with_rate(dumped: dict[str, Any]) -> dict[str, Any]:
    """A rival has the recipe's own rate, since it is outside the design."""
    optimizer = dumped["train"]["optimizer"] | {"lr": load_recipe("vectors").train.optimizer.lr}
    return dumped | {"train": dumped["train"] | {"optimizer": optimizer}}


# Runs


def test_runs_lie_in_folders_by_trial_and_seed_one_seed_of_all_first(tmp_path: Path) -> None:
    plan = planned(tmp_path, seeds=[5, 2], final_seeds=[2, 9], rivals={"other": {}})
    runs = plan.screening()
    assert [(run.row, run.recipe.seed, run.part) for run in runs] == [
        ("base", 5, "validation"), ("lr=0.1", 5, "validation"), ("base", 2, "validation"), ("lr=0.1", 2, "validation"),
    ]  # fmt: skip
    assert runs[1].folder == tmp_path / "lr=0.1" / "seed-5"
    deciding = plan.deciding([plan.trials[1]])
    assert [(run.row, run.recipe.seed, run.part) for run in deciding] == [
        ("lr=0.1", seed, "validation") for seed in (5, 2, 9)
    ]
    looking = plan.looking(plan.trials[1])
    assert {(run.row, run.recipe.seed, run.part) for run in looking} == {
        (row, seed, "test") for row in ("base", "lr=0.1", "other") for seed in (5, 2, 9)
    }
    assert {run.row for run in plan.looking(plan.trials[0])} == {"base", "other"}
    assert plan.columns == plan.score_columns == COLUMNS
    assert planned(score=[NOISY]).score_columns == (NOISY,)


# Mistakes


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"recipe": "digit"}, UnknownNameError, "did you mean 'digits'"),
        ({"recipe": "nowhere.yaml"}, RecipeError, "nowhere.yaml does not exist"),
        ({"vary": {"train.epoch": [1, 2]}}, RecipeError, "unknown key 'train.epoch'; did you mean 'train.epochs'"),
        ({"vary": {"train.epochs": [1, "many"]}}, RecipeError, "train.epochs = 'many'"),
        ({"vary": {"train": [1]}}, RecipeError, "train = 1"),
        ({"vary": {"train.epochs": {"low": 1, "high": 9}}}, InvalidArgumentError, "only the design 'random' draws"),
        ({"design": "random"}, InvalidArgumentError, "needs a number of trials above 0"),
        ({"vary": {"method": ["normal", "nrmal"]}}, InvalidArgumentError, "'nrmal'"),
        ({"rivals": {"base": {}}}, InvalidArgumentError, "no two trials or rivals may have one name: base"),
        ({"rivals": {"lr=0.1": {}}}, InvalidArgumentError, "no two trials or rivals may have one name: lr=0.1"),
        ({"rivals": {"other": {"method": "none"}}}, InvalidArgumentError, "'none'"),
        ({"score": ["gaussian:0.7"]}, InvalidArgumentError, "'gaussian:0.7', which is not among"),
        ({"set": {"train.epochs": 0}}, RecipeError, "train.epochs = 0"),
    ],
)
def test_a_study_that_leads_to_a_wrong_recipe_is_told(given: dict[str, Any], error: type, told: str) -> None:
    with pytest.raises(error, match=re.escape(told)):
        planned(**given)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"vary": {"train.optimizer.name": ["sgd", "sdg"]}}, "name=sdg"),
        ({"rivals": {"other": {"train.epochs": -1}}}, "other"),
        ({"vary": {"train.ema_decay": {"low": 0.5, "high": 9}}, "design": "random", "trials": 6}, "trial-00"),
    ],
)
def test_a_wrong_recipe_is_told_with_its_trial(given: dict[str, Any], name: str) -> None:
    with pytest.raises(NoiseproofError, match=re.escape(name)):
        planned(**given)


def test_whole_numbers_can_be_drawn_from_a_range() -> None:
    plan = planned(vary={"train.epochs": {"low": 5, "high": 50}}, design="random", trials=30)
    drawn = {recipe.train.epochs for name, recipe in plan.recipes.items() if name != "base"}
    assert len(drawn) > 10
    assert min(drawn) >= 5
    assert max(drawn) <= 50


@pytest.mark.parametrize(
    "vary",
    [
        {"data.split_seed": [0, 1]},
        {"data.validation_fraction": [0.1, 0.2]},
        {"data.test_fraction": [0.2, 0.3]},
        {"data.source": ["breast-cancer", "digits"]},
        {"evaluate.draws": [2, 3]},
        {"seed": [0, 1]},
    ],
)
def test_what_is_measured_and_the_seed_cannot_be_varied(vary: dict[str, Any]) -> None:
    """Neither by a factor nor by a rival: the samples and draws of all must be the same, and seeds are `seeds`."""
    with pytest.raises(InvalidArgumentError):
        planned(vary=vary)


@pytest.mark.parametrize("changes", [{"data.split_seed": 1}, {"evaluate.draws": 5}, {"seed": 3}])
def test_a_rival_cannot_change_what_is_measured(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        planned(rivals={"other": changes})


@pytest.mark.parametrize("name", ["../../elsewhere", "/elsewhere", "..", "", ".", "a/b", "base/seed-0"])
def test_the_runs_of_rivals_stay_in_folders_of_their_own(name: str, tmp_path: Path) -> None:
    try:
        plan = planned(tmp_path / "runs", rivals={name: {}})
    except NoiseproofError:
        return
    folders = [run.folder.resolve() for run in plan.looking(plan.trials[0]) if run.row not in ("base", "lr=0.1")]
    assert folders
    assert all(folder.parent.parent == (tmp_path / "runs").resolve() for folder in folders)


def test_no_perturbation_may_be_scored_twice() -> None:
    with pytest.raises(NoiseproofError):
        planned(score=["clean", "clean", NOISY])


def test_a_perturbation_may_be_scored_by_another_spelling() -> None:
    assert len(planned(score=["gaussian:std=0.2"]).score_columns) == 1


def test_an_option_of_a_method_that_is_not_trained_is_refused() -> None:
    vary = {"methods.mixed.passes": ["joint", "separate"]}
    with pytest.raises(InvalidArgumentError, match=r"methods\.mixed\.passes varies, but what is trained is normal"):
        planned(vary=vary)
    assert len(planned(vary={"method": ["normal", "mixed"], **vary}).trials) == 3
