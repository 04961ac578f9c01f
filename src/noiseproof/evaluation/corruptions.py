"""Accuracy on published corrupted images, by corruption and severity, and the mean corruption error."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from noiseproof.checks import check_range, check_whole
from noiseproof.data import ArrayDataset
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.evaluation.accuracy import evaluate
from noiseproof.evaluation.corruption_files import (
    MAIN,
    SEVERITIES,
    channels_first,
    corruption_files,
    images_each,
    open_images,
    read_labels,
)
from noiseproof.files import write_text
from noiseproof.progress import ProgressReporter, Silent

__all__ = ["Baseline", "CorruptionReport", "evaluate_corruptions"]

_FORMAT = 1
_FILE = "corruptions.json"
_ROUNDING = 1e-9  # far below what one sample is worth

# Errors of another classifier, in [0, 1]: by corruption, one for each severity of the report that is compared.
Baseline: TypeAlias = "CorruptionReport | Mapping[str, Sequence[float]]"


@dataclass(frozen=True, eq=False)
class CorruptionReport:
    """Accuracy by corruption and severity.

    Means over corruptions are over :attr:`counted`: those of the 15 main corruptions that were measured (or, where
    there is none of them, all). The extra ones are reported beside. A mean over fewer than all 15 in all five
    severities is not the published measure: see :attr:`complete`.

    Attributes:
        names: of the corruptions, in the order of the rows.
        severities: of 1 to 5, in the order of the columns.
        samples: images behind each accuracy.
        accuracies: (corruptions, severities), in [0, 1]; read-only.

    Raises:
        InvalidArgumentError: accuracies of another shape or outside [0, 1], names or severities given twice.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...]
    samples: int
    accuracies: NDArray[np.float64]

    def __post_init__(self) -> None:
        accuracies = np.array(self.accuracies, dtype=np.float64)
        shape = (len(self.names), len(self.severities))
        if accuracies.shape != shape or 0 in shape:
            raise InvalidArgumentError(f"accuracies must be (names, severities) = {shape}, got {accuracies.shape}")
        if not bool(((accuracies >= 0) & (accuracies <= 1)).all()):
            raise InvalidArgumentError("accuracies must lie in [0, 1]")
        if len(set(self.names)) < shape[0] or _checked_severities(self.severities) != self.severities:
            raise InvalidArgumentError("corruptions and severities must be given once each, severities in order")
        check_whole("samples", self.samples, 1)
        accuracies.setflags(write=False)
        object.__setattr__(self, "accuracies", accuracies)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CorruptionReport):
            return NotImplemented
        return self.names == other.names and self._summary() == other._summary()

    __hash__ = None  # type: ignore[assignment]

    @property
    def counted(self) -> tuple[str, ...]:
        """The corruptions that means are over."""
        return tuple(name for name in self.names if name in MAIN) or self.names

    @property
    def complete(self) -> bool:
        """Whether all 15 main corruptions were measured in all five severities, as published numbers are."""
        return set(MAIN) <= set(self.names) and self.severities == SEVERITIES

    @property
    def mean_accuracy(self) -> float:
        """Mean over the counted corruptions and all severities, in [0, 1]."""
        return _mean([self.accuracy(name) for name in self.counted])

    @property
    def by_severity(self) -> dict[int, float]:
        """Mean over the counted corruptions, in [0, 1], for each severity."""
        return {
            severity: _mean([self.accuracy(name, severity) for name in self.counted]) for severity in self.severities
        }

    def accuracy(self, corruption: str, severity: int | None = None) -> float:
        """Return the accuracy under a corruption, in [0, 1]; the mean over severities where none is given.

        Raises:
            UnknownNameError: the corruption is not in this report.
            InvalidArgumentError: the severity is not.
        """
        row = self.accuracies[self._row(corruption)]
        if severity is None:
            return _mean(row)
        if severity not in self.severities:
            raise InvalidArgumentError(f"severity must be one of {_listed(self.severities)}, got {severity!r}")
        return float(row[self.severities.index(severity)])

    def corruption_error(self, corruption: str, baseline: Baseline | None = None) -> float:
        """Return CE_c = Σ_s E_{s,c}(model) / Σ_s E_{s,c}(baseline), with E the error; 1 is as good as the baseline.

        Args:
            corruption: c, of this report.
            baseline: another classifier's report or errors; None for the mean error itself, as is usual for
                CIFAR-10-C.

        Raises:
            UnknownNameError: the corruption is not in this report or not in the baseline.
            InvalidArgumentError: other severities in the baseline, errors outside [0, 1], or no error at all.
        """
        errors = self._errors(corruption)
        if baseline is None:
            return _mean(errors)
        return _ratio(corruption, _mean(errors), _mean(self._errors_of(baseline, corruption)))

    def mce(self, baseline: Baseline | None = None) -> float:
        """Return the mean corruption error: the mean of CE_c over the counted corruptions, as a fraction.

        Published mCE are in percent, and of ImageNet-C with AlexNet as the baseline. Without a baseline this is the
        unnormalised mean error, 1 − :attr:`mean_accuracy`, which is usual for CIFAR-10-C. Only where the report is
        :attr:`complete` may it be set beside published numbers.

        Raises:
            UnknownNameError: a counted corruption is not in the baseline.
            InvalidArgumentError: other severities in the baseline, errors outside [0, 1], or no error at all.
        """
        return _mean([self.corruption_error(name, baseline) for name in self.counted])

    def relative_mce(self, clean_accuracy: float, baseline: Baseline, baseline_clean_accuracy: float) -> float:
        """Return the mean over the counted corruptions of how much worse than clean, relative to the baseline.

        Relative CE_c = Σ_s (E_{s,c}(model) − E_clean(model)) / Σ_s (E_{s,c}(baseline) − E_clean(baseline)).

        Args:
            clean_accuracy: of the model on the same images uncorrupted, in [0, 1].
            baseline: another classifier's report or errors.
            baseline_clean_accuracy: its own, in [0, 1].

        Raises:
            UnknownNameError: a counted corruption is not in the baseline.
            InvalidArgumentError: as with :meth:`mce`, or a baseline that is no worse under a corruption.
        """
        clean = 1 - check_range("clean_accuracy", clean_accuracy, 0, 1)
        baseline_clean = 1 - check_range("baseline_clean_accuracy", baseline_clean_accuracy, 0, 1)
        return _mean(
            [
                _ratio(
                    name, _mean(self._errors(name)) - clean, _mean(self._errors_of(baseline, name)) - baseline_clean
                )
                for name in self.counted
            ]
        )

    def save(self, folder: str | Path) -> None:
        """Write ``corruptions.json`` into ``folder``, which is made."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _FILE, json.dumps(self._summary(), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> CorruptionReport:
        """Read a report that :meth:`save` wrote.

        Raises:
            NoiseproofError: there is none, or it is damaged.
        """
        try:
            summary = json.loads((Path(folder) / _FILE).read_text(encoding="utf-8"))
            accuracies = summary["accuracies"]
            report = cls(
                tuple(accuracies), tuple(summary["severities"]), summary["samples"], np.array([*accuracies.values()])
            )
            if report._summary() != summary:
                raise ValueError("its numbers do not belong together")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise NoiseproofError(f"cannot read a corruption report in {folder}: {reason}") from error
        return report

    def _summary(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "samples": self.samples,
            "severities": list(self.severities),
            "complete": self.complete,
            "mean_accuracy": self.mean_accuracy,
            "accuracies": {name: self.accuracies[row].tolist() for row, name in enumerate(self.names)},
        }

    def _row(self, corruption: str) -> int:
        if corruption not in self.names:
            raise UnknownNameError("corruption in this report:", corruption, self.names)
        return self.names.index(corruption)

    def _errors(self, corruption: str) -> NDArray[np.float64]:
        errors: NDArray[np.float64] = 1 - self.accuracies[self._row(corruption)]
        return errors

    def _errors_of(self, baseline: Baseline, corruption: str) -> NDArray[np.float64]:
        """The baseline's errors under a corruption, in the severities of this report."""
        if isinstance(baseline, CorruptionReport):
            return np.array([1 - baseline.accuracy(corruption, severity) for severity in self.severities])
        if corruption not in baseline:
            raise UnknownNameError("corruption in the baseline:", corruption, baseline)
        errors = np.array(baseline[corruption], dtype=np.float64)
        if errors.shape != (len(self.severities),):
            raise InvalidArgumentError(
                f"the baseline needs an error for each severity {_listed(self.severities)} of {corruption!r}, "
                f"got {baseline[corruption]!r}"
            )
        if not bool(((errors >= 0) & (errors <= 1)).all()):
            raise InvalidArgumentError(f"the baseline's errors must lie in [0, 1], got {errors.tolist()}")
        return errors


def evaluate_corruptions(
    model: nn.Module,
    folder: str | Path,
    *,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    class_names: Sequence[str] | None = None,
    limit: int | None = None,
    progress: ProgressReporter | None = None,
) -> CorruptionReport:
    """Measure how often a classifier is right on each corruption and severity of a folder such as CIFAR-10-C.

    Files are mapped, not read: one corruption in one severity is in memory at a time.

    Args:
        model: maps (N, C, H, W) images in [0, 1] to logits. It is run in evaluation mode and put back into its own.
        folder: with ``labels.npy``, integers (5n,) or (n,), and uint8 images (5n, H, W, C) in ``NAME.npy``.
        corruptions: names of files; None for all there are, the main ones first.
        severities: of 1 to 5.
        batch_size: how many inputs the model gets at once, ≥ 1.
        device: where to run, and where the model is moved to; None for where it is.
        class_names: one per class, so that a label outside of them is an error; None for as many as the labels need.
        limit: take the first so many of the n images, ≥ 1; None for all.
        progress: where to report; None for nowhere.

    Raises:
        UnknownNameError: the folder has no such corruption.
        DataError: no such folder, files missing or in another layout, or a label outside the model's classes.
        InvalidArgumentError: an argument outside its range, or logits that are not finite and (N, C).
    """
    folder = Path(folder).expanduser()
    chosen = _checked_severities(severities)
    files = corruption_files(folder, corruptions)
    images = {name: open_images(path) for name, path in files.items()}
    count = images_each(folder, images)
    labels = read_labels(folder / "labels.npy", count)
    names = _class_names(labels, class_names)
    used = count if limit is None else min(count, check_whole("limit", limit, 1))
    accuracies = np.zeros((len(images), len(chosen)))

    with (progress or Silent()).task("corruptions", accuracies.size * used) as task:
        for row, (name, stack) in enumerate(images.items()):
            for column, severity in enumerate(chosen):
                part = slice((severity - 1) * count, (severity - 1) * count + used)
                data = ArrayDataset(channels_first(stack[part]), torch.from_numpy(labels[part]), names)
                report = evaluate(model, data, batch_size=batch_size, device=device)
                accuracies[row, column] = report["clean"].mean
                task.advance(used, note=f"{name} {severity}")
    return CorruptionReport(tuple(images), chosen, used, accuracies)


def _checked_severities(severities: Sequence[int]) -> tuple[int, ...]:
    """Return severities once each, in order."""
    if isinstance(severities, int):
        raise InvalidArgumentError(f"severities must be a list, as in [{severities}]")
    for severity in severities:
        if severity not in SEVERITIES:
            raise InvalidArgumentError(f"severities must be of {_listed(SEVERITIES)}, got {severity!r}")
    if not severities:
        raise InvalidArgumentError("severities is empty: name at least one of 1 to 5")
    return tuple(sorted({int(severity) for severity in severities}))


def _class_names(labels: NDArray[np.int64], given: Sequence[str] | None) -> list[str]:
    classes = int(labels.max()) + 1
    if given is None:
        return [str(index) for index in range(classes)]
    if classes > len(given):
        raise DataError(f"labels.npy holds the label {classes - 1}, but there are names for {len(given)} classes")
    return list(given)


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Mean that is rounded once, so that it is the same on every machine."""
    return math.fsum(values) / len(values)


def _ratio(corruption: str, error: float, baseline: float) -> float:
    """The ratio of two means over severities, which is that of the sums."""
    if not baseline > _ROUNDING:
        raise InvalidArgumentError(f"the baseline loses nothing under {corruption!r}, so there is no ratio to it")
    return error / baseline


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)
