"""The web page in headless Chromium; skipped where Chromium or Playwright is not installed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from openbei.late_interaction import LateInteraction

from ...conftest import Served, serving_all
from ...test_several_models import model_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first one takes half the time of the others."""

TIMEOUT_MS = 15_000
TASKS = ("embedding", "reranker", "classifier", "token_classifier", "sparse")

OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A browser for each file: as long as Playwright runs, its event loop keeps other tests from running theirs."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("Chromium is not installed: apt install chromium-headless-shell")
    with playwright.sync_playwright() as running:
        yield running.chromium.launch(executable_path=program)


@contextmanager
def watched(
    browser: "Browser",
    url: str,
    *,
    failures: int = 0,
    prepare: "Callable[[Page], object]" = lambda page: None,
    **options: Any,
) -> "Iterator[Page]":
    """The page at a URL. At the end its console must be empty, and no request may have left its origin.

    `failures` is the number of responses with an error, which Chromium logs. `options` are those of a context.
    `prepare` is called before the page is loaded.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    problems: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    prepare(page)
    page.goto(url)
    yield page
    context.close()
    assert len(problems) == failures, problems
    assert all(text.startswith("Failed to load resource: ") for text in problems), problems
    assert {urlsplit(one)[:2] for one in requests} == {urlsplit(url)[:2]}


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[OpenPage]:
    """Open the page at a URL; see `watched`."""
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(watched(browser, url, **options))


@pytest.fixture(scope="module")
def all_tasks(browser: "Browser", tokenizer_path: Path) -> Iterator[Served]:
    """A server with a model for each task, named as its task or `colbert`."""
    models = [model_of(task, task, tokenizer_path) for task in TASKS]
    late = LateInteraction(query_length=8, document_length=16)
    models.append(model_of("colbert", "late_interaction", tokenizer_path, labels=(), late_interaction=late))
    with serving_all(models) as served:
        yield served


def run(page: "Page", tab: str, *texts: str, model: str | None = None) -> "Locator":
    """Select a tab, fill its fields, run it, and wait for the result; the tab's panel."""
    page.get_by_role("tab", name=tab).click()
    panel = page.get_by_role("tabpanel")
    if model:
        panel.get_by_label("Model").select_option(model)
    for field, text in zip(panel.get_by_role("textbox").all(), texts, strict=False):
        field.fill(text)
    panel.get_by_role("button", name="Run").click()
    panel.locator(".result:not([aria-busy])").wait_for()
    return panel


def bars(panel: "Locator") -> list[tuple[str, float]]:
    """The labels and values of a list of bars."""
    rows = panel.locator(".bars li")
    labels = rows.locator(".label").all_inner_texts()
    return list(zip(labels, map(float, rows.locator("b").all_inner_texts()), strict=True))
