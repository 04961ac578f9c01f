"""Colour jitter, rotation and perspective: torchvision's, but drawn for every sample on its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from noiseproof.data import augmentation
from noiseproof.data.augmentations.photographic import ColorJitter, RandomPerspective, RandomRotation
from noiseproof.errors import InvalidArgumentError, UnknownNameError

SPECS = [
    "jitter:brightness=0.3", "jitter:contrast=0.3", "jitter:saturation=0.3", "rotate:30", "perspective:p=1",
    "jitter:brightness=0.3,contrast=0.3,saturation=0.3+rotate:10+perspective:p=1+flip",
    "trivial",
]  # fmt: skip
each_spec = pytest.mark.parametrize("spec", SPECS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 1, channels: int = 3) -> Tensor:
    """Pictures of 8×10 pixels from 0.2 to 0.7, so that no jitter of 0.3 clips."""
    return 0.2 + 0.5 * torch.rand(n, channels, 8, 10, generator=generator(1))


@each_spec
def test_every_sample_is_changed_in_a_way_of_its_own(spec: str) -> None:
    changed = augmentation(spec)(images().expand(8, -1, -1, -1), generator())
    assert changed.flatten(1).unique(dim=0).shape[0] >= 5


@each_spec
def test_draws_come_from_the_generator_alone_and_the_batch_is_not_touched(spec: str) -> None:
    augment, x = augmentation(spec), images(4)
    before, state = x.clone(), torch.random.get_rng_state()
    first = augment(x, generator(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(augment(x, generator(1)), first)
    assert not torch.equal(augment(x, generator(2)), first)
    assert torch.equal(x, before)


def test_successive_calls_draw_anew() -> None:
    augment, g = augmentation("rotate:30"), generator()
    assert not torch.equal(augment(images(), g), augment(images(), g))


@each_spec
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_type_shape_and_range_are_kept(spec: str, dtype: torch.dtype, channels: int) -> None:
    x = images(3, channels)
    x = x.mul(255).to(torch.uint8) if dtype == torch.uint8 else x
    changed = augmentation(spec)(x, generator())
    assert (changed.dtype, changed.shape) == (dtype, x.shape)
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= (255 if dtype == torch.uint8 else 1)


@pytest.mark.parametrize("spec", SPECS[:3])
@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_refused_in_our_words(spec: str, channels: int) -> None:
    with pytest.raises(InvalidArgumentError, match="jitter"):
        augmentation(spec)(images(2, channels), generator())


@pytest.mark.parametrize("spec", ["jitter", "jitter:brightness=0", "rotate:0", "perspective:p=0"])
def test_no_strength_changes_nothing(spec: str) -> None:
    torch.testing.assert_close(augmentation(spec)(images(4), generator()), images(4))


def test_brightness_is_a_factor_drawn_uniformly() -> None:
    changed = ColorJitter(brightness=0.3)(images().expand(500, -1, -1, -1), generator())
    factors = (changed / images()).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert stats.kstest(factors[:, 0].numpy(), stats.uniform(0.7, 0.6).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ColorJitter(0.3, 0.3, 0.3), v2.ColorJitter(0.3, 0.3, 0.3)), (RandomRotation(25), v2.RandomRotation(25)),
        (RandomPerspective(), v2.RandomPerspective()),
    ],
    ids=["jitter", "rotate", "perspective"],
)  # fmt: skip
def test_they_are_distributed_like_torchvisions_sample_by_sample(
    ours: Callable[..., Tensor], theirs: Callable[[Tensor], Tensor]
) -> None:
    x = images()
    found = ours(x.expand(300, -1, -1, -1), generator()).flatten(1)
    expected = torch.stack([theirs(x[0]) for _ in range(300)]).flatten(1)
    for statistic in (lambda y: y.mean(1), lambda y: y.std(1), lambda y: y[:, 0], lambda y: y[:, 33]):
        assert stats.ks_2samp(statistic(found).numpy(), statistic(expected).numpy()).pvalue > 0.001


@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
def test_a_change_of_perspective_is_as_frequent_as_it_says(p: float) -> None:
    x = images().expand(300, -1, -1, -1)
    count = int((RandomPerspective(p=p)(x, generator()) != x).flatten(1).any(1).sum())
    assert stats.binomtest(count, 300, p).pvalue > 0.01


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jitter:brightness=-0.1", "brightness of the augmentation 'jitter' must be >= 0 and <= 1, got -0.1"),
        ("jitter:contrast=1.1", "contrast of the augmentation 'jitter' must be >= 0 and <= 1, got 1.1"),
        ("jitter:saturation=nan", "saturation of the augmentation 'jitter' must be a number"),
        ("rotate", "augmentation 'rotate' needs degrees, as in 'rotate:degrees=…'"),
        ("rotate:-1", "degrees of the augmentation 'rotate' must be >= 0 and <= 180, got -1"),
        ("rotate:181", "degrees of the augmentation 'rotate' must be >= 0 and <= 180, got 181"),
        ("perspective:distortion=2", "distortion of the augmentation 'perspective' must be >= 0 and <= 1, got 2"),
        ("perspective:p=1.5", "p of the augmentation 'perspective' must be >= 0 and <= 1, got 1.5"),
    ],
)
def test_a_wrong_value_is_named(spec: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        augmentation(spec)
    assert message in str(caught.value)


def test_an_unknown_key_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'brightness'"):
        augmentation("jitter:brightnes=0.3")


@pytest.mark.parametrize("spec", ["jitter:brightness=0.3", "rotate:10", "perspective"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 6)], ids=["vectors", "series"])
def test_what_is_no_image_is_refused(spec: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"takes images \(N, C, H, W\)"):
        augmentation(spec)(torch.rand(shape), generator())
