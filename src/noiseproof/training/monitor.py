"""Sums of the loss parts over an epoch, kept on the device, and the watch for values that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from noiseproof.errors import NonFiniteLossError
from noiseproof.methods import StepResult

__all__ = ["LossMonitor"]


class LossMonitor:
    """Collects what every step gives, and stops training at a part that is NaN or infinite.

    On an accelerator nothing is copied to the host before :meth:`check` or :meth:`averages`, so that steps can run
    ahead; the first step that went wrong is remembered there.
    """

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._first_bad: Tensor | None = None
        self._bad_values: Tensor | None = None
        self._correct: Tensor | None = None
        self._steps = 0
        self._seen = 0

    def add(self, result: StepResult) -> None:
        """Take in the result of one step."""
        values = torch.stack([part.detach().float() for part in (*result.parts.values(), result.loss)])
        correct = (result.logits.detach().argmax(1) == result.labels).sum(dtype=torch.float32)
        if self._sums is None or self._first_bad is None or self._bad_values is None or self._correct is None:
            self._names = [*result.parts, "loss"]
            self._sums = torch.zeros_like(values)
            self._first_bad = torch.full_like(values, math.inf)
            self._bad_values = torch.zeros_like(values)
            self._correct = torch.zeros_like(correct)
        newly_bad = ~values.isfinite() & self._first_bad.isinf()
        self._bad_values = torch.where(newly_bad, values, self._bad_values)
        self._first_bad = torch.where(newly_bad, self._steps, self._first_bad)
        self._sums += values
        self._correct += correct
        self._steps += 1
        self._seen += result.labels.shape[0]

    def check(self) -> None:
        """Raise where a part of any step so far was not finite.

        Raises:
            NonFiniteLossError: names the earliest such part, its value, the epoch and the step within it.
        """
        if self._first_bad is None or self._bad_values is None or bool(self._first_bad.isinf().all()):
            return
        earliest = int(self._first_bad.argmin())
        value, step = float(self._bad_values[earliest]), int(self._first_bad[earliest])
        raise NonFiniteLossError(self._names[earliest], value, self._epoch + 1, step + 1)

    def averages(self, over_processes: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Return the mean of every part over the steps so far, and the share of correct predictions.

        Args:
            over_processes: averages a tensor over all processes; None for the numbers of this one.
        """
        if self._sums is None or self._correct is None:
            return {}
        values = torch.cat([self._sums / self._steps, (self._correct / self._seen).reshape(1)])
        if over_processes is not None:
            values = over_processes(values)
        return dict(zip([*self._names, "accuracy"], values.tolist(), strict=True))

    def state_dict(self, gather: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """The sums so far of every process, so that an epoch may be finished later, by as many or by others.

        Args:
            gather: joins the rows (1, n) of all processes to (processes, n).
        """
        return {
            "names": self._names,
            "sums": None if self._sums is None else gather(self._sums.unsqueeze(0)),
            "correct": None if self._correct is None else gather(self._correct.reshape(1)),
            "steps": self._steps,
            "seen": self._seen,
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device, rank: int = 0, world_size: int = 1) -> None:
        """Go on from the sums of :meth:`state_dict`: its own, or their mean where there are more or less."""
        if state["sums"] is None:
            return
        self._names, self._steps, self._seen = state["names"], state["steps"], state["seen"]
        own = rank if len(state["sums"]) == world_size else None
        sums, correct = (state[key].mean(0) if own is None else state[key][own] for key in ("sums", "correct"))
        self._sums, self._correct = sums.to(device), correct.to(device)
        self._first_bad = torch.full_like(self._sums, math.inf)
        self._bad_values = torch.zeros_like(self._sums)
