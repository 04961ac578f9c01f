"""The same recipe twice on one machine gives the same bytes: weights, reports, tables and pages, on the CPU.

Each time is a process of its own, with its own working directory, hash seed and time zone, that trains and measures
every method on vectors, series, images in memory and pictures on disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.torture.test_kills import PATIENCE, RUNS, contents

REPOSITORY = Path(__file__).parent.parent.parent
LEFT = ["recipe.yaml", "metrics.jsonl", "model.safetensors", "evaluation/report.json", "evaluation/report.npz"]
TOLD = ["table.json", "table.csv", "table.md", "differences.md", "report.html"]
METHODS = ("normal", "noisy", "mixed", "stability", "discriminative")
SHORT = ["--set=train.max_steps=8", "--set=evaluate.draws=2", "--methods=all"]
COMPARISONS = {
    "vectors": ["vectors", *SHORT, "--seeds=0,1", "--set=model.embedding_dim=4"],
    "series": [
        "series", *SHORT, "--seeds=0", "--set=model.embedding_dim=4",
        "--set=evaluate.perturbations=[clean,'gaussian:0.2']",
    ],
    "images": [
        "digits", *SHORT, "--seeds=0", "--set=model.embedding_dim=4", "--set=model.options.width=2",
        "--set=evaluate.perturbations=[clean,'gaussian:0.2','salt-and-pepper:0.1']", "--set=train.ema_decay=0.5",
        "--set=train.keep=best-test",
    ],
    "pictures": [
        "digits", *SHORT, "--seeds=0", "--set=model.embedding_dim=4", "--set=model.options.width=2",
        "--set=evaluate.perturbations=[clean,'gaussian:0.2']", "--set=train.batch_size=16", "--set=train.workers=2",
        "--data=folder:../pictures",
    ],
}  # fmt: skip
if RUNS >= 20:  # with curvature, features and the theorems, which take a while
    COMPARISONS["vectors"].append("--explain")

CODE = """\
import json, sys
from pathlib import Path

from noiseproof.cli import main

for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as ended:
        if ended.code:
            raise
"""


def draw_pictures(folder: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("cat", "dog", "emu"):
        (folder / label).mkdir(parents=True)
        for number in range(24):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def compared(folder: Path, environment: dict[str, str]) -> Path:
    """Run every comparison in a new process, with ``folder`` as its working directory."""
    folder.mkdir()
    commands = [["compare", *arguments, f"--out={name}"] for name, arguments in COMPARISONS.items()]
    finished = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)], cwd=folder, capture_output=True, text=True,
        timeout=10 * PATIENCE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return folder


def test_the_same_recipe_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """One test for all, since each of the two processes takes a while to start."""
    draw_pictures(tmp_path / "pictures")
    folders = (
        compared(tmp_path / "one", {"PYTHONHASHSEED": "1", "TZ": "UTC"}),
        compared(tmp_path / "another folder", {"PYTHONHASHSEED": "4321", "TZ": "Asia/Tokyo", "LC_ALL": "C"}),
    )
    one, other = (contents(folder) for folder in folders)
    for comparison, arguments in COMPARISONS.items():
        seeds = (0, 1) if "--seeds=0,1" in arguments else (0,)
        expected = {f"{comparison}/{name}" for name in TOLD}
        for method in METHODS:
            left = [*LEFT, "method.safetensors"] if method == "discriminative" else LEFT
            expected |= {f"{comparison}/{method}/seed-{seed}/{name}" for seed in seeds for name in left}
        if "--explain" in arguments:
            assert expected <= {name for name in one if name.startswith(f"{comparison}/")}
        else:
            assert expected == {name for name in one if name.startswith(f"{comparison}/")}
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    assert not [name for name in one if name.endswith(".tmp")]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == set(COMPARISONS)
    sys.stdout.write(f"{len(one)} files are the same to the byte\n")
