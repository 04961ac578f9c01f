"""The declared experiments against a second transcription of the paper's tables, and faults that are refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from noiseproof.errors import UnknownNameError
from noiseproof.methods import METHODS
from noiseproof.paper import Experiment, Published, Row, Setting, experiment_names, load_experiment, plan
from noiseproof.perturbations import perturbation
from noiseproof.training import load_recipe
from noiseproof.training.recipes import recipe_names

TABLES = ("table1", "table2", "table3", "table4", "table5")
ORDER = (
    "table1", "table1-why", "table2", "table3", "table4", "table5", "fig1", "fig8", "fig9", "fig10", "fig11", "fig12",
    "fig13", "theory",
)  # fmt: skip
METHOD_ORDER = ("normal", "noisy", "mixed", "stability", "discriminative")

# Typed from the text of the paper, in its own layout. Rows: methods; columns: standard deviation of the noise.
BY_METHOD = {
    ("table1", "cifar10"): """
        Clean        2/255            4/255            8/255            16/255           20/255
        92.73     92.63 ± 0.09    91.95 ± 0.09    87.73 ± 0.19    64.93 ± 0.18    50.32 ± 0.29
        89.64     89.65 ± 0.06    89.70 ± 0.07    89.99 ± 0.08    89.81 ± 0.14    87.918 ± 0.16
        91.48     91.45 ± 0.04    91.41 ± 0.07    91.15 ± 0.11    90.06 ± 0.14    89.04 ± 0.21
        91.13     91.16 ± 0.04    91.24 ± 0.09    91.26 ± 0.08    89.12 ± 0.15    84.62 ± 0.21
        92.67     92.70 ± 0.05    92.68 ± 0.07    92.61 ± 0.07    91.15 ± 0.20    89.42 ± 0.11
    """,
    ("table2", "svhn"): """
        Clean        5/255           10/255           20/255           36/255           42/255
        95.69     95.41 ± 0.06    94.32 ± 0.08    86.85 ± 0.13    66.36 ± 0.21    58.87 ± 0.16
        93.42     93.39 ± 0.03    93.37 ± 0.04    93.02 ± 0.07    91.64 ± 0.15    90.39 ± 0.11
        95.34     95.25 ± 0.02    94.96 ± 0.07    93.94 ± 0.07    91.62 ± 0.09    90.43 ± 0.08
        96.01     95.93 ± 0.03    95.63 ± 0.07    94.59 ± 0.06    91.45 ± 0.14    89.71 ± 0.07
        96.13     96.06 ± 0.03    95.91 ± 0.05    95.17 ± 0.07    92.47 ± 0.09    90.86 ± 0.08
    """,
    ("table3", "road"): """
        clean       10/255           30/255           40/255           60/255
        96.84     95.57 ± 0.28    75.42 ± 1.08    59.34 ± 1.28    43.81 ± 1.02
        91.58     92.66 ± 0.41    95.71 ± 0.24    94.95 ± 0.62    92.05 ± 0.84
        96.31     96.36 ± 0.35    95.97 ± 0.58    95.39 ± 0.73    92.92 ± 0.46
        96.05     96.31 ± 0.23    94.63 ± 0.58    92.92 ± 0.80    90.87 ± 0.69
        97.37     97.29 ± 0.17    96.71 ± 0.49    95.52 ± 0.64    93.65 ± 0.49
    """,
}
# Rows: perturbations; columns: methods.
TABLE_4 = """
    Occlusion                     89.89 ± 0.49  80.21 ± 1.02  87.92 ± 0.68  80.99 ± 1.19  94.05 ± 0.75
    Occlusion + Gaussian noise    27.68 ± 0.30  74.00 ± 1.23  78.60 ± 1.48  54.07 ± 1.32  82.73 ± 1.45
    DU Sampling                   92.36         86.58         91.84         96.05         95.79
    DU Sampling + Occlusion       77.58 ± 1.09  78.86 ± 1.35  81.34 ± 0.71  74.47 ± 1.02  88.05 ± 0.55
    Stripe masking                84.39 ± 1.30  76.21 ± 1.23  88.00 ± 0.65  86.63 ± 1.16  90.42 ± 0.62
    DU Sampling + Stripe masking  69.52 ± 1.62  70.13 ± 1.33  77.78 ± 1.06  82.44 ± 0.99  87.99 ± 1.53
"""
# α, β, γ_reg: CIFAR-10, SVHN.
TABLE_5 = {
    (1, 0, 0.001): (93.43, 96.15),
    (0, 1, 0.001): (92.25, 95.98),
    (1, 1, 0.001): (94.01, 96.64),
    (1, 1, 0): (93.66, 96.55),
    (1, 1, 1): (93.81, 96.67),
}


def numbers(line: str) -> tuple[tuple[float, float | None], ...]:
    """Every number of a line with what stands behind its ±."""
    found = re.findall(r"(\d+\.\d+)(?:\s*±\s*(\d+\.\d+))?", line)
    return tuple((float(mean), float(std) if std else None) for mean, std in found)


def published(name: str, recipe: str) -> dict[str, tuple[tuple[float, float | None], ...]]:
    """A declaration's numbers as plain pairs."""
    return {row: tuple(map(tuple, cells)) for row, cells in load_experiment(name).published[recipe].items()}


# What there is


def test_experiments_are_listed_tables_first_and_by_number() -> None:
    assert experiment_names() == ORDER


@pytest.mark.parametrize("name", ORDER)
def test_every_declaration_loads_and_tells_what_it_is(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.kind == {"tab": "table", "fig": "figure", "the": "theory"}[name[:3]]
    assert all(text.strip() == text != "" for text in (experiment.title, experiment.section, experiment.claim))
    assert all(row.title for row in experiment.rows)
    assert len({row.name for row in experiment.rows}) == len({row.title for row in experiment.rows})
    assert len({row.name for row in experiment.rows}) == len(experiment.rows)


def test_one_experiment_alone_is_not_in_the_paper() -> None:
    assert [name for name in ORDER if not load_experiment(name).in_paper] == ["table1-why"]
    assert load_experiment("table1-why").published == {}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_of_the_paper_has_its_numbers_for_every_recipe(name: str) -> None:
    experiment = load_experiment(name)
    assert set(experiment.published) == set(experiment.recipes)
    assert experiment.seeds == (0, 1, 2)


def test_figures_and_theory_have_no_columns_and_no_numbers() -> None:
    for name in ORDER[6:]:
        experiment = load_experiment(name)
        assert (experiment.columns, experiment.published, experiment.seeds) == ((), {}, (0,))


@pytest.mark.parametrize(
    ("name", "near"),
    [("tabel1", "table1"), ("table6", "table"), ("fig7", "fig"), ("theorie", "theory"), ("Table1", "table1")],
)
def test_an_unknown_experiment_gets_the_nearest_name(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"unknown table or figure '{name}'; did you mean '{near}"):
        load_experiment(name)


@pytest.mark.parametrize("name", ["", "list", "table1.yaml", "../declarations/table1", "table1\n", "/etc/passwd"])
def test_nothing_but_a_name_is_taken_for_a_name(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown table or figure"):
        load_experiment(name)


# The paper's numbers


@pytest.mark.parametrize(("name", "recipe"), list(BY_METHOD))
def test_tables_1_to_3_hold_the_papers_numbers(name: str, recipe: str) -> None:
    head, *lines = BY_METHOD[name, recipe].strip().splitlines()
    levels = head.split()
    expected = dict(zip(METHOD_ORDER, map(numbers, lines), strict=True))
    assert published(name, recipe) == expected
    columns = tuple("clean" if level.lower() == "clean" else f"gaussian:{level}" for level in levels)
    assert load_experiment(name).columns == columns


def test_table_4_holds_the_papers_numbers() -> None:
    by_perturbation = [numbers(line) for line in TABLE_4.strip().splitlines()]
    expected = dict(zip(METHOD_ORDER, zip(*by_perturbation, strict=True), strict=True))
    assert published("table4", "road") == expected


def test_the_columns_of_table_4_are_the_papers_perturbations_in_its_order() -> None:
    occlusion, stripes = "occlusion:n=20,size=0.175", "stripes:n=10,width=0.012"
    assert load_experiment("table4").columns == (
        occlusion, f"{occlusion}+gaussian:40/255", "downup:1/3", f"downup:1/3+{occlusion}", stripes,
        f"downup:1/3+{stripes}",
    )  # fmt: skip
    assert 0.175 * 400 == 70  # pixels of a patch of 400 × 500 images
    assert 0.012 * 500 == 6  # pixels of a stripe


def test_table_5_holds_the_papers_numbers_by_the_papers_weights() -> None:
    experiment = load_experiment("table5")
    found = {}
    for row in experiment.rows:
        assert row.method == "discriminative"
        assert row.options["lambda_noisy"] == 0  # §7.6: constraints on clean data only
        weights = tuple(row.options[name] for name in ("alpha", "beta", "gamma_reg"))
        assert set(row.options) == {"alpha", "beta", "gamma_reg", "lambda_noisy"}
        assert row.title == "α = {:g}, β = {:g}, γ_reg = {:g}".format(*weights)
        found[weights] = tuple(experiment.published[recipe][row.name] for recipe in ("cifar10", "svhn"))
    assert found == {
        weights: tuple(((accuracy, None),) for accuracy in accuracies) for weights, accuracies in TABLE_5.items()
    }
    assert list(found) == list(TABLE_5)


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_clean_accuracies_have_no_spread_and_noisy_ones_have(name: str) -> None:
    for of_recipe in load_experiment(name).published.values():
        for cells in of_recipe.values():
            assert [cell.std is None for cell in cells] == [True] + [False] * (len(cells) - 1)


# What the claims say of these numbers


def best(name: str, recipe: str, index: int) -> list[str]:
    """The rows of a column, the best first."""
    rows = load_experiment(name).published[recipe]
    return sorted(rows, key=lambda row: -rows[row][index].mean)


def test_the_claim_of_table_1_is_what_its_numbers_say() -> None:
    experiment = load_experiment("table1")
    rows = experiment.published["cifar10"]
    assert abs(rows["discriminative"][0].mean - rows["normal"][0].mean) < 0.1
    ahead = rows["discriminative"][-1].mean - rows["normal"][-1].mean
    assert f"{ahead:.0f} points better at 20/255" in experiment.claim
    assert all(best("table1", "cifar10", index)[0] == "discriminative" for index in range(1, 6))


@pytest.mark.parametrize(("name", "recipe"), [("table2", "svhn"), ("table3", "road")])
def test_the_claims_of_tables_2_and_3_are_what_their_numbers_say(name: str, recipe: str) -> None:
    experiment = load_experiment(name)
    assert "best in every column" in experiment.claim
    assert {best(name, recipe, index)[0] for index in range(len(experiment.columns))} == {"discriminative"}


def test_the_claim_of_table_4_is_what_its_numbers_say() -> None:
    columns = load_experiment("table4").columns
    places = {column: best("table4", "road", index).index("discriminative") for index, column in enumerate(columns)}
    assert places == {column: int(column == "downup:1/3") for column in columns}


@pytest.mark.parametrize("recipe", ["cifar10", "svhn"])
def test_the_claim_of_table_5_is_what_its_numbers_say(recipe: str) -> None:
    compactness, margin, both, none, _ = (
        cells[0].mean for cells in load_experiment("table5").published[recipe].values()
    )
    assert both > compactness > margin
    assert both > none


# Recipes and methods


@pytest.mark.parametrize("name", ORDER)
def test_every_recipe_has_a_small_sibling_that_measures_the_same_columns(name: str) -> None:
    experiment = load_experiment(name)
    for recipe in experiment.recipes:
        full, reduced = load_recipe(recipe), load_recipe(f"{recipe}-reduced")
        for each in (full, reduced):
            assert set(experiment.columns) <= set(each.evaluate.perturbations)
        assert reduced.name == f"{recipe}-reduced"
        assert reduced.train.epochs < full.train.epochs
        assert reduced.noise == full.noise


def test_every_small_sibling_is_of_a_recipe_that_an_experiment_names() -> None:
    named = {recipe for name in ORDER for recipe in load_experiment(name).recipes}
    assert {name.removesuffix("-reduced") for name in recipe_names() if name.endswith("-reduced")} == named


@pytest.mark.parametrize(("recipe", "noise"), [("cifar10", 0.06), ("svhn", 0.15), ("road", 40 / 255)])
def test_recipes_train_with_the_papers_noise_at_both_scales(recipe: str, noise: float) -> None:
    for name in (recipe, f"{recipe}-reduced"):
        assert perturbation(load_recipe(name).noise.train).level == pytest.approx(noise)
    assert load_recipe(recipe).evaluate.draws == 10


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("scale", ["full", "reduced"])
def test_every_experiment_can_be_planned(name: str, scale: str) -> None:
    experiment = load_experiment(name)
    planned = plan(experiment, Setting(scale))  # type: ignore[arg-type]
    assert list(planned) == list(experiment.recipes)
    for runs in planned.values():
        assert len(runs) == len(experiment.rows) * len(experiment.seeds)
        assert [run.recipe.seed for run in runs] == sorted(run.recipe.seed for run in runs)
        assert len({run.folder for run in runs}) == len(runs)


def test_rows_of_the_same_name_are_the_same_run_in_every_experiment() -> None:
    known: dict[str, Row] = {}
    for name in ORDER:
        for row in load_experiment(name).rows:
            assert known.setdefault(row.name, row) == row


def test_figures_and_theory_need_no_run_that_the_tables_do_not_have() -> None:
    runs: dict[str, set[object]] = {"table": set(), "figure": set(), "theory": set()}
    for name in ORDER:
        experiment = load_experiment(name)
        for of_recipe in plan(experiment, Setting()).values():
            runs[experiment.kind] |= {run.folder for run in of_recipe}
    assert runs["figure"] | runs["theory"] <= runs["table"]


def test_a_row_that_is_only_a_name_is_that_method_without_options() -> None:
    row = load_experiment("table1").rows[0]
    assert (row.name, row.method, row.title, row.options) == ("normal", "normal", METHODS["normal"].title, {})


@pytest.mark.parametrize("name", ORDER)
def test_urgent_rows_come_first_and_the_others_in_their_order(name: str) -> None:
    experiment = load_experiment(name)
    order = [row.name for row in experiment.rows_by_urgency]
    urgent = len(experiment.run_first)
    assert tuple(order[:urgent]) == experiment.run_first
    assert order[urgent:] == [row.name for row in experiment.rows if row.name not in experiment.run_first]


# Reading numbers


@pytest.mark.parametrize(
    ("text", "mean", "std", "written"),
    [
        ("92.63 ± 0.09", 92.63, 0.09, "92.63 ±0.09"),
        ("92.63±0.09", 92.63, 0.09, "92.63 ±0.09"),
        ("92.73", 92.73, None, "92.73"),
        (" 92.7 ", 92.7, None, "92.70"),
        ("87.918 ± 0.16", 87.918, 0.16, "87.918 ±0.16"),
        ("100 ± 0", 100.0, 0.0, "100.00 ±0.00"),
    ],
)
def test_a_number_is_read_with_and_without_its_spread(text: str, mean: float, std: float | None, written: str) -> None:
    number = Published.parse(text)
    assert (number.mean, number.std) == (mean, std)
    assert str(number) == written


@pytest.mark.parametrize("text", ["", "±", "± 0.1", "many", "92.7 ± few", "92.7 ± 0.1 ± 0.2", "92,7", "92.7 0.1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        Published.parse(text)


# Faults in a declaration

SOUND: dict[str, Any] = {
    "name": "toy",
    "title": "A toy",
    "section": "7.2",
    "kind": "table",
    "claim": "It is one.",
    "recipes": ["cifar10"],
    "rows": ["normal", {"name": "weak", "title": "Weak", "method": "discriminative", "options": {"beta": 0.0}}],
    "run_first": ["weak"],
    "columns": ["clean", "gaussian:2/255"],
    "published": {"cifar10": {"normal": ["92.73", "92.63 ± 0.09"], "weak": ["90", "80 ± 1"]}},
}


def of_published(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda raw: change(raw["published"]["cifar10"])


FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a row without numbers": of_published(lambda rows: rows.pop("weak")),
    "numbers of an unknown row": of_published(lambda rows: rows.update(strong=["1", "2"])),
    "rows in another order": of_published(lambda rows: rows.update(normal=rows.pop("normal"))),
    "a cell too few": of_published(lambda rows: rows["weak"].pop()),
    "a cell too many": of_published(lambda rows: rows["weak"].append("70")),
    "a cell that is no number": of_published(lambda rows: rows.update(weak=["90", "much"])),
    "numbers of an unknown recipe": lambda raw: raw["published"].update(svhn=raw["published"]["cifar10"]),
    "numbers but no columns": lambda raw: raw.pop("columns"),
    "an unknown method by its name": lambda raw: raw["rows"].append("nosy"),
    "an unknown method of a row": lambda raw: raw["rows"][1].update(method="nosy"),
    "an unknown key of a row": lambda raw: raw["rows"][1].update(colour="red"),
    "a row without a title": lambda raw: raw["rows"][1].pop("title"),
    "an unknown row to run first": lambda raw: raw.update(run_first=["weak", "strong"]),
    "an unknown key": lambda raw: raw.update(collumns=[]),
    "an unknown kind": lambda raw: raw.update(kind="picture"),
    "no claim": lambda raw: raw.pop("claim"),
    "no rows": lambda raw: raw.update(rows=[], run_first=[], published={}),
    "no recipes": lambda raw: raw.update(recipes=[], published={}),
    "no seeds": lambda raw: raw.update(seeds=[]),
}


def test_a_sound_declaration_is_taken() -> None:
    experiment = Experiment.model_validate(copy.deepcopy(SOUND))
    assert experiment.published["cifar10"]["weak"] == (Published(90, None), Published(80, 1))
    assert [row.name for row in experiment.rows_by_urgency] == ["weak", "normal"]


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_in_a_declaration_is_refused(fault: str) -> None:
    raw = copy.deepcopy(SOUND)
    FAULTS[fault](raw)
    with pytest.raises(ValueError, match="validation error"):
        Experiment.model_validate(raw)


def test_a_declaration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_experiment("table1").seeds = (7,)  # type: ignore[misc]
