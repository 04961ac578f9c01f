"""The discriminative loss with its running class centroids (arXiv 2405.18499, Eq. 7 to 13 and §4.4)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from noiseproof.checks import check_choice, check_labels, check_matrix, check_range, check_whole
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.functional import bias_or_zero, compactness_of, margin_hinges, regularisation, widen, without_autocast
from noiseproof.losses.centroids import STRATEGIES, Centroids, Strategy
from noiseproof.losses.snapshots import value_before
from noiseproof.partition import Partition

__all__ = ["LOSS_PRESETS", "DiscriminativeLoss", "LossTerms"]

LOSS_PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": MappingProxyType({"momentum": 0.9, "alpha": 1.0, "lambda_noisy": 1.0}),
        # The published code averages clean and noisy samples of a class together, which is half of Eq. 8 and half of
        # Eq. 12, and keeps its centroids ten times longer than the paper suggests.
        "authors-code": MappingProxyType({"momentum": 0.99, "alpha": 0.5, "lambda_noisy": 0.5}),
        # What our own studies found, results/best: centroids that pass on the whole gradient, and wider classes.
        "best": MappingProxyType({"centroids": "naive", "delta_v": 2.0}),
    }
)


class LossTerms(NamedTuple):
    """What one batch costs: 0-d tensors; the four parts are unweighted, ``total`` is their weighted sum (Eq. 13)."""

    total: Tensor
    compactness: Tensor
    margin: Tensor
    regularisation: Tensor
    alignment: Tensor


class DiscriminativeLoss(nn.Module):
    """Compact classes, far from the softmax layer's own decision boundaries, with noisy features drawn to clean ones.

    α L_compact + β L_margin + γ_reg L_reg + λ L_noisy (Eq. 7 and 13). It is added to a softmax loss; it does not
    contain one.

    In training mode every call moves the stored centroids of the classes in the batch, by clean embeddings alone; in
    evaluation mode they stay. Under ``torch.distributed`` the sums over classes run over all ranks.

    Args:
        num_classes: C ≥ 2.
        embedding_dim: d ≥ 1.
        delta_v: δ_v ≥ 0, radius of a class in feature space.
        delta_d: δ_d ≥ 0, distance of a centroid to the boundaries. Should exceed 2 δ_v (Prop. 5.2).
        alpha: weight of compactness, ≥ 0.
        beta: weight of the margin, ≥ 0.
        gamma_reg: weight of the regularisation of the centroids' norms, ≥ 0.
        lambda_noisy: weight of the alignment of noisy features, ≥ 0.
        momentum: γ in [0, 1), the share of a stored centroid that stays.
        centroids: ``"naive"`` (of the current batch), ``"momentum"`` or ``"partial"`` (momentum, but of the current
            batch for the margin; the paper's).

    Attributes:
        centroids: buffer (C, d), the stored centroids.
        initialised: buffer (C,) of bool, which classes have been seen.

    Raises:
        InvalidArgumentError: an argument outside its range.

    Example:
        >>> loss_fn = DiscriminativeLoss(num_classes=3, embedding_dim=8)
        >>> head = nn.Linear(8, 3)
        >>> terms = loss_fn(torch.randn(6, 8), torch.tensor([0, 1, 2, 0, 1, 2]), head)
        >>> terms.total.backward()
    """

    centroids: Tensor
    initialised: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        delta_v: float = 0.5,
        delta_d: float = 5.0,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma_reg: float = 1e-3,
        lambda_noisy: float = 1.0,
        momentum: float = 0.9,
        centroids: Strategy = "partial",
    ) -> None:
        super().__init__()
        self.num_classes = check_whole("num_classes", num_classes, 2)
        self.embedding_dim = check_whole("embedding_dim", embedding_dim, 1)
        self.delta_v = check_range("delta_v", delta_v, 0)
        self.delta_d = check_range("delta_d", delta_d, 0)
        self.alpha = check_range("alpha", alpha, 0)
        self.beta = check_range("beta", beta, 0)
        self.gamma_reg = check_range("gamma_reg", gamma_reg, 0)
        self.lambda_noisy = check_range("lambda_noisy", lambda_noisy, 0)
        self.momentum = check_range("momentum", momentum, 0, 1, open_high=True)
        self.strategy: Strategy = check_choice("centroids", centroids, STRATEGIES)  # type: ignore[assignment]
        self.register_buffer("centroids", torch.zeros(num_classes, embedding_dim))
        self.register_buffer("initialised", torch.zeros(num_classes, dtype=torch.bool))
        if delta_d <= 2 * delta_v:
            warnings.warn(
                f"delta_d = {delta_d:g} is not above 2·delta_v = {2 * delta_v:g}: Proposition 5.2 then does not "
                "promise that samples of one class lie closer together than samples of different classes",
                stacklevel=2,
            )

    @classmethod
    def from_preset(cls, preset: str, num_classes: int, embedding_dim: int, **changes: Any) -> DiscriminativeLoss:
        """Build the loss with the settings of ``"paper"``, ``"authors-code"`` or ``"best"``; ``changes`` go on top."""
        if preset not in LOSS_PRESETS:
            raise UnknownNameError("preset", preset, LOSS_PRESETS)
        return cls(num_classes, embedding_dim, **{**LOSS_PRESETS[preset], **changes})

    def forward(
        self, embeddings: Tensor, labels: Tensor, head: nn.Linear, noisy_embeddings: Tensor | None = None
    ) -> LossTerms:
        """Compute the loss of a batch and, in training mode, move the stored centroids.

        Args:
            embeddings: (N, d) features of the clean inputs.
            labels: (N,) integers in [0, C).
            head: the softmax layer's affine map, ``nn.Linear(d, C)``.
            noisy_embeddings: (N, d) features of the noisy versions of the same samples, or None.

        Returns:
            The terms, in float32 (float64 for float64 embeddings). ``alignment`` is 0 without noisy embeddings.

        Raises:
            InvalidArgumentError: a wrong shape or type, an empty batch, or (on the CPU, where looking costs nothing)
                labels outside [0, C).
        """
        self._check(embeddings, labels, head, noisy_embeddings)
        return self._terms(embeddings, labels, head.weight, head.bias, noisy_embeddings)

    @without_autocast
    def _terms(
        self, embeddings: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, noisy: Tensor | None
    ) -> LossTerms:
        embeddings, weight, bias = widen(embeddings, weight, bias_or_zero(weight, bias))
        batch = Partition(labels, self.num_classes, embeddings.dtype, across_ranks=True)
        stored, seen = value_before(self.centroids).to(embeddings.dtype), value_before(self.initialised)
        centroids = Centroids.of(batch, embeddings, stored, seen, self.momentum, self.strategy)

        own = batch.rows(centroids.attracting)
        compact = compactness_of(batch, embeddings, own, self.delta_v)
        margin = self._margin(batch, centroids.separating, weight, bias)
        regular = self._regularisation(batch, centroids.attracting, own)
        if noisy is None:
            align = compact.new_zeros(())
        else:
            align = compactness_of(batch, noisy.to(embeddings.dtype), own, self.delta_v)

        if self.training:
            self._store(centroids.attracting, batch.present)
        total = (
            self.alpha * compact + self.beta * margin + self.gamma_reg * regular + self.lambda_noisy * align
        )  # Eq. 7 and 13
        return LossTerms(total, compact, margin, regular, align)

    def _margin(self, batch: Partition, centroids: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Eq. 9 over the classes present, in memory N·C: by class or by sample.

        Neither makes a C×C matrix for many classes, nor a shape that depends on the data.
        """
        if self._by_class(batch):
            classes = torch.arange(self.num_classes, device=weight.device)
            hinges = margin_hinges(centroids, classes, weight, bias, self.delta_d)
            return (hinges * batch.present).sum() / batch.num_present
        hinges = margin_hinges(batch.rows(centroids), batch.labels, weight, bias, self.delta_d)
        return batch.mean_over_classes(hinges)

    def _regularisation(self, batch: Partition, centroids: Tensor, own: Tensor) -> Tensor:
        """Eq. 11 over the classes present, likewise."""
        if self._by_class(batch):
            return regularisation(centroids, batch.present)
        return batch.mean_over_classes(torch.linalg.vector_norm(own, dim=1))

    def _by_class(self, batch: Partition) -> bool:
        """Whether there are fewer classes than samples.

        Else a mean over classes is taken over samples: each stands for its class with weight 1/|C_c^B|.
        """
        return self.num_classes <= batch.labels.shape[0]

    @torch.no_grad()
    def _store(self, centroids: Tensor, present: Tensor) -> None:
        """Keep the centroids of the classes present, but those that are not finite: they would stay so for ever."""
        dtype = self.centroids.dtype
        good = centroids.abs().amax(1).isfinite()  # a tenth of the time of isfinite().all(1)
        centroids, present = centroids.masked_fill(~good.unsqueeze(1), 0), present & good
        self.centroids.lerp_(centroids.to(dtype), present.to(dtype).unsqueeze(1))  # weights 0 and 1 are exact
        self.initialised.logical_or_(present)

    def _check(self, embeddings: Tensor, labels: Tensor, head: nn.Linear, noisy: Tensor | None) -> None:
        check_matrix("embeddings", embeddings, self.embedding_dim)
        check_labels("labels", labels, self.num_classes, embeddings.shape[0])
        if not isinstance(head, nn.Linear):
            raise InvalidArgumentError(f"head must be the model's last nn.Linear, got {type(head).__name__}")
        if tuple(head.weight.shape) != (self.num_classes, self.embedding_dim):
            raise InvalidArgumentError(
                f"head must map {self.embedding_dim} features to {self.num_classes} classes, "
                f"got a weight of shape {tuple(head.weight.shape)}"
            )
        if noisy is not None and noisy.shape != embeddings.shape:
            raise InvalidArgumentError(
                f"noisy_embeddings must have the shape of embeddings, {tuple(embeddings.shape)}, "
                f"got {tuple(noisy.shape)}"
            )

    def extra_repr(self) -> str:
        return (
            f"num_classes={self.num_classes}, embedding_dim={self.embedding_dim}, delta_v={self.delta_v}, "
            f"delta_d={self.delta_d}, alpha={self.alpha}, beta={self.beta}, gamma_reg={self.gamma_reg}, "
            f"lambda_noisy={self.lambda_noisy}, momentum={self.momentum}, centroids={self.strategy!r}"
        )
