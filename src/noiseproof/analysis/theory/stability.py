"""How stable features are under Gaussian noise, and how that bounds the input-loss curvature (Theorem 6.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseproof import seeding
from noiseproof.analysis.estimators import gauss_newton
from noiseproof.analysis.samples import select
from noiseproof.analysis.theory.features import check_classifier, head_of, place_of
from noiseproof.analysis.theory.wording import median, number, percent
from noiseproof.checks import check_range, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.blocks import Evaluable
from noiseproof.models import FeatureClassifier
from noiseproof.models.modes import analysed
from noiseproof.progress import ProgressReporter, Silent

__all__ = ["CHUNK", "Stability", "implied_change", "lower_bound", "stability", "upper_bound"]

Array = NDArray[np.float64]

# Noise is drawn for this many copies of a sample at a time. It is part of what a seed means.
CHUNK = 128


def upper_bound(eta: Array, weight_norm: float, k_max: float, *, sigma: float, delta: float) -> Array:
    """(8/σ⁴) (η ‖W‖²_{2,∞} δ² + 4 (1 − η) K²_max), the right side of Eq. 15, in 1/(units of the input)⁴.

    Args:
        eta: (N,) η = P(‖f(x + ε) − f(x)‖ ≤ δ).
        weight_norm: ‖W‖_{2,∞}, the largest norm of a row of W.
        k_max: K_max, no logit is larger in absolute value.
        sigma: σ, standard deviation of the noise, in units of the input.
        delta: δ, in units of the feature space.
    """
    bound: Array = 8 / sigma**4 * (eta * weight_norm**2 * delta**2 + 4 * (1 - eta) * k_max**2)
    return bound


def lower_bound(eta: Array, loss: Array, l_out: Array, gradient: Array, *, sigma: float) -> Array:
    """(4/σ⁴) ((1 − η)(l_out − l(x))² − σ² ‖∇l(x)‖²), the right side of Eq. 16, in 1/(units of the input)⁴.

    Args:
        eta: (N,) η.
        loss: (N,) l(x).
        l_out: (N,) mean of l(x + ε) where features leave the sphere; NaN where none does, which counts as 0.
        gradient: (N,) ‖∇l(x)‖².
        sigma: σ.
    """
    jump: Array = np.where(np.isnan(l_out), 0.0, (1 - eta) * (l_out - loss) ** 2)
    bound: Array = 4 / sigma**4 * (jump - sigma**2 * gradient)
    return bound


def implied_change(gradient: Array, squares: Array, trace: Array, *, sigma: float) -> Array:
    """E[(l(x + ε) − l(x))²] = σ² ‖∇l‖² + (σ⁴/4)(2 Σλ² + (Σλ)²) where the loss is quadratic, Eq. 14 (Eq. 22).

    Args:
        gradient: (N,) ‖∇l(x)‖².
        squares: (N,) Σλ².
        trace: (N,) Σλ.
        sigma: σ.
    """
    change: Array = sigma**2 * gradient + sigma**4 / 4 * (2 * squares + trace**2)
    return change


@dataclass(frozen=True, eq=False)
class Stability:
    """Both bounds of Theorem 6.1 on N samples, by Monte Carlo, and how good its premise, Eq. 14, is.

    The losses are in nats, the noise is in units of the input, for images of [0, 1].

    Attributes:
        sigma: σ.
        delta: δ, in units of the feature space.
        draws: M, noisy copies of each sample.
        seed: of the noise.
        weight_norm: ‖W‖_{2,∞}.
        k_max: K_max of Eq. 15, the largest |logit| met on these samples and their noisy copies unless given.
        largest_logit: the largest |logit| met. The theorem assumes a bound for all inputs; a network under unbounded
            noise has none, and what is met bounds it from below.
        eta: (N,) share of copies whose features stay within δ, in [0, 1].
        loss: (N,) l(x).
        l_out: (N,) mean loss of the copies whose features do not; NaN where all do.
        gradient: (N,) ‖∇l(x)‖².
        squares: (N,) Σλ² of the Hessian's Gauss-Newton part, exactly; see :func:`noiseproof.input_curvature`.
        absolute: (N,) Σ|λ| of it, which is also Σλ: no eigenvalue of it is negative.
        measured: (N,) mean of (l(x + ε) − l(x))² over the copies.
        measured_stderr: (N,) its standard error; NaN for a single draw.
        correlation: (N,) between l(x + ε) − l(x) and ∇lᵀε + ½ εᵀHε over the copies; NaN where one does not vary.
        error: (N,) root mean square of the difference of these two, relative to that of the former; NaN where the
            loss does not change.
        indices: (N,) places of the samples in their data set.
        labels: (N,) true classes.
    """

    sigma: float
    delta: float
    draws: int
    seed: int
    weight_norm: float
    k_max: float
    largest_logit: float
    eta: Array
    loss: Array
    l_out: Array
    gradient: Array
    squares: Array
    absolute: Array
    measured: Array
    measured_stderr: Array
    correlation: Array
    error: Array
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def eta_stderr(self) -> Array:
        """(N,) standard error of η, √(η(1 − η)/M)."""
        stderr: Array = np.sqrt(self.eta * (1 - self.eta) / self.draws)
        return stderr

    @property
    def upper(self) -> Array:
        """(N,) the right side of Eq. 15."""
        return upper_bound(self.eta, self.weight_norm, self.k_max, sigma=self.sigma, delta=self.delta)

    @property
    def upper_holds(self) -> NDArray[np.bool_]:
        """(N,) whether Σλ² ≤ the right side of Eq. 15."""
        return self.squares <= self.upper

    @property
    def step_one(self) -> Array:
        """(N,) (2/σ⁴) E[(l(x + ε) − l(x))²], by which the proof bounds Σλ² first (E.1, Step 1).

        Eq. 15 bounds this in turn, and that part needs no Eq. 14: on the copies drawn it always holds, unless
        ``k_max`` was given too small. So where Eq. 15 fails, Eq. 14 does not hold.
        """
        bound: Array = 2 / self.sigma**4 * self.measured
        return bound

    @property
    def lower(self) -> Array:
        """(N,) the right side of Eq. 16."""
        return lower_bound(self.eta, self.loss, self.l_out, self.gradient, sigma=self.sigma)

    @property
    def curvature(self) -> Array:
        """(N,) 2 Σλ² + (Σ|λ|)², the left side of Eq. 16."""
        sums: Array = 2 * self.squares + self.absolute**2
        return sums

    @property
    def lower_holds(self) -> NDArray[np.bool_]:
        """(N,) whether 2 Σλ² + (Σ|λ|)² ≥ the right side of Eq. 16."""
        return self.curvature >= self.lower

    @property
    def lower_says_something(self) -> NDArray[np.bool_]:
        """(N,) whether the right side of Eq. 16 is positive; where it is not, Eq. 16 holds whatever the model does."""
        return self.lower > 0

    @property
    def implied(self) -> Array:
        """(N,) what Eq. 14 implies for :attr:`measured` (Eq. 22)."""
        return implied_change(self.gradient, self.squares, self.absolute, sigma=self.sigma)

    @property
    def change_ratio(self) -> Array:
        """(N,) :attr:`measured` over :attr:`implied`, 1 where Eq. 14 is exact; NaN where that is 0."""
        return _quotient(self.measured, self.implied)

    def summary(self) -> list[tuple[str, str]]:
        """What was found, in plain words."""
        says = self.lower_says_something
        below = (
            "; below what was met, so the theorem's assumption is broken" if self.k_max < self.largest_logit else ""
        )
        return [
            ("Noise", f"σ = {self.sigma:g}, {self.draws} draws of {len(self.eta)} samples, not clamped"),
            ("η, features that stay within δ", f"median {median(self.eta)}, with δ = {self.delta:g}"),
            ("K_max", f"{number(self.k_max)}; the largest |logit| met is {number(self.largest_logit)}{below}"),
            ("Σλ², Gauss-Newton, in pixel space", f"median {median(self.squares)}"),
            ("Eq. 15 (upper bound) holds", f"for {percent(self.upper_holds)} of samples"),
            ("Eq. 15: bound over Σλ²", f"median {median(_quotient(self.upper, self.squares))}"),
            (
                "Σλ² ≤ 2 E[(Δl)²]/σ⁴, Step 1 of the proof",
                f"for {percent(self.squares <= self.step_one)} of samples; quotient, median "
                f"{median(_quotient(self.step_one, self.squares))}",
            ),
            ("Eq. 16 (lower bound) holds", f"for {percent(self.lower_holds)} of samples"),
            (
                "Eq. 16 says something (right side > 0)",
                f"for {percent(says)} of samples; holds for {percent(self.lower_holds[says])} of these",
            ),
            ("E[(Δl)²], measured over implied by Eq. 14", f"median {median(self.change_ratio)}"),
            ("Correlation of Δl with Eq. 14", f"median {median(self.correlation)}"),
            ("Relative error of Eq. 14", f"median {median(self.error)}"),
        ]


def stability(
    model: FeatureClassifier,
    dataset: Evaluable,
    *,
    sigma: float,
    delta: float,
    draws: int = 1000,
    seed: int = 0,
    limit: int | None = 200,
    k_max: float | None = None,
    batch_size: int = CHUNK,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> Stability:
    """Compare both sides of Theorem 6.1, sample by sample.

    η, l_out and E[(l(x + ε) − l(x))²] are means over noise ε ~ N(0, σ² I) on the pixels, which is not clamped, since
    the theorem knows no clamping. The noise depends on ``seed``, the sample's place and the number of the draw alone,
    and is the same for every σ up to its size. The left sides are those of :func:`noiseproof.input_curvature` with
    ``gauss-newton``: of the Hessian where logits are piecewise linear in the input, else of its Gauss-Newton part.

    The theorem assumes that Eq. 14 holds as far as the noise reaches, ‖ε‖ ≈ σ√k. On ReLU networks the Hessian is that
    of the linear piece around x, and the noise leaves it; so how good Eq. 14 is, is measured too.

    N (M + 2) forward passes and 2 N C backward passes.

    Args:
        model: run in evaluation mode; on ``device`` afterwards, otherwise as it was.
        dataset: as for :func:`noiseproof.evaluate`.
        sigma: σ > 0, in units of the input.
        delta: δ > 0, in units of the feature space; the paper takes 2δ_v.
        draws: M ≥ 1.
        seed: of the noise.
        limit: only so many samples, evenly spread; None for all.
        k_max: K_max > 0; None for the largest |logit| met, an estimate from below.
        batch_size: how many noisy inputs the model gets at once, ≥ 1 and at most 128. Does not change the result,
            beyond rounding.
        device: where to run; None for where the model is.
        progress: where to report.

    Raises:
        InvalidArgumentError: a number outside its range, or logits that are not finite.
        DataError: see :func:`noiseproof.evaluate`; a label outside the model's classes.
    """
    check_range("sigma", sigma, 0, open_low=True)
    check_range("delta", delta, 0, open_low=True)
    draws, batch_size = check_whole("draws", draws, 1), check_whole("batch_size", batch_size, 1)
    if k_max is not None:
        check_range("k_max", k_max, 0, open_low=True)
    check_classifier(model)
    samples = select(dataset, limit)
    where, dtype = place_of(model, device)
    model.to(where)
    rows: list[_Measured] = []
    squares, absolute, labels = [], [], []
    with (progress or Silent()).task("stability", len(samples.indices)) as task, analysed(model, where):
        for block in samples:
            inputs = block.inputs.to(where, dtype)
            spectrum = gauss_newton(model, inputs, block.labels)
            squares.append(spectrum.squares)
            absolute.append(spectrum.absolute)
            labels.append(block.labels)
            for x, label in zip(inputs, block.labels.tolist(), strict=True):
                copies = _noise(x, sigma, draws, seed, int(samples.indices[len(rows)]), batch_size)
                rows.append(_measure(model, x.unsqueeze(0), label, copies, delta))
                task.advance()
    found = {name: np.array([getattr(row, name) for row in rows]) for name in _Measured._fields}
    largest = float(found.pop("largest_logit").max())
    if not math.isfinite(largest):
        raise InvalidArgumentError(f"the model gave logits that are NaN or infinite under noise of σ = {sigma:g}")
    return Stability(
        sigma=sigma,
        delta=delta,
        draws=draws,
        seed=seed,
        weight_norm=float(torch.linalg.vector_norm(head_of(model)[0], dim=1).max()),
        k_max=largest if k_max is None else k_max,
        largest_logit=largest,
        squares=torch.cat(squares).cpu().numpy(),
        absolute=torch.cat(absolute).cpu().numpy(),
        indices=samples.indices,
        labels=torch.cat(labels).numpy(),
        **found,
    )


class _Measured(NamedTuple):
    """What is measured of one sample; see :class:`Stability`."""

    eta: float
    loss: float
    l_out: float
    gradient: float
    measured: float
    measured_stderr: float
    correlation: float
    error: float
    largest_logit: float


def _measure(model: FeatureClassifier, x: Tensor, label: int, noise: Iterator[Tensor], delta: float) -> _Measured:
    """Look at one sample x (1, …) and its noisy copies.

    With J = ∂z/∂x, ∇lᵀε = (p − e_y)ᵀ Jε and εᵀHε = (Jε)ᵀ (diag p − p pᵀ) Jε, H the Gauss-Newton part of the Hessian:
    for all draws together, J takes C backward passes.
    """
    features, logits, jacobian = _linearise(model, x)
    slope = _loss_slope(logits, label)
    p = logits.double().softmax(1)
    inside, losses, expected, largest = [], [], [], logits.abs().max()
    for each in noise:
        with torch.no_grad():
            q = model.embed(x + each)
            z = model.head(q)
        inside.append(torch.linalg.vector_norm(q - features, dim=1) <= delta)
        losses.append(_loss(z, label))
        shifts = (each.flatten(1) @ jacobian.T).double()  # Jε, (n, C)
        centred = shifts - shifts @ p.T
        expected.append(shifts @ slope + centred.square() @ p[0] / 2)
        largest = torch.maximum(largest, z.abs().max())
    stays, after, predicted = (torch.cat(part).cpu().numpy() for part in (inside, losses, expected))
    loss = float(_loss(logits, label))
    change = after - loss
    squared = change**2
    return _Measured(
        eta=float(stays.mean()),
        loss=loss,
        l_out=math.nan if stays.all() else float(after[~stays].mean()),
        gradient=float((slope @ jacobian.double()).square().sum()),
        measured=float(squared.mean()),
        measured_stderr=float(squared.std(ddof=1)) / math.sqrt(len(squared)) if len(squared) > 1 else math.nan,
        correlation=_correlation(change, predicted),
        error=math.sqrt(((change - predicted) ** 2).mean() / squared.mean()) if squared.any() else math.nan,
        largest_logit=float(largest),
    )


def _noise(x: Tensor, sigma: float, draws: int, seed: int, place: int, batch_size: int) -> Iterator[Tensor]:
    """``draws`` times ε ~ N(0, σ² I) for one sample x (…): (≤ batch_size, …)."""
    for chunk in range(math.ceil(draws / CHUNK)):
        generator = seeding.generator(seed, "stability", place, chunk, device=x.device)
        # Drawn whole and cut, since random generators give other numbers when asked for fewer.
        unit = torch.randn(CHUNK, *x.shape, generator=generator, device=x.device, dtype=x.dtype)
        yield from (sigma * unit[: draws - chunk * CHUNK]).split(batch_size)


def _linearise(model: FeatureClassifier, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features (1, d), logits (1, C) and ∂z/∂x (C, k) at one sample x (1, …)."""
    x = x.detach().requires_grad_()
    features = model.embed(x.clone())  # some models work in place
    logits = model.head(features)
    values = logits[0].unbind()
    rows = [torch.autograd.grad(z, x, retain_graph=c + 1 < len(values))[0].flatten() for c, z in enumerate(values)]
    return features.detach(), logits.detach(), torch.stack(rows)


def _loss(logits: Tensor, label: int) -> Tensor:
    """l = log(1 + Σ_{j≠y} exp(z_j − z_y)), Eq. 4 in a form that keeps its digits where it is tiny: (n,), float64."""
    gaps = _gaps(logits, label)
    return torch.logaddexp(gaps.logsumexp(1), gaps.new_zeros(()))


def _loss_slope(logits: Tensor, label: int) -> Tensor:
    """∂l/∂z = p − e_y of logits (1, C), with p_y − 1 as −Σ_{j≠y} p_j: (C,), float64."""
    p = logits[0].double().softmax(0)
    p[label] = 0
    p[label] = -p.sum()
    return p


def _gaps(logits: Tensor, label: int) -> Tensor:
    """z_j − z_y, and −∞ at y, which a sum of exponentials leaves out."""
    z = logits.double()
    gaps = z - z[:, label : label + 1]
    gaps[:, label] = -math.inf
    return gaps


def _correlation(first: Array, second: Array) -> float:
    """Pearson's; NaN where one of the two does not vary."""
    a, b = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def _quotient(above: Array, below: Array) -> Array:
    """above / below, NaN where that would be divided by 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
