"""``TrainingBatches``: the same batches whichever way the data comes in, whoever asks and from wherever on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from noiseproof import perturbation
from noiseproof.data import ArrayDataset, LabelledDataset, augmentation
from noiseproof.data.files import ImageFiles
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.methods import Views
from noiseproof.training.batches import TrainingBatches, steps_for

SAMPLES = 11
BOTH = ("clean", "noisy")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ImageFiles:
    """Random pictures on disk, of different sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    paths = []
    for number in range(SAMPLES):
        pixels = torch.randint(256, (8, 7 + number % 3, 3), generator=generator, dtype=torch.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels.numpy()).save(paths[-1])
    return ImageFiles(paths, torch.arange(SAMPLES) % 3, ["a", "b", "c"], (8, 8))


def batches(data: LabelledDataset, **options: Any) -> TrainingBatches:
    settings: dict[str, Any] = {
        "batch_size": 4, "seed": 3, "augment": augmentation("crop:1+flip+jitter:brightness=0.3"),
        "noise": perturbation("gaussian:0.1"), "own_view": False, "wanted": BOTH,
    }  # fmt: skip
    return TrainingBatches(data, **(settings | options))


def same(first: list[Views], second: list[Views]) -> bool:
    """Whether two lists of batches are equal to the bit."""
    if len(first) != len(second):
        return False
    pairs = [pair for one, other in zip(first, second, strict=True) for pair in zip(one, other, strict=True)]
    return all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def numbered(n: int = SAMPLES) -> ArrayDataset:
    """Vectors that say which sample they are."""
    return ArrayDataset(torch.arange(float(n)).unsqueeze(1), torch.arange(n) % 3, ["a", "b", "c"])


def plain(n: int = SAMPLES, **options: Any) -> TrainingBatches:
    quiet: dict[str, Any] = {"augment": augmentation("none"), "noise": perturbation("gaussian:0")}
    return batches(numbered(n), **(quiet | options))


# Two ways in


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("own_view", [False, True])
def test_disk_and_memory_give_the_same_batches(files: ImageFiles, workers: int, own_view: bool) -> None:
    memory = batches(files.loaded(), own_view=own_view)
    disk = batches(files, own_view=own_view, workers=workers)
    assert memory.steps_per_epoch == disk.steps_per_epoch == 3
    assert same(list(memory.epoch(1)), list(disk.epoch(1)))
    assert same(list(memory.epoch(1, first=2)), list(disk.epoch(1, first=2)))


@pytest.mark.parametrize("workers", [0, 1])
def test_making_batches_leaves_the_global_generator_alone(files: ImageFiles, workers: int) -> None:
    for data in (files.loaded(), files):
        state = torch.random.get_rng_state()
        list(batches(data, workers=workers).epoch(0))
        assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_breaks_later_is_named(tmp_path: Path, workers: int) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    data = ImageFiles(paths, torch.arange(4) % 2, ["a", "b"], (8, 8))
    paths[2].write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot read the picture .*2\.png"):
        list(batches(data, workers=workers).epoch(0))


# An epoch


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_an_epoch_can_be_entered_anywhere(first: int) -> None:
    data = ArrayDataset(torch.rand(SAMPLES, 1, 4, 4), torch.arange(SAMPLES) % 3, ["a", "b", "c"])
    made = batches(data, own_view=True)
    assert same(list(made.epoch(2, first=first)), list(made.epoch(2))[first:])


@pytest.mark.parametrize("n", [8, 10, SAMPLES])
def test_every_epoch_has_every_sample_once_with_its_label(n: int) -> None:
    made = plain(n)
    orders = []
    for epoch in (0, 1):
        found = list(made.epoch(epoch))
        inputs = torch.cat([views.clean for views in found if views.clean is not None]).flatten()
        assert len(found) == made.steps_per_epoch
        assert sorted(inputs.tolist()) == list(range(n))
        assert torch.equal(torch.cat([views.labels for views in found]), inputs.long() % 3)
        orders.append(inputs.tolist())
    assert orders[0] != orders[1]
    assert orders[0] != list(range(n))


def test_a_last_batch_of_one_sample_is_left_out() -> None:
    assert [len(views.labels) for views in plain(9).epoch(0)] == [4, 4]


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert [len(views.labels) for views in plain(batch_size=100).epoch(0)] == [SAMPLES]


def test_batches_depend_on_the_seed() -> None:
    assert same(list(plain(seed=1).epoch(0)), list(plain(seed=1).epoch(0)))
    assert not same(list(plain(seed=1).epoch(0)), list(plain(seed=2).epoch(0)))


# Views


def test_the_noisy_view_is_the_clean_one_and_noise() -> None:
    data = ArrayDataset(torch.full((40, 3, 16, 16), 128, dtype=torch.uint8), torch.arange(40) % 3, ["a", "b", "c"])
    made = batches(data, batch_size=20, augment=augmentation("flip"))
    noise = torch.cat([noisy - clean for clean, noisy in (views.pair() for views in made.epoch(0))])
    assert float(noise.mean()) == pytest.approx(0, abs=0.002)
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert torch.unique(noise.flatten(1), dim=0).shape[0] == 40


@pytest.mark.parametrize("own_view", [False, True])
def test_the_noisy_view_draws_an_augmentation_of_its_own_if_asked(own_view: bool) -> None:
    data = ArrayDataset(torch.rand(32, 1, 6, 6), torch.arange(32) % 3, ["a", "b", "c"])
    made = batches(data, batch_size=32, augment=augmentation("crop:2"), noise=perturbation("gaussian:0"))
    other = batches(
        data, batch_size=32, augment=augmentation("crop:2"), noise=perturbation("gaussian:0"), own_view=own_view
    )
    clean, noisy = next(other.epoch(0)).pair()
    assert torch.equal(clean, noisy) != own_view
    assert torch.equal(clean, next(made.epoch(0)).pair()[0])


@pytest.mark.parametrize("view", BOTH)
def test_a_view_alone_is_what_it_is_among_both(view: str) -> None:
    alone = [getattr(views, view) for views in plain(wanted=(view,)).epoch(0)]
    both = [getattr(views, view) for views in plain().epoch(0)]
    assert all(map(torch.equal, alone, both))
    other = "noisy" if view == "clean" else "clean"
    assert all(getattr(views, other) is None for views in plain(wanted=(view,)).epoch(0))


def test_views_of_bytes_are_floats_in_the_unit_interval(files: ImageFiles) -> None:
    for data in (files, files.loaded()):
        for view in next(batches(data).epoch(0)).pair():
            assert view.dtype == torch.float32
            assert float(view.min()) >= 0
            assert 0.5 < float(view.max()) <= 1


def test_the_data_set_is_not_touched(files: ImageFiles) -> None:
    data = files.loaded()
    before = data.fingerprint()
    list(batches(data).epoch(0))
    assert data.fingerprint() == before


# Many processes


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_all_ranks_make_up_the_batch(ranks: int) -> None:
    data = ArrayDataset(torch.rand(24, 1, 4, 4), torch.arange(24) % 3, ["a", "b", "c"])
    whole = list(batches(data, batch_size=6, own_view=True).epoch(1))
    shares = [
        list(batches(data, batch_size=6, own_view=True, rank=rank, world_size=ranks).epoch(1)) for rank in range(ranks)
    ]
    joined = [Views(*map(torch.cat, zip(*parts, strict=True))) for parts in zip(*shares, strict=True)]
    assert len(whole) == 4
    assert same(joined, whole)


@pytest.mark.parametrize(("ranks", "n"), [(2, 11), (2, 12), (4, 11), (4, 14)])
def test_all_ranks_have_as_many_samples_in_every_step(ranks: int, n: int) -> None:
    """Also in a last batch that is smaller than the number of ranks."""
    sizes = [
        [len(views.labels) for views in plain(n, batch_size=8, rank=rank, world_size=ranks).epoch(0)]
        for rank in range(ranks)
    ]
    assert all(size == sizes[0] for size in sizes)
    assert min(sizes[0]) >= 1


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"train\.batch_size = 8 cannot be shared by 3 processes"):
        plain(10, batch_size=8, rank=0, world_size=3)


@pytest.mark.parametrize("n", [10, 11])
def test_no_rank_is_left_with_a_single_sample(n: int) -> None:
    """Batch normalisation of features cannot use it."""
    sizes = [len(views.labels) for views in plain(n, batch_size=8, rank=0, world_size=2).epoch(0)]
    assert min(sizes) >= 2


# Counting


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((3, 4, None), (12, 3)), ((3, 4, 5), (5, 2)), ((3, 4, 4), (4, 1)), ((3, 4, 99), (12, 3))],
)
def test_steps_and_epochs_begun(arguments: tuple[int, int, int | None], expected: tuple[int, int]) -> None:
    assert steps_for(*arguments) == expected
