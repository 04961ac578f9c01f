"""Accuracy of the scikit-learn estimator, clean and under noise, beside scikit-learn's own: 5-fold cross-validation.

``python -m benchmarks.estimator [--data wine,iris]``. Noise is Gaussian, with 0.5 and 1 times the standard deviation
that each feature has in the training part, ten draws. Fit times are seconds of CPU on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from noiseproof import NoiseRobustClassifier

DATA: dict[str, Callable[..., Any]] = {
    "iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer, "digits": load_digits,
}  # fmt: skip
CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "noiseproof, discriminative": lambda: NoiseRobustClassifier(random_state=0),
    "noiseproof, mixed": lambda: NoiseRobustClassifier("mixed", random_state=0),
    "noiseproof, normal": lambda: NoiseRobustClassifier("normal", random_state=0),
    "LogisticRegression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "MLPClassifier": lambda: make_pipeline(StandardScaler(), MLPClassifier(max_iter=1000, random_state=0)),
    "RandomForestClassifier": lambda: RandomForestClassifier(random_state=0),
}
LEVELS = (0.0, 0.5, 1.0)


def measure(make: Callable[[], Any], X: Any, y: Any) -> tuple[Any, Any, float]:
    """Return mean and std over the folds of the accuracy (in %) at every level, and the mean time of a fit."""
    accuracies, seconds = [], []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        classifier, started = make(), time.process_time()
        classifier.fit(X[train], y[train])
        seconds.append(time.process_time() - started)
        noise, generator = X[train].std(0), np.random.default_rng(0)
        accuracies.append([
            np.mean([classifier.score(X[test] + generator.normal(size=X[test].shape) * level * noise, y[test])
                     for _ in range(10 if level else 1)])
            for level in LEVELS
        ])  # fmt: skip
    return 100 * np.mean(accuracies, 0), 100 * np.std(accuracies, 0, ddof=1), float(np.mean(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=",".join(DATA), help=f"of {', '.join(DATA)}")
    names = parser.parse_args().data.split(",")
    torch.set_num_threads(1)
    NoiseRobustClassifier(epochs=1).fit([[0.0], [1.0]], [0, 1])  # what is imported at the first fit is not timed
    print("| data | classifier | clean | σ 0.5 | σ 1 | fit |\n| :--- | :--- | ---: | ---: | ---: | ---: |")  # noqa: T201
    for name in names:
        X, y = DATA[name](return_X_y=True)
        for title, make in CLASSIFIERS.items():
            means, stds, seconds = measure(make, X, y)
            cells = " | ".join(f"{mean:.1f} ±{std:.1f}" for mean, std in zip(means, stds, strict=True))
            print(f"| {name} | {title} | {cells} | {seconds:.2f} s |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
