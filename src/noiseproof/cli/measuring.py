"""Commands that measure a model: evaluate, certify."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noiseproof.cli.app import app
from noiseproof.cli.common import numbers, progress, show, tell_of_units, whole_numbers
from noiseproof.cli.console import output

if TYPE_CHECKING:
    from noiseproof.evaluation import RobustnessReport
    from noiseproof.reporting import Table
    from noiseproof.targets import Target

__all__ = [
    "BatchOption",
    "DataOption",
    "DeviceOption",
    "Format",
    "FormatOption",
    "ImageSizeOption",
    "MeanOption",
    "ModelOption",
    "SeedOption",
    "StdOption",
    "TargetArgument",
    "certify",
    "evaluate",
    "load",
    "load_pair",
    "target_options",
    "write_tables",
]


class Format(enum.StrEnum):
    """How tables are written to standard output."""

    terminal = "terminal"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


TargetArgument = Annotated[
    str, typer.Argument(help="A run folder; a file of weights; or package.module:factory, which runs that code.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Whose weights a file holds, as torchvision/resnet18.")
]
DataOption = Annotated[
    str | None, typer.Option("--data", help="What to measure on, as folder:photos; a run has its own test set.")
]
MeanOption = Annotated[
    str | None, typer.Option(help="What the model expects to be subtracted, per channel, as 0.485,0.456,0.406.")
]
StdOption = Annotated[str | None, typer.Option(help="What it expects to be divided by, per channel.")]
ImageSizeOption = Annotated[
    str | None, typer.Option("--image-size", help="Height and width that pictures are brought to, as 224,224.")
]
LimitOption = Annotated[int | None, typer.Option(help="Measure only so many samples, evenly spread.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default where the model is.")]
BatchOption = Annotated[int, typer.Option(help="How many inputs the model gets at once.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to write the tables.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the noise.")]


@app.command()
def evaluate(
    target: TargetArgument,
    perturb: Annotated[
        list[str] | None,
        typer.Option("--perturb", "-p", metavar="SPEC", help="As gaussian:8/255 or pgd:8/255; may be repeated."),
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Draws of each random perturbation.")] = None,
    seed: SeedOption = 0,
    against: Annotated[
        str | None, typer.Option(metavar="TARGET", help="Another model, measured on the same samples and noise.")
    ] = None,
    corruptions: Annotated[
        Path | None, typer.Option(help="Measure on a folder in the layout of CIFAR-10-C instead.")
    ] = None,
    by_class: Annotated[bool, typer.Option("--by-class", help="Show the accuracy of each class too.")] = False,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Show which classes are taken for which most often.")
    ] = False,
    layout: FormatOption = Format.terminal,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Save the report in this folder too.")] = None,
    model: ModelOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    image_size: ImageSizeOption = None,
    limit: LimitOption = None,
    device: DeviceOption = None,
    batch_size: BatchOption = 512,
) -> None:
    """Measure any classifier under perturbations. A run keeps the report in its folder.

    Perturbations: see docs/perturbations.md. Attacks: fgsm, pgd, autoattack (pip install 'noiseproof\\[attacks]').
    """
    from noiseproof.checks import check_device
    from noiseproof.errors import InvalidArgumentError
    from noiseproof.experiments import evaluate_target
    from noiseproof.reporting import class_table, confusion_table, curve_table, report_records, report_table

    check_device(device)
    first, second = load_pair(target, against, model, data, mean, std, image_size)
    if corruptions is not None:
        if perturb or by_class or confusion or draws is not None:
            raise InvalidArgumentError("--corruptions takes no --perturb, --draws, --by-class or --confusion")
        _evaluate_corruptions(first, second, corruptions, limit, device, batch_size, layout, out)
        return
    if second is not None and (by_class or confusion):
        raise InvalidArgumentError("--against takes no --by-class or --confusion: measure each model by itself")
    settings: Any = {"seed": seed, "limit": limit, "device": device, "batch_size": batch_size, "progress": progress()}
    about: Any = {"draws": draws, "replace": second is None, **settings}
    report = evaluate_target(first, perturb or None, **about)
    if confusion and any(result.answered is None for result in report.values()):  # of an earlier version
        report = evaluate_target(first, perturb or None, again=True, **about)
    if out is not None:
        report.save(out)
    if second is not None:
        _show_difference(first, second, report, settings, layout)
        return
    curves = curve_table(report)
    tables = [report_table(report, first.title), *([curves] if curves else [])]
    records = report_records(report)
    if by_class:
        tables.append(class_table(report, first.title))
        records = [record | _by_class(report, key) for record, key in zip(records, report, strict=True)]
    if confusion:
        tables.append(confusion_table(report, first.title))
    write_tables(tables, layout, records)


def _by_class(report: RobustnessReport, key: str) -> dict[str, float]:
    """The accuracy of each class under a perturbation, for a record."""
    accuracies = report.per_class(key).tolist()
    return {f"accuracy of {name}": value for name, value in zip(report.class_names, accuracies, strict=True)}


def _show_difference(first: Target, second: Target, report: RobustnessReport, settings: Any, layout: Format) -> None:
    from noiseproof.evaluation import compare_reports
    from noiseproof.experiments import evaluate_target
    from noiseproof.reporting import difference_table

    draws = max(len(result.correct) for result in report.values())
    other = evaluate_target(second, list(report), draws=draws, replace=False, **settings)
    differences = compare_reports(report, other)
    same = first.title == second.title
    names = [each.place if same else each.title for each in (first, second)]
    caveat = " ".join(dict.fromkeys(filter(None, (first.caveat, second.caveat))))
    records = [
        {"first": names[0], "second": names[1], **vars(difference), "verdict": difference.verdict}
        for difference in differences.values()
    ]
    write_tables([difference_table(differences, *names, caveat=caveat)], layout, records)


@app.command()
def certify(
    target: TargetArgument,
    sigma: Annotated[float, typer.Option(help="Standard deviation of the smoothing noise, as 0.25.")],
    n: Annotated[
        int, typer.Option("-n", "--n", help="Noisy copies of each sample that bound its probability.")
    ] = 10_000,
    n0: Annotated[int, typer.Option("--n0", help="Noisy copies that choose its class.")] = 100,
    alpha: Annotated[float, typer.Option(help="Probability of a wrong certificate.")] = 0.001,
    radii: Annotated[str | None, typer.Option(help="Radii to show, with commas between.")] = None,
    seed: SeedOption = 0,
    layout: FormatOption = Format.terminal,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Save here, not in the run's certification/.")
    ] = None,
    model: ModelOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    image_size: ImageSizeOption = None,
    limit: LimitOption = 500,
    device: DeviceOption = None,
    batch_size: BatchOption = 512,
) -> None:
    """Certify the smoothed classifier: radii within which no perturbation changes the answer (Cohen et al., 2019).

    A run keeps the result in its folder, below certification/.
    """
    import noiseproof
    from noiseproof.checks import check_device, check_range
    from noiseproof.errors import InvalidArgumentError
    from noiseproof.reporting import certification_table

    check_device(device)
    check_range("sigma", sigma, 0, open_low=True)
    shown = [sigma * step / 2 for step in range(7)] if radii is None else numbers("--radii", radii)
    if not shown:
        raise InvalidArgumentError("--radii is empty: name at least one, such as 0.1,0.2")
    for radius in shown:
        check_range("--radii", radius, 0)
    loaded = load(target, model, data, mean, std, image_size)
    found = noiseproof.certify(
        loaded.model, loaded.test, sigma, n0, n, alpha, seed=seed, limit=limit, device=device, batch_size=batch_size,
        progress=progress(),
    )  # fmt: skip
    folder = out or (loaded.run.folder / "certification" / f"sigma-{sigma:g}" if loaded.run else None)
    if folder is not None:
        found.save(folder)
    table = certification_table(found, f"{loaded.title}, smoothed", shown, caveat=loaded.caveat)
    records = [
        {
            "radius": radius,
            "certified_accuracy": found.certified_accuracy(radius),
            **({"caveat": loaded.caveat} if loaded.caveat else {}),
        }
        for radius in shown
    ]
    write_tables([table], layout, records)


def load_pair(
    target: str, against: str | None, model: str | None, data: str | None, mean: str | None, std: str | None,
    image_size: str | None,
) -> tuple[Target, Target | None]:  # fmt: skip
    """Load what a command is to look at, and what it is to be compared with, on the same samples.

    Where one of the two is a run, these are its test samples, which it was not trained on. What the options say of a
    model concerns those that are no runs.
    """
    from noiseproof.presenting import check_same_test
    from noiseproof.targets import load_target, run_at

    if against is None:
        return load(target, model, data, mean, std, image_size), None
    runs = [run_at(each) is not None for each in (target, against)]
    about = (model, data, mean, std, image_size)
    plain = (None, data, None, None, image_size)
    if runs[1] and not runs[0]:
        second = load(against, *plain)
        return load(target, *about, beside=second), second
    first = load(target, *(plain if runs[0] else about))
    if all(runs):
        second = load_target(against)
        if second.run is not None and first.run is not None and data is None:
            if first.test.fingerprint() != second.test.fingerprint():
                check_same_test([first.run, second.run])  # tells in what they differ
            return first, second
    return first, load(against, *(plain if runs[1] else about), beside=first)


def load(
    target: str, model: str | None, data: str | None, mean: str | None, std: str | None, image_size: str | None,
    beside: Target | None = None,
) -> Target:  # fmt: skip
    """Load what a command is to look at, from its options."""
    from noiseproof.targets import load_target

    loaded = load_target(target, **target_options(model, data, mean, std, image_size), beside=beside)
    if beside is None:
        tell_of_units(loaded.scaling)
    return loaded


def target_options(
    model: str | None, data: str | None, mean: str | None, std: str | None, image_size: str | None
) -> dict[str, Any]:
    """What the options say of a model that is no run, as arguments of :func:`noiseproof.targets.load_target`."""
    from noiseproof.errors import InvalidArgumentError

    size = None if image_size is None else whole_numbers("--image-size", image_size)
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise InvalidArgumentError(f"--image-size must be height and width, as 224,224, got {image_size!r}")
    return {
        "model": model,
        "data": data,
        "mean": None if mean is None else numbers("--mean", mean),
        "std": None if std is None else numbers("--std", std),
        "image_size": None if size is None else (size[0], size[1]),
    }


def _evaluate_corruptions(
    first: Target, second: Target | None, folder: Path, limit: int | None, device: str | None, batch_size: int,
    layout: Format, out: Path | None,
) -> None:  # fmt: skip
    from noiseproof.evaluation import evaluate_corruptions
    from noiseproof.reporting import corruption_table

    found, baseline = (
        None if each is None else evaluate_corruptions(
            each.model, folder, class_names=each.test.class_names, limit=limit, device=device, batch_size=batch_size,
            progress=progress(),
        )
        for each in (first, second)
    )  # fmt: skip
    if found is None:
        return
    if out is not None:
        found.save(out)
    records = [
        {
            "corruption": name,
            "severity": severity,
            "accuracy": found.accuracy(name, severity),
            **({"caveat": first.caveat} if first.caveat else {}),
        }
        for name in found.names
        for severity in found.severities
    ]
    write_tables([corruption_table(found, first.title, baseline, caveat=first.caveat)], layout, records)


def write_tables(tables: list[Table], layout: Format, records: Sequence[dict[str, Any]]) -> None:
    """Write tables to standard output; as CSV, the records behind the first."""
    from noiseproof.reporting.tables import to_csv

    if layout is Format.csv:
        show(to_csv(records).removesuffix("\n"))
        return
    for table in tables:
        if layout is Format.terminal:
            output().print(table.to_rich())
        else:
            show(table.to_markdown() if layout is Format.markdown else table.to_latex())
