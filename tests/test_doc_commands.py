"""Every command that the documents show runs, on small data and for a few steps, and ends well."""

from __future__ import annotations

import contextlib
import copy
import io
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import noiseproof as npf
from noiseproof.cli import main
from noiseproof.experiments import evaluate_run
from noiseproof.training.recipe import Recipe

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
NOT_OURS = ("make ", "pip ", "until ", "[ ", "done", "torchrun ", "accelerate ", "cd ", "python ")

SMALLER = {
    "parquet:FOLDER": "npz:cifar.npz", "--data cifar10": "--data npz:cifar.npz", "--jobs 2": "--jobs 1",
    "certify runs/a": "certify runs/a -n 100 --limit 20", "curvature runs/a": "curvature runs/a --limit 20",
    "analyse runs/a runs/b": "analyse runs/a runs/b --limit 30",
    "compare digits --explain": "compare digits --methods normal",  # explaining is tested with the comparison
    "noiseproof doctor": "noiseproof doctor --no-self-test", "--image-size 224,224": "--image-size 32,32",
    "--trials 20": "--trials 2", "--seeds 0,1,2": "--seeds 0", "--final-seeds 0,1,2": "--final-seeds 0,1",
}  # fmt: skip

_settled = Recipe.from_mapping.__func__  # type: ignore[attr-defined]


def commands_in(document: str) -> list[str]:
    """The lines of the shell blocks, continued lines joined, comments left out."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(shlex.split(line, comments=True, posix=False)) for line in lines if line.strip()]


EVERY = [(document, command) for document in DOCUMENTS for command in dict.fromkeys(commands_in(document))]
OURS = [(document, command) for document, command in EVERY if not command.startswith(NOT_OURS)]


def small(cls: type[Recipe], raw: Mapping[str, Any]) -> Recipe:
    """The recipe with the same keys, two steps long and with a network that takes no time."""
    changed = copy.deepcopy(dict(raw))
    changed["train"] = {**changed.get("train", {}), "max_steps": 2, "batch_size": 16}
    changed["evaluate"] = {**changed.get("evaluate", {}), "draws": 1}
    if changed["model"]["name"] in ("resnet18-cifar", "resnet8-cifar"):
        changed["model"] = {"name": "resnet8-cifar", "embedding_dim": 8, "options": {"width": 4}}
    return _settled(cls, changed)


def studies_in(document: str) -> list[str]:
    """The studies that a document shows."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def made_small(command: str) -> str:
    """The command with less to do, and with the data that is there."""
    for wanted, there in SMALLER.items():
        command = command.replace(wanted, there)
    return command


def picture(generator: np.random.Generator) -> Image.Image:
    return Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the documents take for granted."""
    folder, random = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(12):
            picture(random).save(folder / "photos" / name / f"{number}.png")
    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), folder / "weights.pt")
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "models.py").write_text(
        "import torch\n\n\ndef make():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))\n"
    )
    labels = np.arange(200) % 10
    images = random.integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    np.savez(folder / "cifar.npz", x=images, y=labels, x_test=images[:40], y_test=labels[:40])
    vectors = random.normal(size=(60, 5)).astype(np.float32)
    np.savez(folder / "sensors.npz", x=vectors, y=np.arange(60) % 3)
    digits = random.random((4, 1, 8, 8), dtype=np.float32)
    np.savez(folder / "digits.npz", x=digits)
    np.savez(folder / "shots.npz", repeats=np.clip(digits + random.normal(0, 0.05, (5, 4, 1, 8, 8)), 0, 1))
    for name, study in zip(("my-study.yaml", "confirm.yaml"), studies_in("docs/studies.md"), strict=True):
        (folder / name).write_text(study)
    return folder


@pytest.fixture
def at_home(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world as the working directory, with short recipes and runs that are there."""
    monkeypatch.chdir(world)
    monkeypatch.setattr(Recipe, "from_mapping", classmethod(small))
    pristine = world / "pristine"
    if not pristine.is_dir():
        photos = {"data.source": "folder:photos", "model.name": "resnet8-cifar"}
        for name, method, changes in (
            ("a", "discriminative", {}), ("b", "normal", {}), ("fine-tuned", "mixed", {}), ("c", "normal", photos),
        ):  # fmt: skip
            evaluate_run(npf.train("digits", method, 0, changes, pristine / name))
    shutil.rmtree(world / "runs", ignore_errors=True)  # no command meets what another one left
    shutil.copytree(pristine, world / "runs")
    return world


def test_there_are_commands_in_the_documents() -> None:
    assert len(OURS) > 20
    assert all(command.startswith("noiseproof ") for _, command in OURS)


@pytest.mark.parametrize(("document", "command"), OURS)
def test_a_command_runs(document: str, command: str, at_home: Path) -> None:
    arguments = shlex.split(made_small(command))[1:]
    if arguments[0] == "train" and "--out" in arguments:  # which refuses to replace a run that is there
        shutil.rmtree(arguments[arguments.index("--out") + 1], ignore_errors=True)
    told = io.StringIO()
    with contextlib.redirect_stderr(told), pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0, told.getvalue()
