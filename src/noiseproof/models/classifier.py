"""A classifier as the paper sees it: features q(x) = f_θ(x), then an affine map to the logits (Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from noiseproof.errors import InvalidArgumentError, ModelSplitError
from noiseproof.models.normalize import Normalize
from noiseproof.models.splitting import split_at_last_linear
from noiseproof.scaling import Scaling

__all__ = ["FeatureClassifier"]


class FeatureClassifier(nn.Module):
    """Normalisation, a feature extractor, and the softmax layer's affine map.

    Args:
        backbone: maps a normalised input to (N, d) features.
        head: ``nn.Linear(d, num_classes)`` with W (C, d) and b (C,).
        normalize: the first layer; None for a backbone that takes its input as it is.

    Raises:
        InvalidArgumentError: ``head`` is no ``nn.Linear``.
    """

    def __init__(self, backbone: nn.Module, head: nn.Linear, normalize: nn.Module | None = None) -> None:
        super().__init__()
        if not isinstance(head, nn.Linear):
            raise InvalidArgumentError(f"head must be an nn.Linear, got {type(head).__name__}")
        self.normalize = nn.Identity() if normalize is None else normalize
        self.backbone = backbone
        self.head = head

    @property
    def num_classes(self) -> int:
        """C, the number of logits."""
        return self.head.out_features

    @property
    def embedding_dim(self) -> int:
        """d, the width of the feature space."""
        return self.head.in_features

    def embed(self, x: Tensor) -> Tensor:
        """Map inputs to features q(x), the input of the softmax layer.

        Args:
            x: (N, C, H, W) images in [0, 1], (N, F) vectors or (N, C, T) series.

        Returns:
            (N, d).

        Raises:
            ModelSplitError: the backbone gave something else, as some do in training mode.
        """
        embeddings = self.backbone(self.normalize(x))
        if not isinstance(embeddings, Tensor) or embeddings.ndim != 2 or embeddings.shape[1] != self.embedding_dim:
            got = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
            raise ModelSplitError(f"the backbone must give (N, {self.embedding_dim}) features, got {got}")
        return embeddings

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to logits (N, num_classes); see :meth:`embed` for the input."""
        logits: Tensor = self.head(self.embed(x))
        return logits

    def for_raw_inputs(self, scaling: Scaling | None) -> FeatureClassifier:
        """Return the same model for inputs as they were before ``scaling``, which becomes part of the first layer.

        The weights are shared. None is no scaling, and gives the model itself.
        """
        if scaling is None:
            return self
        own = self.normalize if isinstance(self.normalize, Normalize) else Normalize(0.0, 1.0)
        raw = FeatureClassifier(self.backbone, self.head, own.in_two_steps(scaling).to(self.head.weight.device))
        raw.training = self.training
        return raw

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        example_input: Tensor | None = None,
    ) -> FeatureClassifier:
        """Split any classifier whose last operation is an ``nn.Linear``.

        The weights are shared with ``module``, which itself stays as it is. On a probe input, ``head(embed(x))`` is
        verified to be what ``module`` gives.

        Args:
            module: a classifier that gives (N, C) logits, or an object with such ``logits``, as Hugging Face's do.
            mean: per-channel means, if ``module`` expects normalised inputs; the result takes inputs in [0, 1].
            std: per-channel standard deviations, with ``mean``.
            example_input: (N, ...) a probe; None to guess one from the first layer.

        Raises:
            ModelSplitError: ``module`` cannot be split, with the reason.
            InvalidArgumentError: one of ``mean`` and ``std`` without the other, or of another number of channels than
                ``example_input``.
        """
        if (mean is None) != (std is None):
            raise InvalidArgumentError("mean and std go together: give both or neither")
        normalize = None if mean is None or std is None else Normalize(mean, std)
        if isinstance(module, FeatureClassifier):
            backbone: nn.Module = (
                module.backbone if normalize is None else nn.Sequential(module.normalize, module.backbone)
            )
            split = cls(backbone, module.head, module.normalize if normalize is None else normalize)
        else:
            split = cls(*split_at_last_linear(module, example_input), normalize)
        if normalize is not None and example_input is not None:
            normalize.check_channels(example_input.shape[1])
        split.normalize.to(split.head.weight).train(module.training)
        split.training = module.training
        return split
