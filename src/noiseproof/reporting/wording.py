"""Findings in sentences, and numbers as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from noiseproof.evaluation import Cell
from noiseproof.evaluation.intervals import Interval
from noiseproof.reporting.findings import Findings, Standing
from noiseproof.reporting.tables import decimals_for, percent, short_name

__all__ = [
    "Headline",
    "headlines",
    "in_words",
    "listed",
    "main_finding",
    "quoted",
    "signed",
    "standing_words",
    "standings_caption",
]

_ROUNDING = 1e-9
_HARD = "\N{NO-BREAK SPACE}"
_VERDICTS = {
    "leads": "highest",
    "behind": "behind",
    "undecided": "cannot be told apart",
    "models differ": "these models differ",
    "models alike": "cannot be told apart",
    "not compared": "not compared",
}


@dataclass(frozen=True)
class Headline:
    """One large number of a page.

    Attributes:
        number: as it is shown.
        unit: behind it.
        label: what it is.
        detail: how far it can be trusted.
    """

    number: str
    unit: str
    label: str
    detail: str


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does: ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def quoted(title: str) -> str:
    """Mark a title as one within a sentence, since titles are made of plain words."""
    return f"“{title}”"


def in_words(key: str) -> str:
    """Name a perturbation within a sentence: ``gaussian:0.1`` is Gaussian noise of σ 0.1."""
    short = short_name(key)
    if key == "clean":
        return "clean inputs"
    return f"Gaussian noise of {short.replace(' ', _HARD)}" if short.startswith("σ ") else short


def signed(value: float, decimals: int) -> str:
    """Write a difference in [−1, 1] in points, with its sign; nothing for NaN."""
    if math.isnan(value):
        return ""
    shown = 0.0 if abs(value) < _ROUNDING else 100 * value
    return f"{shown:+.{decimals}f}".replace("-", "−")


def main_finding(found: Findings) -> str:
    """What there is to say of the leader under the perturbation, in one to three sentences."""
    if found.leader.cell.mean > found.commonest + _ROUNDING:
        return _lead(found)
    share = f"{percent(found.commonest, decimals_for(found.samples))}{_HARD}%"
    return (
        f"{_lead(found)} Always answering with the most frequent class of the test samples would do no worse: {share}."
    )


def _lead(found: Findings) -> str:
    """Who leads, and whether that can be told."""
    leader, runner_up = found.leader, found.next
    decimals = decimals_for(found.samples)
    where, first, accuracy = (
        in_words(found.key),
        quoted(leader.title),
        f"{percent(leader.cell.mean, decimals)}{_HARD}%",
    )
    begun = f"{'On' if found.key == 'clean' else 'Under'} {where}, "
    if runner_up is None:
        return f"{begun}{accuracy} of the test samples are answered rightly."
    alike = [quoted(each.title) for each in found.standings if each.verdict in ("undecided", "models alike")]
    by_seeds = not runner_up.verdict.startswith("models")
    one_seed = "" if by_seeds else " With one training seed in common, this says nothing about the methods."
    whose = first if by_seeds else f"the model of {first}"
    if alike:
        others = listed(alike) if by_seeds else f"{'that' if len(alike) == 1 else 'those'} of {listed(alike)}"
        return (
            f"{begun}{whose} has the highest accuracy, {accuracy}, but cannot be told apart from {others}.{one_seed}"
        )
    if runner_up.verdict == "behind":
        ahead = f"{abs(100 * runner_up.behind):.{decimals}f}"
        return f"{begun}{first} is best with {accuracy}, {ahead} points ahead of {quoted(runner_up.title)}."
    if runner_up.verdict == "models differ":
        return f"{begun}{whose} is right most often, {accuracy}.{one_seed}"
    return f"{begun}{first} has the highest accuracy, {accuracy}."


def headlines(found: Findings) -> tuple[Headline, ...]:
    """Return the large numbers: the leader's accuracies, and by how much it is ahead of the next."""
    leader, decimals = found.leader, decimals_for(found.samples)
    shown = [_accuracy(leader.cell, leader.interval, found, _where(found), _other_samples(found.random))]
    if found.clean is not None and found.key != "clean":
        shown.append(_accuracy(*found.clean, found, "on clean inputs", _other_samples(random=False)))
    runner_up = found.next
    if runner_up is not None and not math.isnan(runner_up.behind):
        ends = f"{signed(runner_up.low, decimals)} to {signed(runner_up.high, decimals)}"
        verdict = {
            "behind": "better",
            "undecided": "cannot be told apart",
            "models differ": "these two models differ; one seed decides nothing on methods",
            "models alike": "cannot be told apart",
        }[runner_up.verdict]
        label = f"ahead of {quoted(runner_up.title)}"
        others = _other_samples(found.random)
        others = others if runner_up.verdict.startswith("models") else f"other training seeds or {others}"
        detail = f"95 % interval for {others}: {ends}; {verdict}"
        shown.append(Headline(signed(runner_up.behind, decimals), "points", label, detail))
    return tuple(shown)


def standing_words(standing: Standing, decimals: int) -> tuple[str, str, str]:
    """(difference to the leader, its interval, verdict) of one method."""
    if math.isnan(standing.behind):
        return "", "", _VERDICTS[standing.verdict]
    ends = f"{signed(-standing.high, decimals)} to {signed(-standing.low, decimals)}"
    return signed(-standing.behind, decimals), ends, _VERDICTS[standing.verdict]


def standings_caption(found: Findings) -> str:
    """What the numbers beside the methods mean: whom each interval is for."""
    others = _other_samples(found.random)
    by_seeds = {not each.verdict.startswith("models") for each in found.standings if not math.isnan(each.behind)}
    farthest = f"as far as other training seeds or {others} could bring it, whichever is farther"
    differences = {
        (True,): f"The interval of a difference reaches {farthest}.",
        (False,): f"That of a difference is for {others} too. Neither is for other training seeds.",
        (False, True): f"That of a difference reaches {farthest}; between two methods that have one training seed in "
        f"common, it is for {others} alone.",
    }[tuple(sorted(by_seeds))]
    return (
        f"Accuracy {_where(found)}, and how far each method is from the first, in points; all intervals "
        f"are of 95 %. The interval beside an accuracy is for {others}, with the models as they are trained. "
        f"{differences}"
    )


def _where(found: Findings) -> str:
    return f"{'on' if found.key == 'clean' else 'under'} {in_words(found.key)}"


def _other_samples(random: bool) -> str:
    """What results are uncertain over, beside training."""
    return "other test samples and noise" if random else "other test samples"


def _accuracy(cell: Cell, interval: Interval, found: Findings, label: str, others: str) -> Headline:
    decimals = decimals_for(found.samples)
    ends = f"{percent(interval.low, decimals)} to {percent(interval.high, decimals)}"
    detail = f"95 % interval for {others}: {ends}"
    if not math.isnan(cell.std_over_seeds):
        detail += f"; ±{percent(cell.std_over_seeds, decimals)} over {found.seeds} seeds"
    return Headline(percent(cell.mean, decimals), "%", label, detail)
