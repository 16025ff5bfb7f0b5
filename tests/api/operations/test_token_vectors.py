"""Vectors of tokens and MaxSim over HTTP: queries and documents, every encoding, and every dialect that ranks."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.api.limits import Limits
from openbei.api.operations import relevance
from openbei.batch import Vectors
from openbei.late_interaction import LateInteraction
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import TokenEmbeddingHead, UnitNorm

from ...small_tokenizer import CLS, NUM_SPECIAL, SEP, ids, words
from ..conftest import Served, serving, small_manifest

QUERY, DOCUMENT, MASK, SKIPPED = (NUM_SPECIAL + word for word in (900, 901, 902, 7))
LATE = LateInteraction(
    query_length=8,
    document_length=12,
    query_marker=QUERY,
    document_marker=DOCUMENT,
    expansion_id=MASK,
    expanded_length=8,
    skipped_ids=(SKIPPED,),
)
TEXTS = ["w1 w2", "w1", "", "w7 w7", words(20, 30)]


@pytest.fixture(scope="module")
def late(tokenizer_path: Path) -> Iterator[Served]:
    head = TokenEmbeddingHead(steps=(UnitNorm(),))
    manifest = small_manifest(head, late_interaction=LATE, similarity="maxsim", default_route="/embed_all")
    with serving(tokenizer_path, FakeEngine(), QueueLimits(), Limits(), manifest) as one:
        yield one


def query_ids(first: int, count: int) -> list[int]:
    start = [CLS, QUERY, *ids(first, count)[1:-1]][:7]
    return [*start, SEP, *[MASK] * (8 - len(start) - 1)]


def document_ids(text: str) -> list[int]:
    """The ids of a document's vectors."""
    found = [CLS, DOCUMENT, *(NUM_SPECIAL + int(word[1:]) for word in text.split())][:11]
    return [token_id for token_id in [*found, SEP] if token_id != SKIPPED]


def rows(served: Served, token_ids: list[int]) -> Vectors:
    return np.stack([served.logits([token_id]) for token_id in token_ids])


def max_sims(served: Served, query: list[int], texts: list[str]) -> list[float]:
    given = rows(served, query)
    return [float((given @ rows(served, document_ids(text)).T).max(axis=1).sum()) for text in texts]


def test_queries_are_marked_truncated_and_expanded(late: Served) -> None:
    answer = late.post("/embed_all", inputs=["w1 w2", words(1, 20)], input_type="query")
    for matrix, token_ids in zip(answer, [query_ids(1, 2), query_ids(1, 20)], strict=True):
        np.testing.assert_allclose(matrix, rows(late, token_ids), atol=1e-6)


def test_documents_are_marked_and_truncated_and_lose_skipped_tokens(late: Served) -> None:
    given = [text for text in TEXTS if text]
    for request in ({}, {"input_type": "document"}):
        for matrix, text in zip(late.post("/embed_all", inputs=given, **request), given, strict=True):
            np.testing.assert_allclose(matrix, rows(late, document_ids(text)), atol=1e-6)


def test_token_ids_are_used_as_they_are(late: Served) -> None:
    given = [CLS, QUERY, 9, SKIPPED, SEP, MASK]
    [matrix] = late.post("/embed_all", inputs=given, input_type="query")
    np.testing.assert_allclose(matrix, rows(late, given), atol=1e-6)
    [matrix] = late.post("/embed_all", inputs=given)
    np.testing.assert_allclose(matrix, rows(late, [CLS, QUERY, 9, SEP, MASK]), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "element", "columns"), [(None, "<f4", 8), ("float16", "<f2", 8), ("int8", "i1", 8), ("ubinary", "u1", 1)]
)
def test_base64(late: Served, dtype: str | None, element: str, columns: int) -> None:
    exact = rows(late, document_ids("w1 w7 w3"))
    how = {"encoding_format": "base64", "embed_dtype": dtype}
    [text] = late.post("/embed_all", inputs="w1 w7 w3", **how)
    [part] = late.post("/v1/multi-vector", input="w1 w7 w3", **how)["data"]
    assert part["embeddings"] == text
    decoded = np.frombuffer(base64.b64decode(text), element).reshape(-1, columns)
    match dtype:
        case "int8":
            np.testing.assert_array_equal(decoded, np.rint(exact / np.abs(exact).max(axis=1, keepdims=True) * 127))
        case "ubinary":
            np.testing.assert_array_equal(np.unpackbits(decoded, axis=1), exact > 0)
        case _:
            np.testing.assert_allclose(decoded, exact, rtol=1e-3)


def test_multi_vector_as_jinas_clients_ask(late: Served) -> None:
    request = {"input": ["w1", "w2 w3"], "model": "jina-colbert-v2", "embedding_type": "float", "input_type": "query"}
    answer = late.post("/v1/multi-vector", **request)
    assert [(part["object"], part["index"]) for part in answer["data"]] == [("embeddings", 0), ("embeddings", 1)]
    assert answer["usage"] == {"prompt_tokens": 4 + 5, "total_tokens": 4 + 5}  # without the expansion
    np.testing.assert_allclose(answer["data"][1]["embeddings"], rows(late, query_ids(2, 2)), atol=1e-6)
    [part] = late.post("/v1/multi-vector", input="w1", dimensions=4)["data"]
    cut = rows(late, document_ids("w1"))[:, :4]
    np.testing.assert_allclose(part["embeddings"], cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)


def test_every_ranking_is_by_max_sim(late: Served) -> None:
    expected = max_sims(late, query_ids(1, 2), TEXTS)
    ranks = late.post("/rerank", query="w1 w2", texts=TEXTS)
    np.testing.assert_allclose([rank["score"] for rank in ranks], expected, rtol=1e-5)
    assert late.post("/rerank", query="w1 w2", texts=TEXTS, raw_scores=True) == ranks
    best = np.argsort(-np.array(expected), kind="stable").tolist()
    for path in ("/v1/rerank", "/v2/rerank"):
        results = late.post(path, query="w1 w2", documents=TEXTS)["results"]
        assert [result["index"] for result in results] == best
        found = [result["relevance_score"] for result in results]
        np.testing.assert_allclose(found, np.sort(expected)[::-1], rtol=1e-5)
    scores = late.post("/score", queries="w1 w2", documents=TEXTS)["data"]
    np.testing.assert_allclose([score["score"] for score in scores], expected, rtol=1e-5)
    pairs = late.post("/v1/score", text_1=["w1 w2", "w5", "w1 w2"], text_2=["w1", "w1", "w3"])["data"]
    both = [*max_sims(late, query_ids(1, 2), ["w1", "w3"]), *max_sims(late, query_ids(5, 1), ["w1"])]
    np.testing.assert_allclose([score["score"] for score in pairs], [both[0], both[2], both[1]], rtol=1e-5)


def test_refuses(late: Served, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(by: Served, path: str, **request: Any) -> str:
        status, message = by.refused(path, **request)
        assert status == 422
        return message

    assert "inputs[1] has 21 tokens; the limit is 11" in refused(
        late, "/embed_all", inputs=["w1", words(1, 19)], truncate=False
    )
    assert "query[0] has 11 tokens; the limit is 7" in refused(
        late, "/rerank", query=words(1, 9), texts=["w1"], truncate=False
    )
    assert "embed_dtype is 'int8', which needs base64" in refused(late, "/embed_all", inputs="w1", embed_dtype="int8")
    assert "truncate_prompt_tokens is 1" in refused(late, "/embed_all", inputs="w1", truncate_prompt_tokens=1)
    assert "input_type" in refused(late, "/embed_all", inputs="w1", input_type="passage")
    assert "use /v1/multi-vector" in refused(late, "/embed_all", inputs="w1", dimensions=4)
    assert "has no place for an instruction" in refused(late, "/rerank", query="w1", texts=["w1"], instruction="w2")
    monkeypatch.setattr(relevance, "MAX_TOKEN_NUMBERS", 80)
    message = refused(late, "/rerank", query="w1", texts=["w1", "w2"])
    assert "texts has 16 tokens; this server answers up to 10" in message
    assert "both select a prompt" in refused(
        served, "/embed_all", inputs="w1", input_type="query", prompt_name="search_query"
    )


def test_info(late: Served) -> None:
    info = late.client.get("/info").json()
    assert info["model_type"] == {"embedding": {"pooling": "colbert"}}
    assert info["similarity_fn_name"] == "maxsim"
    assert late.client.get("/health").status_code == 200
