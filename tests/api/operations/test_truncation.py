"""How many tokens of a text that is too long are kept, and on which side: in the words of vLLM, TEI and Cohere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.api.limits import Limits
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import Head, SequenceHead, TokenHead

from ...small_tokenizer import ids, words
from ..conftest import MAX_TOKENS, Served, Start, serving, small_manifest

LONG = words(1, 5)
FIRST, LAST = ids(1, 3), ids(3, 3)
"""Five words, and what is left of them in five tokens, two of them special."""


def embedding(served: Served, path: str = "/v1/embeddings", **fields: Any) -> Any:
    answer = served.post(path, **fields)
    return answer["data"][0]["embedding"] if isinstance(answer, dict) else answer[0]


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, FIRST),
        ({"truncation_side": "right"}, FIRST),
        ({"truncation_side": "left"}, LAST),
        ({"truncation_direction": "Left"}, LAST),
        ({"truncation_side": "left", "truncation_direction": "Left"}, LAST),
        ({"truncate": True}, FIRST),
    ],
    ids=str,
)
@pytest.mark.parametrize(("path", "field"), [("/v1/embeddings", "input"), ("/embed", "inputs")])
def test_tokens_kept(served: Served, path: str, field: str, fields: dict[str, Any], kept: list[int]) -> None:
    given = embedding(served, path, **{field: LONG}, truncate_prompt_tokens=5, **fields)
    np.testing.assert_allclose(given, served.expected(kept), atol=1e-6)
    of_ids = embedding(served, path, **{field: ids(1, 5)}, truncate_prompt_tokens=5, **fields)
    np.testing.assert_allclose(of_ids, served.expected(kept), atol=1e-6)


@pytest.mark.parametrize("most", [-1, MAX_TOKENS, None])
def test_as_many_as_the_model_reads(served: Served, most: int | None) -> None:
    given = embedding(served, input=words(0, 80), truncate_prompt_tokens=most)
    np.testing.assert_allclose(given, served.expected(ids(0, MAX_TOKENS - 2)), atol=1e-6)


def test_cut_inputs_are_counted(served: Served) -> None:
    response = served.embed(input=[LONG, "w1"], truncate_prompt_tokens=5)
    assert response.headers["x-truncated-inputs"] == "1"
    assert response.json()["usage"]["total_tokens"] == 7 + 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens is 0; it must be 1 to 64, the model's limit"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens is -2; it must be"),
        ({"truncate_prompt_tokens": 65}, "truncate_prompt_tokens is 65; it must be 1 to 64"),
        ({"truncate_prompt_tokens": 5, "truncate": False}, "truncate_prompt_tokens is 5 and truncate is false"),
        ({"truncation_side": "left", "truncation_direction": "Right"}, "truncation_side is left and"),
        ({"truncation_side": "up"}, "truncation_side: "),
    ],
    ids=str,
)
def test_what_cannot_be(served: Served, fields: dict[str, Any], message: str) -> None:
    for path, field in (("/v1/embeddings", "input"), ("/embed", "inputs"), ("/score", "text_1")):
        status, given = served.refused(path, **{field: "w1", "text_2": "w2"}, **fields)
        assert status == 422
        assert given.startswith(message)


def test_pairs_and_labels(tokenizer_path: Path) -> None:
    manifest = small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",))
    with serving(tokenizer_path, FakeEngine(1), QueueLimits(), Limits(), manifest) as served:
        [sequence] = served.tokenizer.encode_pairs([(LONG, words(6, 5))], max_tokens=8)
        wanted = pytest.approx(float(served.logits(sequence.token_ids)[0]), rel=1e-5)
        assert sequence.num_tokens == 8
        how = {"truncate_prompt_tokens": 8, "raw_scores": True}
        assert served.post("/score", text_1=LONG, text_2=words(6, 5), **how)["data"][0]["score"] == wanted
        assert served.post("/rerank", query=LONG, texts=[words(6, 5)], **how)[0]["score"] == wanted
        [ranked] = served.post("/v2/rerank", query=LONG, documents=[words(6, 5)], **how)["results"]
        assert ranked["relevance_score"] == wanted
        single = pytest.approx(float(served.logits(FIRST)[0]), rel=1e-5)
        given = served.post("/classify", input=LONG, truncate_prompt_tokens=5, raw_scores=True)
        assert given["data"][0]["score"] == single
        assert served.post("/predict", inputs=LONG, truncate_prompt_tokens=5, raw_scores=True)[0]["score"] == single


def test_cohere(served: Served) -> None:
    for truncate, kept in (("END", FIRST), ("START", LAST), (None, FIRST)):
        answer = served.post("/v2/embed", texts=[LONG], max_tokens=5, truncate=truncate)
        np.testing.assert_allclose(answer["embeddings"]["float"][0], served.expected(kept), atol=1e-6)
    assert served.refused("/v2/embed", texts=[LONG], max_tokens=5, truncate="NONE")[1].startswith(
        "texts[0] has 7 tokens; the limit is 5"
    )
    assert served.refused("/v1/embed", texts=[LONG], max_tokens=65)[1].startswith(
        "max_tokens is 65; it must be 1 to 64"
    )


TOO_LONG = words(0, 70)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/embeddings", {"input": TOO_LONG}),
        ("/embed", {"inputs": TOO_LONG}),
        ("/embed", {"inputs": ids(0, 70)}),
        ("/embed_all", {"inputs": TOO_LONG}),
        ("/similarity", {"inputs": {"source_sentence": "w1", "sentences": [TOO_LONG]}}),
        ("/v1/embed", {"texts": [TOO_LONG]}),
        ("/v2/embed", {"texts": [TOO_LONG]}),
        ("/score", {"text_1": "w1", "text_2": TOO_LONG}),
        ("/vertex", {"instances": [{"inputs": TOO_LONG}]}),
    ],
)
def test_inputs_are_refused_where_the_server_does_not_truncate(start: Start, path: str, fields: dict[str, Any]) -> None:
    """As with TEI's AUTO_TRUNCATE=false: the field of a request still wins."""
    served = start(FakeEngine(), limits=Limits(auto_truncate=False))
    status, message = served.refused(path, **fields)
    assert status == 422
    assert "has 72 tokens; the limit is 64" in message or "has 70 tokens; the limit is 64" in message
    assert served.client.get("/info").json()["auto_truncate"] is False


def test_what_a_request_says_wins(start: Start) -> None:
    served = start(FakeEngine(), limits=Limits(auto_truncate=False))
    cut = served.expected(ids(0, MAX_TOKENS - 2))
    for path, field, how in (
        ("/v1/embeddings", "input", {"truncate": True}),
        ("/embed", "inputs", {"truncate": True}),
        ("/embed", "inputs", {"truncate_prompt_tokens": -1}),
    ):
        np.testing.assert_allclose(embedding(served, path, **{field: TOO_LONG}, **how), cut, atol=1e-6)
    answer = served.post("/v2/embed", texts=[TOO_LONG], truncate="END")
    np.testing.assert_allclose(answer["embeddings"]["float"][0], cut, atol=1e-6)
    status, message = served.refused("/embed", inputs=TOO_LONG, truncate=None)
    assert (status, message.partition(";")[0]) == (422, "inputs[0] has 72 tokens")


@pytest.mark.parametrize(
    ("head", "path", "fields"),
    [
        (SequenceHead(num_labels=1), "/rerank", {"query": "w1", "texts": [TOO_LONG]}),
        (SequenceHead(num_labels=1), "/v1/rerank", {"query": TOO_LONG, "documents": ["w1"]}),
        (SequenceHead(num_labels=1), "/predict", {"inputs": TOO_LONG}),
        (SequenceHead(num_labels=1), "/classify", {"input": TOO_LONG}),
        (SequenceHead(num_labels=1), "/", {"inputs": TOO_LONG, "parameters": {"top_k": 1}}),
        (TokenHead(num_labels=1), "/predict_tokens", {"inputs": TOO_LONG}),
        (TokenHead(num_labels=1), "/", {"inputs": TOO_LONG, "parameters": {"aggregation_strategy": "simple"}}),
    ],
)
def test_other_models_refuse_too(start: Start, head: Head, path: str, fields: dict[str, Any]) -> None:
    manifest = small_manifest(head, labels=("LABEL_0",), default_route="/predict")
    refusing = start(FakeEngine(1), limits=Limits(auto_truncate=False), manifest=manifest)
    status, message = refusing.refused(path, **fields)
    assert (status, "tokens; the limit is 64" in message) == (422, True), message
    served = start(FakeEngine(1), manifest=manifest)
    assert served.client.post(path, json=fields).status_code == 200
