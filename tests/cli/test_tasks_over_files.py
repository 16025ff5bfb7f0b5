"""Tasks other than embeddings over files: results as those of the methods of `Model`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei import Model
from openbei.engine_dir import EngineDir

from ..checkpoint import build_engine, save_model, write_chain, write_json
from ..invoke import Invoke
from ..late_interaction import save_pylate

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TEXTS = ["one text", "another, longer text", "", "a third"]
QUERIES = ["one", "two", "one", "two"]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> dict[str, Path]:
    """An engine directory for each task."""
    folder = tmp_path_factory.mktemp("bulk")
    labels = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}, "label2id": {"O": 0, "B-PER": 1, "I-PER": 2}}
    moods = {"id2label": {0: "glad", 1: "sad", 2: "angry"}, "label2id": {"glad": 0, "sad": 1, "angry": 2}}
    sequence = "BertForSequenceClassification"
    sparse = save_model(folder / "sparse", tokenizer_json, "BertForMaskedLM")
    write_chain(sparse, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    write_json(sparse / "1_SpladePooling/config.json", {"pooling_strategy": "max"})
    checkpoints = {
        "reranker": save_model(folder / "reranker", tokenizer_json, sequence, num_labels=1),
        "classifier": save_model(folder / "classifier", tokenizer_json, sequence, **moods),
        "tagger": save_model(folder / "tagger", tokenizer_json, "BertForTokenClassification", **labels),
        "sparse": sparse,
        "late interaction": save_pylate(folder / "late", tokenizer_json),
    }
    return {name: build_engine(path, folder / f"{name}-engine").path for name, path in checkpoints.items()}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "in.parquet"
    parquet.write_table(pa.table({"id": [*"abcd"], "query": QUERIES, "text": TEXTS}), path)
    return path


def run(invoke: Invoke, command: str, engine: Path, given: Path, *options: str) -> list[dict[str, Any]]:
    """The rows of the output, which are the same in Parquet and JSON lines."""
    path = given.with_name("out.parquet")
    arguments = (command, engine, "--input", given, "--keep", "id", *options)
    done = invoke(*arguments, "--output", path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in invoke(*arguments).stdout.splitlines()]
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    assert json.loads(json.dumps(rows), parse_float=np.float32) == json.loads(json.dumps(lines), parse_float=np.float32)
    return rows


def test_rerank(invoke: Invoke, engines: dict[str, Path], given: Path) -> None:
    """Empty texts are scored, as over HTTP."""
    engine = engines["reranker"]
    with Model(engine) as model:
        expected = model.score(zip(QUERIES, TEXTS, strict=True))
        for_one = model.score([("one", text) for text in TEXTS])
    rows = run(invoke, "rerank", engine, given)
    assert [row["id"] for row in rows] == [*"abcd"]
    np.testing.assert_array_equal(np.array([row["score"] for row in rows], np.float32), expected)
    rows = run(invoke, "rerank", engine, given, "--query", "one")
    np.testing.assert_array_equal(np.array([row["score"] for row in rows], np.float32), for_one)
    path = given.with_name("out.npy")
    assert invoke("rerank", engine, "--input", given, "--output", path).returncode == 0
    np.testing.assert_array_equal(np.load(path), expected)
    done = invoke("rerank", engine, "--query", "one", "one text")
    assert json.loads(done.stdout)["score"] == pytest.approx(float(for_one[0]))
    assert invoke("rerank", engine, "one text").returncode == 2
    parquet.write_table(pa.table({"text": ["a"]}), given)
    assert "has no column 'query'; its columns are text\nhint: choose one with --query-column" in (
        invoke("rerank", engine, "--input", given).stderr
    )


def test_late_interaction(invoke: Invoke, engines: dict[str, Path], given: Path) -> None:
    """The summary counts rows, although the queries are sequences, too."""
    engine, output = engines["late interaction"], given.with_name("out.npy")
    with Model(engine) as model:
        expected = model.score(zip(QUERIES, TEXTS, strict=True))
    done = invoke("rerank", engine, "--input", given, "--output", output)
    assert done.stderr.startswith("4 rows, "), done.stderr
    np.testing.assert_array_equal(np.load(output), expected)


def test_classify(invoke: Invoke, engines: dict[str, Path], given: Path) -> None:
    engine = engines["classifier"]
    texts = [text for text in TEXTS if text]
    with Model(engine) as model:
        expected = model.classify(texts)
    rows = run(invoke, "classify", engine, given, "--blank", "skip", "--all-labels")
    assert [row["id"] for row in rows] == ["a", "b", "d"]
    for row, labels in zip(rows, expected, strict=True):
        assert (row["label"], row["score"]) == (labels[0].label, labels[0].score)
        assert {one["label"]: one["score"] for one in row["scores"]} == {one.label: one.score for one in labels}
    output = given.with_name("out.txt")
    assert invoke("classify", engine, "--input", given, "--blank", "skip", "--output", output).returncode == 0
    assert output.read_text().splitlines() == [labels[0].label for labels in expected]


def test_entities(invoke: Invoke, engines: dict[str, Path], given: Path) -> None:
    engine = engines["tagger"]
    texts = [text for text in TEXTS if text]
    with Model(engine) as model:
        expected = model.entities(texts)
    assert any(expected)
    rows = run(invoke, "entities", engine, given, "--blank", "skip")
    found = [[(e["text"], e["label"], e["start"], e["end"]) for e in row["entities"]] for row in rows]
    assert found == [[(e.token, e.label, e.start, e.end) for e in row] for row in expected]
    scores = [e["score"] for row in rows for e in row["entities"]]
    assert scores == pytest.approx([e.score for row in expected for e in row], abs=1e-7)


def test_sparse(invoke: Invoke, engines: dict[str, Path], given: Path) -> None:
    engine = engines["sparse"]
    with Model(engine) as model:
        expected = model.sparse([text for text in TEXTS if text])
    rows = run(invoke, "sparse", engine, given, "--blank", "skip")
    assert [dict(zip(row["indices"], row["values"], strict=True)) for row in rows] == expected


@pytest.mark.parametrize("command", ["embed", "rerank", "classify", "entities", "sparse"])
def test_a_wrong_task_is_named(
    command: str, invoke: Invoke, engines: dict[str, Path], tiny_engine_dir: EngineDir
) -> None:
    engine = engines["reranker"] if command == "embed" else tiny_engine_dir.path
    done = invoke(command, engine, *(("--query", "a") if command == "rerank" else ()), "a text")
    assert (done.returncode, "it does not support" in done.stderr) == (1, True)
