"""What Baseten's performance client sends, and what it needs to read."""

import baseten_performance_client as bpc
import numpy as np
import pytest

from openbei.serving.fake_engine import FakeEngine
from openbei.spec import SequenceHead, TokenHead
from openbei.tasks.classify import sigmoid, softmax

from ...small_tokenizer import ids
from ..conftest import Served, Start, small_manifest

SMALL_BATCHES = bpc.RequestProcessingPreference(batch_size=4)
TEXTS = [f"w{i}" for i in range(9)]


def client_of(served: Served) -> bpc.PerformanceClient:
    return bpc.PerformanceClient(base_url=served.url, api_key="none")


def test_embed(served: Served) -> None:
    answer = client_of(served).embed(input=TEXTS, model="x", preference=SMALL_BATCHES)
    np.testing.assert_allclose(answer.numpy(), [served.expected(ids(i, 1)) for i in range(9)], atol=1e-6)
    assert answer.usage.total_tokens == 27


def test_rerank(start: Start) -> None:
    served = start(FakeEngine(1), manifest=small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",)))
    answer = client_of(served).rerank(query="w99", texts=TEXTS, preference=SMALL_BATCHES, return_text=True)
    assert [(item.index, item.text) for item in answer.data] == list(enumerate(TEXTS))
    wanted = sigmoid(np.array([served.pair_logits("w99", text)[0] for text in TEXTS]))
    np.testing.assert_allclose([item.score for item in answer.data], wanted, rtol=1e-5)


def test_classify(start: Start) -> None:
    labels = ("a", "b", "c")
    served = start(FakeEngine(3), manifest=small_manifest(SequenceHead(num_labels=3), labels=labels))
    answer = client_of(served).classify(inputs=TEXTS, preference=SMALL_BATCHES)
    for i, given in enumerate(answer.data):
        wanted = dict(zip(labels, softmax(served.logits(ids(i, 1))), strict=True))
        assert {item.label: item.score for item in given} == pytest.approx(wanted, rel=1e-5)


def test_batch_post(start: Start) -> None:
    labels = ("O", "B-PER")
    served = start(FakeEngine(2), manifest=small_manifest(TokenHead(num_labels=2), labels=labels))
    answer = client_of(served).batch_post(
        url_path="/predict_tokens", payloads=[{"inputs": [[text]], "raw_scores": True} for text in TEXTS]
    )
    for i, body in enumerate(answer.data):
        assert [token["token_id"] for token in body[0]] == ids(i, 1)
