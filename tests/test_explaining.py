"""Why a model is robust: the analyses of a run, its figures, and the sections of a comparison's page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import noiseproof as npf
from noiseproof.analysis import accuracy_by_retained, input_curvature
from noiseproof.analysis.theory import separation, stability
from noiseproof.data import thinned
from noiseproof.errors import DataError, InvalidArgumentError, NoiseproofError, UnknownNameError
from noiseproof.explaining import FIGURES, Explanation, draw, panels
from noiseproof.explaining import sections as rooms
from noiseproof.methods import METHODS
from noiseproof.models.files import load_model, read_description, save_model
from noiseproof.perturbations import perturbation
from noiseproof.reporting import Page, Panel, Setup, render_page
from noiseproof.reporting.tables import Entry, Table
from noiseproof.training import Recipe, Run
from tests.cli.problems import contents
from tests.evaluation.problems import comparison
from tests.reporting.test_page import EVIL, QUOTES, Reader

CLASSES = ("<b>cat</b>", "cost_$a_b$", 'say "frog"')
LIMIT = 30
TITLES = ("How curved the loss is", "How the features lie", "The theorems, computed")


def images(path: Path, size: int = 40, rare: int | None = None) -> str:
    """Noisy pictures of three classes, as a data source; of the last one perhaps fewer."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [size, size, rare or size])
    means = random.random((3, 1, 8, 8))
    inputs = np.clip(means[labels] + 0.2 * random.normal(size=(len(labels), 1, 8, 8)), 0, 1)
    np.savez(path, x=inputs.astype(np.float32), y=labels, class_names=np.array(CLASSES))
    return f"npz:{path}"


def recipe_of(source: str, **changes: Any) -> Recipe:
    return Recipe.from_mapping(
        {
            "name": "toy",
            "data": {"source": source, "test_fraction": 0.5},
            "model": {"name": "small-cnn", "embedding_dim": 4, "options": {"width": 2}},
            "noise": {"train": "gaussian:0.3"},
            "train": {"epochs": 2, "batch_size": 16, "optimizer": {"name": "sgd", "lr": 0.05}},
            "evaluate": {"perturbations": ["clean", "gaussian:0.2"], "draws": 2},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explaining")


@pytest.fixture(scope="module")
def recipe(place: Path) -> Recipe:
    return recipe_of(images(place / "images.npz"))


@pytest.fixture(scope="module")
def run(recipe: Recipe, place: Path) -> Run:
    return npf.train(recipe, "normal", 0, out=place / "normal")


@pytest.fixture(scope="module")
def other(recipe: Recipe, place: Path) -> Run:
    changes = {"methods": {"discriminative": {"delta_v": 0.25, "delta_d": 2.0}}}
    return npf.train(recipe, "discriminative", 0, changes, place / "discriminative")


@pytest.fixture(scope="module")
def louder(recipe: Recipe, place: Path) -> Run:
    return npf.train(recipe, "noisy", 0, {"noise.train": "gaussian:0.6"}, place / "louder")


@pytest.fixture(scope="module")
def explained(run: Run) -> Explanation:
    return Explanation(run, limit=LIMIT)


class Counter:
    """A progress reporter that notes what is begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Counter]:
        self.begun.append(title)
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


# The analyses of one run


def test_all_analyses_look_at_the_same_test_samples(run: Run, explained: Explanation) -> None:
    test = thinned(run.data().test, LIMIT)
    assert len(test) == LIMIT < len(run.data().test)
    model = run.model()
    expected = input_curvature(model, test, space="normalised", probes=20, step=0.01)
    np.testing.assert_array_equal(explained.curvature.values, expected.values)
    assert (explained.space, explained.exact.space, explained.exact.estimator) == ("normalised",) * 2 + (
        "gauss-newton",
    )
    assert all(len(each.values) == LIMIT for each in [explained.exact, *explained.by_scale.values()])
    assert len(explained.feature_map.labels) == len(explained.report.labels) == LIMIT
    assert explained.surface.label == int(test.labels[0])
    np.testing.assert_allclose(explained.by_scale[0.01].values, expected.values)


def test_noise_of_the_training_and_uniform_noise_of_the_same_number(explained: Explanation) -> None:
    assert explained.noises == ("gaussian:0.3", "uniform:0.3")
    assert explained.feature_map.noise == perturbation("gaussian:0.3").spec
    for key in explained.noises:
        assert len(explained.report[key].correct) == 10
        expected = accuracy_by_retained(explained.curvature.values, explained.report[key].correct)
        np.testing.assert_array_equal(explained.retained[key].accuracies, expected.accuracies)
        assert explained.by_count[key].counts.tolist() == list(range(11))


@pytest.mark.parametrize(
    ("noise", "noises"),
    [
        ("gaussian:std=0.1", ("gaussian:std=0.1", "uniform:0.1")),
        ("uniform:0.2", ("uniform:0.2",)),
        ("occlusion:n=2,size=0.3", ("occlusion:n=2,size=0.3",)),
        ("clean", ("clean",)),
    ],
)
def test_another_noise_can_be_named(run: Run, noise: str, noises: tuple[str, ...]) -> None:
    each = Explanation(run, limit=10, noise=noise)
    assert each.noises == noises == tuple(each.retained) == tuple(each.by_count)


def test_analyses_are_made_once_and_only_when_asked_for(run: Run) -> None:
    watcher = Counter()
    each = Explanation(run, limit=5, progress=watcher)
    assert watcher.begun == []
    assert each.curvature is each.curvature
    assert watcher.begun == ["curvature"]


def test_the_seed_is_that_of_probes_and_noise(run: Run) -> None:
    one, same, another = (Explanation(run, limit=10, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.curvature.values, same.curvature.values)
    assert (one.curvature.values != another.curvature.values).all()
    np.testing.assert_array_equal(one.feature_map.clean, same.feature_map.clean)


@pytest.mark.parametrize("limit", [2, 3, 10])
def test_few_samples_have_a_map_too(run: Run, limit: int) -> None:
    found = Explanation(run, limit=limit).feature_map
    assert len(found.clean) == limit
    assert 0 < found.perplexity < 2 * limit


def test_one_sample_has_no_map(run: Run) -> None:
    with pytest.raises(DataError, match="at least two samples"):
        _ = Explanation(run, limit=1).feature_map


@pytest.mark.parametrize("limit", [0, -1])
def test_no_samples(run: Run, limit: int) -> None:
    with pytest.raises(InvalidArgumentError, match="limit"):
        Explanation(run, limit=limit)


# Theorems


def test_theorems_take_the_deltas_of_the_run(other: Run) -> None:
    each = Explanation(other, limit=LIMIT)
    test = thinned(other.data().test, LIMIT)
    told = each.theory
    expected = separation(each.model, test, delta_v=0.25, delta_d=2.0).summary()
    assert told["Propositions 5.1 and 5.2, separation"] == expected
    curved = stability(each.model, test, sigma=0.3, delta=0.5, draws=500, limit=100).summary()
    assert told["Theorem 6.1, curvature and stability"] == curved


def test_a_run_without_discriminative_options_has_the_deltas_of_the_paper(explained: Explanation) -> None:
    test = thinned(explained.run.data().test, LIMIT)
    expected = separation(explained.model, test, delta_v=0.5, delta_d=5.0).summary()
    assert explained.theory["Propositions 5.1 and 5.2, separation"] == expected
    assert list(explained.theory) == [
        "Propositions 5.1 and 5.2, separation",
        "Proposition 5.3 and Corollary 5.1, rescaling",
        "Theorem 6.1, curvature and stability",
        "Theorem 6.2, generalisation of compactness",
        "Theorem 6.3, intermediate layers",
    ]


def test_a_class_with_few_test_samples_is_no_obstacle(tmp_path: Path) -> None:
    recipe = recipe_of(images(tmp_path / "rare.npz", rare=6))
    npf.compare(recipe, ["normal"], [0], out=tmp_path / "out", explain=True)
    assert (tmp_path / "out" / "report.html").is_file()


# Figures of several runs


def test_figures_and_theorems_of_two_runs(run: Run, other: Run, tmp_path: Path) -> None:
    files, table = draw([run, other], ["fig9", "theory", "fig13"], tmp_path / "deep" / "out", limit=LIMIT)
    names = ["fig9.png", "fig9.svg", "theory.md", "fig13.png", "fig13.svg"]
    assert files == [tmp_path / "deep" / "out" / name for name in names]
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == sorted(names)
    for file in files:
        start = {".png": b"\x89PNG", ".svg": b"<?xml", ".md": b"The theorems"}[file.suffix]
        assert file.read_bytes().startswith(start)
    assert table is not None
    assert table.columns == ("What", run.name, other.name)
    assert files[2].read_text(encoding="utf-8") == table.to_markdown()


def test_runs_are_drawn_under_their_names(run: Run, other: Run) -> None:
    found = {each.name: Explanation(each, limit=LIMIT) for each in (run, other)}
    figure = FIGURES["fig10"](found)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [run.name, other.name]
    boxes = [patch.get_path().vertices[:, 0] for patch in figure.axes[0].patches]  # type: ignore[index]
    for box, each in zip(boxes, found.values(), strict=True):
        lowest = np.sort(each.curvature.values)[: round(0.9 * LIMIT)]
        assert [box.min(), box.max()] == pytest.approx(np.percentile(lowest, [25, 75]))


def test_what_is_not_asked_for_is_not_made(run: Run, tmp_path: Path) -> None:
    watcher = Counter()
    files, table = draw([run], ["fig10"], tmp_path, limit=5, progress=watcher)
    assert ([file.name for file in files], table) == (["fig10.png", "fig10.svg"], None)
    assert watcher.begun == ["curvature"]


def test_the_same_files_every_time(run: Run, tmp_path: Path) -> None:
    for name in ("one", "other"):
        draw([run], ["fig8"], tmp_path / name, limit=10)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


@pytest.mark.parametrize("runs", [0, 2])
def test_no_run_and_the_same_run_twice(run: Run, tmp_path: Path, runs: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"at least one run, and no .* twice"):
        draw([run] * runs, ["fig8"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_figure(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown figure 'theorie'; did you mean 'theory'\?"):
        draw([run], ["fig8", "theorie"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def refusal(runs: list[Run], name: str, out: Path) -> str | None:
    """The words in which a figure is refused; None where it is drawn."""
    try:
        files, _ = draw(runs, [name], out, limit=10)
    except NoiseproofError as error:
        return str(error)
    assert all(file.is_file() for file in files)
    return None


@pytest.mark.parametrize("name", ["fig8", "fig9"])
def test_runs_trained_with_different_noise_are_drawn_or_refused_in_words(
    run: Run, louder: Run, tmp_path: Path, name: str
) -> None:
    words = refusal([run, louder], name, tmp_path / "out")
    assert words is None or "noise" in words


def test_runs_with_different_noise_can_be_looked_at_under_one(run: Run, louder: Run, tmp_path: Path) -> None:
    files, _ = draw([run, louder], ["fig8"], tmp_path / "out", limit=10, noise="gaussian:0.2")
    assert len(files) == 2


@pytest.mark.parametrize("first", [0, 1])
def test_runs_with_different_blocks_are_drawn_or_refused_in_words(run: Run, tmp_path: Path, first: int) -> None:
    np.savez(tmp_path / "v.npz", x=np.random.default_rng(0).random((60, 5)), y=np.arange(60) % 3)
    small = recipe_of(f"npz:{tmp_path / 'v.npz'}", model={"name": "mlp", "embedding_dim": 4})
    runs = [run, npf.train(small, "noisy", 0, out=tmp_path / "vectors")]
    assert refusal([runs[first], runs[1 - first]], "fig12", tmp_path / "out") != ""


@pytest.mark.parametrize("name", ["uniform:0.2", "occlusion:n=2,size=0.3", "clean"])
def test_a_run_trained_with_another_noise_than_gaussian(recipe: Recipe, tmp_path: Path, name: str) -> None:
    trained = npf.train(recipe, "normal", 0, {"noise.train": name}, tmp_path / "run")
    files, table = draw([trained], ["fig1", "fig8", "theory"], tmp_path / "out", limit=LIMIT)
    assert all(file.stat().st_size for file in files)
    assert table is not None
    sigma = {"uniform:0.2": "0.11547"}.get(name, "0.06")
    noise = {row[0].text: row[-1].text for row in table.rows}["Noise"]
    assert noise.startswith(f"σ = {sigma},")


def test_without_noise_nothing_is_said_of_noisy_features(run: Run) -> None:
    figure = FIGURES["fig1"]({"A": Explanation(run, limit=10, noise="clean")})
    assert not any("nan" in axes.get_title() for axes in figure.axes)


# Sections of a page


def sections(folder: Path, *runs: Run) -> tuple[list[Panel], bool]:
    """The sections for runs, and whether they were made for this call."""
    watcher = Counter()
    made = panels({each.name: each for each in runs}, folder, limit=LIMIT, progress=watcher)
    return made, bool(watcher.begun)


@pytest.fixture(scope="module")
def first(run: Run, other: Run, place: Path) -> list[Panel]:
    """The sections for two runs, kept in a folder."""
    (place / "kept").mkdir()
    return sections(place / "kept", run, other)[0]


@pytest.fixture
def kept(first: list[Panel], place: Path, tmp_path: Path) -> Path:
    """A copy of the folder that the first sections were kept in."""
    return Path(shutil.copytree(place / "kept", tmp_path / "kept"))


def test_three_sections(first: list[Panel], run: Run, other: Run) -> None:
    assert tuple(panel.title for panel in first) == TITLES
    curved, lying, theorems = first
    for panel in (curved, lying):
        assert "<svg" in panel.figure
        assert panel.table is None
    found = {each.name: Explanation(each, limit=LIMIT) for each in (run, other)}
    for title, each in found.items():
        lowest = np.sort(each.curvature.values)[: round(0.9 * LIMIT)]
        assert f"{title} {np.median(lowest):.2g}" in curved.words
        assert f">{np.median(lowest):.2g}<" in curved.figure
        clean, noisy = (100 * part for part in (each.feature_map.neighbours_clean, each.feature_map.neighbours_noisy))
        assert f"{title} {clean:.0f} % and {noisy:.0f} %" in lying.words
    assert f"{LIMIT} test samples" in curved.text
    assert (
        f"Shown are the 90 % of them with the lowest values, {round(0.9 * LIMIT)} samples of each model" in curved.text
    )
    assert "σ 0.3" in lying.text
    assert theorems.figure == ""
    assert theorems.table is not None
    assert theorems.table.columns == ("What", run.name, other.name)


@pytest.fixture
def makings(first: list[Panel], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The runs of every making of sections, which takes no time here: it gives those that are known."""
    noted: list[list[str]] = []

    def make(found: dict[str, Explanation]) -> list[Panel]:
        noted.append(list(found))
        return first

    monkeypatch.setattr(rooms, "_panels", make)
    return noted


def test_sections_are_kept_and_taken_from_there(first: list[Panel], kept: Path, run: Run, other: Run) -> None:
    assert sections(kept, run, other) == (first, False)


def test_made_anew_they_are_the_same(first: list[Panel], kept: Path, run: Run, other: Run) -> None:
    before = (kept / "explanation.json").read_bytes()
    (kept / "explanation.json").unlink()
    assert sections(kept, run, other) == (first, True)
    assert (kept / "explanation.json").read_bytes() == before


def test_other_weights_are_explained_anew(
    kept: Path, run: Run, other: Run, tmp_path: Path, makings: list[list[str]]
) -> None:
    changed = Run(shutil.copytree(other.folder, tmp_path / "changed"))
    weights = changed.folder / "model.safetensors"
    sections(kept, run, changed)
    assert makings == []
    model = load_model(weights)
    with torch.no_grad():
        model.head.weight.mul_(1.5)
    save_model(weights, model, read_description(weights))
    for _ in range(2):
        sections(kept, run, changed)
        assert makings == [[run.name, other.name]]


def test_other_runs_are_explained_anew(kept: Path, run: Run, other: Run, makings: list[list[str]]) -> None:
    for runs in ([run], [other, run]):
        sections(kept, *runs)
        assert makings.pop() == [each.name for each in runs]


def damage(path: Path, how: str) -> None:
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    match how:
        case "cut short":
            path.write_text(text[: len(text) // 2], encoding="utf-8")
        case "empty":
            path.write_text("")
        case "no text":
            path.write_bytes(b"\xff\xfe\x00")
        case "a list":
            path.write_text("[]")
        case "no sections":
            path.write_text(json.dumps({"key": content["key"]}))
        case "other sections":
            path.write_text(json.dumps({"key": content["key"], "panels": ["one", "two"]}))
        case "a part missing":
            for panel in content["panels"]:
                del panel["title"]
            path.write_text(json.dumps(content))
        case "a table missing":
            del content["panels"][2]["table"]["rows"]
            path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "how",
    ["cut short", "empty", "no text", "a list", "no sections", "other sections", "a part missing", "a table missing"],
)
def test_a_damaged_file_is_made_anew(
    first: list[Panel], kept: Path, run: Run, other: Run, how: str, makings: list[list[str]]
) -> None:
    whole = (kept / "explanation.json").read_bytes()
    damage(kept / "explanation.json", how)
    assert sections(kept, run, other)[0] == first
    assert len(makings) == 1
    assert (kept / "explanation.json").read_bytes() == whole


# The page


def read(*given: Panel) -> Reader:
    return Reader(render_page(Page(comparison(), Setup((), "name: toy"), panels=given)))


def test_the_page_shows_the_sections_in_words_too(first: list[Panel]) -> None:
    reader = read(*first)
    headings = reader.text("h2")
    assert [heading for heading in headings if heading in TITLES] == list(TITLES)
    plots = [attributes["aria-label"] for attributes in reader.all("div") if attributes.get("role") == "img"]
    assert plots[1:] == [first[0].words, first[1].words]
    assert all(words.strip() for words in plots)
    table = first[2].table
    assert table is not None
    assert f"Table: {table.title}" in [attributes.get("aria-label") for attributes in reader.all("div")]
    shown = [" ".join(cell.split()) for cell in reader.cells]
    for row in table.rows:
        assert all(" ".join(entry.text.split()) in shown for entry in row if entry.text)
    assert all(cell.get("scope") in ("row", "col", "rowgroup") for cell in reader.all("th"))


def test_names_in_the_sections_are_text(first: list[Panel]) -> None:
    reader = read(*first)
    assert reader.all("b") == []
    shown = [text for tag, text in reader.texts if tag == "span"]
    for number, name in enumerate(CLASSES):
        assert f"{number} {name}" in shown


@pytest.mark.parametrize("evil", [EVIL, QUOTES])
def test_every_text_of_a_section_is_escaped(evil: str) -> None:
    table = Table(evil, ("What", evil), ((Entry(evil, best=True), Entry("")), (Entry(evil), Entry(evil))), evil)
    reader = read(Panel(evil, evil, "<svg><title>t</title></svg>", evil, table))
    assert len(reader.all("script")) == 1
    assert reader.all("img") == []
    labels = [attributes.get("aria-label") for attributes in reader.all("div")]
    assert evil in labels
    assert f"Table: {evil}" in labels
    assert evil in reader.text("h2")
    assert evil in reader.text("p")


def test_a_page_without_sections_has_none() -> None:
    reader = read()
    assert not set(TITLES) & set(reader.text("h2"))
    assert len([1 for attributes in reader.all("div") if attributes.get("role") == "img"]) == 1


# Comparisons


def test_a_comparison_explains_only_when_asked(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = rooms.Explanation
    monkeypatch.setattr(rooms, "Explanation", lambda run, **settings: silent(run, **{**settings, "limit": LIMIT}))
    out = tmp_path / "out"
    npf.compare(recipe, ["normal", "noisy", "discriminative"], [1, 0], out=out)
    assert not set(TITLES) & set(Reader((out / "report.html").read_text(encoding="utf-8")).text("h2"))
    assert not (out / "explanation.json").exists()

    npf.compare(recipe, ["normal", "noisy", "discriminative"], [1, 0], out=out, explain=True)
    page = (out / "report.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert set(TITLES) <= set(reader.text("h2"))
    words = next(attributes["aria-label"] for attributes in reader.all("div") if "Box plots" in str(attributes))
    for method, title in {"normal": "Normal training", "noisy": "Only noisy inputs"}.items():
        values = silent(Run(out / method / "seed-1"), limit=LIMIT).curvature.values
        assert f"{title} {np.median(np.sort(values)[: round(0.9 * LIMIT)]):.2g}" in words
    cells = [cell.strip() for cell in reader.cells]
    place = cells.index("What")
    assert cells[place + 1 : place + 3] == [METHODS[method].title for method in ("normal", "discriminative")]

    watcher = Counter()
    npf.compare(recipe, ["normal", "noisy", "discriminative"], [1, 0], out=out, explain=True, progress=watcher)
    assert [title for title in watcher.begun if not title.startswith("compare")] == []
    assert (out / "report.html").read_text(encoding="utf-8") == page
