"""Timing two ways to do one thing, in turns."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

__all__ = ["Ratio", "arguments", "measure", "measure_timed", "save", "synchronize"]


@dataclass(frozen=True)
class Ratio:
    """How often the time of ``baseline`` goes into that of ``candidate``, or the other way round for a speed-up.

    Attributes:
        name: what was timed.
        candidate: median seconds of the one.
        baseline: median seconds of the other.
        ratios: candidate / baseline of every round.
        aim: what the ratio is to stay below; None for no aim.
    """

    name: str
    candidate: float
    baseline: float
    ratios: tuple[float, ...]
    aim: float | None = None

    @property
    def ratio(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        spread = f"{min(self.ratios):.3f} to {max(self.ratios):.3f}"
        aim = "" if self.aim is None else f", aim ≤ {self.aim:g}"
        speedup = f" ({1 / self.ratio:.1f} times faster)" if self.ratio < 0.9 else ""
        return (
            f"{self.name}: ratio {self.ratio:.4g}{speedup}, {spread} over {len(self.ratios)} rounds{aim}; "
            f"{1e3 * self.candidate:.4g} ms against {1e3 * self.baseline:.4g} ms"
        )


def measure(
    name: str,
    candidate: Callable[[], object],
    baseline: Callable[[], object],
    *,
    rounds: int = 7,
    repeats: int = 1,
    aim: float | None = None,
) -> Ratio:
    """Time two functions in turns, the order changing from round to round, after a call of each that is not timed.

    Args:
        name: what is timed.
        candidate: the one.
        baseline: the other.
        rounds: how many times both are timed.
        repeats: calls in a row that one timing takes in, for functions of microseconds.
        aim: what the ratio is to stay below.
    """
    candidate()
    baseline()
    return measure_timed(
        name, lambda: _seconds(candidate, repeats), lambda: _seconds(baseline, repeats), rounds=rounds, aim=aim
    )


def measure_timed(
    name: str,
    candidate: Callable[[], float],
    baseline: Callable[[], float],
    *,
    rounds: int = 7,
    aim: float | None = None,
) -> Ratio:
    """The same for functions that return the seconds of what counts in them."""
    times: dict[str, list[float]] = {"candidate": [], "baseline": []}
    for number in range(rounds):
        pair = [("candidate", candidate), ("baseline", baseline)]
        for which, function in pair if number % 2 == 0 else reversed(pair):
            times[which].append(function())
    ratios = tuple(c / b for c, b in zip(times["candidate"], times["baseline"], strict=True))
    found = Ratio(name, statistics.median(times["candidate"]), statistics.median(times["baseline"]), ratios, aim)
    print(found, flush=True)  # noqa: T201
    return found


def _seconds(function: Callable[[], object], repeats: int) -> float:
    synchronize()  # or what was given to a GPU before would count
    begun = time.perf_counter()
    for _ in range(repeats):
        function()
    synchronize()
    return (time.perf_counter() - begun) / repeats


def synchronize() -> None:
    """Wait until a GPU, if there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def arguments(description: str) -> argparse.Namespace:
    """Read ``--json FILE``, ``--rounds N`` and ``--threads N``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="how many torch uses")
    return parser.parse_args()


def save(path: Path | None, ratios: list[Ratio], **more: object) -> None:
    """Write ratios, and whatever else was measured, with the machine that they were taken on."""
    if path is None:
        return
    machine = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    content = {
        "machine": machine,
        "ratios": [{**asdict(ratio), "ratio": ratio.ratio} for ratio in ratios],
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
