"""``build_model``: every name, the paper's network, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, ModelSplitError, NoiseproofError, UnknownNameError

SHAPES = {"resnet18-cifar": (3, 8, 8), "small-cnn": (3, 8, 8), "mlp": (3,), "series-cnn": (3, 20)}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("in_channels", [1, 3, 5])
def test_every_network_takes_any_number_of_channels(name: str, in_channels: int) -> None:
    model = npf.build_model(name, num_classes=4, in_channels=in_channels).eval()
    x = torch.rand(2, in_channels, *SHAPES[name][1:])
    assert model.embed(x).shape == (2, 128)
    assert model(x).shape == (2, 4)
    assert (model.num_classes, model.embedding_dim) == (4, 128)


@pytest.mark.parametrize("name", SHAPES)
def test_the_embedding_dim_can_be_chosen(name: str) -> None:
    model = npf.build_model(name, 10, 7).eval()
    assert model.embed(torch.rand(2, *SHAPES[name])).shape == (2, 7)
    assert model.head.weight.shape == (10, 7)
    assert model.head.bias is not None


@pytest.mark.parametrize("name", SHAPES)
def test_mean_and_std_make_the_first_layer(name: str) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    model = npf.build_model(name, 3, mean=mean, std=std).eval()
    assert isinstance(model.normalize, npf.Normalize)
    x = torch.rand(2, *SHAPES[name])
    column = (1, 3) + (1,) * (x.ndim - 2)
    by_hand = (x - torch.tensor(mean).view(column)) / torch.tensor(std).view(column)
    torch.testing.assert_close(model.embed(x), model.backbone(by_hand))


@pytest.mark.parametrize("name", SHAPES)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    def build(seed: int) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.utils.parameters_to_vector(npf.build_model(name, 3).parameters()).detach()

    assert torch.equal(build(1), build(1))
    assert not torch.equal(build(1), build(2))


@pytest.mark.parametrize("length", [1, 2, 7, 33])
def test_series_of_any_length(length: int) -> None:
    assert npf.build_model("series-cnn", 3, in_channels=2).eval()(torch.rand(2, 2, length)).shape == (2, 3)


@pytest.mark.parametrize("name", ["small-cnn", "mlp", "series-cnn"])
def test_width_is_an_option(name: str) -> None:
    narrow, wide = (npf.build_model(name, 3, width=width) for width in (4, 8))
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in wide.parameters())
    assert narrow.eval()(torch.rand(2, *SHAPES[name])).shape == (2, 3)


# The paper's network (H.1)


@pytest.fixture(scope="module")
def paper_network() -> npf.FeatureClassifier:
    return npf.build_model("resnet18-cifar", num_classes=10, embedding_dim=128).eval()


def test_the_papers_network_has_as_many_parameters_as_its_layers_say(paper_network: npf.FeatureClassifier) -> None:
    def conv(inputs: int, outputs: int, size: int) -> int:
        return inputs * outputs * size * size + 2 * outputs  # without a bias, with batch normalisation

    count = conv(3, 64, 3)
    for inputs, outputs in ((64, 64), (64, 128), (128, 256), (256, 512)):
        count += conv(inputs, outputs, 3) + 3 * conv(outputs, outputs, 3)
        count += conv(inputs, outputs, 1) if inputs != outputs else 0
    count += (512 * 128 + 128) + (128 * 10 + 10)
    # 11,173,962 is the well-known size of the ResNet-18 for CIFAR-10 with Linear(512, 10).
    assert count == 11_173_962 - (512 * 10 + 10) + (512 * 128 + 128) + (128 * 10 + 10)
    assert sum(p.numel() for p in paper_network.parameters()) == count


def test_the_papers_network_keeps_the_resolution_in_its_stem(paper_network: npf.FeatureClassifier) -> None:
    convolutions = [part for part in paper_network.modules() if isinstance(part, nn.Conv2d)]
    stem = convolutions[0]
    assert (stem.in_channels, stem.out_channels) == (3, 64)
    assert (stem.kernel_size, stem.stride, stem.padding, stem.bias) == ((3, 3), (1, 1), (1, 1), None)
    assert len(convolutions) == 17 + 3  # the layers with weights, and three shortcuts
    assert not any(isinstance(part, nn.MaxPool2d) for part in paper_network.modules())


def test_the_papers_network_goes_from_32_to_4_pixels_then_gap_relu_and_two_linear_layers(
    paper_network: npf.FeatureClassifier,
) -> None:
    calls: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = []
    leaves = [part for part in paper_network.modules() if not list(part.children())]
    handles = [
        leaf.register_forward_hook(
            lambda layer, inputs, output: calls.append((layer, tuple(inputs[0].shape), tuple(output.shape)))
        )
        for leaf in leaves
        if not isinstance(leaf, nn.Identity)
    ]
    with torch.no_grad():
        paper_network(torch.rand(2, 3, 32, 32))
    for handle in handles:
        handle.remove()
    assert calls[0][1:] == ((2, 3, 32, 32), (2, 64, 32, 32))
    gap, relu, features, head = calls[-4:]
    assert isinstance(gap[0], nn.AdaptiveAvgPool2d)
    assert gap[1:] == ((2, 512, 4, 4), (2, 512, 1, 1))
    assert isinstance(relu[0], nn.ReLU)
    assert relu[1] == (2, 512)
    assert isinstance(features[0], nn.Linear)
    assert features[1:] == ((2, 512), (2, 128))
    assert head[0] is paper_network.head
    assert head[1:] == ((2, 128), (2, 10))


def test_the_papers_feature_space_has_no_relu(paper_network: npf.FeatureClassifier) -> None:
    with torch.no_grad():
        assert bool((paper_network.embed(torch.rand(4, 3, 16, 16)) < 0).any())


# torchvision and timm


def test_a_torchvision_model_keeps_its_own_features() -> None:
    model = npf.build_model("torchvision/resnet18", 5).eval()
    assert model.embed(torch.rand(2, 3, 32, 32)).shape == (2, 512)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_a_torchvision_model_gets_relu_and_linear_behind_it() -> None:
    model = npf.build_model("torchvision/resnet18", 5, embedding_dim=16).eval()
    assert model.embed(torch.rand(2, 3, 32, 32)).shape == (2, 16)
    assert model.head.weight.shape == (5, 16)
    assert [type(part) for part in list(model.backbone.children())[1:]] == [nn.ReLU, nn.Linear]


def test_a_torchvision_model_takes_its_own_options() -> None:
    model = npf.build_model("torchvision/resnet18", 5, zero_init_residual=True)
    assert not bool(model.get_parameter("backbone.layer1.0.bn2.weight").any())


@pytest.mark.parametrize("embedding_dim", [None, 6])
def test_a_timm_model(embedding_dim: int | None) -> None:
    timm = pytest.importorskip("timm")
    model = npf.build_model("timm/test_resnet", 5, embedding_dim, in_channels=1).eval()
    own = timm.create_model("test_resnet", num_classes=5, in_chans=1).num_features
    x = torch.rand(2, 1, 32, 32)
    assert model.embed(x).shape == (2, own if embedding_dim is None else embedding_dim)
    assert model(x).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("torchvision/vit_b_16", {"image_size": 48}, 48),
        ("timm/vit_tiny_patch16_384", {"img_size": 48, "depth": 1}, 48),
    ],
)
def test_a_library_model_of_an_unusual_input_size(name: str, options: dict[str, Any], size: int) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    model = npf.build_model(name, 5, **options).eval()
    assert model(torch.rand(2, 3, size, size)).shape == (2, 5)


# What is refused


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("resnet18", ["unknown model 'resnet18'", "did you mean 'resnet18-cifar'?"]),
        ("smallcnn", ["unknown model 'smallcnn'", "did you mean 'small-cnn'?"]),
        ("SMALL-CNN", ["did you mean 'small-cnn'?"]),
        ("zzz", ["unknown model 'zzz'", "known: mlp, resnet18-cifar, resnet8-cifar, series-cnn, small-cnn"]),
        ("torchvision/resnet81", ["unknown torchvision model 'resnet81'", "did you mean 'resnet18'?"]),
        ("torchvison/resnet18", ["unknown model library 'torchvison'", "did you mean 'torchvision'?"]),
        ("timm/test_resnt", ["unknown timm model 'test_resnt'", "did you mean 'test_resnet'?"]),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name: str, parts: list[str]) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(UnknownNameError) as caught:
        npf.build_model(name, 3)
    assert all(part in str(caught.value) for part in parts)
    assert "\n" not in str(caught.value)


def test_an_unknown_timm_name_does_not_list_a_thousand_names() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UnknownNameError) as caught:
        npf.build_model("timm/zzzqqq", 3)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes must be >= 2, got 1"),
        ({"num_classes": 2.5}, r"num_classes must be .*, got 2\.5"),
        ({"in_channels": 0}, "in_channels must be >= 1, got 0"),
        ({"embedding_dim": 0}, "embedding_dim must be >= 1, got 0"),
        ({"embedding_dim": 3.5}, r"embedding_dim must be .*, got 3\.5"),
        ({"mean": 0.5}, "mean and std go together"),
        ({"std": 0.5}, "mean and std go together"),
        ({"mean": [0.5, 0.5], "std": [1.0, 1.0], "in_channels": 3}, "mean"),
        ({"mean": [0.5] * 3, "std": [1.0] * 3, "in_channels": 1}, "mean"),
        ({"widht": 4}, "'mlp' does not take these options.*widht"),
        ({"width": "wide"}, "width must be a number, got 'wide'"),
        ({"width": -3}, "width"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        npf.build_model("mlp", **{"num_classes": 3, **arguments})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("torchvision/resnet18", {"widht": 1}, "does not take these options.*widht"),
        ("torchvision/resnet18", {"weights": "NOPE"}, "NOPE"),
    ],
)
def test_a_wrong_option_of_a_library_model_is_named(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NoiseproofError, match=message):
        npf.build_model(name, 3, **arguments)


def test_a_library_model_without_a_softmax_layer_is_refused() -> None:
    with pytest.raises(ModelSplitError, match=r"calls no nn\.Linear"):
        npf.build_model("torchvision/squeezenet1_1", 3)
