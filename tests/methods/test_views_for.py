"""Which views of a batch a method looks at, by its options; and what is trained on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError
from noiseproof.methods import METHODS, MethodOptions, StepResult, Views, build_method
from noiseproof.methods.discriminative import Discriminative
from noiseproof.models import FeatureClassifier
from noiseproof.training.batches import TrainingBatches

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
CLEAN_ONLY: dict[str, Any] = {
    "delta_v": 0.1, "delta_d": 2.0, "alpha": 0.7, "beta": 0.4, "gamma_reg": 0.01, "lambda_noisy": 0.0,
}  # fmt: skip
TINY: dict[str, Any] = {
    "train.epochs": 1, "train.max_steps": 3, "train.batch_size": 256, "model.options": {"width": 2},
    "model.embedding_dim": 4,
}  # fmt: skip


@pytest.fixture
def clean() -> Tensor:
    return torch.rand(6, 1, 8, 8)


def views_for(method: str, **options: Any) -> tuple[str, ...]:
    chosen = METHODS[method].Options.model_validate(options)
    return METHODS[method].views_for(chosen)


def batch_norm(model: FeatureClassifier) -> nn.BatchNorm2d:
    (found,) = (layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    return found


# Which views


@pytest.mark.parametrize(
    ("method", "views"),
    [
        ("normal", ("clean",)),
        ("noisy", ("noisy",)),
        ("mixed", ("clean", "noisy")),
        ("stability", ("clean", "noisy")),
        ("discriminative", ("clean", "noisy")),
    ],
)
def test_with_its_usual_options_a_method_looks_at_the_views_that_it_names(method: str, views: tuple[str, ...]) -> None:
    assert views_for(method) == METHODS[method].views == views


@pytest.mark.parametrize("passes", ["separate", "joint", "split"])
@pytest.mark.parametrize("softmax_on", ["clean", "both"])
@pytest.mark.parametrize("lambda_noisy", [0.0, 0, 1e-9, 0.5, 1.0])
@pytest.mark.parametrize("consistency", [0.0, 0, 1e-9, 3.0])
def test_the_paper_s_method_looks_at_noise_unless_no_part_of_its_loss_does(
    consistency: float, lambda_noisy: float, softmax_on: str, passes: str
) -> None:
    options = {"lambda_noisy": lambda_noisy, "softmax_on": softmax_on, "consistency": consistency, "passes": passes}
    needed = lambda_noisy > 0 or consistency > 0 or softmax_on == "both"
    found = views_for("discriminative", **options)
    assert found == (("clean", "noisy") if needed else ("clean",))


@pytest.mark.parametrize(
    "options", [{"alpha": a, "beta": b, "gamma_reg": g} for a, b, g in itertools.product((0.0, 1.0), repeat=3)]
)
def test_the_other_weights_of_the_loss_do_not_decide_on_the_views(options: dict[str, float]) -> None:
    assert views_for("discriminative", **options) == ("clean", "noisy")
    assert views_for("discriminative", lambda_noisy=0.0, **options) == ("clean",)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *(("mixed", {"passes": passes}) for passes in ("separate", "joint", "split")),
        *(("stability", {"passes": passes}) for passes in ("separate", "joint", "split")),
        ("stability", {"weight": 0.0}),
    ],
)
def test_options_of_other_methods_do_not_decide_on_the_views(method: str, options: dict[str, Any]) -> None:
    assert views_for(method, **options) == ("clean", "noisy")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_views_are_some_of_those_that_a_method_names(name: str) -> None:
    for found in (views_for(name), views_for(name, **({"lambda_noisy": 0.0} if name == "discriminative" else {}))):
        assert found
        assert set(found) <= set(METHODS[name].views)


def test_no_options_at_all_are_the_usual_ones() -> None:
    for name in METHODS:
        assert METHODS[name].views_for(MethodOptions()) == METHODS[name].views


# What the loss is without a noisy view


def test_without_weight_on_noise_the_loss_is_eq_7_added_to_softmax(
    tiny_model: FeatureClassifier, clean: Tensor
) -> None:
    tiny_model.eval()
    result = build_method("discriminative", tiny_model, CLEAN_ONLY)(Views(LABELS, clean))
    terms = npf.DiscriminativeLoss(3, 5, **CLEAN_ONLY)(tiny_model.embed(clean), LABELS, tiny_model.head)
    softmax = F.cross_entropy(tiny_model(clean), LABELS)
    by_hand = softmax + 0.7 * terms.compactness + 0.4 * terms.margin + 0.01 * terms.regularisation
    torch.testing.assert_close(result.loss, by_hand)
    torch.testing.assert_close(result.loss, softmax + terms.total)
    torch.testing.assert_close(result.parts["softmax"], softmax)
    for name in ("compactness", "margin", "regularisation"):
        torch.testing.assert_close(result.parts[name], getattr(terms, name))
    assert result.parts["alignment"] == 0
    assert torch.equal(result.logits, tiny_model(clean))
    assert torch.equal(result.labels, LABELS)


def test_the_parts_have_the_same_names_with_and_without_a_noisy_view(
    tiny_model: FeatureClassifier, clean: Tensor
) -> None:
    without = build_method("discriminative", tiny_model, CLEAN_ONLY)(Views(LABELS, clean))
    with_noise = build_method("discriminative", tiny_model)(Views(LABELS, clean, clean.clone()))
    assert list(without.parts) == list(with_noise.parts)


@pytest.mark.parametrize("passes", ["separate", "joint", "split"])
def test_a_noisy_view_that_is_given_all_the_same_is_not_looked_at(
    tiny_model: FeatureClassifier, clean: Tensor, passes: str
) -> None:
    """Neither by the loss nor by the running statistics of batch normalisation."""
    norm = batch_norm(tiny_model)
    found: list[tuple[StepResult, Tensor, Tensor]] = []
    start = {key: value.clone() for key, value in tiny_model.state_dict().items()}
    for noisy in (None, torch.full_like(clean, float("nan"))):
        tiny_model.load_state_dict(start)
        method = build_method("discriminative", tiny_model, {**CLEAN_ONLY, "passes": passes}).train()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        found.append((method(Views(LABELS, clean, noisy)), norm.running_mean.clone(), norm.running_var.clone()))
    (without, *statistics), (given, *others) = found
    assert torch.equal(without.loss, given.loss)
    assert all(torch.equal(a, b) for a, b in zip(statistics, others, strict=True))
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lambda_noisy": 1e-9},
        {"lambda_noisy": 0.0, "softmax_on": "both"},
        {"softmax_on": "both"},
        {"lambda_noisy": 0.0, "consistency": 1.0},
    ],
)
def test_a_noisy_view_that_is_needed_and_missing_is_told(
    tiny_model: FeatureClassifier, clean: Tensor, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError, match=r"views\.clean and views\.noisy"):
        build_method("discriminative", tiny_model, options)(Views(LABELS, clean))


def test_a_clean_view_that_is_missing_is_told(tiny_model: FeatureClassifier, clean: Tensor) -> None:
    with pytest.raises(InvalidArgumentError, match=r"views\.clean"):
        build_method("discriminative", tiny_model, CLEAN_ONLY)(Views(LABELS, None, clean))


def test_without_any_weight_it_is_normal_training(tiny_model: FeatureClassifier, clean: Tensor) -> None:
    tiny_model.eval()
    none = {"alpha": 0.0, "beta": 0.0, "gamma_reg": 0.0, "lambda_noisy": 0.0}
    found = build_method("discriminative", tiny_model, none)(Views(LABELS, clean))
    normal = build_method("normal", tiny_model)(Views(LABELS, clean))
    torch.testing.assert_close(found.loss, normal.loss)


def test_centroids_follow_the_clean_features(tiny_model: FeatureClassifier, clean: Tensor) -> None:
    method = build_method("discriminative", tiny_model, CLEAN_ONLY)
    assert isinstance(method, Discriminative)
    features = tiny_model.embed(clean).detach()
    batch_norm(tiny_model).reset_running_stats()
    method(Views(LABELS, clean))
    expected = torch.stack([features[c::3].mean(0) for c in range(3)])
    torch.testing.assert_close(method.discriminative.centroids, expected)


# What is trained on


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Views]:
    """Every batch that a training makes."""
    batches: list[Views] = []
    epoch = TrainingBatches.epoch

    def noted(self: TrainingBatches, number: int, first: int = 0) -> Iterator[Views]:
        for views in epoch(self, number, first):
            batches.append(views)
            yield views

    monkeypatch.setattr(TrainingBatches, "epoch", noted)
    return batches


@pytest.mark.parametrize("own", ["same", "own"])
@pytest.mark.parametrize(
    ("method", "options", "there"),
    [
        ("normal", {}, (True, False)),
        ("noisy", {}, (False, True)),
        ("mixed", {}, (True, True)),
        ("stability", {"weight": 0.0}, (True, True)),
        ("discriminative", {}, (True, True)),
        ("discriminative", {"lambda_noisy": 0.0}, (True, False)),
        ("discriminative", {"lambda_noisy": 0.0, "softmax_on": "both"}, (True, True)),
        ("discriminative", {"lambda_noisy": 0.0, "consistency": 1.0}, (True, True)),
    ],
)
def test_a_training_makes_the_views_that_its_method_looks_at(
    tmp_path: Path, seen: list[Views], method: str, options: dict[str, Any], there: tuple[bool, bool], own: str
) -> None:
    overrides = {**TINY, "noise.view": own} | {f"methods.{method}.{name}": value for name, value in options.items()}
    npf.train("digits", method, 0, overrides, tmp_path)
    assert len(seen) == 3
    assert {(views.clean is not None, views.noisy is not None) for views in seen} == {there}


def test_clean_views_are_the_same_whether_or_not_noisy_ones_are_made(tmp_path: Path, seen: list[Views]) -> None:
    overrides = {**TINY, "data.augment": "crop:padding=1"}
    npf.train("digits", "discriminative", 0, {**overrides, "methods.discriminative.lambda_noisy": 0.0}, tmp_path / "a")
    npf.train("digits", "discriminative", 0, overrides, tmp_path / "b")
    for without, with_noise in zip(seen[:3], seen[3:], strict=True):
        assert without.clean is not None
        assert with_noise.clean is not None
        assert torch.equal(without.clean, with_noise.clean)
        assert torch.equal(without.labels, with_noise.labels)


def test_the_training_noise_does_not_matter_where_no_noisy_input_is_looked_at(tmp_path: Path) -> None:
    """As in Table 5, whose losses are compared on clean data."""
    weights = []
    for noise in ("gaussian:0.3", "uniform:0.9"):
        overrides = {**TINY, "noise.train": noise, "methods.discriminative.lambda_noisy": 0.0}
        run = npf.train("digits", "discriminative", 0, overrides, tmp_path / noise.partition(":")[0])
        weights.append((run.folder / "model.safetensors").read_bytes())
        assert {epoch["alignment"] for epoch in run.metrics()} == {0.0}
    assert weights[0] == weights[1]
