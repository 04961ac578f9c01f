"""Whether the inputs of a data set can be perturbed as asked, told before a model is trained to be measured so."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from noiseproof import seeding
from noiseproof.data.dataset import LabelledDataset, to_unit_interval
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.attacks import Attack, torchattacks
from noiseproof.evaluation.views import View, view

__all__ = ["require_suitable"]


@torch.no_grad()
def require_suitable(perturbations: Sequence[str | View], dataset: LabelledDataset) -> None:
    """Perturb the first sample in every way; of attacks only what they ask of inputs is looked at.

    Args:
        perturbations: texts, or the objects that they stand for.
        dataset: of at least one sample.

    Raises:
        UnknownNameError: an unknown perturbation or attack.
        InvalidArgumentError: one that cannot be made of such inputs, or an attack without torchattacks.
    """
    inputs = to_unit_interval(dataset[0][0]).unsqueeze(0)
    for given in perturbations:
        each = view(given)
        try:
            if isinstance(each, Attack):
                each.check(inputs)
                torchattacks()
            else:
                each(inputs, seeding.generator(0, each.spec))
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{str(given)!r} cannot be measured on this data: {error}") from error
