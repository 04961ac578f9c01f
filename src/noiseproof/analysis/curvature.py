"""Input-loss curvature (§6.1, §7.1, §7.4): how fast the loss's gradient turns when the input moves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from noiseproof import seeding
from noiseproof.analysis.estimators import (
    Logits,
    Moments,
    Spectrum,
    finite_difference,
    gauss_newton,
    gauss_newton_residual,
    hutchinson,
)
from noiseproof.analysis.samples import Selection, select
from noiseproof.archives import load_result, reading, save_result
from noiseproof.checks import check_choice, check_device, check_range, check_whole
from noiseproof.errors import InvalidArgumentError
from noiseproof.evaluation.blocks import BLOCK, Evaluable
from noiseproof.models import FeatureClassifier, Normalize
from noiseproof.models.modes import analysed
from noiseproof.progress import ProgressReporter, Silent, Task

__all__ = ["ESTIMATORS", "Estimator", "InputCurvature", "Space", "curvature_by_scale", "input_curvature"]

Estimator = Literal["finite-difference", "hutchinson", "gauss-newton"]
Space = Literal["pixel", "normalised"]

ESTIMATORS: tuple[Estimator, ...] = ("finite-difference", "hutchinson", "gauss-newton")
SPACES: tuple[Space, ...] = ("pixel", "normalised")

_FORMAT = 1
_SETTINGS = ("estimator", "space", "probes", "step", "seed")
_ARRAYS = ("values", "stderr", "indices", "labels", "absolute", "largest")

_PROBED = 8  # samples of each block on which it is found out whether the network is piecewise linear
_ROUNDING = 1e-4  # of what the residual of a piecewise linear network is


@dataclass(frozen=True, eq=False)
class InputCurvature:
    """Λ(x) = Σ λᵢ² of the Hessian of the softmax loss in the input, or of its Gauss-Newton part, per sample.

    Attributes:
        values: (N,) Λ(x), ≥ 0, in 1/(units of the space)⁴.
        stderr: (N,) standard error over probes; 0 for ``gauss-newton``, NaN for a single probe.
        estimator: ``finite-difference`` (Eq. 21), ``hutchinson`` or ``gauss-newton``.
        space: ``pixel``, where inputs are in [0, 1], or ``normalised``, behind the model's first layer.
        probes: K; 0 for ``gauss-newton``.
        step: t of Eq. 21; None for estimators of the Hessian at the point itself.
        seed: of the probes.
        absolute: (N,) Σ |λᵢ|; None but for ``gauss-newton``.
        largest: (N,) the largest eigenvalue; None but for ``gauss-newton``.
        indices: (N,) places of the samples in their data set.
        labels: (N,) true classes.
        residual: how far the Hessian H is from its Gauss-Newton part G, in [0, 2]: the largest
            ‖Hε − Gε‖ / max(‖Hε‖, ‖Gε‖) along random ε that some of the samples had, 0 for a piecewise linear network.
            None but for ``gauss-newton``, and where a part of the network has no second derivative.
    """

    values: NDArray[np.float64]
    stderr: NDArray[np.float64]
    estimator: Estimator
    space: Space
    probes: int
    step: float | None
    seed: int
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    absolute: NDArray[np.float64] | None = None
    largest: NDArray[np.float64] | None = None
    residual: float | None = None

    @property
    def exact(self) -> bool:
        """Whether it is the Hessian's own spectrum, not an estimate, nor that of its Gauss-Newton part."""
        return self.residual is not None and self.residual <= _ROUNDING

    @property
    def name(self) -> str:
        """Estimator, space and step, as files and tables call it: ``finite-difference-normalised-t0.01``."""
        return f"{self.estimator}-{self.space}" + ("" if self.step is None else f"-t{self.step:g}")

    def save(self, folder: str | Path) -> None:
        """Write ``curvature-NAME.json`` and ``.npz`` into ``folder``, which is made."""
        settings = {key: getattr(self, key) for key in _SETTINGS}
        summary = {
            "residual": self.residual, "mean": self.values.mean(), "median": np.median(self.values),
            "samples": len(self.values),
        }  # fmt: skip
        arrays = {key: getattr(self, key) for key in _ARRAYS if getattr(self, key) is not None}
        save_result(folder, f"curvature-{self.name}", {"format": _FORMAT, **settings, **summary}, arrays)

    @classmethod
    def load(cls, folder: str | Path, name: str) -> InputCurvature:
        """Read a result that :meth:`save` wrote, by its :attr:`name`.

        Raises:
            NoiseproofError: there is none, it has another format, or its files do not belong together.
        """
        with reading("a curvature", folder):
            summary, arrays = load_result(folder, f"curvature-{name}", _FORMAT)
            fields: dict[str, Any] = {key: summary[key] for key in _SETTINGS}
            fields["residual"] = summary.get("residual")  # which earlier versions did not look at
            return cls(**fields | {key: arrays[key] for key in _ARRAYS if key in arrays})


def input_curvature(
    model: nn.Module,
    dataset: Evaluable,
    estimator: Estimator = "finite-difference",
    *,
    probes: int = 20,
    step: float = 1e-2,
    space: Space = "pixel",
    seed: int = 0,
    limit: int | None = None,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> InputCurvature:
    """Estimate Λ(x) = Σ λᵢ² of the Hessian of the softmax loss in the input, per sample.

    - ``finite-difference``: Eq. 21. It sees what lies within ‖tε‖ ≈ t √k of an input of k values, the kinks of a ReLU
      network included; see :func:`curvature_by_scale`. K + 1 forward and K + 1 backward passes.
    - ``hutchinson``: exact products with the Hessian at the point, with the same probes. One forward and one backward
      pass, and K backward passes through both.
    - ``gauss-newton``: all non-zero eigenvalues of Jᵀ(diag p − p pᵀ)J, without randomness. That is the Hessian where
      the logits are piecewise linear in the input, as in networks of convolutions, ReLU, pooling and batch
      normalisation in evaluation mode. Networks with GELU, SiLU, tanh, sigmoid or attention have more than that
      Gauss-Newton part: it is found out on a few samples, kept as ``residual``, and warned of. One forward and C
      backward passes; of eight samples in 128 one and two more, and a backward pass through both.

    Runs in evaluation mode, in the model's own precision without TF32 or autocast, with gradients for the inputs
    alone. Memory does not depend on ``probes``.

    Args:
        model: maps (N, …) inputs, images in [0, 1], to (N, C) logits, every sample by itself.
        dataset: as for :func:`noiseproof.evaluate`.
        estimator: which.
        probes: K ≥ 1, Gaussian directions per sample.
        step: t > 0, for ``finite-difference``.
        space: ``pixel``, or ``normalised`` for what lies behind the first layer of a
            :class:`noiseproof.FeatureClassifier`, where the paper's figures are made.
        seed: of the probes, which depend on it and on the sample's place alone.
        limit: only so many samples, evenly spread; None for all.
        device: where to run, and where the model is moved to; None for where it is.
        progress: where to report.

    Raises:
        UnknownNameError: no such estimator or space.
        InvalidArgumentError: a number outside its range, or ``normalised`` for a model without such a first layer.
        DataError: see :func:`noiseproof.evaluate`.
    """
    check_choice("estimator", estimator, ESTIMATORS)
    if estimator == "finite-difference":
        return curvature_by_scale(
            model,
            dataset,
            [step],
            probes=probes,
            space=space,
            seed=seed,
            limit=limit,
            device=device,
            progress=progress,
        )[step]
    probes = check_whole("probes", probes, 1)
    stage = _Stage(model, dataset, space, seed, limit, device)
    if estimator == "hutchinson":
        (found,) = stage.estimate(lambda logits, x, y, draws: [hutchinson(logits, x, y, draws)], probes, 1, progress)
        return stage.result(estimator, *found, probes=probes)
    return stage.spectrum(progress)


def curvature_by_scale(
    model: nn.Module,
    dataset: Evaluable,
    steps: Sequence[float],
    *,
    probes: int = 20,
    space: Space = "pixel",
    seed: int = 0,
    limit: int | None = None,
    device: torch.device | str | None = None,
    progress: ProgressReporter | None = None,
) -> dict[float, InputCurvature]:
    """Estimate Eq. 21 with several steps t, the same probes for all.

    Eq. 21 is a curvature at the scale ‖tε‖. On ReLU networks it differs by orders of magnitude from the Hessian's,
    which is that of the point: the smaller t, the fewer kinks lie between x and x + tε. In float32 the difference of
    two gradients has few digits left below about t = 1e-4.

    Args:
        model: as for :func:`input_curvature`, with the other arguments.
        steps: t > 0 each.

    Returns:
        The estimate of each step.
    """
    if not steps:
        raise InvalidArgumentError("steps is empty: name at least one, such as 0.01")
    for step in steps:
        check_range("step", step, 0, open_low=True)
    probes = check_whole("probes", probes, 1)
    stage = _Stage(model, dataset, space, seed, limit, device)
    estimate = partial(finite_difference, steps=steps)
    found = stage.estimate(estimate, probes, len(steps), progress)
    return {
        step: stage.result("finite-difference", *each, probes=probes, step=step)
        for step, each in zip(steps, found, strict=True)
    }


class _Stage:
    """The model in the space where it is looked at, and the samples."""

    def __init__(
        self,
        model: nn.Module,
        dataset: Evaluable,
        space: Space,
        seed: int,
        limit: int | None,
        device: torch.device | str | None,
    ) -> None:
        check_choice("space", space, SPACES)
        if not isinstance(model, nn.Module):
            raise InvalidArgumentError(f"model must be an nn.Module, got {type(model).__name__}")
        self.space, self.seed = space, seed
        self.samples: Selection = select(dataset, limit)
        self.labels: list[Tensor] = []
        first = next(model.parameters(), None)
        self.device = check_device(device) or torch.device("cpu" if first is None else first.device)
        self.dtype = torch.float32 if first is None else first.dtype
        self.model = model.to(self.device)
        self.into_space, self.logits = _in_space(self.model, space)

    def estimate(
        self,
        estimator: Callable[[Logits, Tensor, Tensor, Iterator[Tensor]], list[Moments]],
        probes: int,
        count: int,
        progress: ProgressReporter | None,
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Mean and standard error over probes, of ``count`` quantities of each sample."""
        found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(count)]
        with self._task(progress) as task, analysed(self.model, self.device):
            for block in self.samples:
                self.labels.append(block.labels)
                x = self._seen(block.inputs)
                moments = estimator(
                    self.logits, x, block.labels.to(self.device), self._probes(x, probes, block.number)
                )
                for each, moment in zip(found, moments, strict=True):
                    each.append((moment.mean().cpu(), moment.stderr().cpu()))
                task.advance(len(x))
        return [
            (torch.cat([mean for mean, _ in each]).numpy(), torch.cat([stderr for _, stderr in each]).numpy())
            for each in found
        ]

    def spectrum(self, progress: ProgressReporter | None) -> InputCurvature:
        parts: list[Spectrum] = []
        residuals: list[float | None] = []
        with self._task(progress) as task, analysed(self.model, self.device):
            for block in self.samples:
                self.labels.append(block.labels)
                x, labels = self._seen(block.inputs), block.labels.to(self.device)
                parts.append(gauss_newton(self.logits, x, labels))
                residuals.append(self._residual(x, labels, block.number))
                task.advance(len(labels))
        squares, absolute, largest = (
            torch.cat([getattr(part, name) for part in parts]).cpu().numpy()
            for name in ("squares", "absolute", "largest")
        )
        known = [each for each in residuals if each is not None]
        found = self.result(
            "gauss-newton", squares, np.zeros_like(squares), probes=0, absolute=absolute, largest=largest,
            residual=max(known) if len(known) == len(residuals) else None,
        )  # fmt: skip
        _warn_unless_exact(found)
        return found

    def _residual(self, x: Tensor, labels: Tensor, block: int) -> float | None:
        """The largest of some of a block's samples; None where a part of the network has no second derivative."""
        apart = -(-len(x) // _PROBED)
        x, labels = x[::apart], labels[::apart]
        generator = seeding.generator(self.seed, "curvature residual", block, device=self.device)
        probe = torch.randn(x.shape, generator=generator, device=self.device, dtype=x.dtype)
        try:
            return float(gauss_newton_residual(self.logits, x, labels, probe).max())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return None

    def result(
        self,
        estimator: Estimator,
        values: NDArray[np.float64],
        stderr: NDArray[np.float64],
        *,
        probes: int,
        step: float | None = None,
        absolute: NDArray[np.float64] | None = None,
        largest: NDArray[np.float64] | None = None,
        residual: float | None = None,
    ) -> InputCurvature:
        if not np.isfinite(values).all():
            raise InvalidArgumentError("the curvature is not finite: the model gives logits or gradients that are not")
        return InputCurvature(
            values, stderr, estimator, self.space, probes, step, self.seed, self.samples.indices,
            torch.cat(self.labels).numpy(),
            absolute, largest, residual,
        )  # fmt: skip

    def _seen(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            seen: Tensor = self.into_space(inputs.to(self.device, self.dtype))
        return seen

    def _probes(self, x: Tensor, count: int, block: int) -> Iterator[Tensor]:
        """ε ~ N(0, I) for every sample, by its place in the data set that it was chosen from.

        Random numbers are drawn for whole blocks of that data set, so it does not matter how many were chosen.
        """
        places = torch.from_numpy(self.samples.indices[block * BLOCK : block * BLOCK + len(x)])
        for number in range(count):
            yield torch.cat(
                [part[places[places // BLOCK == origin] % BLOCK] for origin, part in self._drawn(x, places, number)]
            )

    def _drawn(self, x: Tensor, places: Tensor, number: int) -> Iterator[tuple[int, Tensor]]:
        for origin in (places // BLOCK).unique().tolist():
            generator = seeding.generator(self.seed, "curvature", number, origin, device=self.device)
            yield origin, torch.randn(BLOCK, *x.shape[1:], generator=generator, device=self.device, dtype=x.dtype)

    def _task(self, progress: ProgressReporter | None) -> AbstractContextManager[Task]:
        return (progress or Silent()).task("curvature", len(self.samples.indices))


def _warn_unless_exact(found: InputCurvature) -> None:
    if found.exact:
        return
    if found.residual is None:
        told = (
            "a part of the network has no second derivative, so it is not known whether its Gauss-Newton part is the "
            "whole Hessian"
        )
    else:
        told = (
            "the network is not piecewise linear: gauss-newton takes the Gauss-Newton part of the Hessian alone, "
            f"which is off by up to {_percent(found.residual)} along a random direction; the estimator hutchinson "
            "takes the whole Hessian"
        )
    warnings.warn(told, stacklevel=4)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1g} %"


def _in_space(model: nn.Module, space: Space) -> tuple[Callable[[Tensor], Tensor], Logits]:
    """The map from pixels into the space, and that from there to the logits."""
    if space == "pixel":
        return (lambda x: x), model
    if isinstance(model, FeatureClassifier) and isinstance(model.normalize, Normalize):
        backbone, head = model.backbone, model.head
        return model.normalize, lambda u: head(backbone(u))
    raise InvalidArgumentError(
        "space='normalised' needs a FeatureClassifier with mean and std; FeatureClassifier.from_module makes one"
    )
