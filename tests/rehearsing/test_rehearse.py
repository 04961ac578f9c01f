"""What a rehearsal tells, against what the commands then do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

import noiseproof as npf
from noiseproof.errors import DataError, InvalidArgumentError, RecipeError, RunFolderError, UnknownNameError
from noiseproof.methods import METHODS
from noiseproof.rehearsing import rehearsal, rehearse
from noiseproof.rehearsing.timing import Span, Timing, evaluation_seconds, time_steps
from noiseproof.training import Recipe, load_recipe
from noiseproof.training.fitting import make_trainer
from noiseproof.training.trainer import Trainer
from tests.cli.problems import TINY, contents


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    recipe = load_recipe("tiny.yaml")
    Path("tiny.yaml").unlink()
    return recipe


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a step, half a second to validate, a quarter to checkpoint, ten seconds to evaluate."""
    monkeypatch.setattr(rehearsal, "time_steps", lambda _: Timing(Span(1.0, 0.5, 2.0), 7, 0.25, 0.5))
    monkeypatch.setattr(rehearsal, "evaluation_seconds", lambda *_: 10.0)


def test_nothing_is_written_and_the_generators_are_left_alone(tiny: Recipe) -> None:
    state = torch.random.get_rng_state()
    found = rehearse(tiny, ["normal", "discriminative"], [0, 1])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not list(Path().iterdir())
    assert [run.state for run in found.runs] == ["new"] * 4
    assert found.left.seconds > 0


def test_it_tells_what_a_training_has(tiny: Recipe) -> None:
    found = rehearse(tiny, overrides={"method": "mixed", "train.max_steps": None})
    run = npf.train(tiny, "mixed", overrides={"train.max_steps": None})
    (cost,) = found.costs.values()
    assert (found.title, found.runs[0].folder) == ("train tiny", run.folder)
    assert cost.steps == run.metrics()[-1]["step"]
    assert cost.parameters == sum(weight.numel() for weight in run.model().parameters())
    assert cost.views == METHODS["mixed"].views
    data = run.data()
    assert data.validation is not None
    sizes = {"training": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    assert found.samples == sizes


def test_the_steps_are_those_of_the_trainer(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = Trainer._step, []

    def step(self: Trainer, views: object) -> None:
        real(self, views)
        seen.append(self.step)

    monkeypatch.setattr(Trainer, "_step", step)
    found = rehearse(tiny, overrides={"train.max_steps": None, "method": "normal"})
    assert seen == list(range(1, len(seen) + 1))
    assert 4 <= found.steps_timed < len(seen)  # the first are a warm-up


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_training_of_few_steps_is_timed_too(tiny: Recipe, steps: int) -> None:
    found = rehearse(tiny, overrides={"train.max_steps": steps, "method": "normal"})
    assert found.costs["normal"].steps == steps
    assert 1 <= found.steps_timed <= steps
    assert 0 < found.left.low <= found.left.seconds <= found.left.high


def test_timed_steps_change_weights_as_training_does(tiny: Recipe) -> None:
    settled = tiny.for_run("mixed", 3)
    data = rehearsal._data(settled)
    trainer, _ = make_trainer(settled, data)
    assert len(list(trainer.timed_steps())) == 2
    run = npf.train(settled, out="run", overrides={"train.keep": "last"})
    trained = run.model().state_dict()
    for name, value in trainer.method.model.state_dict().items():
        assert torch.equal(value, trained[name]), name


def test_the_arithmetic(tiny: Recipe, quick: None) -> None:
    # 1,294 training samples less a tenth are 36 or 37 steps of 32; 3 epochs
    found = rehearse(tiny, ["normal"], [0, 1], {"train.epochs": 3, "train.max_steps": None})
    cost = found.costs["normal"]
    assert (cost.epochs, cost.steps % 3) == (3, 0)
    # every epoch validates, every one but the last is checkpointed
    assert cost.training.seconds == pytest.approx(cost.steps + 3 * 0.5 + 2 * 0.25)
    assert cost.training.low == pytest.approx(cost.training.seconds / 2)
    assert cost.training.high == pytest.approx(cost.training.seconds * 2)
    assert found.left.seconds == pytest.approx(2 * (cost.training.seconds + 10))


def test_what_is_done_is_not_counted(tiny: Recipe, quick: None) -> None:
    npf.compare(tiny, ["normal"], [0], out="out")
    npf.train(tiny, "normal", 1, out="out/normal/seed-1")
    before = contents(Path())
    found = rehearse(tiny, ["normal"], [0, 1, 2], out="out")
    assert contents(Path()) == before
    assert [run.state for run in found.runs] == ["done", "trained", "new"]
    cost = found.costs["normal"]
    assert found.left.seconds == pytest.approx(10 + cost.training.seconds + 10)
    again = rehearse(tiny, ["normal"], [0, 1, 2], out="out", overwrite=True)
    assert [(run.state, run.replaces) for run in again.runs] == [("new", True), ("new", True), ("new", False)]


def test_nothing_left_to_do_times_nothing(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    npf.compare(tiny, ["normal"], [0], out="out")
    monkeypatch.setattr(rehearsal, "time_steps", lambda _: pytest.fail("timed"))
    found = rehearse(tiny, ["normal"], [0], out="out")
    assert (found.costs, found.left.seconds, found.steps_timed) == ({}, 0, 0)


def test_other_draws_are_to_be_evaluated(tiny: Recipe, quick: None) -> None:
    npf.compare(tiny, ["normal"], [0], out="out")
    run = npf.Run("out/normal/seed-0")
    run.save_report(npf.evaluate(run.model(), run.data().test, ["clean"]))
    found = rehearse(tiny, ["normal"], [0], out="out")
    assert [run.state for run in found.runs] == ["trained"]
    assert found.left.seconds == pytest.approx(10)


def test_a_run_that_was_begun_goes_on(tiny: Recipe, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"train.max_steps": None, "train.epochs": 3, "method": "normal"}
    new = rehearse(tiny, overrides=many, out="run", resume=True)
    cost, epoch = new.costs["normal"], new.costs["normal"].steps // 3
    real = Trainer._step

    def until_the_second_epoch(self: Trainer, views: object) -> None:
        real(self, views)
        if self.step == epoch + 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_step", until_the_second_epoch)
    with pytest.raises(SystemExit):
        npf.train(tiny, overrides=many, out="run")
    begun = rehearse(tiny, overrides=many, out="run", resume=True)
    assert [(run.state, run.steps_done) for run in begun.runs] == [("begun", epoch)]
    assert begun.left.seconds == pytest.approx(cost.training.seconds * 2 / 3)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_is_taken(tiny: Recipe, resume: bool) -> None:
    npf.train(tiny, "normal", out="run")
    with pytest.raises(RunFolderError) as real:
        npf.train(tiny, "noisy", out="run", resume=resume)
    with pytest.raises(RunFolderError) as rehearsed:
        rehearse(tiny, overrides={"method": "noisy"}, out="run", resume=resume)
    assert str(rehearsed.value) == str(real.value)


def test_other_data_than_a_finished_run_has(tiny: Recipe) -> None:
    npf.compare(tiny, ["normal"], [0], out="out")
    recipe = Path("out/normal/seed-0/recipe.yaml")
    fingerprint = npf.Run("out/normal/seed-0").recipe.provenance["data_fingerprint"]
    recipe.write_text(recipe.read_text().replace(fingerprint, "0" * 64))
    with pytest.raises(RunFolderError, match="has changed"):
        rehearse(tiny, ["normal"], [0], out="out")


@pytest.mark.parametrize(
    ("overrides", "error", "named"),
    [
        ({"model.name": "mlp"}, InvalidArgumentError, "mlp"),
        ({"method": "nosy"}, UnknownNameError, "noisy"),
        ({"train.epochs": 0}, RecipeError, "train.epochs"),
        ({"data.source": "npz:nowhere.npz"}, DataError, "nowhere.npz"),
        ({"data.source": "cifar10:nowhere", "data.download": True}, DataError, "downloads nothing"),
    ],
)
def test_mistakes(tiny: Recipe, overrides: dict[str, object], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        rehearse(tiny, overrides=overrides)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(("methods", "seeds"), [([], [0]), (["normal"], [])])
def test_a_comparison_of_nothing(tiny: Recipe, methods: list[str], seeds: list[int]) -> None:
    with pytest.raises(InvalidArgumentError, match="at least one"):
        rehearse(tiny, methods, seeds)


class _Slow(torch.nn.Module):
    """Takes a millisecond a sample."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        import time

        time.sleep(1e-3 * len(x))
        return x.flatten(1)[:, :10]


def test_an_evaluation_is_estimated_from_few_samples() -> None:
    data = rehearsal.load_data(load_recipe("digits")).test
    estimate = evaluation_seconds(_Slow(), data, ["clean", "gaussian:0.1", "pgd:8/255"], 10)
    assert estimate == pytest.approx(1e-3 * 450 * (1 + 10), rel=0.5)


def test_time_is_taken_of_validation_where_there_is_any(tiny: Recipe) -> None:
    data = rehearsal._data(tiny)
    with_validation, _ = make_trainer(tiny.for_run("normal", 0), data)
    without = load_recipe(tiny, {"data.validation_fraction": 0, "train.keep": "last"})
    plain, _ = make_trainer(without.for_run("normal", 0), rehearsal._data(without))
    assert time_steps(with_validation).validation > 0
    assert time_steps(plain).validation == 0
