"""The report: its statistics, how results are looked up, and its files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import noiseproof as npf
from noiseproof.errors import NoiseproofError
from noiseproof.evaluation import PerturbationResult, RobustnessReport
from tests.evaluation.problems import Linear, report, result, samples


@pytest.mark.parametrize(("draws", "n"), [(2, 1), (2, 10), (10, 7), (5, 450)])
def test_mean_and_std_are_numpys_over_draws(draws: int, n: int) -> None:
    correct = np.random.default_rng(0).random((draws, n)) < 0.7
    found = PerturbationResult("gaussian:1", "gaussian:std=1.0", correct, np.ones(correct.shape, np.float32), True)
    accuracies = [np.mean(draw) for draw in correct]
    assert found.accuracies.tolist() == pytest.approx(accuracies)
    assert found.mean == pytest.approx(np.mean(accuracies))
    assert found.std == pytest.approx(np.std(accuracies, ddof=1))


def test_one_draw_of_something_random_has_no_std() -> None:
    assert math.isnan(result("gaussian:1", [5]).std)
    assert result("clean", [5]).std == 0


@pytest.mark.parametrize("key", ["gaussian:8/255", "gaussian:std=8/255", "gaussian: 8/255", f"gaussian:{8 / 255!r}"])
def test_any_text_for_the_same_perturbation_finds_the_result(key: str) -> None:
    found = report({"clean": [9], "gaussian:8/255": [5, 7]})
    assert found[key] is found["gaussian:8/255"]
    assert found[npf.perturbation(key)] is found["gaussian:8/255"]
    assert key in found


@pytest.mark.parametrize("key", ["gaussian:9/255", "uniform:8/255", "gausian:8/255", "gaussian:8/255,clamp=no"])
def test_an_unknown_key_is_a_key_error(key: str) -> None:
    found = report({"clean": [9], "gaussian:8/255": [5, 7]})
    with pytest.raises(KeyError):
        found[key]
    assert key not in found
    assert found.get(key) is None


@pytest.mark.parametrize("key", ["", "gaussian:abc", "gaussian", 5, None])
def test_asking_whether_something_is_in_a_report_never_raises(key: object) -> None:
    assert key not in report({"clean": [9]})


def test_an_unknown_key_gets_a_suggestion() -> None:
    with pytest.raises(NoiseproofError, match=r"'gaussian:0\.2'; did you mean 'gaussian:0\.1'"):
        report({"clean": [9], "gaussian:0.1": [5, 7]})["gaussian:0.2"]


def test_is_a_mapping_in_the_order_asked_for() -> None:
    found = report({"gaussian:0.5": [1, 2], "clean": [9]})
    assert list(found) == ["gaussian:0.5", "clean"]
    assert len(found) == 2


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    specs = ["clean", "gaussian:8/255", "uniform:0.5+gaussian:1"]
    saved = npf.evaluate(Linear(6), samples(50, 6), specs, draws=3, seed=4)
    saved.save(tmp_path / "new" / "folder")
    loaded = RobustnessReport.load(tmp_path / "new" / "folder")
    assert loaded == saved
    assert list(loaded) == specs
    assert loaded.seed == 4
    assert loaded.class_names == ("0", "1", "2")
    assert loaded.labels.tolist() == saved.labels.tolist()
    for key in specs:
        assert loaded[key].correct.dtype == bool
        assert loaded[key].correct.tolist() == saved[key].correct.tolist()
        assert (loaded[key].mean, loaded[key].std) == (saved[key].mean, saved[key].std)


@settings(max_examples=25, deadline=None)
@given(
    draws=st.integers(1, 4), n=st.integers(1, 20), seed=st.integers(0, 2**32), names=st.lists(st.text(), max_size=3)
)
def test_reports_of_any_shape_survive_the_files(
    tmp_path_factory: pytest.TempPathFactory, draws: int, n: int, seed: int, names: list[str]
) -> None:
    random = np.random.default_rng(seed)

    def answers(draws: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        return random.random((draws, n)) < 0.5, random.random((draws, n)).astype(np.float32)

    entries = {
        "clean": PerturbationResult("clean", "clean", *answers(1), False),
        "uniform:1": PerturbationResult("uniform:1", "uniform:amplitude=1.0", *answers(draws), True),
        "pgd:0.1": PerturbationResult("pgd:0.1", "pgd:eps=0.1", *answers(1), False, worst_case=True),
    }
    saved = RobustnessReport(entries, random.integers(0, 9, n), tuple(names), seed, caveat="".join(names))
    folder = tmp_path_factory.mktemp("report")
    saved.save(folder)
    assert RobustnessReport.load(folder) == saved


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        npf.evaluate(Linear(6), samples(50, 6), ["clean", "gaussian:1"], draws=3).save(tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["report.json", "report.npz"]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_saving_replaces_an_earlier_report(tmp_path: Path) -> None:
    report({"clean": [9], "gaussian:1": [1, 2, 3]}).save(tmp_path)
    later = report({"uniform:1": [4, 5]}, samples=20)
    later.save(tmp_path)
    assert RobustnessReport.load(tmp_path) == later


def test_the_json_tells_the_numbers(tmp_path: Path) -> None:
    report({"clean": [9], "gaussian:0.5": [5], "gaussian:1": [4, 6]}).save(tmp_path)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    summary = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    clean, single, several = summary["perturbations"]
    assert (clean["mean"], clean["std"], clean["draws"]) == (0.9, 0, 1)
    assert single["std"] is None
    assert several["accuracies"] == [0.4, 0.6]
    assert several["spec"] == "gaussian:std=1.0"
    assert summary["samples"] == 10


@pytest.mark.parametrize(
    "other",
    [
        report({"clean": [9], "gaussian:1": [5, 6]}),
        report({"clean": [9], "gaussian:1": [5, 7, 7]}),
        report({"gaussian:1": [5, 7], "clean": [9]}),
        report({"clean": [9], "gaussian:1": [5, 7]}, samples=20),
        report({"clean": [9], "gaussian:1": [5, 7]}, seed=1),
        report({"clean": [9]}),
        "a report",
    ],
)
def test_different_reports_differ(other: object) -> None:
    assert report({"clean": [9], "gaussian:1": [5, 7]}) != other


def test_the_same_accuracy_on_other_samples_is_another_report() -> None:
    one, other = report({"clean": [5]}), report({"clean": [5]})
    other["clean"].correct[:] = ~other["clean"].correct
    assert one["clean"].mean == other["clean"].mean
    assert one != other


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    report({"clean": [9], "gaussian:1": [5, 7]}, samples=200).save(tmp_path)
    return tmp_path


def check_refused(folder: Path) -> None:
    with pytest.raises(NoiseproofError) as caught:
        RobustnessReport.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    check_refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["report.json", "report.npz"])
def test_a_missing_file_is_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    check_refused(saved)


@pytest.mark.parametrize("name", ["report.json", "report.npz"])
@pytest.mark.parametrize("keep", [0, 10, 100, -30])
def test_a_file_cut_short_is_refused(saved: Path, name: str, keep: int) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[:keep])
    check_refused(saved)


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"perturbations": 5}', '{"perturbations": [5]}', "\xff"])
def test_another_json_is_refused(saved: Path, text: str) -> None:
    (saved / "report.json").write_text(text, encoding="latin-1")
    check_refused(saved)


@pytest.mark.parametrize("key", ["format", "seed", "class_names", "perturbations"])
def test_a_json_without_one_of_its_keys_is_refused(saved: Path, key: str) -> None:
    summary = json.loads((saved / "report.json").read_text())
    del summary[key]
    (saved / "report.json").write_text(json.dumps(summary))
    check_refused(saved)


def test_a_file_of_a_later_format_is_refused(saved: Path) -> None:
    summary = json.loads((saved / "report.json").read_text())
    (saved / "report.json").write_text(json.dumps({**summary, "format": 99}))
    check_refused(saved)


def test_damaged_arrays_are_refused(saved: Path) -> None:
    whole = bytearray((saved / "report.npz").read_bytes())
    whole[60:63] = b"\0\1\2"
    (saved / "report.npz").write_bytes(whole)
    check_refused(saved)


@pytest.mark.parametrize(
    "other",
    [
        report({"clean": [9], "gaussian:1": [5, 7]}, samples=10),
        report({"clean": [9], "gaussian:1": [5, 7, 6]}, samples=200),
        report({"clean": [9], "gaussian:1": [5, 8]}, samples=200),
    ],
    ids=["samples", "draws", "answers"],
)
def test_arrays_of_another_report_are_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, other: RobustnessReport
) -> None:
    elsewhere = tmp_path_factory.mktemp("other")
    other.save(elsewhere)
    (saved / "report.npz").write_bytes((elsewhere / "report.npz").read_bytes())
    check_refused(saved)


class Trap:
    """Runs code when it is unpickled."""

    opened = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Trap, "opened", True)


def test_nothing_is_unpickled(saved: Path) -> None:
    with np.load(saved / "report.npz") as arrays:
        held = {**arrays, "labels": np.array([Trap()], dtype=object)}
    np.savez(saved / "report.npz", **held)
    check_refused(saved)
    assert not Trap.opened
