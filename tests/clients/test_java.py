"""The HttpClient of a stock JDK, which Spring AI and langchain4j use: it offers h2c with every request."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ..same_embedding import worst_cosine
from .conftest import KEY, Server

JAVA = shutil.which("java")
SOURCE = Path(__file__).with_name("Ask.java")


def compiles() -> bool:
    """Whether there is a JDK and not only a runtime."""
    if JAVA is None:
        return False
    modules = subprocess.run([JAVA, "--list-modules"], capture_output=True, text=True).stdout
    return "jdk.compiler" in modules and "java.net.http" in modules


@pytest.mark.skipif(not compiles(), reason="there is no JDK")
def test_http_client(embedder: Server, given: list[str]) -> None:
    body = json.dumps({"input": given, "model": embedder.name})
    command = [str(JAVA), str(SOURCE), f"{embedder.url}/v1/embeddings", KEY, body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    answers = [line.partition(" ") for line in done.stdout.splitlines()]
    assert [status for status, _, _ in answers] == ["200", "200"]
    for _, _, content in answers:
        vectors = np.array([row["embedding"] for row in json.loads(content)["data"]], np.float32)
        assert worst_cosine(vectors, embedder.vectors(given)) > 0.9999
