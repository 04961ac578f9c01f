"""How a clean and a noisy view go through a network with batch normalisation.

- ``separate``: one pass each. In training each view is normalised by its own statistics; the running ones, used at
  test time, mix both.
- ``joint``: one pass of both together, normalised by common statistics.
- ``split``: one pass each, and only the clean one moves the running statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from noiseproof.models import FeatureClassifier

__all__ = ["Passes", "embed_views", "frozen_running_statistics"]

Passes = Literal["separate", "joint", "split"]


def embed_views(model: FeatureClassifier, clean: Tensor, noisy: Tensor, passes: Passes) -> tuple[Tensor, Tensor]:
    """Return the features (N, d) of the clean and of the noisy view, (N, ...) each."""
    if passes == "joint":
        embeddings = model.embed(torch.cat([clean, noisy]))
        return embeddings[: clean.shape[0]], embeddings[clean.shape[0] :]
    clean_embeddings = model.embed(clean)
    if passes == "separate":
        return clean_embeddings, model.embed(noisy)
    with frozen_running_statistics(model):
        return clean_embeddings, model.embed(noisy)


@contextmanager
def frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """Inside the block batch normalisation uses the statistics of its batch and leaves its running ones alone."""
    tracking = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True
