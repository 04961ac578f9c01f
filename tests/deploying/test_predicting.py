"""``predict``: what a model answers, and that nothing but the input, the noise and the seed has a say in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import noiseproof as npf
from noiseproof.deploying import Failure, Predictions, TrainedModel, load_trained, predict
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError, RunFolderError, UnknownNameError
from noiseproof.training import Run

NAMES = ["colours.PNG", "grey.png", "more/palette.gif", "more/sixteen.png", "more/ältere/名前.png"]


class Threshold(nn.Module):
    """Class 0 where the first value is above 0.5, else class 1."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, 0] - 0.5
        return torch.stack([first, -first], 1)


def threshold(*shape: int) -> TrainedModel:
    return TrainedModel("threshold", "code", Threshold(), ("high", "low"), shape)


def told(found: Predictions) -> list[tuple[object, ...]]:
    return [(each.class_index, each.probability, each.agreeing, each.top) for each in found]


# What is answered


def test_the_answer_is_that_of_the_model_for_the_pixels_of_the_picture(digits: Run, pictures: Path) -> None:
    (answer,) = predict(digits, pictures / "grey.png", draws=1)
    pixels = torch.from_numpy(np.array(Image.open(pictures / "grey.png"))).float()[None, None] / 255
    with torch.no_grad():
        expected = digits.model()(pixels).softmax(1)[0]
    order = expected.argsort(descending=True)[:3].tolist()
    assert answer.top == tuple((str(c), pytest.approx(float(expected[c]), abs=1e-6)) for c in order)
    assert (answer.class_name, answer.class_index) == (str(order[0]), order[0])
    assert answer.probability == answer.top[0][1]
    assert answer.class_index == 0


def test_a_picture_of_another_size_and_mode_is_brought_to_the_models_input(digits: Run, pictures: Path) -> None:
    (answer,) = predict(digits, pictures / "colours.PNG", draws=1)
    with Image.open(pictures / "colours.PNG") as picture:
        grey = picture.resize((8, 8), Image.Resampling.BILINEAR).convert("L")
    with torch.no_grad():
        expected = digits.model()(torch.from_numpy(np.array(grey)).float()[None, None] / 255).softmax(1)
    assert answer.probability == pytest.approx(float(expected.max()), abs=1e-6)


def test_a_model_of_three_colours_gets_them_in_order(tmp_path: Path) -> None:
    """The first value is the red of the first pixel."""
    Image.new("RGB", (5, 3), (200, 0, 90)).save(tmp_path / "red.png")
    Image.new("RGB", (5, 3), (90, 255, 200)).save(tmp_path / "green.png")
    found = predict(threshold(3, 4, 4), [tmp_path / "red.png", tmp_path / "green.png"], perturb="clean")
    assert [each.class_name for each in found] == ["high", "low"]
    assert found[0].probability == pytest.approx(1 / (1 + np.exp(-2 * (200 / 255 - 0.5))), abs=1e-6)


def test_folders_are_read_recursively_sorted_and_without_what_is_hidden(digits: Run, pictures: Path) -> None:
    found = predict(digits, pictures, draws=1)
    assert [Path(each.name).relative_to(pictures).as_posix() for each in found] == NAMES
    assert found.failures == ()


def test_stability_is_the_share_of_draws_that_stay() -> None:
    """Gaussian noise of 1 carries a value 0.5 above the threshold across it with probability Φ(-0.5)."""
    found = predict(threshold(1), torch.tensor([[1.0], [0.0], [9.0]]), perturb="gaussian:1", draws=1000)
    expected, std = NormalDist().cdf(0.5), np.sqrt(0.69 * 0.31 / 1000)
    assert [each.class_name for each in found] == ["high", "low", "high"]
    for each in found.answers[:2]:
        assert each.stability == pytest.approx(expected, abs=4 * std)
        low, high = each.interval
        assert low < expected < high
        assert high - low == pytest.approx(2 * 1.96 * std, rel=0.05)
    assert found[2].stability == 1
    assert found[2].interval.high == 1
    assert found[2].interval.low < 1


def test_a_perturbation_without_chance_is_applied_once() -> None:
    found = predict(threshold(1, 2, 2), torch.full((1, 1, 2, 2), 0.4), perturb="brightness:0.3", draws=20)
    assert (found.random, found.draws, found[0].draws, found[0].agreeing) == (False, 1, 1, 0)


# What has a say in it


def test_the_answer_does_not_depend_on_the_other_inputs(digits: Run, pictures: Path) -> None:
    together = predict(digits, pictures, perturb="gaussian:0.5", draws=7)
    alone = [predict(digits, pictures / name, perturb="gaussian:0.5", draws=7) for name in reversed(NAMES)]
    assert told(together) == [row for found in reversed(alone) for row in told(found)]
    assert len({each.agreeing for each in together}) > 1


def test_a_copy_under_another_name_gets_the_same_answer(digits: Run, pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "colours.PNG", tmp_path / "copy.png")
    found = predict(digits, [pictures / "grey.png", tmp_path / "copy.png", pictures / "colours.PNG"], draws=9)
    assert told(found)[1] == told(found)[2]


def test_more_draws_go_on_from_fewer_and_another_seed_gives_others() -> None:
    inputs = torch.linspace(0, 1, 30)[:, None]
    few, many = (predict(threshold(1), inputs, perturb="gaussian:0.5", draws=draws) for draws in (10, 25))
    assert all(a.agreeing <= b.agreeing <= a.agreeing + 15 for a, b in zip(few, many, strict=True))
    other = predict(threshold(1), inputs, perturb="gaussian:0.5", draws=10, seed=1)
    assert [each.agreeing for each in few] != [each.agreeing for each in other]
    assert told(few) == told(predict(threshold(1), inputs, perturb="gaussian:0.50", draws=10, seed=0))


def test_an_array_is_asked_about_like_a_tensor() -> None:
    inputs = torch.linspace(0, 1, 6)[:, None]
    expected = told(predict(threshold(1), inputs, perturb="gaussian:0.5", draws=4))
    assert told(predict(threshold(1), inputs.numpy(), perturb="gaussian:0.5", draws=4)) == expected


@pytest.mark.parametrize("batch_size", [1, 2, 5, 1000])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    inputs = torch.linspace(0, 1, 5)[:, None]
    expected = predict(threshold(1), inputs, perturb="gaussian:0.5", draws=4)
    assert told(predict(threshold(1), inputs, perturb="gaussian:0.5", draws=4, batch_size=batch_size)) == told(
        expected
    )


def test_the_noise_is_that_of_the_recipe_unless_told(digits: Run, pictures: Path) -> None:
    found = predict(digits, pictures)
    assert found.perturbation == "gaussian:0.3"
    assert told(found) == told(predict(str(digits.folder), [pictures], perturb="gaussian:std=0.3", draws=20, seed=0))


def test_the_model_is_left_as_it_was(tiny_model: npf.FeatureClassifier) -> None:
    asked = TrainedModel("tiny", "code", tiny_model.train(), ("a", "b", "c"), (1, 8, 8), "gaussian:0.1")
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    predict(asked, torch.rand(3, 1, 8, 8))
    assert all(part.training for part in tiny_model.modules())
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.state_dict().items())


def test_the_data_of_a_run_is_not_needed(vectors: Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(vectors.folder, tmp_path / "run"))
    recipe = (run / "recipe.yaml").read_text(encoding="utf-8")
    (run / "recipe.yaml").write_text(recipe.replace("npz:", "npz:gone"), encoding="utf-8")
    inputs = torch.randn(2, 3)
    with pytest.raises(NoiseproofError):
        Run(run).data()
    assert told(predict(run, inputs)) == told(predict(vectors, inputs))


# Where inputs come from


def test_archives_hold_inputs_of_any_kind(digits: Run, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(3))
    found = predict(digits, tmp_path / "images.npz")
    assert [each.name for each in found] == [f"{tmp_path / 'images.npz'}[{row}]" for row in range(3)]
    assert told(found) == told(predict(digits, torch.from_numpy(images)))
    assert told(found) == told(predict(digits, torch.from_numpy(images).float() / 255))


def test_tables_hold_vectors_with_or_without_headings(vectors: Run, tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_text("1,2.5,-3e0\n\n 0 , 1,2\n")
    (tmp_path / "headed.csv").write_text("a,b,c\n1,2.5,-3\n0,1,2\n", encoding="utf-8-sig")
    plain, headed = (predict(vectors, tmp_path / name) for name in ("plain.csv", "headed.csv"))
    assert told(plain) == told(headed) == told(predict(vectors, torch.tensor([[1, 2.5, -3], [0, 1, 2]])))
    assert [each.name for each in predict(vectors, tmp_path)] == [each.name for each in (*headed, *plain)]


def test_rows_that_are_wrong_are_told_and_the_others_answered(vectors: Run, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("1,2\n1,2,3\n1,two,3\n1,2,nan\n1,2,1e999\n,2,3\n")
    found = predict(vectors, table)
    assert [each.name for each in found] == [f"{table}[1]"]
    reasons = [failure.reason.removeprefix(str(table)) for failure in found.failures]
    assert reasons == [
        "[0] must hold 3 numbers, it has 2",
        "[2] holds 'two', which is no number",
        "[3] holds NaN or infinite values",
        "[4] holds NaN or infinite values",
        "[5] holds '', which is no number",
    ]


@pytest.mark.parametrize("head", ["", "a;b;c\n"])
def test_tables_may_have_semicolons_or_tabs(vectors: Run, tmp_path: Path, head: str) -> None:
    text = head + "1;2.5;-3\n0;1;2\n"
    for name, separator in (("s.csv", ";"), ("t.csv", "\t")):
        (tmp_path / name).write_text(text.replace(";", separator))
        found = predict(vectors, tmp_path / name)
        assert told(found) == told(predict(vectors, torch.tensor([[1, 2.5, -3], [0, 1, 2]])))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "a,b,c,label\n1,2,3,x\n4,5,6,y\n",
            "has 4 columns, the model takes 3 numbers; leave out the column 'label', ",
        ),
        ("0,1,2,Class\n1,2,3,0\n4,5,6,1\n", "leave out the column 'Class', which holds the class"),
        ("1,2,3,wet\n4,5,6,dry\n", "has 4 columns, the model takes 3 numbers; leave out the last column, which holds"),
        ("1,2,3,4\n4,5,6,7\n", "has 4 columns, the model takes 3 numbers"),
        ("1|2|3\n4|5|6\n", "has 1 column, the model takes 3 numbers"),
    ],
)
def test_a_table_with_other_columns_is_told_once(vectors: Run, tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    found = predict(vectors, tmp_path / "t.csv")
    assert len(found) == 0
    (failure,) = found.failures
    assert failure.reason.startswith(f"{tmp_path / 't.csv'} has ")
    assert reason in failure.reason


def test_decimal_commas_are_told(vectors: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,5;2;3\n1;2;3\n")
    found = predict(vectors, tmp_path / "t.csv")
    assert len(found) == 1
    assert found.failures[0].reason.endswith("[0] holds '1,5', which is no number; write decimals with a point")


def test_files_that_cannot_be_read_are_told_and_the_others_answered(
    digits: Run, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((pictures / "grey.png").read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    (tmp_path / "objects.npz").write_bytes(b"PK")
    np.savez(tmp_path / "others.npz", inputs=np.zeros(3))
    np.savez(tmp_path / "shape.npz", x=np.zeros((2, 3, 8, 8)))
    np.savez(tmp_path / "range.npz", x=np.stack([np.full((1, 8, 8), 0.5), np.full((1, 8, 8), 7.0)]))
    (tmp_path / "table.csv").write_text("1,2,3\n")
    names = [
        "text.jpg",
        "cut.png",
        "empty",
        "nowhere.png",
        "objects.npz",
        "others.npz",
        "shape.npz",
        "range.npz",
        "table.csv",
    ]
    found = predict(digits, [*(tmp_path / name for name in names), pictures / "grey.png"])
    assert [Path(each.name).name for each in found] == ["range.npz[0]", "grey.png"]
    assert [Path(each.name).name for each in found.failures] == [
        *names[:7], "range.npz[1]", "table.csv"
    ]  # fmt: skip
    for failure, part in zip(
        found.failures,
        ("cannot read the picture", "cannot read the picture", "holds no pictures", "does not exist", ".npz archive",
         "needs an array x of inputs, it has: inputs", "must be (N, 1, 8, 8) for this model, got (2, 3, 8, 8)",
         "values in [0, 1]", "takes no vectors"),
        strict=True,
    ):  # fmt: skip
        assert part in failure.reason
        assert failure.name in failure.reason


def test_a_picture_that_says_it_is_huge_is_not_decoded(digits: Run, tmp_path: Path) -> None:
    Image.new("1", (14000, 14000)).save(tmp_path / "bomb.png")
    (failure,) = predict(digits, tmp_path).failures
    assert "decompression bomb" in failure.reason


def test_pictures_for_a_model_of_vectors_are_told(vectors: Run, pictures: Path) -> None:
    found = predict(vectors, [pictures / "grey.png", pictures])
    assert len(found) == 0
    assert "takes inputs of 3 values, not pictures" in found.failures[0].reason
    assert "holds no files of inputs (.csv, .npz)" in found.failures[1].reason


def test_pictures_for_a_model_of_four_channels_are_told(pictures: Path) -> None:
    (failure,) = predict(threshold(4, 8, 8), pictures / "grey.png", perturb="clean").failures
    assert "4×8×8" in failure.reason


def test_names_that_no_terminal_can_show_are_escaped(digits: Run, pictures: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\x1b[31m\xff\n.png"
    shutil.copy(os.fsencode(pictures / "grey.png"), name)
    (answer,) = predict(digits, tmp_path)
    assert answer.name == f"{tmp_path}/\\x1b[31m\\udcff\\n.png"


# Mistakes


def test_inputs_of_another_shape(digits: Run) -> None:
    with pytest.raises(DataError, match=r"must be \(N, 1, 8, 8\) for this model, got \(2, 3, 8, 8\)"):
        predict(digits, torch.rand(2, 3, 8, 8))


def test_a_batch_with_a_row_that_is_wrong(digits: Run) -> None:
    found = predict(digits, torch.stack([torch.rand(1, 8, 8), torch.full((1, 8, 8), torch.nan)]))
    assert [each.name for each in found] == ["[0]"]
    assert found.failures == (Failure("[1]", "[1] holds NaN or infinite values"),)


@pytest.mark.parametrize(
    ("settings", "error", "named"),
    [
        ({"draws": 0}, InvalidArgumentError, "draws must be >= 1"),
        ({"top": 0}, InvalidArgumentError, "top must be >= 1"),
        ({"batch_size": 0}, InvalidArgumentError, "batch_size"),
        ({"seed": -1}, InvalidArgumentError, "seed must be >= 0"),
        ({"device": "nope"}, InvalidArgumentError, "nope"),
        ({"perturb": "gausian:1"}, UnknownNameError, "did you mean 'gaussian'"),
        ({"perturb": "pgd:8/255"}, InvalidArgumentError, "is an attack, not noise"),
        ({"perturb": "occlusion:n=1,size=1"}, InvalidArgumentError, r"occlusion takes images"),
    ],
)
def test_wrong_settings(vectors: Run, settings: dict[str, object], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        predict(vectors, torch.zeros(1, 3), **settings)  # type: ignore[arg-type]


def test_a_model_without_a_recipe_needs_the_noise_to_be_named() -> None:
    with pytest.raises(InvalidArgumentError, match="name one with --perturb"):
        predict(threshold(1), torch.zeros(1, 1))


def test_more_names_are_asked_for_than_there_are_classes(digits: Run, pictures: Path) -> None:
    (answer,) = predict(digits, pictures / "grey.png", top=99, draws=1)
    assert sorted(name for name, _ in answer.top) == sorted("0123456789")
    assert sum(probability for _, probability in answer.top) == pytest.approx(1)


def test_loading_what_names_its_classes_itself(vectors: Run, tmp_path: Path) -> None:
    shutil.copy(vectors.folder / "model.safetensors", tmp_path / "own.safetensors")
    own, of_run = load_trained(tmp_path / "own.safetensors"), load_trained(vectors)
    assert (own.class_names, own.input_shape, own.noise) == (of_run.class_names, (3,), None)
    assert of_run.noise == "gaussian:0.3"
    with pytest.raises(InvalidArgumentError, match="'mlp', not of 'small-cnn'"):
        load_trained(tmp_path / "own.safetensors", model="small-cnn")
    with pytest.raises(InvalidArgumentError, match="leave out model"):
        load_trained(vectors, model="mlp")


def test_loading_what_does_not(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"")
    for place in (tmp_path / "weights.pt", "package.module:make"):
        with pytest.raises(InvalidArgumentError, match="name data that does, as in --data folder:photos"):
            load_trained(place)
    with pytest.raises(RunFolderError, match="no run folder"):
        load_trained(tmp_path / "nowhere")
