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


def show_everything(page: "Page") -> list[str]:
    """Run every task. What is wrong: a page wider than the screen, low contrast, elements without a name."""
    page.get_by_role("tab").first.wait_for()
    wrong = []
    for tab in page.get_by_role("tab").all_inner_texts():
        if tab == "Load":
            page.get_by_role("tab", name=tab).click()
        else:
            panel = run(page, tab)
            assert panel.get_by_role("heading", name="This request").is_visible()
        wrong += UNNAMED.findall(page.locator("body").aria_snapshot())
        contrast, text = page.evaluate(LOWEST_CONTRAST)
        if contrast < MIN_CONTRAST:
            wrong.append(f"{tab}: the contrast of {text!r} is {contrast:.2f}")
        width = page.evaluate("document.documentElement.scrollWidth")
        if page.viewport_size and width > page.viewport_size["width"]:
            wrong.append(f"{tab}: {width} pixels wide")
    return wrong


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


@pytest.mark.parametrize(
    ("scheme", "width", "is_light"), [("light", 360, True), ("dark", 1280, False)], ids=["narrow", "dark"]
)
def test_every_tab(scheme: Literal["light", "dark"], width: int, is_light: bool, page: "Page") -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 740})
    assert show_everything(page) == []
    red = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.slice('rgb('.length))")
    assert (red > 128) is is_light
