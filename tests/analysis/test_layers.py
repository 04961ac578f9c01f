"""Which layers a network is said to have, and their pooled outputs against loops and passes made by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.analysis.layers import layer_features, stages
from noiseproof.errors import InvalidArgumentError, ModelSplitError, UnknownNameError
from noiseproof.models import FeatureClassifier


class Block(nn.Module):
    """A residual block of convolutions; ``channels`` grow by ``grow``."""

    def __init__(self, channels: int, grow: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels + grow, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels + grow)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


def classifier(*layers: nn.Module, width: int) -> FeatureClassifier:
    return FeatureClassifier(nn.Sequential(*layers), nn.Linear(width, 3))


def hooks_of(model: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


# Which layers there are


@pytest.mark.parametrize(
    ("name", "in_channels", "expected"),
    [
        ("resnet18-cifar", 3, ["layer1", "layer2", "layer3", "layer4"]),
        ("resnet8-cifar", 1, ["3", "4", "5"]),
        ("small-cnn", 1, ["2", "5", "8"]),
        ("mlp", 4, ["2", "5"]),
        ("series-cnn", 2, ["2", "5", "8"]),
    ],
)
def test_stages_of_our_networks(name: str, in_channels: int, expected: list[str]) -> None:
    options = {} if name == "resnet18-cifar" else {"width": 4}
    model = npf.build_model(name, 3, 5, in_channels=in_channels, **options)
    assert stages(model) == tuple(f"backbone.{each}" for each in expected)


def test_stages_of_resnet8_are_its_basic_blocks() -> None:
    from torchvision.models.resnet import BasicBlock

    model = npf.build_model("resnet8-cifar", 3, 5, width=4)
    modules = dict(model.named_modules())
    assert [type(modules[name]) for name in stages(model)] == [BasicBlock] * 3


def test_stages_of_the_activations_are_activations() -> None:
    model = npf.build_model("small-cnn", 3, 5, width=4)
    modules = dict(model.named_modules())
    assert [type(modules[name]) for name in stages(model)] == [nn.ReLU] * 3


def _resnet() -> nn.Module:
    from torchvision.models import ResNet
    from torchvision.models.resnet import BasicBlock

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4)


@pytest.mark.parametrize(
    ("make", "prefix"),
    [
        (lambda: FeatureClassifier.from_module(_resnet()), "backbone"),
        (lambda: FeatureClassifier.from_module(_resnet(), mean=0.5, std=0.2), "backbone"),
        (
            lambda: FeatureClassifier.from_module(FeatureClassifier.from_module(_resnet()), mean=0.5, std=0.2),
            "backbone.1",
        ),
        (
            lambda: FeatureClassifier.from_module(nn.Sequential(nn.Sequential(_resnet(), nn.ReLU()), nn.Linear(4, 3))),
            "backbone.0.0",
        ),
        (lambda: npf.build_model("torchvision/resnet18", 3, 8), "backbone.0"),
    ],
    ids=["split", "normalised", "normalised afterwards", "sequential in sequential", "with an embedding (H.1)"],
)
def test_wrappers_are_looked_through(make: Callable[[], FeatureClassifier], prefix: str) -> None:
    assert stages(make()) == tuple(f"{prefix}.layer{number}" for number in (1, 2, 3, 4))


def test_what_makes_the_embedding_is_no_stage() -> None:
    """Its output is that of the backbone, which is called "features"; a last block with a convolution stays."""
    embedding = nn.Sequential(nn.ReLU(), nn.Linear(6, 5))
    model = classifier(Block(1, 3), Block(4, 2), Pooled(), embedding, width=5)
    assert stages(model) == ("backbone.0", "backbone.1")
    convolving = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 5, 1))
    model = classifier(Block(1, 3), Block(4, 2), convolving, Pooled(), width=5)
    assert stages(model) == ("backbone.0", "backbone.1", "backbone.2")


def test_one_child_that_holds_all_blocks_is_looked_through() -> None:
    inner = nn.Sequential(Block(1, 3), Block(4, 2), Pooled())
    assert stages(classifier(inner, nn.ReLU(), nn.Linear(6, 5), width=5)) == ("backbone.0.0", "backbone.0.1")


def test_a_child_of_nine_tenths_of_all_layers_is_looked_through_and_one_of_less_is_not() -> None:
    """As the blocks of a transformer beside its patch embedding, and as layer3 of a ResNet-101."""
    trunk = nn.Sequential(*[Block(4) for _ in range(10)])
    expected = tuple(f"backbone.1.{number}" for number in range(10))
    assert stages(classifier(Block(1, 3), trunk, Pooled(), width=4)) == expected
    deep = nn.Sequential(*[Block(4) for _ in range(7)])
    model = classifier(Block(1, 3), deep, Block(4), Pooled(), width=4)
    assert stages(model) == ("backbone.0", "backbone.1", "backbone.2")


def test_a_perceptron_within_is_a_stage() -> None:
    """Blocks of plain layers are left out at the end only."""
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model = classifier(Block(1, 3), Pooled(), plain, nn.Unflatten(1, (1, 2, 2)), Block(1, 4), Pooled(), width=5)
    assert stages(model) == ("backbone.0", "backbone.2", "backbone.4")
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model = classifier(Block(1, 3), Block(4), Pooled(), plain, nn.Linear(4, 5), width=5)
    assert stages(model) == ("backbone.0", "backbone.1", "backbone.3")


class Listed(nn.Module):
    """Blocks in a list, which is no module that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1)
        self.blocks = nn.ModuleList([Block(4), Block(4), Block(4)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))


class Named(nn.ModuleDict):
    """A dictionary of modules that does run, as those of torchvision's DenseNet."""

    def forward(self, x: Tensor) -> Tensor:
        for part in self.values():
            x = part(x)
        return x


def test_lists_are_not_modules_that_run_but_other_containers_may_be() -> None:
    model = FeatureClassifier(Listed(), nn.Linear(4, 3))
    assert stages(model) == ("backbone.blocks.0", "backbone.blocks.1", "backbone.blocks.2")
    dense = classifier(Named({"a": Block(1, 3)}), Named({"a": Block(4), "b": Block(4)}), Pooled(), width=4)
    assert stages(dense) == ("backbone.0", "backbone.1")
    assert all(
        features.shape == (2, 4) for features in layer_features(dense, torch.rand(2, 1, 5, 5), stages(dense)).values()
    )


def test_a_network_of_one_block_has_its_activations() -> None:
    inner = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Tanh(), nn.Conv2d(4, 4, 1), nn.SiLU())
    assert stages(classifier(inner, Pooled(), nn.GELU(), width=4)) == ("backbone.0.1", "backbone.0.3", "backbone.2")


def test_a_network_of_neither_has_no_stages() -> None:
    assert stages(FeatureClassifier(nn.Flatten(), nn.Linear(4, 3))) == ()


# What they give


def test_block_2_of_resnet18_is_layer2() -> None:
    """§7.5's block 2, stage by stage through the network by hand."""
    model = npf.build_model("resnet18-cifar", 10, 128, mean=0.4, std=0.3).eval()
    x = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        net = model.backbone
        maps = net.relu(net.bn1(net.conv1(model.normalize(x))))
        by_hand = []
        for block in (net.layer1, net.layer2, net.layer3, net.layer4):
            maps = block(maps)
            by_hand.append(torch.stack([torch.stack([channel.mean() for channel in sample]) for sample in maps]))
    found = list(layer_features(model, x, stages(model)).values())
    assert [features.shape[1] for features in found] == [64, 128, 256, 512]
    for features, expected in zip(found, by_hand, strict=True):
        torch.testing.assert_close(features, expected)


def test_a_hand_built_network_by_loops() -> None:
    """Convolution, ReLU and pooling in plain Python numbers."""
    model = classifier(nn.Conv2d(2, 3, 2, bias=True), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), width=5)
    x = torch.rand(4, 2, 3, 3)
    weight, bias = model.backbone[0].weight.tolist(), model.backbone[0].bias.tolist()
    convolved, rectified = np.zeros((4, 3)), np.zeros((4, 3))
    for n, sample in enumerate(x.tolist()):
        for c in range(3):
            for row in range(2):
                for column in range(2):
                    value = bias[c]
                    for channel in range(2):
                        for i in range(2):
                            for j in range(2):
                                value += weight[c][channel][i][j] * sample[channel][row + i][column + j]
                    convolved[n, c] += value / 4
                    rectified[n, c] += max(value, 0) / 4
    found = layer_features(model, x, ["backbone.0", "backbone.1", "features"])
    assert list(found) == ["backbone.0", "backbone.1", "features"]
    np.testing.assert_allclose(found["backbone.0"], convolved, atol=1e-6)
    np.testing.assert_allclose(found["backbone.1"], rectified, atol=1e-6)
    assert not np.allclose(convolved, rectified)
    assert found["features"].shape == (4, 5)


def test_features_are_the_penultimate_embeddings_and_the_head_gives_logits(tiny_model: FeatureClassifier) -> None:
    x = torch.rand(6, 1, 8, 8)
    found = layer_features(tiny_model, x, ["features", "head", "backbone"])
    tiny_model.eval()
    with torch.no_grad():
        torch.testing.assert_close(found["features"], tiny_model.embed(x))
        torch.testing.assert_close(found["backbone"], tiny_model.embed(x))
        torch.testing.assert_close(found["head"], tiny_model(x))


def test_what_follows_in_place_does_not_show() -> None:
    model = classifier(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), Pooled(), width=4)
    found = layer_features(model, torch.rand(5, 1, 6, 6), ["backbone.0", "backbone.1"])
    assert bool((found["backbone.0"] < 0).any())
    assert bool((found["backbone.1"] >= 0).all())


def test_a_network_that_starts_in_place_does_not_change_the_inputs() -> None:
    model = classifier(nn.Threshold(0.5, 0.5, inplace=True), nn.Conv2d(1, 4, 3), Pooled(), width=4)
    x = torch.rand(5, 1, 6, 6)
    before = x.clone()
    layer_features(model, x, ["features"])
    assert torch.equal(x, before)


def test_a_module_that_runs_twice_counts_with_its_last_output() -> None:
    square = nn.Linear(3, 3)
    model = FeatureClassifier(nn.Sequential(square, nn.Tanh(), square), nn.Linear(3, 2))
    x = torch.rand(4, 3)
    with torch.no_grad():
        torch.testing.assert_close(layer_features(model, x, ["backbone.0"])["backbone.0"], square(square(x).tanh()))


def test_vectors_are_taken_as_they_are() -> None:
    model = npf.build_model("mlp", 3, 5, in_channels=4, width=6)
    found = layer_features(model, torch.rand(7, 4), stages(model))
    assert [features.shape for features in found.values()] == [(7, 6), (7, 6)]


def test_series_are_averaged_over_time() -> None:
    model = FeatureClassifier(nn.Sequential(nn.Identity(), nn.Flatten()), nn.Linear(8, 3))
    x = torch.arange(16.0).view(2, 2, 4)
    assert layer_features(model, x, ["backbone.0"])["backbone.0"].tolist() == [[1.5, 5.5], [9.5, 13.5]]


def test_volumes_are_averaged_over_all_three_dimensions() -> None:
    model = FeatureClassifier(nn.Sequential(nn.Identity(), nn.Flatten()), nn.Linear(16, 3))
    x = torch.rand(2, 2, 2, 2, 2)
    found = layer_features(model, x, ["backbone.0"])["backbone.0"]
    torch.testing.assert_close(found, x.reshape(2, 2, 8).mean(2))


class Tokens(nn.Module):
    """Images (N, C, H, W) as tokens (N, H·W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


def test_tokens_of_images_are_averaged_over_tokens() -> None:
    model = FeatureClassifier(nn.Sequential(Tokens(), nn.Flatten()), nn.Linear(27, 2))
    x = torch.rand(2, 3, 3, 3)
    found = layer_features(model, x, ["backbone.0"])["backbone.0"]
    torch.testing.assert_close(found, x.mean((2, 3)))


def test_a_vision_transformers_stages_are_its_encoder_layers() -> None:
    from torchvision.models import VisionTransformer

    vit = VisionTransformer(
        image_size=8, patch_size=4, num_layers=3, num_heads=2, hidden_dim=12, mlp_dim=8, num_classes=5
    )
    model = FeatureClassifier.from_module(vit)
    names = stages(model)
    assert names == tuple(f"backbone.encoder.layers.encoder_layer_{number}" for number in range(3))
    found = layer_features(model, torch.rand(4, 3, 8, 8), names)
    assert all(features.shape == (4, 12) for features in found.values())


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_batch_size_does_not_matter(tiny_model: FeatureClassifier, batch_size: int) -> None:
    x = torch.rand(7, 1, 8, 8)
    sizes: list[int] = []
    hook = tiny_model.head.register_forward_hook(lambda _module, given, _output: sizes.append(len(given[0])))
    found = layer_features(tiny_model, x, ["backbone.2", "features"], batch_size=batch_size)
    hook.remove()
    assert max(sizes) <= batch_size
    assert sum(sizes) == 7
    for name, features in layer_features(tiny_model, x, ["backbone.2", "features"]).items():
        torch.testing.assert_close(found[name], features)


def test_results_are_single_precision_without_a_graph(tiny_model: FeatureClassifier) -> None:
    model = tiny_model.to(torch.bfloat16)
    for features in layer_features(model, torch.rand(3, 1, 8, 8), ["backbone.2", "features"]).values():
        assert features.dtype == torch.float32
        assert not features.requires_grad
    double = layer_features(tiny_model.double(), torch.rand(3, 1, 8, 8), ["backbone.2"])
    assert double["backbone.2"].dtype == torch.float32


def test_means_of_low_precision_outputs_are_taken_in_single_precision() -> None:
    """In bfloat16, 256 + 1 is 256."""
    model = classifier(nn.Identity(), Pooled(), width=1).to(torch.bfloat16)
    x = torch.tensor([256.0] + [1.0] * 15).view(1, 1, 4, 4)
    assert layer_features(model, x, ["backbone.0"])["backbone.0"].item() == 271 / 16


# What it leaves behind


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_all_else_are_left_as_they_were(tiny_model: FeatureClassifier, fails: bool) -> None:
    tiny_model.train()
    tiny_model.backbone[1].eval()
    tiny_model.head.bias.requires_grad_(False)
    tiny_model.backbone[0].register_forward_hook(lambda *_: None)
    modes = [part.training for part in tiny_model.modules()]
    wanted = [parameter.requires_grad for parameter in tiny_model.parameters()]
    state = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    random = torch.get_rng_state()
    x = torch.rand(4, 3 if fails else 1, 8, 8)
    before = x.clone()
    random = torch.get_rng_state()
    if fails:
        with pytest.raises(InvalidArgumentError, match=r"cannot take inputs of shape \(4, 3, 8, 8\)"):
            layer_features(tiny_model, x, ["backbone.0", "backbone.2"])
    else:
        layer_features(tiny_model, x, ["backbone.0", "backbone.2"])
    assert [part.training for part in tiny_model.modules()] == modes
    assert [parameter.requires_grad for parameter in tiny_model.parameters()] == wanted
    assert all(torch.equal(value, state[name]) for name, value in tiny_model.state_dict().items())
    assert hooks_of(tiny_model) == 1
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, before)
    assert torch.is_grad_enabled()


def test_statistics_are_those_of_evaluation(tiny_model: FeatureClassifier) -> None:
    """In training mode the features of a sample would depend on the others."""
    x = torch.rand(6, 1, 8, 8)
    alone = layer_features(tiny_model.train(), x[:1], ["features"])["features"]
    torch.testing.assert_close(layer_features(tiny_model, x, ["features"])["features"][:1], alone)


# What it refuses


def test_unknown_layers_are_named_with_the_nearest() -> None:
    model = npf.build_model("resnet18-cifar", 3, 5)
    with pytest.raises(UnknownNameError, match=r"unknown layer 'backbone\.layr2'; did you mean 'backbone\.layer2'\?"):
        layer_features(model, torch.rand(1, 3, 8, 8), ["backbone.layr2"])
    with pytest.raises(UnknownNameError, match="did you mean 'features'"):
        layer_features(model, torch.rand(1, 3, 8, 8), ["feature"])
    with pytest.raises(UnknownNameError, match="unknown layer ''"):
        layer_features(model, torch.rand(1, 3, 8, 8), [""])


class Unusual(nn.Module):
    """A backbone with modules that give a tuple, a transposed batch, a number, or are not run."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(4, 5)
        self.turned = nn.Identity()
        self.total = nn.Flatten(0)
        self.spare = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.turned(x.T)
        self.total(x)
        return self.recurrent(x)[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recurrent", r"layer 'backbone\.recurrent' must give a tensor \(N, C, …\), got tuple"),
        ("turned", r"layer 'backbone\.turned' must give .* got shape \(4, 3\) for 3 inputs"),
        ("total", r"layer 'backbone\.total' must give .* got shape \(12,\) for 3 inputs"),
        ("spare", r"layer 'backbone\.spare' is not run"),
    ],
)
def test_modules_without_an_output_to_pool(name: str, message: str) -> None:
    model = FeatureClassifier(Unusual(), nn.Linear(5, 2))
    with pytest.raises(InvalidArgumentError, match=message):
        layer_features(model, torch.rand(3, 4), [f"backbone.{name}"])
    assert hooks_of(model) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": []}, "layers must be a list of names"),
        ({"layers": "features"}, r"layers must be a list of names, as in \['features'\], got 'features'"),
        ({"inputs": torch.rand(0, 1, 8, 8)}, r"inputs must be \(N, …\) with N > 0, got \(0, 1, 8, 8\)"),
        ({"inputs": torch.rand(8)}, r"inputs must be \(N, …\)"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"model": nn.Linear(2, 2)}, r"got Linear; FeatureClassifier\.from_module makes one"),
    ],
)
def test_arguments_outside_their_range(tiny_model: FeatureClassifier, change: dict[str, object], message: str) -> None:
    arguments = {"model": tiny_model, "inputs": torch.rand(2, 1, 8, 8), "layers": ["features"], **change}
    with pytest.raises(InvalidArgumentError, match=message):
        layer_features(**arguments)


def test_stages_of_something_else() -> None:
    with pytest.raises(InvalidArgumentError, match="got ReLU"):
        stages(nn.ReLU())


def test_a_backbone_that_gives_no_features() -> None:
    model = FeatureClassifier(nn.Identity(), nn.Linear(4, 2))
    with pytest.raises(ModelSplitError, match="the backbone must give"):
        layer_features(model, torch.rand(2, 3, 4), ["features"])
