"""A run as files to hand on: an ONNX file and a model card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from noiseproof.archives import digest
from noiseproof.data import thinned
from noiseproof.data.dataset import to_unit_interval
from noiseproof.deploying.card import model_card
from noiseproof.deploying.onnx import OnnxExport, export_onnx
from noiseproof.deploying.parity import BATCH_SIZES
from noiseproof.errors import ExportError, InvalidArgumentError, RunFolderError
from noiseproof.files import write_text
from noiseproof.models.files import read_description
from noiseproof.perturbations import Perturbation, perturbation
from noiseproof.perturbations.units import Scaled
from noiseproof.progress import ProgressReporter, Silent
from noiseproof.targets import Target, load_target, run_at
from noiseproof.training import Run

__all__ = ["CARD", "Export", "export", "write_card"]

CARD = "MODEL_CARD.md"
_FOLDER, _MODEL = "export", "model.onnx"


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes:
        onnx: the ONNX file, and how it was checked.
        card: the model card; None for a model that is no run, of which too little is known.
    """

    onnx: OnnxExport
    card: Path | None


def export(
    target: Target | Run | str | Path,
    path: str | Path | None = None,
    *,
    overwrite: bool = False,
    tolerance: float = 1e-4,
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> Export:
    """Write a model as an ONNX file and, for a run, its model card beside it.

    The file is checked on up to 64 test inputs, evenly spread, clean and under the noise of the run's recipe; see
    :func:`noiseproof.deploying.export_onnx` for what it holds. For a run its metadata also has ``method``, ``noise``
    (the recipe's), ``recipe_sha256`` (over all settings that the result depends on), ``data_fingerprint``,
    ``normalisation_mean`` and ``normalisation_std`` (what its first layer subtracts and divides by, per channel) and,
    if there is one, ``caveat``; for a table ``feature_names``, its columns in the order of the input. The file takes
    inputs in the units of the data source; where the recipe standardises them, ``noise_unit`` is what noise of
    strength 1 amounts to in each channel.

    Args:
        target: a run, its folder, or what :func:`noiseproof.targets.load_target` loaded.
        path: the ONNX file to write; None for ``export/model.onnx`` in the run's folder.
        overwrite: whether to replace files that are there. A card may have been edited, so nothing is without this.
        tolerance: the largest difference of logits, as a share of the largest logit.
        seed: of the noise.
        progress: where to report; None for nowhere.

    Raises:
        ExportError: a file is there already; the exporter cannot translate the model; or what it made does not agree
            with the model, and is not kept.
        InvalidArgumentError: a package or ``path`` is missing.
        NoiseproofError: the run's model, data or evaluation report cannot be read.
    """
    found = _loaded(target)
    run = found.run or run_at(found.place)
    if path is not None:
        file = Path(path)
    elif run is not None:
        file = run.folder / _FOLDER / _MODEL
    else:
        raise InvalidArgumentError(f"{found.place} is no run folder: name the file to write with --out, as model.onnx")
    card = None if run is None else file.parent / CARD
    _require_free([file, *([card] if card else [])], overwrite=overwrite)
    if run is not None:
        run.report()  # one that is damaged is told before the work is done
    samples = thinned(found.test, max(BATCH_SIZES))
    inputs = torch.stack([to_unit_interval(samples[index][0]) for index in range(len(samples))])
    noise: str | Perturbation | None = None if run is None else run.recipe.noise.train
    if found.scaling is not None:
        inputs = found.scaling.inverse().apply(inputs)
        noise = None if noise is None else Scaled(perturbation(noise), found.scaling)
    names = found.test.class_names if run is None else read_description(run.folder / "model.safetensors").class_names
    with (progress or Silent()).task("export", 1) as task:
        onnx = export_onnx(
            found.raw_model(), file, inputs, class_names=names, noise=noise,
            metadata={} if run is None else _metadata(run), tolerance=tolerance, seed=seed,
        )  # fmt: skip
        if run is not None and card is not None:
            write_text(card, model_card(run, onnx))
        task.advance()
    return Export(onnx, card)


def write_card(run: Run | str | Path, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Write the model card of a run, and nothing else.

    Args:
        run: the run or its folder.
        path: the file to write; None for ``export/MODEL_CARD.md`` in the run's folder.
        overwrite: whether to replace a file that is there, which may have been edited.

    Returns:
        The file.

    Raises:
        RunFolderError: no finished run.
        ExportError: the file is there already.
        NoiseproofError: the run's model or evaluation report cannot be read.
    """
    found = run if isinstance(run, Run) else run_at(str(run))
    if found is None:
        raise RunFolderError(f"{run} is no run folder; only of a run is enough known for a model card")
    file = Path(path) if path is not None else found.folder / _FOLDER / CARD
    _require_free([file], overwrite=overwrite)
    card = model_card(found)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, card)
    return file


def _loaded(target: Target | Run | str | Path) -> Target:
    if isinstance(target, Target):
        return target
    return load_target(str(target.folder if isinstance(target, Run) else target))


def _require_free(files: list[Path], *, overwrite: bool) -> None:
    for file in files:
        if file.is_dir():
            raise ExportError(f"{file} is a folder: name a file with --out")
        if file.exists() and not overwrite:
            raise ExportError(f"{file} is there already; choose another with --out, or pass --overwrite")


def _metadata(run: Run) -> dict[str, str]:
    recipe, description = run.recipe, read_description(run.folder / "model.safetensors")
    mean, std = description.first_layer
    names = description.feature_names
    unit = None if description.scaling is None else description.scaling.std
    known = {
        "method": recipe.method,
        "noise": recipe.noise.train,
        "recipe_sha256": digest(recipe.settings_to_digest(), {}),
        "data_fingerprint": str(recipe.provenance.get("data_fingerprint", "")),
        "feature_names": "" if names is None else json.dumps(list(names), ensure_ascii=False),
        "noise_unit": "" if unit is None else json.dumps(list(unit)),
        "normalisation_mean": json.dumps(list(mean)),
        "normalisation_std": json.dumps(list(std)),
        "caveat": recipe.caveat,
    }
    return {key: value for key, value in known.items() if value}
