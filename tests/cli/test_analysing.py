"""``noiseproof curvature``, ``noiseproof analyse`` and ``noiseproof compare --explain``."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import noiseproof as npf
from noiseproof.analysis import InputCurvature, curvature_by_scale, input_curvature
from noiseproof.training import Recipe, Run
from tests.cli.problems import TINY, CommandLine, contents, one_line, run_python
from tests.cli.test_startup import HEAVY

FIGURES = ("fig1", "fig8", "fig9", "fig10", "fig11", "fig12", "fig13", "scales")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the digits, and one each on vectors and on series, of two classes."""
    folder = tmp_path_factory.mktemp("analysed")
    recipe = Recipe.from_mapping(yaml.safe_load(TINY))
    npf.train(recipe, "normal", 0, out=folder / "normal")
    npf.train(recipe, "noisy", 0, out=folder / "noisy")
    random = np.random.default_rng(0)
    np.savez(folder / "series.npz", x=random.random((120, 8, 8)), y=np.arange(120) % 2)
    npf.train("vectors", "normal", 0, {"train.epochs": 1}, folder / "vectors")
    few = {"train.epochs": 1, "data.source": f"npz:{folder / 'series.npz'}"}
    npf.train("series", "normal", 0, few, folder / "series")
    return folder


@pytest.fixture
def normal(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "normal", tmp_path / "normal"))


@pytest.fixture
def noisy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "noisy", tmp_path / "noisy"))


def same(one: InputCurvature, other: InputCurvature) -> None:
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        np.testing.assert_array_equal(getattr(other, name), value, err_msg=name)


def records(shown: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(shown)))


@pytest.mark.parametrize("command", ["curvature", "analyse"])
def test_help_imports_nothing_heavy(tmp_path: Path, command: str) -> None:
    code = f"""if True:
        import sys
        from noiseproof.cli import main
        try:
            main([{command!r}, "--help"])
        finally:
            print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
    """
    outcome = run_python(code, tmp_path)
    assert outcome.out.splitlines()[-1] == "loaded: []"
    assert "--limit" in outcome.out
    assert outcome.err == ""


# Curvature


@pytest.mark.parametrize("estimator", ["finite-difference", "hutchinson", "gauss-newton"])
def test_every_estimator_keeps_its_result_in_the_run(noiseproof: CommandLine, normal: Path, estimator: str) -> None:
    shown = noiseproof.done(
        "curvature", normal, "--estimator", estimator, "--limit", "20", "--probes", "4", "--seed", "3",
        "--format", "csv",
    )  # fmt: skip
    run = Run(normal)
    expected = input_curvature(
        run.model(), run.data().test, estimator, limit=20, probes=4, seed=3  # type: ignore[arg-type]
    )  # fmt: skip
    assert len(expected.values) == 20
    same(InputCurvature.load(normal / "analysis", expected.name), expected)
    (record,) = records(shown)
    assert (record["estimator"], record["space"], record["samples"]) == (estimator, "pixel", "20")
    assert record["probes"] == str(expected.probes)
    assert record["step"] == ("0.01" if estimator == "finite-difference" else "")
    assert float(record["mean"]) == expected.values.mean()
    assert float(record["median"]) == np.median(expected.values)


def test_several_steps(noiseproof: CommandLine, normal: Path) -> None:
    shown = noiseproof.done("curvature", normal, "--step", "0.001, 0.1", "--limit", "10", "--format", "csv")
    run = Run(normal)
    expected = curvature_by_scale(run.model(), run.data().test, [0.001, 0.1], limit=10)
    for record, each in zip(records(shown), expected.values(), strict=True):
        assert float(record["step"]) == each.step
        assert float(record["mean"]) == each.values.mean()
        same(InputCurvature.load(normal / "analysis", each.name), each)
    assert len(list((normal / "analysis").iterdir())) == 4


def test_normalised_space(noiseproof: CommandLine, normal: Path) -> None:
    shown = noiseproof.done("curvature", normal, "--space", "normalised", "--limit", "10")
    assert "normalised space" in " ".join(shown.split())
    found = InputCurvature.load(normal / "analysis", "finite-difference-normalised-t0.01")
    run = Run(normal)
    same(found, input_curvature(run.model(), run.data().test, space="normalised", limit=10))


@pytest.mark.parametrize("layout", ["terminal", "markdown", "latex"])
def test_tables_name_the_run_and_the_estimator(noiseproof: CommandLine, normal: Path, layout: str) -> None:
    shown = " ".join(noiseproof.done("curvature", normal, "--limit", "5", "--format", layout).split())
    assert "Normal training, seed 0" in shown
    assert "finite-difference, t = 0.01" in shown
    assert "5 samples" in shown


def test_saves_where_it_is_told(noiseproof: CommandLine, normal: Path, tmp_path: Path) -> None:
    before = contents(normal)
    noiseproof.done("curvature", normal, "--limit", "5", "--out", tmp_path / "deep" / "out")
    assert contents(normal) == before
    assert len(InputCurvature.load(tmp_path / "deep" / "out", "finite-difference-pixel-t0.01").values) == 5


def test_a_file_of_weights_saves_nothing_unless_told(noiseproof: CommandLine, normal: Path, tmp_path: Path) -> None:
    (normal / "model.safetensors").replace(tmp_path / "weights.safetensors")
    shutil.rmtree(normal)
    shown = noiseproof.done("curvature", "weights.safetensors", "--data", "digits", "--limit", "5", "--format", "csv")
    assert records(shown)[0]["samples"] == "5"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".npz" or path.name == "analysis"] == []


@pytest.mark.filterwarnings("always:the network is not piecewise linear")
def test_only_a_piecewise_linear_network_has_an_exact_spectrum(
    noiseproof: CommandLine, normal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("curvature", normal, "--estimator", "gauss-newton", "--limit", "5")
    exact = noiseproof(*command)
    assert "warning" not in exact.err
    assert "exact" in exact.out.split("Λ(x)")[0]
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x, **_: torch.nn.functional.gelu(x))
    other = noiseproof(*command)
    assert other.code == 0
    (line,) = [line for line in other.err.splitlines() if line.startswith("warning:")]
    assert re.fullmatch(
        r"warning: the network is not piecewise linear: .* off by up to \d+ % along .* hutchinson takes .*", line
    )
    assert "exact" not in other.out.split("Λ(x)")[0]
    assert "Gauss-Newton part" in other.out.split("Λ(x)")[0]
    kept = InputCurvature.load(normal / "analysis", "gauss-newton-pixel")
    assert kept.residual is not None
    assert kept.residual > 0.01


@pytest.mark.parametrize("name", ["vectors", "series"])
def test_curvature_of_what_are_no_images(noiseproof: CommandLine, trained: Path, tmp_path: Path, name: str) -> None:
    for estimator in ("finite-difference", "hutchinson", "gauss-newton"):
        noiseproof.done(
            "curvature", trained / name, "--estimator", estimator, "--limit", "5", "--out", tmp_path / name
        )
    assert len(list((tmp_path / name).glob("*.npz"))) == 3


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        ("--estimator hutchison", "unknown estimator 'hutchison'; did you mean 'hutchinson'?", 2),
        ("--space pixels", "unknown space 'pixels'; did you mean 'pixel'?", 2),
        ("--step 0.01,x", "--step must be numbers with commas between, got '0.01,x'", 2),
        ("--step 0", "step must be > 0, got 0", 2),
        ("--step -0.1", "step must be > 0, got -0.1", 2),
        ("--step nan", "nan", 2),
        ("--step ,", "name at least one", 2),
        ("--probes 0", "probes must be >= 1, got 0", 2),
        ("--probes few", "--probes", 2),
        ("--limit 0", "limit must be >= 1, got 0", 2),
        ("--format yaml", "yaml", 2),
        ("--device nonsense", "nonsense", 2),
        ("--model torchvision/resnet18", "leave out model", 2),
        ("--data nothing", "unknown data source 'nothing'", 2),
    ],
)
def test_mistakes_about_a_curvature(
    noiseproof: CommandLine, normal: Path, arguments: str, named: str, code: int
) -> None:
    before = contents(normal)
    outcome = noiseproof("curvature", normal, *arguments.split())
    assert named in one_line(outcome)
    assert outcome.code == code
    assert contents(normal) == before


def test_nothing_to_measure(noiseproof: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = noiseproof("curvature", "empty")
    assert "empty holds no run" in one_line(outcome)
    assert outcome.code == 1
    assert noiseproof("curvature").code == 2


# Analyse


def test_figures_as_png_and_svg(noiseproof: CommandLine, normal: Path, noisy: Path, tmp_path: Path) -> None:
    shown = noiseproof.done(
        "analyse", normal, noisy, "--limit", "20", "--only", "fig8, fig10", "--out", tmp_path / "out"
    )
    names = ["fig8.png", "fig8.svg", "fig10.png", "fig10.svg"]
    assert shown.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    for path in (tmp_path / "out").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "out" / "fig10.svg").read_text(encoding="utf-8")
    assert "Normal training, seed 0" in svg
    assert "Only noisy inputs, seed 0" in svg


def test_a_figure_and_the_theorems(noiseproof: CommandLine, trained: Path, tmp_path: Path) -> None:
    shown = noiseproof.done("analyse", trained / "vectors", "--limit", "60", "--only", "fig8,theory")
    assert shown.splitlines()[-3:] == ["analysis/fig8.png", "analysis/fig8.svg", "analysis/theory.md"]
    assert "Normal training, seed 0" in shown
    assert "Theorem 6.1, curvature and stability" in shown
    theory = (tmp_path / "analysis" / "theory.md").read_text(encoding="utf-8")
    assert "| What | Normal training, seed 0 |" in theory
    assert "**Theorem 6.3, intermediate layers**" in theory


@pytest.mark.parametrize(("name", "limit"), [("vectors", 40), ("series", 30)])
def test_every_figure_of_what_are_no_images(
    noiseproof: CommandLine, trained: Path, tmp_path: Path, name: str, limit: int
) -> None:
    noiseproof.done("analyse", trained / name, "--limit", str(limit), "--out", name)
    expected = [f"{figure}.{suffix}" for figure in FIGURES for suffix in ("png", "svg")]
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted([*expected, "theory.md"])


def test_the_runs_are_left_as_they_were(noiseproof: CommandLine, normal: Path) -> None:
    before = contents(normal)
    noiseproof.done("analyse", normal, "--limit", "10", "--only", "fig9,fig11")
    assert contents(normal) == before


def test_the_seed_and_the_noise_are_passed_on(noiseproof: CommandLine, normal: Path, tmp_path: Path) -> None:
    for out, more in {"a": (), "b": ("--seed", "1"), "c": ("--noise", "uniform:0.1")}.items():
        noiseproof.done("analyse", normal, "--limit", "20", "--only", "fig8", "--out", out, *more)
    pictures = [(tmp_path / out / "fig8.png").read_bytes() for out in "abc"]
    assert len(set(pictures)) == 3
    svg = (tmp_path / "c" / "fig8.svg").read_text(encoding="utf-8")
    assert "uniform:0.1" in svg


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        ("--only fig88", "unknown figure 'fig88'; did you mean 'fig8'?", 2),
        ("--only fig8,theorie", "unknown figure 'theorie'; did you mean 'theory'?", 2),
        ("--only ,", "--only", 2),
        ("--only fig8 --noise gausian:1", "unknown perturbation 'gausian'; did you mean 'gaussian'?", 2),
        ("--only fig10 --noise gausian:1", "unknown perturbation 'gausian'; did you mean 'gaussian'?", 2),
        ("--only fig8 --limit 0", "limit must be >= 1, got 0", 2),
        ("--only fig8 --limit many", "--limit", 2),
        ("--only fig1 --limit 1", "at least two samples", 1),
    ],
)
def test_mistakes_about_figures(noiseproof: CommandLine, normal: Path, arguments: str, named: str, code: int) -> None:
    outcome = noiseproof("analyse", normal, *arguments.split())
    assert named in one_line(outcome)
    assert outcome.code == code


def test_runs_that_are_none_or_the_same(noiseproof: CommandLine, normal: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(normal, tmp_path / "copy")
    for runs, named, code in (
        ((), "runs", 2),
        ((normal, normal), "no method and seed twice", 2),
        ((normal, tmp_path / "copy"), "no method and seed twice", 2),
        ((tmp_path / "empty",), "empty holds no run", 1),
        ((normal, tmp_path / "nowhere"), "nowhere holds no run", 1),
        ((normal / "recipe.yaml",), "holds no run", 1),
    ):
        outcome = noiseproof("analyse", *runs)
        assert named in one_line(outcome).lower()
        assert outcome.code == code
    assert not (tmp_path / "analysis").exists()


def test_a_file_in_the_way(noiseproof: CommandLine, normal: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert "out" in noiseproof.mistake("analyse", normal, "--only", "fig10", "--limit", "5", "--out", "out")


# Compare


def test_a_comparison_explains_only_when_asked(noiseproof: CommandLine, tmp_path: Path) -> None:
    settings = ("--methods", "normal,noisy", "--seeds", "0", "--set", "train.epochs=1", "--out", "out")
    noiseproof.done("compare", "vectors", *settings)
    plain = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "How curved the loss is" not in plain
    assert not (tmp_path / "out" / "explanation.json").exists()
    noiseproof.done("compare", "vectors", *settings, "--explain")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for title in ("How curved the loss is", "How the features lie", "The theorems, computed"):
        assert title in page
    assert (tmp_path / "out" / "explanation.json").is_file()
    noiseproof.done("compare", "vectors", *settings)
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == plain


def test_a_run_chosen_on_the_test_set_says_so(noiseproof: CommandLine, tmp_path: Path) -> None:
    changes = {"preset": "authors-code", "train.keep": "best-test"}
    npf.train(Recipe.from_mapping(yaml.safe_load(TINY)), "normal", 0, changes, tmp_path / "warned")
    for layout in ("terminal", "markdown", "latex", "csv"):
        shown = noiseproof.done("curvature", tmp_path / "warned", "--limit", "8", "--format", layout)
        assert "chosen on the test set" in " ".join(shown.split())
    analysed = ("analyse", tmp_path / "warned", "--only", "fig10,theory", "--limit", "60", "--out", tmp_path / "out")
    assert "chosen on the test set" in " ".join(noiseproof.done(*analysed).split())
    assert "chosen on the test set" in (tmp_path / "out" / "fig10.svg").read_text(encoding="utf-8")
    assert "chosen on the test set" in (tmp_path / "out" / "theory.md").read_text(encoding="utf-8")
