"""What the page shows for each task is what the server's routes answer."""

import ast
import contextlib
import io
import json
import re
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from openbei.serving.fake_engine import FakeEngine

from ....small_tokenizer import words
from ...conftest import MAX_TOKENS, Served, Start
from .conftest import OpenPage, bars, run, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def page(browser: "Browser", all_tasks: Served) -> "Iterator[Page]":
    """One page for all tests, which use different tabs or run them again."""
    with watched(browser, all_tasks.url, permissions=["clipboard-read", "clipboard-write"]) as one:
        yield one


def test_similarity(all_tasks: Served, page: "Page") -> None:
    texts = ["w1 w2", "w3", "w4 w5 w6"]
    panel = run(page, "Similarity", "\n\n".join(texts) + "\n")
    data = all_tasks.post("/v1/embeddings", model="embedding", input=texts)["data"]
    vectors = np.array([row["embedding"] for row in data])
    cosines = vectors @ vectors.T
    cells = panel.locator("tbody td")
    np.testing.assert_allclose(np.reshape(cells.all_inner_texts(), (3, 3)).astype(float), cosines, atol=0.0051)
    pairs = sorted(((cosines[i, j], i, j) for j in range(3) for i in range(j)), reverse=True)
    assert [label for label, _ in bars(panel)] == [f"{texts[i]}\n{texts[j]}" for _, i, j in pairs]
    np.testing.assert_allclose([value for _, value in bars(panel)], [cosine for cosine, _, _ in pairs], atol=0.0006)
    shares = cells.evaluate_all("cells => cells.map((cell) => cell.style.getPropertyValue('--share'))")
    low, high = pairs[-1][0], pairs[0][0]
    scaled = [(cosines[i, j] - low) / (high - low) * 100 for i in range(3) for j in range(3) if i != j]
    np.testing.assert_allclose([float(share[:-1]) for share in shares if share], scaled, atol=0.51)


def test_only_so_many_texts_are_compared(page: "Page") -> None:
    panel = run(page, "Similarity", "\n".join(f"w{i}" for i in range(51)))
    assert panel.get_by_text("The first 50 of 51 texts, 8 dimensions").is_visible()
    assert panel.locator("tbody tr").count() == 50


def test_one_text_has_no_pairs(page: "Page") -> None:
    assert run(page, "Similarity", "w1").get_by_text("Enter two texts or more").is_visible()


@pytest.mark.parametrize("model", ["reranker", "colbert", "embedding"])
def test_ranking(model: str, all_tasks: Served, page: "Page") -> None:
    query, documents = "w1", ["w2", "w3 w4", "w5", "w6 w7"]
    panel = run(page, "Ranking", query, "\n".join(documents), model=model)
    answer = all_tasks.post("/score", model=model, text_1=query, text_2=documents)
    scores = [one["score"] for one in answer["data"]]
    order = np.argsort(-np.array(scores)).tolist()
    assert bars(panel) == [(documents[index], round(scores[index], 4)) for index in order]
    places = [mark.split() for mark in panel.locator(".bars .mark").all_inner_texts()]
    moves = [int(moved[0].replace("↑", "").replace("↓", "-")) if moved else 0 for _, *moved in places]
    assert moves == [index - place for place, index in enumerate(order)]


@pytest.mark.parametrize("texts", [["w1 w2"], ["w1", "w2"]], ids=["text", "pair"])
def test_classes(texts: list[str], all_tasks: Served, page: "Page") -> None:
    panel = run(page, "Classes", *texts)
    [labels] = all_tasks.post("/predict", model="classifier", inputs=[texts])
    assert bars(panel) == [(one["label"], round(one["score"], 4)) for one in labels]


def test_entities(all_tasks: Served, page: "Page") -> None:
    """Their positions count code points, of which the emoji are one each and two units of a JavaScript string."""
    text = "😀😀 w1 w2 w3 w4"
    panel = run(page, "Entities", text)
    request = {"model": "token_classifier", "inputs": [[text]], "aggregation_strategy": "max"}
    [found] = all_tasks.post("/predict_tokens", **request)
    assert len(found) > 1
    marks = panel.locator("mark").evaluate_all("all => all.map((e) => [e.firstChild.data, e.lastChild.textContent])")
    assert marks == [[text[one["start"] : one["end"]], max(one["results"], key=one["results"].get)] for one in found]
    without_labels = "e => [...e.querySelectorAll('small')].forEach((one) => one.remove()) ?? e.textContent"
    assert panel.locator(".marked").evaluate(without_labels) == text
    positions = panel.locator("tbody td:last-child").all_inner_texts()
    assert positions == [f"{one['start']}–{one['end']}" for one in found]


def test_terms(all_tasks: Served, page: "Page") -> None:
    panel = run(page, "Terms", "w1 w2")
    [weighed] = all_tasks.post("/embed_sparse", model="sparse", inputs=["w1 w2"])
    weighed.sort(key=lambda one: -one["value"])
    names = all_tasks.post(
        "/decode", model="sparse", ids=[[one["index"]] for one in weighed], skip_special_tokens=False
    )
    assert bars(panel) == [(name, round(one["value"], 3)) for name, one in zip(names, weighed, strict=True)]


def test_what_a_request_cost(all_tasks: Served, page: "Page") -> None:
    texts = [words(1, 2 * MAX_TOKENS), "w1"]
    panel = run(page, "Similarity", "\n".join(texts))
    response = all_tasks.embed(model="embedding", input=texts)
    names, values = panel.locator("dt").all_inner_texts(), panel.locator("dd").all_inner_texts()
    facts = dict(zip(names, values, strict=True))
    assert facts["Tokens"] == response.headers["x-compute-tokens"]
    assert (facts["Truncated texts"], facts["Engine"]) == ("1", "cpu+fake")
    assert panel.get_by_text("Some texts are longer than the model's limit").is_visible()
    stages = re.findall(r"(\w+);dur=", response.headers["server-timing"])
    assert stages == ["tokenization", "queue", "inference", "serialization", "total"]
    for name in (*stages[:-1], "other", "Time in the server", "Round trip"):
        assert re.fullmatch(r"[\d.]+ ms", facts[name])


ODD_TEXT = """it's "w1" \\ 😀 $HOME"""


def test_code_runs_as_it_is(all_tasks: Served, page: "Page") -> None:
    """Quotes, a backslash, a variable and an emoji survive the shell and Python."""
    panel = run(page, "Classes", ODD_TEXT, "")
    panel.get_by_text("Request as curl and Python").click()
    copied = []
    for language in ("curl", "Python"):
        panel.get_by_role("button", name=f"Copy the {language} code").click()
        panel.get_by_text("Copied").first.wait_for()
        copied.append(page.evaluate("navigator.clipboard.readText()"))
    curl, code = copied
    with contextlib.redirect_stdout(io.StringIO()) as written:
        exec(code, {})
    answer = all_tasks.post("/predict", model="classifier", inputs=[[ODD_TEXT]])
    assert ast.literal_eval(written.getvalue()) == answer
    done = subprocess.run(["bash", "-euc", f"{curl} --silent"], capture_output=True, timeout=60)
    assert json.loads(done.stdout) == answer


def test_code_of_embeddings_is_for_the_openai_client(page: "Page") -> None:
    panel = run(page, "Similarity", ODD_TEXT)
    code = panel.locator("pre").last.text_content() or ""
    [given] = [one for one in ast.walk(ast.parse(code)) if isinstance(one, ast.keyword) and one.arg == "input"]
    assert ast.literal_eval(given.value) == [ODD_TEXT]
    assert "client = openai.OpenAI(base_url=" in code


def test_tabs_are_those_of_the_models(page: "Page") -> None:
    """Models for the same task are in a list, in which rerankers come before embedding models."""
    tabs = page.get_by_role("tab").all_inner_texts()
    assert tabs == ["Similarity", "Ranking", "Classes", "Entities", "Terms", "Load"]
    page.get_by_role("tab", name="Ranking").click()
    assert page.get_by_role("tabpanel").get_by_role("option").all_inner_texts() == ["reranker", "colbert", "embedding"]


def test_one_model_behind_a_path_prefix(start: Start, open_page: OpenPage) -> None:
    page = open_page(f"{start(FakeEngine()).url}/production/sync/")
    panel = run(page, "Ranking", "w1", "w2\nw3")
    assert page.get_by_role("tab").all_inner_texts() == ["Similarity", "Ranking", "Load"]
    assert panel.get_by_label("Model").count() == 0
    assert len(bars(panel)) == 2
    assert "/production/sync/v1/score'" in (panel.locator("pre").first.text_content() or "")
