"""Results on disk come back as they were, or with one line that says why not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noiseproof.analysis import InputCurvature
from noiseproof.archives import digest, finite, load_result, reading, save_result
from noiseproof.errors import NoiseproofError

SUMMARY = {"format": 3, "name": "grün", "mean": 0.5, "none": None}


def arrays() -> dict[str, np.ndarray]:
    return {"values": np.array([0.1, np.nan, np.inf]), "labels": np.array([2, 0, 1]), "right": np.ones((2, 3), bool)}


def load(folder: Path, version: int = 3) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with reading("a result", folder):
        return load_result(folder, "found", version)


def why_not(folder: Path, version: int = 3) -> str:
    with pytest.raises(NoiseproofError) as caught:
        load(folder, version)
    text = str(caught.value)
    assert text.startswith(f"cannot read a result in {folder}: ")
    assert "\n" not in text
    return text


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "down"
    save_result(folder, "found", SUMMARY, arrays())
    return folder


def test_what_was_saved_comes_back(saved: Path) -> None:
    summary, found = load(saved)
    assert summary == SUMMARY
    assert list(found) == list(arrays())
    for name, array in arrays().items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_people_can_read_the_summary_and_nothing_else_is_left(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["found.json", "found.npz"]
    assert '"name": "grün"' in (saved / "found.json").read_text(encoding="utf-8")


def test_numbers_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_result(tmp_path, "found", {"format": 3, "mean": float("nan")}, {})
    assert not (tmp_path / "found.json").exists()


def test_a_later_result_takes_the_place_of_the_earlier(saved: Path) -> None:
    save_result(saved, "found", {"format": 3}, {"values": np.zeros(1)})
    summary, found = load(saved)
    assert (summary, list(found)) == ({"format": 3}, ["values"])


def test_another_format_is_told(saved: Path) -> None:
    assert "another version, in format 3, not 4" in why_not(saved, 4)


@pytest.mark.parametrize("missing", ["found.json", "found.npz"])
def test_a_missing_file_is_told(saved: Path, missing: str) -> None:
    (saved / missing).unlink()
    assert missing in why_not(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"mean": 1}', "null", '"format"'])
def test_a_summary_that_is_none(saved: Path, text: str) -> None:
    (saved / "found.json").write_text(text)
    why_not(saved)


def test_files_of_two_results_do_not_belong_together(saved: Path, tmp_path: Path) -> None:
    save_result(tmp_path / "other", "found", SUMMARY, {**arrays(), "labels": np.array([2, 0, 2])})
    (tmp_path / "other" / "found.npz").replace(saved / "found.npz")
    assert "do not belong together" in why_not(saved)


@pytest.mark.parametrize("key", ["mean", "sha256"])
def test_a_summary_that_was_changed(saved: Path, key: str) -> None:
    content = json.loads((saved / "found.json").read_text(encoding="utf-8"))
    (saved / "found.json").write_text(json.dumps({**content, key: "other"}))
    assert "do not belong together" in why_not(saved)


@pytest.mark.parametrize("name", ["found.npz", "found.json"])
def test_a_damaged_file_is_never_taken_for_another_result(saved: Path, name: str) -> None:
    whole = (saved / name).read_bytes()
    for place in range(0, len(whole), 7):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            (saved / name).write_bytes(damaged)
            try:
                summary, found = load(saved)
            except NoiseproofError:
                continue
            assert summary == SUMMARY
            assert digest(summary, found) == digest(SUMMARY, arrays())


def test_pickled_objects_are_not_loaded(saved: Path) -> None:
    np.savez(saved / "found.npz", values=np.array([{}], dtype=object))
    assert "allow_pickle" in why_not(saved)


def test_digests_tell_values_names_types_and_shapes_apart() -> None:
    made = [
        digest(SUMMARY, arrays()),
        digest({**SUMMARY, "mean": 0.25}, arrays()),
        digest(SUMMARY, {"values": np.zeros(4)}),
        digest(SUMMARY, {"value": np.zeros(4)}),
        digest(SUMMARY, {"values": np.zeros((2, 2))}),
        digest(SUMMARY, {"values": np.zeros(4, dtype=np.int64)}),
    ]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in made)


def test_digests_do_not_depend_on_order_or_memory() -> None:
    array = np.arange(6.0).reshape(2, 3)
    one = digest({"a": 1, "b": 2}, {"x": array, "y": array.T})
    assert one == digest({"b": 2, "a": 1}, {"y": np.ascontiguousarray(array.T), "x": np.asfortranarray(array)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_none(value: float) -> None:
    assert finite(value) is None
    assert finite(1.5) == 1.5


def test_mistakes_of_the_code_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), reading("a result", "folder"):
        raise ZeroDivisionError


# Curvatures


def found(estimator: Any = "finite-difference", step: float | None = 0.01, seed: int = 0) -> InputCurvature:
    places = np.arange(4)
    spectrum: dict[str, Any] = {}
    if estimator == "gauss-newton":
        spectrum = {"absolute": np.ones(4), "largest": np.full(4, 0.5), "residual": 0.1 + 0.2}
    return InputCurvature(
        np.array([0.0, 1, 2, 3]), np.full(4, np.nan), estimator, "normalised", 20, step, seed, places, places % 2,
        **spectrum,
    )  # fmt: skip


@pytest.mark.parametrize(
    "made", [found(), found(step=1e-05), found("hutchinson", None), found("gauss-newton", None, 7)],
    ids=lambda each: each.name,
)  # fmt: skip
def test_a_curvature_comes_back(tmp_path: Path, made: InputCurvature) -> None:
    made.save(tmp_path)
    loaded = InputCurvature.load(tmp_path, made.name)
    assert loaded.name == made.name
    for name, value in vars(made).items():
        np.testing.assert_array_equal(getattr(loaded, name), value, err_msg=name)


def test_a_curvature_of_an_earlier_version_does_not_say_whether_it_is_exact(tmp_path: Path) -> None:
    made = vars(found("gauss-newton", None))
    settings = {key: made[key] for key in ("estimator", "space", "probes", "step", "seed")}
    parts = {key: made[key] for key in ("values", "stderr", "indices", "labels", "absolute", "largest")}
    save_result(tmp_path, "curvature-early", {"format": 1, **settings}, parts)
    loaded = InputCurvature.load(tmp_path, "early")
    assert (loaded.residual, loaded.exact) == (None, False)


def test_curvatures_of_several_steps_stand_beside_each_other(tmp_path: Path) -> None:
    for step in (0.001, 0.1):
        found(step=step).save(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [
        "curvature-finite-difference-normalised-t0.001.json",
        "curvature-finite-difference-normalised-t0.1.json",
    ]
    summary = json.loads((tmp_path / "curvature-finite-difference-normalised-t0.1.json").read_text())
    assert (summary["mean"], summary["median"], summary["samples"], summary["step"]) == (1.5, 1.5, 4, 0.1)


def test_a_curvature_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoiseproofError, match=r"cannot read a curvature in .*curvature-nothing\.json"):
        InputCurvature.load(tmp_path, "nothing")


@pytest.mark.parametrize("left_out", ["values", "labels", "estimator"])
def test_a_curvature_without_one_of_its_parts(tmp_path: Path, left_out: str) -> None:
    made = vars(found())
    settings = {key: made[key] for key in ("estimator", "space", "probes", "step", "seed") if key != left_out}
    parts = {key: made[key] for key in ("values", "stderr", "indices", "labels") if key != left_out}
    save_result(tmp_path, "curvature-part", {"format": 1, **settings}, parts)
    with pytest.raises(NoiseproofError, match=left_out):
        InputCurvature.load(tmp_path, "part")
