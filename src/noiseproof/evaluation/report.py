"""What an evaluation found, kept sample by sample."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noiseproof.errors import InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.files import write_atomically, write_text
from noiseproof.perturbations import perturbation

__all__ = ["PerturbationResult", "RobustnessReport"]

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class PerturbationResult:
    """Accuracy under one perturbation.

    Attributes:
        key: the perturbation as it was asked for.
        spec: its canonical text.
        correct: (draws, N) of bool, whether sample i was classified rightly in draw k.
        random: whether draws differ.
    """

    key: str
    spec: str
    correct: NDArray[np.bool_]
    random: bool

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """Accuracy of each draw, in [0, 1]: (draws,)."""
        accuracies: NDArray[np.float64] = self.correct.mean(axis=1, dtype=np.float64)
        return accuracies

    @property
    def mean(self) -> float:
        """Mean accuracy over the draws, in [0, 1]."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Standard deviation (n − 1) of the accuracy over draws; 0 if nothing is random, NaN for a single draw."""
        if not self.random:
            return 0.0
        return float(self.accuracies.std(ddof=1)) if len(self.correct) > 1 else math.nan


class RobustnessReport(Mapping[str, PerturbationResult]):
    """Results by perturbation: ``report["gaussian:8/255"].mean``.

    Args:
        results: by key, in the order they were asked for.
        labels: (N,) true classes.
        class_names: one per class.
        seed: of the noise.
    """

    def __init__(
        self,
        results: Mapping[str, PerturbationResult],
        labels: NDArray[np.int64],
        class_names: tuple[str, ...],
        seed: int,
    ) -> None:
        self._results = dict(results)
        self.labels = labels
        self.class_names = class_names
        self.seed = seed

    def __getitem__(self, key: str) -> PerturbationResult:
        """Return the result of a perturbation, by the text it was asked for with or by any other text for the same."""
        if key in self._results:
            return self._results[key]
        try:
            spec = perturbation(key).spec
        except (InvalidArgumentError, AttributeError):
            raise UnknownNameError("perturbation in this report:", str(key), self._results) from None
        for result in self._results.values():
            if result.spec == spec:
                return result
        raise UnknownNameError("perturbation in this report:", key, self._results)

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RobustnessReport):
            return NotImplemented
        return self._summary() == other._summary() and all(
            np.array_equal(mine, yours)
            for mine, yours in zip(self._arrays().values(), other._arrays().values(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def save(self, folder: str | Path) -> None:
        """Write ``report.json`` and ``report.npz`` (per-sample correctness) into ``folder``, which is made."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **self._arrays())  # type: ignore[arg-type]

        write_atomically(folder / "report.npz", write)
        write_text(folder / "report.json", json.dumps(self._summary(), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> RobustnessReport:
        """Read a report that :meth:`save` wrote.

        Raises:
            NoiseproofError: there is none, or its files do not belong together.
        """
        folder = Path(folder)
        try:
            summary = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            with (folder / "report.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                results = {
                    entry["key"]: PerturbationResult(
                        entry["key"], entry["spec"], arrays[f"correct_{index}"], entry["random"]
                    )
                    for index, entry in enumerate(summary["perturbations"])
                }
                labels = arrays["labels"]
            report = cls(results, labels, tuple(summary["class_names"]), summary["seed"])
            if report._summary() != summary:
                raise ValueError("report.json and report.npz do not belong together")
        except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise NoiseproofError(f"cannot read a robustness report in {folder}: {reason}") from error
        return report

    def _summary(self) -> dict[str, Any]:
        entries = [
            {
                "key": result.key,
                "spec": result.spec,
                "random": result.random,
                "draws": len(result.correct),
                "mean": result.mean,
                "std": None if math.isnan(result.std) else result.std,
                "accuracies": result.accuracies.tolist(),
            }
            for result in self._results.values()
        ]
        return {
            "format": _FORMAT,
            "seed": self.seed,
            "samples": len(self.labels),
            "class_names": list(self.class_names),
            "perturbations": entries,
        }

    def _arrays(self) -> dict[str, NDArray[Any]]:
        correct = {f"correct_{index}": result.correct for index, result in enumerate(self._results.values())}
        return {"labels": self.labels, **correct}
