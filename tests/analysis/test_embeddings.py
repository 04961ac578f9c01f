"""Feature maps: the same noise as evaluation, neighbours by brute force, layouts of features with known clusters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import manifold
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import noiseproof as npf
from noiseproof import seeding
from noiseproof.analysis import embeddings
from noiseproof.analysis.embeddings import FeatureMap, feature_map, feature_maps
from noiseproof.analysis.layers import layer_features, stages
from noiseproof.data import ArrayDataset, thinned
from noiseproof.errors import DataError, InvalidArgumentError, UnknownNameError
from noiseproof.models import FeatureClassifier
from noiseproof.perturbations import perturbation

NAMES = ("a", "b", "c")


def identity(width: int) -> FeatureClassifier:
    """A model of vectors whose features are its inputs."""
    return FeatureClassifier(nn.Identity(), nn.Linear(width, 3))


def data(size: int, width: int, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Three overlapping classes of vectors."""
    random = torch.Generator().manual_seed(5)
    labels = torch.randint(3, (size,), generator=random)
    centres = 2 * torch.randn(3, width, generator=random)
    return centres[labels] + spread * torch.randn(size, width, generator=random), labels


def drawn(inputs: Tensor, std: float, seed: int = 0) -> Tensor:
    """The first draw of ``evaluate``: noise for blocks of 128, each from its own generator."""
    spec, noisy = f"gaussian:std={std}", inputs.clone()
    for start in range(0, len(inputs), 128):
        generator = seeding.generator(seed, spec, 0, start // 128)
        noise = torch.randn(128, *inputs.shape[1:], generator=generator)
        noisy[start : start + 128] += std * noise[: len(inputs) - start]
    return noisy


def neighbours_by_brute_force(clean: np.ndarray, queries: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """Every distance, sorted in Python; the sample itself is out; most votes win, the first class of equals."""
    hits = 0
    for i, query in enumerate(queries.astype(np.float64)):
        distances = sorted(
            (math.dist(query, clean[j].astype(np.float64)), j) for j in range(len(clean)) if j != i
        )  # fmt: skip
        votes = [0] * (labels.max() + 1)
        for _, j in distances[:k]:
            votes[labels[j]] += 1
        hits += votes.index(max(votes)) == labels[i]
    return hits / len(queries)


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The points that t-SNE was given, of which it makes their first two components."""
    given: list[np.ndarray] = []

    def layout(points: np.ndarray, *_: object) -> np.ndarray:
        given.append(points)
        return points[:, :2]

    monkeypatch.setattr(embeddings, "_tsne", layout)
    return given


# What is embedded


@pytest.mark.parametrize("size", [40, 150], ids=["part of a block", "more than a block"])
def test_noise_is_that_of_the_first_draw_of_an_evaluation(size: int, laid_out: list[np.ndarray]) -> None:
    seen: list[Tensor] = []

    class Recorder(nn.Identity):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(input)
            return input

    inputs, labels = data(size, 4)
    model = FeatureClassifier(Recorder(), nn.Linear(4, 3))
    npf.evaluate(model, (inputs, labels), ["gaussian:0.3"], draws=1, seed=7)
    feature_map(model, (inputs, labels), "gaussian:0.3", limit=None, seed=7)
    (points,) = laid_out
    assert points[size:].tolist() == torch.cat(seen)[:size].tolist()
    assert points[:size].tolist() == inputs.tolist()
    np.testing.assert_allclose(points[size:], drawn(inputs, 0.3, seed=7), rtol=1e-5, atol=1e-6)


def test_images_are_clamped_as_in_evaluation(tiny_model: FeatureClassifier, laid_out: list[np.ndarray]) -> None:
    inputs, labels = torch.rand(20, 1, 8, 8), torch.arange(20) % 3
    feature_map(tiny_model, (inputs, labels), "gaussian:0.8", layer="features")
    noisy = layer_features(tiny_model, drawn(inputs, 0.8).clamp(0, 1), ["features"])["features"]
    np.testing.assert_allclose(laid_out[0][20:], noisy, rtol=1e-5, atol=1e-6)


def test_noise_depends_on_the_seed(laid_out: list[np.ndarray]) -> None:
    for seed in (0, 0, 1):
        feature_map(identity(4), data(30, 4), "gaussian:0.3", seed=seed)
    assert (laid_out[0] == laid_out[1]).all()
    assert (laid_out[0][:30] == laid_out[2][:30]).all()
    assert (laid_out[0][30:] != laid_out[2][30:]).all()


def test_the_layout_is_one_of_all_points(laid_out: list[np.ndarray]) -> None:
    found = feature_map(identity(4), data(30, 4), "gaussian:0.3", perplexity=7, seed=3)
    (points,) = laid_out
    assert (found.clean == points[:30, :2]).all()
    assert found.noisy is not None
    assert (found.noisy == points[30:, :2]).all()
    assert (found.layer, found.perplexity, found.seed) == ("features", 7, 3)


def test_layers_of_one_pass_are_those_of_each_by_itself(
    tiny_model: FeatureClassifier, laid_out: list[np.ndarray]
) -> None:
    pairs = (torch.rand(150, 1, 8, 8), torch.arange(150) % 3)
    calls: list[int] = []
    hook = tiny_model.head.register_forward_hook(lambda _module, given, _output: calls.append(len(given[0])))
    together = feature_maps(tiny_model, pairs, "gaussian:0.3", ["backbone.2", "features"])
    hook.remove()
    assert sorted(calls) == [22, 22, 128, 128]
    assert [points.shape for points in laid_out] == [(300, 4), (300, 5)]
    for name, one in together.items():
        alone = feature_map(tiny_model, pairs, "gaussian:0.3", layer=name)
        assert one.layer == alone.layer == name
        assert (one.clean == alone.clean).all()
        assert one.noisy is not None
        assert (one.noisy == alone.noisy).all()
        assert (one.neighbours_clean, one.neighbours_noisy) == (alone.neighbours_clean, alone.neighbours_noisy)


def test_layers_are_the_stages_and_the_penultimate_features_unless_told(laid_out: list[np.ndarray]) -> None:
    model = npf.build_model("resnet8-cifar", 3, 5, in_channels=1, width=4)
    pairs = (torch.rand(20, 1, 8, 8), torch.arange(20) % 3)
    assert tuple(feature_maps(model, pairs)) == (*stages(model), "features")
    assert [points.shape for points in laid_out] == [(40, 4), (40, 8), (40, 16), (40, 5)]


@pytest.mark.parametrize("noise", [None, "clean"])
def test_clean_inputs_alone(noise: str | None, laid_out: list[np.ndarray]) -> None:
    found = feature_map(identity(4), data(31, 4), noise)
    assert laid_out[0].shape == (31, 4)
    assert found.noisy is None
    assert math.isnan(found.neighbours_noisy)
    assert found.noise == "clean"


def test_samples_are_spread_evenly(laid_out: list[np.ndarray]) -> None:
    inputs, labels = data(90, 4)
    found = feature_map(identity(4), ArrayDataset(inputs, labels, NAMES), perturbation("gaussian:1/2"), limit=20)
    assert found.indices.tolist() == [i * 90 // 20 for i in range(20)]
    assert laid_out[0][:20].tolist() == thinned(ArrayDataset(inputs, labels, NAMES), 20).inputs.tolist()
    assert found.labels.tolist() == labels[found.indices].tolist()
    assert found.noise == "gaussian:std=0.5"
    assert feature_map(identity(4), data(1100, 4), None).clean.shape == (1000, 2)


def test_class_names_come_from_the_data(laid_out: list[np.ndarray]) -> None:
    inputs, labels = data(30, 4)
    named = ArrayDataset(inputs, labels, NAMES)
    assert feature_map(identity(4), named, limit=20).class_names == NAMES
    assert feature_map(identity(4), TensorDataset(inputs, labels), limit=20).class_names == ("0", "1", "2")


# What the neighbours say


@pytest.mark.parametrize("width", [2, 40])
def test_neighbours_by_brute_force(width: int, laid_out: list[np.ndarray]) -> None:
    inputs, labels = data(70, width, spread=1.0 if width == 2 else 4.0)
    found = feature_map(identity(width), (inputs, labels), "gaussian:2.0")
    clean, noisy = inputs.numpy(), drawn(inputs, 2.0).numpy()
    assert found.neighbours_clean == neighbours_by_brute_force(clean, clean, labels.numpy())
    assert found.neighbours_noisy == neighbours_by_brute_force(clean, noisy, labels.numpy())
    assert 0.4 < found.neighbours_noisy < found.neighbours_clean < 1


def test_the_clean_twin_does_not_vote(laid_out: list[np.ndarray]) -> None:
    """With hardly any noise its own clean feature would make every sample right, though each is alone in its class."""
    inputs = torch.arange(12.0).view(12, 1).repeat(1, 3)
    found = feature_map(identity(3), (inputs, torch.arange(12)), "gaussian:0.001", perplexity=5)
    assert found.neighbours_clean == 0
    assert found.neighbours_noisy == 0


def test_fewer_than_ten_others_all_vote(laid_out: list[np.ndarray]) -> None:
    inputs, labels = torch.rand(5, 3), torch.tensor([0, 0, 0, 1, 1])
    found = feature_map(identity(3), (inputs, labels), "gaussian:0.1", perplexity=2)
    assert found.neighbours_clean == 3 / 5  # 2 : 2 is decided for class 0, 3 : 1 against class 1


def test_samples_that_are_all_alike_but_for_one(laid_out: list[np.ndarray]) -> None:
    """More duplicates than neighbours: a sample need not be among its own nearest."""
    inputs = torch.cat([torch.zeros(30, 3), torch.ones(1, 3)])
    found = feature_map(identity(3), (inputs, torch.zeros(31, dtype=torch.long)), None)
    assert found.neighbours_clean == 1


# The layout


@pytest.fixture(scope="module")
def clusters() -> FeatureMap:
    """Three clusters that lie far apart, in the paper's embedding width."""
    labels = torch.arange(45) % 3
    inputs = 100 * torch.eye(3, 128)[labels] + torch.randn(45, 128, generator=torch.Generator().manual_seed(0))
    return feature_map(identity(128), (inputs, labels), "gaussian:1.0", perplexity=10)


def test_separate_clusters_stay_separate(clusters: FeatureMap) -> None:
    assert clusters.neighbours_clean == clusters.neighbours_noisy == 1
    assert clusters.noisy is not None
    places, labels = np.concatenate([clusters.clean, clusters.noisy]), np.tile(clusters.labels, 2)
    centres = np.stack([places[labels == c].mean(0) for c in range(3)])
    radius = max(np.linalg.norm(places[labels == c] - centres[c], axis=1).max() for c in range(3))
    apart = min(np.linalg.norm(centres[c] - centres[(c + 1) % 3]) for c in range(3))
    assert apart > 2 * radius
    assert clusters.clean.dtype == clusters.noisy.dtype == np.float32


def test_the_same_seed_gives_the_same_map(clusters: FeatureMap) -> None:
    labels = torch.arange(45) % 3
    inputs = 100 * torch.eye(3, 128)[labels] + torch.randn(45, 128, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(123)
    np.random.seed(9)
    again = feature_map(identity(128), (inputs, labels), "gaussian:1.0", perplexity=10, progress=Recording())
    assert (again.clean == clusters.clean).all()
    assert again.noisy is not None
    assert (again.noisy == clusters.noisy).all()


def test_results_are_frozen(clusters: FeatureMap) -> None:
    with pytest.raises(FrozenInstanceError):
        clusters.seed = 1  # type: ignore[misc]
    assert (clusters.layer, clusters.perplexity, clusters.seed) == ("features", 10, 0)


class TSNE:
    """In place of scikit-learn's: keeps what it was made with and given."""

    made: dict[str, Any]
    points: np.ndarray
    says: tuple[str, ...] = ()
    max_iter = 1000

    def __init__(self, **options: Any) -> None:
        type(self).made = options

    def set_params(self, **options: Any) -> TSNE:
        type(self).made |= options
        return self

    def fit_transform(self, points: np.ndarray) -> np.ndarray:
        type(self).points = points
        for line in self.says:
            print(line)  # noqa: T201
        return np.zeros((len(points), 2))


def test_wide_features_are_projected_to_fifty_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a singular value decomposition, compared as inner products, which know no signs."""
    monkeypatch.setattr(manifold, "TSNE", TSNE)
    inputs, labels = data(60, 80)
    feature_map(identity(80), (inputs, labels), "gaussian:0.5", perplexity=12.5)
    points = torch.cat([inputs, drawn(inputs, 0.5)]).double().numpy()
    u, s, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    expected = (u[:, :50] * s[:50] ** 2) @ u[:, :50].T
    assert TSNE.points.shape == (120, 50)
    np.testing.assert_allclose(TSNE.points @ TSNE.points.T, expected, atol=1e-3)
    assert TSNE.made["init"] == "pca"
    assert TSNE.made["perplexity"] == 12.5
    assert 0 <= TSNE.made["random_state"] < 2**32


def test_fewer_points_than_components_and_narrow_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifold, "TSNE", TSNE)
    feature_map(identity(80), data(8, 80), "gaussian:0.5", perplexity=5)
    assert TSNE.points.shape == (16, 16)
    inputs, labels = data(20, 50)
    feature_map(identity(50), (inputs, labels), None, perplexity=5)
    assert (TSNE.points == inputs.numpy()).all()


def test_features_of_one_channel_lie_on_a_line() -> None:
    found = feature_map(identity(1), data(20, 1), None, perplexity=5)
    assert np.isfinite(found.clean).all()
    assert found.clean[:, 0].std() > 0
    assert (found.clean[:, 1] == 0).all()


def test_two_samples_are_enough() -> None:
    inputs, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 0])
    found = feature_map(identity(2), (inputs, labels), None, perplexity=1)
    assert np.isfinite(found.clean).all()
    assert found.neighbours_clean == 1


# How it reports


class Recording:
    """Keeps what was reported: title, total, and how far each piece of work came."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int, list[int]]] = []

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Recording]:
        self.tasks.append((title, total, []))
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.tasks[-1][2].append(amount)


def test_iterations_are_reported_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Recording()
    feature_map(identity(4), data(20, 4), "gaussian:0.3", perplexity=5, progress=progress)
    assert [(title, total) for title, total, _ in progress.tasks] == [("features", 20), ("t-SNE of features", 1000)]
    assert [sum(steps) for _, _, steps in progress.tasks] == [20, 1000]
    assert len(progress.tasks[1][2]) > 5
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "says",
    [
        ("t-SNE is at 50", "[t-SNE] Iteration many", "[t-SNE] Iteration"),
        ("[t-SNE] Iteration 70: good", "[t-SNE] Iteration 30: went back", "[t-SNE] Iteration " + "9" * 500),
        (),
    ],
)
def test_other_words_do_no_harm(
    says: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifold, "TSNE", TSNE)
    monkeypatch.setattr(TSNE, "says", says)
    progress = Recording()
    feature_map(identity(4), data(20, 4), None, perplexity=5, progress=progress)
    assert sum(progress.tasks[1][2]) == 1000
    assert all(step > 0 for step in progress.tasks[1][2])
    assert capsys.readouterr().out == "".join(f"{line}\n" for line in says if not line.startswith("[t-SNE]"))


def test_without_a_reporter_standard_output_is_not_touched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifold, "TSNE", TSNE)
    monkeypatch.setattr(TSNE, "says", ("[t-SNE] Iteration 50", "hello"))
    feature_map(identity(4), data(20, 4), None, perplexity=5)
    assert "verbose" not in TSNE.made
    assert capsys.readouterr().out == "[t-SNE] Iteration 50\nhello\n"


# What it leaves behind, and what it refuses


def test_the_model_the_data_and_the_generators_are_left_as_they_were(
    tiny_model: FeatureClassifier, laid_out: list[np.ndarray]
) -> None:
    tiny_model.train()
    tiny_model.backbone[1].eval()
    inputs, labels = torch.rand(20, 1, 8, 8), torch.arange(20) % 3
    before, random, of_numpy = inputs.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    modes = [part.training for part in tiny_model.modules()]
    state = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    feature_map(tiny_model, (inputs, labels), "gaussian:0.3")
    assert [part.training for part in tiny_model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in tiny_model.state_dict().items())
    assert all(parameter.requires_grad for parameter in tiny_model.parameters())
    assert all(not part._forward_hooks for part in tiny_model.modules())
    assert torch.equal(inputs, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert (np.random.get_state()[1] == of_numpy).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"perplexity": 40}, InvalidArgumentError, "perplexity must be less than 40, the number of points, got 40"),
        ({"perplexity": 20, "noise": None}, InvalidArgumentError, "less than 20, the number of points, got 20"),
        ({"perplexity": 20, "limit": 10}, InvalidArgumentError, "less than 20, the number of points"),
        ({"perplexity": 0}, InvalidArgumentError, "perplexity must be > 0"),
        ({"perplexity": math.inf}, InvalidArgumentError, "perplexity must be > 0, got inf"),
        ({"limit": 1}, DataError, "at least two samples"),
        ({"limit": 0}, InvalidArgumentError, "limit must be >= 1"),
        ({"layer": "feature"}, UnknownNameError, "did you mean 'features'"),
        ({"noise": "gausian:0.1"}, UnknownNameError, "gaussian"),
        ({"dataset": (torch.rand(20, 3), torch.arange(20) % 3)}, InvalidArgumentError, "cannot take inputs of shape"),
        (
            {"dataset": (torch.ones(20, 4), torch.arange(20)), "noise": None},
            InvalidArgumentError,
            "the same for every",
        ),
        ({"dataset": TensorDataset(torch.rand(20, 4), torch.arange(20) - 1)}, DataError, "has the label -1"),
        ({"model": nn.Linear(4, 3)}, InvalidArgumentError, "got Linear"),
        ({"device": "gpu"}, InvalidArgumentError, "device 'gpu' is not there"),
    ],
)
def test_arguments_outside_their_range(change: dict[str, Any], error: type[Exception], message: str) -> None:
    model = FeatureClassifier(nn.Linear(4, 6), nn.Linear(6, 3))
    arguments = {"model": model, "dataset": data(20, 4), "perplexity": 5, **change}
    with pytest.raises(error, match=message):
        feature_map(**arguments)


def test_a_data_set_is_read_once(laid_out: list[np.ndarray]) -> None:
    """One that draws at random would else give other samples, or labels, the second time."""
    read: list[int] = []

    class Noting(TensorDataset):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            read.append(index)
            return super().__getitem__(index)

    feature_map(identity(4), Noting(*data(40, 4)), limit=20)
    assert read == list(range(0, 40, 2))


def test_layers_in_one_text_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="layers must be a list of names"):
        feature_maps(identity(4), data(20, 4), None, "features", perplexity=5)


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5).sqrt()


def test_features_that_are_not_finite() -> None:
    model = FeatureClassifier(Root(), nn.Linear(4, 3))
    with pytest.raises(InvalidArgumentError, match="the features of layer 'features' are not finite"):
        feature_map(model, (torch.rand(20, 4), torch.arange(20) % 3), None, perplexity=5)
