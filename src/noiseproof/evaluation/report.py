"""What an evaluation found, kept sample by sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noiseproof.archives import digest, finite, load_result, reading, save_result
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.evaluation.curves import NoiseCurve, noise_curves
from noiseproof.evaluation.intervals import Interval, accuracy_interval, expected_calibration_error
from noiseproof.evaluation.views import view
from noiseproof.perturbations import Perturbation

__all__ = ["PerturbationResult", "RobustnessReport"]

_FORMAT = 2


@dataclass(frozen=True, eq=False)
class PerturbationResult:
    """Accuracy under one perturbation or attack.

    Attributes:
        key: the perturbation as it was asked for.
        spec: its canonical text.
        correct: (draws, N) of bool, whether sample i was classified rightly in draw k.
        confidence: (draws, N), the probability in [0, 1] that the model gave to the class it chose.
        random: whether draws differ.
        worst_case: whether an attack looked for the perturbation. What it did not find may still exist, so the
            accuracy is an upper bound of that under the worst perturbation.
        answered: (draws, N) of whole numbers, the class that the model chose; None in reports of earlier versions.
    """

    key: str
    spec: str
    correct: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    random: bool
    worst_case: bool = False
    answered: NDArray[np.integer[Any]] | None = None

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

    @property
    def interval(self) -> Interval:
        """95 % interval of the accuracy, for the choice of test samples and of draws together."""
        return accuracy_interval(self.correct)

    @property
    def correct_counts(self) -> NDArray[np.int64]:
        """In how many draws each sample was classified rightly (§7.3): (N,), from 0 to the number of draws."""
        counts: NDArray[np.int64] = self.correct.sum(axis=0, dtype=np.int64)
        return counts

    @property
    def calibration_error(self) -> float:
        """Expected calibration error in [0, 1], over all draws, with 15 bins (Guo et al., 2017)."""
        return expected_calibration_error(self.confidence, self.correct)


class RobustnessReport(Mapping[str, PerturbationResult]):
    """Results by perturbation: ``report["gaussian:8/255"].mean``.

    Args:
        results: by key, in the order they were asked for.
        labels: (N,) true classes.
        class_names: one per class.
        seed: of the noise.
        caveat: what every table of it has to say of how the model came about; empty for nothing.
    """

    def __init__(
        self,
        results: Mapping[str, PerturbationResult],
        labels: NDArray[np.int64],
        class_names: tuple[str, ...],
        seed: int,
        caveat: str = "",
    ) -> None:
        self._results = dict(results)
        self.labels = labels
        self.class_names = class_names
        self.seed = seed
        self.caveat = caveat

    def __getitem__(self, key: str) -> PerturbationResult:
        """Return the result of a perturbation, by the text it was asked for with or by any other text for the same."""
        if key in self._results:
            return self._results[key]
        try:
            spec = view(key).spec
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

    def per_class(self, key: str) -> NDArray[np.float64]:
        """Return the accuracy of each class under a perturbation, over all draws: (C,), NaN for a class not there."""
        hits, sizes = (
            np.bincount(self.labels, weights=weights, minlength=len(self.class_names))
            for weights in (self[key].correct.mean(axis=0, dtype=np.float64), None)
        )
        accuracies: NDArray[np.float64] = np.divide(hits, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)
        return accuracies

    def balanced(self, key: str) -> float:
        """Return the mean of the accuracies of the classes that are there, each counting the same, in [0, 1]."""
        return float(np.nanmean(self.per_class(key)))

    def confusion(self, key: str) -> NDArray[np.float64]:
        """Return how often each class is taken for each under a perturbation, over all draws.

        Returns:
            (C, K), a row per true class and a column per class that the model can answer, K ≥ C: the share of the
            row's samples that is answered so, in [0, 1]. Rows sum to 1, or are NaN for a class not there.

        Raises:
            InvalidArgumentError: the report is of an earlier version, which kept no answers.
        """
        answered = self[key].answered
        if answered is None:
            raise InvalidArgumentError("the report keeps no answers, as those of earlier versions: measure again")
        count = len(self.class_names)
        width = max(count, int(answered.max()) + 1)
        pairs = self.labels * width + answered.astype(np.int64)
        counts = np.bincount(pairs.ravel(), minlength=count * width).reshape(count, width)
        sizes = counts.sum(axis=1, keepdims=True)
        shares: NDArray[np.float64] = np.divide(counts, sizes, out=np.full(counts.shape, np.nan), where=sizes > 0)
        return shares

    def curves(self) -> dict[str, NoiseCurve]:
        """Return accuracy against level for every kind of noise that has one: ``curves()["gaussian"].area``."""
        views = ((view(result.spec), result.mean) for result in self._results.values())
        return noise_curves((noise, mean) for noise, mean in views if isinstance(noise, Perturbation))

    def only(self, keys: Sequence[str]) -> RobustnessReport:
        """Return a report with the results under ``keys`` alone, in that order.

        Raises:
            UnknownNameError: the report has no such perturbation.
        """
        results = {key: replace(self[key], key=key) for key in keys}
        return RobustnessReport(results, self.labels, self.class_names, self.seed, self.caveat)

    def joined(self, other: RobustnessReport) -> RobustnessReport:
        """Return a report with the results of both; what both have is the other's.

        Raises:
            InvalidArgumentError: the reports are of other samples, or of noise from another seed.
        """
        if self.seed != other.seed or not np.array_equal(self.labels, other.labels):
            raise InvalidArgumentError("reports can be joined if they are of the same samples and the same seed")
        newer = {result.spec: (key, result) for key, result in other.items()}
        results = dict(newer.get(result.spec, (key, result)) for key, result in self.items())
        caveat = " ".join(dict.fromkeys(filter(None, (self.caveat, other.caveat))))
        return RobustnessReport({**results, **other}, self.labels, self.class_names, self.seed, caveat)

    def __repr__(self) -> str:
        measured = ", ".join(f"{key} {100 * result.mean:.1f} %" for key, result in self.items())
        return f"RobustnessReport({measured}; {len(self.labels):,} samples)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RobustnessReport):
            return NotImplemented
        return digest(self._summary(), self._arrays()) == digest(other._summary(), other._arrays())

    __hash__ = None  # type: ignore[assignment]

    def save(self, folder: str | Path) -> None:
        """Write ``report.json`` and ``report.npz`` (what is known of each sample) into ``folder``, which is made."""
        save_result(folder, "report", self._summary(), self._arrays())

    @classmethod
    def load(cls, folder: str | Path) -> RobustnessReport:
        """Read a report that :meth:`save` wrote.

        Raises:
            NoiseproofError: there is none, it has another format, or its files do not belong together.
        """
        with reading("a robustness report", folder):
            summary, arrays = load_result(folder, "report", _FORMAT)
            results = {
                entry["key"]: PerturbationResult(
                    entry["key"],
                    entry["spec"],
                    arrays[f"correct_{index}"],
                    arrays[f"confidence_{index}"],
                    entry["random"],
                    entry["worst_case"],
                    arrays.get(f"answered_{index}"),
                )
                for index, entry in enumerate(summary["perturbations"])
            }
            names = tuple(summary["class_names"])
            return cls(results, arrays["labels"], names, summary["seed"], summary.get("caveat", ""))

    def _summary(self) -> dict[str, Any]:
        """All that people and other programs may want to know without the arrays; what is not finite is None."""
        entries = [
            {
                "key": result.key,
                "spec": result.spec,
                "random": result.random,
                "worst_case": result.worst_case,
                "draws": len(result.correct),
                "mean": result.mean,
                "std": finite(result.std),
                "interval_95": list(result.interval),
                "calibration_error": result.calibration_error,
                "accuracies": result.accuracies.tolist(),
                "per_class": [finite(accuracy) for accuracy in self.per_class(key).tolist()],
            }
            for key, result in self._results.items()
        ]
        curves = {
            name: {
                "levels": curve.levels.tolist(),
                "accuracies": curve.accuracies.tolist(),
                "area": finite(curve.area),
                "level_at_drop_of_0.05": finite(curve.level_at_drop()),
            }
            for name, curve in self.curves().items()
        }
        return {
            "format": _FORMAT,
            "seed": self.seed,
            "samples": len(self.labels),
            **({"caveat": self.caveat} if self.caveat else {}),
            "class_names": list(self.class_names),
            "perturbations": entries,
            "curves": curves,
        }

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {"labels": self.labels}
        for index, result in enumerate(self._results.values()):
            arrays |= {f"correct_{index}": result.correct, f"confidence_{index}": result.confidence}
            if result.answered is not None:
                arrays[f"answered_{index}"] = result.answered
        return arrays
