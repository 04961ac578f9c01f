"""What `evaluate` measures, and that nothing else than it says changes the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import noiseproof as npf
from noiseproof import errors
from noiseproof.data import ArrayDataset
from noiseproof.errors import UnknownNameError
from noiseproof.evaluation import RobustnessReport
from noiseproof.perturbations import perturbation
from tests.evaluation.problems import Linear, Recorder, correct_by_loops, samples

NAMES = ("a", "b", "c")
SPECS = ("clean", "gaussian:0.4", "uniform:0.5", "gaussian:0.2+uniform:0.3")


def results(report: RobustnessReport) -> dict[str, list[list[bool]]]:
    return {key: result.correct.tolist() for key, result in report.items()}


@pytest.mark.parametrize("shape", [(16,), (1, 4, 4), (2, 8)], ids=["vectors", "images", "series"])
@pytest.mark.parametrize("spec", ["gaussian:0.4", "uniform:0.5"])
def test_agrees_with_explicit_loops(shape: tuple[int, ...], spec: str) -> None:
    inputs, labels = samples(150, *shape)
    model = Linear(16)
    result = npf.evaluate(model, (inputs, labels), [spec], draws=3, seed=5)[spec]
    expected = correct_by_loops(model, inputs, labels, spec, draws=3, seed=5)
    assert result.correct.tolist() == expected.tolist()
    assert result.mean == pytest.approx(expected.mean())
    assert result.std == pytest.approx(expected.mean(1).std(ddof=1))
    assert 0.2 < result.mean < 0.99  # the problem is neither hopeless nor trivial


def test_clean_accuracy_is_the_share_of_right_answers() -> None:
    inputs, labels = samples(70, 6)
    right = npf.evaluate(Linear(6), (inputs, labels))["clean"]
    assert right.correct.tolist() == [[i % 7 != 0 for i in range(70)]]
    assert right.mean == pytest.approx(60 / 70)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_arrays_are_measured_like_tensors(dtype: type) -> None:
    inputs, labels = samples(40, 1, 4, 4)
    pixels = (255 * inputs.numpy()).astype(np.uint8) if dtype is np.uint8 else inputs.numpy().astype(dtype)
    expected = npf.evaluate(Linear(16), (torch.from_numpy(pixels), labels), SPECS, draws=2)
    assert npf.evaluate(Linear(16), (pixels, labels.numpy()), SPECS, draws=2) == expected
    assert npf.evaluate(Linear(16), (pixels[::-1], labels.numpy()[::-1]), ["clean"])["clean"].mean == pytest.approx(
        expected["clean"].mean
    )


def test_a_report_shows_what_was_measured() -> None:
    report = npf.evaluate(Linear(6), samples(70, 6), ["clean", "gaussian:0.4"], draws=2)
    shown = repr(report)
    assert shown.startswith("RobustnessReport(clean 85.7 %, gaussian:0.4 ")
    assert shown.endswith("; 70 samples)")
    paired = npf.compare_reports(report, report)
    assert repr(paired) == f"PairedReport(clean: {paired['clean'].verdict}; gaussian:0.4: {paired['clean'].verdict})"


def test_only_random_perturbations_are_drawn_several_times() -> None:
    report = npf.evaluate(Linear(6), samples(20, 6), SPECS, draws=4)
    assert {key: result.correct.shape for key, result in report.items()} == {
        "clean": (1, 20), "gaussian:0.4": (4, 20), "uniform:0.5": (4, 20), "gaussian:0.2+uniform:0.3": (4, 20),
    }  # fmt: skip
    assert report["clean"].std == 0
    assert not report["clean"].random


def test_draws_are_ten_unless_told() -> None:
    assert len(npf.evaluate(Linear(6), samples(5, 6), ["gaussian:1"])["gaussian:1"].correct) == 10


@pytest.mark.parametrize("batch_size", [1, 37, 128, 513])
def test_batch_size_does_not_matter(batch_size: int) -> None:
    data = samples(300, 1, 4, 4)
    expected = npf.evaluate(Linear(16), data, SPECS, draws=3)
    assert results(npf.evaluate(Linear(16), data, SPECS, draws=3, batch_size=batch_size)) == results(expected)


@pytest.mark.parametrize("batch_size", [1, 37, 128, 513])
def test_the_model_never_gets_more_than_a_batch(batch_size: int) -> None:
    model = Recorder(6)
    npf.evaluate(model, samples(300, 6), ["clean", "gaussian:1"], draws=3, batch_size=batch_size)
    assert max(len(batch) for batch in model.seen) <= batch_size
    assert sum(len(batch) for batch in model.seen) == 4 * 300


def test_other_perturbations_and_their_order_do_not_matter() -> None:
    data = samples(150, 6)
    everything = results(npf.evaluate(Linear(6), data, SPECS, draws=3))
    assert results(npf.evaluate(Linear(6), data, SPECS[::-1], draws=3)) == everything
    for spec in SPECS:
        assert results(npf.evaluate(Linear(6), data, [spec], draws=3)) == {spec: everything[spec]}


def test_keys_are_the_perturbations_as_given_in_order() -> None:
    asked = ["gaussian:8/255", perturbation("uniform:0.5"), "clean"]
    report = npf.evaluate(Linear(6), samples(5, 6), asked, draws=2)
    assert list(report) == ["gaussian:8/255", "uniform:amplitude=0.5", "clean"]


def test_two_texts_for_one_perturbation_get_the_same_noise() -> None:
    report = npf.evaluate(Linear(6), samples(100, 6), ["gaussian:1/2", "gaussian:std=0.5"], draws=3)
    one, other = report.values()
    assert one.correct.tolist() == other.correct.tolist()


class Pairs(Dataset):
    """A data set as many people write one: tensors and Python integers."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs, self.labels = inputs, labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], self.labels[index]


@pytest.mark.parametrize(
    "form", [lambda x, y: ArrayDataset(x, y, NAMES), TensorDataset, Pairs, lambda x, y: list(zip(x, y, strict=True))]
)
def test_the_form_of_the_data_does_not_matter(form: object) -> None:
    inputs, labels = samples(150, 1, 4, 4)
    expected = npf.evaluate(Linear(16), (inputs, labels), SPECS, draws=2)
    found = npf.evaluate(Linear(16), form(inputs, labels), SPECS, draws=2)
    assert results(found) == results(expected)
    assert found.labels.tolist() == labels.tolist()


def test_class_names_come_from_the_data() -> None:
    inputs, labels = samples(30, 6)
    assert npf.evaluate(Linear(6), ArrayDataset(inputs, labels, NAMES)).class_names == NAMES
    assert npf.evaluate(Linear(6), TensorDataset(inputs, labels)).class_names == ("0", "1", "2")


@pytest.mark.parametrize("form", [TensorDataset, lambda *pair: pair])
def test_bytes_are_divided_by_255(form: object) -> None:
    inputs, labels = samples(40, 1, 4, 4)
    as_bytes = (inputs * 255).round().to(torch.uint8)
    expected = npf.evaluate(Linear(16), (as_bytes.float() / 255, labels), SPECS, draws=2)
    assert results(npf.evaluate(Linear(16), form(as_bytes, labels), SPECS, draws=2)) == results(expected)


@pytest.mark.parametrize("form", [lambda *pair: pair, TensorDataset])
def test_the_global_generator_is_neither_read_nor_moved(form: object) -> None:
    data = form(*samples(150, 6))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = npf.evaluate(Linear(6), data, SPECS, draws=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert results(npf.evaluate(Linear(6), data, SPECS, draws=2)) == results(one)


def test_noise_depends_on_seed_and_draw() -> None:
    data = samples(150, 6)
    one, other = (npf.evaluate(Linear(6), data, ["gaussian:1"], draws=3, seed=s)["gaussian:1"] for s in (0, 1))
    assert one.correct.tolist() != other.correct.tolist()
    assert len({tuple(draw) for draw in one.correct.tolist()}) == 3


def test_more_draws_leave_the_first_ones_alone() -> None:
    data = samples(150, 6)
    few, many = (npf.evaluate(Linear(6), data, ["gaussian:1"], draws=d)["gaussian:1"].correct for d in (2, 5))
    assert few.tolist() == many[:2].tolist()


@pytest.mark.parametrize("spec", ["gaussian:1", "uniform:1", "gaussian:1+uniform:1", "uniform:1+gaussian:1"])
@pytest.mark.parametrize("n", [1, 3, 37, 129, 250])
def test_noise_of_a_sample_does_not_depend_on_how_many_follow(spec: str, n: int) -> None:
    inputs, labels = samples(300, 5)
    whole, part = Recorder(5), Recorder(5)
    npf.evaluate(whole, (inputs, labels), [spec], draws=1)
    npf.evaluate(part, (inputs[:n], labels[:n]), [spec], draws=1)
    torch.testing.assert_close(torch.cat(part.seen), torch.cat(whole.seen)[:n], rtol=0, atol=0)


def test_noise_has_the_size_it_says_and_is_drawn_for_every_sample() -> None:
    inputs = torch.zeros(1000, 20)
    model = Recorder(20)
    npf.evaluate(model, (inputs, torch.zeros(1000, dtype=torch.long)), ["gaussian:0.5"], draws=2)
    noise = torch.cat(model.seen)
    assert float(noise.std()) == pytest.approx(0.5, abs=0.01)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert len(noise.unique(dim=0)) == 2000


def test_images_are_clamped_vectors_are_not() -> None:
    for shape, clamped in (((1, 4, 4), True), ((16,), False)):
        model = Recorder(16)
        npf.evaluate(model, samples(50, *shape), ["gaussian:1"], draws=1)
        seen = torch.cat(model.seen)
        assert (float(seen.min()) >= 0 and float(seen.max()) <= 1) is clamped


def test_the_data_is_left_as_it_is() -> None:
    inputs, labels = samples(50, 1, 4, 4)
    before = inputs.clone()
    npf.evaluate(Linear(16), (inputs, labels), SPECS, draws=2)
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 256, 257])
def test_every_sample_is_counted_once(n: int) -> None:
    data = samples(n, 6)
    report = npf.evaluate(Linear(6), data, ["clean", "uniform:0.1"], draws=2)
    assert report["clean"].correct.shape == (1, n)
    assert report["clean"].correct[0].tolist() == [i % 7 != 0 for i in range(n)]
    assert report.labels.tolist() == data[1].tolist()


def modes(model: nn.Module) -> list[bool]:
    return [part.training for part in model.modules()]


@pytest.mark.parametrize("training", [True, False])
def test_every_modules_mode_is_put_back(tiny_model: nn.Module, training: bool) -> None:
    tiny_model.train(training)
    tiny_model.backbone[1].train(not training)
    before = modes(tiny_model)
    npf.evaluate(tiny_model, (torch.rand(5, 1, 8, 8), torch.zeros(5, dtype=torch.long)))
    assert modes(tiny_model) == before


def test_modes_are_put_back_after_an_error(tiny_model: nn.Module) -> None:
    tiny_model.train()
    tiny_model.backbone[1].eval()
    before = modes(tiny_model)
    with pytest.raises(errors.DataError):
        npf.evaluate(tiny_model, (torch.rand(5, 1, 8, 8), torch.full((5,), 3)))
    assert modes(tiny_model) == before
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_the_model_runs_in_evaluation_mode_without_gradients_and_stays_as_it_was(tiny_model: nn.Module) -> None:
    seen = []
    tiny_model.backbone[1].register_forward_pre_hook(
        lambda module, _: seen.append((module.training, torch.is_grad_enabled()))
    )
    tiny_model.train()
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    npf.evaluate(tiny_model, (torch.rand(200, 1, 8, 8), torch.zeros(200, dtype=torch.long)), SPECS, draws=2)
    assert set(seen) == {(False, False)}
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None and parameter.requires_grad for parameter in tiny_model.parameters())


def test_the_model_can_be_trained_afterwards(tiny_model: nn.Module) -> None:
    inputs, labels = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    npf.evaluate(tiny_model, (inputs, labels), SPECS, draws=2)
    nn.functional.cross_entropy(tiny_model(inputs), labels).backward()
    assert all(parameter.grad is not None for parameter in tiny_model.parameters())


def test_a_model_without_parameters_can_be_measured() -> None:
    report = npf.evaluate(nn.Flatten(), (torch.eye(3), torch.tensor([0, 1, 1])), device="cpu")
    assert report["clean"].correct.tolist() == [[True, True, False]]


class Counter:
    """A progress reporter that adds up."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def task(self, title: str, total: int) -> Counter:
        self.total = total
        return self

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


def test_progress_arrives_at_its_total() -> None:
    counter = Counter()
    npf.evaluate(Linear(6), samples(150, 6), SPECS, draws=3, progress=counter)
    assert counter.done == counter.total > 0


class Bad(nn.Module):
    """Gives whatever it is told to."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> object:
        return self.output(x)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: x.new_full((len(x), 3), float("nan")), "NaN or infinite"),
        (lambda x: x.new_full((len(x), 3), float("inf")), "NaN or infinite"),
        (lambda x: x.new_zeros(len(x)), r"\(N, C\) logits, got \(4,\)"),
        (lambda x: x.new_zeros(len(x), 3, 2), r"got \(4, 3, 2\)"),
        (lambda x: x.new_zeros(1, 3), r"got \(1, 3\) for 4 inputs"),
        (lambda x: {"logits": x}, "got dict"),
    ],
)
def test_logits_must_be_finite_and_one_row_each(output: object, message: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        npf.evaluate(Bad(output), samples(4, 6))


X, Y = samples(4, 6)
IMAGES = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "data",
    [
        (X[:0], Y[:0]),
        TensorDataset(X[:0], Y[:0]),
        None,
        5,
        [{"x": 1}] * 4,
        [(X[0], 0, "more")] * 4,
        [(X[0], "cat")] * 4,
        [(object(), 0)] * 4,
        [(X[0], 0), (X[0, :3], 0)],
        (X, Y, Y),
        (X.numpy().astype(str), Y.numpy()),
        TensorDataset(X, nn.functional.one_hot(Y, 3)),
        TensorDataset(X, Y[:, None]),
        TensorDataset(X, Y + 0.5),
    ],
    ids=[
        "empty tuple", "empty", "none", "number", "dicts", "triples", "text labels", "objects", "ragged",
        "three tensors", "arrays of texts", "one-hot", "column", "fractions",
    ],
)  # fmt: skip
def test_malformed_data_is_refused(data: object) -> None:
    with pytest.raises(errors.DataError) as caught:
        npf.evaluate(Linear(6), data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [lambda *pair: pair, TensorDataset])
@pytest.mark.parametrize("label", [3, 250])
def test_a_label_beyond_the_models_classes_is_named(form: object, label: int) -> None:
    with pytest.raises(errors.DataError, match=f"{label}.*0 to 2"):
        npf.evaluate(Linear(6), form(X, torch.tensor([0, 1, label, 2])))


def test_a_negative_label_is_named() -> None:
    with pytest.raises(errors.DataError, match="-1"):
        npf.evaluate(Linear(6), TensorDataset(X, torch.tensor([0, 1, -1, 2])))


@pytest.mark.parametrize("form", [lambda *pair: pair, TensorDataset])
@pytest.mark.parametrize(("images", "message"), [(IMAGES * 255, "divide by 255"), (IMAGES - 0.5, "[0, 1]")])
def test_images_outside_the_unit_interval_are_refused(form: object, images: Tensor, message: str) -> None:
    with pytest.raises(errors.NoiseproofError) as caught:
        npf.evaluate(Linear(16), form(images, Y))
    assert message in str(caught.value)


def test_rounding_at_the_edge_of_the_interval_is_allowed() -> None:
    npf.evaluate(Linear(16), (torch.full((4, 1, 4, 4), 1 + 5e-7), Y), ["clean"])


def test_vectors_may_have_any_range() -> None:
    inputs, labels = samples(20, 6)
    assert np.isfinite(npf.evaluate(Linear(6), (inputs * 1000 - 300, labels), ["gaussian:9"])["gaussian:9"].mean)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"draws": 0}, "draws must be >= 1, got 0"),
        ({"draws": -3}, "draws"),
        ({"draws": 2.5}, "draws"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"perturbations": []}, "perturbations is empty"),
        ({"perturbations": ["gaussian:-1"]}, "-1"),
        ({"perturbations": ["gaussian:much"]}, "'much'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        npf.evaluate(Linear(6), (X, Y), **{"perturbations": ["gaussian:1"], **arguments})


def test_an_unknown_perturbation_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="unknown perturbation 'gausian'; did you mean 'gaussian'"):
        npf.evaluate(Linear(6), (X, Y), ["gausian:1"])


def test_memory_that_is_full_is_not_taken_for_inputs_of_a_wrong_shape() -> None:
    class Full(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        npf.evaluate(Full(), (torch.rand(4, 3), torch.tensor([0, 1, 0, 1])))


def test_probabilities_in_place_of_logits_are_told() -> None:
    data = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    network = nn.Linear(4, 3)
    with pytest.warns(UserWarning, match="look like probabilities, but are taken for logits"):
        report = npf.evaluate(nn.Sequential(network, nn.Softmax(1)), data)
    assert report["clean"].mean == npf.evaluate(network, data)["clean"].mean  # without a warning
