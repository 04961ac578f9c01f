"""Stability training (Zheng et al. 2016) on the feature space of the paper (§7.1)."""

from __future__ import annotations

from pydantic import Field

from noiseproof.functional import stability
from noiseproof.methods.base import Method, MethodOptions, StepResult, Views, register
from noiseproof.methods.passes import Passes, embed_views

__all__ = ["Stability"]


@register
class Stability(Method):
    """L_S (Eq. 3) on clean inputs + weight · mean ‖f(x) − f(x + ε)‖."""

    name = "stability"
    title = "Stability training"
    views = ("clean", "noisy")

    class Options(MethodOptions):
        """weight: of the distance between clean and noisy features; passes: see :mod:`noiseproof.methods.passes`."""

        weight: float = Field(1.0, ge=0)
        passes: Passes = "separate"

    options: Options

    def forward(self, views: Views) -> StepResult:
        clean, noisy = embed_views(self.model, *views.pair(), self.options.passes)
        logits = self.model.head(clean)
        softmax = self.softmax_loss(logits, views.labels)
        distance = stability(clean, noisy)
        loss = softmax + self.options.weight * distance
        return StepResult.of(loss, {"softmax": softmax, "stability": distance}, logits, views.labels)
