"""What ``--dry-run`` prints."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from noiseproof.cli.common import show
from noiseproof.cli.console import output

if TYPE_CHECKING:
    from noiseproof.rehearsing import MethodCost, Rehearsal, RehearsedRun, Span
    from noiseproof.reporting import Table
    from noiseproof.studies.preview import Preview

__all__ = ["show_preview", "show_rehearsal"]


def show_rehearsal(found: Rehearsal) -> None:
    """Print what would be done, and how long it may take."""
    show("A dry run: nothing is written, and this is what would be done.\n")
    width = max(len(what) for what, _ in _facts(found))
    for what, value in _facts(found):
        show(f"{what:<{width}}  {value}")
    if found.costs:
        output().print(_table(found).to_rich())
    show("" if found.costs else "\nNothing is left to do.")
    show("Folders:")
    for run in found.runs:
        show(f"  {run.folder}  {_state(run, found)}")
    if found.costs:
        show(f"\n{_estimate(found)}")
    if found.costs and found.crowded and "OMP_WAIT_POLICY" not in os.environ:
        show(
            f"Other work wants {found.load:.1f} cores too: with OMP_WAIT_POLICY=PASSIVE in the environment, or with "
            "one thread, OMP_NUM_THREADS=1, training may go several times as fast (docs/training.md)."
        )


def show_preview(found: Preview) -> None:
    """Print what a study would try, and how long it may take."""
    from noiseproof.durations import in_words
    from noiseproof.reporting.tables import Entry, Table

    show("A dry run: nothing is written, and this is what would be done.")
    titles = found.plan.titles
    rows = tuple(
        (Entry(titles[each.trial.name]), Entry(f"{each.left} of {each.trainings}"), Entry(_words(each.each)))
        for each in found.trials
    )
    output().print(Table("", ("trial or rival", "trainings left", "each, with its measurement"), rows, "").to_rich())
    count = sum(each.left for each in found.trials)
    more = f" and at most {found.undecided} of finalists with further seeds" if found.undecided else ""
    show(f"{_count(count, 'training')}{more}, in {found.plan.runs}")
    show(
        f"It takes about {in_words(found.left.seconds)} on this machine as busy as it is now, one after another. Not "
        "counted: the writing of files, compilation, attacks."
    )


def _facts(found: Rehearsal) -> list[tuple[str, str]]:
    recipe, states = found.recipe, Counter(run.state for run in found.runs)
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    samples = " and ".join(f"{number:,} {part}" for part, number in found.samples.items())
    shape = "×".join(map(str, found.input_shape))
    facts = [
        (found.title, f"{_count(len(found.runs), 'run')}: {counts}"),
        (
            "data",
            f"{recipe.data.source}: {samples} samples of {shape}, {found.classes} classes, loaded in "
            f"{_short(found.data_seconds)}",
        ),
        ("device", f"{found.device}; {_count(found.threads, 'CPU thread')}; {recipe.train.precision}"),
    ]
    if found.costs:
        cost = next(iter(found.costs.values()))
        size = recipe.train.batch_size
        facts += [
            ("network", f"{recipe.model.name}, {cost.parameters:,} parameters"),
            ("training", f"{_count(cost.epochs, 'epoch')}, {_count(cost.steps, 'step')} of {size} samples a run"),
        ]
        if cost.evaluation.seconds:
            wanted = recipe.evaluate
            facts.append(
                ("evaluation", f"{len(wanted.perturbations)} perturbations, {wanted.draws} draws of each random one")
            )
    return facts


def _table(found: Rehearsal) -> Table:
    from noiseproof.methods import METHODS
    from noiseproof.reporting.tables import Entry, Table

    evaluated = any(cost.evaluation.seconds for cost in found.costs.values())
    columns = ("method", "a step sees", "a step", "training a run", *(["evaluating it"] if evaluated else []), "left")
    rows = []
    for method, cost in found.costs.items():
        own = [run for run in found.runs if run.method == method]
        left = sum(run.state != "done" for run in own)
        title = METHODS[method].title_in(found.recipe.preset)
        rows.append((
            Entry(title), Entry(" and ".join(cost.views)), Entry(_short(cost.timing.step.seconds)),
            Entry(_words(cost.training)), *([Entry(_words(cost.evaluation))] if evaluated else []),
            Entry(f"{left} of {len(own)}"),
        ))  # fmt: skip
    return Table("", columns, tuple(rows), "")


def _state(run: RehearsedRun, found: Rehearsal) -> str:
    if run.state == "begun":
        cost: MethodCost = found.costs[run.method]
        return f"begun, {run.steps_done:,} of {cost.steps:,} steps done at least"
    if run.state == "new":
        return "new, in place of the run that is there" if run.replaces else "new"
    return "trained, to be evaluated" if run.state == "trained" else "done"


def _estimate(found: Rehearsal) -> str:
    from noiseproof.durations import in_words

    left = found.left
    low, high = in_words(left.low), in_words(left.high)
    between = "" if low == high else f", {low} to {high} if all were as fast or as slow as the extremes"
    return (
        f"It takes about {in_words(left.seconds)} on this machine as busy as it is now, one run after another (from "
        f"{_count(found.steps_timed, 'timed step')}{between}). Not counted: {_listed(found.left_out)}."
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _listed(things: Sequence[str]) -> str:
    *others, last = things
    return f"{', '.join(others)} and {last}" if others else last


def _words(span: Span) -> str:
    from noiseproof.durations import in_words

    return in_words(span.seconds) if span.seconds >= 1 else _short(span.seconds)


def _short(seconds: float) -> str:
    """A length of time below a minute: ``"4.1 ms"``, ``"120 ms"``, ``"3.4 s"``."""
    number, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
