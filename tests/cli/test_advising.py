"""``noiseproof suggest``."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.cli.problems import CommandLine, contents


def test_a_run(noiseproof: CommandLine, run: Path) -> None:
    before = contents(Path())
    shown = noiseproof.done("suggest", run, "--flat", "--limit", "100")
    assert contents(Path()) == before
    for parameter in ("delta_d", "delta_v", "gamma_reg", "noise.train", "momentum"):
        assert parameter in shown
    assert "texture makes it too high" in shown
    assert "--vary noise.train=gaussian:" in shown
    assert max(map(len, shown.splitlines())) < 250


def test_a_recipe_with_changes_and_repeats(noiseproof: CommandLine, tiny: Path) -> None:
    np.savez("shots.npz", repeats=np.random.default_rng(0).normal(0.5, 0.4, (6, 1, 8, 8)).clip(0, 1))
    shown = noiseproof.done("suggest", tiny, "--repeats", "shots.npz", "--set", "noise.train=gaussian:0.1")
    assert "--set noise.train=gaussian:0.3" in shown
    assert "from 6 recordings of 1 still scene" in shown
    assert "--set 'evaluate.perturbations=[clean,gaussian:0.3" in shown


def test_a_run_of_another_method_is_told_of_but_no_delta_is_to_be_set(noiseproof: CommandLine, tiny: Path) -> None:
    wine = ("--data", "wine", "--set", "train.epochs=8")
    noiseproof.done("train", "vectors", "--method", "mixed", *wine, "--out", str(tiny.parent / "mixed"))
    shown = noiseproof.done("suggest", tiny.parent / "mixed")
    assert "delta_d" in shown
    assert "methods.discriminative." not in shown


def test_records(noiseproof: CommandLine, tiny: Path) -> None:
    (first, *others) = csv.DictReader(noiseproof.done("suggest", tiny, "--format", "csv").splitlines())
    assert first["key"] == "methods.discriminative.delta_d"
    assert first["vary"] == "--vary methods.discriminative.delta_d=3.5,5,7.5"
    assert len(others) == 3
    assert noiseproof.done("suggest", tiny, "--format", "markdown").startswith("Advice for the recipe tiny")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("suggest nowhere", "nowhere"),
        ("suggest digit", "digit"),
        ("suggest tiny.yaml --repeats nowhere", "nowhere is neither"),
        ("suggest tiny.yaml --repeats x --flat", "not both"),
        ("suggest tiny.yaml --limit 0 --flat", "limit must be >= 1"),
        ("suggest tiny.yaml --model small-cnn", "is a recipe"),
        ("suggest tiny.yaml --image-size 3", "--image-size must be height and width"),
        ("suggest tiny.yaml --data wine --flat", "repeated measurements"),
        ("suggest", "target"),
    ],
)
def test_mistakes(noiseproof: CommandLine, tiny: Path, arguments: str, named: str) -> None:
    assert named in noiseproof.mistake(*arguments.split()).lower().replace("'nowhere'", "nowhere")
