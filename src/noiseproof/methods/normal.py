"""Normal training: the softmax loss on clean inputs (§7.1)."""

from __future__ import annotations

import torch.nn.functional as F

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
        loss = F.cross_entropy(logits, views.labels)
        return StepResult(loss, {"softmax": loss}, logits, views.labels)
