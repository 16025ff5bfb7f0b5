"""npm's `@huggingface/inference` with the server's address as its endpoint; skipped where npm cannot install it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.same_embedding import worst_cosine

from .conftest import KEY, Server, softmax

PACKAGE = "@huggingface/inference"
SCRIPT = """
import { InferenceClient } from "@huggingface/inference";
const [url, key, method, args] = process.argv.slice(2);
const client = new InferenceClient(key).endpoint(url);
console.log(JSON.stringify(await client[method](JSON.parse(args))));
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script that calls a method of the client."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("needs npm and node")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--prefix", str(folder), "--prefer-offline", "--no-audit", "--no-fund", PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm cannot install {PACKAGE} in time")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}")
    path = folder / "ask.mjs"
    path.write_text(SCRIPT)
    return path


def ask(script: Path, server: Server, method: str, **arguments: object) -> Any:
    """What a method of the client returns."""
    command = ["node", str(script), server.url, KEY, method, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("extra", [{}, {"parameters": {}}], ids=["bare", "with parameters"])
def test_text_classification(script: Path, moods: Server, given: list[str], extra: dict[str, object]) -> None:
    found = ask(script, moods, "textClassification", inputs=given[0], **extra)
    by_label = {label["label"]: label["score"] for label in found}
    expected = softmax(moods.logits(given[:1]))[0]
    np.testing.assert_allclose([by_label[name] for name in ("glad", "sad", "angry")], expected, atol=1e-4)


@pytest.mark.parametrize("extra", [{}, {"parameters": {"aggregation_strategy": "max"}}], ids=["bare", "max"])
def test_token_classification(script: Path, tagger: Server, given: list[str], extra: dict[str, object]) -> None:
    text = " ".join(given)
    found = ask(script, tagger, "tokenClassification", inputs=text, **extra)
    assert found
    for entity in found:
        assert entity["word"] == text[entity["start"] : entity["end"]]
        assert entity["entity_group"] == "PER"


def test_feature_extraction(script: Path, embedder: Server, given: list[str]) -> None:
    found = np.array(ask(script, embedder, "featureExtraction", inputs=given[:2]), np.float32)
    assert worst_cosine(found, embedder.vectors(given[:2])) > 0.99999


def test_sentence_similarity(script: Path, embedder: Server, given: list[str]) -> None:
    vectors = embedder.vectors(given)
    inputs = {"source_sentence": given[0], "sentences": given[1:]}
    found = ask(script, embedder, "sentenceSimilarity", inputs=inputs)
    np.testing.assert_allclose(found, vectors[1:] @ vectors[0], atol=1e-5)
