"""What is proposed, on features whose geometry is known, and on trained runs."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import noiseproof as npf
from noiseproof.analysis.theory import separation
from noiseproof.data import ArrayDataset
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.methods import METHODS
from noiseproof.models import FeatureClassifier
from noiseproof.perturbations import perturbation
from noiseproof.suggesting import Advice, FeatureFacts, SensorNoise, feature_facts, suggest
from noiseproof.suggesting.rules import (
    delta_proposals,
    momentum_proposal,
    noise_proposal,
    perturbations_proposal,
    regularisation_proposal,
    std_of,
)
from noiseproof.training import load_recipe
from noiseproof.training.recipes import parse_override
from tests.cli.problems import TINY

DEFAULTS = METHODS["discriminative"].Options().model_dump()


def simplex(classes: int, edge: float, within: float, count: int = 40) -> tuple[FeatureClassifier, ArrayDataset]:
    """A model whose features are its inputs: classes at the corners of a simplex, each sample ``within`` away."""
    corners = edge / math.sqrt(2) * torch.eye(classes)
    labels = torch.arange(classes).repeat_interleave(count)
    away = torch.randn(len(labels), classes, generator=torch.Generator().manual_seed(0))
    away = torch.cat([away[: len(away) // 2], -away[: len(away) // 2]]) if classes % 2 == 0 else away
    away = within * away / away.norm(dim=1, keepdim=True)
    model = FeatureClassifier(nn.Identity(), nn.Linear(classes, classes))
    with torch.no_grad():
        model.head.weight.copy_(corners)
        model.head.bias.zero_()
    return model, ArrayDataset(corners[labels] + away, labels, [str(c) for c in range(classes)])


def measured(classes: int = 4, edge: float = 8.0, within: float = 1.0, **options: Any) -> FeatureFacts:
    model, data = simplex(classes, edge, within, 400)
    return feature_facts(model, data, weights={**DEFAULTS, **options}, noise=perturbation("gaussian:0.1"))


def test_a_simplex_is_measured_as_it_is() -> None:
    facts = measured()
    assert facts.boundary == pytest.approx(4, rel=0.02)  # half an edge
    assert facts.largest_delta_d == pytest.approx(4, rel=0.02)  # a simplex leaves no room
    assert facts.spread == pytest.approx(8 / math.sqrt(2) * math.sqrt(3 / 4), rel=0.02)
    assert facts.within == pytest.approx(1, rel=0.02)
    assert (facts.classes, facts.dimensions) == (4, 4)
    # ‖ε‖ of four components with σ = 0.1: a chi distribution, whose 95 % quantile is 3.08
    assert facts.displacement == pytest.approx(0.308, rel=0.05)


def test_pulls_are_the_derivative_of_the_loss() -> None:
    model, data = simplex(4, 8.0, 1.0, 100)
    options = {**DEFAULTS, "alpha": 2.0, "beta": 0.5, "gamma_reg": 0.1}
    facts = feature_facts(model, data, weights=options)
    step = 1e-4
    m = torch.from_numpy(facts.separation.centroids)
    weight = model.head.weight.detach().double()

    def parts(nu: float) -> dict[str, float]:
        compact = npf.functional.compactness(nu * data.inputs.double(), data.labels, nu * m, 0.5)
        margin = npf.functional.margin(nu * m, weight, None, 5.0)
        return {
            "compactness": 2.0 * float(compact), "margin": 0.5 * float(margin),
            "regularisation": 0.1 * float(npf.functional.regularisation(nu * m)),
        }  # fmt: skip

    above, below = parts(1 + step), parts(1 - step)
    expected = {name: (above[name] - below[name]) / (2 * step) for name in above}
    assert facts.pulls == pytest.approx(expected, rel=1e-4)
    assert facts.pulls["margin"] < 0 < facts.pulls["compactness"]


def test_wide_classes_get_a_third_of_delta_d_and_narrow_ones_their_width() -> None:
    for within, expected in ((2.0, 4 / 3), (1.0, 1.0)):
        delta_d, delta_v = delta_proposals(measured(within=within), DEFAULTS)
        assert delta_d.value == pytest.approx(4, rel=0.03)
        assert delta_v.value == pytest.approx(expected, rel=0.05)
        assert isinstance(delta_d.value, float)
        assert isinstance(delta_v.value, float)
        assert delta_d.value > 2 * delta_v.value  # Prop. 5.2
        for value in delta_v.sweep:
            assert isinstance(value, float)
            assert delta_d.value > 2 * value


def test_the_proposal_is_met_by_what_it_was_measured_on() -> None:
    model, data = simplex(4, 8.0, 1.0, 400)
    delta_d, delta_v = (each.value for each in delta_proposals(measured(), DEFAULTS))
    assert isinstance(delta_d, float)
    assert isinstance(delta_v, float)
    found = separation(model, data, delta_v=1.15 * delta_v, delta_d=0.95 * delta_d)
    assert all(claim.applies and claim.violations == 0 for claim in found.claims)
    assert found.separated


def test_what_cannot_be_met_and_what_does_nothing_are_said() -> None:
    facts = measured()
    assert "cannot be met unless the features grow" in delta_proposals(facts, DEFAULTS)[0].reason
    lower = {**DEFAULTS, "delta_d": 2.0}
    met = delta_proposals(measured(delta_d=2.0), lower)[0]
    assert "does nothing" in met.reason
    assert not met.changes
    assert met.sweep == (2.0, pytest.approx(4, rel=0.05), pytest.approx(6, rel=0.05))


def test_what_half_of_classes_and_samples_meet_is_left_as_it_is() -> None:
    options = {**DEFAULTS, "delta_d": 4.3, "delta_v": 1.2}
    assert not any(each.changes for each in delta_proposals(measured(delta_d=4.3, delta_v=1.2), options))
    wide = {**DEFAULTS, "delta_d": 4.3, "delta_v": 1.8}  # more than a third
    assert [each.changes for each in delta_proposals(measured(delta_d=4.3, delta_v=1.8), wide)] == [False, True]


def test_everything_grows_with_the_features() -> None:
    options = {**DEFAULTS, "delta_d": 100.0}
    small, large = (delta_proposals(measured(edge=scale * 8.0, within=scale), options) for scale in (1, 10))
    for one, other in zip(small, large, strict=True):
        assert isinstance(one.value, float)
        assert other.value == pytest.approx(10 * one.value)


def test_features_that_tell_nothing() -> None:
    model, data = simplex(4, 8.0, 1.0)
    with torch.no_grad():
        model.head.weight.neg_()
    facts = feature_facts(model, data, weights=DEFAULTS)
    assert [each.value for each in delta_proposals(facts, DEFAULTS)] == [None, None]
    assert "tell nothing" in delta_proposals(facts, DEFAULTS)[0].reason
    assert regularisation_proposal(facts, DEFAULTS).value is None


def test_regularisation_that_holds_margins_back() -> None:
    facts = measured()
    limit = facts.boundary / facts.norm
    assert not regularisation_proposal(facts, {**DEFAULTS, "gamma_reg": 0.9 * limit}).changes
    held = regularisation_proposal(facts, {**DEFAULTS, "gamma_reg": 1.1 * limit})
    assert held.changes
    assert "holds margins back" in held.reason
    assert "now it does." in held.reason


def test_momentum_makes_a_centroid_as_steady_as_is_told() -> None:
    """A running mean with γ, simulated: its error is what the proposal says."""
    generator = torch.Generator().manual_seed(0)
    for gamma in (0.9, 0.98):
        means = torch.randn(20_000, 8, generator=generator).mean(1)  # batches of 8 samples of a class, rms 1
        mean, errors = 0.0, []
        for step, value in enumerate(means.tolist()):
            mean = gamma * mean + (1 - gamma) * value
            if step > 1000:
                errors.append(mean)
        told = momentum_proposal({**DEFAULTS, "momentum": gamma}, 0.125, 64, 100, 1.0, 10.0).reason
        error = float(told.partition("off by ")[2].partition(",")[0])
        assert error == pytest.approx(float(np.std(errors)), rel=0.1)


def test_momentum_goes_up_for_many_classes_and_stays_where_it_suffices() -> None:
    enough = momentum_proposal(DEFAULTS, 0.1, 64, 100, 1.0, 0.5)
    assert not enough.changes
    many = momentum_proposal(DEFAULTS, 0.001, 64, 1000, 3.0, 0.5)
    assert many.value == 0.99
    assert "in 6 % of batches" in many.reason
    assert "larger batch" in many.reason
    assert momentum_proposal({**DEFAULTS, "centroids": "naive"}, 0.1, 64, 100, 1.0, 0.5).value is None


@pytest.mark.parametrize(
    ("sensor", "std", "value"),
    [(0.02, 0.3, "gaussian:0.3"), (0.5, 0.3, "gaussian:0.5"), (0.02, None, "gaussian:0.02"), (0.0, 0.3, None)],
)
def test_training_noise_covers_the_sensor(sensor: float, std: float | None, value: str | None) -> None:
    noise = SensorNoise("from repeats", (sensor,), (sensor,), (sensor,), 10)
    now = "poisson:5" if std is None else f"gaussian:{std:g}"
    assert noise_proposal(noise, now, std).value == value


def test_without_a_measured_sensor_there_are_values_to_try() -> None:
    found = noise_proposal(None, "gaussian:0.3", 0.3)
    assert found.value is None
    assert found.setting == ""
    assert found.varying == "--vary noise.train=gaussian:0.15,gaussian:0.3,gaussian:0.6"


@pytest.mark.parametrize(
    ("now", "proposed"),
    [
        ((), ("clean", "gaussian:0.1", "gaussian:0.2", "gaussian:0.4")),
        (("clean", "gaussian:0.3"), ("clean", "gaussian:0.1", "gaussian:0.2", "gaussian:0.4")),
        (("clean", "gaussian:0.12"), None),
        (("clean", "uniform:0.17"), None),  # whose std is a √3th
        (("gaussian-blur:0.1", "speckle:0.1"), ("clean", "gaussian:0.1", "gaussian:0.2", "gaussian:0.4")),
    ],
)
def test_it_is_measured_under_what_the_sensor_does(now: tuple[str, ...], proposed: tuple[str, ...] | None) -> None:
    found = perturbations_proposal(SensorNoise("from repeats", (0.1,), (0.1,), (0.1,), 10), now)
    assert found.value == (proposed or now)
    assert found.changes == (proposed is not None)
    assert not proposed or "=[clean,gaussian:0.1,gaussian:0.2,gaussian:0.4]" in found.setting


def test_only_noise_of_one_strength_everywhere_has_a_std() -> None:
    assert std_of(perturbation("laplace:0.2")) == 0.2
    assert std_of(perturbation("uniform:0.3")) == pytest.approx(0.3 / math.sqrt(3))
    assert [std_of(perturbation(text)) for text in ("clean", "gaussian-blur:2", "speckle:0.1")] == [None] * 3


def units(path: Path, scale: float | np.ndarray, noise: float, kind: int) -> tuple[str, str]:
    """Data of twelve columns, or of as many channels of series, and repeats of four of the samples, with noise."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(90, 12) if kind == 1 else (90, 12, 16))
    factor = np.broadcast_to(scale, 12) if kind == 1 else np.broadcast_to(scale, 12)[:, None]
    repeats = inputs[:4] + noise * generator.normal(size=(9, *inputs[:4].shape))
    np.savez(path / "data.npz", x=(factor * inputs).astype(np.float32), y=np.arange(90) % 3)
    np.savez(path / "shots.npz", repeats=(factor * repeats).astype(np.float32))
    return f"npz:{path / 'data.npz'}", str(path / "shots.npz")


MANY = np.logspace(-2, 3, 12)


@pytest.mark.parametrize(("recipe", "kind", "word"), [("vectors", 1, "column"), ("series", 2, "channel")])
def test_channels_of_other_units_get_no_level_in_common(tmp_path: Path, recipe: str, kind: int, word: str) -> None:
    data, repeats = units(tmp_path, MANY, 0.1, kind)
    advice = suggest(recipe, data=data, repeats=repeats, overrides={"data.standardise": False})
    assert advice["noise.train"].value is None
    assert advice["noise.train"].sweep == ()
    assert f"one level fits no {word}" in advice["noise.train"].reason
    assert not any(each.key == "evaluate.perturbations" for each in advice.proposals)
    note = next(note for note in advice.notes if "one scale first" in note)
    assert "with data.standardise=true each is divided by the data's std there" in note
    assert 0.07 < float(note.partition("one level, ")[2].partition(",")[0]) < 0.13
    assert not any("place to place" in text for _, text in advice.facts)


def test_divided_by_their_std_they_do(tmp_path: Path) -> None:
    data, repeats = units(tmp_path, 1.0, 0.1, 1)
    advice = suggest("vectors", data=data, repeats=repeats, overrides={"noise.train": "gaussian:0.01"})
    assert str(advice["noise.train"].value) in [f"gaussian:{level}" for level in ("0.095", "0.1", "0.11")]
    assert advice["perturbations"].changes


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize(("shift", "scale"), [(0, 110), (300, 1)])
def test_repeats_of_another_scale_than_the_data_give_no_level(
    tmp_path: Path, shift: float, scale: float, kind: int
) -> None:
    data, place = units(tmp_path, 1.0, 0.5, kind)
    repeats = torch.from_numpy(np.load(place)["repeats"])
    advice = suggest(("vectors", "series")[kind - 1], data=data, repeats=shift + scale * repeats)
    assert advice["noise.train"].value is None
    assert advice["noise.train"].sweep == ()
    assert "not of the data's scale" in advice["noise.train"].reason
    assert any("Nothing is proposed for the noise" in note for note in advice.notes)
    assert not any(each.key == "evaluate.perturbations" for each in advice.proposals)


def test_pictures_in_bytes_beside_data_in_the_unit_interval_are_of_another_scale() -> None:
    advice = suggest("digits", repeats=128 + 10 * torch.randn(5, 1, 1, 8, 8))
    assert "not of the data's scale" in advice["noise.train"].reason


def test_the_noisiest_of_many_columns_are_told_by_their_share(tmp_path: Path) -> None:
    data, place = units(tmp_path, MANY, 0.1, 1)
    repeats = torch.from_numpy(np.load(place)["repeats"])
    middle = repeats.mean(0, keepdim=True)
    repeats[..., 10] = (middle + 3 * (repeats - middle))[..., 10]
    told = dict(suggest("vectors", data=data, repeats=repeats).facts)
    (value,) = (text for what, text in told.items() if what.startswith("Noise by column, counted from 0"))
    assert value.startswith("the noisiest of 12, beside what the data vary by: 10: ")
    share = float(value.partition(" = ")[2].partition(" of the data's std")[0])
    assert share == pytest.approx(0.3, rel=0.3)


def test_a_column_that_does_not_vary_hinders_nothing(tmp_path: Path) -> None:
    data, place = units(tmp_path, np.array([0.0, *[1.0] * 11]), 0.1, 1)
    advice = suggest("vectors", data=data, repeats=place)
    assert advice["noise.train"].value is not None


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_a_recipe_gets_no_scale_but_values_to_try(tiny: Path) -> None:
    advice = suggest(tiny, flat=True, overrides={"methods.discriminative.delta_v": 1.0})
    assert advice["delta_d"].value is None
    assert advice["delta_v"].now == 1.0
    assert advice["delta_d"].varying == "--vary methods.discriminative.delta_d=3.5,5,7.5"
    assert advice["noise.train"].value == "gaussian:0.3"
    assert not any(path.name == "runs" for path in tiny.parent.iterdir())


def test_a_recipe_that_breaks_the_premise_is_mended(tiny: Path) -> None:
    advice = suggest(tiny, overrides={"methods.discriminative.delta_v": 3.0})
    assert advice["delta_v"].value == 1.7


def test_a_run_is_measured_on_what_it_was_trained_on(tiny: Path) -> None:
    run = npf.train(tiny, "discriminative", out="run")
    advice = suggest("run", limit=200)
    told = dict(advice.facts)
    assert f"{len(run.data().train):,} training samples" in told["Data"]
    assert told["Looked at"] == "200 samples in 4 dimensions"
    assert {each.name for each in advice.proposals} == {"delta_d", "delta_v", "gamma_reg", "train", "momentum"}
    other = suggest("run", data="digits", limit=200)
    assert dict(other.facts)["Data"].startswith("360 samples") or "1,797 samples" in dict(other.facts)["Data"]


def test_every_setting_is_one_that_a_recipe_takes(tiny: Path) -> None:
    npf.train(tiny, "normal", out="run", overrides={"train.max_steps": 40})
    advice = suggest("run", repeats=0.5 + torch.randn(5, 3, 1, 8, 8))
    assert any("'normal'" in note for note in advice.notes)
    changed = {each.key: each.value for each in advice.proposals if each.changes}
    assert changed.keys() == {"noise.train", "evaluate.perturbations"}
    settings = [shlex.split(each.setting) for each in advice.proposals if each.setting]
    assert all(option == "--set" for option, _ in settings)
    recipe = load_recipe(tiny, dict(parse_override(change) for _, change in settings))
    assert recipe.noise.train == changed["noise.train"]
    assert recipe.evaluate.perturbations == changed["evaluate.perturbations"]


def test_a_run_of_another_method_gets_no_delta_but_what_is_measured(tmp_path: Path) -> None:
    overrides = {"data.source": "wine", "train.epochs": 8}
    advice = suggest(npf.train("vectors", "mixed", out=tmp_path / "run", overrides=overrides).folder)
    ours = [each for each in advice.proposals if each.key.startswith("methods.")]
    assert {each.name for each in ours} == {"delta_d", "delta_v", "gamma_reg", "momentum"}
    assert all((each.value, each.setting, each.varying) == (None, "", "") for each in ours)
    assert "They are " in advice["delta_d"].reason
    assert "Half of the samples are within" in advice["delta_v"].reason
    (note,) = advice.notes
    assert "'mixed'" in note
    assert "no δ is proposed" in note


def test_another_model(tiny: Path) -> None:
    run = npf.train(tiny, "normal", out="run")
    (run.folder / "recipe.yaml").unlink()
    advice = suggest(run.folder / "model.safetensors", data="digits", limit=100)
    assert isinstance(advice, Advice)
    assert {each.name for each in advice.proposals} == {"delta_d", "delta_v", "gamma_reg"}


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"repeats": "nowhere"}, DataError, "nowhere"),
        ({"repeats": "x", "flat": True}, InvalidArgumentError, "not both"),
        ({"model": "small-cnn"}, InvalidArgumentError, "is a recipe"),
        ({"data": "wine", "flat": True}, InvalidArgumentError, "repeated"),
        ({"data": "npz:none.npz"}, DataError, "none.npz"),
    ],
)
def test_mistakes(tiny: Path, arguments: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        suggest(tiny, **arguments)


def test_changes_are_for_recipes(tiny: Path) -> None:
    npf.train(tiny, "normal", out="run")
    with pytest.raises(InvalidArgumentError, match="no recipe"):
        suggest("run", overrides={"train.epochs": 2})


def test_the_advice_serves_at_small_size(tiny: Path) -> None:
    """Blobs whose classes are wide: advised values let more samples and centroids meet what the loss asks for."""
    generator = np.random.default_rng(0)
    means, labels = 0.9 * generator.normal(size=(6, 20)), np.arange(300) % 6
    np.savez("blobs.npz", x=(means[labels] + generator.normal(size=(300, 20))).astype(np.float32), y=labels)
    overrides = {"data.source": "npz:blobs.npz", "train.epochs": 12, "method": "discriminative"}
    first = npf.train("vectors", overrides=overrides, out="first")
    advice = suggest("first")
    changed = {each.key: each.value for each in advice.proposals if each.name.startswith("delta")}
    second = npf.train("vectors", overrides={**overrides, **changed}, out="second")
    met = []
    for run in (first, second):
        options = run.recipe.options("discriminative").model_dump()
        found = separation(run.model(), run.data().train, delta_v=options["delta_v"], delta_d=options["delta_d"])
        met.append((float(found.compact.mean()), float(np.mean(found.boundary / options["delta_d"]))))
    assert met[1][0] > met[0][0]
    assert met[1][1] > met[0][1]
