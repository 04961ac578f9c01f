"""Seeds and generators: pure functions of what they are for, apart from torch's global state."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from noiseproof import seeding

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def test_seeds_are_the_same_on_every_machine() -> None:
    """Two literal values: a change here changes every number that was ever published."""
    assert seeding.derive_seed(0, "noise", 3) == 6_347_807_290_990_278_987
    assert seeding.derive_seed(42, "initial weights") == 8_074_640_002_522_076_485


def test_seeds_are_what_torch_takes() -> None:
    for seed in range(200):
        assert 0 <= seeding.derive_seed(seed, "x") < 2**63


def test_everything_that_is_named_matters() -> None:
    whats = [(), ("a",), ("b",), ("a", 0), ("a", 1), ("a", "0"), (0, "a"), ("a", 0, 0), ("a0",), ("a", "b"), ("ab",)]
    seeds = [seeding.derive_seed(seed, *what) for seed in (-1, 0, 1, 10**20) for what in whats]
    assert len(set(seeds)) == len(seeds)


def test_neighbouring_seeds_have_unrelated_bits() -> None:
    pairs = itertools.pairwise(seeding.derive_seed(seed, "x") for seed in range(500))
    flipped = [bin(a ^ b).count("1") for a, b in pairs]
    assert 30 < sum(flipped) / len(flipped) < 33  # half of 63


@pytest.mark.parametrize("number", [np.int64(3), np.int32(3), np.uint8(3)])
def test_a_numpy_integer_counts_as_the_integer_that_it_is(number: int) -> None:
    assert seeding.derive_seed(number, "x") == seeding.derive_seed(3, "x")
    assert seeding.derive_seed(0, "x", number) == seeding.derive_seed(0, "x", 3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_generator_gives_the_same_numbers_again(device: str) -> None:
    def draw(*what: str | int) -> list[float]:
        return torch.rand(5, generator=seeding.generator(7, *what, device=device), device=device).tolist()

    assert draw("noise", 1) == draw("noise", 1)
    assert len({tuple(draw(*what)) for what in (("noise", 1), ("noise", 2), ("order", 1), ("noise",))}) == 4


def test_a_generator_is_on_the_device_asked_for() -> None:
    for device in DEVICES:
        assert seeding.generator(0, "x", device=device).device.type == device
        assert seeding.generator(0, "x", device=torch.device(device)).device.type == device


def test_a_generator_neither_uses_nor_moves_the_global_state() -> None:
    torch.manual_seed(1)
    first = torch.rand(3, generator=seeding.generator(0, "x"))
    state = torch.random.get_rng_state()
    torch.rand(10)
    second = torch.rand(3, generator=seeding.generator(0, "x"))
    assert torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_seeded_block_draws_the_same_whatever_ran_before() -> None:
    def draw(*what: str | int) -> list[float]:
        with seeding.seeded(3, *what):
            return torch.rand(4).tolist()

    first = draw("weights")
    torch.rand(17)
    assert draw("weights") == first
    assert draw("dropout") != first


def test_a_seeded_block_puts_the_global_state_back() -> None:
    before = torch.random.get_rng_state()
    with seeding.seeded(0, "x"):
        torch.rand(5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_seeded_block_puts_the_global_state_back_after_an_error() -> None:
    before = torch.random.get_rng_state()

    def fail() -> None:
        with seeding.seeded(0, "x"):
            torch.rand(5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeded_blocks_nest() -> None:
    with seeding.seeded(0, "outer"):
        torch.rand(1)
        expected = torch.rand(3)
    with seeding.seeded(0, "outer"):
        torch.rand(1)
        with seeding.seeded(0, "inner"):
            torch.rand(9)
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_reseeding_makes_global_draws_repeatable(device: str) -> None:
    def draw(step: int) -> list[float]:
        seeding.reseed_global(0, "dropout", step, device=torch.device(device))
        return torch.rand(4).tolist() + torch.rand(4, device=device).tolist()

    with torch.random.fork_rng():
        first = draw(1)
        torch.rand(3, device=device)
        assert draw(1) == first
        assert draw(2) != first
