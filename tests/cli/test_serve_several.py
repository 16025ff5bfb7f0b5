"""`bei serve` with several models: answers are those of separate servers, to the last bit; which options do not fit."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.prose import texts

from .conftest import Run, serving

TEXTS = texts(12, longest=60, seed=3)
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "embedder": ("/embed", {"inputs": TEXTS}),
    "reranker": ("/rerank", {"query": TEXTS[0], "texts": TEXTS[1:]}),
    "tagger": ("/predict_tokens", {"inputs": TEXTS, "aggregation_strategy": "simple"}),
}


def answers(url: str, names: dict[str, str | None]) -> dict[str, set[bytes]]:
    """The bytes of the answers to each request. Requests to different models are sent at the same time."""

    def ask(name: str) -> set[bytes]:
        path, request = REQUESTS[name]
        given = {**request, "model": names[name]}
        responses = [httpx.post(url + path, json=given, timeout=60) for _ in range(8)]
        assert {response.status_code for response in responses} == {200}
        return {response.content for response in responses}

    with ThreadPoolExecutor(len(names)) as threads:
        return dict(zip(names, threads.map(ask, names), strict=True))


def test_answers_are_those_of_separate_servers(engines: dict[str, Path], variables: dict[str, str]) -> None:
    alone: dict[str, set[bytes]] = {}
    for name, engine in engines.items():
        with serving(engine, "--threads", 2, "--no-verify", "--cache-mb", 1, variables=variables) as (_, url, log):
            assert any("hashes of engine directories: not checked (--no-verify)" in line for line in log)
            path, request = REQUESTS[name]
            alone[name] = {httpx.post(url + path, json=request, timeout=60).content for _ in range(2)}
            assert re.search(r'^openbei_cache_hits_total{model=".*"} [1-9]', httpx.get(f"{url}/metrics").text, re.M)
    named = [option for name in engines for option in ("--served-model-name", f"my-{name}")]
    with serving(*engines.values(), *named, "--threads", 2, variables=variables) as (_, url, log):
        assert [line.split("model: ")[1].split(",")[0] for line in log if "model: " in line] == [
            "my-embedder", "my-reranker", "my-tagger",
        ]  # fmt: skip
        assert any("hashes of engine directories: checked" in line for line in log)
        for names in ({name: f"my-{name}" for name in engines}, dict.fromkeys(engines)):
            assert answers(url, names) == alone
        assert httpx.get(f"{url}/health").status_code == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--served-model-name", "a"], "--served-model-name is given 1 times for 2 models"),
        (["--served-model-name", "a", "--served-model-name", "a"], "two models have the name a"),
        (["--default-prompt", "a"], "--default-prompt is for a single model; there are 2"),
        (["--out", "engine"], "--out is for a single model; there are 2"),
    ],
)
def test_options_that_do_not_fit(bei: Run, engines: dict[str, Path], options: list[str], message: str) -> None:
    done = bei("serve", engines["embedder"], engines["reranker"], *options, "--port", "0")
    assert done.returncode == 2
    assert message in done.stderr


def test_configs_that_contradict_each_other(bei: Run, config: Path, tmp_path: Path) -> None:
    other, content = tmp_path / "other.yaml", config.read_text()
    config.write_text(content + "environment_variables: {LOG_LEVEL: info}\n")
    other.write_text(content + "environment_variables: {LOG_LEVEL: debug}\n")
    done = bei("serve", config, other)
    assert done.returncode == 2
    assert "environment_variables.LOG_LEVEL differs from that of another config" in done.stderr
