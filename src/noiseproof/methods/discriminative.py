"""The paper's method: softmax and discriminative loss on clean inputs, noisy features drawn to clean centroids."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from noiseproof.errors import InvalidArgumentError
from noiseproof.functional import consistency
from noiseproof.losses import DiscriminativeLoss
from noiseproof.losses.centroids import Strategy
from noiseproof.methods.base import Method, MethodOptions, StepResult, Views, register
from noiseproof.methods.passes import Passes, embed_views
from noiseproof.models import FeatureClassifier

__all__ = ["Discriminative"]


@register
class Discriminative(Method):
    """L_total = L_S + L_ours (H.1), with L_ours of Eq. 13; beyond the paper, + consistency · KL(p(x) ‖ p(x + ε))."""

    name = "discriminative"
    title = "Discriminative (paper)"
    views = ("clean", "noisy")

    class Options(MethodOptions):
        """Those of :class:`noiseproof.DiscriminativeLoss`, ``passes`` (:mod:`noiseproof.methods.passes`),
        ``softmax_on``: the softmax loss on clean inputs (the paper's), or its mean over clean and noisy ones; and
        ``consistency``: the weight of :func:`noiseproof.functional.consistency`, which the paper does not have. With
        ``lambda_noisy`` and ``consistency`` 0 and the softmax loss on clean inputs no noisy input is looked at (§7.6).
        """

        delta_v: float = Field(0.5, ge=0)
        delta_d: float = Field(5.0, ge=0)
        alpha: float = Field(1.0, ge=0)
        beta: float = Field(1.0, ge=0)
        gamma_reg: float = Field(1e-3, ge=0)
        lambda_noisy: float = Field(1.0, ge=0)
        momentum: float = Field(0.9, ge=0, lt=1)
        centroids: Strategy = "partial"
        passes: Passes = "separate"
        softmax_on: Literal["clean", "both"] = "clean"
        consistency: float = Field(0.0, ge=0)

        @property
        def answers_noisy(self) -> bool:
            """Whether the loss looks at the logits of noisy inputs."""
            return self.softmax_on == "both" or self.consistency > 0

    options: Options

    def __init__(self, model: FeatureClassifier, options: Options) -> None:
        super().__init__(model, options)
        self._wanted = self.views_for(options)
        of_the_loss = options.model_dump(exclude={"passes", "softmax_on", "consistency"})
        self.discriminative = DiscriminativeLoss(model.num_classes, model.embedding_dim, **of_the_loss)

    @classmethod
    def views_for(cls, options: MethodOptions) -> tuple[str, ...]:
        """Return both views, or the clean one where no part of the loss would look at the noisy one."""
        chosen = cls.Options.model_validate(options.model_dump())
        return ("clean", "noisy") if chosen.lambda_noisy > 0 or chosen.answers_noisy else ("clean",)

    @classmethod
    def title_in(cls, preset: str) -> str:
        """Return the title with the preset that it is in, as ``Discriminative (best)``."""
        return f"Discriminative ({preset})"

    def forward(self, views: Views) -> StepResult:
        clean, noisy = self._embedded(views)
        logits = self.model.head(clean)
        softmax = {"softmax": self.softmax_loss(logits, views.labels)}
        drawn: dict[str, Tensor] = {}
        if noisy is not None and self.options.answers_noisy:
            noisy_logits = self.model.head(noisy)
            if self.options.softmax_on == "both":
                softmax["softmax_noisy"] = self.softmax_loss(noisy_logits, views.labels)
            if self.options.consistency > 0:
                drawn["consistency"] = consistency(logits, noisy_logits)
        terms = self.discriminative(clean, views.labels, self.model.head, noisy_embeddings=noisy)
        loss = torch.stack(list(softmax.values())).mean() + terms.total
        if drawn:
            loss = loss + self.options.consistency * drawn["consistency"]
        parts = {**softmax, **{name: term for name, term in terms._asdict().items() if name != "total"}, **drawn}
        return StepResult.of(loss, parts, logits, views.labels)

    def _embedded(self, views: Views) -> tuple[Tensor, Tensor | None]:
        if "noisy" in self._wanted:
            return embed_views(self.model, *views.pair(), self.options.passes)
        if views.clean is None:
            raise InvalidArgumentError("this method needs views.clean, got None")
        return self.model.embed(views.clean), None
