"""Random recipes, texts, features and reports: the right result or one of noiseproof's own errors, never another.

A few examples each; 50 times as many where NOISEPROOF_TORTURE is set. They are the same every time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.data.augmentations import augmentation
from noiseproof.errors import NoiseproofError, RecipeError
from noiseproof.evaluation import PerturbationResult, RobustnessReport
from noiseproof.training import Recipe, load_recipe
from noiseproof.training.recipes import dump_recipe, parse_override
from tests.losses.problems import TERMS, linear

MORE = 50 if os.environ.get("NOISEPROOF_TORTURE") else 1


def some(examples: int) -> settings:
    return settings(
        max_examples=examples * MORE, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


# Recipes ------------------------------------------------------------------------------------------------------------

VALID: dict[str, Any] = Recipe.model_validate(
    {"name": "x", "data": {"source": "digits"}, "model": {"name": "small-cnn"}, "noise": {"train": "gaussian:0.1"}}
).model_dump(mode="json")
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.binary(max_size=4),
    st.sampled_from(["clean", "digits", "gaussian:0.1", "1e3", "nan", "paper", "last", "normal", "none", "-1"]),
)  # fmt: skip
anything = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths(mapping: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of nested mappings, those in between too."""
    found = []
    for key, value in mapping.items():
        found.append((*prefix, key))
        found += paths(value, (*prefix, key)) if isinstance(value, dict) else []
    return found


def changed(changes: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    raw = yaml.safe_load(yaml.safe_dump(VALID))
    for path, value in changes.items():
        place = raw
        for key in path[:-1]:
            place = place[key] if isinstance(place.get(key), dict) else place.setdefault(f"{key}?", {})
        place[path[-1]] = value
    return dict(raw)


def sorted_keys(value: Any) -> str:
    """Nested values as text, for which the order of keys does not matter and NaN is like NaN."""
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{key!r}: {sorted_keys(inner)}' for key, inner in value.items()))}}}"
    return f"[{', '.join(map(sorted_keys, value))}]" if isinstance(value, list) else repr(value)


def check_recipe(make: Callable[[], Recipe], again: Path) -> None:
    """A recipe is refused, or can be written and read again as it was."""
    try:
        recipe = make().with_all_options()
    except NoiseproofError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
        return
    again.write_text(dump_recipe(recipe), encoding="utf-8")
    read = load_recipe(again)
    assert sorted_keys(read.model_dump(mode="json")) == sorted_keys(recipe.model_dump(mode="json"))


@some(120)
@given(changes=st.dictionaries(st.sampled_from(paths(VALID)), anything, min_size=1, max_size=3))
def test_any_value_anywhere_in_a_recipe_is_refused_or_comes_back(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[tuple[str, ...], Any]
) -> None:
    check_recipe(lambda: Recipe.from_mapping(changed(changes)), tmp_path_factory.getbasetemp() / "again.yaml")


method_options = st.sampled_from(
    [("stability", "weight"), ("mixed", "passes"), *(("discriminative", key) for key in ("delta_v", "delta_d", "alpha",
     "beta", "gamma_reg", "lambda_noisy", "momentum", "centroids", "passes"))]
)  # fmt: skip


@some(60)
@given(option=method_options, value=plain)
def test_any_option_of_a_method_is_refused_or_is_finite(option: tuple[str, str], value: Any) -> None:
    method, key = option
    try:
        recipe = Recipe.from_mapping({**VALID, "method": method, "methods": {method: {key: value}}})
    except NoiseproofError:
        return
    kept = getattr(recipe.options(method), key)
    assert not isinstance(kept, float) or math.isfinite(kept)


@some(120)
@given(text=st.text(st.sampled_from("ab:{}[]!&*-\n 0.e'\"#|>%@?,\t~"), max_size=40) | st.text(max_size=40))
def test_any_text_as_a_recipe_is_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(NoiseproofError):
        load_recipe(path)


@some(120)
@given(text=st.text(st.sampled_from("ab=:{}[]!&*-\n 0.e'\"#12"), max_size=25))
def test_any_override_is_read_or_refused(text: str) -> None:
    try:
        path, _ = parse_override(f"train.epochs={text}")
    except RecipeError:
        return
    assert path == "train.epochs"


# Perturbations and augmentations ------------------------------------------------------------------------------------

KEYS = {
    "brightness": ["shift"], "clean": [], "contrast": ["factor"], "corruption": ["kind", "severity", "table"],
    "downup": ["factor"], "fog": ["thickness", "decay"], "gaussian": ["std"], "gaussian-blur": ["std"],
    "gaussian-varying": ["highest", "levels"],
    "impulse": ["amount"], "jpeg": ["quality"], "laplace": ["std"], "motion-blur": ["radius", "std", "max_angle"],
    "occlusion": ["n", "size", "fill"], "pixelate": ["factor"], "salt-and-pepper": ["amount"], "shot": ["photons"],
    "missing": ["amount", "fill"], "dead-channels": ["n", "fill"], "spikes": ["amount", "size"], "offset": ["std"],
    "gain": ["std"], "clipping": ["limit"], "quantization": ["step"], "gap": ["length", "n", "fill"], "stuck": ["n"],
    "drift": ["std"], "hum": ["amplitude", "period"], "time-shift": ["steps"],
    "speckle": ["std"], "stripes": ["n", "width", "fill"], "uniform": ["amplitude"], "gausian": ["std"],
}  # fmt: skip
numbers = st.one_of(
    st.sampled_from(["0", "1", "2", "0.5", "8/255", "-1", "1e-9", "1e-40", "5e-324", "nan", "inf", "1/0", "1e400", "",
                     "x", "yes", "no", "0x10", "1_0", "٣", " 1 ", "1e+1", "--1"]),
    st.floats(-2, 40).map(repr),
    st.integers(-3, 100).map(str),
)  # fmt: skip
words = st.sampled_from(
    ["fog", "gaussian-noise", "jpeg", "contrast", "cifar", "imagenet", "none", "uniform", "half-normal"]
)


@st.composite
def specs(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(KEYS)))
        keys = [key for key in KEYS[name] if draw(st.integers(0, 5)) > 0]
        values = [f"{key}={draw(words if key in ('kind', 'table', 'levels') else numbers)}" for key in keys]
        values += [f"clamp={draw(st.sampled_from(['yes', 'no', '1']))}"] if draw(st.integers(0, 4)) == 0 else []
        parts.append(f"{name}:{','.join(values)}" if values else name)
    return "+".join(parts)


@some(250)
@given(spec=specs(), shape=st.sampled_from([(1, 9, 7), (3, 9, 7), (2, 9), (5,)]), seed=st.integers(0, 9))
def test_any_perturbation_is_refused_or_gives_finite_inputs_and_its_own_text_again(
    spec: str, shape: tuple[int, ...], seed: int
) -> None:
    inputs = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed))
    try:
        perturbation = npf.perturbation(spec)
    except NoiseproofError:
        return
    assert npf.perturbation(perturbation.spec) == perturbation
    before = inputs.clone()
    try:
        changed = perturbation(inputs, seed)
    except NoiseproofError:
        return
    assert torch.equal(inputs, before)
    assert (changed.shape, changed.dtype) == (inputs.shape, inputs.dtype)
    assert bool(changed.isfinite().all())
    if len(shape) == 3 and "clamp=no" not in spec:
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 1
    assert torch.equal(perturbation(inputs, seed), changed)


@some(150)
@given(text=st.text(st.sampled_from("gausinf:=,+/.-0123456789e \n\0é"), max_size=25) | st.text(max_size=25))
@pytest.mark.parametrize("make", [npf.perturbation, augmentation])
def test_any_text_as_a_perturbation_or_augmentation_is_read_or_refused(
    make: Callable[[str], object], text: str
) -> None:
    try:
        make(text)
    except NoiseproofError as error:
        assert str(error)  # noqa: PT017 - either outcome is right


# The loss -----------------------------------------------------------------------------------------------------------

few_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-20, 1e-6, 0.5, 3.0, -7.25, 1e4, -1e8, 1e12])


class Batch:
    """A random batch with its head and loss; ties, zeros and coinciding rows are frequent."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.classes, self.dim = draw(st.integers(2, 5)), draw(st.integers(1, 4))
        size = draw(st.integers(1, 8))
        elements = draw(st.sampled_from([few_values, st.floats(-10, 10, width=32)]))

        def matrix(rows: int) -> Tensor:
            flat = draw(st.lists(elements, min_size=rows * self.dim, max_size=rows * self.dim))
            return torch.tensor(flat, dtype=torch.float64).reshape(rows, self.dim)

        self.embeddings, self.noisy = matrix(size), matrix(size)
        self.weight, self.bias = matrix(self.classes), matrix(self.classes)[:, 0].clone()
        self.labels = torch.tensor(draw(st.lists(st.integers(0, self.classes - 1), min_size=size, max_size=size)))
        self.strategy = draw(st.sampled_from(["naive", "momentum", "partial"]))
        self.deltas = draw(st.sampled_from([(0.5, 5.0), (0.0, 0.5), (1.0, 3.0), (0.0, 1e3)]))
        self.order = torch.tensor(draw(st.permutations(range(size))))
        self.names = torch.tensor(draw(st.permutations(range(self.classes))))

    def loss(self) -> npf.DiscriminativeLoss:
        delta_v, delta_d = self.deltas
        strategy: Any = self.strategy
        return npf.DiscriminativeLoss(self.classes, self.dim, delta_v, delta_d, centroids=strategy).double()

    def terms(
        self, loss_fn: npf.DiscriminativeLoss, rows: Tensor | None = None, names: Tensor | None = None
    ) -> dict[str, float]:
        """The terms, with the samples in another order, or with other names for the classes."""
        rows = torch.arange(len(self.labels)) if rows is None else rows
        names = torch.arange(self.classes) if names is None else names
        back = names.argsort()
        head = linear(nn.Parameter(self.weight[back]), nn.Parameter(self.bias[back]))
        found = loss_fn(self.embeddings[rows], names[self.labels[rows]], head, self.noisy[rows])
        return {name: getattr(found, name).item() for name in TERMS}


batches = st.composite(lambda draw: Batch(draw))()


def assert_same(one: dict[str, float], other: dict[str, float], what: Batch) -> None:
    size = max(1.0, *(part.abs().max().item() for part in (what.embeddings, what.noisy, what.bias)))
    for name in TERMS:
        assert other[name] == pytest.approx(one[name], rel=1e-6, abs=1e-9 * size), name


@some(80)
@given(batch=batches, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_finite_features_give_a_finite_loss_and_finite_gradients(batch: Batch, dtype: torch.dtype) -> None:
    loss_fn = batch.loss().to(dtype)
    leaves = [part.to(dtype).requires_grad_() for part in (batch.embeddings, batch.noisy, batch.weight, batch.bias)]
    for _ in range(2):
        terms = loss_fn(leaves[0], batch.labels, linear(leaves[2], leaves[3]), leaves[1])
        for name in TERMS:
            value = getattr(terms, name)
            assert math.isfinite(value.item()), name
            assert value.item() >= 0, name
        for gradient in torch.autograd.grad(terms.total, leaves, allow_unused=True):
            assert gradient is None or bool(gradient.isfinite().all())
        assert bool(loss_fn.centroids.isfinite().all())


@some(60)
@given(batch=batches)
def test_the_order_of_a_batch_does_not_matter(batch: Batch) -> None:
    straight, shuffled = batch.loss(), batch.loss()
    for _ in range(2):
        assert_same(batch.terms(straight), batch.terms(shuffled, rows=batch.order), batch)
    torch.testing.assert_close(shuffled.centroids, straight.centroids)


@some(60)
@given(batch=batches)
def test_new_names_for_the_classes_do_not_matter(batch: Batch) -> None:
    straight, renamed = batch.loss(), batch.loss()
    for _ in range(2):
        assert_same(batch.terms(straight), batch.terms(renamed, names=batch.names), batch)
    torch.testing.assert_close(renamed.centroids[batch.names], straight.centroids)
    assert torch.equal(renamed.initialised[batch.names], straight.initialised)


@some(40)
@given(
    classes=st.integers(2, 6), more_dims=st.integers(0, 3), per_class=st.integers(1, 4),
    delta_v=st.floats(0.05, 2.0), ratio=st.floats(2.01, 8.0), seed=st.integers(0, 2**31),
    strategy=st.sampled_from(["naive", "momentum", "partial"]),
)  # fmt: skip
def test_where_proposition_5_2_holds_nothing_is_left_but_the_regularisation(
    classes: int, more_dims: int, per_class: int, delta_v: float, ratio: float, seed: int, strategy: Any
) -> None:
    """Classes of radius δ_v around orthogonal centroids, clean and noisy, δ_d > 2 δ_v away from every boundary."""
    dim, delta_d = classes + more_dims, ratio * delta_v
    generator = torch.Generator().manual_seed(seed)
    frame = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q
    centres = 2**0.5 * delta_d * (1 + 1e-6) * frame[:classes]  # its boundary to another lies half their distance away
    labels = torch.arange(classes).repeat(2 * per_class)

    def around(radius: float) -> Tensor:
        steps = torch.randn(classes * per_class, dim, generator=generator, dtype=torch.float64)
        steps = radius * steps / steps.norm(dim=1, keepdim=True)
        return torch.cat([steps, -steps]) + centres[labels]  # antipodal, so that the mean is the centre

    head = linear(nn.Parameter(centres), nn.Parameter(torch.zeros(classes, dtype=torch.float64)))
    loss_fn = npf.DiscriminativeLoss(classes, dim, delta_v, delta_d, centroids=strategy).double()
    for radius in (0.999 * delta_v, 0.3 * delta_v):
        terms = loss_fn(around(radius), labels, head, around(0.999 * delta_v))
        assert [terms.compactness.item(), terms.margin.item(), terms.alignment.item()] == [0, 0, 0]
        assert terms.total.item() == pytest.approx(loss_fn.gamma_reg * terms.regularisation.item())
    outside = loss_fn(around(1.01 * delta_v), labels, head, around(1.01 * delta_v))
    assert outside.compactness.item() > 0
    assert outside.alignment.item() > 0


# Reports ------------------------------------------------------------------------------------------------------------

KNOWN = {"clean": ("clean", False), "gaussian:8/255": ("gaussian:std=0.03137254901960784", True)}


@some(25)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9)), seed=st.integers(-(2**70), 2**70),
    confidence=st.sampled_from([0.0, 5e-324, 0.5, 1.0]), caveat=st.text(max_size=9),
    names=st.lists(st.text(max_size=5), min_size=1, max_size=4),
)  # fmt: skip
def test_a_report_of_any_size_seed_and_names_comes_back(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], seed: int, confidence: float, caveat: str,
    names: list[str],
) -> None:  # fmt: skip
    random = np.random.default_rng(0)
    results = {}
    for key, (spec, is_random) in KNOWN.items():
        draws = (shape[0] if is_random else 1, shape[1])
        sure = np.full(draws, confidence, np.float32)
        results[key] = PerturbationResult(key, spec, random.random(draws) < confidence, sure, is_random)
    labels = random.integers(0, len(names), shape[1])
    saved = RobustnessReport(results, labels, tuple(names), seed, caveat)
    folder = tmp_path_factory.getbasetemp() / "fuzzed-report"
    saved.save(folder)
    loaded = RobustnessReport.load(folder)
    assert loaded == saved
    assert (loaded.seed, loaded.caveat, loaded.class_names) == (seed, caveat, tuple(names))
    for key in KNOWN:
        assert np.array_equal(loaded[key].correct, saved[key].correct)
        assert loaded[key].interval == saved[key].interval
        assert np.array_equal(loaded.per_class(key), saved.per_class(key), equal_nan=True)
