"""Checkpoints in archives at a URL: content, cache, resumption, signatures and refusals."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from openbei.build import build, why_stale
from openbei.checkpoints import fetch_checkpoint
from openbei.config import Environment, deployment_for_model
from openbei.errors import CheckpointError, ConfigError, DownloadError
from openbei.truss import CheckpointRepository
from tests.checkpoints.archive_server import ArchiveServer, serve_archive, tar_gz
from tests.checkpoints.test_object_store import contents
from tests.emulators import free_port


@pytest.fixture
def server(checkpoint_copy: Path) -> Iterator[ArchiveServer]:
    (checkpoint_copy / "pytorch_model.bin").write_bytes(b"a pickle")
    with serve_archive(tar_gz(checkpoint_copy)) as server:
        yield server


def at(url: str) -> CheckpointRepository:
    return CheckpointRepository(source="REMOTE_URL", repo=url)


def test_a_published_checkpoint(minilm: Path, environment: Environment) -> None:
    """It arrives byte for byte, also if the connection is cut; a second fetch downloads nothing."""
    with serve_archive(tar_gz(minilm)) as server:
        server.cut_after = [60_000_000, 1_000_000]
        steps: list[tuple[int, int]] = []
        folder = fetch_checkpoint(at(server.url()), environment, progress=lambda *step: steps.append(step))
        assert server.sent == [(200, 0), (206, 60_000_000), (206, 61_000_000)]
        assert steps[-1] == (len(server.content), len(server.content))
        wanted = {name: content for name, content in contents(minilm).items() if name in contents(folder)}
        assert contents(folder) == wanted
        assert {"model.safetensors", "tokenizer.json", "1_Pooling/config.json"} <= wanted.keys()
        server.sent.clear()
        assert fetch_checkpoint(at(server.url()), environment) == folder
        assert server.sent == [(304, 0)]
    assert fetch_checkpoint(at(server.url()), environment) == folder, "the server is gone"
    assert fetch_checkpoint(at(server.url()), environment, is_offline=True) == folder


def test_a_run_continues_the_last_one(
    server: ArchiveServer, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openbei.checkpoints.remote_url.NUM_TRIES", 1)
    server.cut_after = [50_000]
    with pytest.raises(DownloadError, match=r"closed after 50,000 of [\d,]+ bytes\nhint: run the command again"):
        fetch_checkpoint(at(server.url()), environment)
    fetch_checkpoint(at(server.url()), environment)
    assert server.sent == [(200, 0), (206, 50_000)]


def test_an_archive_that_changes_between_runs(
    server: ArchiveServer, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openbei.checkpoints.remote_url.NUM_TRIES", 1)
    server.cut_after = [50_000]
    with pytest.raises(DownloadError, match="closed after"):
        fetch_checkpoint(at(server.url()), environment)
    server.etag = '"v2"'
    fetch_checkpoint(at(server.url()), environment)
    assert server.sent == [(200, 0), (200, 0)]


def test_signatures(server: ArchiveServer, environment: Environment, tmp_path: Path) -> None:
    """A URL that is signed again is the same checkpoint, and a signature is stored nowhere."""
    deployment = deployment_for_model(server.url("model.tar.gz?id=7&X-Amz-Signature=abc&X-Amz-Expires=60"))
    assert deployment.model_name == "model"
    engine_dir = build(deployment, tmp_path / "engine", environment=environment)
    again = deployment_for_model(server.url("model.tar.gz?id=7&X-Amz-Signature=def"))
    assert why_stale(engine_dir, again, environment) is None
    other = deployment_for_model(server.url("model.tar.gz?id=8&X-Amz-Signature=def"))
    assert why_stale(engine_dir, other, environment) == "the config has changed"
    assert "Signature" not in (tmp_path / "engine/engine.json").read_text()
    server.content, server.etag = server.content + b"\0" * 100, '"v2"'
    fetch_checkpoint(again.repository, environment)
    assert why_stale(engine_dir, again, environment) == "the checkpoint has changed"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            403,
            r"model.tar.gz cannot be downloaded: access denied \(status 403\)\nhint: a presigned URL",
        ),
        (404, "model.tar.gz does not exist"),
        (500, "the server responded with status 500"),
    ],
)
def test_refusals(status: int, message: str, server: ArchiveServer, environment: Environment) -> None:
    server.status = status
    with pytest.raises(DownloadError, match=message) as refusal:
        fetch_checkpoint(at(server.url("model.tar.gz?X-Amz-Signature=hush")), environment)
    assert "hush" not in str(refusal.value)


def test_redirects(server: ArchiveServer, environment: Environment) -> None:
    with serve_archive(b"") as first:
        first.location = server.url("other.tar.gz")
        assert fetch_checkpoint(at(first.url()), environment)
        first.location = "file:///etc/passwd"
        with pytest.raises(DownloadError, match="the server responded with status 302"):
            fetch_checkpoint(at(first.url("second.tar.gz")), environment)


def test_unreachable(environment: Environment) -> None:
    with pytest.raises(DownloadError, match=r"cannot be downloaded: .*refused"):
        fetch_checkpoint(at(f"http://127.0.0.1:{free_port()}/model.tar.gz"), environment)


def test_too_large(server: ArchiveServer, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openbei.checkpoints.remote_url.MAX_CHECKPOINT_BYTES", 1000)
    with pytest.raises(DownloadError, match=r"more than 1,000 bytes, which is the limit"):
        fetch_checkpoint(at(server.url()), environment)


@pytest.mark.parametrize("url", ["ftp://h/a.tar.gz", "file:///a.tar.gz", "a.tar.gz", "https://user:pw@h/a.tar.gz"])
def test_other_urls(url: str, environment: Environment) -> None:
    with pytest.raises(ConfigError) as refusal:
        fetch_checkpoint(at(url), environment)
    assert "pw" not in str(refusal.value)


def test_a_refused_archive_is_fetched_again(server: ArchiveServer, environment: Environment) -> None:
    whole, server.content = server.content, b"\x1f\x8bdamaged"
    with pytest.raises(DownloadError, match=r"is not a tar.gz archive, or is damaged"):
        fetch_checkpoint(at(server.url()), environment)
    server.content = whole
    assert fetch_checkpoint(at(server.url()), environment)
    with pytest.raises(CheckpointError, match="must not be set for REMOTE_URL"):
        fetch_checkpoint(msgspec.structs.replace(at(server.url()), revision="v1"), environment)
