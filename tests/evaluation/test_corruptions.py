"""Folders in the layout of CIFAR-10-C against loops, and corruption errors worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.evaluation import CorruptionReport, evaluate_corruptions
from noiseproof.evaluation.corruption_files import EXTRA, MAIN, SEVERITIES
from tests.evaluation.problems import CLASSES, Linear, Recorder
from tests.evaluation.test_evaluate import Counter

EACH = 12  # images in a severity


def made_images(seed: int, each: int = EACH, size: int = 8, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (5 * each, size, size, channels), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three main corruptions, an extra one and one of nobody's, with labels for all severities."""
    for seed, name in enumerate(("zebra_stripes", "fog", "snow", "spatter", "contrast")):
        np.save(tmp_path / f"{name}.npy", made_images(seed))
    np.save(tmp_path / "labels.npy", np.random.default_rng(9).integers(0, CLASSES, 5 * EACH, dtype=np.uint8))
    return tmp_path


def accuracy_by_loops(
    model: Linear, folder: Path, name: str, severity: int, each: int = EACH, used: int = EACH
) -> float:
    """One image, one pixel and one logit at a time."""
    images, labels = np.load(folder / f"{name}.npy"), np.load(folder / "labels.npy")
    weight = model.weight.detach().numpy().astype(np.float64)
    correct = 0
    for index in range(used):
        place = (severity - 1) * each + index
        picture = images[place]
        height, width, channels = picture.shape
        values = [
            picture[row, column, channel] / 255
            for channel in range(channels)
            for row in range(height)
            for column in range(width)
        ]
        logits = [sum(w * value for w, value in zip(line, values, strict=True)) for line in weight]
        correct += logits.index(max(logits)) == labels[place if len(labels) == len(images) else index]
    return correct / used


def test_agrees_with_explicit_loops(folder: Path) -> None:
    model = Linear(192)
    report = npf.evaluate_corruptions(model, folder)
    assert report.names == ("snow", "fog", "contrast", "spatter", "zebra_stripes")  # main, extra, others
    assert report.severities == SEVERITIES
    assert report.samples == EACH
    for name in report.names:
        for severity in SEVERITIES:
            expected = accuracy_by_loops(model, folder, name, severity)
            assert report.accuracy(name, severity) == pytest.approx(expected)
            assert report.accuracies[report.names.index(name), severity - 1] == pytest.approx(expected)
    assert len(set(report.accuracies.flatten().tolist())) > 3  # the problem tells cells apart


def test_labels_of_one_severity_are_those_of_all(folder: Path) -> None:
    labels = np.load(folder / "labels.npy")[:EACH]
    np.save(folder / "labels.npy", labels)
    short = evaluate_corruptions(Linear(192), folder)
    np.save(folder / "labels.npy", np.concatenate([labels] * 5).astype(np.int64))
    assert evaluate_corruptions(Linear(192), folder) == short
    assert short.accuracy("fog", 4) == pytest.approx(accuracy_by_loops(Linear(192), folder, "fog", 4))


def test_corruptions_and_severities_can_be_chosen(folder: Path) -> None:
    everything = evaluate_corruptions(Linear(192), folder)
    some = evaluate_corruptions(Linear(192), folder, corruptions=["spatter", "fog", "spatter"], severities=[4, 2])
    assert (some.names, some.severities) == (("spatter", "fog"), (2, 4))
    for name in some.names:
        for severity in some.severities:
            assert some.accuracy(name, severity) == everything.accuracy(name, severity)


@pytest.mark.parametrize(("limit", "used"), [(1, 1), (5, 5), (12, 12), (1000, 12)])
def test_a_limit_takes_the_first_images_of_every_severity(folder: Path, limit: int, used: int) -> None:
    report = evaluate_corruptions(Linear(192), folder, corruptions=["fog"], limit=limit)
    assert report.samples == used
    for severity in SEVERITIES:
        expected = accuracy_by_loops(Linear(192), folder, "fog", severity, used=used)
        assert report.accuracy("fog", severity) == pytest.approx(expected)


@pytest.mark.parametrize(("each", "size", "channels"), [(1, 4, 3), (140, 4, 1)])
def test_other_sizes(tmp_path: Path, each: int, size: int, channels: int) -> None:
    np.save(tmp_path / "frost.npy", made_images(0, each, size, channels))
    np.save(tmp_path / "labels.npy", np.arange(5 * each) % CLASSES)
    model = Linear(size * size * channels)
    report = evaluate_corruptions(model, tmp_path)
    assert report.samples == each
    for severity in SEVERITIES:
        expected = accuracy_by_loops(model, tmp_path, "frost", severity, each, each)
        assert report.accuracy("frost", severity) == pytest.approx(expected)


@pytest.mark.parametrize("batch_size", [1, 7, 512])
def test_the_batch_size_does_not_matter(folder: Path, batch_size: int) -> None:
    model = Recorder(192)
    assert evaluate_corruptions(model, folder, batch_size=batch_size) == evaluate_corruptions(Linear(192), folder)
    assert max(len(batch) for batch in model.seen) <= batch_size
    assert all(batch.shape[1:] == (3, 8, 8) for batch in model.seen)


def test_the_model_is_left_as_it_was(folder: Path, tiny_model: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 1), tiny_model).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate_corruptions(model, folder)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_progress_arrives_at_its_total(folder: Path) -> None:
    counter = Counter()
    evaluate_corruptions(Linear(192), folder, severities=[1, 2], limit=5, progress=counter)
    assert counter.done == counter.total == 5 * 2 * 5


def test_a_home_folder_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert evaluate_corruptions(Linear(192), f"~/{folder.name}") == evaluate_corruptions(Linear(192), folder)


# Folders that are wrong.


def check_refused(folder: Path, *parts: str, **options: object) -> None:
    with pytest.raises(DataError) as caught:
        evaluate_corruptions(Linear(192), folder, **options)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    check_refused(tmp_path / "nowhere", "there is no folder", "nowhere")


def test_a_folder_without_labels_is_refused(folder: Path) -> None:
    (folder / "labels.npy").unlink()
    check_refused(folder, str(folder), "labels.npy")


def test_a_folder_with_labels_alone_is_refused(folder: Path) -> None:
    for path in folder.glob("*.npy"):
        if path.stem != "labels":
            path.unlink()
    check_refused(folder, "no corruption")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (made_images(0) / 255, "float64"),
        (made_images(0).astype(np.int64), "int64"),
        (made_images(0)[..., 0], "(60, 8, 8)"),
        (made_images(0).transpose(0, 3, 1, 2), "(5n, H, W, C)"),
        (made_images(0)[:58], "58 images"),
        (made_images(0)[:55], "shape (55, 8, 8, 3), but snow.npy has (60, 8, 8, 3)"),
        (made_images(0, size=9), "shape (60, 9, 9, 3)"),
        (made_images(0)[:0], "fog.npy"),
        (np.array([{"a": 1}] * 60, dtype=object), "fog.npy"),
        (np.uint8(3), "fog.npy"),
    ],
    ids=["floats", "int64", "grey", "channels first", "58", "55", "larger", "empty", "objects", "number"],
)
def test_images_in_another_layout_are_refused(folder: Path, images: NDArray[np.generic], message: str) -> None:
    np.save(folder / "fog.npy", images, allow_pickle=True)
    check_refused(folder, str(folder), "fog.npy", message)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(59, np.int64), "59 labels for 5 severities of 12 images; it needs 60 or 12"),
        (np.zeros(24, np.int64), "24 labels"),
        (np.zeros(0, np.int64), "0 labels"),
        (np.zeros((60, 1), np.int64), "(60, 1)"),
        (np.zeros(60), "float64"),
        (np.full(60, -1), "the label -1"),
        (np.full(60, 2**63, np.uint64), f"the label {2**63}"),
        (np.array(["cat"] * 60), "whole numbers"),
        (np.array([None] * 60), "labels.npy"),
        (np.full(60, CLASSES), f"label {CLASSES}, but the model knows the classes 0 to {CLASSES - 1}"),
    ],
    ids=["59", "24", "none", "column", "floats", "negative", "huge", "text", "objects", "beyond the model"],
)
def test_labels_that_do_not_fit_are_refused(folder: Path, labels: NDArray[np.generic], message: str) -> None:
    np.save(folder / "labels.npy", labels, allow_pickle=True)
    check_refused(folder, message)


def test_labels_beyond_the_class_names_are_refused(folder: Path) -> None:
    np.save(folder / "labels.npy", np.arange(60) % CLASSES)
    check_refused(folder, "label 2", "2 classes", class_names=["cat", "dog"])
    assert evaluate_corruptions(Linear(192), folder, class_names=["cat", "dog", "emu"]).samples == EACH


@pytest.mark.parametrize("name", ["fog.npy", "labels.npy"])
@pytest.mark.parametrize("keep", [0, 5, 40, 100, 150])
def test_a_file_cut_short_is_refused(folder: Path, name: str, keep: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    check_refused(folder, f"cannot read {folder / name}")


@pytest.mark.parametrize("name", ["fog.npy", "labels.npy"])
@pytest.mark.parametrize(
    ("part", "other"), [(b"}", b" "), (b"{", b"("), (b"'shape'", b"'shap'"), (b"NUMPY", b"NUMPI")]
)
def test_a_file_with_a_damaged_head_is_refused(folder: Path, name: str, part: bytes, other: bytes) -> None:
    (folder / name).write_bytes((folder / name).read_bytes().replace(part, other, 1))
    check_refused(folder, f"cannot read {folder / name}")


@pytest.mark.parametrize("name", ["fog.npy", "labels.npy"])
def test_other_files_by_that_name_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("not an array")
    check_refused(folder, f"cannot read {folder / name}")
    with (folder / name).open("wb") as file:
        np.savez(file, x=made_images(0))
    check_refused(folder, "archive")
    (folder / name).unlink()
    (folder / name).mkdir()
    check_refused(folder, name)


class Trap:
    """Runs code when it is unpickled."""

    opened = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Trap, "opened", True)


@pytest.mark.parametrize("name", ["fog.npy", "labels.npy"])
def test_nothing_is_unpickled(folder: Path, name: str) -> None:
    np.save(folder / name, np.array([Trap()] * 60, dtype=object), allow_pickle=True)
    check_refused(folder, f"cannot read {folder / name}")
    (folder / name).write_bytes(np.array([Trap()], dtype=object).dumps())
    check_refused(folder, f"cannot read {folder / name}")
    assert not Trap.opened


class Untouchable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("the model was run before all files were checked")


def test_all_files_are_checked_before_the_model_runs(folder: Path) -> None:
    np.save(folder / "zebra_stripes.npy", made_images(0) / 255)
    with pytest.raises(DataError, match="zebra_stripes"):
        evaluate_corruptions(Untouchable(), folder)
    assert evaluate_corruptions(Linear(192), folder, corruptions=["fog"]).names == ("fog",)


def test_an_unknown_corruption_gets_a_suggestion(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="'fogg'; did you mean 'fog'"):
        evaluate_corruptions(Linear(192), folder, corruptions=["fogg"])
    with pytest.raises(UnknownNameError, match="known: contrast, fog, snow, spatter, zebra_stripes"):
        evaluate_corruptions(Linear(192), folder, corruptions=["labels"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"severities": [0]}, "severities must be of 1, 2, 3, 4, 5, got 0"),
        ({"severities": [1, 6]}, "got 6"),
        ({"severities": [1.5]}, "got 1.5"),
        ({"severities": []}, "severities is empty"),
        ({"severities": 3}, r"as in \[3\]"),
        ({"corruptions": []}, "corruptions is empty"),
        ({"corruptions": "fog"}, r"as in \['fog'\]"),
        ({"limit": 0}, "limit must be >= 1, got 0"),
        ({"limit": 2.5}, "limit"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        evaluate_corruptions(Linear(192), folder, **options)


# Numbers by hand.


def made_report(
    counts: Mapping[str, Sequence[int]], samples: int = 10, severities: Sequence[int] = ()
) -> CorruptionReport:
    """A report with ``counts[name][s]`` of ``samples`` right."""
    columns = tuple(severities) or SEVERITIES
    return CorruptionReport(tuple(counts), columns, samples, np.array([*counts.values()]) / samples)


FOG_SNOW = {"fog": (9, 8, 7, 6, 5), "snow": (10, 10, 9, 4, 2), "spatter": (1, 1, 1, 1, 1)}
WEAKER = {"snow": (8, 7, 6, 5, 4), "spatter": (0, 0, 0, 0, 0), "fog": (5, 5, 5, 5, 5), "frost": (1, 2, 3, 4, 5)}


def test_means_are_over_the_main_corruptions() -> None:
    report = made_report(FOG_SNOW)
    assert report.counted == ("fog", "snow")
    assert report.accuracy("fog") == pytest.approx(float(Fraction(35, 50)))
    assert report.accuracy("spatter") == pytest.approx(0.1)
    assert report.accuracy("snow", 4) == 0.4
    assert report.mean_accuracy == pytest.approx(float(Fraction(35 + 35, 100)))
    expected = [
        Fraction(9 + 10, 20),
        Fraction(8 + 10, 20),
        Fraction(7 + 9, 20),
        Fraction(6 + 4, 20),
        Fraction(5 + 2, 20),
    ]
    assert list(report.by_severity) == [1, 2, 3, 4, 5]
    assert list(report.by_severity.values()) == pytest.approx([float(value) for value in expected])


def test_where_there_is_no_main_corruption_means_are_over_all() -> None:
    report = made_report({"spatter": (1, 1, 1, 1, 1), "zebra_stripes": (9, 9, 9, 9, 9)})
    assert report.counted == ("spatter", "zebra_stripes")
    assert report.mean_accuracy == pytest.approx(0.5)


def test_without_a_baseline_the_mce_is_the_mean_error() -> None:
    report = made_report(FOG_SNOW)
    assert report.mce() == pytest.approx(float(Fraction(15 + 15, 100)))
    assert report.mce() == pytest.approx(1 - report.mean_accuracy)
    assert report.corruption_error("spatter") == pytest.approx(0.9)


# Errors of 10 images, summed over severities.
CE_FOG = Fraction(1 + 2 + 3 + 4 + 5, 25)
CE_SNOW = Fraction(0 + 0 + 1 + 6 + 8, 2 + 3 + 4 + 5 + 6)


@pytest.mark.parametrize(
    "baseline",
    [
        made_report(WEAKER),
        made_report({name: [10 * count for count in counts] for name, counts in WEAKER.items()}, samples=100),
        {"fog": [0.5] * 5, "snow": [0.2, 0.3, 0.4, 0.5, 0.6], "spatter": (1, 1, 1, 1, 1)},
    ],
    ids=["report", "of more samples", "errors"],
)
def test_the_mce_is_the_mean_of_ratios_of_summed_errors(
    baseline: CorruptionReport | dict[str, Sequence[float]],
) -> None:
    report = made_report(FOG_SNOW)
    assert report.corruption_error("fog", baseline) == pytest.approx(float(CE_FOG))
    assert report.corruption_error("snow", baseline) == pytest.approx(float(CE_SNOW))
    assert report.corruption_error("spatter", baseline) == pytest.approx(0.9)
    assert report.mce(baseline) == pytest.approx(float((CE_FOG + CE_SNOW) / 2))


def test_a_classifier_is_as_good_as_itself() -> None:
    report = made_report(FOG_SNOW)
    assert report.mce(report) == pytest.approx(1)
    assert report.relative_mce(0.95, report, 0.95) == pytest.approx(1)


def test_a_baseline_may_have_more_severities() -> None:
    report = made_report({"fog": (7, 5)}, severities=(3, 5))
    assert report.mce(made_report(WEAKER)) == pytest.approx(float(Fraction(3 + 5, 5 + 5)))


def test_the_relative_mce_by_hand() -> None:
    fog = Fraction(15 - 5 * 1, 25 - 5 * 2)  # clean errors of 1 and 2 in 10
    snow = Fraction(15 - 5 * 1, 20 - 5 * 2)
    found = made_report(FOG_SNOW).relative_mce(0.9, made_report(WEAKER), 0.8)
    assert found == pytest.approx(float((fog + snow) / 2))


def test_only_all_main_corruptions_in_all_severities_are_complete() -> None:
    counts = dict.fromkeys((*MAIN, *EXTRA), (5, 5, 5, 5, 5))
    whole = made_report(counts)
    assert whole.complete
    assert whole.counted == MAIN
    assert len(MAIN) == len(set(MAIN)) == 15
    assert len(EXTRA) == 4
    assert made_report({name: counts[name] for name in MAIN}).complete
    assert not made_report({name: counts[name] for name in MAIN[1:]}).complete
    assert not made_report(dict.fromkeys(MAIN, (5, 5, 5, 5)), severities=(1, 2, 3, 4)).complete


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ({"snow": [0.5] * 5}, "corruption in the baseline: 'fog'"),
        ({"fog": [0.5] * 4, "snow": [0.5] * 5}, "an error for each severity 1, 2, 3, 4, 5 of 'fog'"),
        ({"fog": 0.5, "snow": [0.5] * 5}, "each severity"),
        ({"fog": [50] * 5, "snow": [0.5] * 5}, r"\[0, 1\]"),
        ({"fog": [float("nan")] * 5, "snow": [0.5] * 5}, r"\[0, 1\]"),
        ({"fog": [0] * 5, "snow": [0.5] * 5}, "loses nothing under 'fog'"),
        (made_report({"fog": (5, 5, 5, 5, 5)}), "'snow'"),
        (made_report({"fog": (5, 5), "snow": (5, 5)}, severities=(1, 2)), "severity must be one of 1, 2, got 3"),
    ],
)
def test_baselines_that_do_not_fit_are_refused(baseline: object, message: str) -> None:
    report = made_report({"fog": FOG_SNOW["fog"], "snow": FOG_SNOW["snow"]})
    with pytest.raises(InvalidArgumentError, match=message):
        report.mce(baseline)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, made_report(WEAKER), 0.8), "clean_accuracy must be >= 0 and <= 1, got 1.5"),
        ((0.9, made_report(WEAKER), -1), "baseline_clean_accuracy"),
        ((0.9, made_report(WEAKER), 0.5), "loses nothing under 'fog'"),
    ],
)
def test_clean_accuracies_that_do_not_fit_are_refused(
    arguments: tuple[float, CorruptionReport, float], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        made_report(FOG_SNOW).relative_mce(*arguments)


def test_what_is_not_in_the_report_is_named() -> None:
    report = made_report(FOG_SNOW, severities=SEVERITIES)
    with pytest.raises(UnknownNameError, match="'snwo'; did you mean 'snow'"):
        report.accuracy("snwo")
    with pytest.raises(InvalidArgumentError, match="severity must be one of 1, 2, 3, 4, 5, got 6"):
        report.accuracy("snow", 6)


@pytest.mark.parametrize(
    ("names", "severities", "samples", "accuracies"),
    [
        (("fog",), (1, 2), 10, [[0.5]]),
        (("fog",), (1,), 10, [[1.5]]),
        (("fog",), (1,), 10, [[float("nan")]]),
        (("fog", "fog"), (1,), 10, [[0.5], [0.5]]),
        (("fog",), (1, 1), 10, [[0.5, 0.5]]),
        (("fog",), (2, 1), 10, [[0.5, 0.5]]),
        (("fog",), (7,), 10, [[0.5]]),
        (("fog",), (1,), 0, [[0.5]]),
        ((), (1,), 10, np.zeros((0, 1))),
    ],
)
def test_reports_that_make_no_sense_are_refused(
    names: tuple[str, ...], severities: tuple[int, ...], samples: int, accuracies: object
) -> None:
    with pytest.raises(InvalidArgumentError):
        CorruptionReport(names, severities, samples, np.array(accuracies))


def test_a_report_cannot_be_changed() -> None:
    given = np.full((1, 5), 0.5)
    report = CorruptionReport(("fog",), SEVERITIES, 10, given)
    given[:] = 0
    assert report.mean_accuracy == 0.5
    with pytest.raises(ValueError, match="read-only"):
        report.accuracies[0, 0] = 1
    with pytest.raises(AttributeError):
        report.samples = 5


# Files.


def test_what_was_saved_is_loaded(folder: Path, tmp_path: Path) -> None:
    saved = evaluate_corruptions(Linear(192), folder, severities=[1, 3], limit=7)
    saved.save(tmp_path / "new" / "folder")
    loaded = CorruptionReport.load(tmp_path / "new" / "folder")
    assert loaded == saved
    assert (loaded.names, loaded.severities, loaded.samples) == (saved.names, (1, 3), 7)
    assert loaded.accuracies.tolist() == saved.accuracies.tolist()
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["corruptions.json"]


@pytest.mark.parametrize(
    "other",
    [
        made_report({**FOG_SNOW, "fog": (9, 8, 7, 6, 4)}),
        made_report({name: FOG_SNOW[name] for name in ("snow", "fog", "spatter")}),
        made_report({name: FOG_SNOW[name] for name in ("fog", "snow")}),
        CorruptionReport(tuple(FOG_SNOW), SEVERITIES, 20, made_report(FOG_SNOW).accuracies),
        "a report",
    ],
)
def test_different_reports_differ(other: object) -> None:
    assert made_report(FOG_SNOW) == made_report(FOG_SNOW)
    assert made_report(FOG_SNOW) != other


def test_the_json_tells_the_numbers(tmp_path: Path) -> None:
    made_report(FOG_SNOW).save(tmp_path)
    summary = json.loads((tmp_path / "corruptions.json").read_text(encoding="utf-8"))
    assert summary["accuracies"]["snow"] == [1, 1, 0.9, 0.4, 0.2]
    assert summary["severities"] == [1, 2, 3, 4, 5]
    assert summary["samples"] == 10
    assert summary["mean_accuracy"] == pytest.approx(0.7)
    assert summary["complete"] is False


def check_unreadable(folder: Path) -> None:
    with pytest.raises(NoiseproofError) as caught:
        CorruptionReport.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    check_unreadable(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 100, -30])
def test_a_report_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    made_report(FOG_SNOW).save(tmp_path)
    path = tmp_path / "corruptions.json"
    path.write_bytes(path.read_bytes()[:keep])
    check_unreadable(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", "null", "5", '{"accuracies": 5}', '{"accuracies": {"fog": 5}}', "\xff"])
def test_another_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "corruptions.json").write_text(text, encoding="latin-1")
    check_unreadable(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 99), ("samples", 0), ("samples", "ten"), ("severities", [1, 2, 3, 4]),
        ("severities", [0, 2, 3, 4, 5]), ("severities", 5), ("mean_accuracy", 0.9), ("complete", True),
        ("accuracies", {}), ("accuracies", {"fog": [2] * 5}), ("accuracies", {"fog": ["a"] * 5}),
        ("accuracies", {"fog": [0.1] * 5, "snow": [0.1]}), ("accuracies", {"fog": [None] * 5}),
    ],
)  # fmt: skip
def test_a_changed_json_is_refused(tmp_path: Path, key: str, value: object) -> None:
    made_report(FOG_SNOW).save(tmp_path)
    path = tmp_path / "corruptions.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    check_unreadable(tmp_path)


@pytest.mark.parametrize("key", ["format", "samples", "severities", "complete", "mean_accuracy", "accuracies"])
def test_a_json_without_one_of_its_keys_is_refused(tmp_path: Path, key: str) -> None:
    made_report(FOG_SNOW).save(tmp_path)
    path = tmp_path / "corruptions.json"
    summary = json.loads(path.read_text())
    del summary[key]
    path.write_text(json.dumps(summary))
    check_unreadable(tmp_path)
