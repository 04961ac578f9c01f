"""What a report says beyond its accuracies, by loops and by hand, and what of that its files keep."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.data import ArrayDataset
from noiseproof.errors import InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.evaluation import PerturbationResult, RobustnessReport
from noiseproof.evaluation.attacks import FGSM
from noiseproof.evaluation.views import is_random, view
from noiseproof.models import Normalize
from noiseproof.perturbations import perturbation
from tests.evaluation.problems import CLASSES, Linear, Recorder, report, samples

MEAN, STD = [0.4, 0.1, 0.9], [0.2, 0.5, 1.5]
SPECS = ("clean", "gaussian:0.3", "uniform:0.4", "gaussian:0.2,clamp=no")
needs_torchattacks = pytest.mark.skipif(
    importlib.util.find_spec("torchattacks") is None, reason="torchattacks is an optional dependency"
)


def made_of(correct: Sequence[Sequence[int]], confidence: Sequence[Sequence[float]]) -> PerturbationResult:
    return PerturbationResult(
        "gaussian:1", "gaussian:std=1.0", np.array(correct, dtype=bool), np.array(confidence, dtype=np.float32), True
    )


def softmax_by_loops(logits: Sequence[float]) -> list[float]:
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def logits_by_loops(model: Linear, x: Tensor) -> list[float]:
    values = x.flatten().double().tolist()
    return [sum(w * v for w, v in zip(row, values, strict=True)) for row in model.weight.double().tolist()]


# Confidence


@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)], ids=["vectors", "images"])
def test_confidence_is_the_largest_softmax(shape: tuple[int, ...]) -> None:
    inputs, labels = samples(140, *shape)
    model = Recorder(12)
    found = npf.evaluate(model, (inputs, labels), ["clean", "gaussian:0.4"], draws=2, batch_size=128)
    seen = [torch.cat(model.seen[first : first + 3]) for first in (0, 3)]  # the draws of each block of 128
    for key, draw, rank in (("clean", 0, 0), ("gaussian:0.4", 0, 1), ("gaussian:0.4", 1, 2)):
        inputs_seen = torch.cat([block[rank * len(block) // 3 : (rank + 1) * len(block) // 3] for block in seen])
        for index, x in enumerate(inputs_seen):
            chances = softmax_by_loops(logits_by_loops(model, x))
            assert found[key].confidence[draw, index] == pytest.approx(max(chances), abs=1e-6)
            assert found[key].correct[draw, index] == (chances.index(max(chances)) == int(labels[index]))


@pytest.mark.parametrize("batch_size", [1, 37, 128, 300, 4096])
def test_the_batch_size_changes_neither_answers_nor_confidence(batch_size: int) -> None:
    data = samples(300, 3, 2, 2)
    expected = npf.evaluate(Linear(12), data, SPECS, draws=3)
    found = npf.evaluate(Linear(12), data, SPECS, draws=3, batch_size=batch_size)
    for key in SPECS:
        assert found[key].correct.tolist() == expected[key].correct.tolist()
        np.testing.assert_allclose(found[key].confidence, expected[key].confidence, rtol=0, atol=1e-6)


def test_confidence_has_a_place_for_every_answer() -> None:
    found = npf.evaluate(Linear(6), samples(130, 6), ["clean", "gaussian:0.3"], draws=4)
    assert {key: result.confidence.shape for key, result in found.items()} == {
        "clean": (1, 130),
        "gaussian:0.3": (4, 130),
    }
    for result in found.values():
        assert result.confidence.dtype == np.float32
        assert ((result.confidence > 1 / CLASSES - 1e-6) & (result.confidence <= 1)).all()


def test_logits_of_any_size_have_a_confidence() -> None:
    inputs, labels = samples(20, 6)
    found = npf.evaluate(Linear(6), (inputs * 1e6, labels), ["clean"])["clean"]
    assert np.isfinite(found.confidence).all()
    assert found.confidence.max() == 1


# Calibration


def test_the_calibration_error_by_hand() -> None:
    found = made_of([[1, 0, 1, 1]], [[0.95, 0.95, 0.5, 0.51]])
    # One bin holds both 0.95: half right. The bins (7/15, 8/15] and the same hold 0.5 and 0.51: all right.
    assert found.calibration_error == pytest.approx((2 * abs(0.5 - 0.95) + abs(2 - 1.01)) / 4, abs=1e-6)


def test_the_calibration_error_is_over_all_draws() -> None:
    one, other = made_of([[1, 0]], [[0.8, 0.8]]), made_of([[1, 1]], [[0.8, 0.8]])
    both = made_of([[1, 0], [1, 1]], [[0.8, 0.8], [0.8, 0.8]])
    assert one.calibration_error == pytest.approx(0.3, abs=1e-6)
    assert other.calibration_error == pytest.approx(0.2, abs=1e-6)
    assert both.calibration_error == pytest.approx(0.05, abs=1e-6)


def test_the_calibration_error_of_an_evaluation_by_loops() -> None:
    found = npf.evaluate(Linear(6), samples(150, 6), ["gaussian:0.5"], draws=3)["gaussian:0.5"]
    answers = list(zip(found.confidence.ravel().tolist(), found.correct.ravel().tolist(), strict=True))
    error = 0.0
    for m in range(15):
        there = [(sure, right) for sure, right in answers if m / 15 < sure <= (m + 1) / 15]
        error += abs(sum(right for _, right in there) - sum(sure for sure, _ in there)) / len(answers)
    assert found.calibration_error == pytest.approx(error, abs=1e-9)
    assert error > 0.01


def test_the_interval_holds_the_mean() -> None:
    for key, found in npf.evaluate(Linear(6), samples(150, 6), SPECS[:3], draws=3).items():
        assert 0 < found.interval.low < found.mean < found.interval.high < 1, key


# Counts and classes


def test_correct_counts_by_loops() -> None:
    found = npf.evaluate(Linear(6), samples(130, 6), ["clean", "gaussian:1"], draws=5)
    for result in found.values():
        draws, size = result.correct.shape
        expected = [sum(bool(result.correct[draw, index]) for draw in range(draws)) for index in range(size)]
        assert result.correct_counts.tolist() == expected
    assert set(found["clean"].correct_counts.tolist()) == {0, 1}
    assert max(found["gaussian:1"].correct_counts) == 5


def test_many_draws_are_counted_whole() -> None:
    found = made_of([[1, 0]] * 300, [[0.5, 0.5]] * 300)
    assert found.correct_counts.tolist() == [300, 0]


def test_the_accuracy_of_each_class_by_loops() -> None:
    inputs, labels = samples(200, 6)
    data = ArrayDataset(inputs, labels, ("a", "b", "c"))
    found = npf.evaluate(Linear(6), data, ["clean", "gaussian:1"], draws=3)
    for key, result in found.items():
        expected = []
        for c in range(CLASSES):
            of_class = [result.correct[k, i] for k, i in itertools.product(range(len(result.correct)), range(200))
                        if labels[i] == c]  # fmt: skip
            expected.append(sum(map(bool, of_class)) / len(of_class))
        assert found.per_class(key).tolist() == pytest.approx(expected)
    shares = np.bincount(labels.numpy()) / 200
    assert found.per_class("gaussian:1") @ shares == pytest.approx(found["gaussian:1"].mean)


def test_a_class_without_samples_has_no_accuracy() -> None:
    inputs, labels = samples(60, 6)
    chosen = labels != 1
    data = ArrayDataset(inputs[chosen], labels[chosen], ("a", "b", "c", "d"))
    wide = nn.Sequential(Linear(6), nn.ZeroPad1d((0, 1)))
    found = npf.evaluate(wide, data).per_class("clean")
    assert np.isnan(found).tolist() == [False, True, False, True]


def test_classes_are_found_by_any_text_for_a_perturbation() -> None:
    found = report({"clean": [9], "gaussian:8/255": [5, 7]})
    by_key = found.per_class("gaussian:8/255")
    assert by_key.tolist() == [np.mean([3 / 5, 4 / 5]), np.mean([2 / 5, 3 / 5])]
    assert found.per_class("gaussian:std=8/255").tolist() == by_key.tolist()
    with pytest.raises(UnknownNameError):
        found.per_class("gaussian:9/255")


# Normalisation in front of the model


@pytest.mark.parametrize("shape", [(3, 2, 2), (3,), (3, 4)], ids=["images", "vectors", "series"])
def test_mean_and_std_are_a_normalisation_in_front_of_the_model(shape: tuple[int, ...]) -> None:
    inputs, labels = samples(150, *shape)
    model = Linear(inputs[0].numel())
    found = npf.evaluate(model, (inputs, labels), SPECS, draws=2, mean=MEAN, std=STD)
    expected = npf.evaluate(nn.Sequential(Normalize(MEAN, STD), model), (inputs, labels), SPECS, draws=2)
    assert found == expected
    assert found != npf.evaluate(model, (inputs, labels), SPECS, draws=2)


@pytest.mark.parametrize("shape", [(3, 2, 2), (3, 4)], ids=["images", "series"])
def test_noise_is_added_before_the_normalisation(shape: tuple[int, ...]) -> None:
    data = samples(150, *shape)
    plain, behind = (Recorder(data[0][0].numel()) for _ in range(2))
    npf.evaluate(plain, data, SPECS, draws=2)
    npf.evaluate(behind, data, SPECS, draws=2, mean=MEAN, std=STD)
    pixels, normalised = torch.cat(plain.seen).double(), torch.cat(behind.seen).double()
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        expected = (pixels[:, channel] - mean) / std
        torch.testing.assert_close(normalised[:, channel], expected, rtol=1e-5, atol=1e-5)


def test_one_mean_and_std_may_stand_for_all_channels() -> None:
    data = samples(50, 3, 2, 2)
    one = npf.evaluate(Linear(12), data, SPECS, draws=2, mean=0.4, std=0.2)
    assert one == npf.evaluate(Linear(12), data, SPECS, draws=2, mean=[0.4] * 3, std=[0.2] * 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_any_precision_may_expect_normalised_inputs(dtype: torch.dtype) -> None:
    data = samples(50, 3, 2, 2)
    model = Linear(12).to(dtype)
    expected = npf.evaluate(model, data, SPECS, draws=2)
    found = npf.evaluate(model, data, SPECS, draws=2, mean=0.0, std=1.0)
    for key in SPECS:
        assert found[key].correct.tolist() == expected[key].correct.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": MEAN}, "mean and std go together"),
        ({"std": STD}, "mean and std go together"),
        ({"mean": 0.0}, "mean and std go together"),
        ({"mean": MEAN, "std": [1.0, 0.0, 1.0]}, "std must be > 0"),
        ({"mean": MEAN, "std": 0.5}, "of one length"),
        ({"mean": [], "std": []}, "of one length"),
        ({"mean": [0.0, math.nan, 0.0], "std": STD}, "finite"),
        ({"mean": MEAN[:2], "std": STD[:2]}, "3 channels, but mean and std have 2 values"),
    ],
)
def test_wrong_means_and_stds_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        npf.evaluate(Linear(12), samples(10, 3, 2, 2), **arguments)


def test_every_submodules_mode_is_put_back_behind_a_normalisation(tiny_model: nn.Module) -> None:
    tiny_model.train()
    tiny_model.backbone[1].eval()
    before = {name: part.training for name, part in tiny_model.named_modules()}
    seen: list[bool] = []
    tiny_model.backbone[0].register_forward_pre_hook(lambda module, _: seen.append(module.training))
    data = (torch.rand(5, 1, 8, 8), torch.zeros(5, dtype=torch.long))
    npf.evaluate(tiny_model, data, ["clean", "gaussian:0.1"], draws=2, mean=[0.5], std=[0.5])
    assert {name: part.training for name, part in tiny_model.named_modules()} == before
    assert set(seen) == {False}
    assert len(set(before.values())) == 2


# Attacks among perturbations


def test_texts_become_perturbations_and_attacks() -> None:
    assert view("gaussian:0.1") == perturbation("gaussian:0.1")
    assert view("fgsm:0.1") == FGSM(0.1)
    made = FGSM(0.2)
    assert view(made) is made
    noise = perturbation("gaussian:0.1+uniform:0.2")
    assert view(noise) is noise
    assert [is_random(view(text)) for text in ("clean", "gaussian:0", "fgsm:0.1", "pgd:0.1")] == [
        False, True, False, False,
    ]  # fmt: skip
    for unknown in ("fsgm:0.1", "", "fgsm:0.1+gaussian:0.1"):
        with pytest.raises(InvalidArgumentError):
            view(unknown)


def fgsm_by_loops(model: Linear, x: Tensor, label: int, eps: float, std: Sequence[float]) -> int:
    """The answer to x + ε sign(∂CE/∂x), clamped, of a linear model behind (x − 0)/std: one value at a time."""
    weight = model.weight.double().tolist()
    scale = [std[channel] for channel in range(x.shape[0]) for _ in range(x[0].numel())]
    values = x.flatten().double().tolist()

    def logits(at: Sequence[float]) -> list[float]:
        return [sum(w * v / s for w, v, s in zip(row, at, scale, strict=True)) for row in weight]

    errors = [chance - (c == label) for c, chance in enumerate(softmax_by_loops(logits(values)))]
    moved = []
    for index, value in enumerate(values):
        slope = sum(error * row[index] for error, row in zip(errors, weight, strict=True)) / scale[index]
        moved.append(min(1.0, max(0.0, value + eps * (slope > 0) - eps * (slope < 0))))
    found = logits(moved)
    return found.index(max(found))


@needs_torchattacks
def test_an_attack_in_the_list_is_carried_out_in_pixels_behind_the_normalisation() -> None:
    inputs, labels = samples(60, 3, 2, 2)
    model = Linear(12)
    found = npf.evaluate(
        model, (inputs, labels), ["clean", "fgsm:0.1", "gaussian:0.3"], draws=3, mean=[0.0] * 3, std=STD
    )
    expected = [fgsm_by_loops(model, x, int(y), 0.1, STD) == int(y) for x, y in zip(inputs, labels, strict=True)]
    assert found["fgsm:0.1"].correct.tolist() == [expected]
    assert 0.05 < found["fgsm:0.1"].mean < found["clean"].mean
    assert {key: (result.random, result.worst_case) for key, result in found.items()} == {
        "clean": (False, False), "fgsm:0.1": (False, True), "gaussian:0.3": (True, False),
    }  # fmt: skip
    assert found["fgsm:0.1"].std == 0


@needs_torchattacks
@pytest.mark.parametrize("batch_size", [1, 37, 512])
def test_neighbours_and_batch_size_change_no_attack(batch_size: int) -> None:
    data = samples(150, 3, 2, 2)
    alone = npf.evaluate(Linear(12), data, ["pgd:0.1,steps=3"])["pgd:0.1,steps=3"]
    keys = ["gaussian:0.2", "pgd:0.1,steps=3", "clean", "fgsm:0.1"]
    among = npf.evaluate(Linear(12), data, keys, draws=2, batch_size=batch_size)
    assert list(among) == keys
    assert among["pgd:0.1,steps=3"].correct.tolist() == alone.correct.tolist()


# Files


def with_everything() -> RobustnessReport:
    """A report with a caveat, a worst case, an absent class and curves."""
    made = report({"clean": [9], "gaussian:0.1": [5, 7], "uniform:0.3": [4]})
    answers = made["clean"]
    attacked = PerturbationResult("pgd:0.1", "pgd:eps=0.1", ~answers.correct, answers.confidence, False, True)
    names = (*made.class_names, "absent")
    return RobustnessReport({**made, "pgd:0.1": attacked}, made.labels, names, 3, caveat="Take care: σ ≤ 1 & so on.")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    with_everything().save(tmp_path)
    return tmp_path


def summary_of(folder: Path) -> dict[str, Any]:
    text = (folder / "report.json").read_text(encoding="utf-8")
    summary: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return summary


def refusal(folder: Path) -> str:
    with pytest.raises(NoiseproofError) as caught:
        RobustnessReport.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_caveat_worst_case_and_confidence_are_kept(saved: Path) -> None:
    loaded, made = RobustnessReport.load(saved), with_everything()
    assert loaded == made
    assert loaded.caveat == made.caveat == "Take care: σ ≤ 1 & so on."
    assert [result.worst_case for result in loaded.values()] == [False, False, False, True]
    for key, result in made.items():
        assert loaded[key].confidence.dtype == np.float32
        assert loaded[key].confidence.tolist() == result.confidence.tolist()
    assert loaded["pgd:eps=0.1"] is loaded["pgd:0.1"]


def test_the_json_tells_the_statistics(saved: Path) -> None:
    made, summary = with_everything(), summary_of(saved)
    assert summary["caveat"] == made.caveat
    assert list(summary["curves"]) == ["gaussian", "uniform"]
    gaussian = summary["curves"]["gaussian"]
    assert (gaussian["levels"], gaussian["accuracies"]) == ([0, 0.1], [0.9, 0.6])
    assert gaussian["area"] == pytest.approx(0.75)
    assert gaussian["level_at_drop_of_0.05"] == pytest.approx(0.05 / 0.3 * 0.1)
    for entry, result in zip(summary["perturbations"], made.values(), strict=True):
        assert entry["calibration_error"] == pytest.approx(result.calibration_error)
        assert entry["interval_95"] == pytest.approx(list(result.interval))
        assert entry["worst_case"] == result.worst_case
        assert entry["per_class"][2] is None
        assert entry["per_class"][:2] == pytest.approx(made.per_class(result.key)[:2].tolist())


def test_what_is_not_finite_is_null_in_the_json(tmp_path: Path) -> None:
    report({"gaussian:0.1": [5], "uniform:0.1": [9]}).save(tmp_path / "without clean")
    assert summary_of(tmp_path / "without clean")["curves"]["gaussian"]["area"] is None
    report({"gaussian:0.1": [9], "clean": [9]}).save(tmp_path / "never lost")
    assert summary_of(tmp_path / "never lost")["curves"]["gaussian"]["level_at_drop_of_0.05"] is None
    for folder in tmp_path.iterdir():
        RobustnessReport.load(folder)


def test_a_report_without_a_caveat_has_none(tmp_path: Path) -> None:
    report({"clean": [9]}).save(tmp_path)
    assert not summary_of(tmp_path).get("caveat")
    assert RobustnessReport.load(tmp_path).caveat == ""


def _without_caveat(summary: dict[str, Any]) -> None:
    del summary["caveat"]


def _other_caveat(summary: dict[str, Any]) -> None:
    summary["caveat"] = "All is well."


def _other_key(summary: dict[str, Any]) -> None:
    summary["perturbations"][1]["key"] = "gaussian:0.5"


def _other_spec(summary: dict[str, Any]) -> None:
    summary["perturbations"][1]["spec"] = "gaussian:std=0.5"


def _no_worst_case(summary: dict[str, Any]) -> None:
    summary["perturbations"][3]["worst_case"] = False


def _not_random(summary: dict[str, Any]) -> None:
    summary["perturbations"][1]["random"] = False


def _other_seed(summary: dict[str, Any]) -> None:
    summary["seed"] += 1


def _other_order(summary: dict[str, Any]) -> None:
    summary["perturbations"].reverse()


def _one_fewer(summary: dict[str, Any]) -> None:
    del summary["perturbations"][3]


def _other_class_names(summary: dict[str, Any]) -> None:
    summary["class_names"].reverse()


@pytest.mark.parametrize(
    "tamper",
    [
        _without_caveat, _other_caveat, _other_key, _other_spec, _no_worst_case, _not_random, _other_seed,
        _other_order, _one_fewer, _other_class_names,
    ],
)  # fmt: skip
def test_a_json_that_was_changed_is_refused(saved: Path, tamper: Callable[[dict[str, Any]], None]) -> None:
    summary = summary_of(saved)
    tamper(summary)
    (saved / "report.json").write_text(json.dumps(summary), encoding="utf-8")
    assert "belong together" in refusal(saved)


@pytest.mark.parametrize("name", ["labels", "correct_0", "correct_3", "confidence_1"])
def test_arrays_that_were_changed_are_refused(saved: Path, name: str) -> None:
    with np.load(saved / "report.npz") as arrays:
        held = dict(arrays)
    held[name] = held[name].copy()
    held[name].flat[-1] = ~held[name].flat[-1] if held[name].dtype == bool else 1 - held[name].flat[-1]
    np.savez(saved / "report.npz", **held)
    assert "belong together" in refusal(saved)


@pytest.mark.parametrize("name", ["labels", "confidence_1"])
def test_arrays_that_lack_one_are_refused(saved: Path, name: str) -> None:
    with np.load(saved / "report.npz") as arrays:
        held = dict(arrays)
    del held[name]
    np.savez(saved / "report.npz", **held)
    refusal(saved)


def save_in_format_1(made: RobustnessReport, folder: Path) -> None:
    """Write the files of an earlier version: no confidence, no checksum."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [
        {
            "key": result.key, "spec": result.spec, "random": result.random, "draws": len(result.correct),
            "mean": result.mean, "std": result.std, "accuracies": result.accuracies.tolist(),
        }
        for result in made.values()
    ]  # fmt: skip
    summary = {
        "format": 1, "seed": made.seed, "samples": len(made.labels), "class_names": list(made.class_names),
        "perturbations": entries,
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    correct = {f"correct_{index}": result.correct for index, result in enumerate(made.values())}
    np.savez_compressed(folder / "report.npz", labels=made.labels, **correct)


def test_a_report_of_an_earlier_version_is_refused_by_that_name(tmp_path: Path) -> None:
    save_in_format_1(report({"clean": [9], "gaussian:1": [5, 7]}), tmp_path)
    assert "written by another version, in format 1" in refusal(tmp_path)


def test_a_report_of_a_later_version_is_refused_by_that_name(saved: Path) -> None:
    summary = summary_of(saved)
    (saved / "report.json").write_text(json.dumps({**summary, "format": 99}), encoding="utf-8")
    assert "written by another version, in format 99" in refusal(saved)
