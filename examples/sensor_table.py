"""A table of one's own, a row per measurement and the class in the last column, against noise on every sensor.

    python examples/sensor_table.py                # scikit-learn's wines, written as such a table first
    python examples/sensor_table.py measured.csv   # a head line with names, then numbers and a class

The table becomes an ``.npz`` archive, which every command takes: ``noiseproof compare vectors --data npz:table.npz``.
Columns are brought to mean 0 and standard deviation 1, so that noise of 0.5 is half of what a sensor varies by itself.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_wine

import noiseproof as npf
from noiseproof.reporting import comparison_table


def write_wines(path: Path) -> None:
    wine = load_wine()
    rows = [[*map(str, x), wine.target_names[y]] for x, y in zip(wine.data, wine.target, strict=True)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*wine.feature_names, "class"], *rows])


def to_archive(table: Path, archive: Path) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    x = np.array([row[:-1] for row in rows], dtype=np.float32)
    x = (x - x.mean(axis=0)) / x.std(axis=0).clip(1e-6)
    names, y = np.unique([row[-1] for row in rows], return_inverse=True)
    np.savez(archive, x=x, y=y, class_names=names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", type=Path, help="a CSV file")
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = options.table or Path(folder, "wines.csv")
        if options.table is None:
            write_wines(table)
        to_archive(table, Path(folder, "table.npz"))
        comparison = npf.compare(
            "vectors",
            ["normal", "mixed", "discriminative"],
            seeds=[0, 1, 2],
            overrides={"data.source": f"npz:{folder}/table.npz", "train.epochs": options.epochs},
            out=Path(folder, "runs"),
        )
    print(comparison_table(comparison).to_markdown())


if __name__ == "__main__":
    main()
