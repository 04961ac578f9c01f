"""Tables: Markdown, CSV, JSON records and the terminal tell the same."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from rich.console import Console

from noiseproof.evaluation import Comparison
from noiseproof.reporting import Table, comparison_records, comparison_table, report_table
from noiseproof.reporting.tables import Entry, to_csv
from tests.evaluation.problems import comparison, report


def markdown_cells(markdown: str) -> list[list[str]]:
    """Header and rows of a Markdown table, split where a reader of Markdown splits."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [rows[0], *rows[2:]]


def terminal(table: Table, width: int = 200, color: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, color_system="standard" if color else None
    )
    console.print(table.to_rich())
    return console.file.getvalue()


def test_the_table_by_hand() -> None:
    assert comparison_table(comparison("toy")).to_markdown() == (
        "Test accuracy under perturbations: toy\n\n"
        "| Method | clean | σ 0.1 | σ 0.5 |\n"
        "| :--- | ---: | ---: | ---: |\n"
        "| Plain training | **95.0 ±7.1** | 76.7 ±4.7 (8.2) | 30.0 ±4.7 (13.5) |\n"
        "| Robust training | 85.0 ±7.1 | **88.3 ±2.4 (4.1)** | **66.7 ±4.7 (8.2)** |\n\n"
        "Accuracy in %: mean ± std over 2 training seeds (std over 3 draws of the noise). "
        "Bold: best mean of the column.\n"
    )


def test_one_seed_shows_the_std_over_draws() -> None:
    table = comparison_table(comparison(seeds=1))
    assert [str(entry) for entry in table.rows[0]] == ["Plain training", "100.0", "80.0 ±10.0", "33.3 ±15.3"]
    assert "one training seed" in table.caption
    assert "3 draws" in table.caption


def test_markdown_csv_json_and_terminal_agree() -> None:
    made = comparison()
    table, records = comparison_table(made), comparison_records(made)
    header, *rows = markdown_cells(table.to_markdown())
    read = list(csv.DictReader(io.StringIO(to_csv(records))))
    parsed = json.loads(json.dumps(records))
    shown = [re.split(r"\s{2,}", line.strip()) for line in terminal(table).splitlines()]
    assert header in shown
    assert len(read) == len(parsed) == len(made.methods) * len(made.perturbations)
    for row, method in zip(rows, made.methods, strict=True):
        assert [cell.strip("*") for cell in row] in shown
        for text, column in zip(row[1:], made.perturbations, strict=True):
            cell = made.cell(method, column)
            assert text.strip("*").startswith(f"{100 * cell.mean:.1f} ±{100 * cell.std_over_seeds:.1f}")
            assert text.startswith("**") is text.endswith("**") is cell.best
            for record in (*read, *parsed):
                if (record["method"], record["perturbation"]) == (method, column):
                    assert float(record["mean"]) == cell.mean
                    assert float(record["std_over_seeds"]) == cell.std_over_seeds
                    assert float(record["std_over_draws"]) == cell.std_over_draws
                    assert str(record["best"]) == str(cell.best)


def test_records_tell_every_seed_and_how_much_was_measured() -> None:
    record = comparison_records(comparison())[1]
    assert record["by_seed"] == {"0": pytest.approx(0.8), "1": pytest.approx(22 / 30)}
    assert (record["seeds"], record["draws"]) == (2, 3)


def test_a_spread_that_is_not_known_is_empty_and_null() -> None:
    records = comparison_records(comparison(seeds=1))
    assert all(record["std_over_seeds"] is None for record in records)
    assert "NaN" not in json.dumps(records)
    assert {row["std_over_seeds"] for row in csv.DictReader(io.StringIO(to_csv(records)))} == {""}


def test_best_is_bold_on_the_terminal() -> None:
    shown = terminal(comparison_table(comparison()), color=True)
    bold = re.findall(r"\x1b\[1m([^\x1b]+)\x1b\[0m", shown)
    assert {"95.0 ±7.1", "88.3 ±2.4 (4.1)", "66.7 ±4.7 (8.2)"} <= {text.strip() for text in bold}
    assert not any("85.0" in text or "76.7" in text for text in bold)


def test_a_tie_has_two_winners() -> None:
    one = {0: report({"clean": [9]})}
    table = comparison_table(Comparison("t", {"a": one, "b": one}, {"a": "A", "b": "B"}))
    assert table.to_markdown().count("**90.0**") == 2


def test_more_samples_show_more_decimals() -> None:
    def table(samples: int) -> str:
        made = Comparison("t", {"a": {0: report({"clean": [samples // 3]}, samples)}}, {"a": "A"})
        return comparison_table(made).to_markdown()

    assert "**33.3**" in table(999)
    assert "**33.33**" in table(9999)


def test_the_caption_does_not_speak_of_draws_that_were_not_made() -> None:
    made = Comparison("t", {"a": {0: report({"clean": [9]}), 1: report({"clean": [8]})}}, {"a": "A"})
    assert "1 draws" not in comparison_table(made).caption


@pytest.mark.parametrize(
    ("columns", "entry"),
    [(("Method", "a|b"), Entry("1")), (("Method", "c"), Entry("a|b")), (("Method", "c"), Entry("a|b", best=True))],
    ids=["heading", "entry", "best entry"],
)
def test_a_bar_does_not_split_a_markdown_cell(columns: tuple[str, str], entry: Entry) -> None:
    table = Table("title", columns, ((Entry("x|y"), entry),), "caption")
    assert [len(row) for row in markdown_cells(table.to_markdown())] == [2, 2]


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/red]", ":smiley:", "[link=http://x]y"])
def test_markup_in_names_is_shown_as_it_is(text: str) -> None:
    table = Table(text, (text, "c"), ((Entry(text), Entry(text, best=True)),), text)
    assert terminal(table).count(text) == 5


def test_csv_quotes_what_needs_it() -> None:
    rows = [{"method": 'a,"b"\n', "mean": 0.5, "by_seed": {}}]
    assert list(csv.DictReader(io.StringIO(to_csv(rows), newline=""))) == [{"method": 'a,"b"\n', "mean": "0.5"}]


@pytest.mark.parametrize(
    ("key", "heading"),
    [
        ("clean", "clean"), ("gaussian:0.1", "σ 0.1"), ("gaussian:8/255", "σ 8/255"),
        ("gaussian:std=8/255", "σ 8/255"),
        ("gaussian:0.1,clamp=no", "gaussian:0.1,clamp=no"), ("gaussian:0.1+uniform:0.2", "gaussian:0.1+uniform:0.2"),
        ("uniform:0.06", "uniform:0.06"),
    ],
)  # fmt: skip
def test_column_headings(key: str, heading: str) -> None:
    made = Comparison("t", {"a": {0: report({key: [5]})}}, {"a": "A"})
    assert comparison_table(made).columns == ("Method", heading)


def test_the_table_of_one_report() -> None:
    table = report_table(report({"clean": [9], "gaussian:0.1": [5, 7], "uniform:1": [4]}), "Normal, seed 0")
    assert table.title == "Normal, seed 0"
    assert [[str(entry) for entry in row] for row in table.rows] == [
        ["clean", "90.0", "", "59.6 to 98.2", "15.0", "1"],
        ["gaussian:0.1", "60.0", "±14.1", "33.9 to 81.4", "30.0", "2"],
        ["uniform:1", "40.0", "", "16.8 to 68.7", "40.0", "1"],
    ]  # fmt: skip
    assert "10 samples" in table.caption


@pytest.mark.parametrize("width", [36, 48, 60, 80, 100, 200])
def test_on_a_narrow_terminal_columns_are_shown_in_parts_and_no_number_is_broken(width: int) -> None:
    table = comparison_table(comparison())
    shown = terminal(table, width)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= width
    for row in table.rows:
        for entry in row[1:]:
            assert any(str(entry) in line for line in lines), entry
    assert all(shown.count(heading) == 1 for heading in table.columns[1:])
    assert " ".join(shown.split()).count("over 3 draws of the noise") == 1


def test_long_headings_are_broken_between_words_where_it_is_narrow() -> None:
    table = Table("t", ("Name", "no difference shown at all"), ((Entry("row"), Entry("1.5")),), "c")
    assert "no difference shown at all" in terminal(table, 80)
    narrow = terminal(table, 20)
    assert "no difference shown at all" not in narrow
    assert "difference" in narrow
    assert "1.5" in narrow


def test_a_table_without_rows_or_columns_is_shown() -> None:
    assert "Name" in terminal(Table("t", ("Name", "a"), (), "c"), 10)
    assert "row" in terminal(Table("t", ("Name",), ((Entry("row"),),), "c"), 10)
