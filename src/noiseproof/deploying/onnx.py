"""A model as an ONNX file, which is checked against the model before it gets its name."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import noiseproof
from noiseproof.checks import check_range
from noiseproof.deploying.parity import (
    Parity,
    check_onnx,
    checked_inputs,
    first_line,
    plain_copy,
    reference_logits,
    require_packages,
)
from noiseproof.errors import ExportError, InvalidArgumentError
from noiseproof.files import write_atomically
from noiseproof.perturbations import Perturbation, perturbation

__all__ = ["OnnxExport", "export_onnx"]

_LARGEST = 2**31 - 2**20  # bytes; protobuf holds less than 2 GiB
_KINDS = {1: "vectors", 2: "series", 3: "images"}


@dataclass(frozen=True)
class OnnxExport:
    """A file that answers as the model does.

    Attributes:
        path: the file.
        size: in bytes.
        sha256: of the file, as hexadecimal.
        opset: the version of ONNX's operators that it uses.
        parity: how far its answers are from the model's.
    """

    path: Path
    size: int
    sha256: str
    opset: int
    parity: Parity


def export_onnx(
    model: nn.Module,
    path: str | Path,
    inputs: Tensor,
    *,
    class_names: Sequence[str] | None = None,
    noise: str | Perturbation | None = None,
    metadata: Mapping[str, str] | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> OnnxExport:
    """Write a classifier as an ONNX file and prove on real inputs that it answers as the model does.

    The file takes ``input``, float32 as the model takes it (images (N, C, H, W) in [0, 1]; normalisation is inside),
    with N ≥ 1 free, and gives ``logits`` and ``probabilities``, (N, classes) each. Its metadata holds, below
    ``noiseproof.``: ``version``, ``class_names`` and ``input`` as JSON, and what ``metadata`` adds. It holds no paths
    of the machine that made it. Until it is found to agree, by :func:`check_onnx`, nothing has the name ``path``.

    Args:
        model: maps (N, …) to (N, C) logits; it stays as it is.
        path: the file to write, in place of one that is there; its folder is made.
        inputs: (N, …) real inputs, N ≥ 1, on which the file is checked.
        class_names: one per class; None to number them.
        noise: a perturbation under which it is checked too; None for clean inputs alone.
        metadata: more of it, by key.
        tolerance: see :func:`check_onnx`.
        seed: of the noise.

    Raises:
        ExportError: the exporter cannot translate the model, or the file does not agree with it.
        InvalidArgumentError: a package is missing, inputs that the model cannot take, or names for other classes.
    """
    require_packages()
    check_range("tolerance", tolerance, 0, 1, open_low=True)
    if noise is not None:
        perturbation(noise)  # a mistake in it is told before the work is done
    path, example = Path(path), checked_inputs(inputs)
    reference = plain_copy(model)
    classes = reference_logits(reference, example[:1]).shape[1]
    names = [str(number) for number in range(classes)] if class_names is None else list(class_names)
    if len(names) != classes:
        raise InvalidArgumentError(f"class_names has {len(names)} names, but the model {classes} classes")
    content, opset = _translated(reference, example, names, metadata or {})
    found: list[Parity] = []

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        found.append(check_onnx(temporary, reference, example, noise=noise, tolerance=tolerance, seed=seed))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)
    return OnnxExport(path, len(content), hashlib.sha256(content).hexdigest(), opset, found[0])


def _translated(
    model: nn.Module, example: Tensor, class_names: Sequence[str], metadata: Mapping[str, str]
) -> tuple[bytes, int]:
    """The model as the bytes of an ONNX file, and its opset."""
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size > _LARGEST:
        raise ExportError(f"the model has {size / 2**30:.1f} GiB of weights; an ONNX file can hold less than 2 GiB")
    proto = _program(model, torch.cat([example, example])[:2])  # a batch of one would be taken for a fixed size
    for part in (proto.graph, *proto.functions):
        _without_traces(part)
    _describe(proto, tuple(example.shape[1:]), class_names, metadata)
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    return proto.SerializeToString(deterministic=True), int(opset)


def _program(model: nn.Module, example: Tensor) -> Any:
    """What torch's exporter makes of the model, for a batch of any size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's remarks on its own insides; the check decides
            program = torch.onnx.export(
                _Answering(model).eval(),
                (example,),
                dynamo=True,
                input_names=["input"],
                output_names=["logits", "probabilities"],
                dynamic_shapes={"input": {0: torch.export.Dim("batch", min=1)}},
                verbose=False,
            )
        if program is None:
            raise ExportError("it gave no program")
        return program.model_proto
    except Exception as error:  # the exporter's own errors wrap whatever any operator may raise
        raise ExportError(f"torch cannot export the model to ONNX: {first_line(_root(error))}") from error


def _describe(proto: Any, shape: tuple[int, ...], class_names: Sequence[str], metadata: Mapping[str, str]) -> None:
    """Write into the file what it is and takes."""
    import onnx

    kind = _KINDS.get(len(shape), "inputs")
    described = {
        "name": "input",
        "kind": kind,
        "shape": ["batch", *shape],
        "dtype": "float32",
        "range": [0, 1] if kind == "images" else None,
        "normalised_inside": True,
    }
    proto.graph.name = "noiseproof"
    proto.graph.input[0].doc_string = (
        "images in [0, 1], not normalised"
        if kind == "images"
        else f"{kind} in the units and scale of the training data"
    )
    proto.doc_string = f"A classifier of {kind} in {len(class_names)} classes, exported by noiseproof."
    onnx.helper.set_model_props(
        proto,
        {
            "noiseproof.version": noiseproof.__version__,
            "noiseproof.class_names": json.dumps(list(class_names), ensure_ascii=False),
            "noiseproof.input": json.dumps(described),
            **{f"noiseproof.{key}": value for key, value in metadata.items()},
        },
    )


class _Answering(nn.Module):
    """A classifier that gives logits and probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(input)
        return logits, logits.softmax(1)


def _without_traces(graph: Any) -> None:
    """Remove what the exporter notes of every operator: among it, the paths and lines of the code it came from."""
    for holder in (graph, *graph.node, *graph.value_info, *getattr(graph, "input", ()), *getattr(graph, "output", ())):
        if hasattr(holder, "metadata_props"):
            del holder.metadata_props[:]
    for node in graph.node:
        node.ClearField("doc_string")
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _without_traces(inner)


def _root(error: BaseException) -> BaseException:
    """What an error was raised from in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
