"""Embedding in process, over the fake engine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from openbei.batch import Output, PackedBatch, Rows
from openbei.embedder import Embedder
from openbei.engine_dir import EngineDir
from openbei.errors import InputError, WrongTaskError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import TokenHead

from .small_tokenizer import VOCAB_SIZE, ids, words, write_tokenizer


class CountingEngine(FakeEngine):
    def __init__(self) -> None:
        super().__init__()
        self.num_tokens: list[int] = []

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        self.num_tokens.append(batch.num_tokens)
        return super().run(batch, output)


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine()


@pytest.fixture
def embedder(engine: CountingEngine, tmp_path: Path) -> Embedder:
    tokenizer = Tokenizer(write_tokenizer(tmp_path / "tokenizer.json"), 32, VOCAB_SIZE)
    return Embedder(tokenizer, engine, width=engine.hidden_size, normalize=False, max_batch_tokens=100)


def test_vectors_are_in_the_order_of_the_texts(embedder: Embedder, engine: CountingEngine) -> None:
    counts = np.random.default_rng(0).integers(1, 30, 700)
    vectors = embedder.embed(words(i, n) for i, n in enumerate(counts))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [engine.vector(np.array(ids(i, n))) for i, n in enumerate(counts)])
    assert max(engine.num_tokens) <= 100
    assert np.mean(engine.num_tokens) > 80


def test_stream_is_read_no_further_than_one_chunk_ahead(embedder: Embedder) -> None:
    num_read = 0

    def endless() -> Iterator[str]:
        nonlocal num_read
        while True:
            num_read += 1
            yield f"w{num_read % 1000}"

    chunks = embedder.embed_chunks(endless(), chunk_size=10)
    for i in range(1, 4):
        assert next(chunks).shape == (10, 8)
        assert num_read <= 10 * (i + 1)
    chunks.close()


def test_progress_counts_texts(embedder: Embedder) -> None:
    done: list[int] = []
    embedder.embed([words(i, 9) for i in range(600)], progress=done.append)
    assert sum(done) == 600
    assert len(done) > 10


def test_dimensions_and_normalization(engine: CountingEngine, tmp_path: Path) -> None:
    tokenizer = Tokenizer(write_tokenizer(tmp_path / "tokenizer.json"), 32, VOCAB_SIZE)
    embedder = Embedder(tokenizer, engine, width=engine.hidden_size, normalize=True, max_batch_tokens=100)
    vectors = embedder.embed(["w1", "w2 w3"], dimensions=3)
    assert vectors.shape == (2, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    with pytest.raises(InputError, match="dimensions is 9"):
        embedder.embed(["w1"], dimensions=9)


def test_nothing_gives_an_empty_array(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, 8)
    assert embedder.embed([], dimensions=3).shape == (0, 3)


def test_errors_come_out(embedder: Embedder) -> None:
    with pytest.raises(InputError, match="has 42 tokens"):
        embedder.embed(["w1", words(0, 40)], truncate=False)

    def broken() -> Iterator[str]:
        yield from ["w1"] * 300
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        embedder.embed(broken())


def test_prompts_and_truncation(engine: CountingEngine, tmp_path: Path) -> None:
    tokenizer = Tokenizer(write_tokenizer(tmp_path / "tokenizer.json"), 8, VOCAB_SIZE)
    embedder = Embedder(tokenizer, engine, width=8, normalize=False, max_batch_tokens=100, prompt="w7 ")
    vectors = embedder.embed(["w1", words(0, 20)])
    np.testing.assert_array_equal(vectors[0], engine.vector(np.array([2, 4 + 7, 4 + 1, 3])))
    assert embedder.num_truncated == 1


def test_refuses_another_task(tiny_engine_dir: EngineDir, engine: CountingEngine) -> None:
    manifest = tiny_engine_dir.manifest
    spec = msgspec.structs.replace(manifest.spec, head=TokenHead(num_labels=2))
    other = replace(tiny_engine_dir, manifest=msgspec.structs.replace(manifest, spec=spec))
    with pytest.raises(WrongTaskError, match="tiny-bert has the task token classifier; it does not make embeddings"):
        Embedder.open(other, engine)
    with pytest.raises(InputError, match="prompt_name is 'q'; the model's prompts are: none"):
        Embedder.open(tiny_engine_dir, engine, prompt_name="q")
