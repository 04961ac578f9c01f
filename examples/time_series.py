"""Series of two vibration sensors, sorted by what is wrong with a bearing, against noise on the line.

    python examples/time_series.py

The signals are simulated: a shaft turns at a speed of its own, and a damaged race adds short impacts at a multiple of
it. Your own come as an array (N, channels, time); ``noiseproof train series --data npz:series.npz`` takes the archive.
Noise of standard deviation 1 is as strong as the healthy signal.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import noiseproof as npf
from noiseproof.reporting import comparison_table

IMPACTS_PER_TURN = {"healthy": 0.0, "outer race": 3.1, "inner race": 4.9}
NOISES = ("clean", "gaussian:0.25", "gaussian:0.5", "gaussian:0.75")


def simulate(count: int, length: int = 128, seed: int = 0) -> dict[str, np.ndarray]:
    """``count`` series of two channels: x (N, 2, T), y (N,) and the classes' names."""
    random = np.random.default_rng(seed)
    time = np.linspace(0, 1, length)
    labels = np.arange(count) % len(IMPACTS_PER_TURN)
    series = np.empty((count, 2, length), dtype=np.float32)
    for row, impacts in enumerate(np.array(list(IMPACTS_PER_TURN.values()))[labels]):
        turns = random.uniform(3, 5) * time + random.uniform()
        hit = np.exp(-6 * ((impacts * turns + random.uniform()) % 1)) if impacts else np.zeros(length)
        for channel, gain in enumerate((1.0, 0.6)):
            shaft = np.sqrt(2) * np.sin(2 * np.pi * turns + channel)
            series[row, channel] = shaft + 2 * gain * hit + 0.2 * random.normal(size=length)
    return {"x": series, "y": labels, "class_names": np.array(list(IMPACTS_PER_TURN))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--series", type=int, default=600, help="how many are simulated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "series.npz"), **simulate(options.series))
        comparison = npf.compare(
            "series",
            ["normal", "mixed", "discriminative"],
            seeds=[0],
            overrides={
                "data.source": f"npz:{folder}/series.npz",
                "model.options": {"width": 16},
                "train.optimizer": {"name": "adamw", "lr": 2e-3},
                "noise.train": "gaussian:0.5",
                "evaluate.perturbations": NOISES,
                "train.epochs": options.epochs,
            },
            out=Path(folder, "runs"),
        )
    print(comparison_table(comparison).to_markdown())


if __name__ == "__main__":
    main()
