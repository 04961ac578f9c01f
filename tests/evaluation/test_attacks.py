"""Attacks against closed forms on linear models, and that nothing is left behind or changed on the way."""

from __future__ import annotations

import gc
import importlib.util
import random
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.evaluation.attacks import ATTACKS, FGSM, PGD, AutoAttack, attack, is_attack
from noiseproof.models import FeatureClassifier
from tests.evaluation.problems import CLASSES, Linear

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("torchattacks") is None, reason="torchattacks is an optional dependency"
)
TEXTS = ("fgsm:8/255", "pgd:8/255", "autoattack:8/255")
every_attack = pytest.mark.parametrize("text", TEXTS)


def images(n: int, *shape: int, low: float = 0, high: float = 1) -> Tensor:
    return low + (high - low) * torch.rand(n, *shape, generator=torch.Generator().manual_seed(3))


def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(inputs), labels))


def right(model: nn.Module, inputs: Tensor, labels: Tensor) -> list[bool]:
    with torch.no_grad():
        return model.eval()(inputs).argmax(1).eq(labels).tolist()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Cut the parts of AutoAttack short; return what they were asked to be."""
    torchattacks = pytest.importorskip("torchattacks")
    seen: list[tuple[str, dict[str, Any]]] = []

    def shortened(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def make(model: nn.Module, **options: Any) -> Any:
            seen.append((name, options))
            shorter = {key: {"steps": 5, "n_queries": 40}.get(key, value) for key, value in options.items()}
            return real(model, **shorter)

        return make

    for name in ("APGD", "APGDT", "FAB", "Square"):
        monkeypatch.setattr(torchattacks, name, shortened(name, getattr(torchattacks, name)))
    return seen


# Texts.


@pytest.mark.parametrize(
    ("text", "expected", "spec"),
    [
        ("fgsm:8/255", FGSM(8 / 255), f"fgsm:eps={8 / 255!r}"),
        ("fgsm:eps=0.5", FGSM(0.5), "fgsm:eps=0.5"),
        ("fgsm:1", FGSM(1), "fgsm:eps=1.0"),
        ("pgd:0.5", PGD(0.5, 10, 0.125), "pgd:eps=0.5"),
        ("pgd:eps=0.5,steps=10,step=0.125", PGD(0.5), "pgd:eps=0.5"),
        ("pgd:eps=8/255,steps=10,step=2/255", PGD(8 / 255), f"pgd:eps={8 / 255!r}"),
        ("pgd:0.5,steps=40,step=0.1", PGD(0.5, 40, 0.1), "pgd:eps=0.5,steps=40,step=0.1"),
        (" autoattack:8/255 ", AutoAttack(8 / 255), f"autoattack:eps={8 / 255!r}"),
    ],
)
def test_texts(text: str, expected: object, spec: str) -> None:
    made = attack(text)
    assert made == expected
    assert made.spec == str(made) == spec
    assert attack(made.spec) == made
    assert attack(made) is made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fgsm", "needs eps"),
        ("fgsm:0", "eps of the attack 'fgsm' must be > 0 and <= 1, got 0"),
        ("pgd:-1/255", "eps of the attack 'pgd'"),
        ("autoattack:8", "eps of the attack 'autoattack' must be > 0 and <= 1, got 8"),
        ("fgsm:much", "'much'"),
        ("pgd:0.1,steps=0", "steps of the attack 'pgd' must be >= 1, got 0"),
        ("pgd:0.1,steps=2.5", "whole number"),
        ("pgd:0.1,step=0", "step of the attack 'pgd' must be > 0, got 0"),
        ("fgsm:0.1+pgd:0.1", "cannot be joined"),
        ("", "must not be empty"),
    ],
)
def test_wrong_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        attack(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fgms:0.1", "unknown attack 'fgms'; did you mean 'fgsm'"),
        ("pgd:0.1,stepz=3", "did you mean 'step"),
        ("fgsm:0.1,steps=3", "unknown key of the attack 'fgsm': 'steps'"),
    ],
)
def test_unknown_names_get_a_suggestion(text: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        attack(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fgsm:8/255", True), ("pgd", True), (" autoattack : 1", True), ("pgd:0.1+gaussian:0.1", True),
        ("gaussian:0.1", False), ("gaussian:0.1+pgd:0.1", False), ("", False), ("clean", False), (None, False),
        (5, False), (FGSM(0.1), True), (FGSM, False),
    ],
)  # fmt: skip
def test_the_first_name_tells_an_attack(text: object, expected: bool) -> None:
    assert is_attack(text) is expected


def test_the_known_attacks() -> None:
    assert list(ATTACKS) == ["autoattack", "fgsm", "pgd"]


# Closed forms.


@needs_library
def test_fgsm_is_one_step_along_the_sign_of_the_gradient() -> None:
    model, inputs, eps = Linear(48), images(40, 3, 4, 4), 0.2
    labels = torch.arange(40) % CLASSES
    weight = model.weight.detach().numpy().astype(np.float64)
    expected = []
    for x, y in zip(inputs.flatten(1).numpy().astype(np.float64), labels.tolist(), strict=True):
        logits = weight @ x
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        gradient = weight.T @ (probabilities - np.eye(CLASSES)[y])  # ∇_x of −log p_y
        expected.append(np.clip(x + eps * np.sign(gradient), 0, 1))
    found = attack(f"fgsm:{eps}")(model, inputs, labels, 0)
    np.testing.assert_allclose(found.flatten(1).numpy(), np.stack(expected), atol=1e-6)
    assert ((found == 0) | (found == 1)).any()  # some were clamped


@needs_library
def test_fgsm_does_not_depend_on_the_rest_of_the_batch(tiny_model: FeatureClassifier) -> None:
    inputs, labels = images(9, 1, 8, 8), torch.arange(9) % 3
    together = attack("fgsm:0.1")(tiny_model, inputs, labels, 0)
    for index in range(9):
        alone = attack("fgsm:0.1")(tiny_model, inputs[index : index + 1], labels[index : index + 1], 5)
        assert torch.equal(alone[0], together[index])


def exactly_robust(model: Linear, inputs: Tensor, labels: Tensor, eps: float) -> list[bool]:
    """A linear two-class model keeps its answer in the whole box where its margin exceeds eps·‖w_y − w_other‖_1."""
    robust = []
    for x, y in zip(inputs.flatten(1).double(), labels.tolist(), strict=True):
        difference = (model.weight[y] - model.weight[1 - y]).detach().double()
        robust.append(float(difference @ x) > eps * float(difference.abs().sum()))
    return robust


@needs_library
@pytest.mark.parametrize("text", ["fgsm:{}", "pgd:{}", "pgd:{},steps=3,step=1", "autoattack:{}"])
def test_robust_accuracy_of_a_linear_model_is_exact(text: str) -> None:
    model, eps = Linear(16, classes=2), 0.02
    inputs = images(60, 1, 4, 4, low=0.3, high=0.7)  # the box lies within [0, 1]
    labels = model(inputs).argmax(1)
    expected = exactly_robust(model, inputs, labels, eps)
    assert 15 < sum(expected) < 45
    found = attack(text.format(eps))(model, inputs, labels, 0)
    assert right(model, found, labels) == expected


@needs_library
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_the_loss_grows_with_eps(kind: str) -> None:
    model, inputs = Linear(16), images(60, 1, 4, 4)
    labels = model(inputs).argmax(1)
    losses = [loss(model, attack(f"{kind}:{eps}")(model, inputs, labels, 0), labels) for eps in (0.01, 0.03, 0.1, 0.3)]
    assert losses == sorted(losses)
    assert losses[0] > loss(model, inputs, labels)


@needs_library
def test_pgd_begins_at_a_random_point_of_the_box_and_takes_its_steps() -> None:
    model, inputs = Linear(16), images(60, 1, 4, 4, low=0.4, high=0.6)
    labels = torch.zeros(60, dtype=torch.long)
    start = attack("pgd:0.3,steps=1,step=1e-9")(model, inputs, labels, 0) - inputs
    assert start.abs().max() == pytest.approx(0.3, rel=0.02)
    assert float(start.mean()) == pytest.approx(0, abs=0.03)
    assert float(start.std()) == pytest.approx(0.3 / 3**0.5, rel=0.05)
    moved = attack("pgd:0.3,steps=3,step=0.01")(model, inputs, labels, 0)
    assert float((moved - inputs).abs().max()) <= 0.3 + 1e-6
    assert not torch.equal(moved - inputs, start)


# AutoAttack.


@needs_library
@pytest.mark.parametrize("classes", [2, 3, 4, 7, 12])
def test_autoattack_is_the_published_ensemble(classes: int, made: list[tuple[str, dict[str, Any]]]) -> None:
    model, inputs = Linear(16, classes), images(20, 1, 4, 4)
    attack("autoattack:0.001")(model, inputs, model(inputs).argmax(1), 0)
    targeted = {2: [], 3: ["APGD"]}.get(classes, ["APGDT"])
    assert [name for name, _ in made] == ["APGD", *targeted, "FAB", "Square"]
    for name, options in made:
        assert options["eps"] == 0.001
        assert options["norm"] == "Linf"
        assert options.get("steps", 100) == 100
        if name in ("APGDT", "FAB"):
            assert options["n_classes"] == min(classes, 10)  # 9 targets at most
    assert made[0][1]["loss"] == "ce"
    assert made[-1][1]["n_queries"] == 5000
    assert made[-2][1]["multi_targeted"]


@needs_library
def test_autoattack_finds_at_least_what_pgd_finds() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(1, 16, 6), nn.Tanh(), nn.Flatten(), Linear(16, classes=5))
    network[0].weight.data.mul_(3)
    inputs = images(24, 1, 6, 6)
    labels = network(inputs).argmax(1)
    by_pgd = right(network, attack("pgd:0.08,steps=20")(network, inputs, labels, 0), labels)
    found = attack("autoattack:0.08")(network, inputs, labels, 0)
    by_autoattack = right(network, found, labels)
    assert 0 < sum(by_autoattack) <= sum(by_pgd) < len(labels)
    assert not any(survives and not pgd for survives, pgd in zip(by_autoattack, by_pgd, strict=True))
    assert float((found - inputs).abs().max()) <= 0.08 + 1e-6
    for survives, x, before in zip(by_autoattack, found, inputs, strict=True):
        assert torch.equal(x, before) == survives


@needs_library
@pytest.mark.parametrize("n", [1, 2, 5])
def test_what_is_wrong_already_comes_back_as_it_was(n: int, made: list[tuple[str, dict[str, Any]]]) -> None:
    model, inputs = Linear(16, 5), images(n, 1, 4, 4)
    wrong = (model(inputs).argmax(1) + 1) % 5
    assert torch.equal(attack("autoattack:0.1")(model, inputs, wrong, 0), inputs)


@needs_library
def test_what_a_part_finds_outside_the_box_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, inputs = Linear(16, 2), images(20, 1, 4, 4, low=0.4, high=0.6)
    labels = model(inputs).argmax(1)
    farther = attack("fgsm:0.4")(model, inputs, labels, 0)
    assert not any(right(model, farther, labels))

    def leap(x: Tensor, _: Tensor) -> Tensor:
        known = (x.unsqueeze(1) == inputs).flatten(2).all(2)
        return farther[known.int().argmax(1)]

    for name in ("APGD", "APGDT", "FAB", "Square"):
        monkeypatch.setattr(torchattacks, name, lambda *_, **__: leap)
    found = attack("autoattack:0.02")(model, inputs, labels, 0)
    assert float((found - inputs).abs().max()) <= 0.02 + 1e-6
    robust = exactly_robust(model, inputs, labels, 0.02)
    assert right(model, found, labels) == robust  # the way led to the corner of the box
    assert 0 < sum(robust) < 20


# What every attack keeps to.


@needs_library
@every_attack
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_shape_type_and_box(text: str, dtype: torch.dtype, tiny_model: FeatureClassifier, made: object) -> None:
    inputs = images(10, 1, 8, 8).to(dtype)
    inputs[0], inputs[1] = 0, 1
    kept, labels = inputs.clone(), torch.arange(10) % 3
    found = attack(text)(tiny_model, inputs.requires_grad_(), labels, 0)
    assert inputs.grad is None
    inputs, rounding = inputs.detach(), 2 * torch.finfo(dtype).eps
    assert (found.shape, found.dtype, found.device) == (inputs.shape, inputs.dtype, inputs.device)
    assert not found.requires_grad
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float((found - inputs).abs().max()) <= 8 / 255 + rounding
    assert torch.equal(inputs, kept)


@needs_library
@every_attack
def test_repeats_with_its_seed_whatever_ran_before(text: str, tiny_model: FeatureClassifier, made: object) -> None:
    inputs, labels = images(10, 1, 8, 8), torch.arange(10) % 3
    first = attack(text)(tiny_model, inputs, labels, 7)
    torch.manual_seed(99)
    torch.rand(5)
    assert torch.equal(attack(text)(tiny_model, inputs, labels, 7), first)


@needs_library
def test_another_seed_is_another_start() -> None:
    inputs, labels = images(10, 1, 4, 4), torch.arange(10) % 3
    one, other = (attack("pgd:0.1,steps=1,step=0.001")(Linear(16), inputs, labels, seed) for seed in (0, 1))
    assert not torch.equal(one, other)


@needs_library
@every_attack
def test_random_generators_are_untouched(text: str, tiny_model: FeatureClassifier, made: object) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    attack(text)(tiny_model, images(10, 1, 8, 8), torch.arange(10) % 3, 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def prepared(model: FeatureClassifier) -> Callable[[], object]:
    """Give a model an unusual state; return a function that reads it."""
    parts, parameters = list(model.modules()), list(model.parameters())
    model.train()
    parts[-1].eval()
    parameters[0].requires_grad_(False)
    for parameter in parameters[1:3]:
        parameter.grad = torch.ones_like(parameter)
    return lambda: (
        [part.training for part in parts],
        [parameter.requires_grad for parameter in parameters],
        [None if parameter.grad is None else parameter.grad.tolist() for parameter in parameters],
        {name: tensor.tolist() for name, tensor in model.state_dict().items()},
    )


@needs_library
@every_attack
def test_the_model_is_left_as_it_was(text: str, tiny_model: FeatureClassifier, made: object) -> None:
    state = prepared(tiny_model)
    before = state()
    attack(text)(tiny_model, images(10, 1, 8, 8), torch.arange(10) % 3, 0)
    assert state() == before


@needs_library
@every_attack
def test_the_model_is_left_as_it_was_after_an_error(text: str, tiny_model: FeatureClassifier) -> None:
    state = prepared(tiny_model)
    before, generators = state(), torch.get_rng_state()
    with pytest.raises(InvalidArgumentError, match="cannot run on this model"):
        attack(text)(tiny_model, images(10, 3, 8, 8), torch.arange(10) % 3, 0)
    assert state() == before
    assert torch.equal(torch.get_rng_state(), generators)


@needs_library
@every_attack
def test_the_model_is_attacked_in_evaluation_mode(text: str, tiny_model: FeatureClassifier, made: object) -> None:
    inputs, labels = images(10, 1, 8, 8), torch.arange(10) % 3
    while_training = attack(text)(tiny_model.train(), inputs, labels, 0)
    assert torch.equal(attack(text)(tiny_model.eval(), inputs, labels, 0), while_training)


@needs_library
@every_attack
def test_gradients_may_be_disabled_outside(text: str, tiny_model: FeatureClassifier, made: object) -> None:
    inputs, labels = images(10, 1, 8, 8), torch.arange(10) % 3
    expected = attack(text)(tiny_model, inputs, labels, 0)
    with torch.no_grad():
        assert torch.equal(attack(text)(tiny_model, inputs, labels, 0), expected)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


class RobModel(Linear):
    """By its class's name torchattacks takes a model for one of another library, and normalises for it."""

    mean = torch.tensor([0.5])
    std = torch.tensor([0.1])


@needs_library
@every_attack
def test_nothing_is_normalised(text: str, made: object) -> None:
    inputs, labels = images(10, 1, 4, 4), torch.arange(10) % 3
    expected = attack(text)(Linear(16), inputs, labels, 0)
    assert torch.equal(attack(text)(RobModel(16), inputs, labels, 0), expected)


@needs_library
@every_attack
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_other_types(text: str, dtype: torch.dtype, made: object) -> None:
    model, inputs = Linear(16).to(dtype), images(10, 1, 4, 4)
    labels = model(inputs.to(dtype)).argmax(1)
    found = attack(text)(model, inputs, labels, 0)
    assert found.dtype == torch.float32
    assert loss(model, found.to(dtype), labels) > loss(model, inputs.to(dtype), labels)


@needs_library
@every_attack
def test_models_without_parameters(text: str, made: object) -> None:
    inputs = images(6, 1, 2, 2)
    kept, labels = inputs.clone(), inputs.flatten(1).argmax(1)
    found = attack(text)(nn.Flatten(), inputs, labels, 0)
    assert torch.equal(inputs, kept)
    assert float((found - inputs).abs().max()) <= 8 / 255 + 1e-6


@needs_library
@every_attack
def test_nothing_is_printed(
    text: str, tiny_model: FeatureClassifier, made: object, capfd: pytest.CaptureFixture[str]
) -> None:
    attack(text)(tiny_model, images(4, 1, 8, 8), torch.arange(4) % 3, 0)
    assert capfd.readouterr() == ("", "")


@needs_library
@every_attack
def test_a_model_is_let_go_of(text: str, made: object) -> None:
    model = Linear(16)
    attack(text)(model, images(4, 1, 4, 4), torch.arange(4) % 3, 0)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


# Mistakes.

X, Y = images(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])


@every_attack
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (X.flatten(1), r"floating images \(N, C, H, W\), got torch.float32 \(4, 16\)"),
        (X[0], r"got torch.float32 \(1, 4, 4\)"),
        ((X * 255).byte(), "divide by 255"),
        (X * 255, "divide by 255"),
        (X - 0.5, r"values in \[0, 1\]"),
        (X * float("nan"), r"values in \[0, 1\]"),
    ],
)
def test_inputs_that_are_no_images_are_refused(text: str, inputs: Tensor, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        attack(text)(Linear(16), inputs, Y, 0)
    assert "\n" not in str(caught.value)


@every_attack
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 3, 2]), r"\[0, 3\), got 3"),
        (torch.tensor([0, 1, -1, 2]), "got -1"),
        (Y[:2], "2 entries for 4 samples"),
        (nn.functional.one_hot(Y, 3), "one-hot"),
        (Y.float(), "integers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(text: str, labels: Tensor, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        attack(text)(Linear(16), X, labels, 0)


class Bad(nn.Module):
    def __init__(self, output: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> object:
        return self.output(x.flatten(1))


@needs_library
@every_attack
@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: x.sum(1), r"\(N, C\) logits, got \(1,\)"),
        (lambda x: {"logits": x}, "got dict"),
        (lambda x: x[:, :3].detach(), "cannot run on this model"),
        (lambda x: x[:, :3] + (x[:, :1] * 0).sqrt(), "gradient with respect to its input is NaN or infinite"),
        (lambda x: x[:, :3] @ torch.ones(2, 2), "cannot run on this model"),
    ],
)
def test_models_that_cannot_be_attacked_are_refused(
    text: str, output: Callable[[Tensor], object], message: str, made: object
) -> None:
    model = Bad(output)
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        attack(text)(model, X, X.flatten(1)[:, :3].argmax(1), 0)
    assert "\n" not in str(caught.value)


@every_attack
def test_a_function_is_no_model(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"must be an nn\.Module, got function"):
        attack(text)(lambda x: x, X, Y, 0)


@every_attack
def test_without_torchattacks_the_error_says_what_to_install(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(InvalidArgumentError, match=r"pip install 'noiseproof\[attacks\]'"):
        attack(text)(Linear(16), X, Y, 0)
