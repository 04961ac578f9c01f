"""``FeatureClassifier.from_module``: what it splits, what it leaves alone, what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torchvision
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, ModelSplitError


class Squeeze(nn.Module):
    """Global average over the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(-1)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))


def conv1d() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5), nn.ReLU(), Squeeze(), nn.Linear(5, 4))


def by_torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, num_classes=4)


CLASSIFIERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (6,)),
    "conv1d": (conv1d, (2, 40)),
    **{
        name: (by_torchvision(name), (3, 64, 64))
        for name in ("resnet18", "mobilenet_v3_small", "convnext_tiny", "efficientnet_b0", "densenet121")
    },
    "vit_b_16": (by_torchvision("vit_b_16"), (3, 224, 224)),
}


@dataclass
class Case:
    """A classifier as it was before the split, the split, and an input batch."""

    module: nn.Module
    split: npf.FeatureClassifier
    x: Tensor
    logits: Tensor
    parts: dict[str, nn.Module]
    state: dict[str, Tensor]
    modes: dict[str, bool]


def logits_of(module: nn.Module, x: Tensor) -> Tensor:
    """The logits in evaluation mode; every submodule's mode is put back."""
    modes = {part: part.training for part in module.modules()}
    with torch.no_grad():
        logits = module.eval()(x)
    for part, mode in modes.items():
        part.training = mode
    return logits


def last_linear(module: nn.Module) -> nn.Linear:
    return [part for part in module.modules() if isinstance(part, nn.Linear)][-1]


@pytest.fixture(scope="module", params=CLASSIFIERS)
def case(request: pytest.FixtureRequest) -> Case:
    """Each classifier once for all tests: in training mode but for its first child, with a head that is not zero."""
    build, shape = CLASSIFIERS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build().train()
        next(module.children()).eval()
        nn.init.normal_(last_linear(module).weight)
        x = torch.rand(2, *shape)
    logits = logits_of(module, x)
    parts, modes = dict(module.named_modules()), {name: part.training for name, part in module.named_modules()}
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return Case(module, npf.FeatureClassifier.from_module(module), x, logits, parts, state, modes)


def test_head_of_embed_is_what_the_module_gives(case: Case) -> None:
    split = copy.deepcopy(case.split).eval()
    with torch.no_grad():
        embeddings = split.embed(case.x)
        assert embeddings.shape == (2, case.split.embedding_dim)
        tolerance = {"rtol": 1e-5, "atol": 1e-6 * float(case.logits.abs().max())}
        torch.testing.assert_close(split.head(embeddings), case.logits, **tolerance)
        torch.testing.assert_close(split(case.x), case.logits, **tolerance)


def test_embeddings_are_the_input_of_the_last_linear(case: Case) -> None:
    seen: list[Tensor] = []
    handle = last_linear(case.module).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits_of(case.module, case.x)
    handle.remove()
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(case.split).eval().embed(case.x), seen[-1])


def test_every_parameter_and_buffer_is_shared(case: Case) -> None:
    assert {id(p) for p in case.split.parameters()} == {id(p) for p in case.module.parameters()}
    assert {id(b) for b in case.split.buffers()} == {id(b) for b in case.module.buffers()}
    assert case.split.head is last_linear(case.module)
    assert case.split.num_classes == 4


def test_the_module_is_left_as_it_was(case: Case) -> None:
    assert {name: id(part) for name, part in case.module.named_modules()} == {
        name: id(part) for name, part in case.parts.items()
    }
    torch.testing.assert_close(dict(case.module.state_dict()), case.state, rtol=0, atol=0)
    torch.testing.assert_close(logits_of(case.module, case.x), case.logits, rtol=0, atol=0)
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in case.module.modules())


def test_every_part_of_the_module_keeps_its_mode(case: Case) -> None:
    assert {name: part.training for name, part in case.module.named_modules()} == case.modes


@pytest.mark.parametrize("training", [True, False])
def test_the_split_is_in_the_modules_mode(training: bool) -> None:
    module = nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Sequential(nn.Dropout(), nn.Linear(8, 4)))
    split = npf.FeatureClassifier.from_module(module.train(training))
    assert {name: part.training for name, part in split.named_modules()} == dict.fromkeys(
        (name for name, _ in split.named_modules()), training
    )


def test_training_the_split_trains_the_module() -> None:
    module, x = mlp(), torch.rand(8, 6)
    split = npf.FeatureClassifier.from_module(module)
    before = logits_of(module, x)
    nn.functional.cross_entropy(split(x), torch.arange(8) % 4).backward()
    torch.optim.SGD(split.parameters(), lr=1.0).step()
    assert not torch.allclose(logits_of(module, x), before)
    torch.testing.assert_close(logits_of(module, x), logits_of(split, x))


def test_the_global_generator_is_not_drawn_from() -> None:
    module = mlp()
    before = torch.random.get_rng_state()
    npf.FeatureClassifier.from_module(module)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_with_mean_and_std_it_takes_pixels_in_the_unit_interval() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    module = torchvision.models.resnet18(num_classes=3).eval()
    split = npf.FeatureClassifier.from_module(module, mean=mean, std=std).eval()
    x = torch.rand(2, 3, 32, 32)
    normalised = torchvision.transforms.functional.normalize(x, mean, std)
    torch.testing.assert_close(logits_of(split, x), logits_of(module, normalised))
    assert not torch.allclose(logits_of(split, x), logits_of(module, x))


def test_mean_and_std_of_another_number_of_channels_are_refused_by_an_example() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(InvalidArgumentError, match="the input has 1 channels, but mean and std have 3 values"):
        npf.FeatureClassifier.from_module(module, mean=[0.5] * 3, std=[0.2] * 3, example_input=torch.rand(2, 1, 8, 8))


def test_one_mean_and_std_for_all_channels() -> None:
    module, x = mlp().eval(), torch.rand(3, 6)
    split = npf.FeatureClassifier.from_module(module, mean=0.5, std=0.25).eval()
    torch.testing.assert_close(logits_of(split, x), logits_of(module, (x - 0.5) / 0.25))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_normalisation_takes_on_the_type_of_the_module(dtype: torch.dtype) -> None:
    split = npf.FeatureClassifier.from_module(mlp().to(dtype), mean=0.5, std=0.25).eval()
    assert split(torch.rand(3, 6, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("given", [{"mean": 0.5}, {"std": 0.5}])
def test_mean_and_std_go_together(given: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError, match="mean and std go together: give both or neither"):
        npf.FeatureClassifier.from_module(mlp(), **given)


def test_a_single_linear_layer_has_its_input_as_features() -> None:
    split, x = npf.FeatureClassifier.from_module(nn.Linear(5, 3)), torch.rand(2, 5)
    torch.testing.assert_close(split.embed(x), x)


def test_a_classifier_that_is_split_already_can_be_split_again() -> None:
    model, x = npf.build_model("mlp", 3, in_channels=6).eval(), torch.rand(2, 6)
    again = npf.FeatureClassifier.from_module(model).eval()
    torch.testing.assert_close(again.embed(x), model.embed(x))
    torch.testing.assert_close(again(x), model(x))


class ReadsItsHead(nn.Module):
    """Asks its own head for a type, as half-precision code does."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).to(self.fc.weight.dtype))


def test_a_module_that_reads_an_attribute_of_its_head_is_split_or_refused() -> None:
    module, x = ReadsItsHead(), torch.rand(2, 5)
    try:
        split = npf.FeatureClassifier.from_module(module)
    except ModelSplitError:
        return
    torch.testing.assert_close(split(x), module(x))


class TokenClassifier(nn.Module):
    """Token ids in, so that no probe can be guessed."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.table(tokens).mean(1))


def test_an_example_input_stands_in_for_a_guess() -> None:
    module, tokens = TokenClassifier(), torch.randint(10, (2, 7))
    split = npf.FeatureClassifier.from_module(module, example_input=tokens)
    torch.testing.assert_close(split(tokens), module(tokens))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fc(x).relu())


class TokensPooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(2, 5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).transpose(1, 2)).mean(1)


class Tuple(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.fc(x), x


class ZeroHead(nn.Module):
    """Untrained, its logits are 0, which tanh does not change."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(4, 4), nn.Linear(4, 3)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.fc(self.body(x)))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: torchvision.models.squeezenet1_1(num_classes=3), "SqueezeNet calls no nn.Linear"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), "softmax.*follows it; let the module return plain"),
        (lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3), nn.LogSoftmax(1)), "not that of its last nn.Linear"),
        (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 5), nn.Flatten()),
         "last nn.Linear"),
        (TokensPooled, "applied to tokens or pixels and pooled afterwards"),
        (Twice, "used more than once"),
        (Tuple, r"must give \(N, C\) logits, got tuple"),
        (TokenClassifier, "no probe input fits TokenClassifier .*; pass example_input=…"),
        (nn.Identity, "no probe input fits Identity .*no layer tells the shape of its input"),
        (ZeroHead, "not that of its last nn.Linear"),
    ],
    ids=["no-linear", "softmax", "log-softmax", "conv-after", "tokens", "twice", "tuple", "no-probe", "no-layer",
         "zero-head"],
)  # fmt: skip
def test_what_cannot_be_split_is_refused_with_the_reason(build: Callable[[], nn.Module], reason: str) -> None:
    module = build().train()
    with pytest.raises(ModelSplitError, match=reason) as caught:
        npf.FeatureClassifier.from_module(module)
    assert "\n" not in str(caught.value)
    assert all(part.training and not part._forward_pre_hooks for part in module.modules())


def test_the_head_must_be_linear() -> None:
    with pytest.raises(InvalidArgumentError, match=r"head must be an nn\.Linear, got Conv1d"):
        npf.FeatureClassifier(nn.Identity(), nn.Conv1d(1, 2, 1))  # type: ignore[arg-type]


def test_a_backbone_that_gives_something_else_is_told() -> None:
    model = npf.FeatureClassifier(nn.Linear(4, 5), nn.Linear(6, 2))
    with pytest.raises(ModelSplitError, match=r"must give \(N, 6\) features, got \(2, 5\)"):
        model(torch.rand(2, 4))
