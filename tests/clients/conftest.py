"""Real server processes, one for each task, over small seeded models; what they must answer, by transformers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.batch import Vectors
from tests.checkpoint import (
    build_engine,
    expected_logits,
    expected_vectors,
    save_checkpoint,
    save_model,
    write_chain,
    write_json,
)
from tests.cli.conftest import LABELS, serving
from tests.prose import texts

KEY = "the key of these tests"
MOODS = {"id2label": {0: "glad", 1: "sad", 2: "angry"}, "label2id": {"glad": 0, "sad": 1, "angry": 2}}
PROMPTS = {"prompts": {"query": "find: ", "document": "read: "}, "default_prompt_name": None}


OFFLINE = {"HAYSTACK_TELEMETRY_ENABLED": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
"""Keeps client libraries from sending telemetry and downloading prices."""

OTHER_ENVIRONMENT = Path(sys.prefix) / "clients/bin/python"
"""The Python of client libraries whose requirements conflict with those of these tests; `make test` installs it."""


@dataclass(frozen=True)
class Server:
    """A running server and the checkpoint that it serves."""

    url: str
    checkpoint: Path

    def vectors(self, given: list[str]) -> Vectors:
        """What sentence-transformers makes of texts."""
        return expected_vectors(self.checkpoint, given)

    def logits(self, given: list[Any], end: str = "ForSequenceClassification") -> Vectors:
        """What transformers makes of texts or pairs, for a sequence classifier."""
        return np.stack(expected_logits(self.checkpoint, end, given))

    @cached_property
    def name(self) -> str:
        """The served name of the model."""
        return self.checkpoint.name


@pytest.fixture(scope="session")
def given() -> list[str]:
    """A few real texts."""
    return [" ".join(text.split()) for text in texts(7, longest=40, seed=4)]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Builds and serves a checkpoint in float32, guarded by `KEY`; options of `bei serve` may follow it."""
    caches = tmp_path_factory.mktemp("caches")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBEI_", "HF_"))}
    variables = {**ours, "XDG_CACHE_HOME": str(caches), "HF_HUB_OFFLINE": "1", "OPENBEI_API_KEY": f"another, {KEY}"}
    with ExitStack() as stack:

        def serve(checkpoint: Path, *options: str) -> Server:
            engine_dir = build_engine(checkpoint, tmp_path_factory.mktemp("engines") / checkpoint.name)
            _, url, _ = stack.enter_context(
                serving(engine_dir.path, "--max-client-batch-size", 64, *options, variables=variables)
            )
            return Server(url, checkpoint)

        yield serve


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path, start: Callable[[Path], Server]) -> Server:
    """An embedding model with prompts."""
    checkpoint = save_checkpoint(tmp_path_factory.mktemp("models") / "embedder", tokenizer_json)
    write_json(checkpoint / "config_sentence_transformers.json", PROMPTS)
    return start(checkpoint)


def classifier(folder: Path, tokenizer_json: Path, end: str, **config: Any) -> Path:
    """A small BERT with a head."""
    return save_model(folder, tokenizer_json, f"Bert{end}", **config)


@pytest.fixture(scope="session")
def reranker(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path, start: Callable[[Path], Server]) -> Server:
    """A cross-encoder with one label."""
    folder = tmp_path_factory.mktemp("models") / "reranker"
    return start(classifier(folder, tokenizer_json, "ForSequenceClassification", num_labels=1, seed=3))


@pytest.fixture(scope="session")
def sorting(reranker: Server, start: Callable[..., Server]) -> Server:
    """The same, sorting what /rerank answers."""
    return start(reranker.checkpoint, "--rerank-order", "score")


@pytest.fixture(scope="session")
def moods(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path, start: Callable[[Path], Server]) -> Server:
    """A sequence classifier with three labels."""
    folder = tmp_path_factory.mktemp("models") / "moods"
    return start(classifier(folder, tokenizer_json, "ForSequenceClassification", **MOODS))


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path, start: Callable[[Path], Server]) -> Server:
    """A token classifier."""
    folder = tmp_path_factory.mktemp("models") / "tagger"
    return start(classifier(folder, tokenizer_json, "ForTokenClassification", seed=6, **LABELS))


@pytest.fixture(scope="session")
def splade(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path, start: Callable[[Path], Server]) -> Server:
    """A model that weighs terms."""
    checkpoint = classifier(tmp_path_factory.mktemp("models") / "splade", tokenizer_json, "ForMaskedLM")
    write_chain(checkpoint, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    write_json(checkpoint / "1_SpladePooling/config.json", {"pooling_strategy": "max"})
    return start(checkpoint)


def run_script(name: str, **given: object) -> Any:
    """What a script in `scripts/` prints. It reads the key and `given`, and runs in its client's environment."""
    if not OTHER_ENVIRONMENT.exists():
        pytest.skip(f"needs {OTHER_ENVIRONMENT}, which `make test` installs")
    done = subprocess.run(
        [OTHER_ENVIRONMENT, Path(__file__).parent / "scripts" / name],
        input=json.dumps({"key": KEY, **given}),
        env={**os.environ, **OFFLINE},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def best(server: Server, query: str, given: list[str], top_k: int) -> tuple[list[int], Vectors]:
    """Indices and scores of the most relevant texts, which are not the first ones."""
    scores = sigmoid(server.logits([(query, text) for text in given])[:, 0])
    order = np.argsort(-scores, kind="stable")[:top_k]
    assert order.tolist() != list(range(top_k))
    return order.tolist(), scores[order]


def sigmoid(x: Vectors) -> Vectors:
    """1 / (1 + e^-x)."""
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def softmax(x: Vectors) -> Vectors:
    """Along the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float32)
