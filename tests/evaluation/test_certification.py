"""Certified radii against classifiers whose smoothed answers are known exactly, and that the noise is what it says."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.stats import binom, chi2, kstest, norm
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from noiseproof import errors, seeding
from noiseproof.data import ArrayDataset
from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.evaluation.certification import ABSTAIN, CHUNK, Certification, certify, lower_confidence_bound
from tests.evaluation.problems import Linear, Recorder, samples

UNLIKELY = 1e-6  # of a check of something random to fail although all is well, were the seed another


def bound_by_bisection(successes: ArrayLike, trials: int, alpha: float) -> np.ndarray:
    """The p at which P(Bin(trials, p) ≥ successes) = alpha; 0 for no success."""
    successes = np.asarray(successes)
    low, high = np.zeros(successes.shape), np.ones(successes.shape)
    for _ in range(60):
        middle = (low + high) / 2
        below = binom.sf(successes - 1, trials, middle) <= alpha
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(successes > 0, low, 0.0)


def radius_by_bisection(votes: ArrayLike, n: int, alpha: float, sigma: float) -> np.ndarray:
    """σ Φ⁻¹(p_A), or 0 where p_A ≤ 1/2."""
    return np.maximum(0.0, sigma * norm.ppf(bound_by_bisection(votes, n, alpha)))


class Affine(nn.Module):
    """Logits W x + b with given W (C, F) and b (C,)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), self.weight, self.bias)


NORMAL, OFFSET = torch.tensor([1.5, -2.0]), 0.7  # ‖w‖ = 2.5
HALVES = Affine(torch.stack([-NORMAL, NORMAL]) / 2, torch.tensor([-OFFSET, OFFSET]) / 2)


def at_distances(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, 2) at signed distances from the line w·x + b = 0, somewhere along it, and the sides they are on."""
    unit = NORMAL / NORMAL.norm()
    along = torch.linspace(-3, 3, len(distances))[:, None] * torch.stack([-unit[1], unit[0]])
    return (distances - OFFSET / NORMAL.norm())[:, None] * unit + along, (distances > 0).long()


CENTRES = torch.tensor([0.0, 1.0, 3.0, 4.0])  # the boundaries lie halfway: 0.5, 2 and 3.5
BUCKETS = Affine(CENTRES[:, None], -CENTRES.square() / 2)
BOUNDARIES = np.array([-np.inf, 0.5, 2.0, 3.5, np.inf])


def bucket_probabilities(x: np.ndarray, sigma: float) -> np.ndarray:
    """P(x + ε is in bucket c): (N, C)."""
    return np.diff(norm.cdf((BOUNDARIES - x[:, None]) / sigma), axis=1)


def votes_of(found: Certification) -> np.ndarray:
    """The votes that gave each radius, looked up among all that there can be: (N,); −1 for an abstention."""
    possible = radius_by_bisection(np.arange(found.n + 1), found.n, found.alpha, found.sigma)
    votes = np.searchsorted(possible, found.radii - 1e-9)
    np.testing.assert_allclose(np.take(possible, votes), found.radii, atol=1e-9)
    return np.where(found.abstained, -1, votes)


def limits(p: np.ndarray, found: Certification) -> tuple[np.ndarray, np.ndarray]:
    """Between which radii (N,) the n votes, which are Bin(n, p), put the certified ones, but for unlikely chances."""
    least, most = (
        radius_by_bisection(binom.ppf(quantile, found.n, p), found.n, found.alpha, found.sigma)
        for quantile in (UNLIKELY, 1 - UNLIKELY)
    )
    return least - 1e-9, most + 1e-9


def same(one: Certification, other: Certification) -> bool:
    return one.predictions.tolist() == other.predictions.tolist() and one.radii.tolist() == other.radii.tolist()


# The bound.


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5, 0.97])
@pytest.mark.parametrize("trials", [1, 2, 10, 99, 1000, 100_000])
def test_the_bound_is_where_the_binomial_tail_is_alpha(trials: int, alpha: float) -> None:
    for successes in {0, 1, trials // 3, trials // 2 + 1, trials - trials // 50, trials - 1, trials}:
        expected = float(bound_by_bisection(successes, trials, alpha))
        assert lower_confidence_bound(successes, trials, alpha) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("alpha", [0.001, 0.3])
def test_the_bound_agrees_with_a_sum_over_the_tail(alpha: float) -> None:
    for trials in (1, 7, 40):
        for successes in range(1, trials + 1):
            p = lower_confidence_bound(successes, trials, alpha)
            terms = (math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes, trials + 1))
            assert math.fsum(terms) == pytest.approx(alpha, rel=1e-9)


@pytest.mark.parametrize("trials", [1, 100, 100_000])
@pytest.mark.parametrize("alpha", [0.001, 0.2])
def test_the_bound_of_none_and_of_all(trials: int, alpha: float) -> None:
    assert lower_confidence_bound(0, trials, alpha) == 0
    assert lower_confidence_bound(trials, trials, alpha) == pytest.approx(alpha ** (1 / trials), rel=1e-14)


@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9, 0.999])
def test_the_bound_is_above_the_truth_no_more_often_than_alpha(p: float, alpha: float) -> None:
    trials, repeats = 400, 20_000
    counts = Counter(np.random.default_rng(3).binomial(trials, p, repeats).tolist())
    above = sum(times for votes, times in counts.items() if lower_confidence_bound(votes, trials, alpha) > p)
    assert above <= binom.ppf(1 - UNLIKELY, repeats, alpha)
    # Nor is it needlessly low: the next count below would already be within the bound's right to fail.
    failing = [votes for votes in range(trials + 1) if lower_confidence_bound(votes, trials, alpha) > p]
    if failing:
        assert binom.sf(failing[0] - 1, trials, p) <= alpha < binom.sf(failing[0] - 2, trials, p)
    else:
        assert p**trials > alpha


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 10, 0.1), "successes must be >= 0, got -1"),
        ((11, 10, 0.1), "successes must be >= 0 and <= 10, got 11"),
        ((2.5, 10, 0.1), "successes"),
        ((0, 0, 0.1), "trials must be >= 1, got 0"),
        ((5, 10, 0.0), "alpha must be > 0 and < 1, got 0.0"),
        ((5, 10, 1.0), "alpha"),
    ],
)
def test_a_bound_of_impossible_counts_is_refused(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        lower_confidence_bound(*arguments)


# Radii that are known.

DISTANCES = torch.tensor([-1.4, -1.1, -0.8, -0.6, -0.4, -0.25, -0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5])


@pytest.fixture(scope="module")
def halves() -> Certification:
    """A linear classifier of two classes, at the size of Cohen et al.: n0 = 100, n = 100,000, α = 0.001."""
    return certify(HALVES, at_distances(DISTANCES), 0.5, batch_size=20_000)


def test_the_defaults_are_those_of_the_paper(halves: Certification) -> None:
    assert (halves.sigma, halves.n0, halves.n, halves.alpha, halves.seed) == (0.5, 100, 100_000, 0.001, 0)


def test_a_linear_classifier_is_certified_to_just_below_its_distance(halves: Certification) -> None:
    exact = DISTANCES.abs().numpy().astype(np.float64)
    assert halves.correct.all()
    assert (halves.radii > exact).sum() <= binom.ppf(1 - UNLIKELY, len(exact), halves.alpha)
    least, most = limits(norm.cdf(exact / halves.sigma), halves)
    assert (least <= halves.radii).all()
    assert (halves.radii <= most).all()


def test_more_votes_come_closer(halves: Certification) -> None:
    data = at_distances(DISTANCES)
    exact = DISTANCES.abs().double().numpy()
    gaps = [exact - certify(HALVES, data, 0.5, n=n, batch_size=4096).radii for n in (100, 1000, 10_000)]
    gaps.append(exact - halves.radii)
    means = [float(gap.mean()) for gap in gaps]
    assert all(later < 0.6 * earlier for earlier, later in pairwise(means))
    assert means[-1] < 0.02


def test_the_share_of_radii_above_the_truth_is_what_alpha_allows() -> None:
    n, alpha, sigma, size = 300, 0.1, 0.7, 500
    distances = torch.linspace(0.1, 1.2, size)
    found = certify(HALVES, at_distances(distances), sigma, n=n, alpha=alpha)
    p = norm.cdf(distances.double().numpy() / sigma)
    bounds = bound_by_bisection(np.arange(n + 1), n, alpha)
    # P(bound > p) of each sample exactly; it is below α, since votes are whole numbers.
    chance = (binom.pmf(np.arange(n + 1), n, p[:, None]) * (bounds > p[:, None])).sum(1)
    assert (chance <= alpha).all()
    above = int((found.radii > distances.numpy()).sum())
    assert above <= binom.ppf(1 - UNLIKELY, size, alpha)
    assert abs(above - chance.sum()) < norm.isf(UNLIKELY) * math.sqrt((chance * (1 - chance)).sum())
    assert above > 0


@pytest.mark.parametrize(("sigma", "least_sure"), [(0.3, 13), (0.5, 10), (1.0, 4)])
def test_several_classes_along_a_line(sigma: float, least_sure: int) -> None:
    x = np.array([-0.7, 0.1, 0.45, 0.55, 0.9, 1.25, 1.6, 2.1, 2.7, 3.2, 3.6, 4.4, 5.0])
    p = bucket_probabilities(x, sigma)
    labels = torch.from_numpy(np.searchsorted(BOUNDARIES[1:-1], x))
    found = certify(BUCKETS, (torch.tensor(x, dtype=torch.float32)[:, None], labels), sigma, n=20_000, batch_size=8192)
    top = p.argmax(1)
    sure = p.max(1) > 0.55  # below it, a majority is not certain to be found
    assert sure.sum() >= least_sure
    assert not found.abstained[sure].any()
    assert found.predictions[sure].tolist() == top[sure].tolist()
    # Each radius is below σ Φ⁻¹(p_A) and as near as votes allow; g keeps its answer within it.
    exact = sigma * norm.ppf(p.max(1))
    least, most = limits(p.max(1), found)
    assert (found.radii > exact).sum() <= binom.ppf(1 - UNLIKELY, len(x), found.alpha)
    assert ((least <= found.radii) & (found.radii <= most))[sure].all()
    for side in (-0.999, 0.999):
        moved = bucket_probabilities(x + side * found.radii, sigma).argmax(1)
        assert moved[~found.abstained].tolist() == found.predictions[~found.abstained].tolist()


@pytest.mark.parametrize(("n", "alpha", "sigma"), [(10, 0.001, 1.0), (1000, 0.05, 0.12), (100_000, 0.001, 0.25)])
@pytest.mark.parametrize("constant", [0, 2])
def test_a_constant_classifier_gets_the_largest_radius_there_is(
    n: int, alpha: float, sigma: float, constant: int
) -> None:
    model = Affine(torch.zeros(3, 4), torch.eye(3)[constant])
    found = certify(
        model, (torch.zeros(2, 4), torch.tensor([constant, 1])), sigma, n=n, alpha=alpha, batch_size=20_000
    )
    assert found.predictions.tolist() == [constant, constant]
    assert found.correct.tolist() == [True, False]
    expected = sigma * float(norm.ppf(alpha ** (1 / n)))
    np.testing.assert_allclose(found.radii, expected, rtol=1e-9)


@pytest.mark.parametrize(("n", "certain"), [(9, False), (10, True)])
def test_too_few_votes_decide_nothing(n: int, certain: bool) -> None:
    # 0.001^(1/9) < 1/2 < 0.001^(1/10): nine votes never suffice.
    model = Affine(torch.zeros(2, 4), torch.tensor([0.0, 1.0]))
    found = certify(model, (torch.zeros(3, 4), torch.ones(3, dtype=torch.long)), 1.0, n=n)
    assert found.abstained.tolist() == [not certain] * 3
    assert found.predictions.tolist() == [1 if certain else ABSTAIN] * 3
    assert (found.radii > 0).tolist() == [certain] * 3


def test_near_the_boundary_it_abstains() -> None:
    distances = torch.tensor([0.0] * 200 + [1.0, -1.0])
    found = certify(HALVES, at_distances(distances), 0.5, n=1000, alpha=0.01)
    certified = 200 - int(found.abstained[:200].sum())
    assert certified <= binom.ppf(1 - UNLIKELY, 200, 0.01)
    assert (found.predictions[found.abstained] == ABSTAIN).all()
    assert (found.radii[found.abstained] == 0).all()
    assert not found.correct[found.abstained].any()
    assert found.predictions[200:].tolist() == [1, 0]
    assert not found.abstained[200:].any()


def test_a_wrong_selection_abstains() -> None:
    # The class is selected by one vote, which the fresh ones mostly contradict where it is the rare one.
    found = certify(HALVES, at_distances(torch.full((100,), 0.5)), 1.0, n0=1, n=1000)
    p = norm.cdf(0.5)
    assert binom.ppf(UNLIKELY, 100, 1 - p) <= found.abstained.sum() <= binom.ppf(1 - UNLIKELY, 100, 1 - p)
    assert found.correct[~found.abstained].all()


def test_votes_are_binomial() -> None:
    n, sigma, size = 500, 0.8, 300
    distances = torch.linspace(0.3, 1.5, size)
    found = certify(HALVES, at_distances(distances), sigma, n=n, alpha=0.2)
    p = norm.cdf(distances.double().numpy() / sigma)
    deviations = (votes_of(found) - n * p) / np.sqrt(n * p * (1 - p))
    assert not found.abstained.any()
    assert chi2.ppf(UNLIKELY, size) < (deviations**2).sum() < chi2.isf(UNLIKELY, size)
    assert abs(deviations.sum()) < norm.isf(UNLIKELY) * math.sqrt(size)


# The noise.


def certify_by_loops(
    model: Linear, inputs: Tensor, sigma: float, n0: int, n: int, alpha: float, seed: int
) -> tuple[list[int], list[float]]:
    """Algorithm CERTIFY with one noisy copy and one logit at a time."""
    weight = model.weight.detach().double()

    def votes(index: int, stage: str, count: int) -> Counter[int]:
        counted: Counter[int] = Counter()
        for copy in range(count):
            if copy % CHUNK == 0:
                generator = seeding.generator(seed, "certify", repr(sigma), stage, index, copy // CHUNK)
                noise = torch.randn(CHUNK, *inputs.shape[1:], generator=generator)
            noisy = (inputs[index] + sigma * noise[copy % CHUNK]).double().flatten()
            logits = [float(row @ noisy) for row in weight]
            counted[logits.index(max(logits))] += 1
        return counted

    predictions, radii = [], []
    for index in range(len(inputs)):
        selection = votes(index, "select", n0)
        top = min(c for c in range(len(weight)) if selection[c] == max(selection.values()))
        radius = float(radius_by_bisection(votes(index, "estimate", n)[top], n, alpha, sigma))
        predictions.append(top if radius > 0 else ABSTAIN)
        radii.append(radius)
    return predictions, radii


@pytest.mark.parametrize("shape", [(16,), (1, 4, 4), (2, 8)], ids=["vectors", "images", "series"])
def test_agrees_with_explicit_loops(shape: tuple[int, ...]) -> None:
    inputs, labels = samples(12, *shape)
    found = certify(Linear(16), (inputs, labels), 0.4, n0=20, n=300, alpha=0.01, seed=5)
    predictions, radii = certify_by_loops(Linear(16), inputs, 0.4, 20, 300, 0.01, 5)
    assert found.predictions.tolist() == predictions
    np.testing.assert_allclose(found.radii, radii, atol=1e-9)
    assert found.labels.tolist() == labels.tolist()
    assert found.indices.tolist() == list(range(12))
    assert len(set(radii)) > 3


def copies(inputs: Tensor, *, sigma: float = 0.5, n0: int = 40, n: int = 300, **options: object) -> Tensor:
    """All noisy copies that the model gets: (N, n0 + n, ...)."""
    model = Recorder(inputs[0].numel())
    certify(model, (inputs, torch.zeros(len(inputs), dtype=torch.long)), sigma, n0, n, **options)
    return torch.cat(model.seen).unflatten(0, (-1, n0 + n))


def test_noise_is_gaussian_and_drawn_anew_for_every_copy() -> None:
    noise = copies(torch.zeros(30, 7), sigma=0.25, n0=200, n=1000)
    assert noise.shape == (30, 1200, 7)
    assert len(noise.flatten().unique()) > 0.95 * noise.numel()  # some float32 numbers do come twice
    assert len(noise.flatten(0, 1).unique(dim=0)) == 30 * 1200
    assert kstest(noise.double().flatten().numpy(), norm(scale=0.25).cdf).pvalue > UNLIKELY
    correlation = np.corrcoef(noise.permute(0, 2, 1).flatten(0, 1).double().numpy())
    assert np.abs(correlation - np.eye(len(correlation))).max() < norm.isf(UNLIKELY / 44_000) / math.sqrt(1200)


def test_noisy_images_are_not_clamped() -> None:
    inputs = torch.full((3, 1, 4, 4), 0.9)
    seen = copies(inputs, sigma=1.0, n=500)
    assert float(seen.min()) < -1
    assert float(seen.max()) > 3
    assert float(seen.mean()) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("batch_size", [1, 37, 128, 129, 300, 513])
def test_batch_size_does_not_matter(batch_size: int) -> None:
    data = samples(5, 1, 4, 4)
    options = {"n0": 30, "n": 400, "alpha": 0.01}
    expected = certify(Linear(16), data, 0.4, **options, batch_size=256)
    assert certify(Linear(16), data, 0.4, **options, batch_size=batch_size) == expected
    torch.testing.assert_close(copies(data[0], batch_size=batch_size), copies(data[0]), rtol=0, atol=0)


@pytest.mark.parametrize("batch_size", [1, 37, 128, 300, 513])
@pytest.mark.parametrize(("n0", "n"), [(1, 1), (40, 300), (128, 256), (129, 640)])
def test_the_model_gets_every_copy_once_and_never_more_than_a_batch(batch_size: int, n0: int, n: int) -> None:
    model = Recorder(3)
    certify(model, samples(2, 3), 0.5, n0, n, batch_size=batch_size)
    assert max(len(batch) for batch in model.seen) <= batch_size
    assert sum(len(batch) for batch in model.seen) == 2 * (n0 + n)


def test_batches_are_filled() -> None:
    model = Recorder(3)
    certify(model, samples(1, 3), 0.5, 100, 1024, batch_size=512)
    assert [len(batch) for batch in model.seen] == [100, 512, 512]


@pytest.mark.parametrize("n", [1, 5, 127, 128, 129])
def test_more_votes_leave_the_first_ones_alone(n: int) -> None:
    inputs, _ = samples(3, 5)
    few, many = copies(inputs, n0=4, n=n), copies(inputs, n0=9, n=300)
    assert torch.equal(few[:, :4], many[:, :4])
    assert torch.equal(few[:, 4:], many[:, 9 : 9 + n])


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 9])
def test_noise_of_a_sample_does_not_depend_on_the_others(limit: int) -> None:
    inputs, labels = samples(10, 5)
    whole = copies(inputs)
    assert torch.equal(copies(inputs[:limit]), whole[:limit])
    places = [k * 10 // limit for k in range(limit)]
    assert torch.equal(copies(inputs, limit=limit), whole[places])
    others = torch.rand(10, 5)
    others[4] = inputs[4]
    assert torch.equal(copies(others)[4], whole[4])
    found = certify(Linear(5), (inputs, labels), 0.3, n=200, limit=limit)
    everything = certify(Linear(5), (inputs, labels), 0.3, n=200)
    assert found.radii.tolist() == everything.radii[places].tolist()
    assert found.predictions.tolist() == everything.predictions[places].tolist()
    assert found.labels.tolist() == labels[places].tolist()
    assert found.indices.tolist() == places


def test_the_same_seed_repeats_and_another_differs() -> None:
    data = samples(10, 5)
    one, again, other = (certify(Linear(5), data, 0.4, n=500, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert not same(one, other)
    assert one.seed == 3


def test_noise_depends_on_seed_sample_and_sigma() -> None:
    zeros = torch.zeros(2, 5)
    first = copies(zeros)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, copies(zeros, seed=1))
    assert not torch.allclose(first, copies(zeros, sigma=0.25) * 2)


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    data = samples(5, 6)
    for form in (TensorDataset(*data), data):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        one = certify(Linear(6), form, 0.4, n=200)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert certify(Linear(6), form, 0.4, n=200) == one


# The data.


class Pairs(Dataset):
    """Tensors and Python integers, and which of them were asked for."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs, self.labels = inputs, labels.tolist()
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read.append(index)
        return self.inputs[index], self.labels[index]


@pytest.mark.parametrize(
    "form", [lambda x, y: ArrayDataset(x, y, "abc"), TensorDataset, Pairs, lambda x, y: list(zip(x, y, strict=True))]
)
@pytest.mark.parametrize("limit", [None, 4])
def test_the_form_of_the_data_does_not_matter(form: object, limit: int | None) -> None:
    data = samples(9, 1, 4, 4)
    expected = certify(Linear(16), data, 0.4, n=200, limit=limit)
    assert certify(Linear(16), form(*data), 0.4, n=200, limit=limit) == expected


@pytest.mark.parametrize("form", [TensorDataset, lambda *pair: pair])
@pytest.mark.parametrize("limit", [None, 4])
def test_bytes_are_divided_by_255(form: object, limit: int | None) -> None:
    inputs, labels = samples(8, 1, 4, 4)
    as_bytes = (inputs * 255).round().to(torch.uint8)
    expected = certify(Linear(16), (as_bytes.float() / 255, labels), 0.4, n=200, limit=limit)
    assert certify(Linear(16), form(as_bytes, labels), 0.4, n=200, limit=limit) == expected


def test_a_limit_spreads_evenly_and_reads_no_other_sample() -> None:
    data = Pairs(*samples(100, 3))
    found = certify(Linear(3), data, 0.4, n=20, limit=5)
    assert found.indices.tolist() == data.read == [0, 20, 40, 60, 80]


@pytest.mark.parametrize("limit", [None, 10, 11, 1000])
def test_a_limit_beyond_the_data_takes_all(limit: int | None) -> None:
    assert certify(Linear(3), samples(10, 3), 0.4, n=20, limit=limit).indices.tolist() == list(range(10))


@pytest.mark.parametrize("n", [1, 127, 128, 129, 257])
def test_every_sample_of_every_block_is_certified(n: int) -> None:
    inputs, labels = samples(n, 6)
    found = certify(Linear(6), (inputs, labels), 0.01, n0=5, n=20)
    clean = Linear(6)(inputs).argmax(1)
    sure = found.radii > 0
    assert sure.mean() > 0.9
    assert found.predictions[sure].tolist() == clean[torch.from_numpy(sure)].tolist()
    assert found.labels.tolist() == labels.tolist()


def test_the_data_is_left_as_it_is() -> None:
    inputs, labels = samples(4, 1, 4, 4)
    before = inputs.clone(), labels.clone()
    certify(Linear(16), (inputs, labels), 0.5, n=200)
    assert torch.equal(inputs, before[0])
    assert torch.equal(labels, before[1])


# The model.


def modes(model: nn.Module) -> list[bool]:
    return [part.training for part in model.modules()]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_runs_in_evaluation_mode_without_gradients_and_stays_as_it_was(
    tiny_model: nn.Module, training: bool
) -> None:
    seen = []
    tiny_model.backbone[1].register_forward_pre_hook(
        lambda module, _: seen.append((module.training, torch.is_grad_enabled()))
    )
    tiny_model.train(training)
    tiny_model.backbone[1].train(not training)
    state, mode = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}, modes(tiny_model)
    certify(tiny_model, (torch.rand(3, 1, 8, 8), torch.zeros(3, dtype=torch.long)), 0.25, n=200)
    assert set(seen) == {(False, False)}
    assert modes(tiny_model) == mode
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert all(parameter.grad is None and parameter.requires_grad for parameter in tiny_model.parameters())


def test_modes_are_put_back_after_an_error(tiny_model: nn.Module) -> None:
    tiny_model.train()
    tiny_model.backbone[1].eval()
    before = modes(tiny_model)
    with pytest.raises(errors.DataError, match=r"label 3.*0 to 2"):
        certify(tiny_model, (torch.rand(2, 1, 8, 8), torch.full((2,), 3)), 0.25, n=20)
    assert modes(tiny_model) == before
    assert torch.is_grad_enabled()


def test_a_model_without_parameters_and_one_in_double_precision_can_be_certified() -> None:
    data = (torch.eye(3) * 9, torch.tensor([0, 1, 1]))
    assert certify(nn.Flatten(), data, 0.1, n=50, device="cpu").correct.tolist() == [True, True, False]
    model = Affine(torch.eye(3), torch.zeros(3)).double()
    assert certify(model, data, 0.1, n=50).predictions.tolist() == [0, 1, 2]
    assert next(model.parameters()).dtype == torch.float64


class Bar:
    """A progress reporter that adds up."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def task(self, title: str, total: int) -> Bar:
        self.total = total
        return self

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


@pytest.mark.parametrize(("limit", "total"), [(None, 130), (7, 7)])
def test_progress_counts_samples(limit: int | None, total: int) -> None:
    bar = Bar()
    certify(Linear(6), samples(130, 6), 0.5, n0=2, n=5, limit=limit, progress=bar)
    assert bar.done == bar.total == total


# What is refused.


class Bad(nn.Module):
    """Gives whatever it is told to."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> object:
        return self.output(x)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: x.new_full((len(x), 3), float("nan")), "NaN or infinite"),
        (lambda x: x.new_full((len(x), 3), float("inf")), "NaN or infinite"),
        (lambda x: x.new_zeros(len(x)), r"\(N, C\) logits, got \(4,\)"),
        (lambda x: x.new_zeros(len(x), 3, 2), r"got \(4, 3, 2\)"),
        (lambda x: x.new_zeros(len(x), 0), r"got \(4, 0\)"),
        (lambda x: x.new_zeros(1, 3), r"got \(1, 3\) for 4 inputs"),
        (lambda x: {"logits": x}, "got dict"),
        (lambda x: x @ torch.zeros(2, 2), r"cannot take inputs of shape \(4, 6\)"),
    ],
)
def test_logits_must_be_finite_and_one_row_each(output: object, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        certify(Bad(output), samples(2, 6), 0.5, n0=4, n=10)
    assert "\n" not in str(caught.value)


def test_logits_that_turn_nan_later_are_refused() -> None:
    class Tiring(Recorder):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return logits if len(self.seen) < 4 else logits.index_fill(0, torch.tensor([3]), math.nan)

    with pytest.raises(InvalidArgumentError, match="NaN"):
        certify(Tiring(6), samples(2, 6), 0.5, n0=4, n=1000, batch_size=128)


X, Y = samples(4, 6)


@pytest.mark.parametrize(
    "data",
    [
        (X[:0], Y[:0]),
        TensorDataset(X[:0], Y[:0]),
        None,
        [{"x": 1}] * 4,
        [(X[0], "cat")] * 4,
        TensorDataset(X, nn.functional.one_hot(Y, 3)),
        TensorDataset(X, torch.tensor([3, 0, 0, 0])),
        TensorDataset(X, torch.tensor([0, -1, 0, 0])),
        (X, torch.tensor([0, 1, 250, 2])),
    ],
    ids=["empty tuple", "empty", "none", "dicts", "text labels", "one-hot", "label", "negative label", "tuple label"],
)
@pytest.mark.parametrize("limit", [None, 3])
def test_malformed_data_is_refused(data: object, limit: int | None) -> None:
    with pytest.raises(errors.DataError) as caught:
        certify(Linear(6), data, 0.5, n=10, limit=limit)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [lambda *pair: pair, TensorDataset])
def test_images_outside_the_unit_interval_are_refused(form: object) -> None:
    with pytest.raises(NoiseproofError, match="divide by 255"):
        certify(Linear(16), form(torch.rand(4, 1, 4, 4) * 255, Y), 0.5, n=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": 0}, "sigma must be > 0, got 0"),
        ({"sigma": -0.5}, "sigma must be > 0, got -0.5"),
        ({"sigma": math.nan}, "sigma"),
        ({"sigma": math.inf}, "sigma"),
        ({"sigma": "0.5"}, "sigma must be a number, got '0.5'"),
        ({"n0": 0}, "n0 must be >= 1, got 0"),
        ({"n": 0}, "n must be >= 1, got 0"),
        ({"n": 10.5}, "n must be a whole number"),
        ({"alpha": 0}, "alpha must be > 0 and < 1, got 0"),
        ({"alpha": 1}, "alpha must be > 0 and < 1, got 1"),
        ({"alpha": math.nan}, "alpha"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"limit": 0}, "limit must be >= 1, got 0"),
        ({"limit": 1.5}, "limit must be a whole number"),
        ({"model": "resnet18"}, "model must be an nn.Module, got str"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        certify(**{"model": Linear(6), "dataset": (X, Y), "sigma": 0.5, "n": 10, **arguments})
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_taken_and_kept_as_plain_ones(tmp_path: Path) -> None:
    plain = certify(Linear(6), (X, Y), 0.5, 10, 20, 0.01, seed=3)
    found = certify(
        Linear(6), (X, Y), np.float64(0.5), np.int64(10), np.int32(20), np.float64(0.01), seed=np.int64(3), limit=9.0
    )
    assert found == plain
    found.save(tmp_path)
    assert Certification.load(tmp_path) == plain


# What is found.


def by_hand(**changes: object) -> Certification:
    """Six samples: right at 0.5, 0.2, 1 and 0.2; wrong at 2; an abstention."""
    held = {
        "labels": np.array([0, 1, 2, 0, 1, 2]),
        "predictions": np.array([0, 1, 2, 1, ABSTAIN, 2]),
        "radii": np.array([0.5, 0.2, 1.0, 2.0, 0.0, 0.2]),
        "indices": np.array([0, 3, 5, 8, 9, 11]),
        "sigma": 0.5,
        "n0": 10,
        "n": 1000,
        "alpha": 0.01,
        "seed": 4,
    }
    return Certification(**{**held, **changes})


def test_right_and_abstained() -> None:
    assert by_hand().correct.tolist() == [True, True, True, False, False, True]
    assert by_hand().abstained.tolist() == [False, False, False, False, True, False]
    unlabelled = by_hand(labels=np.full(6, -1))
    assert not unlabelled.correct.any()
    assert unlabelled.accuracy == 0


def test_the_curve_of_certified_accuracy() -> None:
    found = by_hand()
    expected = {0: 4, 0.1: 4, 0.2: 4, 0.2001: 2, 0.5: 2, 0.51: 1, 1: 1, 1.01: 0, 2: 0, 100: 0}
    for radius, right in expected.items():
        assert found.certified_accuracy(radius) == right / 6
        assert isinstance(found.certified_accuracy(radius), float)
    for radii in (list(expected), tuple(expected), np.array(list(expected), dtype=np.float64)):
        curve = found.certified_accuracy(radii)
        assert isinstance(curve, np.ndarray)
        assert curve.tolist() == [right / 6 for right in expected.values()]
    assert found.certified_accuracy([]).shape == (0,)
    assert found.accuracy == 4 / 6


def test_the_mean_radius_counts_right_answers_only_and_is_the_area_under_the_curve() -> None:
    found = by_hand()
    assert found.mean_radius == pytest.approx((0.5 + 0.2 + 1.0 + 0.2) / 6)
    grid = np.arange(0.0005, 3, 0.001)
    assert found.certified_accuracy(grid).sum() * 0.001 == pytest.approx(found.mean_radius, abs=1e-3)


@pytest.mark.parametrize("radius", [-0.1, math.nan, math.inf, "0.5", None, [0.1, -0.1], ["0.1"], [[0.1]]])
def test_an_impossible_radius_is_refused(radius: object) -> None:
    with pytest.raises(InvalidArgumentError, match="radius must be"):
        by_hand().certified_accuracy(radius)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radii": np.array([0.5])}, "radii"),
        ({"radii": np.array([0.5, 0.2, 1.0, 2.0, 0.0, -0.2])}, "radii must be finite and >= 0"),
        ({"radii": np.array([0.5, 0.2, 1.0, math.nan, 0.0, 0.2])}, "radii must be finite"),
        ({"radii": np.array([0.5, 0.2, math.inf, 2.0, 0.0, 0.2])}, "radii must be finite"),
        ({"radii": np.zeros(6, dtype=np.int64)}, "radii must be N > 0 floating numbers"),
        ({"predictions": np.zeros(6)}, "predictions must be N > 0 integers"),
        ({"predictions": np.zeros((6, 1), dtype=np.int64)}, "predictions"),
        ({"labels": np.zeros((2, 3), dtype=np.int64)}, "labels"),
        ({"indices": np.arange(5)}, "indices"),
        ({"sigma": 0}, "sigma"),
        ({"n0": 0}, "n0"),
        ({"n": 0}, "n must"),
        ({"alpha": 1}, "alpha"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_a_certification_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        by_hand(**changes)


CHANGES = [
    {"labels": np.array([0, 1, 2, 0, 0, 2])},
    {"predictions": np.array([0, 1, 2, 2, ABSTAIN, 2])},
    {"radii": np.array([0.2, 0.5, 1.0, 2.0, 0.0, 0.2])},
    {"indices": np.array([0, 3, 5, 8, 9, 10])},
    {"sigma": 0.6},
    {"n0": 11},
    {"n": 1001},
    {"alpha": 0.02},
    {"seed": 5},
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: next(iter(changes)))
def test_different_certifications_differ(changes: dict[str, object]) -> None:
    assert by_hand() == by_hand()
    assert by_hand(**changes) != by_hand()


def test_a_certification_is_no_text_and_not_hashable() -> None:
    assert by_hand() != "a certification"
    with pytest.raises(TypeError):
        hash(by_hand())


# Its files.


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = certify(Linear(6), samples(20, 6), 0.37, n0=10, n=300, alpha=0.01, seed=4, limit=7)
    saved.save(tmp_path / "new" / "folder")
    loaded = Certification.load(tmp_path / "new" / "folder")
    assert loaded == saved
    assert same(loaded, saved)
    for name in ("labels", "predictions", "radii", "indices"):
        assert getattr(loaded, name).dtype == getattr(saved, name).dtype
    assert (loaded.sigma, loaded.n0, loaded.n, loaded.alpha, loaded.seed) == (0.37, 10, 300, 0.01, 4)
    assert loaded.mean_radius == saved.mean_radius > 0


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 20),
    seed=st.integers(0, 2**63),
    sigma=st.floats(1e-3, 1e3),
    alpha=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_certifications_of_any_numbers_survive_the_files(
    tmp_path_factory: pytest.TempPathFactory, size: int, seed: int, sigma: float, alpha: float
) -> None:
    random = np.random.default_rng(seed)
    labels, predictions = random.integers(0, 4, size), random.integers(ABSTAIN, 4, size)
    radii = np.where(predictions == ABSTAIN, 0.0, random.random(size) * sigma)
    saved = Certification(labels, predictions, radii, np.arange(size), sigma, 1, 2, alpha, seed)
    folder = tmp_path_factory.mktemp("certification")
    saved.save(folder)
    assert Certification.load(folder) == saved


def test_saving_twice_gives_the_same_bytes_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a", "b"):
        certify(Linear(6), samples(5, 6), 0.5, n=50).save(tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["certification.json", "certification.npz"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_saving_replaces_an_earlier_one(tmp_path: Path) -> None:
    by_hand().save(tmp_path)
    later = certify(Linear(6), samples(5, 6), 0.5, n=50)
    later.save(tmp_path)
    assert Certification.load(tmp_path) == later


def test_the_json_tells_the_numbers(tmp_path: Path) -> None:
    by_hand().save(tmp_path)
    summary = json.loads((tmp_path / "certification.json").read_text(encoding="utf-8"))
    assert summary.pop("format") == 1
    assert len(summary.pop("sha256")) == 64
    assert summary.pop("mean_radius") == pytest.approx(1.9 / 6)
    assert summary == {
        "sigma": 0.5, "n0": 10, "n": 1000, "alpha": 0.01, "seed": 4, "samples": 6, "abstained": 1, "accuracy": 4 / 6,
    }  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    by_hand().save(tmp_path)
    return tmp_path


def check_refused(folder: Path) -> None:
    with pytest.raises(NoiseproofError) as caught:
        Certification.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    check_refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["certification.json", "certification.npz"])
def test_a_missing_file_is_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    check_refused(saved)


@pytest.mark.parametrize("name", ["certification.json", "certification.npz"])
@pytest.mark.parametrize("keep", [0, 10, 100, -30])
def test_a_file_cut_short_is_refused(saved: Path, name: str, keep: int) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[:keep])
    check_refused(saved)


@pytest.mark.parametrize("text", ["[]", "{}", "null", "5", '{"sigma": 0.5}', "\xff"])
def test_another_json_is_refused(saved: Path, text: str) -> None:
    (saved / "certification.json").write_text(text, encoding="latin-1")
    check_refused(saved)


def rewritten(folder: Path, **changes: object) -> None:
    """The JSON with some values changed; None leaves the key out."""
    summary = {**json.loads((folder / "certification.json").read_text()), **changes}
    kept = {key: value for key, value in summary.items() if value is not None}
    (folder / "certification.json").write_text(json.dumps(kept))


@pytest.mark.parametrize(
    "key",
    ["format", "sigma", "n0", "n", "alpha", "seed", "samples", "abstained", "accuracy", "mean_radius"],
)
def test_a_json_without_one_of_its_keys_is_refused(saved: Path, key: str) -> None:
    rewritten(saved, **{key: None})
    check_refused(saved)


@pytest.mark.parametrize(
    "changes",
    [{"format": 99}, {"sigma": -1}, {"sigma": "0.5"}, {"n": 0}, {"alpha": 2}, {"seed": []}, {"samples": 7},
     {"mean_radius": 0.3}],
    ids=str,
)  # fmt: skip
def test_a_json_with_wrong_values_is_refused(saved: Path, changes: dict[str, object]) -> None:
    rewritten(saved, **changes)
    check_refused(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"radii": np.array([0.5, 0.2, 1.1, 2.0, 0.0, 0.2])},
        {"labels": np.array([0, 1, 2, 0, 1, 1])},
        {"predictions": np.array([0, 1, 2, ABSTAIN, ABSTAIN, 2])},
        {name: getattr(by_hand(), name)[:5] for name in ("labels", "predictions", "radii", "indices")},
    ],
    ids=["radii", "labels", "predictions", "fewer"],
)
def test_arrays_of_another_certification_are_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]
) -> None:
    elsewhere = tmp_path_factory.mktemp("other")
    by_hand(**changes).save(elsewhere)
    (saved / "certification.npz").write_bytes((elsewhere / "certification.npz").read_bytes())
    check_refused(saved)


class Trap:
    """Runs code when it is unpickled."""

    opened = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Trap, "opened", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([Trap()], dtype=object)},
        {"radii": np.array([0.5, 0.2, 1.0, -2.0, 0.0, 0.2])},
        {"radii": np.array([0.5, 0.2, 1.0, math.nan, 0.0, 0.2])},
        {"indices": np.arange(5)},
        {"predictions": np.array(list("012345"))},
        {"labels": np.int64(3)},
        {name: np.array([], dtype=np.int64) for name in ("labels", "predictions", "indices")},
    ],
    ids=["pickle", "negative", "nan", "fewer", "text", "scalar", "none"],
)
def test_impossible_arrays_are_refused(saved: Path, changes: dict[str, object]) -> None:
    with np.load(saved / "certification.npz") as arrays:
        held = {**arrays, **changes}
    np.savez(saved / "certification.npz", **held)
    check_refused(saved)
    assert not Trap.opened


def test_an_absent_array_is_refused(saved: Path) -> None:
    with np.load(saved / "certification.npz") as arrays:
        held = {name: arrays[name] for name in ("labels", "predictions", "radii")}
    np.savez(saved / "certification.npz", **held)
    check_refused(saved)


def test_damaged_arrays_are_refused_or_harmless(saved: Path) -> None:
    whole, expected = (saved / "certification.npz").read_bytes(), by_hand()
    random, refused = np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= int(random.integers(1, 256))
        (saved / "certification.npz").write_bytes(damaged)
        try:
            assert Certification.load(saved) == expected  # some bytes, such as a date, tell nothing
        except NoiseproofError:
            refused += 1
    assert refused > 150
