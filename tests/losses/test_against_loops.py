"""The loss against a transcription of the equations with explicit loops: values, gradients and stored state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import noiseproof as npf
from tests.losses.problems import (
    SETTINGS,
    TERMS,
    Problem,
    assert_near,
    assert_same_step,
    build_pair,
    forward,
    gradients,
    linear,
    loop_forward,
    random_problem,
)
from tests.oracles import loss_loops as oracle

# (samples, classes, dimensions): few and many classes, absent classes, a single sample, one dimension
SHAPES = [(12, 4, 3), (7, 2, 5), (1, 3, 4), (5, 9, 2), (24, 5, 1), (2, 2, 1), (9, 3, 16)]
SEEDS = range(6)
each_strategy = pytest.mark.parametrize("strategy", oracle.STRATEGIES)
each_shape = pytest.mark.parametrize(("n", "num_classes", "dim"), SHAPES)


def quarters(seed: int, *shape: int) -> Tensor:
    """Random multiples of 1/4: their sums are exact, in any order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-12, 13, shape, generator=generator).double() / 4


# --- the module ---------------------------------------------------------------------------------------------------


@each_strategy
@each_shape
@pytest.mark.parametrize("seed", SEEDS)
def test_three_steps(strategy: str, n: int, num_classes: int, dim: int, seed: int) -> None:
    loss_fn, loop = build_pair(num_classes, dim, strategy)
    for step in range(3):
        problem = random_problem(10 * seed + step, n, num_classes, dim, head_seed=seed)
        assert_same_step(loss_fn, loop, problem)


def test_the_problems_above_are_not_all_at_rest() -> None:
    """Without this the comparisons could agree on zeros alone, or never meet a hinge at rest."""
    resting, acting = dict.fromkeys(TERMS, 0), dict.fromkeys(TERMS, 0)
    for n, num_classes, dim in SHAPES:
        for seed in SEEDS:
            loop = oracle.LoopLoss(**SETTINGS)
            for step in range(3):
                terms = loop_forward(loop, random_problem(10 * seed + step, n, num_classes, dim, head_seed=seed))
                for name in TERMS:
                    counts = resting if getattr(terms, name).item() == 0 else acting
                    counts[name] += 1
    assert min(acting.values()) >= 60, acting
    assert resting["compactness"] >= 5, resting
    assert resting["margin"] >= 5, resting


@each_strategy
def test_classes_come_and_go(strategy: str) -> None:
    """Seen again after a gap, seen for the first time late, never seen; one step without noisy embeddings."""
    loss_fn, loop = build_pair(6, 3, strategy)
    batches = [[0, 0, 1, 3], [1, 1, 1], [3, 0, 4, 4, 3], [4], [1, 0, 3, 4]]
    for step, labels in enumerate(batches):
        problem = random_problem(step, len(labels), 6, 3, labels=labels, with_noisy=step != 1, head_seed=5)
        assert_same_step(loss_fn, loop, problem)
    assert loss_fn.initialised.tolist() == [True, True, False, True, True, False]
    assert_near(loss_fn.centroids[[2, 5]], torch.zeros(2, 3, dtype=torch.float64))


@each_strategy
def test_evaluation_gives_the_same_values_and_keeps_the_state(strategy: str) -> None:
    loss_fn, loop = build_pair(4, 3, strategy)
    for step, labels in enumerate([[0, 0, 1], [1, 0, 2]]):
        assert_same_step(loss_fn, loop, random_problem(step, 3, 4, 3, labels=labels, head_seed=0))
    loss_fn.eval()
    before = {name: value.clone() for name, value in loss_fn.state_dict().items()}
    for step in range(2):
        assert_same_step(loss_fn, loop, random_problem(7 + step, 8, 4, 3, labels=[0, 1, 2, 3] * 2, head_seed=0))
    for name, value in loss_fn.state_dict().items():
        assert torch.equal(value, before[name])
    loss_fn.train()
    assert_same_step(loss_fn, loop, random_problem(9, 8, 4, 3, labels=[0, 1, 2, 3] * 2, head_seed=0))


@each_strategy
def test_evaluation_of_a_fresh_module(strategy: str) -> None:
    loss_fn, loop = build_pair(4, 3, strategy)
    loss_fn.eval()
    assert_same_step(loss_fn, loop, random_problem(0, 6, 4, 3))
    assert not loss_fn.initialised.any()


def test_defaults() -> None:
    loss_fn, loop = npf.DiscriminativeLoss(4, 3).double(), oracle.LoopLoss()
    for step in range(3):
        assert_same_step(loss_fn, loop, random_problem(step, 6, 4, 3, head_seed=0))


@each_strategy
def test_one_sample_per_class(strategy: str) -> None:
    loss_fn, loop = build_pair(5, 4, strategy)
    for step in range(3):
        labels = torch.randperm(5, generator=torch.Generator().manual_seed(step)).tolist()
        assert_same_step(loss_fn, loop, random_problem(step, 5, 5, 4, labels=labels, head_seed=3))


@each_strategy
@pytest.mark.parametrize("seed", range(4))
def test_two_classes(strategy: str, seed: int) -> None:
    """One boundary only; in every other problem the second batch lacks a class."""
    loss_fn, loop = build_pair(2, 3, strategy)
    for step, labels in enumerate([[0, 1, 1, 0, 1], [0, 0] if seed % 2 else [1, 0], [1, 1, 0]]):
        problem = random_problem(10 * seed + step, len(labels), 2, 3, labels=labels, head_seed=seed)
        assert_same_step(loss_fn, loop, problem)


@each_strategy
def test_many_more_classes_than_samples(strategy: str) -> None:
    loss_fn, loop = build_pair(250, 4, strategy)
    for step, labels in enumerate([[249, 0, 77], [77, 77, 30]]):
        assert_same_step(loss_fn, loop, random_problem(step, 3, 250, 4, labels=labels, head_seed=1))


@each_strategy
@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_large_and_small_values(strategy: str, scale: float) -> None:
    loss_fn, loop = build_pair(4, 3, strategy, delta_v=0.6 * scale, delta_d=1.4 * scale)
    for step in range(2):
        problem = random_problem(step, 10, 4, 3, head_seed=2)
        scaled = Problem(
            scale * problem.embeddings,
            problem.labels,
            scale * problem.weight,
            scale * scale * problem.bias,
            None if problem.noisy is None else scale * problem.noisy,
        )
        assert_same_step(loss_fn, loop, scaled)


@each_strategy
def test_features_far_from_the_origin(strategy: str) -> None:
    """Distances of a tight cluster far away must not come from the difference of two large squares."""
    loss_fn, loop = build_pair(3, 4, strategy)
    for step in range(2):
        problem = random_problem(step, 40, 3, 4, head_seed=4)
        assert problem.noisy is not None
        offset = 1e6
        far = Problem(
            problem.embeddings + offset,
            problem.labels,
            problem.weight,
            problem.bias - offset * problem.weight.sum(1),
            problem.noisy + offset,
        )
        assert_same_step(loss_fn, loop, far, rtol=1e-7)


@each_strategy
def test_two_forwards_before_one_backward(strategy: str) -> None:
    """As in gradient accumulation: the second step's update must not disturb the first step's graph."""
    loss_fn, loop = build_pair(4, 3, strategy)
    assert_same_step(loss_fn, loop, random_problem(0, 8, 4, 3, head_seed=0))
    ours = [random_problem(step, 8, 4, 3, head_seed=0).fresh() for step in (1, 2)]
    theirs = [problem.fresh() for problem in ours]
    total = sum(forward(loss_fn, problem).total for problem in ours)
    expected = sum(loop_forward(loop, problem).total for problem in theirs)
    assert isinstance(total, Tensor)
    assert isinstance(expected, Tensor)
    for mine, wanted in zip(ours, theirs, strict=True):
        for a, b in zip(gradients(total, mine.leaves()), gradients(expected, wanted.leaves()), strict=True):
            assert_near(a, b)


# --- points where the plain formulas have no gradient ---------------------------------------------------------------


@each_strategy
@pytest.mark.parametrize("delta_v", [0.0, 0.6])
def test_features_exactly_on_their_centroid(strategy: str, delta_v: float) -> None:
    """Class 0 has one sample, class 1 has four identical ones, and the noisy features sit on the centroids too."""
    loss_fn, loop = build_pair(3, 4, strategy, delta_v=delta_v)
    points = quarters(0, 3, 4)
    labels = torch.tensor([0, 1, 1, 1, 1])
    problem = Problem(points[labels], labels, quarters(1, 3, 4), quarters(2, 3), points[labels])
    for _ in range(2):
        assert_same_step(loss_fn, loop, problem)
    terms = forward(loss_fn, problem.fresh())
    assert_near(terms.compactness, torch.zeros((), dtype=torch.float64))
    assert_near(terms.alignment, torch.zeros((), dtype=torch.float64))


@each_strategy
def test_centroid_exactly_at_the_origin(strategy: str) -> None:
    """The regularisation of Eq. 11 at m_c = 0: no gradient, while the other class keeps its own."""
    loss_fn, loop = build_pair(2, 3, strategy)
    point = quarters(3, 3)
    embeddings = torch.stack([point, -point, point + 1.0])
    problem = Problem(embeddings, torch.tensor([0, 0, 1]), quarters(4, 2, 3), quarters(5, 2), embeddings.clone())
    for _ in range(2):
        assert_same_step(loss_fn, loop, problem)
    ours = problem.fresh()
    (gradient,) = torch.autograd.grad(forward(loss_fn, ours).regularisation, ours.embeddings)
    assert torch.equal(gradient[:2], torch.zeros(2, 3, dtype=torch.float64))
    assert gradient[2].norm().item() > 0.01


@each_strategy
def test_all_embeddings_zero(strategy: str) -> None:
    loss_fn, loop = build_pair(3, 2, strategy)
    zeros = torch.zeros(4, 2, dtype=torch.float64)
    problem = Problem(zeros, torch.tensor([0, 1, 1, 2]), quarters(6, 3, 2), quarters(7, 3), zeros)
    for _ in range(2):
        assert_same_step(loss_fn, loop, problem)


@each_strategy
@pytest.mark.parametrize("seed", range(4))
def test_equal_weight_rows_with_different_biases(strategy: str, seed: int) -> None:
    """The boundary of classes 0 and 1 does not exist: that entry is delta_d. Different biases leave no other tie."""
    loss_fn, loop = build_pair(4, 3, strategy)
    for step in range(2):
        problem = random_problem(step, 8, 4, 3, labels=[0, 1, 2, 3] * 2, head_seed=seed)
        problem.weight[1] = problem.weight[0]
        assert_same_step(loss_fn, loop, problem)


def test_equal_weight_rows_give_delta_d_and_no_gradient() -> None:
    """Class 0 is far from every real boundary, so its largest entry is the undefined one: delta_d, whatever b is."""
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([9.0, -4.0, 0.0], dtype=torch.float64, requires_grad=True)
    centroids = torch.tensor([[50.0, 3.0], [1.0, 1.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    value = npf.functional.margin(centroids, weight, bias, 1.25, present=torch.tensor([True, False, False]))
    assert value.item() == 1.25
    for gradient in gradients(value, [centroids, weight, bias]):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@each_strategy
def test_rows_that_tie_exactly(strategy: str) -> None:
    """Classes 0 and 1 share weight and bias, so class 2 faces the same largest entry twice.

    Any convex split of the gradient between the two rows is a subgradient; its sum over the tied rows, the values
    and the gradients to the features do not depend on the split.
    """
    loss_fn, loop = build_pair(3, 2, strategy)
    problem = random_problem(1, 6, 3, 2, labels=[0, 1, 2] * 2)
    problem.weight[1], problem.bias[1] = problem.weight[0], problem.bias[0]
    problem.embeddings[2] = 0.5 * (problem.weight[0] + problem.weight[2])  # near the boundary: the hinge acts
    for _ in range(2):
        ours, theirs = problem.fresh(), problem.fresh()
        terms, expected = forward(loss_fn, ours), loop_forward(loop, theirs)
        for name in TERMS:
            value, reference = getattr(terms, name), getattr(expected, name)
            assert_near(value, reference, name)
            got, wanted = gradients(value, ours.leaves()), gradients(reference, theirs.leaves())
            assert all(bool(gradient.isfinite().all()) for gradient in got)
            assert_near(got[0], wanted[0], f"gradient of {name} to embeddings")
            assert_near(got[3], wanted[3], f"gradient of {name} to noisy embeddings")
            for leaf in (1, 2):
                assert_near(got[leaf][2], wanted[leaf][2], f"gradient of {name} to the row without a tie")
                assert_near(got[leaf][:2].sum(0), wanted[leaf][:2].sum(0), f"gradient of {name} to the tied rows")


@each_strategy
def test_all_weight_rows_equal(strategy: str) -> None:
    """Every entry of Eq. 9 is delta_d, as after an initialisation with zeros."""
    loss_fn, loop = build_pair(3, 2, strategy)
    problem = random_problem(0, 6, 3, 2)
    problem.weight.zero_()
    for _ in range(2):
        assert_same_step(loss_fn, loop, problem)
    assert_near(forward(loss_fn, problem).margin, torch.tensor(SETTINGS["delta_d"], dtype=torch.float64))


@pytest.mark.parametrize("gap", [1e-12, 1e-7])
def test_nearly_equal_weight_rows_are_not_taken_for_equal(gap: float) -> None:
    """Only rows that coincide exactly are special; the squares of large rows would hide such a gap."""
    weight = torch.tensor([[8.0, 4.0], [8.0, 4.0]], dtype=torch.float64)
    weight[1, 0] += gap
    bias = torch.zeros(2, dtype=torch.float64)
    centroids = torch.tensor([[2.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    present = torch.tensor([True, False])
    value = npf.functional.margin(centroids, weight, bias, 0.5, present=present)
    assert value.item() == pytest.approx(2.5, rel=1e-2 if gap < 1e-10 else 1e-6)


# --- the functions --------------------------------------------------------------------------------------------------


@each_shape
def test_functional_compactness(n: int, num_classes: int, dim: int) -> None:
    """The centroids are free here: they need not be the class means."""
    problem = random_problem(3, n, num_classes, dim)
    centroids = problem.weight + 0.1

    def both(compute: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        points, centres = problem.embeddings.clone().requires_grad_(), centroids.clone().requires_grad_()
        value = compute(points, centres)
        return [value, *gradients(value, [points, centres])]

    got = both(lambda points, centres: npf.functional.compactness(points, problem.labels, centres, 0.1))
    wanted = both(lambda points, centres: oracle.compactness(points, problem.labels, dict(enumerate(centres)), 0.1))
    assert wanted[0].item() > 0
    for actual, expected in zip(got, wanted, strict=True):
        assert_near(actual, expected)


@each_shape
@pytest.mark.parametrize("masked", [False, True])
def test_functional_margin(n: int, num_classes: int, dim: int, masked: bool) -> None:
    problem = random_problem(4, n, num_classes, dim)
    labels = problem.labels if masked else torch.arange(num_classes)
    present = torch.zeros(num_classes, dtype=torch.bool)
    present[labels] = True

    def ours(centres: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return npf.functional.margin(centres, weight, bias, 2.5, present=present if masked else None)

    def theirs(centres: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return oracle.margin({c: centres[c] for c in oracle.present_classes(labels)}, weight, bias, 2.5)

    results = []
    for compute in (ours, theirs):
        leaves = [t.clone().requires_grad_() for t in (problem.weight + 0.1, problem.weight, problem.bias)]
        value = compute(*leaves)
        results.append([value, *gradients(value, leaves)])
    for actual, expected in zip(*results, strict=True):
        assert_near(actual, expected)


@each_shape
def test_signed_distances(n: int, num_classes: int, dim: int) -> None:
    problem = random_problem(5, n, num_classes, dim)
    upstream = torch.randn(n, num_classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    results = []
    for compute in (npf.functional.signed_distances, oracle.signed_distances):
        leaves = [t.clone().requires_grad_() for t in (problem.embeddings, problem.weight, problem.bias)]
        table = compute(leaves[0], problem.labels, leaves[1], leaves[2])
        value = (table * upstream)[table.isfinite()].sum()
        results.append([table, *gradients(value, leaves)])
    own = torch.nn.functional.one_hot(problem.labels, num_classes).bool()
    assert bool((results[0][0][own] == torch.inf).all())
    for actual, expected in zip(*results, strict=True):
        assert_near(actual, expected)


def test_signed_distances_by_hand() -> None:
    """Rows (3, 4) and (0, 0): P_01 is 3x + 4y = 5, at distance 1 from the origin, where class 1 wins."""
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    bias = torch.tensor([-5.0, 0.0])
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    table = npf.functional.signed_distances(points, torch.tensor([0, 1, 0]), weight, bias)
    expected = torch.tensor([[torch.inf, -1.0], [1.0, torch.inf], [torch.inf, 4.0]])
    torch.testing.assert_close(table, expected)


def test_signed_distances_where_rows_coincide() -> None:
    weight = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([3.0, -1.0, 0.0], dtype=torch.float64, requires_grad=True)
    points = torch.tensor([[0.5, 1.0], [2.0, -1.0]], dtype=torch.float64, requires_grad=True)
    table = npf.functional.signed_distances(points, torch.tensor([0, 1]), weight, bias)
    assert table[0, 1].item() == 0
    assert table[1, 0].item() == 0
    for gradient in gradients(table[0, 1] + table[1, 0], [points, weight, bias]):
        assert torch.equal(gradient, torch.zeros_like(gradient))
    for gradient in gradients(table[table.isfinite()].sum(), [points, weight, bias]):
        assert bool(gradient.isfinite().all())
        assert bool((gradient != 0).any())


def test_margin_takes_absent_classes_as_rivals() -> None:
    """The mean runs over the classes present, the maximum over all the rows of the head."""
    weight = torch.tensor([[0.0], [4.0], [1.0]], dtype=torch.float64)
    bias = torch.tensor([0.0, -4.0, 0.0], dtype=torch.float64)
    centroids = torch.tensor([[-3.0], [7.0], [7.0]], dtype=torch.float64)
    present = torch.tensor([True, False, False])
    # class 0 at -3: signed distances 4 to P_01 (at 1) and 3 to P_02 (at 0)
    value = npf.functional.margin(centroids, weight, bias, 5.0, present=present)
    assert value.item() == pytest.approx(2.0)


# --- the geometry ---------------------------------------------------------------------------------------------------


@each_shape
@pytest.mark.parametrize("seed", [0, 1])
def test_class_dispersion(n: int, num_classes: int, dim: int, seed: int) -> None:
    problem = random_problem(seed, n, num_classes, dim)
    got = npf.geometry.class_dispersion(problem.embeddings, problem.labels, num_classes)
    assert got.shape == (num_classes,)
    assert_near(got, oracle.class_dispersion(problem.embeddings, problem.labels, num_classes))


@each_shape
@pytest.mark.parametrize("seed", [0, 1])
def test_class_margin(n: int, num_classes: int, dim: int, seed: int) -> None:
    problem = random_problem(seed, n, num_classes, dim)
    got = npf.geometry.class_margin(problem.embeddings, problem.labels, problem.weight, problem.bias)
    assert got.shape == (num_classes,)
    assert_near(got, oracle.class_margin(problem.embeddings, problem.labels, problem.weight, problem.bias))


def test_geometry_of_absent_and_single_classes() -> None:
    embeddings = torch.tensor([[3.0, 0.0], [0.0, 4.0], [7.0, 7.0]])
    labels = torch.tensor([1, 1, 3])
    dispersion = npf.geometry.class_dispersion(embeddings, labels, 4)
    torch.testing.assert_close(dispersion, torch.tensor([torch.nan, 5.0, torch.nan, 0.0]), equal_nan=True)
    weight = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    bias = torch.tensor([100.0, -2.0, 100.0, 0.0])
    margin = npf.geometry.class_margin(embeddings, labels, weight, bias)
    assert margin.isnan().tolist() == [True, False, True, False]


def test_class_margin_is_unsigned() -> None:
    """A sample on the wrong side still has a positive distance to the boundary (Eq. 10)."""
    weight, bias = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    margin = npf.geometry.class_margin(torch.tensor([[-3.0], [5.0], [-2.0]]), torch.tensor([0, 0, 1]), weight, bias)
    torch.testing.assert_close(margin, torch.tensor([3.0, 2.0]))


def test_class_margin_where_rows_coincide() -> None:
    problem = random_problem(0, 8, 3, 2, labels=[0, 1, 2, 0, 1, 2, 0, 1])
    problem.weight[1] = problem.weight[0]
    got = npf.geometry.class_margin(problem.embeddings, problem.labels, problem.weight, problem.bias)
    assert_near(got, oracle.class_margin(problem.embeddings, problem.labels, problem.weight, problem.bias))
    assert got[:2].tolist() == [0.0, 0.0]


def test_dispersion_of_a_tight_cluster_far_away_in_float32() -> None:
    """Sixty points one unit wide at a distance of 3000: the difference of two squares would have no digit left."""
    generator = torch.Generator().manual_seed(0)
    embeddings = (3000.0 + torch.rand(60, 8, generator=generator)).float()
    labels = torch.arange(60) % 2
    got = npf.geometry.class_dispersion(embeddings, labels, 2)
    wanted = oracle.class_dispersion(embeddings.double(), labels, 2)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=0)
    same = npf.geometry.class_dispersion(embeddings[:1].expand(60, 8), labels, 2)
    assert same.tolist() == [0.0, 0.0]


# --- finite differences ---------------------------------------------------------------------------------------------


def leaf_copies(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone().requires_grad_() for tensor in tensors)


def test_gradcheck_compactness() -> None:
    problem = random_problem(11, 7, 3, 2)
    inputs = leaf_copies(problem.embeddings, problem.weight)
    assert npf.functional.compactness(inputs[0], problem.labels, inputs[1], 0.4).item() > 0
    assert torch.autograd.gradcheck(lambda q, m: npf.functional.compactness(q, problem.labels, m, 0.4), inputs)


def test_gradcheck_margin() -> None:
    problem = random_problem(12, 7, 4, 2)
    inputs = leaf_copies(problem.weight + 0.3, problem.weight, problem.bias)
    present = torch.tensor([True, True, False, True])
    assert npf.functional.margin(*inputs, 3.0, present=present).item() > 0
    assert torch.autograd.gradcheck(lambda m, w, b: npf.functional.margin(m, w, b, 3.0, present=present), inputs)


def test_gradcheck_signed_distances() -> None:
    problem = random_problem(13, 5, 4, 3)
    others = ~torch.nn.functional.one_hot(problem.labels, 4).bool()
    inputs = leaf_copies(problem.embeddings, problem.weight, problem.bias)

    def finite(points: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return npf.functional.signed_distances(points, problem.labels, weight, bias)[others]

    assert torch.autograd.gradcheck(finite, inputs)


@each_strategy
@pytest.mark.parametrize("stepped", [False, True])
def test_gradcheck_module(strategy: str, stepped: bool) -> None:
    """With state from an earlier step and without it; in evaluation mode the state is a constant."""
    loss_fn, _ = build_pair(3, 2, strategy)
    if stepped:
        forward(loss_fn, random_problem(20, 4, 3, 2, labels=[0, 1, 1, 0], head_seed=8))
    loss_fn.eval()
    problem = random_problem(21, 6, 3, 2, labels=[0, 1, 2, 0, 1, 2], head_seed=8)
    assert problem.noisy is not None

    def total(embeddings: Tensor, noisy: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return loss_fn(embeddings, problem.labels, linear(weight, bias), noisy_embeddings=noisy).total

    inputs = leaf_copies(problem.embeddings, problem.noisy, problem.weight, problem.bias)
    assert torch.autograd.gradcheck(total, inputs)
