"""Training only on noisy inputs: the softmax loss on them (§7.1)."""

from __future__ import annotations

from noiseproof.methods.base import Method, StepResult, Views, register

__all__ = ["Noisy"]


@register
class Noisy(Method):
    """L_S (Eq. 3) on noisy inputs alone."""

    name = "noisy"
    title = "Only noisy inputs"
    views = ("noisy",)

    def forward(self, views: Views) -> StepResult:
        logits = self.model(views.noisy)
        loss = self.softmax_loss(logits, views.labels)
        return StepResult.of(loss, {"softmax_noisy": loss}, logits, views.labels)
