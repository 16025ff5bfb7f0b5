"""POST /embed, /embed_all and /embed_sparse, and the prompts that go in front of texts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.api.limits import Limits
from openbei.api.operations import token_vectors
from openbei.prompts import Prompts
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import TermHead

from ....small_tokenizer import ids, words
from ...conftest import MAX_TOKENS, Served, Start, serving, small_manifest

PROMPTS = Prompts({"query": "w900 ", "document": "w901 w902 "}, default="document")


@pytest.fixture(scope="module")
def prompted(tokenizer_path: Path) -> Iterator[Served]:
    """A server of a model with prompts."""
    manifest = small_manifest(prompts=PROMPTS)
    with serving(tokenizer_path, FakeEngine(), QueueLimits(), Limits(), manifest) as one:
        yield one


@pytest.mark.parametrize(
    ("inputs", "read"),
    [
        (words(1, 2), [ids(1, 2)]),
        ([words(1, 2), words(5, 3)], [ids(1, 2), ids(5, 3)]),
        ([7, 8, 9], [[7, 8, 9]]),
        ([[7, 8], [9]], [[7, 8], [9]]),
    ],
)
def test_embed_takes_texts_and_token_ids(served: Served, inputs: object, read: list[list[int]]) -> None:
    rows = served.post("/embed", inputs=inputs)
    assert len(rows) == len(read)
    for row, token_ids in zip(rows, read, strict=True):
        np.testing.assert_allclose(row, served.expected(token_ids), atol=1e-6)


def test_embed_without_normalization(served: Served) -> None:
    np.testing.assert_allclose(served.post("/embed", inputs="w1", normalize=False), [served.logits(ids(1, 1))])
    cut = served.post("/embed", inputs="w1", normalize=False, dimensions=3)
    np.testing.assert_allclose(cut, [served.logits(ids(1, 1))[:3]])


def test_embed_cuts_dimensions_and_then_normalizes(served: Served) -> None:
    np.testing.assert_allclose(
        served.post("/embed", inputs="w1", dimensions=3), [served.expected(ids(1, 1), 3)], atol=1e-6
    )
    assert served.refused("/embed", inputs="w1", dimensions=9) == (422, "dimensions is 9; it must be 1 to 8")


def test_embed_cuts_what_is_too_long_on_the_side_that_was_asked_for(served: Served) -> None:
    long, room = words(0, 100), MAX_TOKENS - 2
    for direction, first in (("Right", 0), ("right", 0), ("Left", 100 - room), ("left", 100 - room)):
        row = served.post("/embed", inputs=long, truncation_direction=direction)
        np.testing.assert_allclose(row, [served.expected(ids(first, room))], atol=1e-6)
    status, message = served.refused("/embed", inputs=["w1", long], truncate=False)
    assert status == 422
    assert message.startswith("inputs[1] has 102 tokens; the limit is 64")
    response = served.client.post("/embed", json={"inputs": ["w1", long], "truncate": True})
    assert response.headers["x-truncated-inputs"] == "1"


def test_embed_all_gives_every_token(served: Served) -> None:
    given = [words(1, 2), words(5, 4)]
    answer = served.post("/embed_all", inputs=given)
    assert [len(rows) for rows in answer] == [4, 6]
    for rows, token_ids in zip(answer, [ids(1, 2), ids(5, 4)], strict=True):
        np.testing.assert_allclose(rows, [served.logits([token_id]) for token_id in token_ids], atol=1e-6)
    np.testing.assert_allclose(served.post("/embed_all", inputs=[7]), [[served.logits([7])]])


def test_more_tokens_than_fit_into_an_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_vectors, "MAX_TOKEN_NUMBERS", 80)
    served.post("/embed_all", inputs=["w1 w2 w3", "w4 w5 w6"])
    status, message = served.refused("/embed_all", inputs=["w1 w2 w3", "w4 w5 w6 w7"])
    assert status == 422
    assert message.startswith("inputs has 11 tokens; this server answers up to 10 in one request")


def test_embed_sparse_gives_terms(start: Start) -> None:
    head = TermHead()
    served = start(FakeEngine(12, is_sparse=True), manifest=small_manifest(head))
    answer = served.post("/embed_sparse", inputs=[words(1, 2), words(5, 4)])
    for terms, token_ids in zip(answer, [ids(1, 2), ids(5, 4)], strict=True):
        weights = served.logits(token_ids)
        assert [term["index"] for term in terms] == np.flatnonzero(weights > 0).tolist()
        np.testing.assert_allclose([term["value"] for term in terms], weights[weights > 0], rtol=1e-6)
    assert served.post("/embed_sparse", inputs=[5, 6]) == served.post("/embed_sparse", inputs=[[5, 6]])


def test_embed_sparse_keeps_what_the_checkpoint_keeps(start: Start) -> None:
    manifest = small_manifest(TermHead(), max_terms=2, double_log=True)
    served = start(FakeEngine(12, is_sparse=True), manifest=manifest)
    [terms] = served.post("/embed_sparse", inputs=words(1, 2))
    weights = served.logits(ids(1, 2))
    heaviest = np.sort(np.argsort(-weights, kind="stable")[:2])
    assert [term["index"] for term in terms] == heaviest.tolist()
    np.testing.assert_allclose([term["value"] for term in terms], np.log1p(weights[heaviest]), rtol=1e-6)


@pytest.mark.parametrize(("name", "put"), [(None, [901, 902]), ("query", [900]), ("document", [901, 902])])
@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings", "/embeddings"])
def test_prompts_of_embeddings(prompted: Served, path: str, name: str | None, put: list[int]) -> None:
    read = [2, *(4 + word for word in put), *ids(1, 2)[1:]]
    request: dict[str, Any] = {"inputs": words(1, 2), "input": words(1, 2)} | ({"prompt_name": name} if name else {})
    answer = prompted.post(path, **request)
    row = answer[0] if isinstance(answer, list) else answer["data"][0]["embedding"]
    np.testing.assert_allclose(row, prompted.expected(read), atol=1e-6)
    if path != "/embed":
        assert answer["usage"]["total_tokens"] == len(read)


def test_prompts_of_tokens(prompted: Served) -> None:
    [rows] = prompted.post("/embed_all", inputs="w1", prompt_name="query")
    np.testing.assert_allclose(rows, [prompted.logits([i]) for i in [2, 904, 5, 3]], atol=1e-6)


def test_token_ids_get_no_prompt(prompted: Served) -> None:
    np.testing.assert_allclose(prompted.post("/embed", inputs=[5, 6]), [prompted.expected([5, 6])], atol=1e-6)
    assert prompted.refused("/embed", inputs=[[5, 6]], prompt_name="query") == (
        422,
        "prompt_name applies to texts, not to token ids",
    )


def test_unknown_prompts(prompted: Served, served: Served) -> None:
    for path in ("/embed", "/embed_all", "/v1/embeddings"):
        status, message = prompted.refused(path, inputs="w1", input="w1", prompt_name="x")
        assert (status, message) == (422, "prompt_name is 'x'; the model's prompts are: query, document")
    assert served.refused("/embed", inputs="w1", prompt_name="x")[1].endswith("prompts are: none")


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({}, 422, "inputs: Object missing required field `inputs`"),
        ({"inputs": []}, 400, "inputs is an empty list"),
        ({"inputs": ""}, 422, "inputs is an empty string"),
        ({"inputs": ["w1", ""]}, 422, "inputs[1] is an empty string"),
        ({"inputs": ["w1", 5]}, 422, "inputs mixes texts, token ids and lists of token ids"),
        ({"inputs": [5, 9999]}, 422, "inputs[1] is 9999, token ids are 0 to 1003"),
        ({"inputs": [[5], []]}, 422, "inputs[1] has no tokens"),
        ({"inputs": ["w1"] * 2049}, 422, "batch size 2049 > maximum allowed batch size 2048"),
        ({"inputs": "w1", "truncation_direction": "up"}, 422, "truncation_direction: Invalid enum value 'up'"),
    ],
    ids=str,
)
def test_wrong_inputs(served: Served, request_: dict[str, Any], status: int, message: str) -> None:
    for path in ("/embed", "/embed_all"):
        given = served.client.post(path, json=request_)
        assert given.status_code == status
        assert set(given.json()) == {"error", "error_type"}
        assert given.json()["error"].startswith(message)
        assert given.json()["error_type"] == ("Empty" if status == 400 else "Validation")
