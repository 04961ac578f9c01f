"""What a study says it would do, against what it then does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noiseproof.errors import InvalidArgumentError
from noiseproof.rehearsing import Span
from noiseproof.studies import preview as preview_module
from noiseproof.studies import sweep
from noiseproof.studies.preview import Preview, preview
from tests.cli.problems import CommandLine, contents
from tests.studies.problems import RATE, SMALL, blobs, diverged, pretend, study

RIVALS = {"noise": {"method": "noisy"}, "both": {"method": "mixed"}}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The method of each training that is timed."""
    methods = []
    rehearse = preview_module.rehearse

    def noting(recipe: Any, methods_: list[str], *more: Any, **given: Any) -> Any:
        methods.append(methods_[0])
        return rehearse(recipe, methods_, *more, **given)

    monkeypatch.setattr(preview_module, "rehearse", noting)
    return methods


@pytest.fixture
def source(tmp_path: Path) -> str:
    return blobs(tmp_path / "data" / "blobs.npz")


def numbers(found: Preview) -> dict[str, tuple[int, int]]:
    return {each.trial.name: (each.left, each.trainings) for each in found.trials}


def test_it_counts_what_the_study_then_trains_and_writes_nothing(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[str]
) -> None:
    given: dict[str, Any] = {"rivals": RIVALS, "seeds": [0], "final_seeds": [1, 2]}
    before = contents(tmp_path)
    found = preview(study(**given), {"data.source": source}, tmp_path / "out")
    assert contents(tmp_path) == before
    assert numbers(found) == {"base": (1, 1), "lr=0.1": (1, 1), "noise": (3, 3), "both": (3, 3)}
    assert found.undecided == 4  # the finalist's and the base's
    assert sorted(timed) == ["mixed", "noisy", "normal"]  # another learning rate takes no other time
    longest = max(each.each.seconds for each in found.trials)
    assert found.left.seconds == pytest.approx(
        sum(each.each.seconds * each.left for each in found.trials) + 4 * longest
    )
    right = {"base": 10, "lr=0.1": 20, "noise": 5, "both": 5}
    work = pretend(monkeypatch, lambda run: right[run.row])
    sweep(study(**given), {"data.source": source}, tmp_path / "out")
    trained = {(row, seed) for row, seed, _ in work.done}
    assert len(trained) == sum(each.trainings for each in found.trials) + found.undecided


def test_what_is_done_is_not_left(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 10, limit=1)
    sweep(study(rivals=RIVALS), {"data.source": source}, tmp_path / "out")
    assert numbers(preview(study(rivals=RIVALS), {"data.source": source}, tmp_path / "out"))["base"] == (0, 1)
    given: dict[str, Any] = {"rivals": RIVALS, "final_seeds": [1, 2]}
    pretend(monkeypatch, 10)
    sweep(study(**given), {"data.source": source}, tmp_path / "out", look=False)
    found = preview(study(**given), {"data.source": source}, tmp_path / "out")
    assert (numbers(found)["noise"], found.undecided) == ((3, 3), 0)  # the base is the finalist
    sweep(study(**given), {"data.source": source}, tmp_path / "out")
    found = preview(study(**given), {"data.source": source}, tmp_path / "out")
    assert (found.undecided, found.left) == (0, Span(0, 0, 0))


def test_a_training_that_diverged_is_not_left(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda run: diverged(run) if run.row == "base" else 10)
    sweep(study(), {"data.source": source}, tmp_path / "out")
    folder = tmp_path / "out" / "runs" / "base" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "diverged.txt").write_text("became nan")
    assert numbers(preview(study(), {"data.source": source}, tmp_path / "out")) == {"base": (0, 1), "lr=0.1": (0, 1)}


def test_an_option_that_leaves_out_a_view_has_a_time_of_its_own(source: str, tmp_path: Path, timed: list[str]) -> None:
    vary = {"methods.discriminative.lambda_noisy": [1.0, 0.5, 0.0]}
    preview(study(vary=vary, set={**SMALL, "method": "discriminative"}), {"data.source": source}, tmp_path / "out")
    assert len(timed) == 2


def test_one_setting_and_its_rivals(source: str, tmp_path: Path) -> None:
    found = preview(study(vary={}, rivals=RIVALS, seeds=[4, 5]), {"data.source": source}, tmp_path / "out")
    assert (numbers(found), found.undecided) == ({"base": (2, 2), "noise": (2, 2), "both": (2, 2)}, 0)


def test_without_a_look_rivals_are_not_trained(source: str, tmp_path: Path) -> None:
    found = preview(study(rivals=RIVALS), {"data.source": source}, tmp_path / "out", look=False)
    assert numbers(found) == {"base": (1, 1), "lr=0.1": (1, 1)}
    with pytest.raises(InvalidArgumentError, match="varies nothing"):
        preview(study(vary={}, rivals=RIVALS), {"data.source": source}, tmp_path / "out", look=False)


def test_what_cannot_be_measured_is_told(source: str, tmp_path: Path) -> None:
    unsuitable = {"data.source": source, "evaluate.perturbations": ["clean", "jpeg:30"]}
    with pytest.raises(InvalidArgumentError, match="'jpeg:30' cannot be measured on this data"):
        preview(study(), unsuitable, tmp_path / "out")
    with pytest.raises(InvalidArgumentError, match="'jpeg:50' cannot be measured on this data"):
        preview(study(transfer=["jpeg:50"]), {"data.source": source}, tmp_path / "out")
    assert preview(study(transfer=["jpeg:50"]), {"data.source": source}, tmp_path / "out", look=False).trials


def test_the_command_prints_it(noiseproof: CommandLine) -> None:
    source = blobs(Path("blobs.npz"))
    before = contents(Path())
    few = ["--set", "train.epochs=2", "--set", "method=normal", "--data", source]
    told = noiseproof.done("sweep", "vectors", "--vary", f"{RATE}=0.01,0.1", "--seeds", "0,1", *few, "--dry-run")
    assert contents(Path()) == before
    assert "2 of 2" in told
    assert "4 trainings, in runs/sweep-vectors-lr/runs" in told
    assert "on this machine as busy as it is now" in told
