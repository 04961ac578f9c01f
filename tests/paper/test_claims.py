"""What the paper reads off its figures, on explanations made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from noiseproof.paper.claims import claims_of


def features(clean: float, noisy: float) -> Any:
    return SimpleNamespace(neighbours_clean=clean, neighbours_noisy=noisy)


def explained(**parts: Any) -> Any:
    return SimpleNamespace(**parts)


def holds(name: str, found: dict[str, Any]) -> list[bool]:
    return [bool(each) for _, each in claims_of(name, found)]


def of_features(**pairs: tuple[float, float]) -> dict[str, Any]:
    return {row: explained(feature_map=features(*pair)) for row, pair in pairs.items()}


@pytest.mark.parametrize(
    ("normal", "mixed", "discriminative", "expected"),
    [
        ((0.9, 0.5), (0.8, 0.7), (0.9, 0.8), [True, True, True]),
        ((0.9, 0.8), (0.9, 0.8), (0.95, 0.8), [False, False, False]),
        ((0.9, 0.5), (0.95, 0.7), (0.85, 0.8), [True, False, False]),
    ],
)
def test_fig_1_compares_neighbours_of_one_class(
    normal: tuple[float, float], mixed: tuple[float, float], discriminative: tuple[float, float], expected: list[bool]
) -> None:
    assert holds("fig1", of_features(normal=normal, mixed=mixed, discriminative=discriminative)) == expected


def test_claims_on_rows_that_are_missing_are_left_out() -> None:
    assert claims_of("fig1", of_features(discriminative=(0.9, 0.9))) == []
    assert len(claims_of("fig1", of_features(normal=(0.9, 0.9), mixed=(0.9, 0.9)))) == 2
    assert claims_of("fig11", {"normal": explained(surface=SimpleNamespace(values=np.zeros((3, 3))))}) == []
    assert claims_of("fig12", {"normal": explained(stage_maps=[features(1, 1)])}) == []


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [([0.9, 0.8, 0.7], [True, True]), ([0.9, 0.95, 0.7], [True, False]), ([0.7, 0.7, 0.7], [False, True]),
     ([float("nan"), 0.9, 0.8], [True, True]), ([0.5, 0.6, 0.7], [False, False])],
)  # fmt: skip
def test_fig_8_looks_at_both_ends_and_at_every_step(accuracies: list[float], expected: list[bool]) -> None:
    good = SimpleNamespace(accuracies=np.array([0.9, 0.8, 0.7]))
    other = SimpleNamespace(accuracies=np.array(accuracies))
    assert holds("fig8", {"a": explained(retained={"x": good, "y": other})}) == expected


@pytest.mark.parametrize(
    ("groups", "ranks", "expected"),
    [(-0.9, -0.6, [True, True]), (-0.9, -0.2, [True, False]), (0.3, -0.6, [False, True]), (-0.5, -0.5, [False] * 2),
     (float("nan"), -0.6, [False, True])],
)  # fmt: skip
def test_fig_9_asks_for_strong_correlations_everywhere(groups: float, ranks: float, expected: list[bool]) -> None:
    def counts(r: float, rho: float) -> Any:
        return SimpleNamespace(of_groups=SimpleNamespace(value=r), of_ranks=SimpleNamespace(value=rho))

    assert holds("fig9", {"a": explained(by_count={"x": counts(-1, -1), "y": counts(groups, ranks)})}) == expected


def test_fig_10_compares_medians_of_the_least_curved_nine_tenths() -> None:
    def curved(*values: float) -> Any:
        return explained(curvature=SimpleNamespace(values=np.array(values)))

    ten = [1.0] * 9
    found = {"normal": curved(*ten, 0), "mixed": curved(*[0.5] * 9, 99), "discriminative": curved(*[0.1] * 9, 9999)}
    assert holds("fig10", found) == [True, True, True]
    assert holds("fig10", {**found, "mixed": curved(*[2.0] * 10)}) == [True, False, True]
    assert holds("fig10", {**found, "discriminative": curved(*[1.5] * 10)}) == [False, True, False]


def test_fig_11_asks_whose_loss_rises_least() -> None:
    def surface(highest: float) -> Any:
        return explained(surface=SimpleNamespace(values=np.array([[0.0, -highest], [-highest / 2, 0.0]])))

    assert holds("fig11", {"normal": surface(3), "mixed": surface(2), "discriminative": surface(1)}) == [True]
    assert holds("fig11", {"normal": surface(3), "mixed": surface(1), "discriminative": surface(2)}) == [False]


@pytest.mark.parametrize(("name", "expected"), [("fig12", True), ("fig13", False)])
def test_figs_12_and_13_look_at_the_last_block(name: str, expected: bool) -> None:
    found = {
        "normal": explained(stage_maps=[features(0.9, 0.9), features(0.5, 0.6)]),
        "discriminative": explained(stage_maps=[features(0.1, 0.1), features(0.6, 0.5)]),
    }
    assert holds(name, found) == [expected]
