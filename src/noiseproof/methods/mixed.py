"""Training on clean and noisy inputs: the softmax loss on both (§7.1)."""

from __future__ import annotations

import torch

from noiseproof.methods.base import Method, MethodOptions, StepResult, Views, register
from noiseproof.methods.passes import Passes, embed_views

__all__ = ["Mixed"]


@register
class Mixed(Method):
    """The mean of L_S (Eq. 3) on clean and on noisy inputs."""

    name = "mixed"
    title = "Clean and noisy inputs"
    views = ("clean", "noisy")

    class Options(MethodOptions):
        """passes: how the two views go through batch normalisation; the published code uses one joint pass."""

        passes: Passes = "joint"

    options: Options

    def forward(self, views: Views) -> StepResult:
        clean, noisy = embed_views(self.model, *views.pair(), self.options.passes)
        logits = self.model.head(torch.cat([clean, noisy]))
        on_clean, on_noisy = (self.softmax_loss(half, views.labels) for half in logits.chunk(2))
        parts = {"softmax": on_clean, "softmax_noisy": on_noisy}
        return StepResult.of((on_clean + on_noisy) / 2, parts, logits, views.labels.repeat(2))
