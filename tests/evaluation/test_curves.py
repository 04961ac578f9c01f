"""Curves of accuracy against noise level: area and lost level by hand, and what is measured for which curve."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation import NoiseCurve, PerturbationResult, RobustnessReport
from noiseproof.evaluation.curves import noise_curves
from noiseproof.perturbations import perturbation
from tests.evaluation.problems import report

# Points of a curve: (level, accuracy), the first at level 0.
Points = list[tuple[Fraction, Fraction]]


def curve(*points: tuple[float, float]) -> NoiseCurve:
    levels, accuracies = zip(*points, strict=True)
    return NoiseCurve("gaussian", np.array(levels, dtype=np.float64), np.array(accuracies, dtype=np.float64))


def curves_of(measured: dict[str, float]) -> dict[str, NoiseCurve]:
    return noise_curves((perturbation(spec), accuracy) for spec, accuracy in measured.items())


def area_by_trapezoids(points: Points) -> Fraction:
    total = Fraction(0)
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        total += (x1 - x0) * (y0 + y1) / 2
    return total / points[-1][0]


def first_level_lost(points: Points, drop: Fraction) -> Fraction | None:
    """The lowest x at which the straight lines between the points have fallen to y(0) − drop; None for nowhere."""
    target = points[0][1] - drop
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if y0 > target >= y1:
            return x0 + (x1 - x0) * (y0 - target) / (y0 - y1)
    return None


def measured_points() -> st.SearchStrategy[Points]:
    hundredths = st.integers(0, 100).map(lambda number: Fraction(number, 100))
    above = st.lists(st.tuples(hundredths.filter(bool), hundredths), min_size=1, max_size=6, unique_by=lambda p: p[0])
    return st.tuples(hundredths, above).map(lambda made: [(Fraction(0), made[0]), *sorted(made[1])])


@given(measured_points())
def test_the_area_is_that_of_the_trapezoids(points: Points) -> None:
    found = curve(*((float(x), float(y)) for x, y in points)).area
    assert found == pytest.approx(float(area_by_trapezoids(points)), abs=1e-12)
    assert 0 <= found <= 1 + 1e-12


@given(measured_points(), st.integers(1, 100))
def test_the_lost_level_is_where_the_lines_first_cross(points: Points, percent: int) -> None:
    found = curve(*((float(x), float(y)) for x, y in points)).level_at_drop(percent / 100)
    expected = first_level_lost(points, Fraction(percent, 100))
    if expected is None:
        assert found == math.inf
    else:
        assert found == pytest.approx(float(expected), abs=1e-9)


def test_area_and_lost_level_by_hand() -> None:
    found = curve((0, 0.9), (0.1, 0.8), (0.3, 0.4))
    assert found.area == pytest.approx((0.1 * 0.85 + 0.2 * 0.6) / 0.3)
    assert found.level_at_drop(0.05) == pytest.approx(0.05)
    assert found.level_at_drop() == found.level_at_drop(0.05)
    assert found.level_at_drop(0.1) == pytest.approx(0.1)
    assert found.level_at_drop(0.3) == pytest.approx(0.2)
    assert found.level_at_drop(0.5) == pytest.approx(0.3)
    assert found.level_at_drop(0.51) == math.inf


def test_levels_that_are_not_evenly_spaced_count_by_their_width() -> None:
    assert curve((0, 1.0), (0.01, 0.0), (1, 0.0)).area == pytest.approx(0.005)


def test_a_curve_that_never_falls_that_far_has_no_lost_level() -> None:
    assert curve((0, 0.5), (1, 0.5)).level_at_drop() == math.inf
    assert curve((0, 0.5), (1, 0.9)).level_at_drop() == math.inf
    assert curve((0, 0.5), (1, 0.4501)).level_at_drop() == math.inf


def test_a_curve_that_rises_before_it_falls_is_measured_against_clean() -> None:
    found = curve((0, 0.8), (0.2, 1.0), (0.4, 0.7))
    assert found.level_at_drop(0.1) == pytest.approx(0.4)
    assert found.level_at_drop(0.05) == pytest.approx(0.2 + 0.2 * 0.25 / 0.3)


def test_the_first_of_several_losses_counts() -> None:
    found = curve((0, 0.8), (0.1, 0.6), (0.2, 0.8), (0.3, 0.2))
    assert found.level_at_drop(0.1) == pytest.approx(0.05)
    assert found.level_at_drop(0.4) == pytest.approx(0.2 + 0.1 * 0.4 / 0.6)


@pytest.mark.parametrize(("right", "of"), [(19, 20), (950, 1000), (342, 360), (17, 17)])
def test_five_points_lost_to_the_sample_are_lost(right: int, of: int) -> None:
    """A drop of exactly 5 points is one, whatever rounding says of 0.95 − 0.9."""
    clean, noisy = right / of, (right - of / 20) / of
    assert curve((0, clean), (0.1, noisy), (0.2, noisy - 0.3)).level_at_drop(0.05) == pytest.approx(0.1)


def test_without_clean_inputs_nothing_is_summed_up() -> None:
    found = curve((0.1, 0.8), (0.2, 0.3))
    assert math.isnan(found.area)
    assert math.isnan(found.level_at_drop())


@pytest.mark.parametrize("drop", [0, -0.05, 1.01, math.nan, math.inf])
def test_a_drop_outside_its_range_is_refused(drop: float) -> None:
    with pytest.raises(InvalidArgumentError, match="drop"):
        curve((0, 0.9), (0.1, 0.8)).level_at_drop(drop)
    with pytest.raises(InvalidArgumentError, match="drop"):
        curve((0.1, 0.9), (0.2, 0.8)).level_at_drop(drop)


# Which measurements make a curve


def test_clean_inputs_are_level_0_of_every_curve() -> None:
    found = curves_of({"gaussian:0.2": 0.5, "uniform:0.3": 0.7, "clean": 0.9, "gaussian:0.1": 0.8})
    assert list(found) == ["gaussian", "uniform"]
    assert (found["gaussian"].levels.tolist(), found["gaussian"].accuracies.tolist()) == (
        [0, 0.1, 0.2],
        [0.9, 0.8, 0.5],
    )
    assert (found["uniform"].levels.tolist(), found["uniform"].accuracies.tolist()) == ([0, 0.3], [0.9, 0.7])


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_of_the_measurements_does_not_matter(order: tuple[int, ...]) -> None:
    measured = [("clean", 0.9), ("gaussian:0.1", 0.8), ("gaussian:0.05", 0.85), ("gaussian:0.3", 0.2)]
    found = curves_of(dict(measured[index] for index in order))["gaussian"]
    assert found.levels.tolist() == [0, 0.05, 0.1, 0.3]
    assert found.accuracies.tolist() == [0.9, 0.85, 0.8, 0.2]


def test_a_curve_without_clean_inputs_begins_above_0() -> None:
    assert curves_of({"gaussian:0.2": 0.5, "gaussian:0.1": 0.7})["gaussian"].levels.tolist() == [0.1, 0.2]


def test_noise_of_level_0_stands_for_clean_inputs() -> None:
    found = curves_of({"gaussian:0.2": 0.5, "gaussian:0": 0.7})["gaussian"]
    assert found.levels.tolist() == [0, 0.2]
    assert found.area == pytest.approx(0.6)


def test_level_0_alone_is_no_curve() -> None:
    assert curves_of({"gaussian:0": 0.7}) == {}
    assert curves_of({"gaussian:0": 0.7, "clean": 0.7}) == {}
    assert curves_of({"clean": 0.7}) == {}
    assert curves_of({}) == {}


def test_other_settings_make_another_curve() -> None:
    found = curves_of(
        {"clean": 1.0, "gaussian:0.1": 0.9, "gaussian:std=0.1,clamp=no": 0.8, "gaussian:clamp=no,std=0.2": 0.6}
    )
    assert {name: each.levels.tolist() for name, each in found.items()} == {
        "gaussian": [0, 0.1],
        "gaussian:clamp=no": [0, 0.1, 0.2],
    }
    assert found["gaussian:clamp=no"].accuracies.tolist() == [1.0, 0.8, 0.6]
    assert found["gaussian:clamp=no"].name == "gaussian:clamp=no"


def test_chains_and_what_has_no_level_are_left_out() -> None:
    measured = {
        "clean": 1.0, "gaussian:0.1": 0.9, "gaussian:0.2+uniform:0.1": 0.1, "jpeg:20": 0.2, "fog:0.5": 0.3,
        "corruption:fog,severity=3": 0.4,
    }  # fmt: skip
    found = curves_of(measured)
    assert list(found) == ["gaussian"]
    assert found["gaussian"].levels.tolist() == [0, 0.1]


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "laplace", "speckle", "impulse", "salt-and-pepper"])
def test_level_0_of_a_kind_of_noise_changes_nothing(kind: str) -> None:
    noise = perturbation(f"{kind}:0")
    x = torch.rand(3, 2, 5, 5)
    assert noise.level == 0
    torch.testing.assert_close(noise(x, 0), x, rtol=0, atol=0)
    assert perturbation(f"{kind}:0.25").level == 0.25


# Curves of a report


def test_a_reports_curves_hold_its_means() -> None:
    found = report({"gaussian:8/255": [5, 7], "clean": [9], "gaussian:std=0.5": [1, 2], "uniform:1": [3]}).curves()
    assert list(found) == ["gaussian", "uniform"]
    assert found["gaussian"].levels.tolist() == [0, 8 / 255, 0.5]
    assert found["gaussian"].accuracies.tolist() == pytest.approx([0.9, 0.6, 0.15])
    assert found["gaussian"].area == pytest.approx((8 / 255 * 0.75 + (0.5 - 8 / 255) * 0.375) / 0.5)


def test_attacks_make_no_curve() -> None:
    made = report({"clean": [9], "gaussian:0.1": [5]})
    answers = made["clean"]
    attacks = {
        key: PerturbationResult(key, key, answers.correct, answers.confidence, random=False, worst_case=True)
        for key in ("fgsm:eps=0.1", "fgsm:eps=0.2")
    }
    with_attacks = RobustnessReport({**dict(made), **attacks}, made.labels, made.class_names, made.seed)
    assert list(with_attacks.curves()) == ["gaussian"]
    assert with_attacks.curves()["gaussian"].levels.tolist() == [0, 0.1]
