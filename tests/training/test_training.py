"""Training: the loop against a bare one, randomness, what is kept, and what stops it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import noiseproof as npf
from noiseproof import seeding
from noiseproof.data import load_splits
from noiseproof.data.augmentations import augmentation
from noiseproof.errors import NonFiniteLossError, RunFolderError
from noiseproof.methods import METHODS, Method, StepResult, Views, register
from noiseproof.models.files import load_model
from noiseproof.training import Run
from noiseproof.training.batches import TrainingBatches
from noiseproof.training.optimization import learning_rate_factor
from noiseproof.training.recipe import ScheduleSettings

SHORT = {"train.epochs": 2, "train.max_steps": 8, "model.options": {"width": 4}, "model.embedding_dim": 8}


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.model().state_dict()


def same(a: Run, b: Run) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_same_seed_gives_the_same_weights_whatever_ran_before(tmp_path: Path, method: str) -> None:
    first = npf.train("digits", method, 3, SHORT, tmp_path / "a")
    torch.randn(17)
    npf.train("digits", "normal", 5, SHORT, tmp_path / "b")
    again = npf.train("digits", method, 3, SHORT, tmp_path / "c")
    other = npf.train("digits", method, 4, SHORT, tmp_path / "d")
    assert same(first, again)
    assert not same(first, other)
    name = "model.safetensors"
    assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.randn(3)
    torch.manual_seed(11)
    npf.train("digits", "normal", 0, SHORT, tmp_path / "a")
    assert torch.equal(torch.randn(3), expected)


def test_the_loop_is_a_bare_loop(tmp_path: Path) -> None:
    """Normal training, written out with torch alone from the documented seeds, ends with the same weights."""
    run = npf.train("digits", "normal", 1, {**SHORT, "train.optimizer.lr": 0.05}, tmp_path / "a")
    recipe = run.recipe
    train = load_splits("digits", test_fraction=0.25).train
    with seeding.seeded(1, "initial weights"):
        mean, std = train.channel_statistics()
        model = npf.build_model("small-cnn", 10, 8, in_channels=1, mean=mean, std=std, width=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    crop = augmentation(recipe.data.augment)
    for step in range(8):
        order = torch.randperm(len(train), generator=seeding.generator(1, "order", 0))
        chosen = order[step * 64 : (step + 1) * 64]
        x = crop(train.inputs[chosen], seeding.generator(1, "augment", step))
        optimizer.param_groups[0]["lr"] = 0.05 * learning_rate_factor(step, recipe.train.schedule, 22, 8)
        optimizer.zero_grad()
        F.cross_entropy(model(x), train.labels[chosen]).backward()
        optimizer.step()
    for name, value in weights(run).items():
        torch.testing.assert_close(value, model.state_dict()[name], msg=name)


def test_run_folder_holds_what_is_needed_to_run_it_again(tmp_path: Path) -> None:
    run = npf.train("digits", "stability", 2, SHORT, tmp_path / "a")
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"recipe.yaml", "metrics.jsonl", "model.safetensors"}
    provenance = run.recipe.provenance
    assert provenance["versions"]["torch"] == torch.__version__.split("+")[0]
    assert provenance["data_fingerprint"] == run.data().fingerprint()
    again = npf.train(run.folder / "recipe.yaml", out=tmp_path / "b")
    assert same(run, again)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.metrics()
    assert {"epoch", "step", "lr", "softmax", "stability", "loss", "accuracy", "seconds"} <= set(lines[-1])


def test_model_file_alone_rebuilds_the_model(tmp_path: Path) -> None:
    run = npf.train("digits", "normal", 0, SHORT, tmp_path / "a")
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(load_model(run.folder / "model.safetensors")(x), run.model()(x))


def test_taken_folders_are_refused(tmp_path: Path) -> None:
    run = npf.train("digits", "normal", 0, SHORT, tmp_path / "a")
    with pytest.raises(RunFolderError, match="already holds a run"):
        npf.train("digits", "normal", 0, SHORT, run.folder)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(RunFolderError, match="files that are no run"):
            npf.train("digits", "normal", 0, SHORT, tmp_path / "b", overwrite=overwrite)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "precious"
    assert same(npf.train("digits", "normal", 0, SHORT, run.folder, overwrite=True), run)


def test_unfinished_run_is_no_run(tmp_path: Path) -> None:
    run = npf.train("digits", "normal", 0, SHORT, tmp_path / "a")
    (run.folder / "model.safetensors").unlink()
    with pytest.raises(RunFolderError, match="did not finish"):
        Run(run.folder)


@pytest.mark.parametrize(("keep", "part"), [("best-validation", "validation"), ("best-test", "test")])
def test_best_weights_are_those_of_the_best_epoch(tmp_path: Path, keep: str, part: str) -> None:
    overrides = {
        **SHORT, "train.epochs": 6, "train.max_steps": None, "data.validation_fraction": 0.2, "train.keep": keep,
        "train.optimizer.lr": 0.3,
    }  # fmt: skip
    run = npf.train("digits", "normal", 0, overrides, tmp_path / "a")
    accuracies = [metrics[f"{part}_accuracy"] for metrics in run.metrics()]
    assert npf.evaluate(run.model(), getattr(run.data(), part))["clean"].mean == max(accuracies)


def test_own_view_draws_another_augmentation_and_same_view_only_adds_noise() -> None:
    data = load_splits("digits").train
    common = {
        "batch_size": 32, "seed": 0, "augment": augmentation("crop:padding=2"),
        "noise": npf.perturbation("gaussian:0"), "wanted": ("clean", "noisy"),
    }  # fmt: skip
    shared = next(TrainingBatches(data, own_view=False, **common).epoch(0))
    own = next(TrainingBatches(data, own_view=True, **common).epoch(0))
    assert torch.equal(shared.clean, shared.noisy)
    assert torch.equal(own.clean, shared.clean)
    assert not torch.equal(own.clean, own.noisy)


def test_every_sample_comes_once_an_epoch_and_orders_differ() -> None:
    data = load_splits("digits").train
    batches = TrainingBatches(
        data, batch_size=50, seed=0, augment=augmentation("none"), noise=npf.perturbation("clean"), own_view=False,
        wanted=("clean",),
    )  # fmt: skip
    epochs = [torch.cat([views.clean for views in batches.epoch(epoch)]) for epoch in (0, 1)]
    assert len(list(batches.epoch(0))) == batches.steps_per_epoch
    assert not torch.equal(epochs[0], epochs[1])
    for epoch in epochs:
        assert torch.equal(epoch.flatten(1).sum(1).sort().values, data.inputs.flatten(1).sum(1).sort().values)


@pytest.mark.parametrize(("samples", "steps"), [(64, 1), (65, 1), (66, 2), (128, 2), (1, 1), (10, 1)])
def test_a_last_batch_of_one_sample_is_left_out(samples: int, steps: int) -> None:
    assert TrainingBatches.count(samples, 64) == steps


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_part_epoch_and_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))

    @register
    class Breaks(Method):
        name, title, views = "breaks", "Breaks", ("clean",)
        calls = 0

        def forward(self, views: Views) -> StepResult:
            logits = self.model(views.clean)
            softmax = F.cross_entropy(logits, views.labels)
            self.calls += 1
            extra = logits.sum() * 0 + (bad if self.calls == 25 else 0.0)
            return StepResult(softmax + extra, {"softmax": softmax, "extra": extra}, logits, views.labels)

    with pytest.raises(NonFiniteLossError) as error:
        npf.train("digits", "breaks", 0, {**SHORT, "train.epochs": 9, "train.max_steps": 60}, tmp_path / "a")
    assert (error.value.part, error.value.epoch, error.value.step) == ("extra", 2, 3)
    assert not (tmp_path / "a" / "model.safetensors").exists()
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1, 1, 1]),
        ({"name": "multistep", "milestones": (1, 2), "factor": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"name": "cosine"}, [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873]),
        ({"name": "constant", "warmup": 0.5}, [0.25, 0.5, 0.75, 1, 1, 1]),
    ],
)
def test_schedules(settings: dict[str, Any], expected: list[float]) -> None:
    schedule = ScheduleSettings(**settings)
    assert [learning_rate_factor(step, schedule, 2, 6) for step in range(6)] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_optimisers_and_precisions_train(tmp_path: Path, name: str, precision: str) -> None:
    overrides = {**SHORT, "train.optimizer.name": name, "train.precision": precision, "train.clip_grad_norm": 1.0}
    run = npf.train("digits", "discriminative", 0, overrides, tmp_path / "a")
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(run).values())
    assert run.metrics()[-1]["loss"] > 0


def test_any_torch_module_can_be_trained_by_hand_with_the_loss() -> None:
    """The loss in a plain loop: three lines more than without it."""
    data = load_splits("digits").train
    model = npf.build_model("mlp", 10, 16, in_channels=64)
    loss_fn = npf.DiscriminativeLoss(10, 16)
    noise = npf.perturbation("gaussian:0.1")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = data.inputs.flatten(1)[:256], data.labels[:256]
    losses = []
    for step in range(30):
        embeddings, noisy = model.embed(x), model.embed(noise(x, step))
        terms = loss_fn(embeddings, y, model.head, noisy_embeddings=noisy)
        loss = nn.functional.cross_entropy(model.head(embeddings), y) + terms.total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_overrides_reach_the_run(tmp_path: Path) -> None:
    run = npf.train("digits", "mixed", 0, {**SHORT, "methods.mixed.passes": "split"}, tmp_path / "a")
    assert run.recipe.options("mixed").model_dump() == {"passes": "split"}
    assert run.recipe == npf.Run(run.folder).recipe


def test_the_centroids_of_a_run_are_kept_beside_its_model(tmp_path: Path) -> None:
    run = npf.train("digits", "discriminative", 0, SHORT, tmp_path / "a")
    centroids = run.centroids()
    assert centroids is not None
    assert centroids.shape == (10, 8)
    assert bool(centroids.any(1).all())
    assert npf.train("digits", "normal", 0, SHORT, tmp_path / "b").centroids() is None
    assert not (tmp_path / "b" / "method.safetensors").exists()


def test_what_was_measured_goes_with_the_weights(tmp_path: Path) -> None:
    run = npf.train("digits", "normal", 0, SHORT, tmp_path / "a")
    for name in ("evaluation", "certification", "analysis"):
        (run.folder / name).mkdir()
        (run.folder / name / "x.json").write_text("{}")
    npf.train("digits", "normal", 1, SHORT, tmp_path / "a", overwrite=True)
    assert not any((run.folder / name).exists() for name in ("evaluation", "certification", "analysis"))
