"""Files that are broken, huge, mislabelled or malicious: a line that names what is wrong, or the right result."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import noiseproof as npf
from noiseproof.data import load_splits
from noiseproof.data.images import decode_rgb
from noiseproof.data.sources import SOURCES, SourceOptions
from noiseproof.errors import DataError, NoiseproofError, RecipeError
from noiseproof.evaluation import RobustnessReport
from noiseproof.models.files import load_model
from noiseproof.training import load_recipe
from noiseproof.training.recipes import dump_recipe, parse_override
from tests.evaluation.problems import report

TORTURE = bool(os.environ.get("NOISEPROOF_TORTURE"))
MANY = 100_000 if TORTURE else 2_000
RECIPE = "name: x\ndata: {source: digits}\nmodel: {name: small-cnn}\nnoise: {train: 'gaussian:0.1'}\n"


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def picture(path: Path | str, value: int = 0, kind: str = "PNG") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value % 256, value // 256 % 256, 255)).save(str(path), kind)


def two_classes(top: Path, each: int = 3, names: tuple[str, str] = ("cat", "dog")) -> Path:
    for name in names:
        for number in range(each):
            picture(top / name / f"{number}.png", number)
    return top


def with_little_memory(work: Callable[[], object], megabytes: int = 100, seconds: int = 6) -> str:
    """Do ``work`` in a child that may take so much more memory and time; what came of it, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * os.sysconf("SC_PAGE_SIZE") + megabytes * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            try:
                work()
                text = "done"
            except NoiseproofError as error:
                text = f"refused: {error}"
            except BaseException as error:
                text = "".join(traceback.format_exception_only(error))
            os.write(writer, text.encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(child, 0)
    return text or "it was killed: out of memory or of time"


# Pictures -----------------------------------------------------------------------------------------------------------


def png_head(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is of that size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(14_000, 14_000), (1, 200_000_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_beyond_pillows_own_limit_is_refused_by_its_head_alone(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"cannot read the picture bomb: .*exceeds limit of 178956970") as caught:
        decode_rgb(io.BytesIO(png_head(*size)), "bomb")
    one_line(caught)


def test_a_bomb_is_left_out_where_broken_pictures_are(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "bomb.png").write_bytes(png_head(20_000, 20_000))
    with pytest.warns(UserWarning, match=r"left out 1 pictures that cannot be read.*bomb\.png"):
        data = SOURCES["folder"](str(tmp_path), SourceOptions(skip_broken=True))
    assert len(data.train) == 6


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_picture_of_another_kind_than_its_name_says_is_read(tmp_path: Path, kind: str) -> None:
    two_classes(tmp_path)
    picture(tmp_path / "cat" / "named.png", 7, kind)
    data = SOURCES["folder"](str(tmp_path), SourceOptions()).train
    assert len(data) == 7


def test_a_pipe_named_as_a_picture_is_not_waited_for(tmp_path: Path) -> None:
    two_classes(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "dog" / "nowhere.png").symlink_to(tmp_path / "gone.png")
    assert len(SOURCES["folder"](str(tmp_path), SourceOptions()).train) == 6


def test_classes_that_link_to_each_other_end(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "cat" / "inner").mkdir()
    (tmp_path / "cat" / "inner" / "up").symlink_to(tmp_path / "cat", target_is_directory=True)
    data = SOURCES["folder"](str(tmp_path), SourceOptions()).train
    assert (data.class_names, len(data)) == (("cat", "dog"), 6)


NAMES = [
    " ",
    "  two  ",
    "tab\tin",
    "new\nline",
    "-rf",
    "a:b=c,d+e",
    "%s{0}$HOME",
    "日本語",
    "e\u0301",
    "\U0001f600",
    "'\"",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_of_a_class_comes_through_to_the_report(tmp_path: Path, name: str) -> None:
    splits = load_splits(f"folder:{two_classes(tmp_path / 'data', 4, (name, 'zebra'))}", test_fraction=0.5)
    model = npf.build_model("small-cnn", 2, 4, width=2)
    npf.evaluate(model, splits.test).save(tmp_path / "report")
    assert RobustnessReport.load(tmp_path / "report").class_names == tuple(sorted((name, "zebra")))


@pytest.fixture
def latin(tmp_path: Path) -> Path:
    """Pictures whose names are not UTF-8, as from an archive packed in another encoding."""
    for number in range(4):
        for name in (b"caf\xe9", b"tea"):
            picture(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"data", name, b"%d\xe9.png" % number)), number)  # noqa: PTH118
    return tmp_path / "data"


def test_names_that_are_no_text_are_refused_or_come_through_to_the_report(latin: Path, tmp_path: Path) -> None:
    model = npf.build_model("small-cnn", 2, 4, width=2)
    try:
        splits = load_splits(f"folder:{latin}", test_fraction=0.5)
    except NoiseproofError:
        return
    npf.evaluate(model, splits.test).save(tmp_path / "report")
    assert RobustnessReport.load(tmp_path / "report").class_names == splits.test.class_names


def test_names_that_are_no_text_are_refused_or_have_a_fingerprint(
    latin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noiseproof.data.sources.folder._IN_MEMORY", 0)
    try:
        splits = load_splits(f"folder:{latin}", test_fraction=0.5)
    except NoiseproofError:
        return
    assert len(splits.fingerprint()) == 64


def test_a_folder_of_very_many_files_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 files where NOISEPROOF_TORTURE is set; the time that it takes is told and not judged."""
    monkeypatch.setattr("noiseproof.data.sources.folder._IN_MEMORY", 0)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(MANY // 2):
            (tmp_path / name / f"{number}.png").write_bytes(buffer.getvalue())
    begun = time.perf_counter()
    splits = load_splits(f"folder:{tmp_path}", validation_fraction=0.1)
    listed = time.perf_counter()
    fingerprint = splits.fingerprint()
    splits.train.channel_statistics()
    done = time.perf_counter()
    print(f"\n{MANY} files: listed and split in {listed - begun:.2f} s, ready in {done - begun:.2f} s")  # noqa: T201
    assert sum(len(part) for part in (splits.train, splits.validation, splits.test) if part is not None) == MANY
    assert len(fingerprint) == 64


# NumPy archives -----------------------------------------------------------------------------------------------------


def archive_that_claims(path: Path, shape: str, names: tuple[str, ...] = ("x",)) -> Path:
    """An .npz of a few bytes whose arrays ``names`` say that they are of that shape."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    small = io.BytesIO()
    np.save(small, np.array([0, 1]))
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
        archive.writestr("y.npy", small.getvalue())
    return path


@pytest.mark.parametrize("shape", ["(10000000000000,)", "(10000000, 1000000)"])
def test_an_archive_that_claims_more_than_the_memory_holds_is_refused(tmp_path: Path, shape: str) -> None:
    path = archive_that_claims(tmp_path / "x.npz", shape)
    with pytest.raises(DataError, match=r"cannot read .*x\.npz") as caught:
        load_splits(f"npz:{path}")
    one_line(caught)


def test_a_report_that_claims_more_than_the_memory_holds_is_refused(tmp_path: Path) -> None:
    report({"clean": [9]}).save(tmp_path)
    archive_that_claims(tmp_path / "report.npz", "(10000000000000,)", ("labels",))
    with pytest.raises(NoiseproofError, match="cannot read a robustness report") as caught:
        RobustnessReport.load(tmp_path)
    one_line(caught)


def test_a_report_nested_without_end_is_refused(tmp_path: Path) -> None:
    report({"clean": [9]}).save(tmp_path)
    (tmp_path / "report.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(NoiseproofError, match="cannot read a robustness report") as caught:
        RobustnessReport.load(tmp_path)
    one_line(caught)


@pytest.mark.parametrize("label", [10**9, 10**13, 2**62])
def test_an_archive_with_a_label_like_a_customer_number_is_refused(tmp_path: Path, label: int) -> None:
    """Labels are counted from 0; without a limit so many names would be made up that the memory is full."""
    np.savez(tmp_path / "x.npz", x=np.zeros((6, 2), np.float32), y=np.array([0, 1, 0, 1, 0, label]))
    assert with_little_memory(lambda: load_splits(f"npz:{tmp_path / 'x.npz'}")).startswith("refused: ")


# Parquet ------------------------------------------------------------------------------------------------------------


def parquet(folder: Path, *, metadata: bytes | None = None, images: Any = None, labels: Any = None) -> str:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    images = pa.array([{"bytes": buffer.getvalue()}] * 4) if images is None else pa.array(images)
    labels = pa.array([0, 1, 0, 1]) if labels is None else pa.array(*labels)
    table = pa.Table.from_arrays([images, labels], names=["image", "label"])
    pq.write_table(table.replace_schema_metadata({b"huggingface": metadata} if metadata else None),
                   folder / "train-00000-of-00001.parquet")  # fmt: skip
    return f"parquet:{folder}"


@pytest.mark.parametrize(
    "metadata",
    [
        b"not json", b"\xff\xfe", b"[]", b"5", b'{"info": null}', b'{"info": {"features": []}}',
        b'{"info": {"features": {"label": 5}}}', b'{"info": {"features": {"label": {"names": 5}}}}', b"[" * 100_000,
    ],
    ids=lambda text: text.decode("latin-1")[:40],
)  # fmt: skip
def test_parquet_whose_class_names_cannot_be_read_is_refused_or_read_without_them(
    tmp_path: Path, metadata: bytes
) -> None:
    try:
        assert load_splits(parquet(tmp_path, metadata=metadata), test_fraction=0.5).train.class_names == ("0", "1")
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("cell", ["text", 3, [1, 2]])
def test_parquet_whose_pictures_are_no_bytes_is_refused(tmp_path: Path, cell: object) -> None:
    with pytest.raises(DataError) as caught:
        load_splits(parquet(tmp_path, images=[{"bytes": cell}] * 4))
    one_line(caught)


def test_parquet_with_a_label_that_no_integer_holds_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    with pytest.raises(NoiseproofError):
        load_splits(parquet(tmp_path, labels=([0, 2**64 - 1, 0, 1], pa.uint64())))


@pytest.mark.parametrize("label", [10**9, 10**13])
def test_parquet_with_a_label_like_a_customer_number_is_refused(tmp_path: Path, label: int) -> None:
    source = parquet(tmp_path, labels=([0, label, 0, 1],))
    assert with_little_memory(lambda: load_splits(source)).startswith("refused: ")


# Recipes ------------------------------------------------------------------------------------------------------------


def bomb(levels: int) -> str:
    """YAML of a few lines that stands for 9^levels values (the billion laughs)."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "provenance:\n" + "".join(f"  {line}\n" for line in lines)


HOSTILE_YAML = {
    "a list in a list, 20,000 deep": "provenance: {a: " + "[" * 20_000 + "]" * 20_000 + "}",
    "a mapping in a mapping, 2,000 deep": "provenance: " + "{a: " * 2_000 + "1" + "}" * 2_000,
    "itself": "provenance: &a {b: *a}",
    "a number of 5,000 digits": "seed: " + "9" * 5_000,
    "a day that there is not": "description: 2020-13-45",
    "a tag for a number on a word": "seed: !!int x",
    "a tag for a fraction on a word": "seed: !!float x",
    "a tag for yes or no on a word": "seed: !!bool x",
    "a tag for a time on a word": "seed: !!timestamp x",
    "a tag of its own": "seed: !mine {a: 1}",
    "a Python object": "provenance: {a: !!python/object/apply:os.getcwd []}",
    "a Python name": "provenance: {a: !!python/name:os.system }",
    "a list as the recipe it extends": "extends: [a]",
    "a mapping as the recipe it extends": "extends: {a: 1}",
    "a byte that is no text": "description: \x00",
}


@pytest.mark.parametrize("what", HOSTILE_YAML)
def test_a_hostile_recipe_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + HOSTILE_YAML[what] + "\n")
    with pytest.raises(NoiseproofError) as caught:
        load_recipe(path)
    one_line(caught)


def test_a_recipe_that_stands_for_a_billion_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + bomb(9))
    assert with_little_memory(lambda: load_recipe(path)).startswith("refused: ")


@pytest.mark.parametrize(
    "value", ["9" * 5_000, "2020-13-45", "!!int x", "!!bool x", "[" * 5_000, "&a [*a]"], ids=lambda v: v[:9]
)
def test_a_hostile_override_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(RecipeError):
        parse_override(f"seed={value}")


@pytest.mark.parametrize("value", ["!!binary /w==", "!!set {a, b}", "2020-12-05", ".nan", "-.inf", "!!omap [a: 1]"])
def test_a_recipe_with_an_unusual_value_is_refused_or_can_be_written(tmp_path: Path, value: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{RECIPE}provenance: {{a: {value}}}\n")
    try:
        text = dump_recipe(load_recipe(path))
    except NoiseproofError:
        return
    path.write_text(text)
    assert dump_recipe(load_recipe(path)) == text


@pytest.mark.parametrize("option", ["name", "num_classes", "embedding_dim", "in_channels", "mean", "std"])
def test_an_option_of_the_network_that_the_data_gives_is_refused(tmp_path: Path, option: str) -> None:
    changes = {"model.options": {option: 3}, "train.max_steps": 1}
    with pytest.raises(NoiseproofError, match=option):
        npf.train("digits", "normal", 0, changes, tmp_path / "run")


@pytest.mark.parametrize(
    "changes", [{"train.batch_size": 10**30}, {"train.optimizer.lr": 1e39}, {"data.split_seed": 2**40}], ids=str
)
def test_a_number_beyond_what_the_machine_counts_with_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    short = {"train.max_steps": 1, "model.options": {"width": 2}, "model.embedding_dim": 4}
    with pytest.raises(NoiseproofError):
        npf.train("digits", "normal", 0, {**short, **changes}, tmp_path / "run")


# Model files --------------------------------------------------------------------------------------------------------

DESCRIPTION: dict[str, Any] = {
    "name": "mlp", "embedding_dim": 3, "class_names": ["a", "b"], "input_shape": [4], "mean": [0.0] * 4,
    "std": [1.0] * 4, "options": {},
}  # fmt: skip


def model_file(path: Path, text: str) -> Path:
    weights = npf.build_model("mlp", 2, 3, in_channels=4, mean=[0.0] * 4, std=[1.0] * 4).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, {"noiseproof.model": text})
    return path


def test_the_model_file_below_is_right_before_it_is_changed(tmp_path: Path) -> None:
    model = load_model(model_file(tmp_path / "m.safetensors", json.dumps(DESCRIPTION)))
    assert model(torch.zeros(1, 4)).shape == (1, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 5}, {"name": None}, {"name": "../mlp"}, {"name": "timm/hf-hub:a/b"}, {"embedding_dim": "x"},
        {"embedding_dim": 10**15}, {"class_names": []}, {"class_names": 5}, {"input_shape": []},
        {"input_shape": ["x"]}, {"input_shape": [-1]}, {"mean": ["a"] * 4}, {"mean": []}, {"std": [0.0] * 4},
        {"mean": [float("nan")] * 4}, {"options": 5}, {"options": None}, {"options": {"name": "x"}}, {"more": 1},
        {"options": {"in_channels": 3}}, {"options": {"width": 10**12}}, {"options": {"no": 1}},
        {"feature_names": 5}, {"feature_names": ["a"]}, {"feature_names": [1, 2, 3, 4]},
        {"scaling": 5}, {"scaling": {"mean": [0.0] * 4}}, {"scaling": {"mean": [0.0], "std": [1.0]}},
        {"scaling": {"mean": [0.0] * 4, "std": [0.0] * 4}},
        {"scaling": {"mean": [float("inf")] * 4, "std": [1.0] * 4}},
    ],
    ids=str,
)  # fmt: skip
def test_a_model_file_with_a_wrong_description_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = model_file(tmp_path / "m.safetensors", json.dumps({**DESCRIPTION, **changes}))
    with pytest.raises(NoiseproofError):
        load_model(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "5", "[]", "null", '"x"', "{"], ids=lambda text: text[:5])
def test_a_model_file_whose_description_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(NoiseproofError, match="cannot be read"):
        load_model(model_file(tmp_path / "m.safetensors", text))
