"""What a training method is: a module that owns the model and turns the views of a batch into a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from noiseproof.errors import InvalidArgumentError
from noiseproof.models import FeatureClassifier
from noiseproof.registry import Registry

__all__ = ["METHODS", "PAPER_METHODS", "Method", "MethodOptions", "StepResult", "Views", "build_method", "register"]

METHODS: Registry[type[Method]] = Registry("method", package="noiseproof.methods")

# The order of the rows in Table 1.
PAPER_METHODS = ("normal", "noisy", "mixed", "stability", "discriminative")


class MethodOptions(BaseModel):
    """Options of a method, as they stand under ``methods.NAME`` in a recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Views(NamedTuple):
    """One batch as the methods see it; a view that a method does not need is None.

    Attributes:
        labels: (N,) integers.
        clean: (N, ...) augmented inputs.
        noisy: (N, ...) inputs with noise on top.
    """

    labels: Tensor
    clean: Tensor | None = None
    noisy: Tensor | None = None

    def pair(self) -> tuple[Tensor, Tensor]:
        """Return both views.

        Raises:
            InvalidArgumentError: one of them is missing.
        """
        if self.clean is None or self.noisy is None:
            raise InvalidArgumentError("this method needs views.clean and views.noisy, got None for one of them")
        return self.clean, self.noisy


class StepResult(NamedTuple):
    """What a step gives back.

    Attributes:
        loss: 0-d, what is minimised; it alone has a gradient.
        parts: named 0-d tensors that the loss is made of, before weighting.
        logits: (M, C) of the inputs that the softmax loss saw.
        labels: (M,) their labels.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    logits: Tensor
    labels: Tensor

    @classmethod
    def of(cls, loss: Tensor, parts: Mapping[str, Tensor], logits: Tensor, labels: Tensor) -> StepResult:
        """Cut what is only looked at off the graph: a compiled backward pass would else take a gradient for each."""
        return cls(loss, {name: part.detach() for name, part in parts.items()}, logits.detach(), labels)


class Method(nn.Module, ABC):
    """A way to train a classifier.

    A subclass names itself, says which views it needs, declares its options, and answers :meth:`forward`.

    Args:
        model: the classifier to train.
        options: an instance of the subclass's ``Options``.

    Attributes:
        name: what users type.
        title: what tables print; see :meth:`title_in`.
        views: the views it needs, of ``"clean"`` and ``"noisy"``; see :meth:`views_for`.
        label_smoothing: share of the softmax loss's target that is spread over all classes, in [0, 1).
        class_weight: (C,) by which a sample of each class counts in the softmax loss; None for all alike.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    views: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    label_smoothing: float = 0.0
    class_weight: Tensor | None

    def __init__(self, model: FeatureClassifier, options: MethodOptions) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self.register_buffer("class_weight", None, persistent=False)

    @classmethod
    def views_for(cls, options: MethodOptions) -> tuple[str, ...]:  # noqa: ARG003
        """Return the views that are looked at with these options."""
        return cls.views

    @classmethod
    def title_in(cls, preset: str) -> str:  # noqa: ARG003
        """Return what tables print where the options left open come from this preset of a recipe."""
        return cls.title

    def softmax_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """L_S (Eq. 3) of logits (M, C), with the label smoothing and the class weights of the recipe."""
        if self.class_weight is None:
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        # not by its own weights: their mean over a batch would be another in every process that shares it
        each = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")
        return (each * self.class_weight[labels]).mean()

    @abstractmethod
    def forward(self, views: Views) -> StepResult:
        """Compute the loss of one batch."""


def register(cls: type[Method]) -> type[Method]:
    """Class decorator that makes a method known under its ``name``."""
    return METHODS.register(cls.name)(cls)


def build_method(name: str, model: FeatureClassifier, options: Mapping[str, Any] | None = None) -> Method:
    """Make a method by name.

    Args:
        name: ``normal``, ``noisy``, ``mixed``, ``stability`` or ``discriminative``.
        model: the classifier to train.
        options: the method's options by name; the rest keep their defaults.

    Raises:
        UnknownNameError: no such method.
        pydantic.ValidationError: an unknown or wrong option.
    """
    method = METHODS[name]
    return method(model, method.Options.model_validate(options or {}))
