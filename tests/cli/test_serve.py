"""`bei serve`, end to end: a real process, the real `openai` client, SIGTERM."""

import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from openbei.engine_dir import EngineDir

from ..checkpoint import judge_vectors
from ..prose import WORDS
from ..same_embedding import worst_cosine
from .conftest import Run, serving

TEXTS = [" ".join(WORDS[i : i + 3 + i]) for i in range(20)]


def test_config_to_answers(config: Path, tiny_checkpoint: Path, variables: dict[str, str]) -> None:
    """Builds because there is no engine directory, says so, and answers what sentence-transformers does."""
    with serving(config, variables=variables) as (server, url, log):
        assert "there is none" in "".join(log)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        answer = client.embeddings.create(model="any", input=TEXTS)
        vectors = np.array([row.embedding for row in answer.data], np.float32)
        assert worst_cosine(vectors, judge_vectors(tiny_checkpoint, TEXTS)) > 0.999
        assert [row.index for row in answer.data] == list(range(len(TEXTS)))
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    with serving(config, variables=variables) as (_, _, log):
        assert "up to date" in "".join(log)


def test_start_log_says_what_was_chosen_and_why(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    with serving(tiny_engine_dir.path, "--backend", "reference", variables=variables) as (_, _, log):
        assert "reference float32" in "".join(log)
        assert "asked for" in "".join(log)


def test_a_changed_config_is_built_again(config: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    out = tmp_path / "engine"
    with serving(config, "--out", out, variables=variables):
        pass
    config.write_text(config.read_text() + "model_name: another\n")
    with serving(config, "--out", out, variables=variables) as (_, url, log):
        assert "config has changed" in "".join(log)
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "another"


def test_sigterm_drains(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    """Requests in flight are answered, and the process ends well."""
    texts = [" ".join(WORDS[:100])] * 200
    arguments = (tiny_engine_dir.path, "--backend", "reference", "--max-batch-tokens", 128)
    with serving(*arguments, variables=variables) as (server, url, _), ThreadPoolExecutor(4) as clients:
        asked = [
            clients.submit(httpx.post, f"{url}/v1/embeddings", json={"input": texts}, timeout=60) for _ in range(4)
        ]
        while httpx.get(f"{url}/metrics").text.count("te_queue_size 4.0") == 0:
            pass
        server.send_signal(signal.SIGTERM)
        assert [len(answer.result().json()["data"]) for answer in asked] == [len(texts)] * 4
        assert server.wait(timeout=60) == 0


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("spoil", [flipped, truncated, Path.unlink])
@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json"])
def test_a_spoilt_engine_directory_is_found_before_serving(
    name: str, spoil: Callable[[Path], None], bei: Run, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "engine"
    assert bei("build", config, "--out", out).returncode == 0
    spoil(out / name)
    done = bei("serve", out, "--port", "0")
    assert_clear(done, 1, name)


def test_a_port_that_is_taken(tiny_engine_dir: EngineDir, bei: Run, variables: dict[str, str]) -> None:
    with serving(tiny_engine_dir.path, variables=variables) as (_, url, _):
        done = bei("serve", tiny_engine_dir.path, "--port", url.rpartition(":")[2])
    assert done.returncode != 0
    assert "in use" in done.stderr


def test_an_instruction_set_that_is_none(tiny_engine_dir: EngineDir, bei: Run) -> None:
    assert_clear(bei("serve", tiny_engine_dir.path, "--isa", "nonsense"), 1, "nonsense")


def assert_clear(done: "subprocess.CompletedProcess[str]", code: int, what: str) -> None:
    """A message that names what is wrong, the right exit code, and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("error: ") :]
    assert what in message
    assert len(message.splitlines()) <= 10
