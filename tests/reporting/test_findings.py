"""Who leads, by how much, and when that cannot be told."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from noiseproof.errors import UnknownNameError
from noiseproof.evaluation import Comparison, PerturbationResult, RobustnessReport, compare_methods, compare_reports
from noiseproof.evaluation.intervals import accuracy_interval
from noiseproof.reporting.findings import findings, strongest
from noiseproof.reporting.wording import headlines, in_words, listed, main_finding, signed, standings_caption
from tests.evaluation.problems import comparison, report

SAMPLES = 200
KEYS = ("clean", "gaussian:0.5")
HARD = "\N{NO-BREAK SPACE}"


def measured(share: float, seed: int, draws: int = 4, noise_seed: int = 0) -> RobustnessReport:
    """A report in which about ``share`` of the noisy answers are right, those of easy samples first."""
    random = np.random.default_rng(seed)
    hardness = np.arange(SAMPLES) / SAMPLES
    correct = hardness + 0.05 * random.normal(size=(draws, SAMPLES)) < share
    clean = np.ones((1, SAMPLES), dtype=bool)
    results = {
        key: PerturbationResult(key, key, rows, np.full(rows.shape, 0.9, dtype=np.float32), key != "clean")
        for key, rows in zip(KEYS, (clean, correct), strict=True)
    }
    return RobustnessReport(results, np.arange(SAMPLES) % 2, ("even", "odd"), noise_seed)


def made(shares: dict[str, list[float]], **more: int) -> Comparison:
    reports = {
        name: {seed: measured(share, 10 * place + seed, **more) for seed, share in enumerate(each)}
        for place, (name, each) in enumerate(shares.items())
    }
    return Comparison("toy", reports, {name: name.title() for name in shares})


def test_the_strongest_noise_is_where_accuracy_is_lowest() -> None:
    assert strongest(comparison()) == "gaussian:0.5"
    one = Comparison("t", {"a": {0: report({"gaussian:0.1": [1], "clean": [9], "gaussian:0.5": [1]})}}, {"a": "A"})
    assert strongest(one) == "gaussian:0.5"  # the last of equals
    assert findings(one).key == "gaussian:0.5"


def test_a_clear_lead_over_seeds() -> None:
    both = made({"good": [0.80, 0.81, 0.80], "bad": [0.50, 0.51, 0.52]})
    found = findings(both)
    assert [each.title for each in found.standings] == ["Good", "Bad"]
    assert [each.verdict for each in found.standings] == ["leads", "behind"]
    expected = compare_methods(both, "good", "bad")["gaussian:0.5"]
    assert expected.verdict == "good better"
    bad = found.standings[1]
    assert bad.behind == expected.mean
    assert bad.low == min(expected.interval_over_seeds.low, expected.interval_over_samples.low)
    assert bad.high == max(expected.interval_over_seeds.high, expected.interval_over_samples.high)
    assert main_finding(found).startswith(f"Under Gaussian noise of σ{HARD}0.5, “Good” is best with 80.")
    assert main_finding(found).endswith(" points ahead of “Bad”.")
    assert headlines(found)[2].detail.endswith("; better")


def test_what_varies_from_seed_to_seed_cannot_be_told_apart() -> None:
    both = made({"good": [0.9, 0.6, 0.7], "bad": [0.6, 0.8, 0.6], "ugly": [0.2, 0.2, 0.2]})
    found = findings(both)
    assert [each.verdict for each in found.standings] == ["leads", "undecided", "behind"]
    assert compare_methods(both, "good", "bad")["gaussian:0.5"].verdict == "no difference shown"
    assert main_finding(found).endswith("but cannot be told apart from “Bad”.")
    assert "cannot be told apart" in headlines(found)[2].detail


@pytest.mark.parametrize(
    ("shares", "verdict", "said"),
    [
        ({"good": [0.8], "bad": [0.5]}, "models differ", "is right most often"),
        ({"good": [0.8], "bad": [0.8]}, "models alike", "cannot be told apart from that of"),
    ],
)
def test_one_seed_tells_of_two_models_and_not_of_methods(
    shares: dict[str, list[float]], verdict: str, said: str
) -> None:
    both = made(shares)
    found = findings(both)
    assert found.standings[1].verdict == verdict
    first, second = (each.method for each in found.standings)
    expected = compare_reports(both.reports[first][0], both.reports[second][0])["gaussian:0.5"]
    assert (found.standings[1].low, found.standings[1].high) == (expected.low, expected.high)
    assert said in main_finding(found)
    assert "says nothing about the methods" in main_finding(found)


def test_one_seed_in_common_with_the_next_is_told_though_others_have_several() -> None:
    both = made({"good": [0.8, 0.81], "next": [0.7], "bad": [0.5, 0.51]})
    found = findings(both)
    assert [each.verdict for each in found.standings] == ["leads", "models differ", "behind"]
    assert "says nothing about the methods" in main_finding(found)


def test_without_a_seed_in_common_nothing_is_compared() -> None:
    reports = {"good": {0: measured(0.8, 0)}, "bad": {1: measured(0.5, 1)}}
    found = findings(Comparison("t", reports, {"good": "Good", "bad": "Bad"}))
    assert [each.verdict for each in found.standings] == ["leads", "not compared"]
    assert math.isnan(found.standings[1].behind)
    assert len(headlines(found)) == 2
    assert "points" not in main_finding(found)


def test_accuracies_have_intervals_over_samples_and_draws_of_all_seeds() -> None:
    both = made({"good": [0.8, 0.7], "bad": [0.5, 0.5]})
    found = findings(both)
    correct = np.concatenate([each["gaussian:0.5"].correct for each in both.reports["good"].values()])
    assert found.leader.interval == accuracy_interval(correct)
    assert found.clean is not None
    assert found.clean[0].mean == 1.0
    first = headlines(found)[0]
    assert first.number == f"{100 * correct.mean():.1f}"
    assert "over 2 seeds" in first.detail


def test_intervals_say_whom_they_are_for() -> None:
    found = findings(made({"good": [0.80, 0.81, 0.80], "bad": [0.50, 0.51, 0.52]}))
    noisy, clean, difference = (each.detail for each in headlines(found))
    assert noisy.startswith("95 % interval for other test samples and noise: 7")
    assert clean.startswith("95 % interval for other test samples: 9")
    assert difference.startswith("95 % interval for other training seeds or other test samples and noise: +2")
    models = headlines(findings(made({"good": [0.8], "bad": [0.5]})))[2].detail
    assert models.startswith("95 % interval for other test samples and noise: +2")
    assert headlines(replace(found, random=False))[0].detail.startswith("95 % interval for other test samples: 7")


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        (
            {"good": [0.8, 0.81], "bad": [0.5, 0.51]},
            "The interval of a difference reaches as far as other training seeds or other test samples and noise "
            "could bring it, whichever is farther.",
        ),
        (
            {"good": [0.8], "bad": [0.5]},
            "is for other test samples and noise too. Neither is for other training seeds.",
        ),
        (
            {"good": [0.8, 0.81], "next": [0.7], "bad": [0.5, 0.51]},
            "one training seed in common, it is for other test",
        ),
    ],
)
def test_the_ranking_says_which_interval_is_for_what(shares: dict[str, list[float]], said: str) -> None:
    caption = standings_caption(findings(made(shares)))
    assert "beside an accuracy is for other test samples and noise, with the models as they are trained." in caption
    assert said in caption
    assert ("whichever is farther" in caption) == (len(shares["good"]) > 1)


@pytest.mark.parametrize(("right", "told"), [(5, True), (7, True), (8, False)])
def test_an_accuracy_that_one_class_alone_would_give_is_told(right: int, told: bool) -> None:
    measured = report({"clean": [9], "gaussian:0.5": [right, right]})
    measured.labels = np.array([0] * 7 + [1] * 3)
    found = findings(Comparison("t", {"a": {0: measured}}, {"a": "A"}))
    assert (found.commonest, found.random) == (0.7, True)
    said = f" Always answering with the most frequent class of the test samples would do no worse: 70.0{HARD}%."
    assert main_finding(found).endswith(said) == told
    assert ("most frequent" in main_finding(found)) == told


def test_one_method_alone_is_compared_with_nothing() -> None:
    found = findings(made({"only": [0.6]}))
    assert found.next is None
    assert "are answered rightly" in main_finding(found)
    assert len(headlines(found)) == 2


def test_clean_inputs_alone_are_told_once() -> None:
    one = Comparison("t", {"a": {0: report({"clean": [9]})}}, {"a": "A"})
    found = findings(one)
    assert main_finding(found).startswith("On clean inputs, 90.0")
    assert [each.label for each in headlines(found)] == ["on clean inputs"]


def test_an_unknown_noise() -> None:
    with pytest.raises(UnknownNameError, match=r"gaussian:0\.7"):
        findings(comparison(), "gaussian:0.7")


def test_words() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert signed(-0.0123, 1) == "−1.2"
    assert signed(0.0, 1) == signed(-1e-12, 1) == "+0.0"
    assert signed(math.nan, 1) == ""
    assert in_words("jpeg:20") == "jpeg:20"
