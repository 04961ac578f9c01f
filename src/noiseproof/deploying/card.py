"""A model card: what a model is, what it was made from, what was measured of it and what was not.

Its front matter has the keys of the Hugging Face hub, https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, StrictUndefined

import noiseproof
from noiseproof.archives import digest
from noiseproof.deploying.markdown import Markdown, code, escape, fenced
from noiseproof.deploying.onnx import OnnxExport
from noiseproof.evaluation import PerturbationResult, RobustnessReport
from noiseproof.methods import METHODS
from noiseproof.models.files import ModelDescription, read_description
from noiseproof.reporting.tables import decimals_for, percent
from noiseproof.training import Recipe, Run

__all__ = ["model_card"]

_TASKS = {3: ("images", "image-classification"), 2: ("series", None), 1: ("vectors", "tabular-classification")}
_SHOWN = 100  # classes, channels
_VERSIONED = ("torch", "onnx", "onnxruntime", "onnxscript")


def model_card(run: Run, onnx: OnnxExport | None = None) -> str:
    """Write the model card of a run, as Markdown with YAML in front.

    Nothing is measured for it. Accuracies are those of the report that ``noiseproof evaluate`` left in the run;
    without one the card says so. What only the owner knows (licence, intended use) is left open and marked.

    Args:
        run: a finished run; its data is not needed.
        onnx: the ONNX file that lies beside the card; None for none.

    Raises:
        NoiseproofError: the run's model or evaluation report cannot be read.
    """
    recipe, report = run.recipe, run.report()
    description = read_description(run.folder / "model.safetensors")
    kind, task = _TASKS.get(len(description.input_shape), ("inputs", None))
    title = f"{recipe.model.name}, {recipe.name}, {METHODS[recipe.method].title_in(recipe.preset)}"
    provenance = recipe.provenance
    environment = Environment(
        autoescape=False,  # noqa: S701 - not HTML: `finalize` escapes for Markdown whatever is put in
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=escape,
        keep_trailing_newline=True,
    )
    template = (resources.files("noiseproof.deploying") / "card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        front=Markdown(_front_matter(title, task, recipe, report, onnx)),
        title=title,
        recipe=recipe,
        method=METHODS[recipe.method].title_in(recipe.preset),
        noise=recipe.noise.train
        if "noisy" in METHODS[recipe.method].views
        else "none; the method sees clean inputs alone",
        unit=None if description.scaling is None else _first_of([f"{std:.4g}" for std in description.scaling.std]),
        kind=kind,
        shape="×".join(map(str, description.input_shape)),
        description=description,
        parameters=f"{sum(each.numel() for each in run.model().parameters()):,}",
        options=", ".join(f"{key}={value}" for key, value in description.options.items()),
        normalisation=_normalisation(description),
        classes=_listed(description.class_names),
        features=None if description.feature_names is None else _listed(description.feature_names),
        samples=provenance.get("samples", {}),
        fingerprint=provenance.get("data_fingerprint"),
        recipe_sha256=digest(recipe.settings_to_digest(), {}),
        recipe_yaml=fenced(_yaml(recipe.model_dump(mode="json", exclude={"provenance"})), "yaml"),
        rows=[] if report is None else [_row(report, result) for result in report.values()],
        report=report,
        limits=_limits(run, recipe, report),
        onnx=onnx,
        bounded=report is not None and any(result.worst_case for result in report.values()),
        views="" if onnx is None else " and ".join(dict.fromkeys(each.view for each in onnx.parity.batches)),
        sizes=""
        if onnx is None
        else ", ".join(map(str, dict.fromkeys(each.batch_size for each in onnx.parity.batches))),
        usage=None if onnx is None else fenced(_usage(onnx, description), "python"),
        evaluate=_command("evaluate", run),
        rewrite=_command("export", run, *(["--format", "card"] if onnx is None else []), "--overwrite"),
        trained_with=_versions(provenance),
        written_with={"noiseproof": noiseproof.__version__, "python": platform.python_version()}
        | ({} if onnx is None else {name: version(name) for name in _VERSIONED}),
    )


def _front_matter(
    title: str, task: str | None, recipe: Recipe, report: RobustnessReport | None, onnx: OnnxExport | None
) -> str:
    front: dict[str, Any] = {"library_name": "noiseproof"}
    if task is not None:
        front["pipeline_tag"] = task
    front["tags"] = ["noiseproof", "robustness", "pytorch", *(["onnx"] if onnx else []), *([task] if task else [])]
    front["metrics"] = ["accuracy"]
    if report is not None:
        dataset = {"type": recipe.data.source.partition(":")[0], "name": recipe.data.source, "split": "test"}
        result = {
            "task": {"type": task or "other", "name": "Classification"},
            "dataset": dataset,
            "metrics": [_metric(report, result) for result in report.values()],
        }
        front["model-index"] = [{"name": title, "results": [result]}]
    return _yaml(front)


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100).rstrip()


def _metric(report: RobustnessReport, result: PerturbationResult) -> dict[str, Any]:
    bound = " (upper bound)" if result.worst_case else ""
    return {
        "type": "accuracy",
        "value": round(result.mean, 6),
        "name": f"Accuracy, {result.key}{bound}",
        "args": {
            "perturbation": result.spec,
            "draws": len(result.correct),
            "seed": report.seed,
            "interval_95": [round(end, 6) for end in result.interval],
        },
    }


def _row(report: RobustnessReport, result: PerturbationResult) -> dict[str, str]:
    decimals = decimals_for(len(report.labels))
    by_class = report.per_class(result.key)
    worst = int(np.nanargmin(by_class))
    spread = result.random and len(result.correct) > 1
    return {
        "key": result.key,
        "accuracy": f"{'≤ ' if result.worst_case else ''}{percent(result.mean, decimals)}",
        "std": f"±{percent(result.std, decimals)}" if spread else "",
        "interval": " to ".join(percent(end, decimals) for end in result.interval),
        "worst": f"{percent(float(by_class[worst]), 1)} ({report.class_names[worst]})",
        "calibration": percent(result.calibration_error, 1),
        "draws": str(len(result.correct)),
    }


def _limits(run: Run, recipe: Recipe, report: RobustnessReport | None) -> list[str | Markdown]:
    """What was not measured, each as one sentence or two."""
    limits: list[str | Markdown] = []
    if report is None:
        limits.append("Nothing was measured of this model: neither its accuracy nor its robustness is known.")
    else:
        measured = ", ".join(report)
        limits.append(f"Accuracy was measured under these alone: {measured}. Under anything else it is not known.")
        counts = np.bincount(report.labels, minlength=len(report.class_names))
        fewest = int(counts.argmin())
        limits.append(
            f"The numbers are of {len(report.labels)} test samples; the smallest class, {report.class_names[fewest]}, "
            f"has {int(counts[fewest])} of them."
        )
        if "gaussian" in report.curves():
            top = report.curves()["gaussian"].levels[-1]
            limits.append(f"The strongest Gaussian noise that was measured has a standard deviation of {top:.4g}.")
    if report is None or not any(result.worst_case for result in report.values()):
        limits.append("Attacks, perturbations that are made to mislead the model, were not tried.")
    if not (run.folder / "certification").is_dir():
        limits.append("No radius within which the answer is certain to stay was certified.")
    if recipe.caveat:
        limits.append(recipe.caveat)
    limits += [
        f"The training had one seed, {recipe.seed}. Another one gives a model with other numbers.",
        "Inputs from elsewhere than the training data (other sensors, places, times), and inputs of no known class, "
        "were not tried. The model gives one of its classes for any input.",
        "Whether the model treats groups of people or things alike was not measured"
        + ("." if report is None else ", but for the accuracy by class."),
    ]
    return limits


def _command(name: str, run: Run, *options: str) -> Markdown:
    return code(shlex.join(["noiseproof", name, str(run.folder), *options]))


def _normalisation(description: ModelDescription) -> str:
    """What the first layer does, channel by channel."""
    mean, std = description.first_layer
    return _first_of([f"(x − {each:.4g}) / {scale:.4g}" for each, scale in zip(mean, std, strict=True)])


def _listed(names: Sequence[str]) -> Markdown:
    return Markdown(_first_of([escape(name) for name in names]))


def _first_of(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _versions(provenance: Mapping[str, Any]) -> dict[str, str]:
    """What a run noted of the place it was made in."""
    known = dict(provenance.get("versions", {}))
    return known | {key: provenance[key] for key in ("python", "device") if key in provenance}


def _usage(onnx: OnnxExport, description: ModelDescription) -> str:
    shape = ", ".join(map(str, (1, *description.input_shape)))
    images = len(description.input_shape) == 3
    what = "in [0, 1], not normalised" if images else "in the units and scale of the training data"
    return f"""\
import json

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({onnx.path.name!r})
names = json.loads(session.get_modelmeta().custom_metadata_map["noiseproof.class_names"])
inputs = np.zeros(({shape}), dtype=np.float32)  # yours, {what}; as many as you like
logits, probabilities = session.run(["logits", "probabilities"], {{"input": inputs}})
print([names[index] for index in probabilities.argmax(1)])
"""
