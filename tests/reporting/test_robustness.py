"""Tables of one model and of differences, by hand; and LaTeX, Markdown and CSV that say the same to the letter."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noiseproof.evaluation import (
    Certification,
    Comparison,
    CorruptionReport,
    PerturbationResult,
    RobustnessReport,
    compare_methods,
    compare_reports,
)
from noiseproof.reporting import (
    Table,
    certification_table,
    class_table,
    comparison_table,
    corruption_table,
    curve_table,
    difference_table,
    method_difference_table,
    report_records,
    report_table,
)
from noiseproof.reporting.tables import Entry, to_csv
from tests.evaluation.problems import comparison, report
from tests.reporting.test_tables import markdown_cells, terminal

CAVEAT = "Take care of this."


def cells(table: Table) -> list[list[str]]:
    return [[str(entry) for entry in row] for row in table.rows]


def labelled(counts: Mapping[str, Sequence[int]], samples: int = 10, caveat: str = CAVEAT) -> RobustnessReport:
    made = report(counts, samples)
    return RobustnessReport(dict(made), made.labels, made.class_names, made.seed, caveat)


def attacked(caveat: str = "") -> RobustnessReport:
    """Clean inputs and noise, with an attack that is right on the first two of ten samples."""
    made = report({"clean": [9], "gaussian:0.1": [5, 7]})
    correct = np.arange(10)[None] < 2
    attack = PerturbationResult("pgd:8/255", "pgd:eps=0.03", correct, np.full((1, 10), 0.7, np.float32), False, True)
    return RobustnessReport({**made, "pgd:8/255": attack}, made.labels, made.class_names, 0, caveat)


# One report


def test_the_result_of_an_attack_is_marked_as_a_bound() -> None:
    table = report_table(attacked(), "A model")
    assert [row[:3] for row in cells(table)] == [
        ["clean", "90.0", ""],
        ["gaussian:0.1", "60.0", "±14.1"],
        ["pgd:8/255", "≤ 20.0", ""],
    ]
    assert "≤: an attack's result bounds the robustness from above only" in table.caption
    assert "≤" not in report_table(report({"clean": [9]}), "A model").caption


def test_a_report_is_told_with_interval_calibration_and_draws() -> None:
    made = attacked()
    table = report_table(made, "A model")
    assert table.columns == ("Perturbation", "Accuracy", "std", "95 % interval", "ECE", "Draws")
    for row, result in zip(cells(table), made.values(), strict=True):
        low, high = (100 * end for end in result.interval)
        assert row[3] == f"{low:.1f} to {high:.1f}"
        assert row[5] == str(len(result.correct))
    # clean: 9 of 10 right with confidence 0.9, one wrong with 0.6; the attack: 2 of 10 right, all with 0.7.
    assert [row[4] for row in cells(table)][::2] == ["15.0", "50.0"]


def test_a_thousand_samples_get_a_second_decimal() -> None:
    (row,) = cells(report_table(report({"clean": [333]}, 1000), "A model"))
    assert row[1] == "33.30"
    assert re.fullmatch(r"\d\d\.\d\d to \d\d\.\d\d", row[3])


def test_a_curve_is_summed_up_by_hand() -> None:
    table = curve_table(report({"clean": [9], "gaussian:0.1": [8], "gaussian:0.3": [4], "uniform:0.25": [9]}))
    assert table is not None
    area = (0.1 * 0.85 + 0.2 * 0.6) / 0.3
    assert cells(table) == [["gaussian", "0.3", f"{100 * area:.1f}", "0.05"], ["uniform", "0.25", "90.0", "> 0.25"]]
    assert table.columns == ("Noise", "Up to", "Mean accuracy", "5 points lost at")


@pytest.mark.parametrize(
    "counts",
    [{"clean": [9]}, {"gaussian:0.1": [9], "gaussian:0.2": [8]}, {"clean": [9], "gaussian:0.1+uniform:0.1": [8]}],
)
def test_without_a_curve_there_is_no_table_of_curves(counts: dict[str, list[int]]) -> None:
    assert curve_table(report(counts)) is None


def test_levels_are_shown_with_four_digits() -> None:
    table = curve_table(report({"clean": [9], "gaussian:8/255": [9]}))
    assert table is not None
    assert cells(table) == [["gaussian", "0.03137", "90.0", "> 0.03137"]]


def test_classes_by_hand() -> None:
    table = class_table(report({"clean": [9], "gaussian:0.1": [5, 7]}), "A model")
    assert table.columns == ("Class", "Samples", "clean", "σ 0.1")
    assert cells(table) == [["even", "5", "100.0", "70.0"], ["odd", "5", "80.0", "50.0"], ["mean", "", "90.0", "60.0"]]
    assert not any(entry.best for row in table.rows for entry in row)


def test_a_class_without_samples_has_an_empty_place() -> None:
    made = report({"clean": [9]})
    wider = RobustnessReport(dict(made), made.labels, (*made.class_names, "absent"), 0)
    assert cells(class_table(wider, "A model"))[2:] == [["absent", "0", ""], ["mean", "", "90.0"]]


def test_the_balanced_accuracy_counts_every_class_the_same() -> None:
    made = report({"clean": [6]})
    unequal = RobustnessReport(dict(made), np.array([0] * 8 + [1] * 2), (*made.class_names, "absent"), 0)
    right = made["clean"].correct[0]
    assert unequal.balanced("clean") == pytest.approx((right[:8].mean() + right[8:].mean()) / 2)
    assert unequal.balanced("clean") != pytest.approx(right.mean())


def test_the_records_are_the_reports_numbers() -> None:
    made = attacked(CAVEAT)
    records = report_records(made)
    for record, result in zip(records, made.values(), strict=True):
        assert record == {
            "perturbation": result.key, "mean": result.mean, "std_over_draws": result.std,
            "low_95": result.interval.low, "high_95": result.interval.high,
            "calibration_error": result.calibration_error, "draws": len(result.correct), "samples": 10,
            "upper_bound_only": result.worst_case, "caveat": CAVEAT,
        }  # fmt: skip
    (single,) = report_records(report({"gaussian:0.1": [5]}))
    assert single["std_over_draws"] is None
    assert "caveat" not in single


# Differences


def test_two_models_by_hand() -> None:
    one, other = report({"clean": [9], "gaussian:0.1": [6, 7]}), report({"clean": [6], "gaussian:0.1": [7, 8]})
    table = difference_table(compare_reports(one, other), "A", "B")
    assert table.title == "A against B"
    assert table.columns == ("Perturbation", "First", "Second", "Difference", "95 % interval", "p", "Verdict")
    clean, noisy = cells(table)
    # Of ten samples three are right with the first only: p = 2 · 2⁻³.
    assert clean[:4] + clean[5:] == ["clean", "90.0", "60.0", "+30.0", "0.25", "no difference shown"]
    # Samples 6 and 7 lose one draw each: χ² = 2²/(1 + 1) = 2.
    assert noisy[:4] == ["gaussian:0.1", "65.0", "75.0", "−10.0"]
    assert noisy[5:] == [f"{math.erfc(1):.2g}", "no difference shown"]
    assert "10 samples" in table.caption


def test_a_clear_difference_has_a_verdict_and_hardly_a_p_value() -> None:
    better, worse = report({"clean": [900]}, 1000), report({"clean": [800]}, 1000)
    (row,) = cells(difference_table(compare_reports(better, worse), "A", "B"))
    assert row[:4] + row[5:] == ["clean", "90.00", "80.00", "+10.00", "< 0.0001", "first better"]
    low, high = (float(end) for end in row[4].split(" to "))
    assert (low, high) == pytest.approx((10 - 1.86, 10 + 1.86), abs=0.3)  # 1.96 √(0.1 · 0.9 / 1000)
    (swapped,) = cells(difference_table(compare_reports(worse, better), "B", "A"))
    assert swapped[3:] == ["−10.00", f"−{high:.2f} to −{low:.2f}", "< 0.0001", "second better"]


def test_a_model_does_not_differ_from_itself() -> None:
    made = report({"clean": [9], "gaussian:0.1": [6, 7]})
    for row in cells(difference_table(compare_reports(made, made), "A", "A")):
        assert row[3:] == ["+0.0", "+0.0 to +0.0", "1", "no difference shown"]


def test_another_level_is_in_the_heading() -> None:
    made = report({"clean": [9]})
    assert "99 % interval" in difference_table(compare_reports(made, made, level=0.99), "A", "B").columns


def test_two_methods_by_hand() -> None:
    made = comparison()
    table = method_difference_table(compare_methods(made, "robust", "plain"), made.method_titles)
    assert table.title == "Robust training against Plain training"
    assert table.columns == (
        "Perturbation", "Difference", "std over seeds", "95 %, seeds", "95 %, samples", "Verdict",
    )  # fmt: skip
    clean, little, much = cells(table)
    assert clean[:4] == ["clean", "−10.0", "±0.0", "−10.0 to −10.0"]
    # Seed 0: 26/30 − 24/30, seed 1: 27/30 − 22/30; Student's t of one degree of freedom is 12.706.
    differences = [2 / 30, 5 / 30]
    mean, std = sum(differences) / 2, (differences[1] - differences[0]) / math.sqrt(2)
    half = 12.7062 * std / math.sqrt(2)
    assert little[:3] == ["σ 0.1", f"+{100 * mean:.1f}", f"±{100 * std:.1f}"]
    assert little[3] == f"−{100 * (half - mean):.1f} to +{100 * (half + mean):.1f}"
    assert little[5] == "no difference shown"
    assert much[:4] == ["σ 0.5", "+36.7", "±0.0", "+36.7 to +36.7"]
    assert much[5] == "Robust training better"
    assert "2 training seeds" in table.caption


def test_one_seed_decides_nothing_about_methods() -> None:
    made = comparison(seeds=1)
    table = method_difference_table(compare_methods(made, "robust", "plain"), made.method_titles)
    assert {tuple(row[2:4]) for row in cells(table)} == {("", "")}
    assert {row[5] for row in cells(table)} == {"not known from one seed"}
    assert "1 training seed." in table.caption


def test_an_interval_that_ends_at_0_does_not_end_at_minus_0() -> None:
    one, other = report({"clean": [500]}, 1000), report({"clean": [501]}, 1000)
    for pair in ((one, other), (other, one)):
        for row in cells(difference_table(compare_reports(*pair), "A", "B")):
            assert not [cell for cell in row if re.search(r"−0\.0*(?![0-9])", cell)]


# Certificates and corruptions


@pytest.fixture
def certified() -> Certification:
    return Certification(
        labels=np.array([0, 1, 2, 0]), predictions=np.array([0, 1, 0, -1]), radii=np.array([0.1, 0.5, 0.9, 0.0]),
        indices=np.arange(4), sigma=0.25, n0=10, n=100, alpha=0.001, seed=0,
    )  # fmt: skip


def test_certified_accuracy_by_hand(certified: Certification) -> None:
    table = certification_table(certified, "A model", [0, 0.1, 0.25, 0.5, 0.75])
    assert cells(table) == [["0", "50.0"], ["0.1", "50.0"], ["0.25", "25.0"], ["0.5", "25.0"], ["0.75", "0.0"]]
    for part in ("4 samples", "σ = 0.25", "≥ 0.999", "abstained on 1", "100 noisy copies"):
        assert part in table.caption


def test_radii_are_multiples_of_half_sigma_unless_told(certified: Certification) -> None:
    assert [row[0] for row in cells(certification_table(certified, "A model"))] == [
        "0", "0.125", "0.25", "0.375", "0.5", "0.625", "0.75",
    ]  # fmt: skip


def corruptions(names: tuple[str, ...] = ("fog", "speckle_noise")) -> CorruptionReport:
    accuracies = np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.5, 0.4, 0.3, 0.2, 0.1]])
    return CorruptionReport(names, (1, 2, 3, 4, 5), 50, accuracies[: len(names)])


def test_corruptions_by_hand() -> None:
    table = corruption_table(corruptions(), "A model")
    assert table.columns == ("Corruption", *(f"severity {severity}" for severity in range(1, 6)), "Mean")
    assert cells(table) == [
        ["fog", "90.00", "80.00", "70.00", "60.00", "50.00", "70.00"],
        ["speckle_noise", "50.00", "40.00", "30.00", "20.00", "10.00", "30.00"],
    ]
    # Means are over the benchmark's own corruptions, of which fog is one.
    assert "Mean accuracy 70.00 %" in table.caption
    assert "mean corruption error 30.00 %" in table.caption


def test_corruptions_relative_to_another_model_by_hand() -> None:
    other = CorruptionReport(("fog",), (1, 2, 3, 4, 5), 50, np.full((1, 5), 0.6))
    assert "75.00 %" in corruption_table(corruptions(("fog",)), "A model", other).caption


# What has to be said


def test_every_table_of_a_report_has_its_caveat() -> None:
    made = labelled({"clean": [9], "gaussian:0.1": [5, 7]})
    curves = curve_table(made)
    assert curves is not None
    for table in (report_table(made, "A model"), class_table(made, "A model"), curves):
        assert CAVEAT in table.caption, table.title
        for text in (table.to_markdown(), table.to_latex(), " ".join(terminal(table).split())):
            assert CAVEAT in text, table.title
    assert all(row["caveat"] == CAVEAT for row in csv.DictReader(io.StringIO(to_csv(report_records(made)))))


@pytest.mark.parametrize("caveats", [(CAVEAT, ""), ("", CAVEAT), (CAVEAT, CAVEAT)])
def test_a_difference_has_the_caveats_of_both_models(caveats: tuple[str, str]) -> None:
    one, other = (labelled({"clean": [9]}, caveat=caveat) for caveat in caveats)
    assert CAVEAT in difference_table(compare_reports(one, other), "A", "B").caption


def test_a_difference_of_methods_has_the_caveat_of_their_comparison() -> None:
    made = comparison()
    reports = {
        name: {
            seed: RobustnessReport(dict(each), each.labels, each.class_names, each.seed, CAVEAT)
            for seed, each in by_seed.items()
        }
        for name, by_seed in made.reports.items()
    }
    warned = Comparison(made.title, reports, made.method_titles, CAVEAT)
    assert CAVEAT in comparison_table(warned).caption
    table = method_difference_table(compare_methods(warned, "robust", "plain"), warned.method_titles)
    assert CAVEAT in table.caption


# LaTeX

SIGNS = {
    r"\textbackslash": "\\", r"\textasciitilde": "~", r"\textasciicircum": "^", r"\textless": "<",
    r"\textgreater": ">", r"\textbar": "|", r"$\pm$": "±", r"$\sigma$": "σ", r"$\le$": "≤", r"$\leq$": "≤",
    r"$\ge$": "≥", r"$\geq$": "≥", "$-$": "−", r"$\times$": "×", "$<$": "<", "$>$": ">", "$|$": "|",
    **{f"\\{sign}": sign for sign in "&%$#_{}"}, r"\textbf": "",
}  # fmt: skip
PIECE = re.compile(r"\\[A-Za-z]+|\\.|\$[^$]*\$|.", re.DOTALL)
TROUBLE = "&%$#_{}~^\\"


def read_latex(text: str) -> list[str]:
    """What LaTeX prints for ``text``, cut where it cuts a row of a table."""
    found, previous = [""], ""
    for piece in PIECE.findall(text):
        if piece == "&":
            found.append("")
        elif piece in SIGNS:
            found[-1] += SIGNS[piece]
        elif piece in "{}":
            pass
        else:
            assert piece not in TROUBLE, f"a raw {piece} in {text}"
            assert len(piece) == 1, f"an unknown command {piece} in {text}"
            assert not (piece == " " and re.fullmatch(r"\\[A-Za-z]+", previous)), f"a space is eaten in {text}"
            found[-1] += piece
        previous = piece
    return [cell.strip() for cell in found]


def latex_rows(latex: str) -> list[str]:
    """The heading and the rows of a LaTeX table."""
    heading, body = latex.split("\\toprule\n")[1].split("\\midrule\n")
    lines = (heading + body.split("\\bottomrule")[0]).splitlines()
    assert all(re.search(r" \\\\$", line) for line in lines if line.strip())
    return [line.strip().removesuffix(r"\\").strip() for line in lines if line.strip()]


def latex_caption(latex: str) -> str:
    line = next(line.strip() for line in latex.splitlines() if line.strip().startswith("\\caption"))
    assert line.startswith("\\caption{")
    assert line.endswith("}")
    (caption,) = read_latex(line.removeprefix("\\caption{").removesuffix("}"))
    return caption


def test_a_latex_table_by_hand() -> None:
    table = Table("Title_1", ("Name", "a & b"), ((Entry("x%"), Entry("1 ±2", "(3)", best=True)),), "100 %")
    assert table.to_latex() == (
        "\\begin{table}\n"
        "  \\centering\n"
        "  \\caption{Title\\_1. 100 \\%}\n"
        "  \\begin{tabular}{lr}\n"
        "    \\toprule\n"
        "    Name & a \\& b \\\\\n"
        "    \\midrule\n"
        "    x\\% & \\textbf{1 $\\pm$2 (3)} \\\\\n"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "\\end{table}\n"
    )


@pytest.mark.parametrize("sign", "&%$#_{}~^\\±σ≤−×≥<>|")
def test_every_special_character_is_escaped(sign: str) -> None:
    text = f"{sign}a{sign}{sign} b{sign}"
    table = Table(text, (text, "c"), ((Entry(text), Entry(text, text, best=True)),), text)
    latex = table.to_latex()
    heading, row = latex_rows(latex)
    assert read_latex(heading) == [text, "c"]
    assert read_latex(row) == [text, f"{text} {text}"]
    assert latex_caption(latex) == f"{text}. {text}"
    assert latex.isascii()


@pytest.mark.parametrize("sign", "≥<>|")
def test_no_sign_needs_another_encoding_than_latex_begins_with(sign: str) -> None:
    """In text, and without a Unicode engine, < > | print as ¡ ¿ —, and ≥ not at all."""
    _, row = latex_rows(Table("t", ("n", "m"), ((Entry(sign), Entry("1")),), "c").to_latex())
    assert sign not in re.sub(r"\$[^$]*\$", "", row)


@pytest.mark.parametrize("text", ["[1cm]", "*", "*x", " [x]"])
def test_a_row_does_not_begin_with_what_the_line_before_would_take(text: str) -> None:
    r"""After ``\\``, ``\toprule`` and ``\midrule`` LaTeX looks for an optional argument in brackets, or a star."""
    latex = Table("t", (text, "m"), ((Entry(text), Entry("1")), (Entry(text), Entry("2"))), "c").to_latex()
    assert len(latex_rows(latex)) == 3
    assert not [row for row in latex_rows(latex) if row.startswith(("[", "*"))]


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.text("&%$#_{}~^\\±σ≤− ab1.[*", max_size=6).map(str.strip), min_size=width, max_size=width),
            min_size=2,
            max_size=4,
        )
    )
)
def test_any_names_are_read_back_from_latex_and_markdown(rows: list[list[str]]) -> None:
    heading, *body = rows
    entries = tuple(tuple(Entry(text, best=bool(index % 2)) for index, text in enumerate(row)) for row in body)
    table = Table("t", tuple(heading), entries, "c")
    found = latex_rows(table.to_latex())
    assert [row.replace("\\&", "").count("&") for row in found] == [len(heading) - 1] * len(rows)
    assert [read_latex(row) for row in found] == rows
    assert [len(row) for row in markdown_cells(table.to_markdown())] == [len(heading)] * len(rows)


def every_table(certified: Certification) -> list[Table]:
    """One of each kind, with what makes their captions long."""
    one, other = attacked(), labelled({"clean": [5], "gaussian:0.1": [5, 7]}, caveat="")
    made = comparison()
    curves = curve_table(one)
    assert curves is not None
    return [
        report_table(one, "A"), curves, class_table(one, "A"), difference_table(compare_reports(one, other), "A", "B"),
        method_difference_table(compare_methods(made, "robust", "plain"), made.method_titles),
        certification_table(certified, "A"), corruption_table(corruptions(), "A", corruptions()),
        comparison_table(made),
    ]  # fmt: skip


def test_the_words_of_every_table_are_the_same_in_latex_and_markdown(certified: Certification) -> None:
    for table in every_table(certified):
        latex, markdown = table.to_latex(), table.to_markdown()
        plain = [[cell.replace("**", "") for cell in row] for row in markdown_cells(markdown)]
        assert [read_latex(row) for row in latex_rows(latex)] == plain, table.title
        assert latex_caption(latex) == f"{table.title}. {table.caption}"
        assert latex.count(r"\textbf{") == sum(entry.best for row in table.rows for entry in row)
        columns = re.search(r"\\begin\{tabular\}\{(l?r*)\}", latex)
        assert columns is not None
        assert len(columns[1]) == len(table.columns)


def test_the_words_of_every_table_are_ascii_in_latex(certified: Certification) -> None:
    assert [table.title for table in every_table(certified) if not table.to_latex().isascii()] == []


# Markdown, terminal and CSV


def test_bars_in_names_split_no_cell_of_markdown() -> None:
    made = report({"clean": [9], "gaussian:0.1": [5, 7]})
    named = RobustnessReport(dict(made), made.labels, ("a|b", "|"), 0)
    table = class_table(named, "A|B")
    assert markdown_cells(table.to_markdown())[1:] == [
        [r"a\|b", "5", "100.0", "70.0"],
        [r"\|", "5", "80.0", "50.0"],
        ["mean", "", "90.0", "60.0"],
    ]


@pytest.mark.parametrize("name", ["[bold]cat[/bold]", ":smiley:", "[/x]", "[link=http://x]y"])
def test_class_names_are_shown_to_the_letter(name: str) -> None:
    made = report({"clean": [9]})
    table = class_table(RobustnessReport(dict(made), made.labels, (name, "dog"), 0), "A model")
    assert name in terminal(table)
