"""A stand-in for the Hub's cache, files that pages mention, and one server per task for all pages."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from openbei.variables import BUILD, OPTIONS
from tests.checkpoint import build_engine, save_checkpoint, save_model, write_chain, write_json
from tests.cli.conftest import serving
from tests.clients.conftest import LABELS, MOODS
from tests.house.source import ROOT
from tests.late_interaction import save_pylate

from .sandbox import Sandbox

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_IDS = {
    "intfloat/e5-small-v2": "embedding",
    "BAAI/bge-small-en-v1.5": "embedding",
    "BAAI/bge-reranker-base": "reranker",
    "SamLowe/roberta-base-go_emotions": "classifier",
    "baseten-admin/bert-base-ner-uncased": "token_classifier",
    "distilbert/distilbert-base-uncased": "without_modules",
}
"""Models that pages name -> the small checkpoint that stands for each. all-MiniLM-L6-v2 is the real one."""


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> dict[str, Path]:
    """A small checkpoint per task."""
    folder = tmp_path_factory.mktemp("checkpoints")
    end = "BertForSequenceClassification"
    sparse = save_model(folder / "sparse", tokenizer_json, "BertForMaskedLM")
    write_chain(sparse, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    write_json(sparse / "1_SpladePooling/config.json", {"pooling_strategy": "max"})
    return {
        "embedding": save_checkpoint(folder / "embedding", tokenizer_json),
        "reranker": save_model(folder / "reranker", tokenizer_json, end, num_labels=1),
        "classifier": save_model(folder / "classifier", tokenizer_json, end, **MOODS),
        "token_classifier": save_model(folder / "tagger", tokenizer_json, "BertForTokenClassification", **LABELS),
        "without_modules": save_model(folder / "plain", tokenizer_json, "BertModel"),
        "sparse": sparse,
        "late_interaction": save_pylate(folder / "colbert", tokenizer_json),
    }


@pytest.fixture(scope="session")
def variables(tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, Path], minilm: Path) -> dict[str, str]:
    """An environment with `bei` on the PATH and the models of HUB_IDS in the Hub's cache."""
    folder = tmp_path_factory.mktemp("home")
    models = {name: checkpoints[task] for name, task in HUB_IDS.items()}
    for name, checkpoint in {**models, "sentence-transformers/all-MiniLM-L6-v2": minilm}.items():
        cached = folder / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(checkpoint, cached / "snapshots" / COMMIT)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(COMMIT)
    (folder / "bin").mkdir()
    bei = folder / "bin" / "bei"
    bei.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m openbei "$@"\n')
    bei.chmod(0o755)
    known = {name for names in (*OPTIONS.values(), *BUILD.values()) for name in names}
    ours = {name: value for name, value in os.environ.items() if name not in known and not name.startswith("HF_")}
    return {
        **ours,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder),
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(scope="session")
def start(
    tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, Path], variables: dict[str, str]
) -> Iterator[Callable[[str], int]]:
    """The port of a server for a task, started when it is first needed."""
    ports: dict[str, int] = {}
    with ExitStack() as stack:

        def port_of(task: str) -> int:
            if task not in ports:
                engine_dir = build_engine(checkpoints[task], tmp_path_factory.mktemp("engines") / task)
                _, url, _ = stack.enter_context(serving(engine_dir.path, variables=variables))
                ports[task] = urlsplit(url).port or 80
            return ports[task]

        yield port_of


@pytest.fixture
def sandbox(tmp_path: Path, variables: dict[str, str], start: Callable[[str], int]) -> Iterator[Sandbox]:
    """A folder with the files that pages mention."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "examples/minilm/config.yaml", tmp_path / "config.yaml")
    (tmp_path / "texts.txt").write_text("The first text\nThe second text\n")
    (tmp_path / "keys.txt").write_text("a key of these tests\n")
    (tmp_path / "keys.txt").chmod(0o600)
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    made = Sandbox(tmp_path, variables, start)
    yield made
    made.close()
