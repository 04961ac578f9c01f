"""Predictions and the check of an exported model, as tables and records."""

from __future__ import annotations

import json
from typing import Any

from noiseproof.deploying.inputs import printable
from noiseproof.deploying.parity import Parity
from noiseproof.deploying.predicting import Prediction, Predictions
from noiseproof.reporting.tables import Entry, Table, percent

__all__ = ["parity_table", "prediction_records", "prediction_table", "predictions_to_json"]


def prediction_table(found: Predictions) -> Table:
    """What a model answers, a row per input."""
    several = any(len(answer.top) > 1 for answer in found)
    rows = tuple(
        (
            Entry(answer.name),
            Entry(printable(answer.class_name)),
            Entry(percent(answer.probability, 1)),
            Entry(_stability(answer, found.random)),
            *([Entry(_others(answer))] if several else []),
        )
        for answer in found
    )
    if found.random:
        meaning = (
            f"Stability: share in % of {found.draws} draw{'s' * (found.draws > 1)} of {found.perturbation} (seed "
            f"{found.seed}) with which the model gives the same class."
        )
    else:
        meaning = f"Stability: whether {found.perturbation}, which is not random, leaves the class as it is."
    return Table(
        found.title,
        ("Input", "Class", "Probability", "Stability", *(["Next"] if several else [])),
        rows,
        f"Probability in %, the model's own. {meaning} A stable answer can be wrong.",
    )


def prediction_records(found: Predictions) -> list[dict[str, Any]]:
    """One record per input for CSV, shares in [0, 1]; the next classes as ``class_2``, ``probability_2`` and so on."""
    return [
        {
            "input": answer.name,
            "class": answer.class_name,
            "class_index": answer.class_index,
            "probability": answer.probability,
            "stability": answer.stability,
            "stability_low_95": answer.interval.low if found.random else None,
            "stability_high_95": answer.interval.high if found.random else None,
            "agreeing": answer.agreeing,
            "draws": answer.draws,
            "perturbation": found.perturbation,
            "seed": found.seed,
            **{
                f"{key}_{rank}": value
                for rank, other in enumerate(answer.top[1:], 2)
                for key, value in zip(("class", "probability"), other, strict=True)
            },
        }
        for answer in found
    ]


def predictions_to_json(found: Predictions) -> str:
    """One JSON document: how the model was asked, its answers, and what could not be read."""
    content = {
        "model": found.title,
        "target": printable(found.place),
        "perturbation": found.perturbation,
        "draws": found.draws,
        "seed": found.seed,
        "predictions": [
            {
                "input": answer.name,
                "class": answer.class_name,
                "class_index": answer.class_index,
                "probability": answer.probability,
                "stability": answer.stability,
                "stability_interval_95": list(answer.interval) if found.random else None,
                "agreeing": answer.agreeing,
                "top": [{"class": name, "probability": probability} for name, probability in answer.top],
            }
            for answer in found
        ],
        "failures": [{"input": failure.name, "reason": failure.reason} for failure in found.failures],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def parity_table(found: Parity) -> Table:
    """How far ONNX Runtime's answers are from torch's, a row per kind of input and batch size."""
    rows = tuple(
        (
            Entry(f"{each.view}, batches of {each.batch_size}"),
            Entry(str(each.inputs)),
            Entry(f"{each.logit_difference:.1e}"),
            Entry(f"{each.agreeing} of {each.inputs}"),
        )
        for each in found.batches
    )
    return Table(
        "ONNX Runtime against torch",
        ("Inputs", "Number", "Largest difference of logits", "Same class"),
        rows,
        f"Allowed difference: {found.allowed:.1e}, which is {found.tolerance:g} of the largest logit.",
    )


def _stability(answer: Prediction, random: bool) -> str:
    if not random:
        return "same class" if answer.agreeing else "another class"
    return f"{percent(answer.stability, 0)} ({answer.agreeing} of {answer.draws})"


def _others(answer: Prediction) -> str:
    return ", ".join(f"{printable(name)} {percent(probability, 1)}" for name, probability in answer.top[1:])
