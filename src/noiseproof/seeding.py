"""Every random draw comes from a generator that is a pure function of (seed, what, index).

So a result does not depend on the batch size, on the number of workers, on what ran before, or on where a run was
stopped and resumed.
"""

from __future__ import annotations

import hashlib
import numbers
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["derive_seed", "generator", "reseed_global", "seeded"]


def derive_seed(seed: int, *what: str | int) -> int:
    """Return a 63-bit seed that is a hash of ``seed`` and of what is drawn, the same on every machine."""
    plain = tuple(int(part) if isinstance(part, numbers.Integral) else part for part in (seed, *what))
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *what: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on ``device`` for one draw, as in ``generator(seed, "noise", step)``."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *what))


@contextmanager
def seeded(seed: int, *what: str | int) -> Iterator[None]:
    """Seed torch's global generators inside the block and put them back after it.

    For what can only draw from the global generators: the initialisation of a module's weights, dropout.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(seed, *what))
        yield


def reseed_global(seed: int, *what: str | int, device: torch.device) -> None:
    """Seed the global generators that a training step on ``device`` may draw from, for dropout and its like."""
    derived = derive_seed(seed, *what)
    torch.default_generator.manual_seed(derived)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(derived)
    elif device.type == "mps":
        torch.mps.manual_seed(derived)
