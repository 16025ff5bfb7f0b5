"""The Python API over the fake engine: order, streams, batches, threads, errors; `test_model_parity` has results."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import openbei
from openbei import Model
from openbei.batch import Output, PackedBatch, Rows
from openbei.engine_dir import EngineDir, Manifest
from openbei.errors import ConfigError, InputError, UnavailableError, WrongTaskError
from openbei.methods import METHODS, methods_of
from openbei.open_model import OpenModel
from openbei.prompts import Prompts, ScoreTemplate
from openbei.serving.fake_engine import FakeEngine
from openbei.spec import Head, SequenceHead, TermHead, TokenHead

from .api.conftest import small_manifest
from .small_tokenizer import ids, words, write_tokenizer

HEADS: dict[str, Head | None] = {
    "embedding": None,
    "reranker": SequenceHead(num_labels=1),
    "classifier": SequenceHead(num_labels=2),
    "token_classifier": TokenHead(num_labels=2),
    "sparse": TermHead(),
}


class CountingEngine(FakeEngine):
    """Remembers the tokens of its batches, and whether two of them ran at the same time."""

    def __init__(self, hidden_size: int = 8, *, is_sparse: bool = False) -> None:
        super().__init__(hidden_size, is_sparse=is_sparse)
        self.num_tokens: list[int] = []
        self.overlapped = False
        self._running = threading.Lock()

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        self.overlapped |= not self._running.acquire(blocking=False)
        self.num_tokens.append(batch.num_tokens)
        rows = super().run(batch, output)
        self._running.release()
        return rows


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine()


def model_over(folder: Path, engine: FakeEngine, manifest: Manifest) -> Model:
    write_tokenizer(folder / "tokenizer.json")
    return OpenModel(EngineDir(folder, manifest, {}), engine)


@pytest.fixture
def model(engine: CountingEngine, tmp_path: Path) -> Model:
    return model_over(tmp_path, engine, small_manifest(normalize=False))


def test_vectors_are_in_the_order_of_the_texts(model: Model, engine: CountingEngine) -> None:
    counts = np.random.default_rng(0).integers(1, 30, 700)
    vectors = model.embed((words(i, n) for i, n in enumerate(counts)), batch_tokens=100)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [engine.vector(np.array(ids(i, n))) for i, n in enumerate(counts)])
    assert max(engine.num_tokens) <= 100
    assert np.mean(engine.num_tokens) > 80


def test_batches_have_the_tokens_that_an_engine_directory_allows(tmp_path: Path, engine: CountingEngine) -> None:
    model = model_over(tmp_path, engine, small_manifest(max_num_tokens=50))
    model.embed([words(i, 9) for i in range(20)])
    model.embed([words(i, 9) for i in range(20)], batch_tokens=1000)
    assert max(engine.num_tokens) <= 50
    with pytest.raises(InputError, match="batch_tokens is 0; it must be at least 1"):
        model.embed(["w1"], batch_tokens=0)


def test_equal_texts_are_computed_once(model: Model, engine: CountingEngine) -> None:
    done: list[int] = []
    found = model.embed(["w1 w2", "w3", "w1 w2", "w1 w2"], progress=done.append)
    assert sum(engine.num_tokens) == len(ids(1, 2)) + len(ids(3, 1))
    assert (sum(done), found.tolist()) == (4, model.embed(["w1 w2", "w3"])[[0, 1, 0, 0]].tolist())


def test_stream_is_read_no_further_than_one_chunk_ahead(model: Model) -> None:
    num_read = 0

    def endless() -> Iterator[str]:
        nonlocal num_read
        while True:
            num_read += 1
            yield f"w{num_read % 1000}"

    chunks = model.embed_chunks(endless(), chunk_size=10)
    for i in range(1, 4):
        assert next(chunks).vectors.shape == (10, 8)
        assert num_read <= 10 * (i + 1)
    chunks.close()


def test_a_chunk_has_counts(model: Model) -> None:
    [chunk] = model.embed_chunks(["w1", words(0, 90)])
    assert (chunk.num_tokens, chunk.num_truncated) == (3 + 64, 1)


def test_progress_counts_texts(model: Model) -> None:
    done: list[int] = []
    model.embed([words(i, 9) for i in range(600)], batch_tokens=100, progress=done.append)
    assert sum(done) == 600
    assert len(done) > 10


@pytest.mark.parametrize(("progress", "is_shown"), [(None, False), (True, True), (False, False)])
def test_a_bar_is_shown_to_a_terminal_or_on_request(
    model: Model, capfd: pytest.CaptureFixture[str], progress: bool | None, is_shown: bool
) -> None:
    model.embed(["w1"] * 600, progress=progress)
    model.embed(["w1"], progress=progress)
    assert ("embed texts" in capfd.readouterr().err) is is_shown


def test_dimensions_and_normalization(tmp_path: Path, engine: CountingEngine) -> None:
    model = model_over(tmp_path, engine, small_manifest(normalize=True, dimensions=4))
    vectors = model.embed(["w1", "w2 w3"], dimensions=3)
    assert vectors.shape == (2, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(model.embed(["w1"], normalize=False)[0], engine.vector(np.array([2, 5, 3]))[:4])
    with pytest.raises(InputError, match="dimensions is 9"):
        model.embed(["w1"], dimensions=9)


def test_nothing_gives_nothing(tmp_path: Path, model: Model) -> None:
    assert model.embed([]).shape == (0, 8)
    assert model.embed(iter([]), dimensions=3).shape == (0, 3)
    assert model.token_embeddings([]) == []
    reranker = model_over(tmp_path, FakeEngine(1), small_manifest(HEADS["reranker"], labels=("a",)))
    assert reranker.rerank("w1", []) == []
    assert reranker.score([]).shape == (0,)
    assert reranker.classify([]) == []


def test_errors_come_out(model: Model) -> None:
    with pytest.raises(InputError, match=r"texts\[1\] has 82 tokens"):
        model.embed(["w1", words(0, 80)], truncate=False)

    def broken() -> Iterator[str]:
        yield from ["w1"] * 300
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        model.embed(broken())


def test_prompts(tmp_path: Path, engine: CountingEngine) -> None:
    prompts = Prompts({"query": "w7 ", "passage": "w8 ", "other": "w9 "}, default="other")
    model = model_over(tmp_path, engine, small_manifest(normalize=False, prompts=prompts))
    first = {
        7: [model.embed_query("w1"), model.embed(["w1"], prompt_name="query")[0]],
        8: [model.embed_documents(["w1"])[0]],
        9: [model.embed(["w1"])[0]],
        6: [model.embed(["w1"], prompt="w6 ")[0], model.token_embeddings(["w1"], prompt="w6 ")],
    }
    for word, found in first.items():
        np.testing.assert_array_equal(found[0], engine.vector(np.array([2, 4 + word, 5, 3])))
    np.testing.assert_array_equal(first[7][0], first[7][1])
    np.testing.assert_array_equal(model.embed(["w1"], prompt="")[0], engine.vector(np.array([2, 5, 3])))
    with pytest.raises(InputError, match="prompt_name is 'q'; the model's prompts are: query, passage, other"):
        model.embed(["w1"], prompt_name="q")
    with pytest.raises(InputError, match="prompt and prompt_name are set"):
        model.embed(["w1"], prompt="a", prompt_name="query")


def call_all(model: Model) -> dict[str, Any]:
    return {
        "embed": lambda: model.embed(["w1"]),
        "embed_query": lambda: model.embed_query("w1"),
        "embed_documents": lambda: model.embed_documents(["w1"]),
        "embed_chunks": lambda: list(model.embed_chunks(["w1"])),
        "token_embeddings": lambda: model.token_embeddings(["w1"]),
        "rerank": lambda: model.rerank("w1", ["w2"]),
        "score": lambda: model.score([("w1", "w2")]),
        "classify": lambda: model.classify(["w1", ("w1", "w2")]),
        "entities": lambda: model.entities(["w1"]),
        "sparse": lambda: model.sparse(["w1"]),
    }


@pytest.mark.parametrize("task", HEADS)
def test_a_wrong_task_names_the_methods_of_the_model(task: str, tmp_path: Path) -> None:
    labels = {"reranker": ("a",), "classifier": ("a", "b"), "token_classifier": ("a", "b")}.get(task, ())
    engine = FakeEngine(len(labels) or 8, is_sparse=task == "sparse")
    model = model_over(tmp_path, engine, small_manifest(HEADS[task], labels=labels))
    calls = call_all(model)
    assert calls.keys() == {method for methods in METHODS.values() for method in methods}
    for name, call in calls.items():
        if name in METHODS[model.task]:
            assert call() is not None
            continue
        with pytest.raises(
            WrongTaskError, match=f"^small has the task {task.replace('_', ' ')}; it does not support"
        ) as e:
            call()
        assert e.value.hint == f"use {', '.join(METHODS[model.task])}"


def test_a_classifier_with_a_template_is_a_reranker() -> None:
    template = ScoreTemplate(prefix="{query} ", suffix="", positive=1)
    manifest = small_manifest(HEADS["classifier"], labels=("no", "yes"), score_template=template)
    assert methods_of(manifest) == ("rerank", "score", "classify")
    unsupported = small_manifest(HEADS["reranker"], labels=("a",), has_unsupported_template=True)
    assert methods_of(unsupported) == ("classify",)


def test_one_text_is_not_taken_for_many(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="texts is a str") as error:
        model.embed("w1")
    assert error.value.hint == "pass [text]"
    reranker = model_over(tmp_path, FakeEngine(1), small_manifest(HEADS["reranker"], labels=("a",)))
    with pytest.raises(InputError, match="documents is a str"):
        reranker.rerank("w1", "w2")
    with pytest.raises(InputError, match="top_n is 0"):
        reranker.rerank("w1", ["w2"], top_n=0)
    with pytest.raises(InputError, match="no place for an instruction"):
        reranker.rerank("w1", ["w2"], instruction="w3")


def test_threads_share_a_model(model: Model, engine: CountingEngine) -> None:
    texts = [[words(i * 31 + j, 1 + j % 9) for j in range(40)] for i in range(24)]
    alone = [model.embed(part) for part in texts]
    with ThreadPoolExecutor(8) as threads:
        for found, expected in zip(threads.map(model.embed, texts), alone, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert not engine.overlapped


def test_a_closed_model_refuses(model: Model) -> None:
    with model as opened:
        assert opened is model
        model.embed(["w1"])
        assert repr(model) == "<OpenModel small: embedding>"
    model.close()
    assert repr(model) == "<OpenModel small: embedding, closed>"
    with pytest.raises(UnavailableError, match="small is closed"):
        model.embed(["w1"])


def test_targets(tiny_engine_dir: EngineDir, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = tmp_path / "config.yaml"
    config.write_text(
        "trt_llm: {build: {base_model: encoder_bert, checkpoint_repository: "
        f"{{source: LOCAL, repo: {tiny_checkpoint}}}}}}}\n"
    )
    vectors = [Model(target, threads=1).embed(["a text"]) for target in (tiny_engine_dir.path, tiny_checkpoint, config)]
    for found in vectors:
        np.testing.assert_array_equal(found, vectors[0])
    with pytest.raises(ConfigError, match="neither a folder nor a Hub id"):
        Model("/no/such/folder")


def test_refuses_a_broken_manifest(tiny_engine_dir: EngineDir, engine: CountingEngine) -> None:
    manifest = tiny_engine_dir.manifest
    spec = msgspec.structs.replace(manifest.spec, head=TokenHead(num_labels=2))
    other = replace(tiny_engine_dir, manifest=msgspec.structs.replace(manifest, spec=spec))
    with pytest.raises(WrongTaskError, match="tiny-bert has the task token classifier; it does not support embed"):
        OpenModel(other, engine).embed(["w1"])


def test_the_package_is_imported_lazily() -> None:
    code = "import openbei, sys; print(sorted({'numpy', 'tokenizers', 'rich', 'click', 'msgspec'} & {*sys.modules}))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
    code = "from openbei import Model; import sys; print([name for name in sys.modules if 'openbei.build' in name])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
    assert {*openbei.__all__} == {*dir(openbei)}
    assert all(getattr(openbei, name) for name in openbei.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Modle'"):
        openbei.Modle  # noqa: B018
