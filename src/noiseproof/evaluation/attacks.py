"""Worst-case perturbations: the search, within a box around each image, for a point that the classifier gets wrong.

The searches are those of torchattacks (Kim 2020, arXiv 2010.01950), an optional dependency. An attack gives an upper
bound of the robust accuracy: one that finds nothing proves nothing, least of all where gradients vanish.
"""

from __future__ import annotations

import importlib
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from noiseproof import seeding
from noiseproof.checks import check_labels, check_range, check_unit_interval, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.models.modes import evaluating
from noiseproof.registry import Registry
from noiseproof.spec import format_part, parse

__all__ = ["ATTACKS", "FGSM", "PGD", "Attack", "AutoAttack", "attack", "is_attack", "torchattacks"]

ATTACKS: Registry[type[Attack]] = Registry("attack")


@dataclass(frozen=True)
class Attack(ABC):
    """A search for adversarial examples x' with ‖x' − x‖_∞ ≤ eps and x' in [0, 1].

    A subclass is a frozen dataclass; its fields are the keys that a user types, as with perturbations.

    Attributes:
        eps: half the width of the box, in (0, 1]; 1 is the whole range from black to white.
    """

    name: ClassVar[str]

    eps: float

    def __post_init__(self) -> None:
        check_range(f"eps of the attack {self.name!r}", self.eps, 0, 1, open_low=True)

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Search for adversarial examples.

        Modes, gradients and flags of the model, the global random generators and the inputs are left as they were,
        and it does not matter whether gradients are enabled. Random starts are drawn for the batch as a whole, so
        results repeat for the same batch.

        Args:
            model: maps (N, C, H, W) images in [0, 1] to logits (N, classes). It is attacked in evaluation mode.
            inputs: (N, C, H, W) images in [0, 1]; floating.
            labels: (N,) true classes.
            seed: of random starts.

        Returns:
            A detached tensor like ``inputs``, within ``eps`` of it (up to rounding) and in [0, 1].

        Raises:
            InvalidArgumentError: inputs that are no images in [0, 1], labels that do not fit, a model that gives no
                logits or has no finite gradient with respect to its input, or torchattacks is not installed.
        """
        self.check(inputs)
        if not isinstance(model, nn.Module):
            raise InvalidArgumentError(f"model must be an nn.Module, got {type(model).__name__}")
        images = inputs.detach().to(torch.float32)
        with evaluating(model), torch.enable_grad(), _constant(model), seeding.seeded(seed, "attack", self.spec):
            try:
                function = _Function(model, images)
                check_labels("labels", labels.cpu(), _classes(function, images), len(images))
                found = self.search(function, images, labels.to(images.device))
            except torch.OutOfMemoryError:
                raise  # no fault of the model's or of the inputs' shape
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise InvalidArgumentError(f"the attack {self.spec!r} cannot run on this model: {reason}") from error
        return _within(self.eps, inputs.detach(), found.to(inputs.dtype))

    def check(self, inputs: Tensor) -> None:
        """Raise an :class:`noiseproof.errors.InvalidArgumentError` where ``inputs`` are no floating images
        (N, C, H, W) in [0, 1].
        """
        if inputs.ndim != 4 or not inputs.is_floating_point():
            hint = "; turn bytes into floats and divide by 255" if inputs.dtype == torch.uint8 else ""
            raise InvalidArgumentError(
                f"{self.name} takes floating images (N, C, H, W), got {inputs.dtype} {tuple(inputs.shape)}{hint}"
            )
        check_unit_interval("images", inputs)

    @abstractmethod
    def search(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial examples of float32 ``inputs``; all random numbers are of the global generators."""

    @property
    def spec(self) -> str:
        """The canonical text, from which :func:`attack` makes an equal object."""
        return format_part(self.name, self)

    def __str__(self) -> str:
        return self.spec


@ATTACKS.register("fgsm")
@dataclass(frozen=True)
class FGSM(Attack):
    """x + eps·sign(∇_x L(x, y)) with L the cross-entropy: one step, no random numbers (Goodfellow et al. 2015)."""

    name: ClassVar[str] = "fgsm"

    def search(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        found: Tensor = torchattacks().FGSM(model, eps=self.eps)(inputs, labels)
        return found


@ATTACKS.register("pgd")
@dataclass(frozen=True)
class PGD(Attack):
    """Steps of x' ← P(x' + step·sign(∇_x L(x', y))), P the projection onto the box (Madry et al. 2018).

    It begins at a uniformly random point of the box.

    Attributes:
        steps: how many, ≥ 1.
        step: the length of one, > 0; None for eps/4.
    """

    name: ClassVar[str] = "pgd"

    steps: int = 10
    step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("steps of the attack 'pgd'", self.steps, 1)
        if self.step is not None:
            check_range("step of the attack 'pgd'", self.step, 0, open_low=True)
            if self.step == self.eps / 4:  # so that equal attacks have one text
                object.__setattr__(self, "step", None)

    def search(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        alpha = self.eps / 4 if self.step is None else self.step
        pgd = torchattacks().PGD(model, eps=self.eps, alpha=alpha, steps=int(self.steps), random_start=True)
        found: Tensor = pgd(inputs, labels)
        return found


@ATTACKS.register("autoattack")
@dataclass(frozen=True)
class AutoAttack(Attack):
    """The standard ensemble of Croce & Hein (2020, arXiv 2003.01690), each attack on what is right so far.

    APGD on the cross-entropy, APGD on the targeted difference of logits ratio (DLR), targeted FAB, Square; with 100
    steps, 9 target classes and 5,000 queries as published (torchattacks' own ensemble takes 10 steps). An image that
    nothing fools, or that is wrong to begin with, comes back as it was.

    The targeted DLR needs 4 classes. With 3, APGD on the untargeted DLR stands in for it; with 2 it is left out, as
    the cross-entropy then is a function of the one difference of logits that there is.
    """

    name: ClassVar[str] = "autoattack"

    def search(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        adversarial, right = inputs.clone(), _right(model, inputs, labels)
        for part in self._ensemble(model, _classes(model, inputs)):
            index = right.nonzero().squeeze(1)
            if len(index) == 0:
                break
            found = _within(self.eps, inputs[index], part(inputs[index], labels[index]))
            fooled = ~_right(model, found, labels[index])
            adversarial[index[fooled]] = found[fooled]
            right[index[fooled]] = False
        return adversarial

    def _ensemble(self, model: nn.Module, classes: int) -> list[Callable[[Tensor, Tensor], Tensor]]:
        library = torchattacks()
        options: dict[str, Any] = {"norm": "Linf", "eps": self.eps, "n_restarts": 1, "seed": torch.initial_seed()}
        targets = {"n_classes": min(classes, 10)}  # of which all but the true one are targets
        parts = [library.APGD(model, steps=100, loss="ce", **options)]
        if classes >= 4:
            parts.append(library.APGDT(model, steps=100, **targets, **options))
        elif classes == 3:
            parts.append(library.APGD(model, steps=100, loss="dlr", **options))
        parts.append(library.FAB(model, steps=100, multi_targeted=True, **targets, **options))
        parts.append(library.Square(model, n_queries=5000, resc_schedule=False, **options))
        return parts


def attack(text: str | Attack) -> Attack:
    """Make an attack from its text.

    Args:
        text: ``"fgsm:8/255"``, ``"pgd:eps=8/255,steps=10,step=2/255"`` or ``"autoattack:8/255"``.

    Returns:
        A callable ``attack(model, inputs, labels, seed)``.

    Raises:
        UnknownNameError: no such attack or key.
        InvalidArgumentError: a wrong value, or several attacks joined.
    """
    if isinstance(text, Attack):
        return text
    first, *others = parse(text, ATTACKS)
    if others:
        raise InvalidArgumentError(f"attacks cannot be joined with '+', got {text!r}")
    return first


def is_attack(text: object) -> bool:
    """Whether ``text`` is an attack, or a text whose first name is that of one."""
    if isinstance(text, str):
        return text.partition("+")[0].partition(":")[0].strip() in ATTACKS
    return isinstance(text, Attack)


class _Function(nn.Module):
    """The model as torchattacks gets to see it: float32 logits of float32 images.

    It is no parent of the model, so the mode that torchattacks sets stays its own. And it does not keep the model
    alive, as torchattacks never lets go of what it was given.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.place = nn.Parameter(images.new_empty(0), requires_grad=False)  # tells torchattacks the device
        self.dtype = next((parameter.dtype for parameter in model.parameters()), images.dtype)
        self.model: Callable[[], Any] = weakref.ref(model)

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            images.register_hook(_check_gradient)
        logits = self.model()(images.to(self.dtype))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != images.shape[0]:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InvalidArgumentError(f"the model must give (N, C) logits, got {got} for {images.shape[0]} inputs")
        return logits.to(torch.float32, copy=True)  # Square writes into them


@contextmanager
def _constant(model: nn.Module) -> Iterator[None]:
    """Parameters that take no gradient inside the block: FAB would else add to theirs."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _check_gradient(gradient: Tensor) -> None:
    """Raise where the sign of a gradient would be taken of NaN, which is 0 and passes for a robust model."""
    if not bool(gradient.isfinite().all()):
        raise InvalidArgumentError("the model's gradient with respect to its input is NaN or infinite")


def _within(eps: float, inputs: Tensor, found: Tensor) -> Tensor:
    """Return ``found`` projected onto the box, which rounding may have left."""
    return found.clamp(inputs - eps, inputs + eps).clamp(0, 1).detach()


def _right(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        right: Tensor = model(inputs).argmax(1).eq(labels)
    return right


def _classes(model: nn.Module, inputs: Tensor) -> int:
    with torch.no_grad():
        return int(model(inputs[:1]).shape[1])


def torchattacks() -> Any:
    """Import the library of the searches.

    Raises:
        InvalidArgumentError: it is not installed.
    """
    try:
        return importlib.import_module("torchattacks")
    except ImportError:
        raise InvalidArgumentError("attacks need torchattacks: pip install 'noiseproof[attacks]'") from None
