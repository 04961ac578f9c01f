"""Crop and flip: exact on every sample, and as random as they say."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import functional as reference

from noiseproof.data import augmentation
from noiseproof.data.augmentations import AUGMENTATIONS
from noiseproof.data.augmentations.spatial import RandomCrop, RandomFlip
from noiseproof.errors import InvalidArgumentError, UnknownNameError

HEIGHT, WIDTH, PADDING = 4, 6, 2
SIDE = 2 * PADDING + 1
each_type = pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def image(dtype: torch.dtype = torch.float32) -> Tensor:
    """Two channels in which no two pixels are alike and none is black."""
    return torch.arange(1, 1 + 2 * HEIGHT * WIDTH).view(2, HEIGHT, WIDTH).to(dtype)


def every_crop(x: Tensor) -> Tensor:
    """All genuine crops of the padded image by torchvision, (SIDE², 2, HEIGHT, WIDTH)."""
    padded = reference.pad(x, [PADDING] * 4)
    return torch.stack(
        [reference.crop(padded, top, left, HEIGHT, WIDTH) for top in range(SIDE) for left in range(SIDE)]
    )


def offsets(cropped: Tensor, x: Tensor) -> Tensor:
    """Which of the genuine crops each output is; fails where one is none."""
    matches = (cropped.unsqueeze(1) == every_crop(x)).flatten(2).all(2)
    assert bool((matches.sum(1) == 1).all())
    return matches.int().argmax(1)


@each_type
def test_every_output_is_a_crop_of_the_padded_image(dtype: torch.dtype) -> None:
    x = image(dtype)
    cropped = RandomCrop(PADDING)(x.expand(300, -1, -1, -1), generator())
    assert (cropped.shape, cropped.dtype) == ((300, 2, HEIGHT, WIDTH), dtype)
    assert offsets(cropped, x).unique().numel() == SIDE**2


def test_every_offset_is_equally_likely() -> None:
    found = offsets(RandomCrop(PADDING)(image().expand(5000, -1, -1, -1), generator()), image())
    assert stats.chisquare(found.bincount(minlength=SIDE**2).numpy()).pvalue > 0.01


def test_every_sample_has_an_offset_of_its_own() -> None:
    x = torch.rand(40, 1, 6, 6) + 0.1
    cropped = RandomCrop(1)(x, generator())
    padded = reference.pad(x, [1] * 4)
    places = [(top, left) for top in range(3) for left in range(3)]
    shifts = [
        [(top, left) for top, left in places if torch.equal(out, reference.crop(big, top, left, 6, 6))]
        for out, big in zip(cropped, padded, strict=True)
    ]
    assert all(len(shift) == 1 for shift in shifts)
    assert len({shift[0] for shift in shifts}) == 9


def test_padding_may_exceed_the_image() -> None:
    x = torch.ones(200, 1, 2, 2)
    cropped = RandomCrop(5)(x, generator())
    assert cropped.shape == x.shape
    assert {float(value) for value in cropped.sum((1, 2, 3))} == {0.0, 1.0, 2.0, 4.0}


@each_type
def test_every_output_is_the_image_or_its_mirror(dtype: torch.dtype) -> None:
    x = image(dtype)
    flipped = RandomFlip()(x.expand(2000, -1, -1, -1), generator())
    assert (flipped.shape, flipped.dtype) == ((2000, 2, HEIGHT, WIDTH), dtype)
    kept = (flipped == x).flatten(1).all(1)
    mirrored = (flipped == reference.hflip(x)).flatten(1).all(1)
    assert bool((kept ^ mirrored).all())
    assert stats.binomtest(int(mirrored.sum()), 2000, 0.5).pvalue > 0.01


@pytest.mark.parametrize("p", [0.0, 0.1, 0.8, 1.0])
def test_flips_are_as_frequent_as_they_say(p: float) -> None:
    flipped = RandomFlip(p)(image().expand(2000, -1, -1, -1), generator())
    count = int((flipped != image()).flatten(1).any(1).sum())
    assert stats.binomtest(count, 2000, p).pvalue > 0.01


@pytest.mark.parametrize("spec", ["crop:2", "flip", "crop:padding=2+flip:0.3", "none"])
def test_draws_come_from_the_generator_alone_and_the_batch_is_not_touched(spec: str) -> None:
    augment, x = augmentation(spec), torch.rand(16, 3, 5, 5)
    before, state = x.clone(), torch.random.get_rng_state()
    first = augment(x, generator(1))
    assert torch.equal(augment(x, generator(1)), first)
    assert torch.equal(augment(x, generator(2)), first) == (spec == "none")
    assert torch.equal(x, before)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("spec", ["", "none"])
def test_no_augmentation_changes_nothing(spec: str) -> None:
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(augmentation(spec)(x, generator()), x)


def test_augmentations_apply_from_left_to_right() -> None:
    x, g = torch.rand(8, 1, 5, 5), generator()
    by_hand = RandomFlip(1.0)(RandomCrop(2)(x, g), g)
    assert torch.equal(augmentation("crop:2+flip:1")(x, generator()), by_hand)


def test_a_batch_of_one() -> None:
    assert augmentation("crop:2+flip")(torch.rand(1, 1, 4, 4), generator()).shape == (1, 1, 4, 4)


def test_the_known_augmentations() -> None:
    assert {"crop", "flip"} <= set(AUGMENTATIONS)


@pytest.mark.parametrize("spec", ["crop:2", "flip", "flip:0"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 6)], ids=["vectors", "series"])
def test_what_is_no_image_is_refused(spec: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match=spec.partition(":")[0]):
        augmentation(spec)(torch.rand(shape), generator())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("crop", "augmentation 'crop' needs padding, as in 'crop:padding=…'"),
        ("crop:0", "padding of the augmentation 'crop' must be >= 1, got 0"),
        ("crop:1.5", "padding of the augmentation 'crop' must be a whole number, got '1.5'"),
        ("flip:1.5", "p of the augmentation 'flip' must be >= 0 and <= 1, got 1.5"),
        ("flip:-0.5", "p of the augmentation 'flip' must be >= 0 and <= 1, got -0.5"),
        ("flip:0.5,0.5", "write '0.5' as key=value; flip takes p"),
    ],
)
def test_a_wrong_value_is_named(spec: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        augmentation(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("flop", "unknown augmentation 'flop'; did you mean 'flip'?"),
        ("crop:paddin=4", "unknown key of the augmentation 'crop': 'paddin'; did you mean 'padding'?"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(spec: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        augmentation(spec)
    assert str(caught.value) == message


def test_padding_is_a_whole_number_in_code_too() -> None:
    with pytest.raises(InvalidArgumentError, match="padding of the augmentation 'crop'"):
        RandomCrop(1.5)  # type: ignore[arg-type]


# Cutout -------------------------------------------------------------------------------------------------------------


@each_type
@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_cutout_blackens_a_square_around_each_pixel_and_nothing_else(dtype: torch.dtype, size: int) -> None:
    """Against every square that can be, made by slices: each comes, and nothing else does."""
    x = image(dtype)
    possible = set()
    for row in range(HEIGHT):
        for column in range(WIDTH):
            cut = x.clone()
            top, left = row - size // 2, column - size // 2
            cut[:, max(top, 0) : top + size, max(left, 0) : left + size] = 0
            possible.add(tuple(cut.flatten().tolist()))
    found = augmentation(f"cutout:{size}")(x.expand(600, -1, -1, -1), generator())
    assert found.dtype == dtype
    assert {tuple(each.flatten().tolist()) for each in found} == possible


def test_cutout_is_as_likely_around_any_pixel() -> None:
    found = augmentation("cutout:1")(image().expand(2400, -1, -1, -1), generator())[:, 0].flatten(1)
    counts = (found == 0).sum(0)
    assert int(counts.sum()) == 2400
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "x"])
def test_a_square_of_no_size_is_refused(size: str) -> None:
    with pytest.raises(InvalidArgumentError):
        augmentation(f"cutout:{size}")
