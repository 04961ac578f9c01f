"""A user's mistake gets one line that names it and what to do, and a folder is not touched for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from noiseproof.cli.app import SETTINGS
from noiseproof.training import load_recipe
from noiseproof.training.recipes import parse_override
from tests.cli.problems import CommandLine, contents


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("train digit", "unknown recipe 'digit'; did you mean 'digits'?"),
        ("compare zzz", "unknown recipe 'zzz'; known: "),
        ("recipes digit", "unknown recipe 'digit'; did you mean 'digits'?"),
        ("train digits --method discriminativ", "unknown method 'discriminativ'; did you mean 'discriminative'?"),
        ("compare digits --methods normal,nosy", "unknown method 'nosy'; did you mean 'noisy'?"),
        ("train digits --epochs 5", "No such option: --epochs; write --set train.epochs=5"),
        ("compare digits --lr=0.1", "No such option: --lr; write --set train.optimizer.lr=0.01"),
        ("train digits --set train.epoch=1", "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ("train digits --set trian.epochs=1", "unknown key 'trian'; did you mean 'train'?"),
        (
            "train digits --set methods.mixed.pases=joint",
            "'methods.mixed.pases'; did you mean 'methods.mixed.passes'?",
        ),
        ("train digits --set methods.mixt.passes=joint", "unknown method 'mixt'; did you mean 'mixed'?"),
        ("train digits --set noise.train=gausian:1", "unknown perturbation 'gausian'; did you mean 'gaussian'?"),
        ("train digits --set noise.train=gaussian:sdt=1", "'sdt'; did you mean 'std'?"),
        ("train digits --set noise.train=gaussian:-1", "-1"),
        ("train digits --set noise.train=gaussian:much", "'much'"),
        ("train digits --set data.augment=corp:padding=1", "unknown augmentation 'corp'; did you mean 'crop'?"),
        ("train digits --set model.name=small-cn", "unknown model 'small-cn'; did you mean 'small-cnn'?"),
        ("train digits --set model.options.wide=2", "'wide'"),
        ("train digits --set model.options.width=0", "width"),
        ("train digits --set model.name=mlp", "mlp"),
        ("train digits --data digit", "unknown data source 'digit'; did you mean 'digits'?"),
        ("train digits --data digits:3", "'3'"),
        ("train digits --set preset=authors", "unknown preset 'authors'; did you mean 'authors-code'?"),
        ("train digits --set preset=[paper]", "preset"),
        ("train digits --set methods=[]", "methods"),
        ("train digits --set train.epochs", "key=value, such as train.epochs=50, got 'train.epochs'"),
        ("train digits --set =5", "'=5'"),
        ("train digits --set train.epochs=[1", "'train.epochs'"),
        ("train digits --set train.epochs=many", "train.epochs = 'many'"),
        ("train digits --set train.epochs=0", "train.epochs = 0"),
        ("train digits --set train.epochs=1.5", "train.epochs = 1.5"),
        ("train digits --set train=5", "train = 5"),
        ("train digits --set train.epochs.x=5", "train.epochs"),
        ("train digits --set train.epochs=1 --set train.epochs.x=5", "'train.epochs.x'"),
        ("train digits --set train.optimizer.lr=-1", "train.optimizer.lr = -1"),
        ("train digits --set train.optimizer.lr=.inf", "train.optimizer.lr = inf"),
        ("train digits --set train.optimizer.name=sdg", "train.optimizer.name = 'sdg'"),
        ("train digits --set train.keep=best-validation", "data.validation_fraction"),
        ("train digits --set methods.discriminative.momentum=1", "methods.discriminative.momentum = 1"),
        ("train digits --set methods.discriminative.delta_v=-1", "methods.discriminative.delta_v = -1"),
        ("train digits --set evaluate.perturbations=[] --set train.max_steps=1", "evaluate.perturbations"),
        ("train digits --set evaluate.perturbations=[cleen]", "did you mean 'clean'?"),
        ("train digits --set evaluate.draws=0", "evaluate.draws = 0"),
        ("train digits --set data.test_fraction=0.001", "0.001"),
        ("train digits --set name=null", "name"),
        ("train digits --init-from nowhere", "nothing to begin with at nowhere: name a run folder or a file"),
        ("train digits --init-from=", "model.init_from = ''"),
        ("train digits --set model.mean=[0.5]", "model.mean and model.std go together"),
        ("train digits --set model.mean=[1,2] --set model.std=[1,2]", "got 2"),
        ("train digits --set model.mean=[0] --set model.std=[0]", "std must be > 0"),
        ("train digits --seed -1", "seed = -1"),
        ("train digits --seed x", "--seed"),
        ("compare digits --seeds a,b", "--seeds must be whole numbers with commas between, got 'a,b'"),
        ("compare digits --seeds 1.5", "'1.5'"),
        ("compare digits --seeds -1", "-1"),
        ("compare digits --seeds ,", "seed"),
        ("compare digits --methods ,", "method"),
        ("evaluate nowhere", "nowhere"),
        ("train digits --nope", "--nope"),
        ("train digits --out", "--out"),
        ("train digits more", "more"),
        ("train digits --overwrite=3", "--overwrite"),
        ("nonsense", "nonsense"),
        ("trian digits", "did you mean 'train'?"),
        ("--nope", "--nope"),
    ],
)
def test_mistakes_on_the_command_line(noiseproof: CommandLine, arguments: str, named: str) -> None:
    line = noiseproof.mistake(*arguments.split())
    assert named.lower() in line.lower()
    assert contents(Path()) == {}


@pytest.mark.parametrize("command", ["train", "evaluate", "compare"])
def test_a_missing_argument_is_named(noiseproof: CommandLine, command: str) -> None:
    assert ("target" if command == "evaluate" else "recipe") in noiseproof.mistake(command).lower()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--perturb", "gausian:1"], "unknown perturbation 'gausian'; did you mean 'gaussian'?"),
        (["--perturb", ""], "perturbation"),
        (["--perturb", "gaussian"], "std"),
        (["--draws", "0"], "draws must be >= 1, got 0"),
        (["--perturb", "clean", "--draws", "0"], "draws must be >= 1, got 0"),
        (["--draws", "some"], "--draws"),
    ],
)
def test_mistakes_about_a_run(noiseproof: CommandLine, run: Path, arguments: list[str], named: str) -> None:
    assert named in noiseproof.mistake("evaluate", run, *arguments)


def test_a_folder_that_is_no_run(noiseproof: CommandLine, tiny: Path) -> None:
    Path("photos").mkdir()
    assert "photos holds no run" in noiseproof.mistake("evaluate", "photos")
    assert "tiny.yaml" in noiseproof.mistake("evaluate", tiny)


def test_a_run_that_did_not_finish(noiseproof: CommandLine, run: Path) -> None:
    (run / "model.safetensors").unlink()
    line = noiseproof.mistake("evaluate", run)
    assert str(run) in line
    assert "did not finish" in line


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\xff" * 100])
def test_a_run_with_damaged_weights(noiseproof: CommandLine, run: Path, content: bytes) -> None:
    (run / "model.safetensors").write_bytes(content)
    assert "model.safetensors" in noiseproof.mistake("evaluate", run)


def test_a_run_with_weights_cut_short(noiseproof: CommandLine, run: Path) -> None:
    whole = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(whole[:-50])
    assert "model.safetensors" in noiseproof.mistake("evaluate", run)


def test_a_run_with_a_damaged_recipe(noiseproof: CommandLine, run: Path) -> None:
    (run / "recipe.yaml").write_text("name: tiny\n")
    assert "missing" in noiseproof.mistake("evaluate", run)


def test_a_run_on_data_that_has_changed(noiseproof: CommandLine, run: Path) -> None:
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("data_fingerprint: ", "data_fingerprint: 0"))
    assert "changed" in noiseproof.mistake("evaluate", run)


def test_a_report_that_is_damaged(noiseproof: CommandLine, run: Path) -> None:
    noiseproof.done("evaluate", run)
    (run / "evaluation" / "report.npz").write_bytes(b"")
    outcome = noiseproof("evaluate", run)
    assert "Traceback" not in outcome.err
    assert outcome.code == 0 or "evaluation" in outcome.err


def test_a_folder_that_holds_a_run_already(noiseproof: CommandLine, tiny: Path, run: Path) -> None:
    before = contents(run)
    line = noiseproof.mistake("train", tiny, "--out", run)
    assert str(run) in line
    assert "already holds a run" in line
    assert "--out" in line
    assert "--overwrite" in line
    assert contents(run) == before


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_folder_that_holds_other_files(noiseproof: CommandLine, tiny: Path, flags: list[str]) -> None:
    Path("photos").mkdir()
    Path("photos/cat.png").write_bytes(b"meow")
    assert "photos" in noiseproof.mistake("train", tiny, "--out", "photos", *flags)
    assert contents(Path("photos")) == {"cat.png": b"meow"}


def test_overwriting_a_run_removes_nothing_else(noiseproof: CommandLine, tiny: Path, run: Path) -> None:
    (run / "cat.png").write_bytes(b"meow")
    noiseproof("train", tiny, "--out", run, "--overwrite")
    assert (run / "cat.png").read_bytes() == b"meow"


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_file_where_the_folder_should_be(noiseproof: CommandLine, tiny: Path, command: str) -> None:
    Path("file").write_text("x")
    assert "file" in noiseproof.mistake(command, tiny, "--out", "file")
    assert Path("file").read_text() == "x"


@pytest.mark.parametrize("change", ["model.name=small-cn", "model.options.wide=3", "data.test_fraction=0.001"])
def test_a_mistake_does_not_cost_the_run_to_be_overwritten(
    noiseproof: CommandLine, tiny: Path, run: Path, change: str
) -> None:
    before = contents(run)
    noiseproof.mistake("train", tiny, "--set", change, "--out", run, "--overwrite")
    assert contents(run) == before


def test_comparing_into_a_folder_of_another_recipe(noiseproof: CommandLine, tiny: Path) -> None:
    compare = ("compare", tiny, "--methods", "normal", "--seeds", "0", "--out", "out")
    noiseproof.done(*compare)
    before = contents(Path("out"))
    line = noiseproof.mistake(*compare, "--set", "train.optimizer.lr=0.5", "--set", "noise.view=own")
    for part in ("normal/seed-0", "train.optimizer.lr", "0.5", "0.001", "noise.view", "--out", "--overwrite"):
        assert part in line
    assert contents(Path("out")) == before
    noiseproof.done(*compare, "--set", "train.optimizer.lr=0.5", "--overwrite")
    assert contents(Path("out")) != before


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"data: [1\n  name: }", "YAML"),
        (b"\t- x", "YAML"),
        (b"\xff\xfe\x00\x01", "recipe.yaml"),
        (b"- 1\n- 2", "mapping"),
        (b"just words", "mapping"),
        (b"", "mapping"),
        (b"name: x", "'data.source' is missing"),
        (b"1: 2", "1"),
        (b"name: x\ndata: 3", "data = 3"),
        (b"name: [x]", "name = ['x']"),
        (b"preset: []", "preset"),
        (b"preset: {paper: 1}", "preset"),
    ],
)
def test_recipe_files_that_are_none(noiseproof: CommandLine, content: bytes, named: str) -> None:
    Path("recipe.yaml").write_bytes(content)
    assert named in noiseproof.mistake("train", "recipe.yaml", "--out", "run")
    assert not Path("run").exists()


def test_yaml_mistakes_are_found_by_their_line(noiseproof: CommandLine) -> None:
    Path("recipe.yaml").write_text("name: x\ndata:\n  source: [digits\nmodel: y\n")
    assert "line " in noiseproof.mistake("train", "recipe.yaml")


@pytest.mark.parametrize("name", ["missing.yaml", "folder/missing.yaml", "./missing"])
def test_recipe_files_that_do_not_exist(noiseproof: CommandLine, name: str) -> None:
    assert f"{name} does not exist" in noiseproof.mistake("train", name)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("train: {epochs: ten}", "train.epochs = 'ten'"),
        ("train: {batch_size: 2.5}", "train.batch_size = 2.5"),
        ("noise: gaussian", "noise = 'gaussian'"),
        ("data: {source: 7}", "data.source = 7"),
        ("evaluate: {perturbations: clean}", "evaluate.perturbations = 'clean'"),
        ("methods: {mixed: 5}", "methods.mixed = 5"),
        ("train: {optimizer: {betas: [0.9, 0.99]}}", "'train.optimizer.betas'"),
    ],
)
def test_wrong_types_in_a_recipe(noiseproof: CommandLine, tiny: Path, line: str, named: str) -> None:
    key = line.partition(":")[0]
    kept = [each for each in tiny.read_text().splitlines() if not each.startswith(f"{key}:")]
    tiny.write_text("\n".join([*kept, line]))
    assert named in noiseproof.mistake("train", tiny)


def test_several_mistakes_are_told_together(noiseproof: CommandLine) -> None:
    line = noiseproof.mistake("train", "digits", "--set", "train.epochs=x", "--set", "train.batch_sise=y")
    assert "train.epochs = 'x'" in line
    assert "'train.batch_size'" in line


def test_a_loss_that_is_not_finite_is_one_line_after_the_progress(noiseproof: CommandLine, tiny: Path) -> None:
    changes = ["--set", "train.optimizer.lr=1e30", "--set", "train.max_steps=5"]
    outcome = noiseproof("train", tiny, *changes, "--out", "run")
    last = outcome.err.splitlines()[-1]
    assert outcome.code != 0
    assert last.startswith("error: the loss part")
    assert "epoch 1, step" in last
    assert "Traceback" not in outcome.err
    assert not Path("run/model.safetensors").exists()


@pytest.mark.parametrize("message", ["[bold]x[/bold]", "[/x]", ":smiley:"])
def test_values_are_named_to_the_letter(noiseproof: CommandLine, message: str) -> None:
    assert f"'{message}'" in noiseproof.mistake("train", "digits", "--method", message)


def test_a_long_message_stays_one_line(noiseproof: CommandLine) -> None:
    assert "x" * 500 in noiseproof.mistake("train", "digits", "--method", "x" * 500)


@pytest.mark.parametrize(
    "arguments",
    [["--debug", "train", "digit"], ["train", "--debug", "digit"], ["train", "digit", "--debug"]],
)
def test_debug_anywhere_shows_the_traceback(noiseproof: CommandLine, arguments: list[str]) -> None:
    outcome = noiseproof(*arguments)
    assert outcome.code != 0
    assert outcome.err.startswith("Traceback")
    assert "recipes.py" in outcome.err
    assert outcome.err.splitlines()[-1] == "error: unknown recipe 'digit'; did you mean 'digits'?"


def test_wrong_usage_has_its_own_exit_code(noiseproof: CommandLine, run: Path) -> None:
    assert noiseproof("train", "digit").code == 2
    assert noiseproof("train", "digits", "--nope").code == 2
    assert noiseproof("evaluate", "nowhere").code == 1
    assert noiseproof("train", "digits", "--out", run).code == 1


def test_every_setting_that_is_taken_for_an_option_is_one() -> None:
    for option, setting in SETTINGS.items():
        key, value = parse_override(setting)
        assert load_recipe("cifar10", {key: value}).model_dump(), option
