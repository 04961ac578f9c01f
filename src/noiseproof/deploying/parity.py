"""Whether an ONNX file answers as the model that it was made from."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from noiseproof import seeding
from noiseproof.checks import check_range, check_unit_interval
from noiseproof.errors import ExportError, InvalidArgumentError
from noiseproof.models.answers import logits_of
from noiseproof.models.modes import analysed
from noiseproof.perturbations import Perturbation, perturbation

__all__ = [
    "BATCH_SIZES",
    "BatchParity",
    "Parity",
    "check_onnx",
    "checked_inputs",
    "first_line",
    "plain_copy",
    "reference_logits",
    "require_packages",
]

BATCH_SIZES = (1, 2, 7, 64)
_BATCHES = 8  # of each size are tried, at most
_SOFTMAX = 1e-5  # how far the file's probabilities may be from the softmax of its logits


@dataclass(frozen=True)
class BatchParity:
    """How far ONNX Runtime's answers are from torch's on one kind of inputs, in batches of one size.

    Attributes:
        view: ``clean``, or the perturbation of the inputs.
        batch_size: how many inputs a batch held.
        inputs: how many there were.
        logit_difference: the largest absolute difference of a logit.
        agreeing: for how many inputs both name the same class.
    """

    view: str
    batch_size: int
    inputs: int
    logit_difference: float
    agreeing: int


@dataclass(frozen=True)
class Parity:
    """What a comparison of an ONNX file with its model found.

    Attributes:
        tolerance: the largest difference of logits that was allowed, as a share of the largest logit.
        allowed: the same as an absolute number.
        batches: what was found, by kind of inputs and batch size.
    """

    tolerance: float
    allowed: float
    batches: tuple[BatchParity, ...]

    @property
    def logit_difference(self) -> float:
        """The largest absolute difference of a logit."""
        return max(each.logit_difference for each in self.batches)


def check_onnx(
    path: str | Path,
    model: nn.Module,
    inputs: Tensor,
    *,
    noise: str | Perturbation | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Parity:
    """Compare what ONNX Runtime makes of a file with what torch makes of the model, both on the CPU in float32.

    Up to 64 inputs, repeated where there are fewer, are looked at clean and noisy, in batches of 1, 2, 7 and 64. As
    no logit may differ by more than a ``tolerance``-th of the largest, classes can differ only where the two best
    logits are as good as equal.

    Args:
        path: the file.
        model: maps (N, …) to (N, C) logits; it stays as it is.
        inputs: (N, …) real inputs, N ≥ 1.
        noise: a perturbation; None for clean inputs alone.
        tolerance: the largest absolute difference of a logit, as a share of the largest absolute logit, > 0.
        seed: of the noise.

    Returns:
        What was found.

    Raises:
        ExportError: the file is damaged or no such model, or does not agree.
        InvalidArgumentError: a package is missing, or inputs that the model cannot take.
    """
    require_packages()
    check_range("tolerance", tolerance, 0, 1, open_low=True)
    reference, path = plain_copy(model), Path(path)
    views = _views(checked_inputs(inputs), noise, seed)
    expected = {name: reference_logits(reference, batch) for name, batch in views.items()}
    allowed = tolerance * max(float(np.abs(logits).max()) for logits in expected.values())
    run = _session(path)
    found = [
        _compared(run, name, batch[: size * _BATCHES], expected[name], size, allowed)
        for name, batch in views.items()
        for size in BATCH_SIZES
    ]
    return Parity(tolerance, allowed, tuple(found))


def _compared(
    run: Any, view: str, inputs: Tensor, expected: NDArray[np.float32], size: int, allowed: float
) -> BatchParity:
    """Compare one kind of inputs in batches of one size."""
    try:
        parts = [run(["logits", "probabilities"], {"input": part.numpy()}) for part in inputs.split(size)]
        logits, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    except Exception as error:  # whatever the runtime says of a graph that it cannot carry out
        raise ExportError(
            f"ONNX Runtime cannot run the exported model on batches of {size}: {first_line(error)}"
        ) from error
    expected = expected[: len(inputs)]
    if logits.shape != expected.shape or probabilities.shape != expected.shape:
        raise ExportError(f"the exported model gives {logits.shape} for {len(inputs)} inputs, not {expected.shape}")
    difference = float(np.abs(logits - expected).max())
    agreeing = int((logits.argmax(1) == expected.argmax(1)).sum())
    where = f"on {view} inputs in batches of {size}"
    if not difference <= allowed:  # a NaN does not
        raise ExportError(
            f"the exported model does not agree with its original {where}: logits differ by up to {difference:.3g}, "
            f"where {allowed:.3g} is allowed, and {len(inputs) - agreeing} of {len(inputs)} answers differ"
        )
    softmax = torch.from_numpy(logits).softmax(1).numpy()
    if not float(np.abs(probabilities - softmax).max()) <= _SOFTMAX:
        raise ExportError(f"the probabilities of the exported model are not the softmax of its logits {where}")
    return BatchParity(view, size, len(inputs), difference, agreeing)


def _session(path: Path) -> Any:
    """A function that runs an ONNX file on the CPU.

    Raises:
        ExportError: it is none.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        onnx.checker.check_model(str(path), full_check=True)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run
    except Exception as error:  # bytes that are no model make either reader fail in any way there is
        raise ExportError(f"{path} is no ONNX model that can be run, or is damaged: {first_line(error)}") from error


def _views(inputs: Tensor, noise: str | Perturbation | None, seed: int) -> dict[str, Tensor]:
    """As many inputs as the largest batch, clean and noisy."""
    count = max(BATCH_SIZES)
    clean = inputs[torch.arange(count) % len(inputs)]
    views = {"clean": clean}
    if noise is not None:
        perturbed = perturbation(noise)
        views[str(noise)] = perturbed(clean, seeding.generator(seed, "export", perturbed.spec))
    return views


def checked_inputs(inputs: Tensor) -> Tensor:
    """Return a batch of inputs in float32 on the CPU, if it is one and images lie in [0, 1]."""
    if not isinstance(inputs, Tensor) or inputs.ndim < 2 or len(inputs) == 0 or not inputs.is_floating_point():
        got = f"{inputs.dtype} {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise InvalidArgumentError(f"inputs must be a floating batch (N, …) with N > 0, got {got}")
    inputs = inputs.detach().to("cpu", torch.float32)
    if inputs.ndim == 4:
        check_unit_interval("images", inputs)
    return inputs


def plain_copy(model: nn.Module) -> nn.Module:
    """Return a copy in float32 on the CPU, in evaluation mode; the model itself stays where and as it is."""
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(f"model must be an nn.Module, got {type(model).__name__}")
    try:
        return copy.deepcopy(model).to("cpu", torch.float32).eval()
    except (RuntimeError, TypeError) as error:  # tensors that hang on a graph, handles that cannot be copied
        raise ExportError(f"the model cannot be copied, which its export needs: {first_line(error)}") from error


def reference_logits(model: nn.Module, inputs: Tensor) -> NDArray[np.float32]:
    """Return torch's logits (N, C), computed in full float32."""
    with analysed(model, torch.device("cpu")), torch.no_grad():
        logits: NDArray[np.float32] = logits_of(model, inputs).numpy()
    return logits


def require_packages() -> None:
    """Raise an :class:`InvalidArgumentError` that names the extra where a package is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InvalidArgumentError(f"exporting to ONNX needs {error.name}: pip install 'noiseproof[onnx]'") from None


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or else its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
