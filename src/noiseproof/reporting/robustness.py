"""One model's robustness, and the difference between two, as tables and records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from noiseproof.evaluation import (
    Certification,
    CorruptionReport,
    MethodDifference,
    PairedDifference,
    PairedReport,
    RobustnessReport,
)
from noiseproof.evaluation.intervals import Interval
from noiseproof.reporting.tables import Entry, Table, decimals_for, interval_text, percent, points, short_name

__all__ = [
    "certification_table",
    "class_table",
    "corruption_table",
    "curve_table",
    "difference_table",
    "method_difference_table",
    "report_records",
    "report_table",
]


def report_table(report: RobustnessReport, title: str) -> Table:
    """Accuracy in percent of one model, a row per perturbation."""
    decimals = decimals_for(len(report.labels))
    rows = tuple(
        (
            Entry(result.key),
            Entry(f"{'≤ ' if result.worst_case else ''}{percent(result.mean, decimals)}"),
            Entry(f"±{percent(result.std, decimals)}" if result.random and not math.isnan(result.std) else ""),
            Entry(interval_text(result.interval, decimals)),
            Entry(percent(result.calibration_error, 1)),
            Entry(str(len(result.correct))),
        )
        for result in report.values()
    )
    caption = (
        f"Accuracy in % of {len(report.labels)} samples; std over independent draws of the perturbation; the 95 % "
        "interval is for other samples and other draws; ECE: expected calibration error in %."
    )
    if any(result.worst_case for result in report.values()):
        caption += " ≤: an attack's result bounds the robustness from above only; a better attack may find more."
    return Table(
        title,
        ("Perturbation", "Accuracy", "std", "95 % interval", "ECE", "Draws"),
        rows,
        _with_caveats(caption, report.caveat),
    )


def curve_table(report: RobustnessReport) -> Table | None:
    """What sums up accuracy against noise level, a row per kind of noise; None where no kind has a level."""
    decimals = decimals_for(len(report.labels))
    rows = []
    for curve in report.curves().values():
        if math.isnan(curve.area):
            continue
        lost = curve.level_at_drop()
        rows.append(
            (
                Entry(curve.name),
                Entry(f"{curve.levels[-1]:.4g}"),
                Entry(percent(curve.area, decimals)),
                Entry(f"> {curve.levels[-1]:.4g}" if math.isinf(lost) else f"{lost:.4g}"),
            )
        )
    if not rows:
        return None
    return Table(
        "Accuracy against noise level",
        ("Noise", "Up to", "Mean accuracy", "5 points lost at"),
        tuple(rows),
        _with_caveats(
            "Mean accuracy in % over all levels from 0 to the highest (area under the curve), and the level at which "
            "accuracy is 5 points below that of clean inputs, between measured levels.",
            report.caveat,
        ),
    )


def class_table(report: RobustnessReport, title: str) -> Table:
    """Accuracy in percent by class, a column per perturbation; the best is not marked, since classes differ.

    Below the classes stands their mean, the balanced accuracy.
    """
    by_key = {key: report.per_class(key) for key in report}
    sizes = np.bincount(report.labels, minlength=len(report.class_names))
    rows = tuple(
        (Entry(name), Entry(str(sizes[index])), *(Entry(percent(float(by_key[key][index]), 1)) for key in report))
        for index, name in enumerate(report.class_names)
    )
    mean = (Entry("mean"), Entry(""), *(Entry(percent(report.balanced(key), 1)) for key in report))
    caption = (
        "Accuracy in % of the samples of each class, over all draws; their mean, in which every class counts the "
        "same, is the balanced accuracy."
    )
    columns = ("Class", "Samples", *map(short_name, report))
    return Table(f"{title}, by class", columns, (*rows, mean), _with_caveats(caption, report.caveat))


def report_records(report: RobustnessReport) -> list[dict[str, Any]]:
    """One record per perturbation, accuracies in [0, 1], for CSV; unknown spreads are None."""
    return [
        {
            "perturbation": result.key,
            "mean": result.mean,
            "std_over_draws": None if math.isnan(result.std) else result.std,
            "low_95": result.interval.low,
            "high_95": result.interval.high,
            "calibration_error": result.calibration_error,
            "draws": len(result.correct),
            "samples": len(report.labels),
            "upper_bound_only": result.worst_case,
            **({"caveat": report.caveat} if report.caveat else {}),
        }
        for result in report.values()
    ]


def difference_table(paired: PairedReport[PairedDifference], a: str, b: str, *, caveat: str = "") -> Table:
    """By how many points model ``a`` is better than ``b``, a row per perturbation; ``caveat`` ends the caption."""
    differences = list(paired.values())
    decimals = decimals_for(differences[0].samples)
    rows = tuple(
        (
            Entry(each.key),
            Entry(percent(each.a_mean, decimals)),
            Entry(percent(each.b_mean, decimals)),
            Entry(points(each.difference, decimals)),
            Entry(interval_text(Interval(each.low, each.high), decimals, signed=True)),
            Entry(f"{each.p_value:.2g}" if each.p_value >= 1e-4 else "< 0.0001"),
            Entry(each.verdict.replace("a better", "first better").replace("b better", "second better")),
        )
        for each in differences
    )
    level = f"{100 * differences[0].level:g} %"
    return Table(
        f"{a} against {b}",
        ("Perturbation", "First", "Second", "Difference", f"{level} interval", "p", "Verdict"),
        rows,
        _with_caveats(
            f"Accuracy in % and difference in points on the same {differences[0].samples} samples and draws; "
            "bootstrap interval over samples; p of McNemar's test. For two trained models; what training again with "
            "other seeds would change is not in it.",
            paired.caveat,
            caveat,
        ),
    )


def method_difference_table(
    paired: PairedReport[MethodDifference], titles: dict[str, str], *, caveat: str = ""
) -> Table:
    """By how many points one training method is better than another; ``caveat`` ends the caption.

    Both sources of spread are shown apart.
    """
    differences = list(paired.values())
    first = differences[0]
    decimals = decimals_for(first.samples)
    rows = tuple(
        (
            Entry(short_name(each.key)),
            Entry(points(each.mean, decimals)),
            Entry("" if math.isnan(each.std_over_seeds) else f"±{percent(each.std_over_seeds, decimals)}"),
            Entry(interval_text(each.interval_over_seeds, decimals, signed=True)),
            Entry(interval_text(each.interval_over_samples, decimals, signed=True)),
            Entry(_verdict(each, titles)),
        )
        for each in differences
    )
    level = f"{100 * first.level:g} %"
    return Table(
        f"{titles[first.a]} against {titles[first.b]}",
        ("Perturbation", "Difference", "std over seeds", f"{level}, seeds", f"{level}, samples", "Verdict"),
        rows,
        _with_caveats(
            f"Difference in points, mean over {len(first.seeds)} training seed{'s' * (len(first.seeds) > 1)}. The "
            "first interval (Student's t) is for other training seeds, the second (bootstrap) for other test samples "
            "and draws; a verdict needs both.",
            paired.caveat,
            caveat,
        ),
    )


def certification_table(
    found: Certification, title: str, radii: Sequence[float] | None = None, *, caveat: str = ""
) -> Table:
    """Certified accuracy in percent at rising radii; ``caveat`` ends the caption."""
    chosen = [found.sigma * step / 2 for step in range(7)] if radii is None else list(radii)
    rows = tuple((Entry(f"{radius:.4g}"), Entry(percent(found.certified_accuracy(radius), 1))) for radius in chosen)
    return Table(
        title,
        ("Radius (L2)", "Certified accuracy"),
        rows,
        _with_caveats(
            f"Share in % of {len(found.labels)} samples on which the smoothed classifier (Gaussian noise, σ = "
            f"{found.sigma:g}) is right and provably unchanged by any perturbation of that L2 norm, each with "
            f"probability ≥ {1 - found.alpha:g}; abstained on {int(found.abstained.sum())}. {found.n} noisy copies a "
            "sample.",
            caveat,
        ),
    )


def corruption_table(
    report: CorruptionReport, title: str, baseline: CorruptionReport | None = None, *, caveat: str = ""
) -> Table:
    """Accuracy in percent by corruption and severity, with the mean; the mCE and ``caveat`` in the caption."""
    rows = tuple(
        (
            Entry(name),
            *(Entry(percent(report.accuracy(name, severity), 2)) for severity in report.severities),
            Entry(percent(report.accuracy(name), 2)),
        )
        for name in report.names
    )
    error = f"Mean accuracy {percent(report.mean_accuracy, 2)} %; mean corruption error {percent(report.mce(), 2)} %"
    if baseline is not None:
        error += f", and {percent(report.mce(baseline), 2)} % relative to the other model"
    if not report.complete:
        error += f". Over {len(report.counted)} of the 15 corruptions of the benchmark, so not for comparing"
    return Table(
        title,
        ("Corruption", *(f"severity {severity}" for severity in report.severities), "Mean"),
        rows,
        _with_caveats(f"{error}. Corruptions of Hendrycks and Dietterich (2019).", caveat),
    )


def _with_caveats(caption: str, *caveats: str) -> str:
    """Return ``caption`` with each of ``caveats`` behind it that it does not hold yet."""
    for caveat in caveats:
        if caveat not in caption:
            caption += f" {caveat}"
    return caption


def _verdict(difference: MethodDifference, titles: dict[str, str]) -> str:
    for method in (difference.a, difference.b):
        if difference.verdict == f"{method} better":
            return f"{titles[method]} better"
    return difference.verdict
