"""The page in a real browser: it asks for nothing, complains of nothing, and can be read and used by everybody.

Needs Debian's package ``chromium`` or any other Chromium or Chrome; without one these tests are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noiseproof as npf
from noiseproof.evaluation import Comparison
from noiseproof.reporting import Mistake, Mistakes, Page, Panel, Setup, Table, render_page
from noiseproof.reporting.rendering import map_markup, range_markup
from noiseproof.reporting.tables import Entry
from tests.evaluation.problems import report
from tests.reporting.test_figures import mapped

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

PHONE, DESK = 390, 1280
LIGHT, DARK = "light", "dark"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
EVIL = "<script>alert(1)</script>"
QUOTES = "\"><img src=x onerror='alert(1)'>"
LONG = "anextraordinarilylongnamewithoutanyplacetobreakitwhichnobodyshouldgivetoaclass"


def hostile() -> str:
    """A page made of names that want to be code, or are too long, with every kind of section."""
    counts = {"clean": [9], "gaussian:0.1": [7, 8], "jpeg:20": [6]}
    reports = {name: {0: report(counts)} for name in ("a", "b", "c")}
    for by_seed in reports.values():
        by_seed[0].class_names = (EVIL, QUOTES)
    made = Comparison(EVIL, reports, {"a": EVIL, "b": LONG, "c": QUOTES}, f"Caveat {EVIL}")
    series = np.stack([np.arange(6), np.arange(6)[::-1]]).astype(np.float32)
    mistakes = Mistakes(EVIL, "jpeg:20", (Mistake(3, EVIL, series, -series, 0.9, LONG, 0.8, 2, 2),), QUOTES)
    table = Table(EVIL, ("What", LONG), ((Entry(EVIL, best=True), Entry("")), (Entry(LONG), Entry(QUOTES))), EVIL)
    panels = [
        Panel(EVIL, QUOTES, range_markup({LONG: np.arange(1, 9), EVIL: np.arange(1, 5)}, EVIL), QUOTES),
        Panel(QUOTES, EVIL, map_markup({EVIL: mapped(names=(EVIL, LONG, QUOTES))}), EVIL),
        Panel(LONG, EVIL, table=table),
    ]
    setup = Setup((EVIL, LONG), f"{EVIL}: {LONG * 3}", Table(QUOTES, table.columns, table.rows, EVIL))
    return render_page(Page(made, setup, mistakes=mistakes, panels=panels))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("browser")
    settings = {"train.epochs": 1, "evaluate.draws": 2, "model.embedding_dim": 8, "model.options.width": 4}
    npf.compare("digits", ["normal", "mixed"], [0], settings, folder / "runs")
    (folder / "hostile.html").write_text(hostile(), encoding="utf-8")
    return {"real": npf.write_report(folder / "runs", folder / "real.html"), "hostile": folder / "hostile.html"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Tab:
    """A page that is open, with what went wrong on it and what it asked for."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str = LIGHT, *, script: bool = True) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    tabs = []

    def at(name: str, width: int = DESK, scheme: str = LIGHT, *, script: bool = True) -> Tab:
        tabs.append(Tab(browser, pages[name], width, scheme, script=script))
        return tabs[-1]

    yield at
    for tab in tabs:
        tab.close()


@pytest.mark.parametrize("name", ["real", "hostile"])
@pytest.mark.parametrize(("width", "scheme"), [(PHONE, LIGHT), (DESK, DARK)])
def test_it_is_quiet_fits_and_is_accessible(opened: Any, name: str, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab = opened(name, width, scheme)
    assert tab.said == []
    assert [url for url in tab.asked if not url.startswith(("file:", "data:"))] == []
    assert sum(url.startswith("file:") for url in tab.asked) == 1
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.page.locator("h1").count() == 1
    found = Axe().run(tab.page).response["violations"]
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []


def test_names_that_want_to_be_code_are_shown(opened: Any) -> None:
    tab = opened("hostile")
    assert tab.page.locator("h1").inner_text() == EVIL
    assert tab.page.locator("script").count() == 1
    assert tab.page.locator("img").count() == 0
    headings = tab.page.locator(".heat thead th").all_inner_texts()
    assert headings[1:] == [EVIL, QUOTES]


def test_what_is_put_into_the_page_by_others_is_not_run(opened: Any) -> None:
    tab = opened("real")
    tab.page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'taken over'";
        document.body.append(script);
        document.body.append(Object.assign(new Image(), { src: "https://example.org/x.png" }));
    }""")
    assert tab.page.title() != "taken over"
    assert any("Content Security Policy" in said for said in tab.said)


def shown(tab: Tab, line: int) -> bool:
    return bool(tab.page.locator(f'.line[data-series="{line}"]').is_visible())


def test_lines_are_hidden_and_shown_by_mouse(opened: Any) -> None:
    tab = opened("real")
    buttons = tab.page.locator(".legend button")
    assert buttons.all_inner_texts() == ["Normal training", "Clean and noisy inputs"]
    assert [button.get_attribute("aria-pressed") for button in buttons.all()] == ["true", "true"]
    buttons.nth(1).click()
    assert buttons.nth(1).get_attribute("aria-pressed") == "false"
    assert (shown(tab, 0), shown(tab, 1)) == (True, False)
    assert not tab.page.locator('.dots[data-series="1"]').first.is_visible()
    buttons.nth(1).click()
    assert buttons.nth(1).get_attribute("aria-pressed") == "true"
    assert shown(tab, 1)


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_lines_are_hidden_and_shown_by_keyboard(opened: Any, key: str) -> None:
    tab = opened("real")
    for _ in range(20):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate("document.activeElement.innerText") == "Normal training":
            break
    focused = "getComputedStyle(document.activeElement)"
    assert tab.page.evaluate(f"{focused}.outlineStyle") == "solid"
    assert tab.page.evaluate(f"parseFloat({focused}.outlineWidth)") >= 2
    tab.page.keyboard.press(key)
    assert (shown(tab, 0), shown(tab, 1)) == (False, True)
    tab.page.keyboard.press(key)
    assert shown(tab, 0)


def test_without_script_everything_is_there_and_no_button_does_nothing(opened: Any) -> None:
    tab = opened("real", script=False)
    assert tab.page.locator("button").count() == 0
    assert tab.page.locator(".legend li").all_inner_texts() == ["Normal training", "Clean and noisy inputs"]
    assert shown(tab, 0)
    assert tab.page.locator("pre").count() == 1


def test_on_paper_it_is_unfolded_light_and_whole(opened: Any) -> None:
    tab = opened("real", DESK, DARK)
    tab.page.locator(".legend button").first.click()
    assert not tab.page.locator("pre").is_visible()
    background = "getComputedStyle(document.body).backgroundColor"
    assert tab.page.evaluate(background) != "rgb(255, 255, 255)"
    tab.page.emulate_media(media="print")
    assert tab.page.evaluate(background) == "rgb(255, 255, 255)"
    assert tab.page.locator("pre").bounding_box()["height"] > 300
    assert shown(tab, 0)
    assert "line-through" not in tab.page.locator(".legend button").first.evaluate(
        "button => getComputedStyle(button).textDecorationLine"
    )
    paper = 680  # pixels across an A4 sheet within its margins
    tab.page.set_viewport_size({"width": paper, "height": 900})
    wide = "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > innerWidth).length"
    assert tab.page.evaluate(wide) == 0


def test_printing_opens_what_is_folded_and_folds_it_again(opened: Any) -> None:
    tab = opened("real")
    opens = "document.querySelector('details').open"
    tab.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.page.evaluate(opens)
    tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not tab.page.evaluate(opens)


def test_text_is_no_smaller_on_a_phone_than_on_a_desk(opened: Any) -> None:
    heights = []
    for width in (PHONE, DESK):
        label = opened("real", width).page.locator(".plot .x text").last
        heights.append(label.bounding_box()["height"])
    assert heights[0] == pytest.approx(heights[1], abs=0.5)


def test_the_page_is_small(pages: dict[str, Path]) -> None:
    assert pages["real"].stat().st_size < 200_000
