"""Reports that are measured in parts and put together, and parts that are taken out of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noiseproof.data import ArrayDataset
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.evaluation import Comparison, PerturbationResult, RobustnessReport, evaluate
from noiseproof.models import FeatureClassifier, build_model
from tests.evaluation.problems import Linear, report, result, samples

SPECS = [
    "clean", "gaussian:8/255", "gaussian:0.2", "uniform:0.1", "occlusion:n=3,size=0.3", "downup:1/2+gaussian:8/255",
    "stripes:n=2,width=0.1", "pgd:8/255", "salt-and-pepper:0.1",
]  # fmt: skip


def images(count: int) -> ArrayDataset:
    made = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=made)
    return ArrayDataset(pixels, torch.arange(count) % 4, ["a", "b", "c", "d"])


@pytest.fixture(scope="module")
def network() -> FeatureClassifier:
    torch.manual_seed(1)
    return build_model("resnet8-cifar", 4, 6, width=4, stem_stride=2)


def in_parts(
    model: torch.nn.Module, data: ArrayDataset, parts: Sequence[Sequence[str]], caveat: str = ""
) -> RobustnessReport:
    """One evaluation after another, put together."""
    first, *others = (evaluate(model, data, part, draws=3, seed=5, caveat=caveat) for part in parts)
    for other in others:
        first = first.joined(other)
    return first


# Together or in parts


@pytest.fixture(scope="module", params=[40, 200])
def count(request: pytest.FixtureRequest) -> int:
    """Fewer samples than a block of noise is drawn for, and more than one block."""
    return int(request.param)


@pytest.fixture(scope="module")
def together(network: FeatureClassifier, count: int) -> RobustnessReport:
    return evaluate(network, images(count), SPECS, draws=3, seed=5)


def test_perturbations_measured_one_at_a_time_give_what_they_give_together(
    network: FeatureClassifier, count: int, together: RobustnessReport
) -> None:
    one_at_a_time = in_parts(network, images(count), [[spec] for spec in SPECS])
    assert one_at_a_time == together
    assert list(one_at_a_time) == SPECS
    for spec in SPECS:
        assert np.array_equal(one_at_a_time[spec].correct, together[spec].correct)
        assert np.array_equal(one_at_a_time[spec].confidence, together[spec].confidence)


def test_any_parts_in_any_order_give_what_all_give_together(
    network: FeatureClassifier, count: int, together: RobustnessReport
) -> None:
    parts = [SPECS[5:], SPECS[2:4], SPECS[:2], SPECS[4:5]]
    joined = in_parts(network, images(count), parts)
    assert list(joined) == [spec for part in parts for spec in part]
    assert joined != together
    assert joined.only(SPECS) == together


def test_the_files_of_a_report_in_parts_are_those_of_one_at_once(
    network: FeatureClassifier, count: int, together: RobustnessReport, tmp_path: Path
) -> None:
    together.save(tmp_path / "together")
    saved: RobustnessReport | None = None
    for spec in SPECS:
        part = evaluate(network, images(count), [spec], draws=3, seed=5)
        saved = part if saved is None else saved.joined(part)
        saved.save(tmp_path / "parts")
        saved = RobustnessReport.load(tmp_path / "parts")
    for name in ("report.json", "report.npz"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(["clean", "gaussian:0.3", "uniform:0.2", "gaussian:0.6"]), cut=st.integers(1, 3))
def test_joining_two_parts_is_measuring_both(order: list[str], cut: int) -> None:
    model, data = Linear(6), samples(50, 6)
    first, second = (evaluate(model, data, part, draws=2) for part in (order[:cut], order[cut:]))
    assert first.joined(second) == evaluate(model, data, order, draws=2)


# joined


def test_what_both_have_is_the_others_and_stays_in_its_place() -> None:
    ours = report({"clean": [9], "gaussian:1": [5, 7], "uniform:1": [2, 3]})
    theirs = report({"gaussian:1": [1, 2], "gaussian:2": [4, 4]})
    joined = ours.joined(theirs)
    assert list(joined) == ["clean", "gaussian:1", "uniform:1", "gaussian:2"]
    assert {key: each.correct.sum(axis=1).tolist() for key, each in joined.items()} == {
        "clean": [9], "gaussian:1": [1, 2], "uniform:1": [2, 3], "gaussian:2": [4, 4],
    }  # fmt: skip


def test_what_both_have_under_different_texts_is_the_others() -> None:
    """Else a result of a perturbation would be found that another was to replace."""
    joined = report({"gaussian:8/255": [5, 7]}).joined(report({"gaussian:std=8/255": [1, 2]}))
    assert [each.correct.sum(axis=1).tolist() for each in joined.values()] == [[1, 2]]


def test_joining_leaves_both_reports_as_they_were() -> None:
    ours, theirs = report({"clean": [9], "uniform:1": [1, 2]}), report({"uniform:1": [3, 4], "gaussian:1": [5, 6]})
    ours.joined(theirs)
    assert ours == report({"clean": [9], "uniform:1": [1, 2]})
    assert theirs == report({"uniform:1": [3, 4], "gaussian:1": [5, 6]})


def test_a_report_joined_with_itself_is_itself() -> None:
    ours = report({"clean": [9], "gaussian:1": [5, 7]}, seed=3)
    assert ours.joined(ours) == ours


def test_labels_names_and_seed_are_kept() -> None:
    joined = report({"clean": [9]}, seed=4).joined(report({"gaussian:1": [5, 7]}, seed=4))
    assert (joined.seed, joined.class_names, joined.labels.tolist()) == (4, ("even", "odd"), [0, 1] * 5)


@pytest.mark.parametrize("caveats", [("chosen on the test set", "chosen on the test set"), ("", "chosen late")])
def test_the_caveat_of_the_other_is_that_of_both(caveats: tuple[str, str]) -> None:
    ours, theirs = report({"clean": [9]}), report({"gaussian:1": [5, 7]})
    ours.caveat, theirs.caveat = caveats
    assert ours.joined(theirs).caveat == caveats[1]


def test_no_caveat_of_either_is_lost() -> None:
    """Every table of a report has to say it, also where the part that was measured last does not."""
    ours, theirs = report({"clean": [9]}), report({"gaussian:1": [5, 7]})
    ours.caveat = "chosen on the test set"
    assert "chosen on the test set" in ours.joined(theirs).caveat


def test_reports_of_noise_from_different_seeds_are_not_joined() -> None:
    with pytest.raises(InvalidArgumentError, match="same seed"):
        report({"clean": [9]}, seed=0).joined(report({"gaussian:1": [5, 7]}, seed=1))


@pytest.mark.parametrize("count", [9, 11, 20])
def test_reports_of_another_number_of_samples_are_not_joined(count: int) -> None:
    with pytest.raises(InvalidArgumentError, match="same samples"):
        report({"clean": [9]}).joined(report({"gaussian:1": [5, 7]}, samples=count))


def test_reports_of_other_labels_are_not_joined() -> None:
    other = report({"gaussian:1": [5, 7]})
    other.labels = other.labels[::-1].copy()
    with pytest.raises(InvalidArgumentError, match="same samples"):
        report({"clean": [9]}).joined(other)


# only


def test_only_takes_what_is_asked_for_in_that_order() -> None:
    whole = report({"clean": [9], "gaussian:1": [5, 7], "uniform:1": [2, 3]}, seed=6)
    part = whole.only(["uniform:1", "clean"])
    assert list(part) == ["uniform:1", "clean"]
    assert part == report({"uniform:1": [2, 3], "clean": [9]}, seed=6)
    assert list(whole) == ["clean", "gaussian:1", "uniform:1"]


def test_only_of_all_is_the_report_itself() -> None:
    whole = report({"clean": [9], "gaussian:1": [5, 7]})
    assert whole.only(list(whole)) == whole
    assert whole.only(tuple(whole)) == whole


def test_only_keeps_the_caveat_labels_and_names() -> None:
    whole = report({"clean": [9], "gaussian:1": [5, 7]}, seed=2)
    whole.caveat = "chosen on the test set"
    part = whole.only(["gaussian:1"])
    assert (part.caveat, part.seed, part.class_names) == (whole.caveat, 2, whole.class_names)
    assert part.labels.tolist() == whole.labels.tolist()


def test_only_under_another_text_for_the_same_is_what_was_asked_for_also_from_files(tmp_path: Path) -> None:
    part = report({"clean": [9], "gaussian:8/255": [5, 7]}).only(["gaussian:std=8/255"])
    assert part["gaussian:std=8/255"].correct.sum(axis=1).tolist() == [5, 7]
    part.save(tmp_path)
    assert list(RobustnessReport.load(tmp_path)) == list(part)


def test_reports_with_more_than_a_table_shows_are_compared_by_its_columns() -> None:
    ours, theirs = (
        report({"clean": [9], "uniform:1": [2, 3], "gaussian:1": [5, 7]}),
        report({"gaussian:1": [4, 4], "clean": [8]}),
    )
    columns = ["clean", "gaussian:1"]
    made = Comparison("toy", {"a": {0: ours.only(columns)}, "b": {0: theirs.only(columns)}}, {"a": "A", "b": "B"})
    assert made.perturbations == ("clean", "gaussian:1")


@pytest.mark.parametrize("keys", [["gaussian:2"], ["clean", "cleen"], [""]])
def test_only_of_what_is_not_there_is_an_error(keys: list[str]) -> None:
    with pytest.raises(UnknownNameError, match="unknown perturbation in this report"):
        report({"clean": [9], "gaussian:1": [5, 7]}).only(keys)


def test_parts_of_one_report_joined_are_the_report() -> None:
    counts = {"clean": [9], "gaussian:1": [5, 7], "uniform:1": [2, 3]}
    whole = report(counts)
    assert whole.only(["clean"]).joined(whole.only(["gaussian:1", "uniform:1"])) == whole


def test_results_of_attacks_stay_results_of_attacks() -> None:
    attacked = result("clean", [4])
    worst = PerturbationResult("pgd:0.1", "pgd:eps=0.1", attacked.correct, attacked.confidence, False, True)
    plain = report({"clean": [9]})
    other = RobustnessReport({"pgd:0.1": worst}, plain.labels, plain.class_names, 0)
    assert plain.joined(other)["pgd:0.1"].worst_case
    assert other.joined(plain).only(["pgd:0.1"])["pgd:0.1"].worst_case
