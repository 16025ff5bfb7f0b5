"""What the page shows if a request fails or takes long: wrong keys, invalid requests, overload, lost connections."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openbei.api.exchange.edge import Edge
from openbei.api.exchange.keys import Guard
from openbei.api.limits import Limits
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits

from ...conftest import Served, Start, serving, serving_all, small_manifest
from ...test_load import GatedEngine
from ...test_several_models import model_of
from .conftest import OpenPage, run, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

KEY = "schlüssel-🔑"


def test_keys(start: Start, open_page: OpenPage) -> None:
    """Who cancels sees why nothing is shown. It asks until the key is right, which then is in this tab only."""
    served = start(FakeEngine(), edge=Edge(guard=Guard([KEY])))
    page = open_page(served.url, failures=3)
    dialog = page.get_by_role("dialog", name="API key")
    assert dialog.get_by_text("an API key is needed").is_visible()
    dialog.get_by_role("button", name="Cancel").click()
    assert page.get_by_role("alert").get_by_text("an API key is needed (").is_visible()
    page.get_by_role("button", name="Try again").click()
    dialog.get_by_label("Key", exact=True).fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    dialog.get_by_text("the API key is wrong").wait_for()
    dialog.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    panel = run(page, "Similarity", "w1\nw2")
    assert panel.get_by_role("heading", name="Nearest pairs").is_visible()
    curl, python = panel.locator("pre").all_text_contents()
    assert '-H "Authorization: Bearer $OPENBEI_API_KEY"' in curl
    assert 'os.environ["OPENBEI_API_KEY"]' in python
    assert KEY not in page.content()
    page.reload()
    page.get_by_role("tab").first.wait_for()
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href").startswith("{}http")


@pytest.fixture(scope="module")
def gated(browser: "Browser", tokenizer_path: Path) -> Iterator[Served]:
    """A server of two texts in a request and one request at a time, whose engine waits for its gate."""
    queue, limits = QueueLimits(max_concurrent_requests=1), Limits(max_client_batch_size=2)
    with serving(tokenizer_path, GatedEngine(), queue, limits, small_manifest()) as served:
        yield served


@pytest.fixture(scope="module")
def page(browser: "Browser", gated: Served) -> "Iterator[Page]":
    with watched(browser, gated.url, failures=4) as one:
        yield one


def problem(page: "Page") -> str:
    return page.get_by_role("tabpanel").get_by_role("alert").inner_text()


def test_an_invalid_request(page: "Page") -> None:
    run(page, "Similarity", "w1\nw2\nw3")
    assert problem(page).startswith("The request was refused (422)\n")
    assert "batch size 3 > maximum allowed batch size 2" in problem(page)


def test_a_slow_answer_can_be_cancelled(gated: Served, page: "Page") -> None:
    page.get_by_label("Texts, one per line").fill("w1\nw2")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Waiting for the server…").wait_for()
    gated.await_value("te_queue_size", 1)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    gated.await_value("te_queue_size", 0)
    assert page.get_by_role("button", name="Cancel").count() == 0


def test_an_overloaded_server(gated: Served, page: "Page") -> None:
    """It says when to try again; then the same request is answered."""
    assert isinstance(gated.engine, GatedEngine)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(gated.embed, input="w9")
        gated.await_value("te_queue_size", 1)
        run(page, "Similarity", "w1\nw2")
        assert problem(page).startswith("The server is busy\n")
        assert "the queue is full" in problem(page)
        assert "Try again in 1 s." in problem(page)
        gated.engine.gate.set()
        assert other.result().status_code == 200
    panel = run(page, "Similarity", "w1\nw2")
    assert panel.get_by_role("heading", name="Nearest pairs").is_visible()
    assert panel.get_by_role("alert").count() == 0


def test_a_proxy_without_a_server(page: "Page") -> None:
    page.route("**/v1/embeddings", lambda route: route.fulfill(status=503, body="<h1>No healthy upstream</h1>"))
    run(page, "Similarity", "w1\nw2")
    assert problem(page) == "The server is not available\n\n<h1>No healthy upstream</h1>"
    page.unroute("**/v1/embeddings")


def test_a_lost_connection(page: "Page") -> None:
    page.route("**/v1/embeddings", lambda route: route.abort())
    run(page, "Similarity", "w1\nw2")
    assert problem(page).startswith("The server cannot be reached\n")
    page.unroute("**/v1/embeddings")


def test_nothing_of_a_text_a_label_or_a_name_is_markup(tokenizer_path: Path, browser: "Browser") -> None:
    attack = """w1 "><img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>"""
    labels = tuple(f"{i}{attack}" for i in range(5))
    models = [
        model_of(f"embedder {attack}", "embedding", tokenizer_path),
        model_of("second", "embedding", tokenizer_path),
        model_of("tagger", "token_classifier", tokenizer_path, labels=labels),
        model_of(f"classifier {attack}", "classifier", tokenizer_path, labels=labels[:3]),
    ]
    with serving_all(models) as served, watched(browser, served.url) as page:
        page.get_by_role("tab", name="Similarity").wait_for()
        assert page.locator("option").first.text_content() == f"embedder {attack}"
        panel = run(page, "Similarity", f"{attack}\n{attack} w2")
        assert panel.locator(".bars .label span").first.text_content() == attack
        panel = run(page, "Ranking", attack, attack)
        assert panel.locator(".bars .label").first.text_content() == attack
        panel = run(page, "Entities", attack)
        assert panel.locator("mark small").first.text_content() in labels
        panel = run(page, "Classes", attack, "")
        assert set(panel.locator(".bars .label").all_text_contents()) == set(labels[:3])
        assert page.locator("img, main script").count() == 0
        assert page.evaluate("window.hacked") is None
