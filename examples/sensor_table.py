"""A table of one's own, a row per measurement and the class in one column, against noise on every sensor.

    python examples/sensor_table.py                # scikit-learn's wines, written as such a table first
    python examples/sensor_table.py measured.csv   # a head line with names, then numbers and a class

The columns keep their own units. The recipe ``vectors`` standardises them, so that noise of 0.5 is half of what a
sensor varies by itself; a trained model takes rows as they are in the table. The same from a shell:
``noiseproof compare vectors --data csv:measured.csv``, then ``noiseproof predict RUN new.csv``.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_wine

import noiseproof as npf
from noiseproof.data import load_splits
from noiseproof.reporting import comparison_table


def write_wines(path: Path) -> None:
    wine = load_wine()
    rows = [[*map(str, x), wine.target_names[y]] for x, y in zip(wine.data, wine.target, strict=True)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*wine.feature_names, "class"], *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", type=Path, help="a CSV file")
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = options.table or Path(folder, "wines.csv")
        if options.table is None:
            write_wines(table)
        comparison = npf.compare(
            "vectors",
            ["normal", "mixed", "discriminative"],
            seeds=[0, 1, 2],
            overrides={"data.source": f"csv:{table}", "train.epochs": options.epochs},
            out=Path(folder, "runs"),
        )
        print(comparison_table(comparison).to_markdown())
        row = load_splits(f"csv:{table}").test[0][0]  # in the table's own units
        answer = npf.predict(Path(folder, "runs/mixed/seed-0"), torch.stack([row]))[0]
    print(f"The first test row is {answer.class_name}, in {answer.agreeing} of {answer.draws} noisy draws too.")


if __name__ == "__main__":
    main()
