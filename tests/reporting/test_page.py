"""The HTML page: sound, self-contained, readable for everybody, and safe whatever names it shows."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from noiseproof.errors import UnknownNameError
from noiseproof.reporting import (
    Example,
    Mistake,
    Mistakes,
    Page,
    Panel,
    Setup,
    Table,
    comparison_table,
    render_page,
)
from noiseproof.reporting.tables import Entry
from tests.evaluation.problems import comparison

EVIL = "<script>alert(1)</script>"
QUOTES = "\"><img src=x onerror='alert(1)'>&amp;"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects the elements and texts of a page, and checks that what is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.cells: list[str] = []
        self.declarations: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("th", "td"):
            self.cells.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"th", "td"} & set(self._open):
            self.cells[-1] += data
        if data.strip():
            self.texts.append((self._open[-1], data.strip()))

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if tag in tags]


def examples(class_name: str = "three") -> list[Example]:
    keys = ("clean", "gaussian:0.1", "gaussian:0.5")
    grey = {key: np.full((8, 8), 0.2 * index, dtype=np.float32) for index, key in enumerate(keys)}
    colour = {key: np.full((4, 4, 3), 0.9, dtype=np.float32) for key in keys}
    return [Example(class_name, grey), Example("frog", colour)]


def mistakes(class_name: str = "three", answer: str = "five", note: str = "", model: str = "“Robust”") -> Mistakes:
    grey = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    series = np.stack([np.arange(5), np.arange(5)[::-1]]).astype(np.float32)
    samples = (
        Mistake(17, class_name, grey, grey[..., ::-1], 0.987, answer, 0.61, 9, 10),
        Mistake(4, class_name, series, -series, 0.5, answer, 1.0, 1, 10),
    )
    return Mistakes(model, "gaussian:0.5", samples, note)


def page(
    title: str = "toy", method: str = "Robust training", recipe: str = "name: toy", class_name: str = "three",
    sentence: str = "Two methods were trained.", panel: str = "A section", difference: str = "train.epochs",
) -> str:  # fmt: skip
    made = comparison(title, {"plain": "Plain training", "robust": method})
    differences = Table("Differences", ("Setting", method), ((Entry(difference), Entry(difference)),), difference)
    return render_page(
        Page(
            made, Setup((sentence,), recipe, differences), examples=examples(class_name),
            mistakes=mistakes(class_name, class_name), panels=[Panel(panel, panel)],
        )
    )  # fmt: skip


def bare(seeds: int = 2, **more: object) -> Reader:
    return Reader(render_page(Page(comparison(seeds=seeds), Setup((), "name: toy"), **more)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def read() -> Reader:
    return Reader(page())


def test_is_a_whole_page_in_a_language(read: Reader) -> None:
    assert read.declarations == ["doctype html"]
    assert read.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in read.all("meta")
    assert any(attributes.get("name") == "viewport" for attributes in read.all("meta"))
    assert "toy" in read.text("title")[0]


def test_headings_are_in_order(read: Reader) -> None:
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_table_is_the_table(read: Reader) -> None:
    table = comparison_table(comparison())
    shown = [*table.columns, *(str(entry) for row in table.rows for entry in row)]
    cells = [" ".join(cell.split()) for cell in read.cells]
    start = next(place for place in range(len(cells)) if cells[place : place + 3] == list(table.columns[:3]))
    assert cells[start : start + len(shown)] == shown
    assert len([1 for cell in read.all("td") if cell.get("class") == "best"]) == 3
    assert table.caption in read.text("caption")


def test_one_method_is_not_said_to_be_the_best() -> None:
    made = comparison()
    del made.reports["plain"]
    alone = Reader(render_page(Page(made, Setup((), "name: toy"))))
    assert not [1 for cell in alone.all("td") if cell.get("class") == "best"]
    assert not any("Bold" in text for text in alone.text("caption"))
    finding = alone.text("h2")[0].replace("\N{NO-BREAK SPACE}", " ")
    assert finding == "Under Gaussian noise of σ 0.5, 66.7 % of the test samples are answered rightly."


def test_the_finding_is_the_first_heading_below_the_title(read: Reader) -> None:
    assert read.text("h1") == ["toy"]
    finding = read.text("h2")[0].replace("\N{NO-BREAK SPACE}", " ")
    assert finding.startswith("Under Gaussian noise of σ 0.5, “Robust training” ")
    assert "66.7 %" in finding


def test_large_numbers_are_those_of_the_leader(read: Reader) -> None:
    numbers = [text for text in read.text("dd") if not text.startswith("95 %")]
    assert numbers == ["66.7", "85.0", "+36.7"]
    labels = [text.replace("\N{NO-BREAK SPACE}", " ") for text in read.text("dt")]
    assert labels == ["under Gaussian noise of σ 0.5", "on clean inputs", "ahead of “Plain training”"]


def test_another_noise_can_be_looked_at() -> None:
    read = bare(noise="gaussian:std=0.1")
    assert "σ\N{NO-BREAK SPACE}0.1" in read.text("h2")[0]
    assert any("σ\N{NO-BREAK SPACE}0.1" in text for text in read.text("caption"))
    with pytest.raises(UnknownNameError, match="did you mean"):
        bare(noise="gaussian:0.2")


def test_pictures_have_words(read: Reader) -> None:
    alts = [image["alt"] for image in read.all("img")]
    assert alts[:2] == ["Sample 17, clean", "Sample 17, noisy"]
    assert alts[2:5] == ["Class three, clean", "Class three, σ 0.1", "Class three, σ 0.5"]
    drawn = [attributes for _, attributes in read.elements if attributes.get("role") == "img"]
    assert all(attributes["aria-label"].strip() for attributes in drawn)
    assert any("Plain training from 95.0 to 30.0 %" in attributes["aria-label"] for attributes in drawn)
    assert [each["aria-label"] for each in drawn if each.get("class") == "spark"] == [
        "Sample 4, clean", "Sample 4, noisy",
    ]  # fmt: skip


def test_answers_stand_with_their_probabilities(read: Reader) -> None:
    captions = [text for text in read.text("span") if text.endswith(" %") or text in ("three", "five")]
    assert captions[:4] == ["three", "99 %", "three", "61 %"]
    assert "Sample 17: wrong in 9 of 10 draws" in read.text("p")


def drawn_series(*samples: Mistake) -> Reader:
    return bare(mistakes=Mistakes("“Robust”", "gaussian:0.5", samples))


def test_a_single_draw_is_not_counted() -> None:
    series = np.stack([np.arange(5), np.arange(5)[::-1]]).astype(np.float32)
    said = drawn_series(Mistake(4, "three", series, -series, 0.5, "five", 1.0, 1, 1)).text("p")
    assert "Sample 4: wrong" in said
    assert not any("most often" in text or "draw" in text for text in said)


def test_of_many_channels_those_that_noise_changes_most_are_drawn_on_their_own_scale() -> None:
    clean = np.zeros((5, 4), dtype=np.float32)
    clean[0] = 1000  # not drawn, so no reason to draw the others as flat lines
    noisy = clean.copy()
    noisy[[1, 3, 4], 2] = [3.0, 1.0, 2.0]
    read = drawn_series(Mistake(4, "three", clean, noisy, 0.5, "five", 1.0, 9, 10))
    assert "Sample 4: wrong in 9 of 10 draws; channels 1, 3 and 4" in read.text("p")
    assert any("Of the 5 channels, counted from 0, the pictures show the three" in text for text in read.text("p"))
    lines = [each["d"] for each in read.all("path") if each.get("vector-effect") and "L" in each["d"]][-6:]
    heights = [[float(point.split()[1]) for point in line.removeprefix("M").split("L")] for line in lines]
    assert heights[:3] == [[95.0] * 4] * 3
    assert [min(each) for each in heights[3:]] == [5.0, 65.0, 35.0]


def test_few_channels_are_all_drawn_and_not_counted(read: Reader) -> None:
    assert not any("channel" in text for text in read.text("p"))


def test_header_cells_say_what_they_head(read: Reader) -> None:
    assert all(cell.get("scope") in ("row", "col", "rowgroup") for cell in read.all("th"))


def test_example_images_are_in_the_page(read: Reader) -> None:
    sources = [image["src"] for image in read.all("img") if image["alt"].startswith("Class")]
    assert len(sources) == 6
    pictures = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]
    assert [picture.size for picture in pictures] == [(8, 8)] * 3 + [(4, 4)] * 3
    assert [picture.mode for picture in pictures] == ["L"] * 3 + ["RGB"] * 3
    assert pictures[1].getpixel((0, 0)) == 51


def test_nothing_is_loaded_from_elsewhere(read: Reader) -> None:
    assert all("src" not in script for script in read.all("script"))
    assert read.all("link") == [{"rel": "icon", "href": "data:,"}]  # so that no browser asks for a favicon
    assert not read.all("iframe")
    for tag, attributes in read.elements:
        for name, value in attributes.items():
            if not name.startswith("xmlns"):
                assert not re.search("https?://|^//", value), (tag, name, value)
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:", "#")), (tag, name, value)
    for text in read.text("style"):
        assert not re.search(r"@import|url\((?!['\"]?#)", text)


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(read: Reader) -> None:
    (policy,) = [meta["content"] for meta in read.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert (rules["default-src"], rules["img-src"], rules["base-uri"], rules["form-action"]) == (
        "'none'", "data:", "'none'", "'none'",
    )  # fmt: skip
    text = page()
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert not any("style" in attributes for _, attributes in read.elements), "an inline style would not be shown"
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_no_address_but_namespaces(read: Reader) -> None:
    namespaces = {value for _, attributes in read.elements for name, value in attributes.items() if "xmlns" in name}
    assert {found for found in re.findall(r"https?://[^\s\"'<>]+", page()) if found not in namespaces} == set()


@pytest.mark.parametrize("evil", [EVIL, QUOTES, "{{ 7 * 7 }}", "--> <b>x</b>", "]]>"])
@pytest.mark.parametrize("place", ["title", "method", "recipe", "class_name", "sentence", "panel", "difference"])
def test_names_are_shown_and_never_run(read: Reader, evil: str, place: str) -> None:
    safe = Reader(page(**{place: evil}))
    assert [tag for tag, _ in safe.elements] == [tag for tag, _ in read.elements]
    assert not any(name.startswith("on") for _, attributes in safe.elements for name in attributes)
    assert any(evil in text for _, text in safe.texts)
    assert [text for tag, text in safe.texts if tag == "script"] == [
        text for tag, text in read.texts if tag == "script"
    ]


def test_the_recipe_is_shown_whole() -> None:
    recipe = 'name: toy\ntrain:\n  epochs: 3  # <few> & "quick"\n'
    assert recipe.strip() in Reader(page(recipe=recipe)).text("pre")


def test_without_examples_there_is_no_empty_section() -> None:
    headings = bare().text("h2")
    assert headings[1:] == ["Accuracy against noise", "Which classes suffer", "How it was made"]
    assert not bare().all("img")


def test_why_there_are_no_worst_examples_is_said() -> None:
    read = bare(mistakes=Mistakes("“Robust”", "gaussian:0.5", (), "There is no picture of vectors."))
    assert "There is no picture of vectors." in read.text("p")
    assert "Where noise does most harm" in read.text("h2")
    assert not read.all("img")


def test_one_seed_and_one_column_make_a_page() -> None:
    read = bare(seeds=1)
    assert "one training seed" in " ".join(read.text("h2")).lower()


def test_is_the_same_every_time() -> None:
    assert page() == page()
