"""Options of `bei serve` from variables: of the process and of a config, in a real server; secrets that stay secret."""

import signal
from pathlib import Path

import httpx
import pytest
import yaml

from openbei.engine_dir import EngineDir

from .conftest import Run, serving
from .test_serve import assert_clear

KEY = "key-of-a-config"


def with_variables(config: Path, **variables: object) -> Path:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "environment_variables": variables}))
    return config


def ask(url: str, key: str | None = None, texts: object = "a") -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{url}/v1/embeddings", json={"input": texts}, headers=headers).status_code


@pytest.mark.parametrize("name", ["API_KEY", "OPENBEI_API_KEY"])
def test_a_config_with_a_key_is_closed(name: str, config: Path, variables: dict[str, str], tmp_path: Path) -> None:
    """And the key is in no file and no log line."""
    with_variables(config, **{name: KEY})
    arguments = (config, "--out", tmp_path / "engine", "--log-level", "debug", "--access-log")
    with serving(*arguments, variables=variables) as (server, url, log):
        assert [ask(url), ask(url, "another"), ask(url, KEY)] == [401, 401, 200]
        server.send_signal(signal.SIGTERM)
        assert server.stderr
        log += server.stderr
    assert KEY not in "".join(log)
    assert f"environment_variables.{name}" in "".join(log), "the report says what becomes of it"
    assert not [path for path in (tmp_path / "engine").iterdir() if KEY.encode() in path.read_bytes()]


def test_an_engine_of_a_config_with_a_key_does_not_come_up_open(
    config: Path, bei: Run, variables: dict[str, str], tmp_path: Path
) -> None:
    engine = tmp_path / "engine"
    built = bei("build", with_variables(config, API_KEY=KEY), "--out", engine)
    assert built.returncode == 0
    assert KEY not in built.stdout + built.stderr
    assert_clear(bei("serve", engine, "--port", "0"), 2, "was built from a config with an API key")
    with serving(engine, variables={**variables, "API_KEY": "mine"}) as (_, url, _):
        assert [ask(url), ask(url, KEY), ask(url, "mine")] == [401, 401, 200]


def test_keys_of_the_process_replace_those_of_the_config(config: Path, variables: dict[str, str]) -> None:
    with_variables(config, API_KEY=KEY)
    with serving(config, variables={**variables, "OPENBEI_API_KEY": "mine"}) as (_, url, _):
        assert [ask(url), ask(url, KEY), ask(url, "mine")] == [401, 401, 200]


@pytest.mark.parametrize("value", ["", " ", ",", 12345, True])
def test_a_key_that_is_none(value: object, config: Path, bei: Run) -> None:
    done = bei("serve", with_variables(config, API_KEY=value), "--port", "0")
    assert_clear(done, 2, "environment_variables.API_KEY is")
    assert "12345" not in done.stderr


@pytest.mark.parametrize("name", ["API_KEYS", "APIKEY", "OPENBEI_APIKEY", "MAX_CLIENT_BATCHSIZE", "OPENBEI_NONSENSE"])
def test_slips_of_the_pen_are_refused(name: str, config: Path, bei: Run) -> None:
    assert_clear(bei("build", with_variables(config, **{name: "5"})), 2, f"environment_variables.{name} is unknown")


def test_precedence(config: Path, variables: dict[str, str]) -> None:
    """Command line, process, config, default; a short name of the process wins over our own of the config."""
    with_variables(
        config, OPENBEI_MAX_CLIENT_BATCH_SIZE=2, OPENBEI_SERVED_MODEL_NAME="config", MAX_CONCURRENT_REQUESTS=77
    )
    variables |= {"MAX_CLIENT_BATCH_SIZE": "3", "SERVED_MODEL_NAME": "process"}
    with serving(config, "--max-client-batch-size", 4, variables=variables) as (_, url, _):
        assert [ask(url, texts=["a"] * n) for n in (4, 5)] == [200, 422]
        assert httpx.get(f"{url}/info").json()["max_concurrent_requests"] == 77
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "process"
    with serving(config, variables=variables) as (_, url, _):
        assert [ask(url, texts=["a"] * n) for n in (3, 4)] == [200, 422]


def test_names_of_tei(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    variables |= {
        "HOSTNAME": "127.0.0.2",
        "PORT": "0",
        "PAYLOAD_LIMIT": "300",
        "JSON_OUTPUT": "true",
        "LOG_LEVEL": "INFO",
        "CORS_ALLOW_ORIGIN": "https://a.example,https://b.example",
        "MAX_BATCH_TOKENS": "256",
        "AUTO_TRUNCATE": "false",
        "OPENBEI_GUARD_HEALTH": "on",
        "API_KEY": "key",
    }
    with serving(tiny_engine_dir.path, variables=variables) as (_, url, log):
        assert url.startswith("http://127.0.0.2:")
        assert all(line.startswith('{"time"') for line in log)
        assert ask(url, "key", "a" * 400) == 413
        assert httpx.get(f"{url}/health").status_code == 401
        info = httpx.get(f"{url}/info", headers={"Authorization": "Bearer key"})
        assert info.json()["auto_truncate"] is False
        for origin in ("https://a.example", "https://b.example"):
            headers = {"Origin": origin, "Authorization": "Bearer key"}
            answer = httpx.post(f"{url}/v1/embeddings", json={"input": "a"}, headers=headers)
            assert answer.headers["access-control-allow-origin"] == origin


def test_what_machines_put_there_does_not_count(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    """A container's name for itself, and the links of Kubernetes to a service called openbei."""
    variables |= {"HOSTNAME": "0f3a4c", "HOST": "x86_64-linux-gnu", "OPENBEI_PORT": "tcp://10.0.0.1:7997"}
    with serving(tiny_engine_dir.path, "--port", "0", variables=variables) as (_, url, _):
        assert url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("PORT", "many", "the environment variable PORT is 'many': 'many' is not a valid integer"),
        ("OPENBEI_LOG_FORMAT", "xml", "'text', 'json'"),
        ("MAX_CLIENT_BATCH_SIZE", "0", "MAX_CLIENT_BATCH_SIZE is '0'"),
        ("OPENBEI_GUARD_HEALTH", "maybe", "OPENBEI_GUARD_HEALTH is 'maybe'"),
        ("AUTO_TRUNCATE", "maybe", "the environment variable AUTO_TRUNCATE is 'maybe'"),
        ("UDS_PATH", "/run/x", "UDS_PATH is set, but"),
        ("DTYPE", "float64", "DTYPE is 'float64'; it must be bfloat16 or float16 or float32"),
        ("DEFAULT_PROMPT_NAME", "nonsense", "--default-prompt-name is 'nonsense'"),
        ("SERVED_MODEL_NAME", "a\x1bb", "control characters"),
    ],
)
def test_bad_variables(
    name: str, value: str, what: str, tiny_engine_dir: EngineDir, bei: Run, variables: dict[str, str]
) -> None:
    variables[name] = value
    assert_clear(bei("serve", tiny_engine_dir.path, *(() if name == "PORT" else ("--port", 0))), 2, what)


def test_a_prompt_by_default(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    """Its last space included, though other variables are stripped."""

    def vector(url: str, text: str) -> object:
        return httpx.post(f"{url}/embed", json={"inputs": text}).json()

    with serving(tiny_engine_dir.path, variables=variables) as (_, url, _):
        expected = vector(url, "query: a text")
        assert expected != vector(url, "a text")
    with serving(tiny_engine_dir.path, variables={**variables, "DEFAULT_PROMPT": "query: "}) as (_, url, _):
        assert vector(url, "a text") == expected


def test_a_dtype_of_the_process(config: Path, bei: Run, variables: dict[str, str]) -> None:
    variables["DTYPE"] = "float32"
    said = bei("build", with_variables(config, DTYPE="bfloat16")).stderr
    assert "float32" in said
    assert "the environment variable DTYPE" in said
