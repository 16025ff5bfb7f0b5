"""OpenAI batch files: responses of the server, refused requests, and resumption."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei import Model
from openbei.bulk import openai_batch

from ..invoke import Invoke

BATCH = ("--input-format", "openai-batch")


def line(custom_id: str, **body: object) -> str:
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", **body}}
    return json.dumps(request) + "\n"


def answers(path: Path) -> list[tuple[int, Any]]:
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert [one["custom_id"] for one in lines] == [str(i) for i in range(len(lines))]
    assert all(one["error"] is None and one["id"] and one["response"]["request_id"] for one in lines)
    return [(one["response"]["status_code"], one["response"]["body"]) for one in lines]


def test_requests_and_responses(invoke: Invoke, engine_dir: Path, model: Model, tmp_path: Path) -> None:
    given, output = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"
    ids = model.tokenizer.encode(["three"])[0].token_ids.tolist()
    given.write_text(
        line("0", input="one")
        + line("1", input=["one", "two words"], dimensions=8)
        + "\n"
        + line("2", input="one", encoding_format="base64")
        + line("3", input=[ids])
        + line("4", input="")
        + line("5", input=["one"], dimensions=0)
        + line("6")
    )
    done = invoke("embed", engine_dir, *BATCH, "--input", given, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("7 rows, ")
    found = answers(output)
    assert [status for status, _ in found] == [200, 200, 200, 200, 422, 422, 422]
    [one, two, three] = model.embed(["one", "two words", "three"])
    assert found[0][1]["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert (found[0][1]["object"], found[0][1]["model"]) == ("list", model.name)
    rows = [np.array([row["embedding"] for row in body["data"]], np.float32) for _, body in (found[i] for i in (0, 3))]
    np.testing.assert_allclose(rows[0], [one], atol=1e-7)
    np.testing.assert_allclose(rows[1], [three], atol=1e-7)
    cut = np.array([row["embedding"] for row in found[1][1]["data"]], np.float32)
    np.testing.assert_allclose(cut, model.embed(["one", "two words"], dimensions=8), atol=1e-7)
    decoded = np.frombuffer(base64.b64decode(found[2][1]["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(decoded, one, atol=1e-7)
    assert found[4][1]["error"]["param"] == "input"
    assert two.shape == one.shape


def test_parts(invoke: Invoke, engine_dir: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part without a valid request is written, too."""
    monkeypatch.setattr(openai_batch, "PART_BYTES", 300)
    given, output = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"
    given.write_text("".join(line(str(i), input="" if 3 < i < 9 else f"text {i}") for i in range(20)))
    assert len([*openai_batch.Batch(given).parts(0)]) > 5
    assert [part.positions for part in openai_batch.Batch(given).parts(2)] == [
        part.positions for part in openai_batch.Batch(given).parts(0)
    ][2:]
    assert invoke("embed", engine_dir, *BATCH, "--input", given, "--output", output).returncode == 0
    found = answers(output)
    assert [status for status, _ in found] == [422 if 3 < i < 9 else 200 for i in range(20)]
    last = np.array(found[19][1]["data"][0]["embedding"], np.float32)
    np.testing.assert_allclose(last, model.embed(["text 19"])[0], atol=1e-7)


def test_lines_that_are_no_requests(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / "requests.jsonl"
    for content, message in (
        ("not json\n", "line 1: "),
        (line("0", input="a") + '{"body": {}}\n', "line 2: Object missing required field `custom_id`"),
        (line("0", input="a").replace("embeddings", "chat/completions"), "line 1: POST /v1/chat/completions is not"),
    ):
        given.write_text(content)
        done = invoke("embed", engine_dir, *BATCH, "--input", given)
        assert (done.returncode, f"error: {given}, {message}" in done.stderr) == (1, True), done.stderr
    given.write_text(line("0", input="a"))
    done = invoke("embed", engine_dir, "--input", given)
    assert "hint: use --input-format openai-batch" in done.stderr
    assert invoke("embed", engine_dir, *BATCH, "--input", given, "--dimensions", "8").returncode == 2
    assert invoke("embed", engine_dir, *BATCH, "--input", given, "--output", tmp_path / "a.npy").returncode == 2
    assert invoke("embed", engine_dir, *BATCH).returncode == 2
    for option in ("--keep=a", "--column=a", "--prefix=a", "--blank=skip"):
        assert invoke("embed", engine_dir, *BATCH, "--input", given, option).returncode == 2
    assert invoke("sparse", engine_dir, *BATCH, "--input", given).returncode == 1
