"""Estimates of noise, against noise that was added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from noiseproof.data import load_test_set
from noiseproof.errors import DataError, InvalidArgumentError
from noiseproof.suggesting import noise_of_pictures, noise_of_repeats, noise_of_series, read_repeats
from noiseproof.suggesting.sensor import noise_of_dataset

SIGMAS = [0.002, 0.01, 0.05, 0.2]


def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smooth(count: int = 6, size: int = 64, channels: int = 1) -> Tensor:
    """Pictures that change slowly, with one straight edge each."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    slopes = torch.stack([0.3 + 0.2 * torch.sin(3 * x + k) * torch.cos(2 * y) + 0.2 * (x > 0.5) for k in range(count)])
    return slopes.unsqueeze(1).expand(-1, channels, -1, -1)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_noise_of_smooth_pictures(sigma: float) -> None:
    clean = smooth()
    found = noise_of_pictures(clean + sigma * drawn(clean.shape))
    assert found.std / sigma == pytest.approx(1, rel=0.05)
    assert found.low[0] <= found.channels[0] <= found.high[0]
    assert found.recordings == 6


def test_smooth_pictures_themselves_have_none() -> None:
    found = noise_of_pictures(smooth())
    assert found.std < 1e-3
    assert any("rounding" in note for note in found.notes)


def test_each_channel_has_its_own() -> None:
    clean, levels = smooth(channels=3), torch.tensor([0.01, 0.03, 0.1]).reshape(3, 1, 1)
    found = noise_of_pictures(clean + levels * drawn(clean.shape))
    assert found.channels == pytest.approx((0.01, 0.03, 0.1), rel=0.05)
    assert found.std == pytest.approx(float(levels.square().mean().sqrt()), rel=0.05)


def test_edges_move_it_less_than_the_mean_of_immerkaer() -> None:
    blocks = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1)).repeat_interleave(6, 2)
    clean = blocks.repeat_interleave(6, 3)  # edges every six pixels
    noisy = clean + 0.02 * drawn(clean.shape)
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]).reshape(1, 1, 3, 3)
    mean = float(torch.nn.functional.conv2d(noisy, mask).abs().mean()) * np.sqrt(np.pi / 2) / 6
    ours = noise_of_pictures(noisy).std
    assert 0 < ours / 0.02 - 1 < (mean / 0.02 - 1) / 3


def test_texture_is_taken_for_noise_and_said_to_be() -> None:
    digits = load_test_set("digits")
    alone = noise_of_dataset(digits, 500)
    assert alone.std > 0.05  # digits of 8×8 pixels are texture all over
    assert any("texture" in note for note in alone.notes)
    assert any("clipped" in note for note in alone.notes)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_noise_on_digits_is_found_where_it_drowns_their_texture(sigma: float) -> None:
    test = load_test_set("digits")
    digits = torch.stack([test[place][0] for place in range(400)])
    found = noise_of_pictures(digits + sigma * drawn(digits.shape))
    assert 0.95 < found.std / sigma < 1.3


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("repeats", [2, 3, 20])
def test_noise_of_repeats_has_no_bias(sigma: float, repeats: int) -> None:
    scene = load_test_set("digits")[0][0]
    shots = scene + sigma * drawn((repeats, 40, 1, 8, 8))
    found = noise_of_repeats(shots)
    assert found.std / sigma == pytest.approx(1, rel=4 / np.sqrt(2 * 40 * 63 * (repeats - 1)))
    assert found.notes == ()
    assert found.recordings == repeats * 40


def test_a_flickering_light_is_no_noise() -> None:
    shots = 0.5 + 0.01 * drawn((12, 1, 1, 32, 32)) + 0.05 * drawn((12, 1, 1, 1, 1), 1)
    found = noise_of_repeats(shots)
    assert found.std == pytest.approx(0.01, rel=0.05)
    assert any("level" in note for note in found.notes)


def test_a_scene_that_moved_is_told() -> None:
    scene = smooth(1)[0]
    shots = torch.stack([scene.roll(k, dims=2) for k in range(6)]) + 0.01 * drawn((6, *scene.shape))
    found = noise_of_repeats(shots.unsqueeze(1))
    assert any("moved" in note for note in found.notes)


UNITS = torch.logspace(-3, 3, 12).reshape(12, 1)  # of twelve channels


@pytest.mark.parametrize("shape", [(2, 1, 12, 8), (6, 4, 12, 100), (3, 2, 12, 50)])
def test_channels_of_other_units_are_not_taken_for_uneven_noise(shape: tuple[int, ...]) -> None:
    for seed in range(20):
        assert noise_of_repeats(UNITS * drawn(shape, seed)).notes == ()


@pytest.mark.parametrize("channel", [1, 10])
def test_the_channel_whose_noise_grows_with_its_signal_is_named(channel: int) -> None:
    shots = UNITS * drawn((6, 4, 12, 100))
    shots[:, :, channel, 60:] *= 5
    (note,) = noise_of_repeats(shots).notes
    assert f"from place to place in channel {channel}:" in note


@pytest.mark.parametrize("channel", [1, 10])
def test_the_channel_whose_level_flickers_is_named(channel: int) -> None:
    shots = drawn((12, 4, 12, 100))
    shots[:, :, channel] += 2 * drawn((12, 4, 1), 1)
    (note,) = noise_of_repeats(UNITS * shots).notes
    assert f"(channel {channel}) in level" in note
    told = float(note.partition("vary by ")[2].partition(" ")[0])
    assert told == pytest.approx(2 * float(UNITS[channel]), rel=0.3)


@pytest.mark.parametrize("shape", [(30, 5, 4), (30, 5, 4, 20)])
def test_repeats_of_vectors_and_series(shape: tuple[int, ...]) -> None:
    levels = torch.tensor([0.1, 0.5, 1.0, 3.0]).reshape(4, *[1] * (len(shape) - 3))
    found = noise_of_repeats(5 + levels * drawn(shape))
    assert found.channels == pytest.approx((0.1, 0.5, 1.0, 3.0), rel=0.2)
    assert found.word == ("column" if len(shape) == 3 else "channel")


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0])
def test_noise_of_series(sigma: float) -> None:
    time = torch.linspace(0, 3, 400)
    signal = torch.stack([torch.sin(time + k) + 0.3 * time for k in range(8)]).unsqueeze(1).expand(-1, 2, -1)
    found = noise_of_series(signal + sigma * drawn(signal.shape))
    assert found.channels == pytest.approx((sigma, sigma), rel=0.06)


@pytest.mark.parametrize(
    ("estimate", "values", "named"),
    [
        (noise_of_repeats, torch.zeros(1, 3, 1, 8, 8), "at least 2 recordings"),
        (noise_of_repeats, torch.full((3, 1, 4), torch.nan), "NaN"),
        (noise_of_pictures, torch.zeros(3, 1, 2, 8), "3×3"),
        (noise_of_pictures, torch.zeros(0, 1, 8, 8), "3×3"),
        (noise_of_series, torch.zeros(3, 1, 2), "3 steps"),
    ],
)
def test_too_little_to_tell(estimate: object, values: Tensor, named: str) -> None:
    with pytest.raises(DataError, match=named):
        estimate(values)  # type: ignore[operator]


def test_vectors_have_no_neighbours() -> None:
    with pytest.raises(InvalidArgumentError, match="repeated"):
        noise_of_dataset(load_test_set("wine"), 50)


def test_repeats_are_read_from_pictures(tmp_path: Path) -> None:
    for number in range(5):
        noisy = (128 + 10 * drawn((32, 32, 3), number)).clamp(0, 255).to(torch.uint8)
        Image.fromarray(noisy.numpy()).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("")
    repeats = read_repeats(str(tmp_path), (3, 32, 32))
    assert repeats.shape == (5, 1, 3, 32, 32)
    assert noise_of_repeats(repeats).std * 255 == pytest.approx(10, rel=0.05)
    assert read_repeats(str(tmp_path), (3, 16, 16), (16, 16)).shape == (5, 1, 3, 16, 16)


@pytest.mark.parametrize(("shape", "read"), [((6, 3, 4), (6, 3, 4)), ((6, 4), (6, 1, 4))])
def test_repeats_are_read_from_an_archive(tmp_path: Path, shape: tuple[int, ...], read: tuple[int, ...]) -> None:
    np.savez(tmp_path / "r.npz", repeats=np.zeros(shape, np.float32))
    assert read_repeats(str(tmp_path / "r.npz"), (4,)).shape == read


def test_bytes_are_divided_by_255(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", repeats=np.full((2, 1, 8, 8), 51, np.uint8))
    assert float(read_repeats(str(tmp_path / "r.npz"), (1, 8, 8)).max()) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"x": np.zeros(3)}, "an array named repeats, it has: x"),
        ({"repeats": np.zeros((6, 5))}, r"\(R, 4\) or \(R, N, 4\), got \(6, 5\)"),
        ({"repeats": np.zeros((2, 2, 2, 4))}, "must have the shape"),
        ({"repeats": np.zeros((6, 4), int)}, "bytes or floats"),
        ({"repeats": np.array([None, {}])}, "cannot read"),
    ],
)
def test_archives_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray], named: str) -> None:
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(DataError, match=named):
        read_repeats(str(tmp_path / "r.npz"), (4,))


def test_places_that_hold_no_repeats(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is neither"):
        read_repeats(str(tmp_path / "none"), (4,))
    with pytest.raises(DataError, match="at least 2 pictures"):
        read_repeats(str(tmp_path), (3, 8, 8))
    for name, side in (("a.png", 8), ("b.png", 9)):
        Image.new("RGB", (side, 8)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"one size: b\.png is 9×8, the first picture 8×8"):
        read_repeats(str(tmp_path), (3, 8, 8))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"PK\x05\x06" + bytes(18), b"not an archive"])
def test_an_archive_of_repeats_that_is_damaged_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "shots.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"shots\.npz"):
        read_repeats(str(tmp_path / "shots.npz"), (1, 8, 8))
