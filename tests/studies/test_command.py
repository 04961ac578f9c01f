"""The command `sweep`: what it prints and leaves, how it is told what to do, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from noiseproof.studies import load_study
from noiseproof.studies.planning import Plan
from noiseproof.training import load_recipe
from tests.cli.problems import CommandLine, contents
from tests.studies.problems import blobs, looked_at, pretend, tables_in

TINY = """\
name: tiny
method: normal
data: {source: "npz:blobs.npz"}
model: {name: mlp, embedding_dim: 4, options: {width: 8}}
noise: {train: "gaussian:0.3"}
train: {epochs: 1, batch_size: 32}
evaluate: {perturbations: [clean, "gaussian:0.2"], draws: 2}
"""
RATES = ["--vary", "train.optimizer.lr=0.001,0.05"]
SWEEP = ["sweep", "tiny.yaml", *RATES]


@pytest.fixture(autouse=True)
def _recipe(noiseproof: CommandLine) -> None:
    Path("tiny.yaml").write_text(TINY)


@pytest.fixture
def _data(noiseproof: CommandLine) -> None:
    blobs(Path("blobs.npz"))


def page(folder: str = "out") -> str:
    return Path(folder, "README.md").read_text(encoding="utf-8")


# What it does


@pytest.mark.usefixtures("_data")
def test_a_study_from_the_beginning_to_the_end(noiseproof: CommandLine) -> None:
    command = [*SWEEP, "--vary", "noise.train=gaussian:0.3,'gaussian:std=0.1'", "--design", "grid", "-m", "mixed"]
    out = noiseproof.done(*command)
    folder = "runs/sweep-tiny-lr-noise.train"
    assert out.splitlines()[-2:] == [f"page: {folder}/README.md", f"chosen: {folder}/chosen.yaml"]
    names = ["base", "noise.train=gaussian_std=0.1", "lr=0.05", "lr=0.05,noise.train=gaussian_std=0.1"]
    lines = out.splitlines()
    for name in names:
        assert any(line.strip().startswith(f"{name}  ") for line in lines), name
    assert "\x1b" not in out
    assert "…" not in out
    assert any("lr: 0.001 → 0.05" in line and line.rstrip().endswith(" 2") for line in lines)  # pairs in a full grid
    assert sorted(path.name for path in Path(folder).iterdir()) == [
        "README.md", "chosen.yaml", "looks.json", "runs", "study.json", "study.yaml", "trials.csv",
    ]  # fmt: skip
    assert {path.name for path in Path(folder, "runs").iterdir()} == set(names)
    assert load_recipe(f"{folder}/chosen.yaml").method == "mixed"
    test, *_ = tables_in(page(folder))
    assert test[0] == ["Method", "clean", "σ 0.2"]

    before = contents(Path())
    assert noiseproof.done(*command) == out
    assert {name: found for name, found in contents(Path()).items() if found != before[name]} == {}


@pytest.mark.usefixtures("_data")
def test_the_chosen_recipe_can_be_trained(noiseproof: CommandLine) -> None:
    noiseproof.done(*SWEEP, "-o", "out", "--no-test")
    noiseproof.done("train", "out/chosen.yaml", "--out", "alone")
    chosen = json.loads(Path("out/study.json").read_text())["chosen"]["trial"]
    there = Path("out/runs", chosen, "seed-0", "model.safetensors")
    assert Path("alone/model.safetensors").read_bytes() == there.read_bytes()
    assert looked_at(Path("out/runs")) == set()
    assert not Path("out/looks.json").exists()


@pytest.mark.usefixtures("_data")
def test_the_study_it_wrote_may_be_given_in_place_of_the_options(noiseproof: CommandLine) -> None:
    out = noiseproof.done(*SWEEP, "--seeds", "1,0", "-o", "out")
    before = contents(Path("out"))
    assert noiseproof.done("sweep", "out/study.yaml", "-o", "out") == out
    after = contents(Path("out"))
    assert {name for name in after if after[name] != before.get(name)} <= {"README.md"}  # the command is another


def test_options_say_what_a_file_says(noiseproof: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 10, limit=0)
    Path("study.yaml").write_text("""\
recipe: tiny.yaml
set: {method: noisy}
vary: {train.optimizer.lr: {low: 0.001, high: 0.1, scale: log}, train.label_smoothing: [0, 0.1]}
design: random
trials: 5
seeds: [3, 4]
finalists: 2
final_seeds: [5]
score: [clean]
""")
    options = ["--vary", "train.optimizer.lr=0.001..0.1,log", "--vary", "train.label_smoothing=0,0.1", "-m", "noisy",
               "--design", "random", "--trials", "5", "--seeds", "3,4", "--finalists", "2", "--final-seeds", "5",
               "--score", "clean"]  # fmt: skip
    plans = []
    for name, arguments in (("a", ["tiny.yaml", *options]), ("b", ["study.yaml"])):
        Path(name).mkdir()
        assert noiseproof("sweep", *arguments, "-o", name).code == 75
        plans.append(Plan.of(load_study(f"{name}/study.yaml"), Path("runs"), {}))
    assert plans[0] == plans[1]
    assert plans[0].study.seeds_to_decide == (3, 4, 5)
    assert len(plans[0].trials) == 6


def test_set_and_data_hold_for_all(noiseproof: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    work = pretend(monkeypatch, 10)
    changes = ["train.epochs=3", "model.name=small-cnn", "model.options.width=2"]
    options = [word for change in changes for word in ("--set", change)]
    noiseproof.done(*SWEEP, *options, "--data", "digits", "-o", "out")
    assert len(work.done) == 3
    for recipe in Path("out/runs").rglob("recipe.yaml"):
        read = yaml.safe_load(recipe.read_text())
        assert (read["train"]["epochs"], read["data"]["source"], read["model"]["name"]) == (3, "digits", "small-cnn")


# Time and what goes wrong


@pytest.mark.usefixtures("_data")
def test_work_that_is_left_is_exit_code_75_and_the_same_command_goes_on(noiseproof: CommandLine) -> None:
    Path("out").mkdir()
    left = noiseproof(*SWEEP, "-o", "out", "--budget", "0.001")
    assert (left.code, left.err) == (75, "")
    assert left.out.splitlines()[-1] == "0 of 2 runs done so far; the same command goes on from here"
    assert "Not decided yet: 0 of 2 trials are measured." in page()
    assert "- base, seed 0: 0 of 1 epochs" in page()
    assert not Path("out/chosen.yaml").exists()
    noiseproof.done(*SWEEP, "-o", "out")
    assert "**Chosen" in page()


@pytest.mark.usefixtures("_data")
def test_time_may_be_over_before_anything_is_begun(noiseproof: CommandLine) -> None:
    assert noiseproof(*SWEEP, "-o", "new/out", "--budget", "0.001").code == 75


def test_data_that_is_not_there_is_told(noiseproof: CommandLine) -> None:
    outcome = noiseproof(*SWEEP, "-o", "new")
    assert outcome.code == 1
    assert re.fullmatch(r"error: tiny: the data source 'npz' needs a file, .* blobs\.npz is none\n", outcome.err)


def test_data_that_is_not_there_is_a_failure_and_no_work_left(noiseproof: CommandLine) -> None:
    """The same command does not go on from here; code 75 would let a scheduler try it for ever."""
    Path("out").mkdir()
    outcome = noiseproof(*SWEEP, "-o", "out")
    assert "blobs.npz" in outcome.err
    assert "goes on from here" not in outcome.out
    assert outcome.code == 1


@pytest.mark.usefixtures("_data")
def test_a_setting_that_diverges_is_told_and_left_out_and_the_study_ends(noiseproof: CommandLine) -> None:
    """That is what a study is to find out, so it is no failure of the command."""
    outcome = noiseproof("sweep", "tiny.yaml", "--vary", "train.optimizer.lr=0.001,1e30", "-o", "out")
    assert outcome.code == 0
    told = [line for line in outcome.err.splitlines() if "lr=1e+30" in line]
    assert len(told) == 1
    assert re.search(r"tiny, lr=1e\+30, seed 0: .*(became nan|became inf|not finite).*in epoch 1", told[0])
    assert "Traceback" not in outcome.err
    assert "**Chosen on the validation split, from 2 trials: base**" in page()
    assert "## Could not be finished\n\n- tiny, lr=1e+30, seed 0: " in page()
    assert looked_at(Path("out/runs")) == {("base", "seed-0")}
    tables_in(page())


@pytest.mark.usefixtures("_data")
def test_a_setting_that_diverges_is_no_error_of_a_command_that_ends_well(noiseproof: CommandLine) -> None:
    outcome = noiseproof("sweep", "tiny.yaml", "--vary", "train.optimizer.lr=0.001,1e30", "-o", "out")
    assert outcome.code == 0
    assert "error:" not in outcome.err


@pytest.mark.usefixtures("_data")
def test_where_every_setting_diverges_the_command_fails(noiseproof: CommandLine) -> None:
    outcome = noiseproof("sweep", "tiny.yaml", "--vary", "train.optimizer.lr=1e29,1e30", "-o", "out")
    assert outcome.code == 1
    assert len(re.findall(r"^warning: tiny, \S+, seed 0: ", outcome.err, re.MULTILINE)) == 2
    assert "goes on" not in outcome.out
    assert not Path("out/chosen.yaml").exists()
    assert not Path("out/looks.json").exists()


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["digits"], "say what varies, as --vary"),
        (["digit", *RATES], "unknown recipe 'digit'; did you mean 'digits'?"),
        (["none.yaml", *RATES], "none.yaml does not exist"),
        (["none.yaml"], "the study none.yaml does not exist"),
        (["tiny.yaml", "--vary", "train.epochs"], "write what varies as key=value,value, such as train.epochs=10,20"),
        (["tiny.yaml", "--vary", "train.epoch=1,2"], "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        (["tiny.yaml", "--vary", "train.epochs=1,x"], "train.epochs = 'x'"),
        (["tiny.yaml", "--vary", "train.epochs=1,1"], "no value may stand twice"),
        (["tiny.yaml", "--vary", "train.epochs=1,2", "--vary", "train.epochs=3"], "train.epochs varies twice"),
        (["tiny.yaml", "--vary", "train.optimizer.lr=0.1..0.01"], "low must be below high"),
        (["tiny.yaml", "--vary", "train.optimizer.lr=0.1..1"], "only the design 'random' draws from"),
        (["tiny.yaml", *RATES, "--design", "random"], "needs a number of trials above 0"),
        (["tiny.yaml", *RATES, "--trials", "4"], "a random design, and no other, needs a number of trials"),
        (["tiny.yaml", *RATES, "--design", "latin"], "'one-at-a-time', 'grid', 'random'"),
        (["tiny.yaml", *RATES, "--trials", "many"], "--trials"),
        (["tiny.yaml", *RATES, "--seeds", "0,x"], "--seeds must be whole numbers with commas between, got '0,x'"),
        (["tiny.yaml", *RATES, "--final-seeds", "1.5"], "--final-seeds must be whole numbers"),
        (["tiny.yaml", *RATES, "--seeds", "0,0"], "none of them twice"),
        (["tiny.yaml", *RATES, "--seeds", "-1"], "from 0 upwards"),
        (["tiny.yaml", *RATES, "--finalists", "0"], "finalists"),
        (["tiny.yaml", *RATES, "--jobs", "0"], "jobs"),
        (["tiny.yaml", *RATES, "--budget", "soon"], "a length of time is written as 90s, 9m, 1.5h or 1h30m, got"),
        (["tiny.yaml", *RATES, "--budget", "0"], "above 0"),
        (["tiny.yaml", *RATES, "-m", "mixt"], "unknown method 'mixt'; did you mean 'mixed'?"),
        (["tiny.yaml", *RATES, "--score", "gaussian:9"], "not among evaluate.perturbations: clean, gaussian:0.2"),
        (["tiny.yaml", *RATES, "--set", "train.keep=best-test"], "set train.keep=last"),
        (["tiny.yaml", *RATES, "--set", "train.epochs"], "write an override as key=value"),
        (["tiny.yaml", *RATES, "--set", "train.epochs=none"], "train.epochs = 'none'"),
        (["study.yaml", "-m", "noisy"], "a study in a file says itself what is tried"),
        (["study.yaml", "--seeds", "1"], "a study in a file says itself what is tried"),
        (["wrong.yaml"], "the study wrong.yaml is not right: vary: Field required; sets: Extra inputs"),
        (["broken.yaml"], "the study broken.yaml is not valid YAML"),
        (["list.yaml"], "the study list.yaml must be a mapping of keys to values"),
    ],
    ids=lambda given: " ".join(given[1:]) if isinstance(given, list) else "",
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    noiseproof: CommandLine, arguments: list[str], told: str
) -> None:
    Path("study.yaml").write_text("{recipe: tiny.yaml, vary: {train.optimizer.lr: [0.001, 0.05]}}")
    Path("wrong.yaml").write_text("{recipe: tiny.yaml, sets: {}}")
    Path("broken.yaml").write_text("{recipe: ")
    Path("list.yaml").write_text("[1, 2]")
    before = contents(Path())
    outcome = noiseproof("sweep", *arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("error: ")
    assert told in outcome.err
    assert contents(Path()) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tiny.yaml"], "say what varies, as --vary"),  # a recipe of one's own
        (["study.yaml", *RATES], "tiny.yaml|a study in a file|without --vary"),
    ],
)
def test_a_recipe_is_not_taken_for_a_study_nor_a_study_for_a_recipe(
    noiseproof: CommandLine, arguments: list[str], told: str
) -> None:
    Path("study.yaml").write_text("{recipe: tiny.yaml, vary: {train.optimizer.lr: [0.001, 0.05]}}")
    assert re.search(told, noiseproof.mistake("sweep", *arguments))


def test_all_options_that_go_with_a_study_in_a_file_are_told(noiseproof: CommandLine) -> None:
    Path("study.yaml").write_text("{recipe: tiny.yaml, vary: {train.optimizer.lr: [0.001, 0.05]}}")
    assert "--no-test" in noiseproof.mistake("sweep", "study.yaml", "-m", "noisy")


@pytest.mark.usefixtures("_data")
def test_a_folder_of_another_study_is_refused_in_one_line(
    noiseproof: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 10)
    noiseproof.done(*SWEEP, "-o", "out")
    before = contents(Path())
    line = noiseproof.mistake(*SWEEP, "-o", "out", "--set", "train.epochs=2")
    assert "train.epochs is 1 there, 2 here" in line
    assert contents(Path()) == before


def test_a_damaged_record_of_looks_is_told_in_one_line(
    noiseproof: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 10)
    Path("out").mkdir()
    Path("out/looks.json").write_text("[{")
    assert "out/looks.json, is damaged" in noiseproof.mistake(*SWEEP, "-o", "out")


@pytest.mark.usefixtures("_data")
def test_a_file_in_place_of_the_folder_is_told_in_one_line(noiseproof: CommandLine) -> None:
    Path("out").write_text("mine")
    outcome = noiseproof(*SWEEP, "-o", "out")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert Path("out").read_text() == "mine"


def test_the_help_tells_every_option_without_torch(noiseproof: CommandLine) -> None:
    out = noiseproof.done("sweep", "--help")
    for option in ("--vary", "--method", "--design", "--trials", "--seeds", "--finalists", "--final-seeds", "--score",
                   "--no-test", "--set", "--data", "--budget", "--jobs", "--out"):  # fmt: skip
        assert option in out
    assert "Exit code 75: work is left." in " ".join(out.split())
