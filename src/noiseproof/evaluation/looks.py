"""One look at a block of samples, through one perturbation or attack: where the noise of an evaluation comes from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from noiseproof import seeding
from noiseproof.evaluation.attacks import Attack
from noiseproof.evaluation.blocks import BLOCK
from noiseproof.evaluation.views import View

__all__ = ["Look", "seen"]


class Look(NamedTuple):
    """A perturbation or attack, by its key in the report, and which of its draws."""

    key: str
    view: View
    number: int


def seen(model: nn.Module, look: Look, inputs: Tensor, labels: Tensor, seed: int, block: int) -> Tensor:
    """Return what a look makes of a block of inputs.

    Args:
        model: that an attack works against.
        look: which perturbation or attack, and which draw.
        inputs: (n, ...) of the whole block, n ≤ :data:`noiseproof.evaluation.blocks.BLOCK`.
        labels: (n,).
        seed: of the noise.
        block: the number of the block.
    """
    if isinstance(look.view, Attack):
        return look.view(model, inputs, labels, seeding.derive_seed(seed, look.view.spec, block))
    # The last block is filled up, since random generators give other numbers when asked for fewer.
    size = len(inputs)
    filled = torch.cat([inputs, inputs.new_zeros(BLOCK - size, *inputs.shape[1:])]) if size < BLOCK else inputs
    generator = seeding.generator(seed, look.view.spec, look.number, block, device=inputs.device)
    return look.view(filled, generator)[:size]
