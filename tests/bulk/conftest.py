"""A small model of each task."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openbei import Model
from openbei.engine_dir import EngineDir

from ..checkpoint import build_engine, save_model, write_chain, write_json


@pytest.fixture(scope="package")
def engine_dir(tiny_engine_dir: EngineDir) -> Path:
    return tiny_engine_dir.path


@pytest.fixture(scope="package")
def model(engine_dir: Path) -> Iterator[Model]:
    with Model(engine_dir) as opened:
        yield opened


@pytest.fixture(scope="package")
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
    }
    return {name: build_engine(path, folder / f"{name}-engine").path for name, path in checkpoints.items()}
