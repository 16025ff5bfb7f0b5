"""The command in this process, and a small model of each task."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from openbei import Model
from openbei.cli import main
from openbei.engine_dir import EngineDir

from ..checkpoint import build_engine, save_model, write_chain, write_json


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Invoke = Callable[..., Done]


@pytest.fixture
def invoke(tmp_path: Path) -> Iterator[Invoke]:
    """Run a command in this process; standard input is empty unless given."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*arguments: object, stdin: str | bytes = "") -> Done:
        environment = {"XDG_CACHE_HOME": str(tmp_path / "caches"), "HF_HUB_OFFLINE": "1"}
        result = CliRunner(env=environment).invoke(main, [*map(str, arguments)], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    yield run
    root.handlers, root.level = handlers, level


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
