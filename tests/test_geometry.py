"""Dispersion and margin against brute force, and Proposition 5.3 with Corollary 5.1 on networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, ModelSplitError


def features(n: int, num_classes: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings, labels, and the weight and bias of a softmax layer, in float64."""
    g = torch.Generator().manual_seed(seed)
    embeddings = 3 * torch.randn(n, dim, generator=g, dtype=torch.float64)
    labels = torch.randint(num_classes, (n,), generator=g)
    weight = torch.randn(num_classes, dim, generator=g, dtype=torch.float64)
    return embeddings, labels, weight, torch.randn(num_classes, generator=g, dtype=torch.float64)


# Definition 3.1 and Definition 5.1


def dispersion_by_loops(embeddings: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    points = [
        [q for q, y in zip(embeddings.tolist(), labels.tolist(), strict=True) if y == c] for c in range(num_classes)
    ]
    return torch.tensor(
        [max((math.dist(p, q) for p in own for q in own), default=math.nan) for own in points], dtype=torch.float64
    )  # fmt: skip


def margin_by_loops(embeddings: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    num_classes = weight.shape[0]
    b = [0.0] * num_classes if bias is None else bias.tolist()
    margins = [math.inf] * num_classes
    for q, c in zip(embeddings.tolist(), labels.tolist(), strict=True):
        for i in range(num_classes):
            if i != c:
                normal = (weight[c] - weight[i]).tolist()
                gap = sum(w * x for w, x in zip(normal, q, strict=True)) + b[c] - b[i]
                margins[c] = min(margins[c], abs(gap) / math.hypot(*normal))
    return torch.tensor([math.nan if math.isinf(m) else m for m in margins], dtype=torch.float64)


SIZES = [(40, 5, 3), (7, 2, 1), (6, 9, 4), (1, 3, 2), (300, 3, 8)]


@pytest.mark.parametrize(("n", "num_classes", "dim"), SIZES)
def test_dispersion_is_the_largest_distance_within_a_class(n: int, num_classes: int, dim: int) -> None:
    embeddings, labels, _, _ = features(n, num_classes, dim)
    found = npf.geometry.class_dispersion(embeddings, labels, num_classes)
    torch.testing.assert_close(found, dispersion_by_loops(embeddings, labels, num_classes), equal_nan=True)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("n", "num_classes", "dim"), SIZES)
def test_margin_is_the_smallest_distance_to_a_boundary_of_the_class(
    n: int, num_classes: int, dim: int, with_bias: bool
) -> None:
    embeddings, labels, weight, bias = features(n, num_classes, dim)
    found = npf.geometry.class_margin(embeddings, labels, weight, bias if with_bias else None)
    expected = margin_by_loops(embeddings, labels, weight, bias if with_bias else None)
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_sets_larger_than_a_chunk() -> None:
    embeddings, labels, weight, bias = features(2500, 2, 2)
    labels[:2200] = 0
    embeddings[2100:2102] *= 100  # the widest pair is not in the first chunk
    by_hand = torch.stack([torch.pdist(embeddings[labels == c]).max() for c in range(2)])
    torch.testing.assert_close(npf.geometry.class_dispersion(embeddings, labels, 2), by_hand)
    torch.testing.assert_close(
        npf.geometry.class_margin(embeddings, labels, weight, bias), margin_by_loops(embeddings, labels, weight, bias)
    )


def test_a_class_of_one_has_no_width_and_an_absent_class_neither_width_nor_margin() -> None:
    embeddings, labels = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]), torch.tensor([0, 0, 2])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    dispersion = npf.geometry.class_dispersion(embeddings, labels, 3)
    torch.testing.assert_close(dispersion, torch.tensor([5.0, torch.nan, 0.0]), equal_nan=True)
    margin = npf.geometry.class_margin(embeddings, labels, weight, None)
    torch.testing.assert_close(margin, torch.tensor([0.0, torch.nan, 1.0]), equal_nan=True)


def test_a_margin_has_no_sign() -> None:
    embeddings, labels = torch.tensor([[-2.0, 0.0]]), torch.tensor([0])
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert npf.geometry.class_margin(embeddings, labels, weight, None)[0] == 2.0
    assert npf.functional.signed_distances(embeddings, labels, weight, None)[0, 1] == -2.0


def test_far_from_the_origin_small_distances_are_still_right() -> None:
    embeddings = 1e4 + torch.tensor([[0.0, 0.0], [0.25, 0.0]])
    assert npf.geometry.class_dispersion(embeddings, torch.zeros(2, dtype=torch.long), 1)[0] == 0.25


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_is_widened(dtype: torch.dtype) -> None:
    embeddings, labels, weight, bias = features(30, 3, 4)
    low = [t.to(dtype) for t in (embeddings, weight, bias)]
    wide = [t.double() for t in low]
    dispersion = npf.geometry.class_dispersion(low[0], labels, 3)
    margin = npf.geometry.class_margin(low[0], labels, *low[1:])
    assert dispersion.dtype == margin.dtype == torch.float32
    torch.testing.assert_close(dispersion.double(), dispersion_by_loops(wide[0], labels, 3), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(margin.double(), margin_by_loops(wide[0], labels, *wide[1:]), rtol=1e-4, atol=1e-5)


def test_no_graph_is_kept() -> None:
    embeddings, labels, weight, bias = features(10, 2, 3)
    embeddings.requires_grad_()
    assert not npf.geometry.class_dispersion(embeddings, labels, 2).requires_grad
    assert not npf.geometry.class_margin(embeddings, labels, weight, bias).requires_grad


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.rand(2, 3), torch.tensor([0, 2]), r"labels must lie in \[0, 2\), got 2"),
        (torch.rand(2, 3), torch.tensor([-1, 0]), r"labels must lie in \[0, 2\), got -1"),
        (torch.rand(2, 3), torch.tensor([0]), "labels has 1 entries for 2 samples"),
        (torch.rand(2, 3), torch.rand(2), "labels must be integers"),
        (torch.rand(0, 3), torch.zeros(0).long(), "embeddings is an empty batch"),
        (torch.rand(2, 3, 1), torch.tensor([0, 1]), r"embeddings must have shape \(N, embedding_dim\)"),
        (torch.ones(2, 3).long(), torch.tensor([0, 1]), "embeddings must be of a floating type"),
    ],
)
def test_wrong_arguments_are_named(embeddings: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        npf.geometry.class_dispersion(embeddings, labels, 2)
    with pytest.raises(InvalidArgumentError, match=message):
        npf.geometry.class_margin(embeddings, labels, torch.rand(2, 3), None)


def test_a_head_of_another_width_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="width 4"):
        npf.geometry.class_margin(torch.rand(2, 3), torch.tensor([0, 1]), torch.rand(2, 4), None)


# Proposition 5.3


def ending_in(*layers: nn.Module, num_features: int = 6, bias: bool = True) -> npf.FeatureClassifier:
    """A classifier of (N, 4) vectors whose backbone ends in an affine layer and then ``layers``."""
    backbone = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6, bias=bias), *layers)
    return npf.FeatureClassifier(backbone, nn.Linear(num_features, 3, bias=bias))


def convolutional() -> npf.FeatureClassifier:
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Dropout(0.3),
    )  # fmt: skip
    return npf.FeatureClassifier(backbone, nn.Linear(6, 3))


def split_module() -> npf.FeatureClassifier:
    return npf.FeatureClassifier.from_module(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
    )


def built(name: str) -> Callable[[], npf.FeatureClassifier]:
    return lambda: npf.build_model(name, 3, 6, mean=[0.5] * 3, std=[0.3] * 3)


NETWORKS: dict[str, tuple[Callable[[], npf.FeatureClassifier], tuple[int, ...]]] = {
    "small-cnn": (built("small-cnn"), (3, 8, 8)),
    "resnet18-cifar": (built("resnet18-cifar"), (3, 8, 8)),
    "series-cnn": (built("series-cnn"), (3, 12)),
    "mlp": (built("mlp"), (3,)),
    "affine": (ending_in, (4,)),
    "relu": (lambda: ending_in(nn.ReLU()), (4,)),
    "leaky-relu": (lambda: ending_in(nn.LeakyReLU(0.1)), (4,)),
    "prelu": (lambda: ending_in(nn.PReLU(6)), (4,)),
    "no-bias": (lambda: ending_in(nn.ReLU(), bias=False), (4,)),
    "conv-relu-gap": (convolutional, (3, 8, 8)),
    "from-module": (split_module, (4,)),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[str, npf.FeatureClassifier, Tensor, Tensor]:
    """A network in float64 that has seen data, inputs of three classes, and labels."""
    build, shape = NETWORKS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().double()
        x = torch.rand(24, *shape, dtype=torch.float64)
        with torch.no_grad():
            model.train()(x)
    return request.param, model.eval(), x, torch.arange(24) % 3


Network = tuple[str, npf.FeatureClassifier, Tensor, Tensor]
each_nu = pytest.mark.parametrize("nu", [0.25, 1.0, 3.7])


@each_nu
def test_features_and_logits_are_multiplied_and_predictions_kept(network: Network, nu: float) -> None:
    _, model, x, _ = network
    scaled = npf.geometry.rescale(model, nu)
    with torch.no_grad():
        torch.testing.assert_close(scaled.embed(x), nu * model.embed(x))
        torch.testing.assert_close(scaled(x), nu * model(x))
        assert torch.equal(scaled(x).argmax(1), model(x).argmax(1))


@each_nu
def test_margins_and_dispersions_are_multiplied(network: Network, nu: float) -> None:
    _, model, x, labels = network
    scaled = npf.geometry.rescale(model, nu)

    def margin_and_dispersion(model: npf.FeatureClassifier) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            q = model.embed(x)
        head = model.head
        return npf.geometry.class_margin(q, labels, head.weight, head.bias), npf.geometry.class_dispersion(
            q, labels, 3
        )

    margin, dispersion = margin_and_dispersion(model)
    assert bool((margin > 0).all())
    assert bool((dispersion > 0).all())
    scaled_margin, scaled_dispersion = margin_and_dispersion(scaled)
    torch.testing.assert_close(scaled_margin, nu * margin)
    torch.testing.assert_close(scaled_dispersion, nu * dispersion)


def test_the_parameters_move_by_nu_minus_one_times_a_fixed_vector(network: Network) -> None:
    _, model, _, _ = network
    theta = parameters_to_vector(model.parameters()).detach()

    def move(nu: float) -> Tensor:
        return parameters_to_vector(npf.geometry.rescale(model, nu).parameters()).detach() - theta

    u = move(2.0)
    assert bool(u.any())
    torch.testing.assert_close(u[u != 0], theta[u != 0])  # u is (0, W⁻, b⁻, b)
    for nu in (0.1, 0.9, 1.0, 5.0):
        torch.testing.assert_close(move(nu), (nu - 1) * u)


def test_only_the_layer_in_front_of_the_head_and_the_bias_of_the_head_change(network: Network) -> None:
    _, model, x, _ = network
    called: list[str] = []
    handles = [
        part.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    assert called[-1] == "head"
    scaled = dict(npf.geometry.rescale(model, 2.0).state_dict())
    changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, scaled[key])}
    assert changed == {f"{called[-2]}.weight", f"{called[-2]}.bias", "head.bias"} & set(scaled)


@pytest.mark.parametrize(("nu_1", "nu_2"), [(1.5, 1.5), (4.0, 1.1), (1.01, 30.0)])
def test_widening_margins_and_narrowing_classes_go_opposite_ways(network: Network, nu_1: float, nu_2: float) -> None:
    """Corollary 5.1."""
    _, model, _, _ = network
    theta = parameters_to_vector(model.parameters()).detach()
    wider, narrower = (
        parameters_to_vector(npf.geometry.rescale(model, nu).parameters()).detach() - theta for nu in (nu_1, 1 / nu_2)
    )
    assert float(torch.cosine_similarity(wider, narrower, dim=0)) == pytest.approx(-1.0)


def test_the_original_is_untouched_and_shares_nothing(network: Network) -> None:
    _, model, _, _ = network
    before, modes = copy.deepcopy(dict(model.state_dict())), [part.training for part in model.modules()]
    scaled = npf.geometry.rescale(model, 2.0)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in scaled.parameters()}
    assert [part.training for part in scaled.modules()] == modes
    assert all(p.requires_grad for p in scaled.parameters())


def test_there_and_back_is_where_it_was(network: Network) -> None:
    _, model, _, _ = network
    back = npf.geometry.rescale(npf.geometry.rescale(model, 3.0), 1 / 3.0)
    torch.testing.assert_close(dict(back.state_dict()), dict(model.state_dict()))


def test_rescale_can_be_had_from_the_models_too() -> None:
    from noiseproof.models import rescale

    assert npf.geometry.rescale is rescale


@pytest.mark.parametrize("pooling", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(1), nn.Dropout2d()])
def test_pooling_may_follow_the_affine_layer(pooling: nn.Module) -> None:
    backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), pooling, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model, x = npf.FeatureClassifier(backbone, nn.Linear(2, 3)).eval(), torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(npf.geometry.rescale(model, 2.0).embed(x), 2 * model.embed(x))


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(6), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.LayerNorm(6), nn.ReLU6(), nn.Hardswish()]
)
def test_an_end_that_is_not_homogeneous_is_refused(layer: nn.Module) -> None:
    with pytest.raises(ModelSplitError, match=f"the backbone ends in {type(layer).__name__}, .*Proposition 5.3"):
        npf.geometry.rescale(ending_in(layer), 2.0)


@pytest.mark.parametrize("backbone", [nn.Identity(), nn.Sequential(nn.Flatten(), nn.ReLU())])
def test_a_backbone_without_an_affine_layer_is_refused(backbone: nn.Module) -> None:
    with pytest.raises(ModelSplitError, match="no affine layer to rescale"):
        npf.geometry.rescale(npf.FeatureClassifier(backbone, nn.Linear(4, 3)), 2.0)


class FunctionalEnd(nn.Module):
    """Its tanh is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).tanh()


class ResidualEnd(nn.Module):
    """Its last affine layer is only one of two ways to the features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).tanh()
        return x + self.block(x)


class OutOfOrder(nn.Module):
    """Its layers are not registered in the order in which they are called, as with an auxiliary classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(8, 6), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh())


class UsedTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fc(x).tanh() + x)


@pytest.mark.parametrize(
    ("backbone", "width"), [(FunctionalEnd(), 6), (ResidualEnd(), 6), (OutOfOrder(), 6), (UsedTwice(), 4)],
    ids=["functional-end", "residual-end", "out-of-order", "used-twice"],
)  # fmt: skip
def test_a_model_that_its_layers_do_not_tell_is_refused_or_rescaled_right(backbone: nn.Module, width: int) -> None:
    model, x = npf.FeatureClassifier(backbone, nn.Linear(width, 3)), torch.rand(5, 4)
    try:
        scaled = npf.geometry.rescale(model, 2.0)
    except ModelSplitError:
        return
    torch.testing.assert_close(scaled.embed(x), 2 * model.embed(x))
    torch.testing.assert_close(scaled(x), 2 * model(x))


@pytest.mark.parametrize("nu", [0, 0.0, -1, -1e-9, float("nan"), float("inf")])
def test_nu_must_be_positive_and_finite(nu: float) -> None:
    with pytest.raises(InvalidArgumentError, match="nu must be > 0"):
        npf.geometry.rescale(ending_in(), nu)


def test_nu_must_be_a_number() -> None:
    with pytest.raises(InvalidArgumentError, match="nu must be a number, got '2'"):
        npf.geometry.rescale(ending_in(), "2")  # type: ignore[arg-type]
