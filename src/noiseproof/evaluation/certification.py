"""Certified robustness by randomized smoothing (Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918).

Instead of the classifier f, its smoothed version answers: g(x) = argmax_c P(f(x + ε) = c) with ε ~ N(0, σ² I). Where
the most probable class has at least the probability p_A > 1/2, no perturbation of L2 norm below σ Φ⁻¹(p_A) changes
g's answer (Theorem 1), whatever f is. p_A is bounded by counting f's answers to noisy copies of x.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri
from torch import Tensor, nn
from torch.utils.data import Subset

from noiseproof import seeding
from noiseproof.archives import load_result, reading, save_result
from noiseproof.checks import check_range, check_whole
from noiseproof.data.dataset import evenly_spread
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.blocks import BLOCK, Evaluable, as_dataset, blocks
from noiseproof.models.answers import check_known_labels, logits_of
from noiseproof.models.modes import evaluating
from noiseproof.progress import ProgressReporter, Silent

__all__ = ["ABSTAIN", "CHUNK", "Certification", "certify", "lower_confidence_bound"]

# The prediction for a sample on which the votes decide nothing.
ABSTAIN = -1

# Noise is drawn for this many copies of a sample at a time, whatever batch size the model runs with. It is part of
# what a seed means: another number gives other noise.
CHUNK = 128

_FORMAT = 1
_ARRAYS = ("labels", "predictions", "radii", "indices")


@dataclass(frozen=True, eq=False)
class Certification:
    """What the smoothed classifier answers for each of N samples, and within which radius that is certain.

    Of one sample, both hold with probability 1 − ``alpha`` over the noise. Two certifications are equal where all
    that they hold is.

    Attributes:
        labels: (N,) true classes.
        predictions: (N,) classes of the smoothed classifier; ``ABSTAIN`` = −1 where it abstains.
        radii: (N,) radii of the L2 balls, in units of the input, inside which the prediction stays; 0 where it
            abstains. The largest possible is σ Φ⁻¹(alpha^(1/n)).
        indices: (N,) places of the samples in their data set.
        sigma: σ > 0, standard deviation of the noise, in units of the input.
        n0: votes per sample by which its class was selected, ≥ 1.
        n: votes per sample by which the probability of that class was bounded, ≥ 1.
        alpha: probability of a wrong certificate, in (0, 1).
        seed: of the noise, ≥ 0.

    Raises:
        InvalidArgumentError: a number outside its range, or arrays that are not N > 0 values each of their kind.
    """

    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    radii: NDArray[np.float64]
    indices: NDArray[np.int64]
    sigma: float
    n0: int
    n: int
    alpha: float
    seed: int

    def __post_init__(self) -> None:
        _check_numbers(self.sigma, self.n0, self.n, self.alpha, self.seed)
        for name in _ARRAYS:
            array, kind = getattr(self, name), "f" if name == "radii" else "i"
            if array.shape != (self.labels.size,) or array.size == 0 or array.dtype.kind != kind:
                what = "floating numbers" if kind == "f" else "integers"
                raise InvalidArgumentError(
                    f"{name} must be N > 0 {what}, as many as labels, got {array.dtype} of shape {array.shape}"
                )
        if not (np.isfinite(self.radii) & (self.radii >= 0)).all():
            raise InvalidArgumentError("radii must be finite and >= 0")

    @property
    def abstained(self) -> NDArray[np.bool_]:
        """Whether the votes decided nothing: (N,)."""
        abstained: NDArray[np.bool_] = self.predictions == ABSTAIN
        return abstained

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the prediction is the true class, which no abstention is: (N,)."""
        correct: NDArray[np.bool_] = ~self.abstained & (self.predictions == self.labels)
        return correct

    @overload
    def certified_accuracy(self, radius: float) -> float: ...

    @overload
    def certified_accuracy(self, radius: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]: ...

    def certified_accuracy(self, radius: float | Sequence[float] | NDArray[np.float64]) -> float | NDArray[np.float64]:
        """Share of all samples that are predicted rightly and certified for ``radius`` or more, in [0, 1].

        Args:
            radius: L2 radius ≥ 0 in units of the input, or (R,) of them.

        Returns:
            A number, or (R,) of them for several radii.

        Raises:
            InvalidArgumentError: a radius that is negative or no finite number.
        """
        if isinstance(radius, Sequence | np.ndarray) and not isinstance(radius, str):
            return np.array([self._certified_for(each) for each in radius], dtype=np.float64)
        return self._certified_for(radius)

    @property
    def accuracy(self) -> float:
        """Share of all samples that the smoothed classifier predicts rightly, in [0, 1]."""
        return self.certified_accuracy(0.0)

    @property
    def mean_radius(self) -> float:
        """Average certified radius: the mean over all samples of the radius where right, else 0.

        From Zhai et al. 2020 (arXiv 2001.02378); it is the area under the curve of certified accuracy.
        """
        return float(np.where(self.correct, self.radii, 0.0).mean())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Certification):
            return NotImplemented
        return self._summary() == other._summary() and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _ARRAYS
        )

    __hash__ = None  # type: ignore[assignment]

    def save(self, folder: str | Path) -> None:
        """Write ``certification.json`` and ``certification.npz`` (sample by sample) into ``folder``, which is made."""
        save_result(folder, "certification", self._summary(), {name: getattr(self, name) for name in _ARRAYS})

    @classmethod
    def load(cls, folder: str | Path) -> Certification:
        """Read a certification that :meth:`save` wrote.

        Raises:
            NoiseproofError: there is none, it has another format, or its files do not belong together.
        """
        with reading("a certification", folder):
            summary, arrays = load_result(folder, "certification", _FORMAT)
            fields: dict[str, Any] = {name: summary[name] for name in ("sigma", "n0", "n", "alpha", "seed")}
            return cls(**fields | {name: arrays[name] for name in _ARRAYS})

    def _certified_for(self, radius: float) -> float:
        check_range("radius", radius, 0)
        return float((self.correct & (self.radii >= radius)).mean())

    def _summary(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "sigma": self.sigma,
            "n0": self.n0,
            "n": self.n,
            "alpha": self.alpha,
            "seed": self.seed,
            "samples": len(self.labels),
            "abstained": int(self.abstained.sum()),
            "accuracy": self.accuracy,
            "mean_radius": self.mean_radius,
        }


def lower_confidence_bound(successes: int, trials: int, alpha: float) -> float:
    """One-sided bound below a probability, from how often the event happened (Clopper & Pearson 1934).

    The p at which ``successes`` or more in ``trials`` have the probability ``alpha``, which is the ``alpha`` quantile
    of Beta(successes, trials − successes + 1); 0 for no success, alpha^(1/trials) where every trial succeeded.

    Args:
        successes: in [0, trials].
        trials: ≥ 1.
        alpha: probability that the bound lies above the truth, in (0, 1).

    Returns:
        The bound, in [0, 1).

    Raises:
        InvalidArgumentError: an argument outside its range.
    """
    trials, successes = check_whole("trials", trials, 1), check_whole("successes", successes, 0)
    check_range("successes", successes, 0, trials)
    check_range("alpha", alpha, 0, 1, open_low=True, open_high=True)
    return float(betaincinv(successes, trials - successes + 1, alpha)) if successes else 0.0


def certify(
    model: nn.Module,
    dataset: Evaluable,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    *,
    seed: int = 0,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    limit: int | None = None,
    progress: ProgressReporter | None = None,
) -> Certification:
    """Certify the L2 robustness of a classifier smoothed with Gaussian noise (Cohen et al. 2019, CERTIFY).

    Of each sample x, ``n0`` noisy copies x + ε vote for its class c_A, then ``n`` fresh ones bound that class's
    probability from below by p_A. Where p_A > 1/2, the prediction c_A is certified for the radius σ Φ⁻¹(p_A);
    elsewhere the smoothed classifier abstains. Noisy images are not clamped to [0, 1]: the theorem needs the noise
    Gaussian.

    The noise of sample i depends on ``seed``, ``sigma``, i and the number of the copy alone: not on the batch size, or
    on what else is in the data set or certified. Memory does not grow with ``n``; time is N · (n0 + n) runs of the
    model.

    Args:
        model: maps (N, ...) inputs, in training images in [0, 1], to (N, C) logits. It is run in evaluation mode,
            without gradients, and put back into the mode it had.
        dataset: a :class:`noiseproof.data.ArrayDataset`, any map-style data set of (input, label) pairs, or a tuple
            of inputs (N, ...) and labels (N,). Bytes are divided by 255.
        sigma: σ > 0, standard deviation of the noise, in units of the input; for images 1 is the whole range from
            black to white. Best is the noise that the model was trained with.
        n0: votes that select the class, ≥ 1.
        n: votes that bound its probability, ≥ 1. The largest radius possible, σ Φ⁻¹(alpha^(1/n)), grows with it.
        alpha: probability, for each sample, of a certificate that does not hold; in (0, 1).
        seed: of the noise, ≥ 0.
        batch_size: how many noisy copies the model gets at once, ≥ 1. Does not change the result, beyond rounding.
        device: where to run, and where the model is moved to; None for where it is.
        limit: certify at most this many samples, ≥ 1, spread evenly over the data set, since one that is sorted by
            class would else show its first classes only; None for all.
        progress: where to report; None for nowhere.

    Returns:
        A :class:`Certification`, in the order of the data set.

    Raises:
        DataError: an empty or malformed data set, or a label outside the model's classes.
        InvalidArgumentError: an argument outside its range, images outside [0, 1], or logits that are not finite and
            (N, C).
    """
    _check_numbers(sigma, n0, n, alpha, seed)
    sigma, n0, n, alpha, seed = float(sigma), int(n0), int(n), float(alpha), int(seed)
    batch_size = check_whole("batch_size", batch_size, 1)
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(f"model must be an nn.Module, got {type(model).__name__}")
    data = as_dataset(dataset)
    size: int = len(data)  # type: ignore[arg-type]
    count = size if limit is None else min(size, check_whole("limit", limit, 1))
    indices = evenly_spread(size, count).numpy()
    chosen = data if len(indices) == size else Subset(data, indices.tolist())
    smoothed = _Smoothed.on(model, sigma, seed, batch_size, device)
    labels, predictions, radii = np.zeros_like(indices), np.zeros_like(indices), np.zeros(len(indices))

    with evaluating(model.to(smoothed.device)), (progress or Silent()).task("certify", len(indices)) as task:
        for block in blocks(chosen):
            for place, (x, label) in enumerate(zip(block.inputs, block.labels, strict=True), block.number * BLOCK):
                index, labels[place] = int(indices[place]), int(label)
                selection = smoothed.votes(x, index, "select", n0)
                check_known_labels(label.reshape(1), len(selection))
                top = int(selection.argmax())
                p = lower_confidence_bound(int(smoothed.votes(x, index, "estimate", n)[top]), n, alpha)
                predictions[place], radii[place] = (top, sigma * ndtri(p)) if p > 0.5 else (ABSTAIN, 0.0)
                task.advance()
    return Certification(labels, predictions, radii, indices, sigma, n0, n, alpha, seed)


@dataclass(frozen=True)
class _Smoothed:
    """The votes f(x + ε) of a model f, with ε ~ N(0, σ² I)."""

    model: nn.Module
    sigma: float
    seed: int
    batch_size: int
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def on(
        cls, model: nn.Module, sigma: float, seed: int, batch_size: int, device: torch.device | str | None
    ) -> _Smoothed:
        """Return the smoothed model on ``device``, or where its parameters are, in their type."""
        parameter = next(model.parameters(), torch.zeros(()))
        where = torch.device(device) if device is not None else parameter.device
        return cls(model, sigma, seed, batch_size, where, parameter.dtype)

    def votes(self, x: Tensor, index: int, stage: str, count: int) -> NDArray[np.int64]:
        """How many of ``count`` noisy copies of sample ``index``, x (...), the model gives each class: (C,)."""
        votes = torch.zeros(1, dtype=torch.long, device=self.device)
        for copies in self._noisy(x.to(self.device), index, stage, count):
            logits = logits_of(self.model, copies)
            votes = votes + logits.argmax(1).bincount(minlength=logits.shape[1])
        counted: NDArray[np.int64] = votes.cpu().numpy()
        return counted

    def _noisy(self, x: Tensor, index: int, stage: str, count: int) -> Iterator[Tensor]:
        """``count`` noisy copies of x, at most a batch of them at once: (≤ batch_size, ...)."""
        group = max(1, self.batch_size // CHUNK)
        chunks = range(math.ceil(count / CHUNK))
        for first in chunks[::group]:
            # The last chunk is drawn whole and cut, since random generators give other numbers when asked for fewer.
            noise = torch.cat([self._noise(x, index, stage, chunk) for chunk in chunks[first : first + group]])
            noise = noise[: count - first * CHUNK]
            yield from torch.add(x, noise, alpha=self.sigma).to(self.dtype).split(self.batch_size)

    def _noise(self, x: Tensor, index: int, stage: str, chunk: int) -> Tensor:
        generator = seeding.generator(self.seed, "certify", repr(self.sigma), stage, index, chunk, device=self.device)
        return torch.randn(CHUNK, *x.shape, generator=generator, device=self.device, dtype=x.dtype)


def _check_numbers(sigma: float, n0: int, n: int, alpha: float, seed: int) -> None:
    check_range("sigma", sigma, 0, open_low=True)
    check_whole("n0", n0, 1)
    check_whole("n", n, 1)
    check_range("alpha", alpha, 0, 1, open_low=True, open_high=True)
    check_whole("seed", seed, 0)
