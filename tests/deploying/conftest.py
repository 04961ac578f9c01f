from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import noiseproof as npf
from noiseproof.training import Recipe, Run
from tests.cli.problems import TINY

# What Markdown, YAML, HTML, terminals and file systems may trip over.
HOSTILE = (
    "a|b",
    "<script>x</script>",
    "*stars* _lines_ `ticks`",
    "line\nbreak",
    "[link](http://x.y)",
    "naïve 猫",
    "yes: #no",
)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on 1×8×8 images that has learnt something; tests leave it as it is."""
    changes = {"train.max_steps": 60, "train.epochs": 3, "train.optimizer.lr": 0.01, "model.options.width": 8}
    recipe = Recipe.from_mapping(yaml.safe_load(TINY))
    return npf.train(recipe, "mixed", 0, changes, tmp_path_factory.mktemp("digits") / "run")


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on vectors of three numbers, with class names that are hard to write down, by a method without noise."""
    folder = tmp_path_factory.mktemp("vectors")
    random = np.random.default_rng(0)
    labels = np.arange(140) % len(HOSTILE)
    inputs = random.normal(size=(140, 3)) + labels[:, None]
    np.savez(folder / "data.npz", x=inputs.astype(np.float32), y=labels, class_names=np.array(HOSTILE))
    recipe = yaml.safe_load(TINY) | {
        "data": {"source": f"npz:{folder / 'data.npz'}"},
        "model": {"name": "mlp", "embedding_dim": 4, "options": {"width": 4}},
    }
    return npf.train(Recipe.from_mapping(recipe), "normal", 3, out=folder / "run")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures: grey, coloured, transparent, of 16 bits, large and small, in folders and behind a dot."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more" / "ältere").mkdir(parents=True)
    (folder / ".thumbnails").mkdir()
    images = (load_digits().images[:6] / 16 * 255).astype(np.uint8)
    Image.fromarray(images[0]).save(folder / "grey.png")
    colours = np.random.default_rng(0).integers(0, 256, (20, 13, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "colours.PNG")
    Image.fromarray(np.kron(images[2], np.ones((4, 4), np.uint8))).convert("P").save(folder / "more" / "palette.gif")
    Image.fromarray(images[3]).convert("LA").save(folder / "more" / "ältere" / "名前.png")
    Image.fromarray(images[4].astype(np.uint16) << 8).save(folder / "more" / "sixteen.png")
    Image.fromarray(images[5]).save(folder / ".thumbnails" / "hidden.png")
    (folder / "notes.txt").write_text("no picture")
    return folder
