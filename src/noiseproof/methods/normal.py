"""Normal training: the softmax loss on clean inputs (§7.1)."""

from __future__ import annotations

from noiseproof.methods.base import Method, StepResult, Views, register

__all__ = ["Normal"]


@register
class Normal(Method):
    """L_S on clean inputs (Eq. 3)."""

    name = "normal"
    title = "Normal training"
    views = ("clean",)

    def forward(self, views: Views) -> StepResult:
        logits = self.model(views.clean)
        loss = self.softmax_loss(logits, views.labels)
        return StepResult.of(loss, {"softmax": loss}, logits, views.labels)
