"""Numbers that are not finite, too large, constant, missing or of a wrong kind: a clear error or the right result."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import noiseproof as npf
import noiseproof.data
from noiseproof import functional
from noiseproof.data import load_splits
from noiseproof.errors import (
    DataError,
    InvalidArgumentError,
    NoiseproofError,
    NonFiniteLossError,
    NonFiniteWeightsError,
)
from noiseproof.evaluation import RobustnessReport
from noiseproof.methods import METHODS, Method, StepResult, Views, register
from noiseproof.perturbations.base import PERTURBATIONS
from noiseproof.training import trainer as trainer_module
from noiseproof.training.checkpoint import load_checkpoint
from noiseproof.training.engine import make_accelerator
from noiseproof.training.trainer import Trainer

SHORT: dict[str, Any] = {"train.epochs": 2, "train.max_steps": 4, "model.options": {"width": 2}, "train.keep": "last",
                         "model.embedding_dim": 4, "data.augment": "none"}  # fmt: skip
STEPS_PER_EPOCH = 22  # of the digits, with a quarter held out, in batches of 64
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 is scaled on CUDA only")


def finite(value: Any) -> bool:
    """Whether every floating number in nested dicts, lists and tensors is finite."""
    if isinstance(value, Tensor):
        return bool(value.isfinite().all()) if value.is_floating_point() else True
    if isinstance(value, dict):
        return all(finite(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(finite(inner) for inner in value)
    return math.isfinite(value) if isinstance(value, float) else True


# A loss that is not finite ------------------------------------------------------------------------------------------


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Register the method ``breaks``, which is normal training but for one step (counted from 1)."""
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))

    def make(at: int, how: str) -> None:
        @register
        class Breaks(Method):
            name, title, views = "breaks", "Breaks", ("clean",)

            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                self.register_buffer("calls", torch.zeros((), dtype=torch.long))  # part of a checkpoint

            def forward(self, views: Views) -> StepResult:
                assert views.clean is not None
                logits = self.model(views.clean)
                softmax = F.cross_entropy(logits, views.labels)
                self.calls += 1
                extra = 0 * logits.sum()
                if int(self.calls) == at:
                    # sqrt(0) is finite and its gradient is not: 0 · ∞
                    extra = extra.square().sqrt() if how == "gradient" else extra + float(how)
                return StepResult(softmax + extra, {"softmax": softmax, "extra": extra}, logits, views.labels)

    return make


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_stops_and_the_last_good_checkpoint_stays(
    tmp_path: Path, breaks: Callable[[int, str], None], bad: str
) -> None:
    breaks(2 * STEPS_PER_EPOCH + 3, bad)
    changes = {**SHORT, "train.epochs": 4, "train.max_steps": None}
    with pytest.raises(NonFiniteLossError) as error:
        npf.train("digits", "breaks", 0, changes, tmp_path / "run")
    assert (error.value.part, error.value.epoch, error.value.step) == ("extra", 3, 3)
    assert str(error.value) == (
        f"the loss part 'extra' became {float(bad)} in epoch 3, step 3; try a smaller train.optimizer.lr or set "
        "train.clip_grad_norm"
    )
    state = load_checkpoint(tmp_path / "run")
    assert state is not None
    assert state["step"] == 2 * STEPS_PER_EPOCH
    assert finite({name: part for name, part in state.items() if name != "monitor"})
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(NonFiniteLossError, match="epoch 3, step 3"):
        npf.train("digits", "breaks", 0, changes, tmp_path / "run", resume=True)


def test_a_gradient_that_is_not_finite_in_the_last_step_leaves_no_finished_run(
    tmp_path: Path, breaks: Callable[[int, str], None]
) -> None:
    """The loss of the last step is finite, the weights after it are not: they must not be kept as a result."""
    breaks(4, "gradient")
    with pytest.raises(NonFiniteWeightsError, match="after step 4, in epoch 1"):
        npf.train("digits", "breaks", 0, SHORT, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_gradient_that_is_not_finite_at_the_end_of_an_epoch_is_in_no_checkpoint(
    tmp_path: Path, breaks: Callable[[int, str], None]
) -> None:
    breaks(2 * STEPS_PER_EPOCH, "gradient")
    with pytest.raises(NonFiniteWeightsError, match=f"after step {2 * STEPS_PER_EPOCH}, in epoch 2"):
        npf.train("digits", "breaks", 0, {**SHORT, "train.epochs": 4, "train.max_steps": None}, tmp_path / "run")
    state = load_checkpoint(tmp_path / "run")
    assert state is not None
    assert finite(state["method"])


def test_a_gradient_that_is_not_finite_within_an_epoch_stops_at_the_next_step(
    tmp_path: Path, breaks: Callable[[int, str], None]
) -> None:
    breaks(STEPS_PER_EPOCH + 2, "gradient")
    with pytest.raises(NonFiniteLossError, match="epoch 2, step 3"):
        npf.train("digits", "breaks", 0, {**SHORT, "train.epochs": 4, "train.max_steps": None}, tmp_path / "run")
    state = load_checkpoint(tmp_path / "run")
    assert state is not None
    assert finite(state["method"])


def test_one_batch_that_is_not_finite_does_not_stay_in_the_stored_centroids() -> None:
    """A loop of one's own with a gradient scaler leaves such a step out and goes on; so must the loss."""
    loss_fn, head = npf.DiscriminativeLoss(3, 4), nn.Linear(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    loss_fn(torch.rand(4, 4), labels, head)
    loss_fn(torch.tensor([[math.inf] * 4, [math.nan] * 4, [1.0] * 4, [1.0] * 4]), labels, head)
    assert bool(loss_fn(torch.rand(4, 4), labels, head).total.isfinite())


# float16 ------------------------------------------------------------------------------------------------------------


def test_float16_on_a_cpu_trains_without_a_scaler(tmp_path: Path) -> None:
    run = npf.train("digits", "discriminative", 0, {**SHORT, "train.precision": "fp16"}, tmp_path / "run")
    assert finite(dict(run.model().state_dict()))
    assert all(tensor.dtype != torch.float16 for tensor in run.model().state_dict().values())


def with_scaler(monkeypatch: pytest.MonkeyPatch, first: float) -> None:
    """Have trainers scale their loss on the CPU as Accelerate has them do on CUDA."""

    def make(*arguments: Any) -> Accelerator:
        accelerator = make_accelerator(*arguments)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=first)
        return accelerator

    monkeypatch.setattr(trainer_module, "make_accelerator", make)


@pytest.mark.filterwarnings("ignore")  # of a step that was left out: see the next test
@pytest.mark.parametrize(
    ("method", "weight"),
    [("stability", "methods.stability.weight"), ("discriminative", "methods.discriminative.beta")],
)
def test_gradients_that_overflow_are_left_out_until_the_scale_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, weight: str
) -> None:
    """On the CPU in float32, whose largest number is 2^128, a first scale of 2^127 overflows as 2^16 does on CUDA."""
    seen: list[float] = []
    with_scaler(monkeypatch, 2.0**127)
    step = Trainer._step

    def watched(self: Trainer, views: Views) -> None:
        step(self, views)
        seen.append(self.accelerator.scaler.get_scale())
        assert finite(dict(self.method.state_dict()))

    monkeypatch.setattr(Trainer, "_step", watched)
    changes = {**SHORT, "train.max_steps": 22, weight: 1e4, "train.optimizer.lr": 1e-7}
    run = npf.train("digits", method, 0, changes, tmp_path / "run")
    assert seen[0] == 2.0**126
    assert seen[-1] == seen[-2] > 1
    assert finite(run.metrics()[-1])
    weights = dict(run.model().state_dict())
    assert finite(weights)


def test_a_first_step_that_is_left_out_is_not_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With float16 the first scale is often too large; nothing is wrong then, and nothing is to be said."""
    with_scaler(monkeypatch, 2.0**127)
    changes = {**SHORT, "methods.stability.weight": 1e4, "train.optimizer.lr": 1e-7}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        npf.train("digits", "stability", 0, changes, tmp_path / "run")
    assert [str(warning.message) for warning in told] == []


def test_the_scale_is_part_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_scaler(monkeypatch, 2.0**127)
    npf.train("digits", "normal", 0, {**SHORT, "train.max_steps": STEPS_PER_EPOCH + 1}, tmp_path / "run")
    splits = load_splits("digits", test_fraction=0.25)
    recipe = npf.Run(tmp_path / "run").recipe
    made = [
        Trainer(METHODS["normal"](npf.Run(tmp_path / "run").model(), recipe.options("normal")), splits, recipe)
        for _ in range(2)
    ]
    made[0].accelerator.scaler.scale(torch.ones(1))  # a scaler is made in full where it is first used
    made[0].accelerator.scaler.update(2.0**9)
    made[1].load_state_dict(made[0].state_dict())
    assert made[1].accelerator.scaler.get_scale() == 2.0**9


@needs_cuda
def test_float16_on_cuda_recovers_from_gradients_that_overflow(tmp_path: Path) -> None:
    changes = {**SHORT, "train.precision": "fp16", "train.max_steps": 20, "methods.discriminative.beta": 1e4}
    run = npf.train("digits", "discriminative", 0, changes, tmp_path / "run")
    assert finite(dict(run.model().state_dict()))
    assert finite(run.metrics()[-1])


# Features and data that do not vary ---------------------------------------------------------------------------------


@pytest.mark.parametrize("centroids", ["naive", "momentum", "partial"])
@pytest.mark.parametrize("value", [0.0, 1.0, -1e6, 1e-30])
def test_features_that_do_not_vary_give_a_finite_loss_and_gradient(centroids: Any, value: float) -> None:
    loss_fn, head = npf.DiscriminativeLoss(3, 4, centroids=centroids), nn.Linear(4, 3)
    embeddings = torch.full((6, 4), value, requires_grad=True)
    for _ in range(2):
        terms = loss_fn(embeddings, torch.tensor([0, 1, 2] * 2), head, embeddings * 1)
        assert terms.compactness.item() == terms.alignment.item() == 0
        (gradient,) = torch.autograd.grad(terms.total, [embeddings])
        assert finite([*terms, gradient])


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("shape", [(40, 3, 8, 8), (40, 5)], ids=["images", "vectors"])
def test_data_that_does_not_vary_trains_to_chance(tmp_path: Path, method: str, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "x.npz", x=np.full(shape, 0.5, np.float32), y=np.arange(40) % 2)
    network = {"model.name": "small-cnn"} if len(shape) == 4 else {"model.name": "mlp", "model.options": {}}
    changes = {**SHORT, **network, "data.source": f"npz:{tmp_path / 'x.npz'}", "train.batch_size": 8}
    run = npf.train("digits", method, 0, changes, tmp_path / "run")
    assert finite(dict(run.model().state_dict()))
    assert npf.evaluate(run.model(), run.data().test)["clean"].mean == 0.5


def test_a_perturbation_of_data_that_does_not_vary_is_finite() -> None:
    for spec in ON_IMAGES:
        for value in (0.0, 0.5, 1.0):
            assert finite(npf.perturbation(spec)(torch.full((2, 3, 8, 8), value), 0)), spec


# Classes ------------------------------------------------------------------------------------------------------------


def archive(path: Path, labels: list[int], names: list[str] | None = None) -> dict[str, Any]:
    random = np.random.default_rng(0)
    more = {} if names is None else {"class_names": np.array(names)}
    np.savez(path, x=random.random((len(labels), 5)), y=np.array(labels), **more)
    return {**SHORT, "model.name": "mlp", "model.options": {}, "data.source": f"npz:{path}", "train.batch_size": 8}


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 2] * 20, None, "no training sample has the class 1"),
        ([1, 2] * 20, None, "no training sample has the class 0; labels count from 0"),
        ([0, 1] * 20, ["cat", "dog", "cow", "yak"], "no training sample has the class cow, yak"),
        ([0] * 40, None, "has 1 class; at least 2 are needed"),
        ([0] * 40, ["cat", "dog"], "no training sample has the class dog"),
    ],
)
def test_a_class_without_a_training_sample_is_refused_before_anything_is_written(
    tmp_path: Path, labels: list[int], names: list[str] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        npf.train("digits", "normal", 0, archive(tmp_path / "x.npz", labels, names), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_that_the_test_samples_lack_has_no_accuracy_and_the_report_can_be_saved(tmp_path: Path) -> None:
    inputs = torch.rand(4, 3)
    data = npf.data.ArrayDataset(inputs, torch.tensor([0, 0, 2, 2]), ["cat", "dog", "cow"])
    report = npf.evaluate(nn.Linear(3, 3), data)
    report.save(tmp_path)
    assert np.isnan(report.per_class("clean")).tolist() == [False, True, False]
    assert json.loads((tmp_path / "report.json").read_text())["perturbations"][0]["per_class"][1] is None
    assert RobustnessReport.load(tmp_path) == report


def test_a_class_that_is_first_seen_late_has_a_centroid_from_then_on() -> None:
    loss_fn, head = npf.DiscriminativeLoss(3, 4), nn.Linear(4, 3)
    for _ in range(3):
        assert bool(loss_fn(torch.rand(4, 4), torch.tensor([0, 1, 0, 1]), head).total.isfinite())
    assert loss_fn.initialised.tolist() == [True, True, False]
    late = torch.rand(1, 4)
    loss_fn(late, torch.tensor([2]), head)
    assert torch.equal(loss_fn.centroids[2], late[0])


# A batch of one sample ----------------------------------------------------------------------------------------------

ON_IMAGES = (
    "brightness:0.1", "clean", "contrast:0.5", "corruption:kind=gaussian-noise,severity=3", "dead-channels",
    "downup:0.5", "fog:0.5", "gain:0.1", "gaussian:0.1", "gaussian-blur:1", "gaussian-varying:0.1",
    "impulse:0.1", "jpeg:50", "laplace:0.1", "missing:0.1", "motion-blur:radius=3,std=1",
    "occlusion:n=2,size=2", "offset:0.1", "pixelate:0.5", "quantization:0.1", "salt-and-pepper:0.1", "shot:60",
    "speckle:0.1", "spikes:0.1,size=1", "stripes:n=2,width=2", "uniform:0.1",
)  # fmt: skip
ON_SERIES = (
    "clean", "clipping:0.5", "dead-channels", "drift:0.5", "gain:0.1", "gap:0.3", "gaussian:0.1",
    "gaussian-varying:0.1", "hum:0.5,period=4", "laplace:0.1", "missing:0.1", "offset:0.1", "quantization:0.1",
    "speckle:0.1", "spikes:0.1,size=1", "stuck", "time-shift:2", "uniform:0.1",
)  # fmt: skip


@pytest.mark.parametrize(("kind", "specs"), [("images", ON_IMAGES), ("series", ON_SERIES)])
def test_the_lists_above_have_every_perturbation(kind: Any, specs: tuple[str, ...]) -> None:
    known = sorted(name for name in PERTURBATIONS if kind in PERTURBATIONS[name].takes)
    assert sorted(spec.partition(":")[0] for spec in specs) == known


def test_one_sample_can_be_perturbed_measured_certified_and_explained(tmp_path: Path) -> None:
    model = npf.build_model("small-cnn", 3, 4, width=2)
    one = (torch.rand(1, 3, 8, 8), torch.tensor([1]))
    report = npf.evaluate(model, one, [*ON_IMAGES, "pgd:0.1"], draws=2, batch_size=1)
    report.save(tmp_path)
    assert RobustnessReport.load(tmp_path) == report
    assert len(npf.certify(model, one, 0.1, 4, 8).labels) == 1
    assert finite(torch.from_numpy(npf.input_curvature(model, one, probes=2).values))


def test_one_series_can_be_perturbed_and_measured() -> None:
    model = npf.build_model("series-cnn", 3, 4, in_channels=2, width=2)
    report = npf.evaluate(model, (torch.randn(1, 2, 9), torch.tensor([1])), ON_SERIES, draws=2, batch_size=1)
    assert list(report) == list(ON_SERIES)


@pytest.mark.parametrize("centroids", ["naive", "momentum", "partial"])
def test_a_batch_of_one_sample_gives_a_finite_loss_and_gradient(centroids: Any) -> None:
    loss_fn, head = npf.DiscriminativeLoss(3, 4, centroids=centroids), nn.Linear(4, 3)
    embeddings = torch.rand(1, 4, requires_grad=True)
    terms = loss_fn(embeddings, torch.tensor([1]), head, torch.rand(1, 4))
    assert terms.compactness.item() == 0  # the sample is its class's centroid
    assert finite([*terms, *torch.autograd.grad(terms.total, [embeddings, head.weight])])


def test_training_on_one_sample_of_each_class_is_possible(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=random.random((2, 5)), y=[0, 1], x_test=random.random((2, 5)), y_test=[0, 1])
    changes = {**SHORT, "model.name": "mlp", "model.options": {}, "data.source": f"npz:{tmp_path / 'x.npz'}"}
    assert finite(dict(npf.train("digits", "discriminative", 0, changes, tmp_path / "run").model().state_dict()))


# Labels and pixels of the wrong kind --------------------------------------------------------------------------------

IMAGES, LABELS = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2] * 2)


class Answers(nn.Module):
    """A classifier of three classes that looks at the first three pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3]


@pytest.mark.parametrize("measure", ["evaluate", "certify", "curvature"])
@pytest.mark.parametrize("own", [False, True], ids=["tensors", "data set"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.float(), "labels must be"),
        (F.one_hot(LABELS), r"one integer each|one-hot rows into indices with \.argmax"),
        (LABELS + 1, r"the label 3, but the model knows the classes 0 to 2"),
        (LABELS - 1, r"label -1|got -1"),
    ],
    ids=["float", "one-hot", "one-based", "negative"],
)
def test_wrong_labels_are_told_whatever_is_measured(measure: str, own: bool, labels: Tensor, message: str) -> None:
    data: Any = TensorDataset(IMAGES, labels) if own else (IMAGES, labels)
    with pytest.raises(NoiseproofError, match=message) as caught:
        measured(measure, data)
    assert "\n" not in str(caught.value)


def measured(measure: str, data: Any) -> object:
    if measure == "evaluate":
        return npf.evaluate(Answers(), data)
    if measure == "certify":
        return npf.certify(Answers(), data, 0.1, 4, 8)
    return npf.input_curvature(Answers(), data, probes=2)


def with_nan(images: Tensor) -> Tensor:
    broken = images.clone()
    broken[3, 0, 2, 2] = math.nan
    return broken


@pytest.mark.parametrize("measure", ["evaluate", "certify", "curvature"])
@pytest.mark.parametrize("own", [False, True], ids=["tensors", "data set"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES * 255, r"images must have values in \[0, 1\], got values from .* divide by 255"),
        (with_nan(IMAGES), r"NaN or infinite values|from nan to nan"),
        (IMAGES - 0.5, r"images must have values in \[0, 1\], got values from -0\.\d+ to 0\.\d+"),
        (IMAGES / 0, r"NaN or infinite values|to inf"),
    ],
    ids=["0 to 255", "NaN", "centred", "infinite"],
)
def test_wrong_pixels_are_told_whatever_is_measured(measure: str, own: bool, images: Tensor, message: str) -> None:
    data: Any = TensorDataset(images, LABELS) if own else (images, LABELS)
    with pytest.raises(NoiseproofError, match=message):
        measured(measure, data)


@pytest.mark.parametrize("spec", ON_IMAGES)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES * 255, "divide by 255"),
        ((IMAGES * 255).byte(), "divide by 255"),
        (with_nan(IMAGES), "from nan to nan"),
        (IMAGES.long(), "takes a floating batch"),
    ],
    ids=["0 to 255", "bytes", "NaN", "integers"],
)
def test_no_perturbation_takes_wrong_pixels(spec: str, images: Tensor, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        npf.perturbation(spec)(images, 0)


def test_bytes_are_measured_as_what_they_are_divided_by_255() -> None:
    images = (IMAGES * 255).byte()
    specs = ["clean", "gaussian:0.1"]
    expected = npf.evaluate(Answers(), (images.float() / 255, LABELS), specs)
    assert npf.evaluate(Answers(), (images, LABELS), specs) == expected
    assert npf.evaluate(Answers(), TensorDataset(images, LABELS), specs)["clean"].mean == expected["clean"].mean


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0.0, 1.0]), "must be integers"),
        (torch.eye(2).long(), r"argmax"),
        (torch.tensor([1, 2]), r"must lie in \[0, 2\), got 2"),
        (torch.tensor([True, False]), "must be integers"),
    ],
    ids=["float", "one-hot", "one-based", "bool"],
)
def test_the_terms_as_functions_refuse_wrong_labels(labels: Tensor, message: str) -> None:
    points, weight = torch.rand(2, 3), torch.rand(2, 3)
    with pytest.raises(InvalidArgumentError, match=message):
        functional.compactness(points, labels, weight, 0.5)
    with pytest.raises(InvalidArgumentError, match=message):
        functional.signed_distances(points, labels, weight, None)
    with pytest.raises(InvalidArgumentError, match=message):
        npf.geometry.class_dispersion(points, labels, 2)
