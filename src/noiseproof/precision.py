"""How exactly torch computes with float32, for the whole process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["full_float32"]


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside the block no product or convolution of float32 is rounded to a shorter type on the way, as TF32 does.

    On CUDA torch lets convolutions round so by default.
    """
    backends: Any = torch.backends
    places = (
        backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.conv,
        backends.mkldnn.rnn,
    )  # fmt: skip
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision
