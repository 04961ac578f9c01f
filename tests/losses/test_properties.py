"""What the paper proves about the loss, its symmetries, its state and its number formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import noiseproof as npf
from tests.losses.problems import (
    SETTINGS,
    TERMS,
    Problem,
    assert_near,
    build_pair,
    forward,
    gradients,
    random_problem,
)
from tests.oracles import loss_loops as oracle

each_strategy = pytest.mark.parametrize("strategy", oracle.STRATEGIES)
each_low_precision = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
any_deltas = pytest.mark.filterwarnings("ignore:delta_d .* is not above:UserWarning")
many = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def build(strategy: str, num_classes: int = 4, dim: int = 3, **changes: float) -> npf.DiscriminativeLoss:
    return build_pair(num_classes, dim, strategy, **changes)[0]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def set_state(loss_fn: npf.DiscriminativeLoss, centroids: Tensor) -> None:
    with torch.no_grad():
        loss_fn.centroids.copy_(centroids)
        loss_fn.initialised.fill_(True)


def means(problem: Problem) -> Tensor:
    """The class means, for a problem in which every class is present."""
    return torch.stack(list(oracle.class_means(problem.embeddings, problem.labels).values())).detach()


def values(terms: Any) -> dict[str, Tensor]:
    return {name: getattr(terms, name).detach().clone() for name in TERMS}


def assert_same_values(actual: Any, expected: Any, rtol: float = 1e-9) -> None:
    for name in TERMS:
        assert_near(getattr(actual, name), getattr(expected, name), name, rtol)


# --- the sum of Eq. 7 and 13 ----------------------------------------------------------------------------------------


@each_strategy
def test_total_is_the_weighted_sum_of_unweighted_terms(strategy: str) -> None:
    problem = random_problem(0, 10, 4, 3)
    plain = forward(build(strategy, alpha=1.0, beta=1.0, gamma_reg=1.0, lambda_noisy=1.0), problem)
    weighted = forward(build(strategy, alpha=2.0, beta=3.0, gamma_reg=5.0, lambda_noisy=7.0), problem)
    for name in TERMS[1:]:
        assert getattr(plain, name).item() > 0
        assert_near(getattr(weighted, name), getattr(plain, name), name)
    expected = 2 * plain.compactness + 3 * plain.margin + 5 * plain.regularisation + 7 * plain.alignment
    assert_near(weighted.total, expected)


@each_strategy
def test_alignment_without_noisy_embeddings_is_zero(strategy: str) -> None:
    noisy = random_problem(0, 10, 4, 3)
    clean = random_problem(0, 10, 4, 3, with_noisy=False)
    with_noisy, without = forward(build(strategy), noisy), forward(build(strategy), clean)
    assert without.alignment.shape == ()
    assert without.alignment.item() == 0
    assert_near(without.total, with_noisy.total - SETTINGS["lambda_noisy"] * with_noisy.alignment)


@each_strategy
def test_alignment_of_clean_copies_is_the_compactness(strategy: str) -> None:
    """Eq. 12 is Eq. 8 at other points."""
    problem = random_problem(0, 10, 4, 3)
    problem.noisy = problem.embeddings.clone()
    terms = forward(build(strategy), problem)
    assert terms.alignment.item() > 0
    assert_near(terms.alignment, terms.compactness)


# --- the centroid strategies of section 4.4 -------------------------------------------------------------------------


def test_which_centroid_serves_which_term() -> None:
    """partial = the momentum strategy for everything but the margin, the naive one for the margin."""
    problem = random_problem(1, 12, 4, 3, labels=[0, 1, 2, 3] * 3)
    terms = {}
    for strategy in oracle.STRATEGIES:
        loss_fn = build(strategy)
        set_state(loss_fn, means(problem) + 0.5 * normal(2, 4, 3))
        terms[strategy] = values(forward(loss_fn, problem))
    for name in ("compactness", "alignment", "regularisation"):
        assert_near(terms["partial"][name], terms["momentum"][name])
        assert abs(terms["partial"][name] - terms["naive"][name]) > 1e-4
    assert_near(terms["partial"]["margin"], terms["naive"]["margin"])
    assert abs(terms["partial"]["margin"] - terms["momentum"]["margin"]) > 1e-4


@pytest.mark.parametrize("strategy", ["momentum", "partial"])
def test_stored_centroids_follow_the_recursion(strategy: str) -> None:
    """A class of constant batches q: after its first batch p, the stored centroid is q + momentum^t (p - q)."""
    loss_fn = build(strategy, num_classes=2, dim=2)
    head = nn.Linear(2, 2).double()
    p, q = torch.tensor([[3.0, -1.0]]).double(), torch.tensor([[0.5, 2.0]]).double()
    loss_fn(p, torch.tensor([1]), head)
    assert torch.equal(loss_fn.centroids[1], p[0])
    for step in range(1, 6):
        loss_fn(q, torch.tensor([1]), head)
        assert_near(loss_fn.centroids[1], (q + SETTINGS["momentum"] ** step * (p - q))[0])
    assert loss_fn.initialised.tolist() == [False, True]
    assert loss_fn.centroids[0].tolist() == [0.0, 0.0]


def test_naive_stores_the_current_means() -> None:
    loss_fn = build("naive")
    for step in range(2):
        problem = random_problem(step, 8, 4, 3, labels=[0, 1, 2, 3] * 2)
        forward(loss_fn, problem)
        assert_near(loss_fn.centroids, means(problem))


def test_without_momentum_every_strategy_is_naive() -> None:
    losses = {strategy: build(strategy, momentum=0.0) for strategy in oracle.STRATEGIES}
    for step in range(3):
        problem = random_problem(step, 10, 4, 3, head_seed=0)
        terms = {strategy: forward(loss_fn, problem) for strategy, loss_fn in losses.items()}
        assert_same_values(terms["momentum"], terms["naive"])
        assert_same_values(terms["partial"], terms["naive"])


@each_strategy
def test_only_clean_embeddings_move_centroids(strategy: str) -> None:
    """Whatever the noisy embeddings are, the stored centroids and the clean terms are the same."""
    states, clean = [], []
    for shift in (None, 0.0, 1e3):
        loss_fn = build(strategy)
        for step in range(2):
            problem = random_problem(step, 10, 4, 3, head_seed=0)
            assert problem.noisy is not None
            problem.noisy = None if shift is None else problem.noisy + shift
            terms = forward(loss_fn, problem)
        states.append(loss_fn.centroids.clone())
        clean.append(values(terms))
    assert states[0].abs().sum().item() > 0
    for state, terms in zip(states[1:], clean[1:], strict=True):
        assert torch.equal(state, states[0])
        for name in ("compactness", "margin", "regularisation"):
            assert torch.equal(terms[name], clean[0][name])
    assert clean[2]["alignment"].item() > 1e5


@each_strategy
def test_gradients_through_the_noisy_branch(strategy: str) -> None:
    """The alignment pulls the noisy features and, through m_c, the clean ones; the clean terms ignore the noisy."""
    problem = random_problem(0, 10, 4, 3).fresh()
    terms = forward(build(strategy), problem)
    for name in ("compactness", "margin", "regularisation"):
        assert not gradients(getattr(terms, name), problem.leaves())[3].any()
    to_clean, to_weight, to_bias, to_noisy = gradients(terms.alignment, problem.leaves())
    assert to_noisy.abs().sum().item() > 1e-3
    assert to_clean.abs().sum().item() > 1e-3
    assert not to_weight.any()
    assert not to_bias.any()


@each_strategy
def test_no_gradient_through_stored_centroids(strategy: str) -> None:
    loss_fn = build(strategy)
    first = random_problem(0, 8, 4, 3, labels=[0, 1, 2, 3] * 2, head_seed=0).fresh()
    second = random_problem(1, 8, 4, 3, labels=[0, 1, 2, 3] * 2, head_seed=0).fresh()
    forward(loss_fn, first)
    assert not loss_fn.centroids.requires_grad
    terms = forward(loss_fn, second)
    (reached,) = torch.autograd.grad(terms.total, [first.embeddings], allow_unused=True, retain_graph=True)
    assert reached is None
    assert gradients(terms.total, [second.embeddings])[0].abs().sum().item() > 1e-3


@each_strategy
def test_buffers_are_not_parameters(strategy: str) -> None:
    loss_fn = npf.DiscriminativeLoss(4, 3, centroids=strategy)
    assert list(loss_fn.parameters()) == []
    assert loss_fn.centroids.shape == (4, 3)
    assert loss_fn.centroids.dtype == torch.float32
    assert loss_fn.initialised.shape == (4,)
    assert loss_fn.initialised.dtype == torch.bool
    assert not loss_fn.initialised.any()


@each_strategy
def test_training_without_gradients_still_moves_centroids(strategy: str) -> None:
    problem = random_problem(0, 8, 4, 3)
    plain, silent = build(strategy), build(strategy)
    forward(plain, problem)
    with torch.no_grad():
        forward(silent, problem)
    assert silent.initialised.any()
    assert torch.equal(silent.centroids, plain.centroids)


@each_strategy
def test_state_dict_round_trip(strategy: str) -> None:
    original = build(strategy, num_classes=5)
    for step, labels in enumerate([[0, 1, 1, 2], [2, 4, 0, 0]]):
        forward(original, random_problem(step, 4, 5, 3, labels=labels, head_seed=0))
    state = {name: value.clone() for name, value in original.state_dict().items()}
    assert set(state) == {"centroids", "initialised"}
    assert state["initialised"].tolist() == [True, True, True, False, True]

    restored = build(strategy, num_classes=5)
    restored.load_state_dict(state)
    forgetful = build(strategy, num_classes=5)
    for step in (2, 3):
        problem = random_problem(step, 10, 5, 3, labels=[0, 1, 2, 3, 4] * 2, head_seed=0)
        expected = forward(original, problem)
        assert_same_values(forward(restored, problem), expected)
        fresh_start = forward(forgetful, problem)
        if strategy != "naive" and step == 2:
            assert abs(fresh_start.compactness.item() - expected.compactness.item()) > 1e-4
        for name, value in original.state_dict().items():
            assert torch.equal(restored.state_dict()[name], value)


# --- Proposition 4.1 ------------------------------------------------------------------------------------------------


def margins_of_both(problem: Problem, stored: Tensor, momentum: float) -> tuple[list[Tensor], list[Tensor]]:
    """The margin and its gradients to embeddings, weight and bias: with the momentum strategy, with the naive one."""
    results = []
    for strategy in ("momentum", "naive"):
        loss_fn = build(strategy, num_classes=len(stored), dim=stored.shape[1], momentum=momentum, delta_d=4.0)
        set_state(loss_fn, stored)
        fresh = problem.fresh()
        margin = forward(loss_fn, fresh).margin
        results.append([margin, *gradients(margin, fresh.leaves()[:3])])
    return results[0], results[1]


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("seed", range(4))
def test_proposition_4_1_at_equal_centroids(momentum: float, seed: int) -> None:
    """With m^{t-1} = m^current the margins agree, and the gradient to the features shrinks by exactly 1 - gamma.

    The gradient to the head, which does not pass through the centroids' Jacobian, is the same for both.
    """
    problem = random_problem(seed, 12, 4, 3, labels=[0, 1, 2, 3] * 3, with_noisy=False)
    with_momentum, naive = margins_of_both(problem, means(problem), momentum)
    assert naive[1].abs().sum().item() > 1e-2
    assert_near(with_momentum[0], naive[0])
    assert_near(with_momentum[1], (1 - momentum) * naive[1])
    assert_near(with_momentum[2], naive[2])
    assert_near(with_momentum[3], naive[3])


@pytest.mark.parametrize("seed", range(4))
def test_proposition_4_1_at_nearby_centroids(seed: int) -> None:
    """The values differ but the same hinges act: Eq. 10 is affine in m_c, so the factor is exactly 1 - gamma."""
    problem = random_problem(seed, 12, 4, 3, labels=[0, 1, 2, 3] * 3, with_noisy=False)
    with_momentum, naive = margins_of_both(problem, means(problem) + 1e-3 * normal(seed, 4, 3), 0.9)
    assert abs(with_momentum[0] - naive[0]).item() > 1e-8
    assert naive[1].abs().sum().item() > 1e-2
    assert_near(with_momentum[1], 0.1 * naive[1])


def test_proposition_4_1_needs_the_same_hinges() -> None:
    """Stored centroids that are well placed silence the momentum margin altogether; the naive one still acts."""
    embeddings = torch.tensor([[0.1], [-0.1]], dtype=torch.float64)
    weight, bias = torch.tensor([[1.0], [-1.0]]).double(), torch.zeros(2).double()
    problem = Problem(embeddings, torch.tensor([0, 1]), weight, bias, None)
    with_momentum, naive = margins_of_both(problem, torch.tensor([[50.0], [-50.0]]).double(), 0.9)
    assert with_momentum[0].item() == 0
    assert not with_momentum[1].any()
    assert naive[1].flatten().tolist() == pytest.approx([-0.5, 0.5])


def test_partial_keeps_the_margin_gradient_of_naive() -> None:
    """The purpose of the partial strategy: no factor 1 - gamma on the margin, whatever is stored."""
    problem = random_problem(3, 12, 4, 3, labels=[0, 1, 2, 3] * 3, with_noisy=False)
    found = []
    for strategy in ("partial", "naive"):
        loss_fn = build(strategy, momentum=0.99)
        set_state(loss_fn, normal(0, 4, 3))
        fresh = problem.fresh()
        found.append(gradients(forward(loss_fn, fresh).margin, fresh.leaves()))
    assert found[0][0].abs().sum().item() > 1e-2
    for partial, naive in zip(*found, strict=True):
        assert_near(partial, naive)


# --- Propositions 5.1 and 5.2 ---------------------------------------------------------------------------------------


@st.composite
def separated_features(draw: st.DrawFn) -> tuple[Problem, float, float]:
    """Random features and the hyperplanes halfway between their class means (perturbed), with the smallest radius
    delta_v and the largest distance delta_d at which both losses vanish, up to one part in 10^9.
    """
    num_classes, dim = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    per_class, seed = draw(st.integers(1, 6)), draw(st.integers(0, 2**31))
    spread, tilt = draw(st.floats(0.01, 2.0)), draw(st.floats(0.0, 0.1))
    generator = seeded(seed)
    centres = 3.0 * torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat(per_class)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    problem = Problem(centres[labels] + spread * noise, labels, centres, centres[:, 0], None)
    centroids = means(problem)
    problem.weight = centroids + tilt * torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    problem.bias = -0.5 * (2 * problem.weight - centroids).mul(centroids).sum(1)

    radius = max((q - centroids[c]).norm().item() for q, c in zip(problem.embeddings, labels.tolist(), strict=True))
    reach = oracle.signed_distances(centroids, torch.arange(num_classes), problem.weight, problem.bias).min().item()
    return problem, radius * (1 + 1e-9) + 1e-12, reach * (1 - 1e-9) - 1e-12


@any_deltas
@many
@given(separated_features())
def test_propositions_5_1_and_5_2(case: tuple[Problem, float, float]) -> None:
    problem, delta_v, delta_d = case
    if delta_d <= 0:  # the tilt put a class mean on the wrong side: the margin loss cannot vanish
        return
    num_classes, dim = problem.weight.shape
    loss_fn = build("naive", num_classes, dim, delta_v=delta_v, delta_d=delta_d)
    terms = forward(loss_fn, problem)
    assert terms.compactness.item() == 0
    assert terms.margin.item() == 0

    dispersion = npf.geometry.class_dispersion(problem.embeddings, problem.labels, num_classes)
    assert dispersion.max().item() <= 2 * delta_v * (1 + 1e-9)  # Proposition 5.1
    margin = npf.geometry.class_margin(problem.embeddings, problem.labels, problem.weight, problem.bias)
    if delta_d > delta_v:  # Proposition 5.2.1
        assert margin.min().item() >= (delta_d - delta_v) * (1 - 1e-9) - 1e-9
    if delta_d > 2 * delta_v:  # Proposition 5.2.2
        across = problem.labels[:, None] != problem.labels[None, :]
        distances = torch.cdist(problem.embeddings, problem.embeddings, compute_mode="donot_use_mm_for_euclid_dist")
        assert dispersion.max().item() < distances[across].min().item()

    # the two hyper-parameters were the tightest ones: both losses wake up right beyond them
    tighter = build("naive", num_classes, dim, delta_v=0.999 * delta_v, delta_d=1.001 * delta_d)
    woken = forward(tighter, problem)
    assert woken.margin.item() > 0
    if delta_v > 1e-6:
        assert woken.compactness.item() > 0


@any_deltas
@many
@given(
    num_classes=st.integers(2, 5),
    extra_dims=st.integers(0, 3),
    delta_v=st.floats(0.05, 2.0),
    ratio=st.floats(1.05, 6.0),
    seed=st.integers(0, 2**31),
)
def test_propositions_5_1_and_5_2_at_the_given_hyper_parameters(
    num_classes: int, extra_dims: int, delta_v: float, ratio: float, seed: int
) -> None:
    """Features built for a given delta_v and delta_d: orthogonal class rows, antipodal pairs within the radius."""
    delta_d = ratio * delta_v
    dim = num_classes + extra_dims
    generator = seeded(seed)
    frame = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q
    weight = 1.7 * frame[:num_classes]
    bias = torch.rand(num_classes, generator=generator, dtype=torch.float64)
    # <W_c - W_i, m_c> + b_c - b_i = 1.7 r + b_c - b_i, over a norm of 1.7 sqrt(2)
    length = 2**0.5 * delta_d * (1 + 1e-9) + 1 / 1.7
    centres = length * frame[:num_classes]
    steps = torch.randn(num_classes * 3, dim, generator=generator, dtype=torch.float64)
    steps = delta_v * (1 - 1e-9) * steps / steps.norm(dim=1, keepdim=True)
    labels = torch.arange(num_classes).repeat(3)
    embeddings = torch.cat([centres[labels] + steps, centres[labels] - steps])
    problem = Problem(embeddings, labels.repeat(2), weight, bias, None)

    terms = forward(build("partial", num_classes, dim, delta_v=delta_v, delta_d=delta_d), problem)
    assert terms.compactness.item() == pytest.approx(0, abs=1e-24)
    assert terms.margin.item() == 0
    dispersion = npf.geometry.class_dispersion(problem.embeddings, problem.labels, num_classes)
    torch.testing.assert_close(dispersion, torch.full_like(dispersion, 2 * delta_v), rtol=1e-8, atol=0)
    margin = npf.geometry.class_margin(problem.embeddings, problem.labels, weight, bias)
    assert margin.min().item() >= (delta_d - delta_v) * (1 - 1e-8)
    if ratio > 2:
        distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
        across = problem.labels[:, None] != problem.labels[None, :]
        assert dispersion.max().item() < distances[across].min().item()


def test_the_bounds_of_propositions_5_1_and_5_2_are_attained() -> None:
    """On a line with delta_v = 1 and delta_d = 3: dispersion 2 = 2 delta_v, margin 2 = delta_d - delta_v."""
    embeddings = torch.tensor([[2.0], [4.0], [-2.0], [-4.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    weight, bias = torch.tensor([[0.5], [-0.5]]).double(), torch.zeros(2).double()
    loss_fn = build("naive", 2, 1, delta_v=1.0, delta_d=3.0)
    terms = forward(loss_fn, Problem(embeddings, labels, weight, bias, None))
    assert terms.compactness.item() == 0
    assert terms.margin.item() == 0
    assert npf.geometry.class_dispersion(embeddings, labels, 2).tolist() == [2.0, 2.0]
    assert npf.geometry.class_margin(embeddings, labels, weight, bias).tolist() == [2.0, 2.0]


# --- symmetries -----------------------------------------------------------------------------------------------------


def stepped(loss_fn: npf.DiscriminativeLoss, problems: list[Problem]) -> Any:
    """The terms of the last of a few steps."""
    for problem in problems:
        terms = forward(loss_fn, problem)
    return terms


def two_steps() -> list[Problem]:
    """Class 3 appears in the second batch only."""
    return [
        random_problem(0, 8, 4, 3, labels=[0, 1, 2, 0, 1, 2, 2, 2], head_seed=6),
        random_problem(1, 8, 4, 3, labels=[3, 1, 0, 0, 3, 1, 3, 3], head_seed=6),
    ]


@each_strategy
@pytest.mark.parametrize("seed", range(3))
def test_order_of_the_batch_does_not_matter(strategy: str, seed: int) -> None:
    shuffled = []
    for problem in two_steps():
        order = torch.randperm(8, generator=seeded(seed))
        assert problem.noisy is not None
        shuffled.append(
            Problem(
                problem.embeddings[order], problem.labels[order], problem.weight, problem.bias, problem.noisy[order]
            )
        )
    straight, other = build(strategy), build(strategy)
    assert_same_values(stepped(other, shuffled), stepped(straight, two_steps()))
    assert_near(other.centroids, straight.centroids)


@each_strategy
@pytest.mark.parametrize("seed", range(3))
def test_noisy_embeddings_are_matched_by_class_only(strategy: str, seed: int) -> None:
    """Section 4.2: the alignment is at the class level, so noisy copies may change places within a class."""
    problem = random_problem(seed, 8, 4, 3, labels=[0, 0, 0, 1, 1, 2, 2, 2])
    expected = forward(build(strategy), problem)
    assert problem.noisy is not None
    problem.noisy = problem.noisy[torch.tensor([2, 0, 1, 4, 3, 6, 7, 5])]
    assert_same_values(forward(build(strategy), problem), expected)


@each_strategy
@pytest.mark.parametrize("seed", range(3))
def test_relabelling_the_classes(strategy: str, seed: int) -> None:
    """New names for the classes, in the labels and in the rows of the head: same values, state under the new names."""
    names = torch.randperm(4, generator=seeded(seed + 1))
    back = names.argsort()
    renamed = [
        Problem(problem.embeddings, names[problem.labels], problem.weight[back], problem.bias[back], problem.noisy)
        for problem in two_steps()
    ]
    straight, other = build(strategy), build(strategy)
    assert_same_values(stepped(other, renamed), stepped(straight, two_steps()))
    assert_near(other.centroids[names], straight.centroids)


@each_strategy
def test_common_shift_of_the_head_changes_nothing(strategy: str) -> None:
    """Only differences of rows and of biases enter Eq. 6, as for the softmax."""
    shift, offset = 2.0 * normal(1, 3), 5.0
    moved = [
        Problem(problem.embeddings, problem.labels, problem.weight + shift, problem.bias + offset, problem.noisy)
        for problem in two_steps()
    ]
    terms, expected = stepped(build(strategy), moved), stepped(build(strategy), two_steps())
    assert expected.margin.item() > 0
    assert_same_values(terms, expected)


def test_gradient_of_the_margin_to_a_common_shift_is_zero() -> None:
    problem = random_problem(0, 8, 4, 3).fresh()
    _, to_weight, to_bias, _ = gradients(forward(build("partial"), problem).margin, problem.leaves())
    assert to_weight.abs().sum().item() > 1e-2
    assert to_weight.sum(0).abs().max().item() < 1e-12
    assert to_bias.sum().abs().item() < 1e-12


@each_strategy
def test_scaling_the_head_changes_nothing(strategy: str) -> None:
    """The boundaries of Eq. 6 are the same for (W, b) and (a W, a b), a > 0."""
    scaled = [
        Problem(problem.embeddings, problem.labels, 40.0 * problem.weight, 40.0 * problem.bias, problem.noisy)
        for problem in two_steps()
    ]
    assert_same_values(stepped(build(strategy), scaled), stepped(build(strategy), two_steps()))


@each_strategy
def test_rotating_the_feature_space_changes_nothing(strategy: str) -> None:
    turn = torch.linalg.qr(normal(5, 3, 3)).Q
    turned = []
    for problem in two_steps():
        assert problem.noisy is not None
        turned.append(
            Problem(
                problem.embeddings @ turn, problem.labels, problem.weight @ turn, problem.bias, problem.noisy @ turn
            )
        )
    assert_same_values(stepped(build(strategy), turned), stepped(build(strategy), two_steps()))


def test_signed_distances_change_sign_with_the_side() -> None:
    """P_ci and P_ic are one hyperplane: for any point, the distance seen from c is minus the one seen from i."""
    weight, bias, points = normal(0, 3, 4), normal(1, 3), normal(2, 5, 4)
    seen_from = [npf.functional.signed_distances(points, torch.full((5,), c), weight, bias) for c in range(3)]
    for c in range(3):
        for i in range(c):
            assert_near(seen_from[c][:, i], -seen_from[i][:, c])


# --- number formats -------------------------------------------------------------------------------------------------


def single(problem: Problem) -> Problem:
    """The problem in float32, with values that float16 and bfloat16 hold exactly."""

    def coarse(tensor: Tensor) -> Tensor:
        return tensor.bfloat16().half().float()

    assert problem.noisy is not None
    return Problem(
        coarse(problem.embeddings), problem.labels, coarse(problem.weight), coarse(problem.bias), coarse(problem.noisy)
    )


@contextmanager
def autocast(enabled: bool) -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        yield


def run_single(
    strategy: str,
    problem: Problem,
    features: torch.dtype,
    head: torch.dtype,
    delta_d: float = 8.0,
    under_autocast: bool = False,
) -> tuple[Any, list[Tensor]]:
    """Two steps of a float32 loss on features and a head of the given formats: terms and gradients of the second.

    The centres are about 11 apart, so that every term acts with the default delta_d.
    """
    loss_fn = npf.DiscriminativeLoss(4, 16, **{**SETTINGS, "delta_d": delta_d}, centroids=strategy)
    assert problem.noisy is not None
    cast = Problem(
        problem.embeddings.to(features),
        problem.labels,
        problem.weight.to(head),
        problem.bias.to(head),
        problem.noisy.to(features),
    ).fresh()
    with autocast(under_autocast):  # the backward pass belongs outside
        forward(loss_fn, cast)
        terms = forward(loss_fn, cast)
    assert all(getattr(terms, name).item() > 0 for name in TERMS)
    assert loss_fn.centroids.dtype == torch.float32
    assert bool(loss_fn.centroids.isfinite().all())
    return terms, gradients(terms.total, cast.leaves())


@each_strategy
@each_low_precision
@pytest.mark.parametrize("whole_model", [False, True])
def test_low_precision_features_are_computed_in_float32(strategy: str, dtype: torch.dtype, whole_model: bool) -> None:
    """The same numbers in a narrow format give the float32 result itself; gradients are rounded on the way out."""
    problem = single(random_problem(0, 12, 4, 16))
    head = dtype if whole_model else torch.float32
    expected, wanted = run_single(strategy, problem, torch.float32, torch.float32)
    terms, got = run_single(strategy, problem, dtype, head)
    for name in TERMS:
        assert getattr(terms, name).dtype == torch.float32
    assert_same_values(terms, expected, rtol=1e-5)
    for gradient, reference, kind in zip(got, wanted, (dtype, head, head, dtype), strict=True):
        assert gradient.dtype == kind
        assert_near(gradient.float(), reference, rtol=2e-2 if kind == torch.bfloat16 else 3e-3)


@each_strategy
@each_low_precision
def test_low_precision_stays_close_to_unrounded_float32(strategy: str, dtype: torch.dtype) -> None:
    problem = random_problem(1, 12, 4, 16)
    full, _ = run_single(strategy, problem, torch.float32, torch.float32)
    low, _ = run_single(strategy, problem, dtype, torch.float32)
    assert_same_values(low, full, rtol=5e-2 if dtype == torch.bfloat16 else 1e-2)


@each_strategy
def test_float16_features_whose_squares_overflow(strategy: str) -> None:
    """Norms near 2000: their squares are beyond float16."""
    problem = single(random_problem(2, 12, 4, 16))
    assert problem.noisy is not None
    big = Problem(
        256.0 * problem.embeddings, problem.labels, problem.weight, 256.0 * problem.bias, 256.0 * problem.noisy
    )
    assert big.embeddings.square().sum(1).min().item() > 7e4
    expected, _ = run_single(strategy, big, torch.float32, torch.float32, delta_d=2000.0)
    terms, got = run_single(strategy, big, torch.float16, torch.float32, delta_d=2000.0)
    assert_same_values(terms, expected, rtol=1e-5)
    assert all(bool(gradient.isfinite().all()) for gradient in got)


@each_strategy
def test_float32_is_close_to_float64(strategy: str) -> None:
    problem = single(random_problem(3, 12, 4, 16))
    terms, got = run_single(strategy, problem, torch.float32, torch.float32)
    assert terms.total.dtype == torch.float32
    wide = Problem(
        problem.embeddings.double(),
        problem.labels,
        problem.weight.double(),
        problem.bias.double(),
        None if problem.noisy is None else problem.noisy.double(),
    ).fresh()
    loss_fn = build(strategy, 4, 16, delta_d=8.0)
    forward(loss_fn, wide)
    expected = forward(loss_fn, wide)
    for name in TERMS:
        assert getattr(expected, name).dtype == torch.float64
        assert_near(getattr(terms, name).double(), getattr(expected, name), name, rtol=1e-5)
    for gradient, reference in zip(got, gradients(expected.total, wide.leaves()), strict=True):
        assert_near(gradient.double(), reference, rtol=1e-4)


@each_strategy
def test_float64_features_with_float32_buffers(strategy: str) -> None:
    """The first step uses no stored centroid, so it is exact in float64; the state stays in float32."""
    problem = random_problem(0, 8, 4, 3)
    loss_fn = npf.DiscriminativeLoss(4, 3, **SETTINGS, centroids=strategy)
    exact = build(strategy)
    terms, expected = forward(loss_fn, problem), forward(exact, problem)
    for name in TERMS:
        assert getattr(terms, name).dtype == torch.float64
    assert_same_values(terms, expected)
    assert loss_fn.centroids.dtype == torch.float32
    assert_near(loss_fn.centroids.double(), exact.centroids, rtol=1e-6)
    assert_same_values(forward(loss_fn, problem), forward(exact, problem), rtol=1e-6)


@each_strategy
@pytest.mark.parametrize("features", [torch.float32, torch.bfloat16])
def test_autocast_does_not_reach_the_loss(strategy: str, features: torch.dtype) -> None:
    """Values that bfloat16 cannot hold: a product rounded to it would show."""
    problem = random_problem(4, 12, 4, 16)
    expected, wanted = run_single(strategy, problem, features, torch.float32)
    terms, got = run_single(strategy, problem, features, torch.float32, under_autocast=True)
    for name in TERMS:
        assert getattr(terms, name).dtype == torch.float32
    assert_same_values(terms, expected, rtol=1e-6)
    for gradient, reference in zip(got, wanted, strict=True):
        assert gradient.dtype == reference.dtype
        assert_near(gradient.float(), reference.float(), rtol=1e-6)


@each_strategy
def test_autocast_leaves_float64_alone(strategy: str) -> None:
    problem = random_problem(5, 8, 4, 3)
    with autocast(True):
        terms = forward(build(strategy), problem)
    assert terms.total.dtype == torch.float64
    assert_same_values(terms, forward(build(strategy), problem))


def test_autocast_does_not_reach_the_functions() -> None:
    problem = random_problem(6, 12, 4, 16)
    points, weight, bias = problem.embeddings.float(), problem.weight.float(), problem.bias.float()

    def everything() -> list[Tensor]:
        return [
            npf.functional.compactness(points, problem.labels, weight, 0.3),
            npf.functional.margin(weight + 0.5, weight, bias, 4.0),
            npf.functional.signed_distances(points, problem.labels, weight, bias),
        ]

    expected = everything()
    with autocast(True):
        got = everything()
    for actual, wanted in zip(got, expected, strict=True):
        assert actual.dtype == torch.float32
        assert_near(actual, wanted, rtol=1e-6)


@each_strategy
def test_training_a_network_under_autocast(strategy: str) -> None:
    """Features come out of autocast as bfloat16; every parameter gets a finite gradient."""
    torch.manual_seed(0)
    backbone, head = nn.Linear(6, 16), nn.Linear(16, 4)
    loss_fn = npf.DiscriminativeLoss(4, 16, centroids=strategy)
    inputs, labels = torch.randn(12, 6), torch.arange(12) % 4
    for _ in range(2):
        with autocast(True):
            features, noisy = backbone(inputs), backbone(inputs + 0.1 * torch.randn(12, 6))
            assert features.dtype == torch.bfloat16
            terms = loss_fn(features, labels, head, noisy_embeddings=noisy)
        assert terms.total.dtype == torch.float32
        terms.total.backward()
    for parameter in (*backbone.parameters(), *head.parameters()):
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())
        assert parameter.grad.abs().sum().item() > 0
