"""scikit-learn's small tables of measurements, part of the installed package, every component
scaled to mean 0 and std 1 over all samples, so that a noise level means the same for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from noiseproof.data.dataset import ArrayDataset
from noiseproof.data.sources.base import SOURCES, SourceData, SourceOptions, refuse_argument

__all__ = ["breast_cancer", "wine"]


@SOURCES.register("wine")
def wine(argument: str, options: SourceOptions) -> SourceData:  # noqa: ARG001
    """Return 178 wines of three cultivars as vectors of 13 measurements."""
    from sklearn.datasets import load_wine

    refuse_argument("wine", argument)
    return _table(load_wine)


@SOURCES.register("breast-cancer")
def breast_cancer(argument: str, options: SourceOptions) -> SourceData:  # noqa: ARG001
    """Return 569 tumours, malignant or benign, as vectors of 30 measurements."""
    from sklearn.datasets import load_breast_cancer

    refuse_argument("breast-cancer", argument)
    return _table(load_breast_cancer)


def _table(load: Callable[[], Any]) -> SourceData:
    bunch = load()
    inputs = torch.from_numpy(bunch.data)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0, correction=0)
    names = [str(name) for name in bunch.target_names]
    return SourceData(ArrayDataset(inputs.float(), torch.from_numpy(bunch.target), names))
