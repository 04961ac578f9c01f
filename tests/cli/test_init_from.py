"""``--init-from``: fine-tuning from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from noiseproof.training import Run
from tests.cli.problems import CommandLine, contents


@pytest.mark.parametrize("named", ["run", "run/model.safetensors"])
def test_a_run_is_fine_tuned(noiseproof: CommandLine, tiny: Path, run: Path, tmp_path: Path, named: str) -> None:
    out = noiseproof.done("train", tiny, "--init-from", tmp_path / named, "--out", tmp_path / "fine")
    assert str(tmp_path / "fine") in out
    fine = Run(tmp_path / "fine").recipe
    assert fine.model.init_from == str(tmp_path / named)
    assert fine.provenance["init_from"]["file"] == str(run / "model.safetensors")


def test_the_option_wins_over_the_recipe(noiseproof: CommandLine, tiny: Path, run: Path, tmp_path: Path) -> None:
    noiseproof.done("train", tiny, "--set", "model.init_from=nowhere", "--init-from", run, "--out", tmp_path / "fine")
    assert Run(tmp_path / "fine").recipe.model.init_from == str(run)


def test_a_comparison_begins_there(noiseproof: CommandLine, tiny: Path, run: Path, tmp_path: Path) -> None:
    noiseproof.done(
        "compare", tiny, "--methods", "normal,mixed", "--seeds", "0", "--init-from", run, "--out", tmp_path / "out"
    )
    for method in ("normal", "mixed"):
        assert "init_from" in Run(tmp_path / "out" / method / "seed-0").recipe.provenance


def test_what_the_source_means_for_the_result_is_said(
    noiseproof: CommandLine, tiny: Path, run: Path, tmp_path: Path
) -> None:
    arguments = ("train", tiny, "--init-from", run, "--out")
    assert "note:" not in noiseproof.done(*arguments, tmp_path / "same")
    out = noiseproof.done(*arguments, tmp_path / "other", "--set", "data.split_seed=4")
    assert "note: The weights that it began with may have been trained on some of the run's test samples." in out


def test_resuming_without_the_option_is_refused_with_the_difference(
    noiseproof: CommandLine, tiny: Path, run: Path, tmp_path: Path
) -> None:
    noiseproof.done("train", tiny, "--init-from", run, "--out", tmp_path / "fine")
    before = contents(tmp_path)
    line = noiseproof.mistake("train", tiny, "--resume", "--out", tmp_path / "fine")
    assert f"model.init_from is '{run}' there, None here" in line
    noiseproof.done("train", tiny, "--init-from", run, "--resume", "--out", tmp_path / "fine")
    assert contents(tmp_path) == before


def test_another_network_is_one_line(noiseproof: CommandLine, tiny: Path, run: Path, tmp_path: Path) -> None:
    line = noiseproof.mistake(
        "train", tiny, "--init-from", run, "--set", "model.embedding_dim=5", "--out", tmp_path / "fine"
    )
    assert "model.embedding_dim is 4 there, 5 here" in line
    assert not (tmp_path / "fine").exists()
