"""The HTML page: sound, self-contained, readable for everybody, and safe whatever names it shows."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from noiseproof.reporting import Example, comparison_page, comparison_table
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


def page(
    title: str = "toy", method: str = "Robust training", recipe: str = "name: toy", class_name: str = "three"
) -> str:
    made = comparison(title, {"plain": "Plain training", "robust": method})
    return comparison_page(made, recipe, examples(class_name))


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
    assert [" ".join(cell.split()) for cell in read.cells[: len(shown)]] == shown
    assert len([1 for cell in read.all("td") if cell.get("class") == "best"]) == 3
    assert read.text("caption") == [table.caption]


def test_headlines_name_the_winners(read: Reader) -> None:
    assert read.text("strong") == ["95.0 %", "66.7 %"]
    assert read.text("li") == ["Best at clean", "Plain training", "Best at σ 0.5", "Robust training"]


def test_pictures_have_words(read: Reader) -> None:
    assert [image["alt"] for image in read.all("img")][:3] == [
        "Class three, clean", "Class three, σ 0.1", "Class three, σ 0.5",
    ]  # fmt: skip
    assert all(image["alt"].strip() for image in read.all("img"))
    (plot,) = [attributes for attributes in read.all("div") if attributes.get("role") == "img"]
    assert "Plain training from 95.0 to 30.0 %" in plot["aria-label"]


def test_header_cells_say_what_they_head(read: Reader) -> None:
    assert all(cell.get("scope") in ("row", "col") for cell in read.all("th"))


def test_example_images_are_in_the_page(read: Reader) -> None:
    sources = [image["src"] for image in read.all("img")]
    assert len(sources) == 6
    pictures = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]
    assert [picture.size for picture in pictures] == [(8, 8)] * 3 + [(4, 4)] * 3
    assert [picture.mode for picture in pictures] == ["L"] * 3 + ["RGB"] * 3
    assert pictures[1].getpixel((0, 0)) == 51


def test_nothing_is_loaded_from_elsewhere(read: Reader) -> None:
    assert not read.all("script")
    assert not read.all("link")
    assert not read.all("iframe")
    for tag, attributes in read.elements:
        for name, value in attributes.items():
            if not name.startswith("xmlns"):
                assert not re.search("https?://|^//", value), (tag, name, value)
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:", "#")), (tag, name, value)
    for text in read.text("style"):
        assert not re.search(r"@import|url\((?!['\"]?#)", text)


def test_no_address_but_namespaces(read: Reader) -> None:
    namespaces = {value for _, attributes in read.elements for name, value in attributes.items() if "xmlns" in name}
    assert {found for found in re.findall(r"https?://[^\s\"'<>]+", page()) if found not in namespaces} == set()


@pytest.mark.parametrize("evil", [EVIL, QUOTES, "{{ 7 * 7 }}", "--> <b>x</b>", "]]>"])
@pytest.mark.parametrize("place", ["title", "method", "recipe", "class_name"])
def test_names_are_shown_and_never_run(read: Reader, evil: str, place: str) -> None:
    safe = Reader(page(**{place: evil}))
    assert [
        tag for tag, _ in safe.elements if tag not in ("g", "path", "use", "defs", "clippath", "rect", "text")
    ] == [tag for tag, _ in read.elements if tag not in ("g", "path", "use", "defs", "clippath", "rect", "text")]
    assert not any(name.startswith("on") for _, attributes in safe.elements for name in attributes)
    assert any(evil in text for _, text in safe.texts)


@pytest.mark.parametrize("evil", [EVIL, QUOTES, "a < b & c", "from 5 $ to 9 $"])
def test_method_titles_are_shown_as_they_are_in_the_plot(evil: str) -> None:
    assert evil in Reader(page(method=evil)).text("text")


def test_the_recipe_is_shown_whole() -> None:
    recipe = 'name: toy\ntrain:\n  epochs: 3  # <few> & "quick"\n'
    assert recipe.strip() in Reader(page(recipe=recipe)).text("pre")


def test_without_examples_there_is_no_empty_section() -> None:
    bare = Reader(comparison_page(comparison(), "name: toy"))
    assert not bare.all("img")
    assert not any("noise looks like" in text for text in bare.text("h2"))


def test_one_seed_and_one_column_make_a_page() -> None:
    Reader(comparison_page(comparison(seeds=1), "name: toy"))


def test_is_the_same_every_time() -> None:
    assert page() == page()
