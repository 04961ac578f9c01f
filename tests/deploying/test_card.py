"""The model card: it says what is known, names what is not, and no name in it turns into anything else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

import noiseproof as npf
from noiseproof.deploying import export, model_card, write_card
from noiseproof.deploying.markdown import code, escape, fenced
from noiseproof.errors import ExportError, NoiseproofError, RunFolderError
from noiseproof.experiments import evaluate_run
from noiseproof.training import Run
from tests.cli.problems import contents
from tests.deploying.conftest import HOSTILE


class Page(HTMLParser):
    """What a reader sees: the text, the tags, and the rows of tables by their first cell."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.text, self.tags, self.rows, self._inside = "", set[str](), list[list[str]](), False
        self.feed(MarkdownIt("commonmark").enable("table").enable("strikethrough").render(markdown))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """The cells behind the one that says ``name``."""
        return next(row[1:] for row in self.rows if row[0] == name)


def parts(card: str) -> tuple[dict[str, Any], Page]:
    """The front matter and the page."""
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), Page(body)


@pytest.fixture
def digits_copy(digits: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(digits.folder, tmp_path / "run"))


def test_without_an_evaluation_the_card_says_so_and_measures_nothing(digits_copy: Run) -> None:
    before = contents(digits_copy.folder)
    path = write_card(digits_copy)
    assert path == digits_copy.folder / "export" / "MODEL_CARD.md"
    front, page = parts(path.read_text(encoding="utf-8"))
    assert "model-index" not in front
    assert f"Not measured: the run holds no evaluation report. noiseproof evaluate {digits_copy.folder}" in page.text
    assert "Nothing was measured of this model" in page.text
    after = contents(digits_copy.folder)
    del after["export/MODEL_CARD.md"]
    assert after == before


def test_with_an_evaluation_the_card_has_its_numbers(digits_copy: Run) -> None:
    report = evaluate_run(digits_copy, ["clean", "gaussian:0.3", "fgsm:0.1"], draws=3)
    front, page = parts(model_card(digits_copy))
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert [each["value"] for each in metrics] == [pytest.approx(result.mean, abs=1e-6) for result in report.values()]
    assert metrics[1]["args"]["interval_95"] == pytest.approx(list(report["gaussian:0.3"].interval), abs=1e-6)
    for result in report.values():
        low, high = result.interval
        accuracy, std, interval, lowest = page.row(result.key)[:4]
        assert accuracy == f"{'≤ ' if result.worst_case else ''}{100 * result.mean:.1f}"
        assert interval == f"{100 * low:.1f} to {100 * high:.1f}"
        assert std == (f"±{100 * result.std:.1f}" if result.random else "")
        worst = float(report.per_class(result.key).min())
        assert lowest.startswith(f"{100 * worst:.1f} (")
    assert "Not measured: the run" not in page.text
    assert "Attacks, perturbations that are made" not in page.text
    assert "360 test samples" in page.text
    assert "deviation of 0.3" in page.text


def test_the_front_matter_is_what_the_hub_reads(digits_copy: Run) -> None:
    hub = pytest.importorskip("huggingface_hub")
    report = evaluate_run(digits_copy, ["clean", "gaussian:0.3"], draws=2)
    card = hub.ModelCard(model_card(digits_copy))
    assert (card.data.library_name, card.data.pipeline_tag) == ("noiseproof", "image-classification")
    assert card.data.metrics == ["accuracy"]
    assert card.data.license is None
    assert {"noiseproof", "robustness"} <= set(card.data.tags)
    found = card.data.eval_results
    assert [each.metric_value for each in found] == [round(result.mean, 6) for result in report.values()]
    assert {each.metric_type for each in found} == {"accuracy"}
    assert {(each.task_type, each.dataset_type, each.dataset_split) for each in found} == {
        ("image-classification", "digits", "test")
    }


def test_the_card_tells_what_was_trained_on_what(digits: Run) -> None:
    front, page = parts(model_card(digits))
    provenance = digits.recipe.provenance
    for told in (
        str(provenance["data_fingerprint"]), "small-cnn", "Clean and noisy inputs (mixed)", "gaussian:0.3", "digits",
        "width=8", provenance["versions"]["torch"], npf.__version__,
        f"{sum(each.numel() for each in digits.model().parameters()):,}", "max_steps: 60",
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
    ):  # fmt: skip
        assert told in page.text
    for part, count in provenance["samples"].items():
        assert page.row(f"Samples, {part}")[0] == str(count)
    layer = digits.model().normalize
    assert page.row("First layer, by channel")[0] == f"(x − {float(layer.mean):.4g}) / {float(layer.std):.4g}"
    assert "in [0, 1]" in page.row("Input")[0]
    assert "onnx" not in front["tags"]
    recipe = re.search(r"```yaml\n(.*?)```", model_card(digits), re.DOTALL)
    assert recipe is not None
    assert npf.training.Recipe.from_mapping(yaml.safe_load(recipe[1])).settings() == digits.recipe.settings()


def test_a_method_without_noise_and_a_name_that_is_anything(vectors: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(vectors.folder, tmp_path / "a `run` <b>"))
    assert f"noiseproof evaluate '{run.folder}'" in parts(model_card(run))[1].text
    evaluate_run(run, ["clean"])
    card = model_card(run)
    front, page = parts(card)
    assert "none; the method sees clean inputs alone" in page.text
    assert front["pipeline_tag"] == "tabular-classification"
    for name in HOSTILE:
        assert " ".join(name.split()) in page.text
    assert page.tags <= {
        "h1", "h2", "p", "a", "em", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "pre", "code"
    }  # fmt: skip
    assert set(re.findall(r'href="([^"]*)"', MarkdownIt().render(card.split("---\n", 2)[2]))) == {
        "https://arxiv.org/abs/2405.18499"
    }


def test_what_the_caveat_of_a_run_is(digits_copy: Run) -> None:
    path = digits_copy.folder / "recipe.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("keep: best-validation", "keep: best-test"))
    evaluate_run(digits_copy, ["clean"])
    assert model_card(digits_copy).count("The weights were chosen on the test set") == 2


def test_a_damaged_report_is_told(digits_copy: Run) -> None:
    evaluate_run(digits_copy, ["clean"])
    (digits_copy.folder / "evaluation" / "report.npz").write_bytes(b"")
    for write in (write_card, export):
        with pytest.raises(NoiseproofError, match="cannot read a robustness report"):
            write(digits_copy)
    assert not (digits_copy.folder / "export").exists()


def test_a_card_that_may_have_been_edited_is_not_replaced(digits: Run, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "card.md"
    write_card(digits, path)
    path.write_text("edited")
    with pytest.raises(ExportError, match="is there already; choose another with --out, or pass --overwrite"):
        write_card(digits, path)
    assert path.read_text() == "edited"
    assert "## Limits" in write_card(digits.folder, path, overwrite=True).read_text(encoding="utf-8")
    with pytest.raises(ExportError, match="is a folder"):
        write_card(digits, path.parent, overwrite=True)


def test_only_a_run_has_a_card(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="enough known for a model card"):
        write_card("package.module:make")
    with pytest.raises(RunFolderError, match="holds no run"):
        write_card(tmp_path)


# Escaping


@pytest.mark.parametrize(
    "text", [*HOSTILE, "~~gone~~", "a\\*b", "&amp;", "$x$", "www.x.y http://x.y a@b.c", "```", "~", "| |"]
)
def test_escaped_text_is_shown_letter_by_letter(text: str) -> None:
    for made in (f"Say {escape(text)}.", f"Say {code(text)}."):
        page = Page(made)
        assert page.text.strip() == f"Say {' '.join(text.split())}."
        assert page.tags <= {"p", "code"}
    assert Page(f"| a |\n| --- |\n| {escape(text)} |\n").rows[1][0] == " ".join(text.split())
    assert Page(fenced(f"x\n{text}")).text.strip() == f"x\n{text}"
    assert escape(escape(text)) == escape(text)


# Beside an ONNX file


def test_an_export_writes_a_card_that_shows_how_to_use_the_file(vectors: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    found = export(vectors, tmp_path / "here" / "näme.onnx")
    assert found.card == tmp_path / "here" / "MODEL_CARD.md"
    card = found.card.read_text(encoding="utf-8")
    front, page = parts(card)
    assert "onnx" in front["tags"]
    assert "in the units and scale of the training data" in page.row("Input")[0]
    told = runtime.InferenceSession(found.onnx.path).get_modelmeta().custom_metadata_map
    for name in ("mean", "std"):
        expected = getattr(vectors.model().normalize, name).tolist()
        assert json.loads(told[f"noiseproof.normalisation_{name}"]) == pytest.approx(expected)
    assert found.onnx.sha256 in page.text
    assert "test inputs (clean and gaussian:0.3), in batches of 1, 2, 7, 64" in page.text
    usage = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert usage is not None
    done = subprocess.run([sys.executable, "-c", usage[1]], cwd=tmp_path / "here", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in {str([name]) for name in HOSTILE}
    with pytest.raises(ExportError, match="is there already"):
        export(vectors, tmp_path / "here" / "other.onnx")
    assert not (tmp_path / "here" / "other.onnx").exists()
