"""``folder:PATH``: pictures of every mode, size and state of health."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noiseproof.data import ArrayDataset, load_splits
from noiseproof.data.files import ImageFiles
from noiseproof.data.images import decode_rgb
from noiseproof.data.sources import SOURCES, SourceData, SourceOptions
from noiseproof.errors import DataError


def save(path: Path, value: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 255)).save(path)
    return path


def two_classes(top: Path, each: int = 4) -> Path:
    for label, name in enumerate(("cat", "dog")):
        for number in range(each):
            save(top / name / f"{number}.png", 100 * label + number)
    return top


def truncated(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    path.write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    return path


def read(top: Path, size: tuple[int, int] | None = None, skip_broken: bool = False) -> SourceData:
    return SOURCES["folder"](str(top), SourceOptions(image_size=size, skip_broken=skip_broken))


def reds(data: object) -> list[int]:
    assert isinstance(data, ArrayDataset)
    return data.inputs[:, 0, 0, 0].tolist()


# Layout


def test_sub_folders_are_classes_and_files_come_sorted(tmp_path: Path) -> None:
    data = read(two_classes(tmp_path, 2))
    assert data.train.class_names == ("cat", "dog")
    assert (data.train.labels.tolist(), reds(data.train)) == ([0, 0, 1, 1], [0, 1, 100, 101])
    assert data.train.inputs.dtype == torch.uint8
    assert data.test is data.validation is None


@pytest.mark.parametrize("names", [("train", "val", "test"), ("training", "validation", "testing")])
def test_parts_that_are_folders_are_kept(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, part in enumerate(names, start=2):
        two_classes(tmp_path / part, number)
    splits = load_splits(f"folder:{tmp_path}", validation_fraction=0.5)
    assert splits.validation is not None
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [4, 6, 8]


def test_a_plain_folder_is_split_by_class_and_seed(tmp_path: Path) -> None:
    two_classes(tmp_path, 10)
    first, again, other = (load_splits(f"folder:{tmp_path}", test_fraction=0.2, split_seed=seed) for seed in (0, 0, 1))
    assert first.test.labels.bincount().tolist() == [2, 2]
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert sorted(reds(first.train) + reds(first.test)) == [*range(10), *range(100, 110)]


def test_a_class_only_the_test_part_has_is_named(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test")
    save(tmp_path / "test" / "cow" / "0.png")
    with pytest.raises(DataError, match="cow, which the training part has not"):
        read(tmp_path)


def test_a_class_the_test_part_lacks_keeps_its_number(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    save(tmp_path / "test" / "dog" / "0.png")
    data = read(tmp_path)
    assert data.test is not None
    assert (data.test.labels.tolist(), data.test.class_names) == ([1], ("cat", "dog"))


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        two_classes(tmp_path / part)
        save(tmp_path / part / ".cache" / "0.png")
    assert read(tmp_path).train.num_classes == 2


@pytest.mark.parametrize("name", [".thumbnails/0.png", "._0.png"])
def test_hidden_pictures_are_left_out(tmp_path: Path, name: str) -> None:
    two_classes(tmp_path, 2)
    save(tmp_path / "cat" / name)
    assert len(read(tmp_path).train) == 4


def test_other_files_are_left_out_and_nested_pictures_read(tmp_path: Path) -> None:
    two_classes(tmp_path, 2)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "README.md").write_text("no picture")
    save(tmp_path / "dog" / "more" / "9.PNG", 109)
    assert reds(read(tmp_path).train) == [0, 1, 100, 101, 109]


def test_names_may_be_unicode_or_hold_blanks(tmp_path: Path) -> None:
    for name in ("Straße nass", "路面"):
        save(tmp_path / name / "ein Bild ☂.png")
    splits = read(tmp_path)
    assert splits.train.class_names == tuple(sorted(("Straße nass", "路面")))
    assert len(splits.train) == 2


@pytest.mark.parametrize("classes", [(), ("cat",)])
def test_less_than_two_classes_are_refused(tmp_path: Path, classes: tuple[str, ...]) -> None:
    for name in classes:
        save(tmp_path / name / "0.png")
    with pytest.raises(DataError, match="at least two classes"):
        read(tmp_path)


def test_folders_without_pictures_or_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="needs a folder, as in folder:PATH"):
        load_splits("folder")


def test_val_and_test_without_train_are_not_taken_for_classes(tmp_path: Path) -> None:
    two_classes(tmp_path / "val")
    two_classes(tmp_path / "test")
    with pytest.raises(DataError, match="train"):
        read(tmp_path)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    two_classes(tmp_path, 2)
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dog" / "self.png").symlink_to(tmp_path / "dog" / "self.png")
    assert len(read(tmp_path).train) == 4


# Modes and sizes


def pictures() -> dict[str, tuple[Image.Image, str, tuple[int, int, int]]]:
    """A uniform picture of each mode, its file type, and the colour it must come out with."""
    palette = Image.new("P", (7, 5), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    clear = palette.copy()
    clear.info["transparency"] = 0
    clear_bytes = palette.copy()
    clear_bytes.info["transparency"] = b"\x80\xff"
    return {
        "L": (Image.new("L", (7, 5), 90), "png", (90, 90, 90)),
        "1": (Image.new("1", (7, 5), 1), "png", (255, 255, 255)),
        "I;16": (Image.fromarray(np.full((5, 7), 90 * 257, dtype=np.uint16)), "png", (90, 90, 90)),
        "I;16 tiff": (Image.fromarray(np.full((5, 7), 90 * 257, dtype=np.uint16)), "tiff", (90, 90, 90)),
        "RGBA": (Image.new("RGBA", (7, 5), (200, 100, 50, 255)), "png", (200, 100, 50)),
        "RGBA half": (Image.new("RGBA", (7, 5), (200, 100, 50, 51)), "png", (40, 20, 10)),
        "LA": (Image.new("LA", (7, 5), (100, 51)), "png", (20, 20, 20)),
        "P": (palette, "png", (10, 20, 30)),
        "P clear": (clear, "png", (0, 0, 0)),
        "P half clear": (clear_bytes, "png", (5, 10, 15)),
        "GIF": (palette, "gif", (10, 20, 30)),
        "CMYK": (Image.new("CMYK", (7, 5), (255, 0, 255, 0)), "tiff", (0, 255, 0)),
        "CMYK jpeg": (Image.new("CMYK", (7, 5), (0, 0, 0, 255)), "jpg", (0, 0, 0)),
        "RGB webp": (Image.new("RGB", (7, 5), (255, 255, 255)), "webp", (255, 255, 255)),
    }


@pytest.mark.parametrize("mode", pictures())
def test_every_mode_becomes_rgb_of_the_size_asked(tmp_path: Path, mode: str) -> None:
    picture, suffix, colour = pictures()[mode]
    save(tmp_path / "cat" / "0.png")
    (tmp_path / "dog").mkdir()
    picture.save(tmp_path / "dog" / f"odd.{suffix}")
    data = read(tmp_path, size=(6, 4)).train
    assert isinstance(data, ArrayDataset)
    assert (data.inputs.dtype, data.inputs.shape) == (torch.uint8, (2, 3, 6, 4))
    found = data.inputs[1].flatten(1).unique(dim=1).squeeze(1).tolist()
    assert found == pytest.approx(list(colour), abs=2)


def test_sixteen_bit_grey_with_transparency_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.full((5, 7), 90 * 257, dtype=np.uint16)).save(path, transparency=7)
    assert decode_rgb(path, "x").unique().tolist() == [90]


def test_pictures_are_brought_to_the_size_of_the_first_or_the_one_asked(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "0.png", 7, size=(9, 5))
    save(tmp_path / "dog" / "0.png", 7, size=(3, 30))
    assert read(tmp_path).train.input_shape == (3, 5, 9)
    data = read(tmp_path, size=(4, 6)).train
    assert isinstance(data, ArrayDataset)
    assert data.input_shape == (3, 4, 6)
    assert data.inputs[:, 0].unique().tolist() == [7]


def test_all_parts_have_the_size_of_the_training_part(tmp_path: Path) -> None:
    for part, size in (("train", (8, 6)), ("test", (5, 5))):
        for name in ("cat", "dog"):
            save(tmp_path / part / name / "0.png", size=size)
    data = read(tmp_path)
    assert data.test is not None
    assert data.test.input_shape == data.train.input_shape == (3, 6, 8)


# Broken pictures


def break_one(top: Path, kind: str) -> Path:
    two_classes(top, 2)
    path = top / "dog" / ("bad.jpg" if kind == "truncated" else "bad.png")
    if kind == "truncated":
        return truncated(path)
    path.write_bytes(b"" if kind == "empty" else b"this is text\n" * 20)
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_a_broken_picture_is_named(tmp_path: Path, kind: str) -> None:
    path = break_one(tmp_path, kind)
    with pytest.raises(DataError, match=re.escape(f"cannot read the picture {path}")) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_broken_pictures_are_skipped_and_counted_if_asked(tmp_path: Path, kind: str) -> None:
    path = break_one(tmp_path, kind)
    with pytest.warns(UserWarning, match=f"left out 1 pictures.*{re.escape(str(path))}"):
        data = read(tmp_path, skip_broken=True)
    assert reds(data.train) == [0, 1, 100, 101]


@pytest.mark.parametrize("content", [b"", b"text"])
def test_the_first_picture_may_be_the_broken_one(tmp_path: Path, content: bytes) -> None:
    two_classes(tmp_path, 2)
    (tmp_path / "cat" / "0.png").write_bytes(content)
    with pytest.warns(UserWarning, match="left out 1 pictures"):
        data = read(tmp_path, skip_broken=True)
    assert reds(data.train) == [1, 100, 101]


def test_nothing_but_broken_pictures_is_an_error(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        truncated(tmp_path / name / "0.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match="no pictures that can be read"):
            read(tmp_path, skip_broken=True)


def test_whole_pictures_are_skipped_without_a_word(tmp_path: Path) -> None:
    assert len(read(two_classes(tmp_path), skip_broken=True).train) == 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.filterwarnings("ignore")
def test_a_picture_cut_anywhere_is_a_data_error_or_whole(kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, kind)
    content = file.getvalue()
    for end in range(0, len(content), 3):
        try:
            assert decode_rgb(io.BytesIO(content[:end]), "cut").shape == (3, 8, 8)
        except DataError as error:
            assert "cannot read the picture cut" in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_a_data_error_or_a_picture(kind: str) -> None:
    file, random = io.BytesIO(), np.random.default_rng(1)
    Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, kind)
    whole = np.frombuffer(file.getvalue(), dtype=np.uint8)
    for _ in range(150):
        content = whole.copy()
        content[random.integers(0, min(len(content), 200), 4)] = random.integers(0, 256, 4)
        try:
            decode_rgb(io.BytesIO(content.tobytes()), "damaged", (8, 8))
        except DataError as error:
            assert "cannot read the picture damaged" in str(error)  # noqa: PT017 - either outcome is right


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_classes(tmp_path, 2)
    bomb = save(tmp_path / "dog" / "bomb.png", size=(50, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=f"{re.escape(str(bomb))}.*decompression bomb"):
        read(tmp_path)
    first = save(tmp_path / "cat" / "0.png", size=(50, 50))
    with pytest.raises(DataError, match=re.escape(str(first))):
        read(tmp_path)


# On disk


def test_data_too_large_for_memory_gives_the_same_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(two_classes(tmp_path) / "cat" / "odd.png", 9, size=(20, 11))
    memory = read(tmp_path, size=(6, 5)).train
    monkeypatch.setattr("noiseproof.data.sources.folder._IN_MEMORY", 0)
    disk = read(tmp_path, size=(6, 5)).train
    assert isinstance(memory, ArrayDataset)
    assert isinstance(disk, ImageFiles)
    assert (len(disk), disk.input_shape, disk.class_names) == (9, (3, 6, 5), memory.class_names)
    assert torch.equal(disk.labels, memory.labels)
    assert all(torch.equal(disk[i][0], memory.inputs[i]) for i in range(9))
    assert disk.channel_statistics() == memory.channel_statistics()
    part = torch.tensor([8, 0, 3])
    assert torch.equal(disk.subset(part).loaded().inputs, memory.subset(part).inputs)


def test_both_ways_give_the_same_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_classes(tmp_path, 10)
    memory = load_splits(f"folder:{tmp_path}")
    monkeypatch.setattr("noiseproof.data.sources.folder._IN_MEMORY", 0)
    disk = load_splits(f"folder:{tmp_path}")
    assert isinstance(disk.test, ImageFiles)
    assert torch.equal(disk.test.loaded().inputs, memory.test.inputs)


def test_the_fingerprint_of_files_changes_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noiseproof.data.sources.folder._IN_MEMORY", 0)
    two_classes(tmp_path)
    first = read(tmp_path).train.fingerprint()
    assert read(tmp_path).train.fingerprint() == first
    assert read(tmp_path, size=(4, 4)).train.fingerprint() != first
    save(tmp_path / "cat" / "0.png", size=(30, 30))
    assert read(tmp_path, size=(8, 8)).train.fingerprint() != first
    save(tmp_path / "cat" / "0.png")
    assert read(tmp_path).train.fingerprint() == first
    (tmp_path / "cat" / "0.png").rename(tmp_path / "dog" / "0.5.png")
    assert read(tmp_path).train.fingerprint() != first
