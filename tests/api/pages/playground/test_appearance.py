"""The page on a narrow screen and in both color schemes, and without a mouse."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from ...conftest import Served
from .conftest import run, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MIN_CONTRAST = 4.5
"""WCAG 2, level AA."""

LOWEST_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (...colors) => {
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => rgb
    .map((x) => x / 255)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const backgrounds = (e) => (e ? [...backgrounds(e.parentElement), getComputedStyle(e).backgroundColor] : ["white"]);
  let lowest = [99, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !parent.checkVisibility() || parent.closest("noscript, option")) continue;
    const under = backgrounds(parent);
    const [a, b] = [luminance(paint(...under)), luminance(paint(...under, getComputedStyle(parent).color))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < lowest[0]) lowest = [contrast, texts.currentNode.data];
  }
  return lowest;
}"""
"""The lowest contrast between a text and what is painted under it, and that text."""

UNNAMED = re.compile(r"^\s*- (?:button|combobox|dialog|img|region|tab|tabpanel|textbox)(?:$|:| \[.*)", re.MULTILINE)
"""Elements without a name for screen readers, in Playwright's description of a page."""

TABS = ("Similarity", "Ranking", "Classes", "Entities", "Terms", "Load")
LOOKS: "tuple[tuple[Literal['light', 'dark'], int], ...]" = (("light", 360), ("dark", 360), ("light", 1280))
"""Color schemes and widths in pixels."""


@pytest.fixture(scope="module")
def page(browser: "Browser", all_tasks: Served) -> "Iterator[Page]":
    with watched(browser, f"{all_tasks.url}/#classes") as one:
        yield one


def test_without_a_mouse(page: "Page") -> None:
    """Tabs by arrow keys, Home and End; the form by Tab and Ctrl+Enter; the URL opens the same tab again."""
    selected = page.get_by_role("tab", selected=True)
    selected.wait_for()
    assert selected.inner_text() == "Classes"
    selected.focus()
    for key, tab in (("ArrowRight", "Entities"), ("End", "Load"), ("ArrowRight", "Similarity"), ("ArrowLeft", "Load")):
        page.keyboard.press(key)
        assert selected.inner_text() == tab
        assert page.evaluate("document.activeElement.textContent") == tab
    page.keyboard.press("Home")
    assert page.evaluate("location.hash") == "#similarity"
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("w1")
    page.keyboard.press("Enter")
    page.keyboard.type("w2")
    page.keyboard.press("Control+Enter")
    page.get_by_role("heading", name="Nearest pairs").wait_for()
    assert page.locator("tbody th span").all_inner_texts() == ["w1", "w2"]


@pytest.mark.parametrize("tab", TABS)
def test_every_tab(tab: str, page: "Page") -> None:
    """With a result, no text has low contrast, no element lacks a name, and the page is not wider than the screen."""
    if tab == "Load":
        page.get_by_role("tab", name=tab).click()
    else:
        assert run(page, tab).get_by_role("heading", name="This request").is_visible()
    assert UNNAMED.findall(page.locator("body").aria_snapshot()) == []
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 740})
        contrast, text = page.evaluate(LOWEST_CONTRAST)
        assert contrast >= MIN_CONTRAST, text
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_color_schemes(page: "Page") -> None:
    def brightness(scheme: "Literal['light', 'dark']") -> int:
        page.emulate_media(color_scheme=scheme)
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", color)))

    assert brightness("dark") < 100
    assert brightness("light") > 600
