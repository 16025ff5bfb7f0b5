"""Equal inputs of a request are computed once, and those in the cache not at all; answers stay the same."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from openbei.batch import Output, PackedBatch, Rows
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import SequenceHead, TokenHead

from .conftest import Served, Start, small_manifest

MEGABYTE = 1_000_000


class Counting(FakeEngine):
    """Writes down how many sequences each batch has. Waits for `gate` if it is closed."""

    def __init__(self, hidden_size: int = 8) -> None:
        super().__init__(hidden_size)
        self.counts: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        self.counts.append(batch.num_sequences)
        self.gate.wait(20)
        return super().run(batch, output)


def body(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    return answer.content


def counter(served: Served, name: str) -> float:
    return served.value(f"openbei_cache_{name}")


def test_equal_texts_are_computed_once(start: Start) -> None:
    engine = Counting()
    served = start(engine)
    answer = served.post("/v1/embeddings", input=["w1 w2", "w3", "w1 w2", "w1 w2"])
    assert sum(engine.counts) == 2
    rows = [item["embedding"] for item in answer["data"]]
    assert rows[0] == rows[2] == rows[3] != rows[1]
    alone = served.post("/v1/embeddings", input=["w1 w2"])
    assert alone["data"][0]["embedding"] == rows[0]
    assert answer["usage"]["prompt_tokens"] == 3 * alone["usage"]["prompt_tokens"] + 3
    assert served.post("/embed_all", inputs=["w1 w2", "w1 w2"])[0] == served.post("/embed_all", inputs="w1 w2")[0]


def test_equal_documents_and_pairs_are_computed_once(start: Start) -> None:
    engine = Counting(1)
    served = start(engine, manifest=small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",)))
    ranked = served.post("/rerank", query="w1", texts=["w2", "w3", "w2"])
    assert ranked[0]["score"] == ranked[2]["score"]
    labels = served.post("/predict", inputs=[["w4"], ["w4", "w5"], ["w4"], ["w5", "w4"]])
    assert labels[0] == labels[2]
    assert sum(engine.counts) == 2 + 3


def test_equal_texts_of_a_token_classifier(start: Start) -> None:
    engine = Counting(2)
    served = start(engine, manifest=small_manifest(TokenHead(num_labels=2), labels=("O", "B-X")))
    found = served.post("/predict_tokens", inputs=[["w1 w2 w3"], ["w4"], ["w1 w2 w3"]])
    assert found[0] == found[2]
    assert [found[1]] == served.post("/predict_tokens", inputs=[["w4"]])
    assert engine.counts[0] == 2


def test_answers_of_the_cache(start: Start) -> None:
    """The same bytes and the same usage as without; the engine computes only what is new."""
    engine = Counting()
    plain, served = start(FakeEngine()), start(engine, cache_bytes=MEGABYTE)
    requests = [{"input": ["w1", "w2"]}, {"input": ["w2", "w3", "w1"]}, {"input": "w3"}, {"input": [[5, 6], [7]]}]
    for request in [*requests, *requests]:
        assert body(served.embed(**request)) == body(plain.embed(**request))
    assert sum(engine.counts) == 5
    assert (counter(served, "hits_total"), counter(served, "misses_total")) == (11, 5)
    assert MEGABYTE > counter(served, "bytes") > 0
    assert counter(plain, "misses_total") == 0
    answer = served.embed(input="w3")
    assert answer.headers["x-inference-time"] == "0"


def test_outputs_are_kept_apart(start: Start) -> None:
    engine = Counting()
    served = start(engine, cache_bytes=MEGABYTE)
    for _ in range(2):
        pooled, tokens = served.post("/embed", inputs="w1 w2"), served.post("/embed_all", inputs="w1 w2")
        assert (len(pooled), len(tokens[0])) == (1, 4)
    assert engine.counts == [1, 1]


def test_not_normalized_rows_of_the_cache(start: Start) -> None:
    served = start(FakeEngine(), cache_bytes=MEGABYTE)
    answers = {body(served.client.post("/embed", json={"inputs": "w1", "normalize": False})) for _ in range(3)}
    assert len(answers) == 1


def test_a_full_queue_answers_from_the_cache(start: Start) -> None:
    engine = Counting()
    served = start(engine, QueueLimits(max_concurrent_requests=1), cache_bytes=MEGABYTE)
    known = body(served.embed(input="w1"))
    engine.gate.clear()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(served.embed, input="w2")
        served.await_value("te_queue_size", 1)
        assert body(served.embed(input="w1")) == known
        assert served.embed(input="w3").status_code == 429
        engine.gate.set()
        assert waiting.result().status_code == 200


def test_rows_that_are_not_finite_are_not_kept(start: Start) -> None:
    class Broken(Counting):
        def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
            rows = super().run(batch, output)
            return np.full_like(rows, np.nan) if len(self.counts) == 1 else rows

    served = start(Broken(), cache_bytes=MEGABYTE)
    assert served.embed(input="w1").status_code == 500
    assert served.embed(input="w1").status_code == 200


def test_many_clients_share_the_cache(start: Start) -> None:
    engine = Counting()
    served = start(engine, cache_bytes=20_000)

    def client(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(10):
            ids = [[int(i)] for i in rng.integers(5, 30, 3)]
            rows = [item["embedding"] for item in served.post("/v1/embeddings", input=ids)["data"]]
            np.testing.assert_allclose(rows, [served.expected(one) for one in ids], rtol=1e-6)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(client, range(4)))
    assert 0 < counter(served, "bytes") <= 20_000
