"""The order of what /rerank answers: that of the texts as in BEI, or by score as in TEI where the server is told so."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from openbei.api.limits import Limits
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import SequenceHead

from ...conftest import Served, serving, small_manifest

TEXTS = ["w1 w2", "w3", "w4 w5 w6", "w3", "w7 w8"]
INPUT_ORDER = list(range(len(TEXTS)))


@pytest.fixture(scope="module")
def sorting(tokenizer_path: Path) -> Iterator[Served]:
    """A reranker that sorts; /rerank is its default route."""
    manifest = small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",), default_route="/rerank")
    with serving(tokenizer_path, FakeEngine(1), QueueLimits(), Limits(rerank_order="score"), manifest) as one:
        yield one


def places(served: Served, path: str, **fields: object) -> list[int]:
    return [rank["index"] for rank in served.post(path, query="w9", texts=TEXTS, **fields)]


def by_score(served: Served) -> list[int]:
    logits = np.array([served.pair_logits("w9", text)[0] for text in TEXTS])
    order: list[int] = np.argsort(-logits, kind="stable").tolist()
    assert order != INPUT_ORDER
    return order


@pytest.mark.parametrize("path", ["/rerank", "/", "/invocations"])
@pytest.mark.parametrize("raw_scores", [False, True])
def test_by_score(sorting: Served, path: str, raw_scores: bool) -> None:
    """Equal scores, here of the two texts that are the same, keep the order of the texts."""
    assert places(sorting, path, raw_scores=raw_scores) == by_score(sorting)


def test_scores_and_texts_go_with_their_index(sorting: Served) -> None:
    answer = sorting.post("/rerank", query="w9", texts=TEXTS, raw_scores=True, return_text=True)
    assert [rank["text"] for rank in answer] == [TEXTS[rank["index"]] for rank in answer]
    wanted = [sorting.pair_logits("w9", rank["text"])[0] for rank in answer]
    np.testing.assert_allclose([rank["score"] for rank in answer], wanted, rtol=1e-6)


def test_instances_are_sorted(sorting: Served) -> None:
    [answer] = sorting.post("/vertex", instances=[{"query": "w9", "texts": TEXTS}])["predictions"]
    assert [rank["index"] for rank in answer] == by_score(sorting)


@pytest.mark.parametrize("prefix", ["/environments/production/sync", "/sync", "/production/sync", "/deployment/a/sync"])
def test_paths_of_bei_keep_the_order_of_texts(sorting: Served, prefix: str) -> None:
    assert places(sorting, f"{prefix}/rerank") == INPUT_ORDER
    assert places(sorting, f"{prefix}/") == INPUT_ORDER
    [answer] = sorting.post(f"{prefix}/vertex", instances=[{"query": "w9", "texts": TEXTS}])["predictions"]
    assert [rank["index"] for rank in answer] == INPUT_ORDER


def test_the_default_route_of_bei_keeps_the_order_of_texts(sorting: Served) -> None:
    assert places(sorting, "/environments/production/predict") == INPUT_ORDER


@pytest.mark.parametrize("top_n", [0, 2, 99])
def test_the_best_only(sorting: Served, top_n: int) -> None:
    """LiteLLM sends `top_n` with `texts`."""
    best = by_score(sorting)[: top_n or None]
    assert places(sorting, "/rerank", top_n=top_n) == best
    assert places(sorting, "/sync/rerank", top_n=top_n) == sorted(best)
    assert sorting.refused("/rerank", query="w9", texts=TEXTS, top_n=-1)[0] == 422


def test_other_names(sorting: Served) -> None:
    answer = sorting.post("/rerank", query="w9 w8", texts=["w1 w2"], return_documents=True, max_tokens_per_doc=1)
    assert answer[0]["text"] == "w1 w2"
    assert answer[0]["score"] == sorting.post("/rerank", query="w9 w8", texts=["w1"])[0]["score"]
    [cut] = sorting.post("/rerank", query="w9 w8", texts=["w1"], max_tokens_per_query=1)
    assert cut == sorting.post("/rerank", query="w9", texts=["w1"])[0]
