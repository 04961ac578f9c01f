"""The command `paper`: what it lists, runs, leaves for later and refuses."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from noiseproof.paper import experiment_names, load_experiment
from tests.cli.problems import CommandLine, contents

# One step on small pictures, for the reduced recipes of CIFAR-10 and SVHN.
TINY = [
    word
    for change in (
        "model.embedding_dim=4", "model.options.width=2", "data.augment=none", "data.test_fraction=0.5",
        "train.epochs=1", "train.batch_size=32", "train.max_steps=1", "train.precision=fp32", "evaluate.draws=2",
    )
    for word in ("--set", change)
]  # fmt: skip
SMALL = ["--scale", "reduced", *TINY]


def pictures(path: Path) -> str:
    """Write noisy pictures of three classes and return them as a source of data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 24)
    inputs = np.clip(random.random((3, 3, 8, 8))[labels] + 0.2 * random.normal(size=(72, 3, 8, 8)), 0, 1)
    np.savez(path, x=inputs.astype(np.float32), y=labels)
    return f"npz:{path}"


@pytest.fixture
def source(tmp_path: Path) -> str:
    return pictures(tmp_path / "data" / "pictures.npz")


def page(name: str) -> str:
    return (Path("results") / name / "README.md").read_text(encoding="utf-8")


def command_on(text: str) -> list[str]:
    """The command that a page tells, without the program's name."""
    program, *words = shlex.split(text.split("```sh\n")[1].split("\n```")[0])
    assert program == "noiseproof"
    return words


# What there is


def listed(text: str) -> dict[str, list[str]]:
    """The table of experiments by name: what, data, runs, epochs each, passes, done."""
    rows = (re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if "  " in line.strip())
    return {row[0]: row[1:] for row in rows if row[0] in experiment_names()}


def test_the_list_tells_what_each_experiment_needs_and_costs(noiseproof: CommandLine) -> None:
    text = noiseproof.done("paper", "list")
    found = listed(text)
    assert list(found) == list(experiment_names())
    # With 200 epochs and 3 seeds: normal and noisy take one pass an epoch, the other three methods two.
    assert found["table1"] == [load_experiment("table1").title, "cifar10", "15", "200", "4,800", "0"]
    assert found["table1-why"][1:] == ["cifar10", "15", "200", "6,000", "0"]
    # With 70 epochs.
    assert found["table3"][1:] == found["table4"][1:] == ["road", "15", "70", "1,680", "0"]
    # Two recipes, five rows without noisy inputs.
    assert found["table5"][1:] == ["cifar10, svhn", "30", "200", "6,000", "0"]
    # One seed: normal, both views, discriminative.
    assert found["fig1"][1:] == ["cifar10", "3", "200", "1,000", "0"]
    assert found["fig10"][1:] == ["cifar10, svhn", "10", "200", "3,200", "0"]
    assert found["theory"][1:] == ["cifar10", "2", "200", "600", "0"]
    assert "A pass takes the training set through the network once" in text
    assert contents(Path()) == {}


def test_the_list_at_reduced_scale_costs_less(noiseproof: CommandLine) -> None:
    found = listed(noiseproof.done("paper", "list", "--scale", "reduced"))
    assert found["table1"][1:] == ["cifar10", "15", "6", "144", "0"]
    assert found["table4"][1:] == ["road", "15", "10", "240", "0"]


def test_the_list_tells_what_is_done(noiseproof: CommandLine, source: str) -> None:
    noiseproof.done("paper", "table1", *SMALL, "--data", source, "--rows", "normal", "--seeds", "0,2")
    found = listed(noiseproof.done("paper", "list", *SMALL))
    done = {name: row[-1] for name, row in found.items() if row[-1] != "0"}
    sharing = ("fig1", "fig8", "fig9", "fig10", "fig12", "fig13", "theory")
    assert done == {"table1": "2", **dict.fromkeys(sharing, "1")}
    elsewhere = listed(noiseproof.done("paper", "list", *SMALL, "--runs", "elsewhere"))
    assert {row[-1] for row in elsewhere.values()} == {"0"}


# From the beginning to the end


def test_a_table_from_the_beginning_to_the_end(noiseproof: CommandLine, source: str) -> None:
    arguments = ["paper", "table1", *SMALL, "--data", source, "--rows", "discriminative,normal", "--seeds", "0,1"]
    out = noiseproof.done(*arguments)
    assert "Test accuracy under perturbations: table1, cifar10-reduced" in out
    assert "Normal training" in out
    assert "page: results/table1-reduced-changed/README.md" in out
    text = page("table1-reduced-changed")
    assert text.startswith("# Table 1, accuracy on noisy CIFAR-10\n\n**Reduced scale**")
    assert "4 of 4 finished" in text
    assert sorted(path.name for path in Path("results/table1-reduced-changed/metrics").iterdir()) == [
        f"{row}-seed-{seed}.jsonl" for row in ("discriminative", "normal") for seed in (0, 1)
    ]
    assert Path("runs/paper/cifar10-reduced/normal/seed-1/model.safetensors").is_file()

    before = contents(Path())
    assert noiseproof.done(*arguments) == out
    assert contents(Path()) == before


def test_the_command_on_the_page_gives_the_page(noiseproof: CommandLine, tmp_path: Path) -> None:
    source = pictures(tmp_path / "my data" / "pic'tures.npz")
    noiseproof.done(
        "paper", "table1", *SMALL, "--data", source, "--rows", "normal", "--seeds", "3",
        "--set", "data.image_size=null", "--set", "train.schedule={name: multistep, milestones: [1]}",
        "--set", "train.optimizer.nesterov=false",
    )  # fmt: skip
    text = page("table1-reduced-changed")
    before = contents(Path())
    noiseproof.done(*command_on(text))
    assert contents(Path()) == before


def test_the_command_on_the_page_of_a_figure_gives_the_figure(noiseproof: CommandLine, source: str) -> None:
    noiseproof.done("paper", "fig9", *SMALL, "--data", source, "--limit", "12")
    text = page("fig9-reduced-changed")
    assert "12 test samples" in text
    noiseproof.done(*command_on(text))
    assert "12 test samples" in page("fig9-reduced-changed")


def test_runs_and_results_go_where_they_are_asked_to(noiseproof: CommandLine, source: str, tmp_path: Path) -> None:
    out = noiseproof.done(
        "paper", "table1", *SMALL, "--data", source, "--rows", "normal", "--seeds", "0", "--runs", "a/runs", "-o", "b"
    )
    assert "page: b/table1-reduced-changed/README.md" in out
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "data"}


# Slices


def test_work_that_is_left_is_exit_code_75_and_the_same_command_goes_on(noiseproof: CommandLine, source: str) -> None:
    arguments = ["paper", "table1", *SMALL, "--data", source, "--rows", "normal,mixed", "--seeds", "0"]
    first = noiseproof(*arguments, "--budget", "0.000001s")
    assert first.code == 75
    assert "0 of 2 runs done; the same command goes on from here" in first.out
    assert "0 of 1 epoch" in page("table1-reduced-changed")
    assert noiseproof(*arguments, "--budget", "1d").code == 0
    assert noiseproof(*arguments, "--budget", "0.000001s").code == 0  # nothing is left


def test_a_figure_that_is_not_drawn_yet_is_work_that_is_left(noiseproof: CommandLine, source: str) -> None:
    data = ["--data", source, "--limit", "12"]
    noiseproof.done("paper", "table1", *SMALL, "--data", source, "--rows", "normal,discriminative", "--seeds", "0")
    left = noiseproof("paper", "fig9", *SMALL, *data, "--budget", "0.000001s")
    assert left.code == 75
    assert "2 of 2 runs done, the figure not drawn; the same command goes on from here" in left.out
    assert noiseproof("paper", "fig9", *SMALL, *data).code == 0


def test_data_that_is_not_there_is_an_error_and_the_page_tells_what_was_not_run(noiseproof: CommandLine) -> None:
    done = noiseproof("paper", "table2", "--scale", "reduced", "--data", "npz:nowhere.npz", "--seeds", "0")
    assert done.code == 1
    assert re.fullmatch(r"error: svhn-reduced: .*nowhere\.npz.*\n", done.err)
    assert page("table2-reduced").count("0 of 6 epochs") == 5


# Where the data is


@pytest.mark.parametrize("folder", ["data", "a=b", "cifar10=c"])
@pytest.mark.parametrize("prefix", ["", "cifar10="])
def test_data_with_and_without_the_name_of_its_recipe(
    noiseproof: CommandLine, tmp_path: Path, folder: str, prefix: str
) -> None:
    source = pictures(tmp_path / folder / "x=1.npz")
    noiseproof.done("paper", "table1", *SMALL, "--data", prefix + source, "--rows", "normal", "--seeds", "0")
    text = page("table1-reduced-changed")
    words = command_on(text)
    assert words[words.index("--data") + 1] == f"cifar10={source}"
    run = next(Path("runs").rglob("recipe.yaml"))
    assert f"source: {source}\n" in run.read_text(encoding="utf-8")


def test_data_of_the_second_recipe_leaves_the_first_out(noiseproof: CommandLine, source: str) -> None:
    noiseproof.done("paper", "table5", *SMALL, "--data", f"svhn={source}", "--rows", "margin-only", "--seeds", "0")
    text = page("table5-reduced-changed")
    assert "Not run: no data was given for `cifar10`" in text
    assert "table5, svhn-reduced" in text
    assert [path.name for path in Path("runs/paper").iterdir()] == ["svhn-reduced"]


def test_data_of_both_recipes(noiseproof: CommandLine, source: str, tmp_path: Path) -> None:
    other = pictures(tmp_path / "other" / "pictures.npz")
    noiseproof.done(
        "paper", "table5", *SMALL, "--data", source, "--data", f"svhn={other}", "--rows", "margin-only", "--seeds", "0"
    )
    assert {path.name for path in Path("runs/paper").iterdir()} == {"cifar10-reduced", "svhn-reduced"}
    sources = {
        recipe: next(
            iter(
                json.loads(Path(f"results/table5-reduced-changed/{recipe}-table.json").read_text())["recipes"].values()
            )
        )["data"]["source"]
        for recipe in ("cifar10", "svhn")
    }
    assert sources == {"cifar10": source, "svhn": other}


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("paper", "NAME"),
        ("paper tabel1", "unknown table or figure 'tabel1'; did you mean 'table1'?"),
        ("paper table6", "unknown table or figure 'table6'"),
        ("paper table1.yaml", "did you mean 'table1'?"),
        ("paper table1 table2", "table2"),
        ("paper table1 --scale small", "small"),
        ("paper table1 --scale", "--scale"),
        ("paper list --scale small", "small"),
        ("paper table1 --preset authors", "authors"),
        ("paper table1 --budget soon", "a length of time is written as 90s, 9m, 1.5h or 1h30m, got 'soon'"),
        ("paper table1 --budget 0m", "above 0"),
        ("paper table1 --budget=-9m", "'-9m'"),
        ("paper table1 --budget nan", "'nan'"),
        ("paper table1 --seeds a,b", "--seeds must be whole numbers with commas between, got 'a,b'"),
        ("paper table1 --seeds 1.5", "'1.5'"),
        ("paper table1 --seeds 0,0", "seeds must be at least one number, and none twice, got [0, 0]"),
        ("paper table1 --seeds ,", "seeds must be at least one number"),
        ("paper table1 --seeds -1", "-1"),
        ("paper table1 --rows normal,nosy", "unknown row of table1 'nosy'; did you mean 'noisy'?"),
        ("paper table1-why --rows normal", "unknown row of table1-why 'normal'"),
        ("paper table1 --rows ,", "row"),
        ("paper table1 --data svhn=npz:x.npz", "table1 has no data named 'svhn'; it has cifar10"),
        ("paper table2 --data cifar10=npz:x.npz", "table2 has no data named 'cifar10'; it has svhn"),
        ("paper table5 --data road=folder:x", "table5 has no data named 'road'; it has cifar10, svhn"),
        ("paper table1 --data cifar10-reduced=npz:x.npz", "no data named 'cifar10-reduced'"),
        ("paper table1 --data npzz:x.npz", "unknown data source 'npzz'; did you mean 'npz'?"),
        ("paper table1 --data cifar10=", "data source"),
        ("paper table1 --data =npz:x.npz", "data source"),
        ("paper table1 --jobs 0", "jobs must be >= 1, got 0"),
        ("paper table1 --jobs many", "--jobs"),
        ("paper fig9 --limit 0", "limit must be >= 1, got 0"),
        ("paper table1 --set train.epoch=1", "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ("paper table1 --set train.epochs=0", "train.epochs = 0"),
        ("paper table1 --set train.epochs", "key=value"),
        ("paper table1 --resume", "--resume"),
    ],
)
def test_mistakes(noiseproof: CommandLine, arguments: str, named: str) -> None:
    line = noiseproof.mistake(*arguments.split())
    assert named.lower() in line.lower()
    assert contents(Path()) == {}


def test_a_folder_of_runs_of_another_recipe_is_told_with_what_can_be_done(
    noiseproof: CommandLine, source: str
) -> None:
    arguments = ["paper", "table1", *SMALL, "--data", source, "--rows", "normal", "--seeds", "0"]
    noiseproof.done(*arguments)
    before = contents(Path())
    line = noiseproof.mistake(*arguments, "--set", "train.batch_size=16")
    assert "train.batch_size is 32 there, 16 here" in line
    assert contents(Path()) == before
    assert "--overwrite" not in line  # paper has no such option, and --out is where its results go
    assert "--runs" in line
