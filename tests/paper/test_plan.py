"""Which runs an experiment consists of, in which order, where they lie and how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.evaluation.views import view
from noiseproof.methods import METHODS
from noiseproof.paper import Row, Setting, experiment_names, load_experiment, plan
from noiseproof.paper.planning import settled_recipe
from noiseproof.scheduling import PlannedRun, measured_so_far
from noiseproof.training import load_recipe
from tests.evaluation.problems import report
from tests.paper.problems import planned_runs

BY_URGENCY = ["discriminative", "normal", "mixed", "noisy", "stability"]

SETTINGS = [
    Setting(),
    Setting(scale="reduced"),
    Setting(preset="authors-code"),
    Setting(scale="reduced", preset="authors-code"),
]


def names(runs: list[PlannedRun]) -> list[tuple[str, int]]:
    return [(run.row, run.recipe.seed) for run in runs]


@pytest.fixture(scope="module", params=SETTINGS, ids=["paper", "reduced", "authors-code", "reduced-authors-code"])
def everything(request: pytest.FixtureRequest) -> dict[str, list[PlannedRun]]:
    """The runs of every experiment, at each scale and preset."""
    return {name: planned_runs(name, request.param) for name in experiment_names()}


# The order


def test_every_row_with_one_seed_comes_before_the_next_seed() -> None:
    assert names(planned_runs("table1", Setting())) == [(row, seed) for seed in (0, 1, 2) for row in BY_URGENCY]


def test_the_rows_that_are_urgent_come_first_in_their_order() -> None:
    urgent = load_experiment("table1").model_copy(update={"run_first": ("stability", "normal")})
    runs = plan(urgent, Setting(), seeds=[0])["cifar10"]
    assert [run.row for run in runs] == ["stability", "normal", "noisy", "mixed", "discriminative"]


def test_chosen_seeds_keep_their_order_and_chosen_rows_that_of_urgency() -> None:
    runs = planned_runs("table1", Setting(), seeds=(7, 3), rows=["noisy", "normal", "discriminative"])
    rows = ["discriminative", "normal", "noisy"]
    assert names(runs) == [(row, seed) for seed in (7, 3) for row in rows]


def test_the_recipes_come_in_the_order_of_the_declaration() -> None:
    assert list(plan(load_experiment("table5"), Setting(sources={"svhn": "svhn", "cifar10": "cifar10"}))) == [
        "cifar10", "svhn",
    ]  # fmt: skip


# Where runs lie


@pytest.mark.parametrize(
    ("how", "folder"),
    [
        (SETTINGS[0], "cifar10"),
        (SETTINGS[1], "cifar10-reduced"),
        (SETTINGS[2], "cifar10-authors-code"),
        (SETTINGS[3], "cifar10-reduced-authors-code"),
    ],
)
def test_each_scale_and_preset_has_runs_of_its_own(how: Setting, folder: str) -> None:
    first = planned_runs("table1", how)[0]
    assert first.folder == Path("runs/paper", folder, "discriminative", "seed-0")
    assert first.name == f"{folder}, discriminative, seed 0"


def test_runs_lie_below_the_folder_that_is_asked_for(tmp_path: Path) -> None:
    assert {run.folder for run in planned_runs("table2", Setting(runs=tmp_path), seeds=[4])} == {
        tmp_path / "svhn" / method / "seed-4" for method in BY_URGENCY
    }


def test_table_3_and_table_4_are_the_same_trainings_under_other_perturbations() -> None:
    third, fourth = (planned_runs(name, Setting()) for name in ("table3", "table4"))
    assert [run.folder for run in third] == [run.folder for run in fourth]
    assert [run.recipe for run in third] == [run.recipe for run in fourth]
    assert set(third[0].columns).isdisjoint(fourth[0].columns)


def test_runs_in_one_folder_have_one_recipe_whichever_experiment_needs_them(
    everything: dict[str, list[PlannedRun]],
) -> None:
    by_folder: dict[Path, set[str]] = {}
    for runs in everything.values():
        for run in runs:
            by_folder.setdefault(run.folder, set()).add(run.recipe.model_dump_json())
    assert all(len(recipes) == 1 for recipes in by_folder.values())


def test_figures_and_theory_need_no_training_that_the_tables_do_not(everything: dict[str, list[PlannedRun]]) -> None:
    of_tables = {run.folder for name in ("table1", "table2") for run in everything[name]}
    for name, runs in everything.items():
        if load_experiment(name).kind != "table":
            assert {run.folder for run in runs} <= of_tables


# Recipes


@pytest.mark.parametrize("recipe", ["cifar10", "svhn", "road"])
def test_the_preset_of_the_published_code_is_the_packaged_recipe_of_it(recipe: str) -> None:
    for method in METHODS:
        settled = settled_recipe(recipe, Setting(preset="authors-code"), Row.model_validate(method))
        packaged = load_recipe(f"{recipe}-authors-code")
        assert settled.for_run(method, 1).settings() == packaged.for_run(method, 1).settings()


@pytest.mark.parametrize("recipe", ["cifar10", "svhn", "road"])
def test_at_full_scale_the_recipe_is_the_packaged_one(recipe: str) -> None:
    settled = settled_recipe(recipe, Setting(), Row.model_validate("mixed"))
    assert settled == load_recipe(recipe)


def test_a_reduced_run_with_the_preset_of_the_published_code_chooses_its_weights_on_the_test_set() -> None:
    (run, *_) = planned_runs("table1", Setting(scale="reduced", preset="authors-code"))
    assert run.recipe.train.keep == "best-test"
    assert run.recipe.train.epochs == load_recipe("cifar10-reduced").train.epochs
    assert "test set" in run.recipe.caveat


def test_a_source_is_that_of_its_recipe_alone() -> None:
    planned = plan(load_experiment("fig8"), Setting(sources={"svhn": "npz:s.npz", "cifar10": "npz:c.npz"}))
    assert {name: {run.recipe.data.source for run in runs} for name, runs in planned.items()} == {
        "cifar10": {"npz:c.npz"}, "svhn": {"npz:s.npz"},
    }  # fmt: skip


def test_where_a_source_is_given_recipes_without_one_are_not_run() -> None:
    assert list(plan(load_experiment("fig8"), Setting(sources={"svhn": "svhn"}))) == ["svhn"]
    assert list(plan(load_experiment("fig8"), Setting())) == ["cifar10", "svhn"]


def test_recipes_without_a_source_are_planned_where_every_recipe_is_wanted() -> None:
    planned = plan(load_experiment("fig8"), Setting(sources={"svhn": "npz:s.npz"}), every_recipe=True)
    assert {name: {run.recipe.data.source for run in runs} for name, runs in planned.items()} == {
        "cifar10": {"cifar10"}, "svhn": {"npz:s.npz"},
    }  # fmt: skip


def test_changes_are_those_of_every_run() -> None:
    how = Setting(changes={"train.epochs": 3, "train.optimizer.lr": 0.25, "evaluate.draws": 7})
    for run in planned_runs("table5", how):
        assert (run.recipe.train.epochs, run.recipe.train.optimizer.lr, run.recipe.evaluate.draws) == (3, 0.25, 7)
        assert run.recipe.train.batch_size == 64


def test_changes_win_over_the_options_of_a_row() -> None:
    how = Setting(changes={"methods.discriminative.beta": 0.5})
    assert {run.recipe.methods["discriminative"]["beta"] for run in planned_runs("table5", how)} == {0.5}


def test_the_options_of_a_row_win_over_the_preset() -> None:
    row = Row.model_validate({"name": "a", "title": "A", "method": "discriminative", "options": {"alpha": 3.0}})
    options = settled_recipe("cifar10", Setting(preset="authors-code"), row).methods["discriminative"]
    assert (options["alpha"], options["lambda_noisy"], options["momentum"]) == (3.0, 0.5, 0.99)


@pytest.mark.parametrize("name", ["table5", "table1-why"])
def test_rows_of_one_method_differ_in_the_options_that_they_name(name: str) -> None:
    rows = {row.name: row for row in load_experiment(name).rows}
    for run in planned_runs(name, Setting(), seeds=[0]):
        kept, row = run.recipe.methods[run.recipe.method], rows[run.row]
        assert {key: kept[key] for key in row.options} == row.options
    runs = [run for run in planned_runs(name, Setting(), seeds=[0]) if run.recipe.method == "discriminative"]
    assert len({run.recipe.model_dump_json() for run in runs}) == len(runs)


def test_a_row_that_is_a_name_is_the_method_of_that_name() -> None:
    row = Row.model_validate("stability")
    assert (row.name, row.method, row.title, row.options) == ("stability", "stability", "Stability training", {})


def test_passes_count_the_views_that_each_method_looks_at() -> None:
    runs = planned_runs("table1", Setting(), seeds=[0])
    assert {run.row: run.passes for run in runs} == {
        "normal": 200, "noisy": 200, "mixed": 400, "stability": 400, "discriminative": 400,
    }  # fmt: skip
    assert {run.passes for run in planned_runs("table5", Setting())} == {200}


# Settings


@pytest.mark.parametrize(
    ("how", "suffix", "comparable"),
    [
        (Setting(), "", True),
        (Setting(sources={"cifar10": "parquet:elsewhere"}), "", True),
        (Setting(scale="reduced"), "-reduced", False),
        (Setting(preset="authors-code"), "-authors-code", True),
        (Setting(scale="reduced", preset="authors-code"), "-reduced-authors-code", False),
        (Setting(changes={"train.epochs": 1}), "-changed", False),
        (Setting(preset="authors-code", changes={"train.epochs": 1}), "-authors-code-changed", False),
        (Setting(scale="reduced", changes={"train.epochs": 1}), "-reduced-changed", False),
    ],
)
def test_only_unchanged_settings_at_full_scale_are_set_against_the_paper(
    how: Setting, suffix: str, comparable: bool
) -> None:
    table1 = load_experiment("table1")
    assert (how.suffix, how.comparable(table1)) == (suffix, comparable)
    assert not how.comparable(table1.model_copy(update={"data_public": False}))


@pytest.mark.parametrize("source", ["svhn", "cifar", "cifar10-reduced", ""])
def test_a_source_for_a_recipe_that_the_experiment_lacks_is_refused(source: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"table1 has no data named .*; it has cifar10"):
        plan(load_experiment("table1"), Setting(sources={source: "npz:a.npz"}))


@pytest.mark.parametrize("row", ["nosy", "", "joint-pass"])
def test_an_unknown_row_is_refused(row: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown row of table1"):
        plan(load_experiment("table1"), Setting(), rows=["normal", row])


def test_no_row_at_all_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="at least one row of table1"):
        plan(load_experiment("table1"), Setting(), rows=[])


def test_an_unknown_row_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'noisy'"):
        plan(load_experiment("table1"), Setting(), rows=["nosy"])


@pytest.mark.parametrize(
    "changes", [{"train.epoch": 1}, {"train.epochs": 0}, {"methods.discriminative.alfa": 1}, {"data": 3}]
)
def test_wrong_changes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        plan(load_experiment("table1"), Setting(changes=changes))


@pytest.mark.parametrize("seeds", [[-1], [0, -3]])
def test_wrong_seeds_are_refused(seeds: list[int]) -> None:
    with pytest.raises(InvalidArgumentError, match="seed"):
        plan(load_experiment("table1"), Setting(), seeds)


# All experiments


def test_every_experiment_can_be_planned_at_every_scale_and_preset(everything: dict[str, list[PlannedRun]]) -> None:
    for name, runs in everything.items():
        experiment = load_experiment(name)
        assert len(runs) == len(experiment.recipes) * len(experiment.rows) * len(experiment.seeds)
        assert len({run.folder for run in runs}) == len(runs)
        assert bool(experiment.columns) == (experiment.kind == "table")


def test_columns_are_perturbations_of_the_recipe(everything: dict[str, list[PlannedRun]]) -> None:
    for runs in everything.values():
        assert {run.columns for run in runs} == {runs[0].columns}
        assert all(set(run.columns) <= set(run.recipe.evaluate.perturbations) for run in runs)
        assert len({view(column).spec for column in runs[0].columns}) == len(runs[0].columns)


# How far a run is


@pytest.fixture
def run(tmp_path: Path) -> PlannedRun:
    """A run of Table 1 that nobody has begun, with two draws."""
    how = Setting(runs=tmp_path, changes={"evaluate.draws": 2})
    return planned_runs("table1", how, seeds=[0], rows=["normal"])[0]


def finish(run: PlannedRun, counts: dict[str, list[int]], seed: int = 0) -> None:
    """Leave what marks a finished training, and a report."""
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in ("recipe.yaml", "model.safetensors"):
        (run.folder / name).write_text("")
    report(counts, seed=seed).save(run.folder / "evaluation")


ALL = {"clean": [9]} | {f"gaussian:{level}/255": [5, 6] for level in (2, 4, 8, 16, 20)}


def test_what_nobody_has_begun_is_neither_trained_nor_done(run: PlannedRun) -> None:
    assert (run.trained, run.done, run.epochs_done, run.unmeasured) == (False, False, 0, list(run.columns))
    assert measured_so_far(run) is None


def test_a_run_is_done_once_all_columns_are_measured(run: PlannedRun) -> None:
    finish(run, ALL)
    assert (run.trained, run.done, run.unmeasured) == (True, True, [])


def test_more_than_the_columns_may_be_measured_and_in_any_order(run: PlannedRun) -> None:
    finish(run, {"uniform:0.1": [3, 4], **dict(reversed(ALL.items()))})
    assert run.done


def test_what_is_not_measured_is_told_in_the_order_of_the_columns(run: PlannedRun) -> None:
    finish(run, {"gaussian:8/255": [5, 6], "clean": [9]})
    assert run.unmeasured == ["gaussian:2/255", "gaussian:4/255", "gaussian:16/255", "gaussian:20/255"]
    assert not run.done


@pytest.mark.parametrize(
    ("counts", "seed"), [(ALL, 1), ({**ALL, "gaussian:2/255": [5, 6, 7]}, 0), ({**ALL, "gaussian:2/255": [5]}, 0)]
)
def test_what_was_measured_with_another_seed_or_number_of_draws_does_not_count(
    run: PlannedRun, counts: dict[str, list[int]], seed: int
) -> None:
    finish(run, counts, seed)
    assert measured_so_far(run) is None
    assert run.unmeasured == list(run.columns)


@pytest.mark.parametrize("name", ["report.npz", "report.json"])
def test_a_damaged_report_does_not_count(run: PlannedRun, name: str) -> None:
    finish(run, ALL)
    (run.folder / "evaluation" / name).write_bytes(b"{")
    assert run.unmeasured == list(run.columns)
    assert not run.done


def test_a_report_of_weights_that_are_gone_does_not_count(run: PlannedRun) -> None:
    finish(run, ALL)
    (run.folder / "model.safetensors").unlink()
    assert run.unmeasured == list(run.columns)
    assert not run.done


def test_a_run_of_a_figure_is_done_once_it_is_trained(tmp_path: Path) -> None:
    (run, *_) = planned_runs("fig1", Setting(runs=tmp_path))
    assert not run.done
    run.folder.mkdir(parents=True)
    (run.folder / "model.safetensors").write_text("")
    assert (run.done, run.unmeasured) == (True, [])


def test_epochs_behind_a_run_are_the_lines_of_its_log(run: PlannedRun) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert run.epochs_done == 2
