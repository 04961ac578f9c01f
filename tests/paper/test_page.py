"""The page of an experiment: tables of runs made up by hand, at both scales, and figures of tiny trained models."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.models.files import load_model, read_description, save_model
from noiseproof.paper import Reproduction, Setting, load_experiment, plan, reproduce
from noiseproof.scheduling import PlannedRun
from noiseproof.training import Run
from noiseproof.training.recipes import dump_recipe
from tests.evaluation.problems import report

# Right answers of 100 with three seeds, in every column; every other draw has one more, the others one less.
RIGHT: dict[str, tuple[int, ...]] = {
    "normal": (79, 80, 81),
    "noisy": (89, 90, 91),
    "mixed": (69, 70, 71),
    "stability": (59, 60, 61),
    "discriminative": (91, 91, 91),
}
PROVENANCE = {
    "versions": {"noiseproof": "0.1.0", "torch": "9.8.7"}, "python": "3.11.0", "device": "Abacus", "threads": 3,
    "data_fingerprint": "f00d", "samples": {"train": 45000, "validation": 5000, "test": 100},
}  # fmt: skip


def make_up(run: PlannedRun, right: int | None, *, seconds: float = 60.0, **provenance: Any) -> None:
    """Leave what a finished run leaves, with ``right`` answers of 100; not measured where that is None."""
    run.folder.mkdir(parents=True)
    recipe = run.recipe.model_copy(update={"provenance": {**PROVENANCE, **provenance}})
    (run.folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    (run.folder / "model.safetensors").write_bytes(run.name.encode())
    epochs = [{"epoch": epoch, "seconds": seconds} for epoch in (1, 2)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    if right is not None:
        swing = [1 if draw % 2 else -1 for draw in range(run.recipe.evaluate.draws)]
        swing[-1] = -sum(swing[:-1])
        counts = {column: [right] if _is_fixed(column) else [right + each for each in swing] for column in run.columns}
        report(counts, 100).save(run.folder / "evaluation")


def _is_fixed(column: str) -> bool:
    return column in ("clean", "downup:1/3")


def made_up(
    name: str, setting: Setting, right: Mapping[str, Sequence[int | None]], seeds: Sequence[int] = (0, 1, 2)
) -> None:
    """Make up the runs of an experiment, by row and seed."""
    for of_recipe in plan(load_experiment(name), setting, seeds).values():
        for run in of_recipe:
            if run.row in right and seeds.index(run.recipe.seed) < len(right[run.row]):
                make_up(run, right[run.row][seeds.index(run.recipe.seed)])


def page_of(made: Reproduction) -> str:
    return made.page.read_text(encoding="utf-8")


def table_under(page: str, *columns: str) -> list[list[str]]:
    """The rows of the table with such headings."""
    head = "| " + " | ".join(columns) + " |"
    assert page.count(head + "\n") == 1
    lines = page.split(head + "\n", 1)[1].splitlines()[1:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def how(page: str) -> dict[str, str]:
    """What the page says of how it was made."""
    return dict(re.findall(r"(?m)^\| ([a-z, ]+) \| (.+) \|$", page.split("## How it was made")[1]))


def require_links(page: Path) -> list[str]:
    """Every file that a page speaks of; they must be there."""
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).is_file() for link in links), links
    return links


AGREEMENT = ("Row", "Column", "here", "± seeds", "± draws", "paper", "difference", "inside")
ORDERS = ("Column", "here", "in the paper", "pairs the same", "open", "opposite")


# A table at the paper's scale


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    """Table 1 at full scale, as if it had been run."""
    place = tmp_path_factory.mktemp("full")
    setting = Setting(runs=place / "runs")
    made_up("table1", setting, RIGHT)
    return reproduce("table1", setting, out=place / "results")


def test_finished_runs_are_not_run_again(full: Reproduction) -> None:
    assert (full.done, full.total, full.drawn, full.wrong, full.complete) == (15, 15, True, (), True)
    assert full.page.parent.name == "table1"
    assert len(full.tables) == 1


def test_at_full_scale_nothing_has_to_be_said_before_the_numbers(full: Reproduction) -> None:
    head = page_of(full).split("Test accuracy")[0]
    assert head.startswith("# Table 1, accuracy on noisy CIFAR-10\n")
    assert "educed" not in head
    assert "Changed" not in head
    assert "```sh\nnoiseproof paper table1\n```" in head
    assert f"The paper (§7.2): {load_experiment('table1').claim}" in head


def test_our_accuracies_are_told_with_both_spreads(full: Reproduction) -> None:
    rows = {row[0]: row[1:] for row in table_under(
        page_of(full), "Method", "clean", "σ 2/255", "σ 4/255", "σ 8/255", "σ 16/255", "σ 20/255"
    )}  # fmt: skip
    draws = f"{np.std([1, -1] * 5, ddof=1):.1f}"
    assert rows["Normal training"] == ["80.0 ±1.0", *[f"80.0 ±1.0 ({draws})"] * 5]
    assert rows["Discriminative (paper)"] == ["**91.0 ±0.0**", *[f"**91.0 ±0.0 ({draws})**"] * 5]


def test_every_cell_is_set_against_the_papers(full: Reproduction) -> None:
    rows = {(row[0], row[1]): row[2:] for row in table_under(page_of(full), *AGREEMENT)}
    assert len(rows) == 30
    assert rows["Normal training", "clean"] == ["80.00", "1.00", "", "92.73", "-12.73", "no"]
    assert rows["Only noisy inputs", "clean"] == ["90.00", "1.00", "", "89.64", "+0.36", "ours"]
    assert rows["Only noisy inputs", "σ 8/255"] == ["90.00", "1.00", "1.05", "89.99 ±0.08", "+0.01", "both"]
    assert rows["Only noisy inputs", "σ 20/255"] == ["90.00", "1.00", "1.05", "87.918 ±0.16", "+2.08", "no"]
    assert rows["Discriminative (paper)", "σ 16/255"] == [
        "91.00",
        "0.00",
        "1.05",
        "91.15 ±0.20",
        "-0.15",
        "the paper's",
    ]


def test_the_order_of_the_rows_is_set_against_the_papers(full: Reproduction) -> None:
    rows = {row[0]: row[1:] for row in table_under(page_of(full), *ORDERS)}
    here = "discriminative > noisy > normal > mixed > stability"
    assert rows["clean"] == [here, "normal > discriminative > mixed > stability > noisy", "5", "1", "4"]
    assert rows["σ 20/255"][:2] == [here, "discriminative > mixed > noisy > stability > normal"]
    assert all(sum(map(int, row[2:])) == 10 for row in rows.values())


def test_what_is_the_other_way_round_is_said_plainly(full: Reproduction) -> None:
    said = page_of(full).split("### Against the paper\n\n")[1].split("\n\n")[0].splitlines()
    opposite = sum(int(row[-1]) for row in table_under(page_of(full), *ORDERS))
    assert len(said) == opposite > 4
    assert said[0] == (
        "- clean: the paper has Normal training 0.06 points above Discriminative (paper); "
        "here it is 11.00 points below."
    )
    assert not any("Discriminative (paper)" in line and "Only noisy inputs" in line for line in said)  # open


def test_the_files_beside_the_page_hold_the_same_numbers(full: Reproduction) -> None:
    folder = full.page.parent
    summary = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert (summary["experiment"], summary["scale"], summary["preset"]) == ("table1", "full", "paper")
    assert (summary["changes"], summary["caveat"]) == ({}, "")
    clean = {each["method"]: each for each in summary["accuracies"] if each["perturbation"] == "clean"}
    assert {method: each["mean"] for method, each in clean.items()} == {
        method: pytest.approx(sum(right) / 300) for method, right in RIGHT.items()
    }
    assert clean["normal"]["by_seed"] == {"0": 0.79, "1": 0.8, "2": 0.81}
    assert summary["orders"][0] == {
        "column": "clean",
        "ours": ["discriminative", "noisy", "normal", "mixed", "stability"],
        "published": ["normal", "discriminative", "mixed", "stability", "noisy"],
        "same": 5,
        "open": 1,
        "opposite": 4,
    }
    assert len((folder / "table.csv").read_text().splitlines()) == 31
    assert require_links(full.page) == ["accuracy.svg"]


def test_the_log_of_every_epoch_lies_beside_the_page(full: Reproduction) -> None:
    logs = sorted(path.name for path in (full.page.parent / "metrics").iterdir())
    assert logs == sorted(f"{row}-seed-{seed}.jsonl" for row in RIGHT for seed in range(3))
    source = full.page.parent.parent.parent / "runs" / "cifar10" / "mixed" / "seed-1" / "metrics.jsonl"
    assert (full.page.parent / "metrics" / "mixed-seed-1.jsonl").read_bytes() == source.read_bytes()


def test_the_page_says_how_it_was_made(full: Reproduction) -> None:
    made = how(page_of(full))
    assert made["scale, preset"] == "full, paper"
    assert made["runs"] == "15 of 15 finished"
    assert made["versions"] == "Python 3.11.0, noiseproof 0.1.0, torch 9.8.7"
    assert made["data"] == "45,000 train, 5,000 validation, 100 test; fingerprint f00d"
    assert made["hardware"] == "Abacus, 3 threads a run"
    assert made["time"].startswith("30 min of training")
    for part in ("resnet18-cifar", "200 epochs", "batch 64", "sgd at 0.001", "gaussian:0.06"):
        assert part in made["recipe"]


def test_an_agreeing_table_has_no_contradictions(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs")
    right = {"normal": 50, "mixed": 80, "discriminative": 95}
    made_up("table1", setting, {row: (count,) * 3 for row, count in right.items()})
    page = page_of(reproduce("table1", setting, rows=["discriminative", "mixed"], out=tmp_path / "out"))
    assert "### Against the paper" not in page
    assert "No two rows are the other way round than in the paper beyond both intervals." in page
    page = page_of(reproduce("table1", setting, rows=["discriminative", "normal"], out=tmp_path / "out"))
    assert "### Against the paper\n\n- clean: the paper has Normal training 0.06 points above" in page


def test_one_seed_decides_no_order(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs")
    made_up("table1", setting, RIGHT, seeds=[4])
    page = page_of(reproduce("table1", setting, seeds=[4], rows=["normal", "noisy"], out=tmp_path / "out"))
    assert "One training seed: no order is decided." in page
    assert "### Against the paper" not in page
    assert all(row[3:] == ["0", "1", "0"] for row in table_under(page, *ORDERS))


def test_what_is_not_in_the_paper_is_not_set_against_it(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs")
    right = {"mixed": (80, 81), "discriminative": (82, 83), "joint-pass": (90, 91)}
    made_up("table1-why", setting, {**right, "softmax-on-both": (70, 71), "joint-and-both": (60, 61)}, seeds=[0, 1])
    page = page_of(reproduce("table1-why", setting, seeds=[0, 1], out=tmp_path / "out"))
    assert "The paper (" not in page
    assert "Not in the paper." in page
    for words in ("Every cell, here and in the paper", "in the paper |", "Against the paper"):
        assert words not in page


@pytest.mark.parametrize("name", ["table3", "table4"])
def test_pictures_of_ones_own_are_not_taken_for_the_papers(name: str, tmp_path: Path) -> None:
    """The paper's road images are not public, so that whatever is given are others."""
    setting = Setting(runs=tmp_path / "runs", sources={"road": "folder:photos"})
    made_up(name, setting, RIGHT, seeds=[0])
    page = page_of(reproduce(name, setting, seeds=[0], rows=["normal", "noisy"], out=tmp_path / "out"))
    before = page.split("## How it was made")[0].replace("--data road=folder:photos", "")
    told = re.search(
        r"(not|other|own)\b[^.]*\b(data|images|pictures|photos)|(data|images|pictures|photos)[^.]* not", before
    )
    assert "Every cell, here and in the paper" not in page or told


# Reduced scale, presets and changes


def reduced(place: Path, **more: Any) -> Setting:
    return Setting("reduced", runs=place / "runs", **more)


def test_reduced_scale_is_said_first_and_no_published_number_is_shown(tmp_path: Path) -> None:
    made_up("table1", reduced(tmp_path), RIGHT)
    made = reproduce("table1", reduced(tmp_path), out=tmp_path / "out")
    assert made.page.parent.name == "table1-reduced"
    page = page_of(made)
    assert page.splitlines()[2].startswith("**Reduced scale**: ")
    assert "Test accuracy under perturbations: table1, cifar10-reduced" in page
    assert "Every cell, here and in the paper" not in page
    for cells in load_experiment("table1").published["cifar10"].values():
        assert not any(f"{cell.mean:.2f}" in page for cell in cells)
    assert len(table_under(page, *ORDERS)) == 6
    assert how(page)["scale, preset"] == "reduced, paper"


@pytest.mark.parametrize("file", ["table.json", "table.csv", "accuracy.svg"])
def test_reduced_scale_is_said_in_every_file(file: str, tmp_path: Path) -> None:
    made_up("table1", reduced(tmp_path), RIGHT, seeds=[0])
    made = reproduce("table1", reduced(tmp_path), seeds=[0], rows=["normal"], out=tmp_path / "out")
    assert "reduced" in (made.page.parent / file).read_text(encoding="utf-8").lower()


def test_changed_settings_are_said_first_and_no_published_number_is_shown(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs", changes={"train.epochs": 3, "evaluate.draws": 4})
    made_up("table1", setting, RIGHT, seeds=[0])
    made = reproduce("table1", setting, seeds=[0], rows=["normal"], out=tmp_path / "out")
    assert page_of(made).splitlines()[2] == (
        "**Changed settings**: train.epochs = 3, evaluate.draws = 4. Not the experiment of the paper. Only the rows "
        "normal. Only the training seed 0."
    )
    assert "Every cell, here and in the paper" not in page_of(made)
    assert json.loads((made.page.parent / "table.json").read_text())["changes"] == setting.changes


def test_the_published_code_chooses_weights_on_the_test_set_and_the_page_says_so(tmp_path: Path) -> None:
    setting = reduced(tmp_path, preset="authors-code")
    made_up("table1", setting, RIGHT, seeds=[0, 1])
    made = reproduce("table1", setting, seeds=[0, 1], rows=["normal"], out=tmp_path / "out")
    assert made.page.parent.name == "table1-reduced-authors-code"
    assert made.page.parent.parent.parent / "runs" / "cifar10-reduced-authors-code" in (tmp_path / "runs").iterdir()
    page = page_of(made)
    assert "Preset `authors-code`" in page.splitlines()[2]
    assert "The weights were chosen on the test set, so these accuracies are too good." in page
    assert "chosen on the test set" in made.tables[0].caption
    assert "chosen on the test set" in (made.page.parent / "table.csv").read_text()
    assert how(page)["scale, preset"] == "reduced, authors-code"
    assert "weights kept: best-test" in how(page)["recipe"]


def test_the_page_of_a_call_from_python_does_not_tell_of_another_command(tmp_path: Path) -> None:
    made_up("table1", reduced(tmp_path), RIGHT, seeds=[3])
    page = page_of(reproduce("table1", reduced(tmp_path), seeds=[3], rows=["normal"], out=tmp_path / "out"))
    command = page.split("```sh\n")[1].split("\n```")[0] if "```sh\n" in page else "--scale reduced --seeds 3"
    assert "--scale reduced" in command
    assert "--seeds 3" in command


# What is missing


def test_what_is_not_finished_is_listed_and_not_in_the_numbers(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs")
    made_up("table1", setting, {"normal": (79, 80), "mixed": (69, None)}, seeds=[0, 1])
    (begun,) = plan(load_experiment("table1"), setting, [1], ["stability"])["cifar10"]
    begun.folder.mkdir(parents=True)
    (begun.folder / "metrics.jsonl").write_text("{}\n" * 3)
    made = reproduce("table1", setting, seeds=[0, 1], out=tmp_path / "out", budget=1e-9)
    assert (made.done, made.total, made.complete) == (3, 10, False)
    page = page_of(made)
    missing = page.split("**Not finished**")[1].split("\n\n")[1].splitlines()
    assert sorted(missing) == [
        "- Clean and noisy inputs, seed 1: trained, not measured",
        "- Discriminative (paper), seed 0: 0 of 200 epochs",
        "- Discriminative (paper), seed 1: 0 of 200 epochs",
        "- Only noisy inputs, seed 0: 0 of 200 epochs",
        "- Only noisy inputs, seed 1: 0 of 200 epochs",
        "- Stability training, seed 0: 0 of 200 epochs",
        "- Stability training, seed 1: 3 of 200 epochs",
    ]
    assert [row[0] for row in table_under(page, *AGREEMENT)] == ["Normal training"] * 6 + [
        "Clean and noisy inputs"
    ] * 6
    assert (made.page.parent / "metrics" / "stability-seed-1.jsonl").is_file()


def test_a_run_that_is_not_measured_is_not_called_finished(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs")
    made_up("table1", setting, {"normal": (79, None)}, seeds=[0, 1])
    page = page_of(reproduce("table1", setting, rows=["normal"], seeds=[0, 1], out=tmp_path / "out", budget=1e-9))
    assert "seed 1: trained, not measured" in page
    assert how(page)["runs"] != "2 of 2 finished"


def test_nothing_done_yet_is_a_page_too(tmp_path: Path) -> None:
    made = reproduce("table1", Setting(runs=tmp_path / "runs"), out=tmp_path / "out", budget=1e-9)
    assert (made.done, made.total, made.tables) == (0, 15, ())
    page = page_of(made)
    assert page.count("0 of 200 epochs") == 15
    assert "No run is finished." in page
    assert "|" not in page
    assert sorted(path.name for path in made.page.parent.iterdir()) == ["README.md"]


def test_a_recipe_without_data_is_said_not_to_have_been_run(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs", sources={"svhn": "npz:x.npz"})
    rows = ("compactness-only", "margin-only", "both-on-clean", "both-unregularised", "both-regularised-strongly")
    made_up("table5", setting, {row: (80 + index,) * 2 for index, row in enumerate(rows)}, seeds=[0, 1])
    made = reproduce("table5", setting, seeds=[0, 1], out=tmp_path / "out")
    first, second = page_of(made).split("\n## ")[1:3]
    assert first.splitlines()[0] == "cifar10"
    assert "Not run: no data was given for `cifar10` (`--data cifar10=SOURCE`)." in first
    assert "|" not in first
    assert second.splitlines()[0] == "svhn"
    assert "Test accuracy under perturbations: table5, svhn" in second
    names = {path.name for path in made.page.parent.iterdir()}
    assert names == {"README.md", "metrics", "svhn-table.csv", "svhn-table.json"}  # one column needs no plot
    assert (made.page.parent / "metrics" / "svhn-margin-only-seed-0.jsonl").is_file()


def test_finished_runs_are_not_said_not_to_have_been_run(tmp_path: Path) -> None:
    """Data is given for one recipe now; that of the other was given before, and its runs are there."""
    rows = ("compactness-only", "margin-only", "both-on-clean", "both-unregularised", "both-regularised-strongly")
    for recipe in ("cifar10", "svhn"):
        setting = Setting(runs=tmp_path / "runs", sources={recipe: "npz:x.npz"})
        made_up("table5", setting, dict.fromkeys(rows, (80,)), seeds=[0])
        made = reproduce("table5", setting, seeds=[0], out=tmp_path / "out")
    assert "Not run: no data was given for `cifar10`" not in page_of(made)


def test_data_that_cannot_be_read_is_told_and_what_was_not_run_is_listed(tmp_path: Path) -> None:
    setting = reduced(tmp_path, sources={"cifar10": f"npz:{tmp_path / 'nowhere.npz'}"})
    made = reproduce("table1", setting, seeds=[0], out=tmp_path / "out")
    assert len(made.wrong) == 1
    assert "nowhere.npz" in made.wrong[0]
    assert not made.complete
    assert page_of(made).count("0 of 6 epochs") == 5


def test_rows_that_were_finished_with_different_seeds_are_shown(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs")
    made_up("table1", setting, {"normal": (80,)}, seeds=[1])
    made_up("table1", setting, {"discriminative": (90,)}, seeds=[0])
    page = page_of(reproduce("table1", setting, seeds=[0, 1], out=tmp_path / "out", budget=1e-9))
    assert len(table_under(page, *AGREEMENT)) == 12


def test_the_spread_of_one_seed_is_not_shown_as_that_over_three(tmp_path: Path) -> None:
    """As between two slices: of one row three seeds are finished, of the other one, whose ± is over draws."""
    setting = Setting(runs=tmp_path / "runs")
    made_up("table1", setting, {"normal": (79, 80, 81), "mixed": (69,)})
    page = page_of(reproduce("table1", setting, rows=["normal", "mixed"], out=tmp_path / "out", budget=1e-9))
    table = page.split("Test accuracy")[1].split("\n\n")
    assert "mean ± std over up to 3 training seeds" in table[2]
    assert "69.0 ±1.1" not in table[1] or "one seed" in table[2] or "one training seed" in table[2]


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="row"):
        reproduce("table1", reduced(tmp_path), rows=[], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Notes


def test_notes_by_hand_are_shown_and_kept(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs")
    made_up("table1", setting, RIGHT, seeds=[0])
    notes = "## What it means\n\nNothing `yet` & 50 % | sure.\n\n"
    (tmp_path / "out" / "table1").mkdir(parents=True)
    (tmp_path / "out" / "table1" / "notes.md").write_text(notes, encoding="utf-8")
    for _ in range(2):
        made = reproduce("table1", setting, seeds=[0], rows=["normal"], out=tmp_path / "out")
        page = page_of(made)
        assert page.count(notes.strip()) == 1
        assert page.index("Test accuracy") < page.index("## What it means") < page.index("## How it was made")
        assert (made.page.parent / "notes.md").read_text(encoding="utf-8") == notes


def test_notes_in_another_encoding_are_no_reason_to_lose_the_page(tmp_path: Path) -> None:
    setting = Setting(runs=tmp_path / "runs")
    made_up("table1", setting, {"normal": (80,)}, seeds=[0])
    (tmp_path / "out" / "table1").mkdir(parents=True)
    (tmp_path / "out" / "table1" / "notes.md").write_bytes("Größer ist besser.".encode("latin-1"))
    try:
        told = page_of(reproduce("table1", setting, seeds=[0], rows=["normal"], out=tmp_path / "out"))
    except NoiseproofError as error:
        told = str(error)  # in one line, too
    assert "ist besser." in told or "notes.md" in told


# Figures and theory of tiny trained models

LIMIT = 12
TINY: dict[str, Any] = {
    "model.embedding_dim": 4, "model.options.width": 2, "data.augment": "none", "data.test_fraction": 0.5,
    "train.epochs": 1, "train.batch_size": 16, "train.precision": "fp32", "evaluate.draws": 2,
}  # fmt: skip


class Noting:
    """A progress reporter that notes what is begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Noting]:
        self.begun.append(title)
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with noisy pictures of three classes and, by and by, runs on them."""
    folder = tmp_path_factory.mktemp("figures")
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    inputs = np.clip(random.random((3, 3, 8, 8))[labels] + 0.2 * random.normal(size=(120, 3, 8, 8)), 0, 1)
    np.savez(folder / "pictures.npz", x=inputs.astype(np.float32), y=labels)
    return folder


def tiny(place: Path, recipe: str = "cifar10", runs: Path | None = None) -> Setting:
    source = {recipe: f"npz:{place / 'pictures.npz'}"}
    return Setting("reduced", sources=source, changes=TINY, runs=runs or place / "runs")


@pytest.fixture(scope="module")
def fig9(place: Path) -> Reproduction:
    return reproduce("fig9", tiny(place), out=place / "out", limit=LIMIT)


@pytest.fixture
def kept(fig9: Reproduction, place: Path, tmp_path: Path) -> Callable[..., tuple[Reproduction, list[str]]]:
    """Asks again for the figure of copies of its runs and results, and tells what was begun for it."""
    shutil.copytree(place / "runs", tmp_path / "runs")
    shutil.copytree(fig9.page.parent, tmp_path / "out" / "fig9-reduced-changed")

    def again(limit: int = LIMIT, setting: Setting | None = None, **more: Any) -> tuple[Reproduction, list[str]]:
        noting = Noting()
        setting = setting or tiny(place, runs=tmp_path / "runs")
        return reproduce("fig9", setting, out=tmp_path / "out", limit=limit, progress=noting, **more), noting.begun

    return again


def test_a_figure_is_shown_with_its_numbers(fig9: Reproduction) -> None:
    assert (fig9.done, fig9.total, fig9.drawn, fig9.complete, fig9.tables) == (2, 2, True, True, ())
    page = page_of(fig9)
    assert page.splitlines()[2].startswith("**Reduced scale**: ")
    assert "**Changed settings**: " in page.splitlines()[2]
    assert require_links(fig9.page) == ["cifar10/fig9.png"]
    rows = table_under(page, "Model", "noise", "r over groups", "groups", "ρ over samples")
    assert [row[:2] for row in rows] == [
        [model, noise]
        for model in ("Normal training, seed 0", "Discriminative (paper), seed 0")
        for noise in ("σ 0.06", "uniform:0.06")
    ]
    assert f"{LIMIT} test samples" in page
    assert "Not run: no data was given for `svhn`" in page
    assert "Not at the paper's scale" in (fig9.page.parent / "cifar10" / "fig9.svg").read_text(encoding="utf-8")
    assert sorted(path.name for path in (fig9.page.parent / "metrics").iterdir()) == [
        "cifar10-discriminative-seed-0.jsonl", "cifar10-normal-seed-0.jsonl",
    ]  # fmt: skip


def test_a_figure_of_the_same_models_is_not_drawn_again(
    fig9: Reproduction, kept: Callable[..., tuple[Reproduction, list[str]]]
) -> None:
    made, begun = kept()
    assert begun == []
    assert made.complete
    assert made.page.read_bytes() == fig9.page.read_bytes()


def test_a_figure_of_other_weights_is_drawn_again(
    kept: Callable[..., tuple[Reproduction, list[str]]], tmp_path: Path
) -> None:
    weights = tmp_path / "runs" / "cifar10-reduced" / "normal" / "seed-0" / "model.safetensors"
    model = load_model(weights)
    with torch.no_grad():
        model.head.weight.mul_(2)
    save_model(weights, model, read_description(weights))
    before = (tmp_path / "out" / "fig9-reduced-changed" / "cifar10" / "fig9.svg").read_bytes()
    assert kept()[1] != []
    assert (tmp_path / "out" / "fig9-reduced-changed" / "cifar10" / "fig9.svg").read_bytes() != before
    assert kept()[1] == []


def test_a_figure_that_is_gone_is_drawn_again(
    fig9: Reproduction, kept: Callable[..., tuple[Reproduction, list[str]]], tmp_path: Path
) -> None:
    picture = tmp_path / "out" / "fig9-reduced-changed" / "cifar10" / "fig9.png"
    picture.unlink()
    made, _ = kept()
    require_links(made.page)
    assert picture.read_bytes() == (fig9.page.parent / "cifar10" / "fig9.png").read_bytes()


@pytest.mark.parametrize("content", ["", "[]", '{"parts": []}'])
def test_a_damaged_note_of_what_was_drawn_is_made_anew(
    fig9: Reproduction, kept: Callable[..., tuple[Reproduction, list[str]]], tmp_path: Path, content: str
) -> None:
    note = tmp_path / "out" / "fig9-reduced-changed" / "cifar10" / "figure.json"
    note.write_text(content)
    made, begun = kept()
    assert begun != []
    assert note.read_bytes() == (fig9.page.parent / "cifar10" / "figure.json").read_bytes()
    assert page_of(made) == page_of(fig9)


def test_a_figure_that_is_there_stays_on_the_page_when_the_time_is_over(
    fig9: Reproduction, kept: Callable[..., tuple[Reproduction, list[str]]]
) -> None:
    made, begun = kept(budget=1e-9)
    assert begun == []
    assert made.complete
    assert page_of(made) == page_of(fig9)


def test_a_figure_is_drawn_where_the_data_lies_now(
    kept: Callable[..., tuple[Reproduction, list[str]]], place: Path, tmp_path: Path
) -> None:
    """On another machine, say; training goes on with the same data from another place, too."""
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(place / "pictures.npz", tmp_path / "elsewhere")
    for recipe in (tmp_path / "runs").rglob("recipe.yaml"):  # as if it had been trained where nothing lies now
        recipe.write_text(recipe.read_text().replace(str(place), str(tmp_path / "gone")))
    made, begun = kept(limit=LIMIT + 1, setting=tiny(tmp_path / "elsewhere", runs=tmp_path / "runs"))
    assert begun != []
    assert made.complete
    assert f"{LIMIT + 1} test samples" in page_of(made)


def test_a_figure_is_not_drawn_while_a_run_is_missing(place: Path, tmp_path: Path) -> None:
    made = reproduce("fig12", tiny(place, runs=tmp_path / "runs"), out=tmp_path / "out", limit=LIMIT, budget=1e-9)
    assert (made.drawn, made.complete) == (False, False)
    assert "](" not in page_of(made)
    assert page_of(made).count("0 of 1 epoch") == 2


def test_fig_10_shares_its_runs_with_fig_9(fig9: Reproduction, place: Path) -> None:
    noting = Noting()
    made = reproduce("fig10", tiny(place), out=place / "out", limit=LIMIT, progress=noting)
    assert [title.split(",")[1].strip() for title in noting.begun if title.startswith("train")] == [
        "noisy", "mixed", "stability",
    ]  # fmt: skip
    assert require_links(made.page) == ["cifar10/fig10.png"]
    rows = table_under(page_of(made), "Model", "lower quartile", "median", "upper quartile", "mean")
    assert [row[0].split(",")[0] for row in rows] == [
        "Normal training", "Only noisy inputs", "Clean and noisy inputs", "Stability training",
        "Discriminative (paper)",
    ]  # fmt: skip
    assert all(float(row[1]) <= float(row[2]) <= float(row[3]) for row in rows)


def test_accuracies_of_weights_that_were_chosen_on_the_test_set_are_said_to_be_too_good(place: Path) -> None:
    setting = replace(tiny(place), preset="authors-code")
    made = reproduce("fig8", setting, rows=["normal"], out=place / "out", limit=LIMIT)
    assert made.complete
    assert "accuracies are too good" in page_of(made)


def test_fig_11_is_of_one_input_and_says_so(place: Path) -> None:
    made = reproduce("fig11", tiny(place, "svhn"), rows=["normal"], out=place / "out", limit=LIMIT)
    assert require_links(made.page) == ["fig11.png"]
    assert f"{LIMIT} test samples" not in page_of(made)


def test_the_theory_is_a_table(fig9: Reproduction, place: Path) -> None:
    made = reproduce("theory", tiny(place), out=place / "out", limit=LIMIT)
    page = page_of(made)
    rows = table_under(page, "What", "Normal training, seed 0", "Discriminative (paper), seed 0")
    for theorem in ("Propositions 5.1 and 5.2", "Proposition 5.3", "Theorem 6.1", "Theorem 6.2", "Theorem 6.3"):
        assert any(theorem in row[0] for row in rows)
    assert "Not at the paper's scale or settings." in page
    assert "](" not in page
    assert (made.page.parent / "theory.md").is_file()


def timeless(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but for the lines that tell times."""
    return {
        str(path.relative_to(folder)): re.sub(rb"(?m)^\| time \|.*$", b"", path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".jsonl"
    }


def test_the_same_experiment_twice_leaves_the_same_files(fig9: Reproduction, place: Path, tmp_path: Path) -> None:
    """Trained twice, measured twice and drawn twice."""
    found = []
    for runs, out in ((place / "runs", tmp_path / "one"), (tmp_path / "runs", tmp_path / "other")):
        setting = tiny(place, runs=runs)
        reproduce("table1", setting, seeds=[0], rows=["normal"], out=out)
        if runs.parent == place:
            shutil.copytree(fig9.page.parent, out / "fig9-reduced-changed")
        else:
            reproduce("fig9", setting, out=out, limit=LIMIT)
        found.append(timeless(out))
    assert found[0] == found[1]
    names = {
        "table1-reduced-changed/README.md",
        "table1-reduced-changed/accuracy.svg",
        "fig9-reduced-changed/README.md",
    }
    assert {*names, "fig9-reduced-changed/cifar10/fig9.png", "fig9-reduced-changed/cifar10/fig9.svg"} <= set(found[0])


def test_the_numbers_of_a_table_are_those_of_the_runs(place: Path, tmp_path: Path) -> None:
    setting = tiny(place)
    made = reproduce("table1", setting, seeds=[0, 1], rows=["normal"], out=tmp_path)
    runs = plan(load_experiment("table1"), setting, [0, 1], ["normal"])["cifar10"]
    reports = [Run(run.folder).report() for run in runs]
    mean = np.mean([found["gaussian:20/255"].mean for found in reports if found is not None])
    records = json.loads((made.page.parent / "table.json").read_text())["accuracies"]
    assert [each["mean"] for each in records if each["perturbation"] == "gaussian:20/255"] == [pytest.approx(mean)]
    assert {each["draws"] for each in records if each["perturbation"] != "clean"} == {2}
    assert "Every cell, here and in the paper" not in page_of(made)
