"""Which classes are taken for which: the numbers, against scikit-learn, and how they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

import noiseproof as npf
from noiseproof.data import ArrayDataset
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation import Comparison, PerturbationResult, RobustnessReport
from noiseproof.reporting import Page, Setup, confusion_table, method_confusion_table, render_page
from tests.evaluation.problems import Linear, result, samples

NAMES = ("cat", "dog", "<eel>")


def report(answered: NDArray[Any], labels: NDArray[np.int64], names: tuple[str, ...] = NAMES) -> RobustnessReport:
    """A report on one perturbation with these answers (draws, N)."""
    correct = answered == labels
    sure = np.full(correct.shape, 0.9, np.float32)
    found = PerturbationResult("gaussian:1", "gaussian:std=1.0", correct, sure, True, answered=answered)
    return RobustnessReport({"gaussian:1": found}, labels, names, 0)


def drawn(count: int = 50, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return random.integers(0, 3, (4, count), dtype=np.uint8), random.integers(0, 3, count)


def test_shares_are_those_of_scikit_learn() -> None:
    answered, labels = drawn()
    expected = confusion_matrix(np.tile(labels, 4), answered.ravel(), normalize="true")
    np.testing.assert_allclose(report(answered, labels).confusion("gaussian:1"), expected)


def test_rows_sum_to_one_and_the_diagonal_is_the_accuracy_of_each_class() -> None:
    found = report(*drawn())
    np.testing.assert_allclose(found.confusion("gaussian:1").sum(axis=1), 1)
    np.testing.assert_allclose(found.confusion("gaussian:1").diagonal(), found.per_class("gaussian:1"))


def test_a_class_that_is_not_there_has_no_shares_and_one_that_the_data_does_not_know_has_a_column() -> None:
    found = report(np.array([[0, 4, 2]], dtype=np.uint8), np.array([0, 0, 2])).confusion("gaussian:1")
    assert found.shape == (3, 5)
    assert np.isnan(found[1]).all()
    assert found[0].tolist() == [0.5, 0, 0, 0, 0.5]


@pytest.mark.parametrize("draws", [1, 3])
def test_answers_are_those_of_the_model(draws: int) -> None:
    inputs, labels = samples(70, 6)
    found = npf.evaluate(Linear(6), (inputs, labels), ["clean", "gaussian:0.2"], draws=draws)
    answered = found["clean"].answered
    assert answered is not None
    assert answered.dtype == np.uint8
    np.testing.assert_array_equal(answered[0], Linear(6)(inputs).argmax(1).numpy())
    for each in found.values():
        assert each.answered is not None
        np.testing.assert_array_equal(each.answered == labels.numpy(), each.correct)


@pytest.mark.parametrize(("classes", "dtype"), [(250, np.uint8), (300, np.uint16), (70_000, np.uint32)])
def test_answers_take_no_more_room_than_needed(classes: int, dtype: type) -> None:
    class Last(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(torch.full((len(x),), classes - 1), classes).float() + 0 * x[:, :1]

    found = npf.evaluate(Last(), ArrayDataset(torch.rand(3, 2), torch.zeros(3, dtype=torch.long), ("a",)))
    assert found["clean"].answered is not None
    assert found["clean"].answered.dtype == dtype
    assert found["clean"].answered.tolist() == [[classes - 1] * 3]


def test_answers_are_kept_and_a_report_without_them_still_read(tmp_path: Path) -> None:
    answered, labels = drawn()
    full = report(answered, labels)
    full.save(tmp_path / "full")
    loaded = RobustnessReport.load(tmp_path / "full")
    assert loaded == full
    np.testing.assert_array_equal(loaded.confusion("gaussian:1"), full.confusion("gaussian:1"))
    np.testing.assert_array_equal(loaded.only(["gaussian:1"])["gaussian:1"].answered, answered)  # type: ignore[arg-type]
    old = RobustnessReport({"clean": result("clean", [5])}, np.zeros(10, dtype=np.int64), NAMES, 0)
    old.save(tmp_path / "old")
    with pytest.raises(InvalidArgumentError, match="keeps no answers, as those of earlier versions: measure again"):
        RobustnessReport.load(tmp_path / "old").confusion("clean")


def test_the_most_frequent_mistakes_come_first_however_rare_their_class_is() -> None:
    labels = np.array([0] * 50 + [1] * 4 + [2] * 50)
    answered = labels.copy()
    answered[:10], answered[50:52], answered[60:63] = 2, 0, 1
    table = confusion_table(report(answered[None].astype(np.uint8), labels), "A model")
    assert [[entry.text for entry in row] for row in table.rows] == [
        ["cat", "<eel>", "20.0"], ["<eel>", "dog", "6.0"], ["dog", "cat", "50.0"],
    ]  # fmt: skip
    assert table.columns == ("Class", "Taken for", "σ 1")


def test_a_model_without_mistakes_is_told() -> None:
    labels = np.array([0, 1, 2])
    table = confusion_table(report(labels[None].astype(np.uint8), labels), "A model")
    assert (table.rows, table.caption) == ((), "There are no mistakes.")


def compared(*reports: RobustnessReport) -> Comparison:
    return Comparison("c", {"mixed": dict(enumerate(reports))}, {"mixed": "Mixed"})


def test_methods_are_told_by_their_means_over_seeds() -> None:
    (one, labels), (two, _) = drawn(seed=1), drawn(seed=2)
    wide = np.where(two == 1, 3, two).astype(np.uint8)  # answers a class that the data does not know
    table = method_confusion_table(compared(report(one, labels), report(wide, labels)), "gaussian:1")
    assert table is not None
    found = {(row[0].text, row[1].text): row[2].text for row in table.rows}
    share = np.mean([(each[:, labels == 0] == 2).mean() for each in (one, wide)])
    assert found["cat", "<eel>"] == f"{100 * share:.1f}"
    assert any(answered == "class 3" for _, answered in found)
    old = RobustnessReport({"gaussian:1": result("gaussian:1", [5] * 4, 50)}, labels, NAMES, 0)
    assert method_confusion_table(compared(report(one, labels), old), "gaussian:1") is None


def test_a_page_shows_them_and_escapes_the_names_of_classes() -> None:
    answered, labels = drawn()
    shown = compared(report(answered, labels))
    table = method_confusion_table(shown, "gaussian:1")
    assert table is not None
    page = render_page(Page(shown, Setup(("Trained.",), "recipe: yaml")))
    assert "&lt;eel&gt;" in page
    assert "<eel>" not in page
    for true, taken_for, share in table.rows:
        before, after = (each.text.replace("<", "&lt;").replace(">", "&gt;") for each in (true, taken_for))
        row = f'{before} <span aria-hidden="true">→</span><span class="unseen">taken for</span> {after}</th>'
        assert f'{row}<td class="h{round(float(share.text) / 10)}">{share.text}</td>' in page


def test_a_page_of_older_reports_goes_without_them() -> None:
    old = RobustnessReport({"gaussian:1": result("gaussian:1", [5])}, np.zeros(10, dtype=np.int64), NAMES, 0)
    assert "taken for" not in render_page(Page(compared(old), Setup(("Trained.",), "recipe: yaml")))
