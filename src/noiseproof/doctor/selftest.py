"""Every method trained for a few steps on digits, stopped, resumed and evaluated, in a folder that is then removed."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseproof.doctor.findings import Finding, broken, fine

if TYPE_CHECKING:
    from noiseproof.data import Splits
    from noiseproof.training import Run

__all__ = ["selftest"]

_RECIPE: dict[str, Any] = {
    "model.options": {"width": 8},
    "model.embedding_dim": 16,
    "train.epochs": 4,
    "train.batch_size": 32,
    "train.optimizer.lr": 0.02,
    "train.schedule.warmup": 0.0,
    "train.clip_grad_norm": 1.0,
    "train.deterministic": True,
    "data.augment": "none",
    "evaluate.perturbations": ["clean", "gaussian:0.3"],
    "evaluate.draws": 2,
}
_SAMPLES, _TESTED = 256, 128
_REPORT = "please report it with the output of noiseproof doctor --json"


def selftest(methods: Iterable[str] | None = None) -> Iterator[Finding]:
    """Train each method, and compare with what has to be so: finite, falling, resumed as uninterrupted, evaluated.

    Args:
        methods: by name; None for all.
    """
    from noiseproof.data import Splits, load_splits, thinned
    from noiseproof.methods import METHODS

    whole = load_splits("digits", test_fraction=0.25)
    splits = Splits(thinned(whole.train, _SAMPLES), None, thinned(whole.test, _TESTED))
    for method in METHODS if methods is None else methods:
        with tempfile.TemporaryDirectory(prefix="noiseproof-doctor-") as folder:
            try:
                yield _examined(method, splits, Path(folder))
            except Exception as error:  # whatever goes wrong is what is looked for
                told = " ".join(str(error).split()) or type(error).__name__
                yield broken("self-test", method, f"failed: {told}", _REPORT)


def _examined(method: str, splits: Splits, folder: Path) -> Finding:
    from noiseproof.errors import BudgetSpentError
    from noiseproof.experiments import evaluate_run
    from noiseproof.training import train

    settings: dict[str, Any] = {"method": method, "seed": 0, "overrides": _RECIPE, "data": splits}
    run = train("digits", out=folder / "whole", **settings)
    with suppress(BudgetSpentError):
        train("digits", out=folder / "stopped", deadline=time.time(), **settings)
    stopped = not (folder / "stopped" / "model.safetensors").exists()
    resumed = train("digits", out=folder / "stopped", resume=True, **settings)
    report = evaluate_run(run, test=splits.test)
    first, last = (float(run.metrics()[place]["loss"]) for place in (0, -1))
    clean, noisy = (report[key].mean for key in report)
    wrong = [
        told for told, right in (
            ("the loss is not finite", math.isfinite(first) and math.isfinite(last)),
            (f"the loss does not fall ({first:.3g} to {last:.3g})", last < first),
            ("it did not stop when time was over", stopped),
            ("the resumed run has other weights", _same_weights(run, resumed)),
            ("accuracies are no better than chance", min(clean, noisy) > 1 / splits.train.num_classes),
        ) if not right
    ]  # fmt: skip
    if wrong:
        return broken("self-test", method, "; ".join(wrong), _fix())
    return fine(
        "self-test", method,
        f"loss {first:.2f} to {last:.2f}, resumed as uninterrupted, clean {100 * clean:.0f} %, noisy "
        f"{100 * noisy:.0f} %",
    )  # fmt: skip


def _same_weights(run: Run, resumed: Run) -> bool:
    """Equal to the last bit on a CPU and on CUDA; other accelerators may add in another order."""
    import torch

    tolerance = 1e-3 if torch.accelerator.is_available() and not torch.cuda.is_available() else 0.0
    one, other = run.model().state_dict(), resumed.model().state_dict()
    return all(torch.allclose(one[name], other[name], rtol=tolerance, atol=tolerance) for name in one)


def _fix() -> str:
    import torch

    if torch.accelerator.is_available():
        return f"try ACCELERATE_USE_CPU=true; if that mends it, the device or its torch is at fault; else {_REPORT}"
    return _REPORT
