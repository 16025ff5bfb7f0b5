"""Checkpoints in S3, GCS and Azure, on emulators: content, cache, resumption, secrets and limits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbei.build import build, why_stale
from openbei.checkpoints import fetch_checkpoint, object_store
from openbei.config import Environment, deployment_for_model
from openbei.errors import CheckpointError, ConfigError, DownloadError, StoreError, StoreUnreachableError
from openbei.stores import download as downloads
from openbei.stores.store import Store
from openbei.truss import CheckpointRepository
from tests.emulators import BUCKET, PUBLIC, Emulator, free_port

SECRET = "model-store"


def environment_in(folder: Path, **variables: str) -> Environment:
    paths = {"XDG_CACHE_HOME": str(folder / "caches"), "OPENBEI_SECRETS": str(folder / "secrets")}
    return Environment.read({**paths, **variables})


def with_secret(folder: Path, secret: str, **variables: str) -> Environment:
    return environment_in(folder, **{f"TRUSS_SECRET_{SECRET}": secret}, **variables)


def repository(emulator: Emulator, url: str, secret_name: str = SECRET) -> CheckpointRepository:
    return CheckpointRepository(source=emulator.kind, repo=url, runtime_secret_name=secret_name)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int, int]]]:
    """The parts that were requested, as name, start and end."""
    requested: list[tuple[str, int, int]] = []
    read_part = Store.read_part

    def recorded(self: Store, item: Any, start: int, end: int) -> memoryview:
        content = read_part(self, item, start, end)
        requested.append((item.name, start, end))
        return content

    monkeypatch.setattr(Store, "read_part", recorded)
    monkeypatch.setattr(downloads, "PART_BYTES", 16 << 10)
    return requested


def test_a_published_checkpoint(
    emulator: Emulator, minilm: Path, tmp_path: Path, parts: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It arrives byte for byte; a second fetch downloads nothing, and an offline one uses the cache."""
    monkeypatch.setattr(downloads, "PART_BYTES", 8 << 20)
    wanted = {name: content for name, content in contents(minilm).items() if object_store.is_read(name)}
    emulator.put("minilm/pytorch_model.bin", b"a pickle")
    emulator.put("minilm/checkpoint-500/model.safetensors", b"an earlier one")
    requested = repository(emulator, emulator.upload(minilm, "minilm") + "/")
    environment = with_secret(tmp_path, emulator.secret)
    steps: list[tuple[int, int]] = []
    folder = fetch_checkpoint(requested, environment, progress=lambda *step: steps.append(step))
    assert contents(folder) == wanted
    assert steps[-1] == (sum(map(len, wanted.values())),) * 2
    parts.clear()
    assert fetch_checkpoint(requested, environment) == folder
    assert not parts
    assert fetch_checkpoint(requested, environment_in(tmp_path), is_offline=True) == folder
    assert not list(folder.parent.glob("partial*")), "unfinished downloads are removed"


def test_only_changed_files_are_fetched(
    emulator: Emulator, checkpoint_copy: Path, tmp_path: Path, parts: list[tuple[str, int, int]]
) -> None:
    """The engine is stale only once a changed checkpoint was fetched."""
    url = emulator.upload(checkpoint_copy, "changes")
    environment = with_secret(tmp_path, emulator.secret)
    deployment = deployment_for_model(url)
    named = msgspec.structs.replace(deployment.repository, runtime_secret_name=SECRET)
    deployment = msgspec.structs.replace(deployment, repository=named)
    engine_dir = build(deployment, tmp_path / "engine", environment=environment)
    first = Path(fetch_checkpoint(deployment.repository, environment))
    assert engine_dir.manifest.source == f"{emulator.kind} {url} {first.name}"
    assert why_stale(engine_dir, deployment, environment) is None
    config = json.loads((checkpoint_copy / "config.json").read_text())
    changed = json.dumps({**config, "note": "changed"}).encode()
    emulator.put("changes/config.json", changed)
    parts.clear()
    second = fetch_checkpoint(deployment.repository, environment)
    assert {name for name, _, _ in parts} == {"config.json"}
    assert (second / "config.json").read_bytes() == changed
    assert contents(second)["model.safetensors"] == (checkpoint_copy / "model.safetensors").read_bytes()
    emulator.put("changes/config.json", changed + b"\n")
    fetch_checkpoint(deployment.repository, environment)
    assert [second.exists(), first.exists()] == [True, False], "the version before is kept, earlier ones are removed"
    assert why_stale(engine_dir, deployment, environment) == "the checkpoint has changed"


def test_a_cut_download_continues(
    emulator: Emulator,
    tiny_checkpoint: Path,
    tmp_path: Path,
    parts: list[tuple[str, int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parts that arrived before the connection was cut are not requested again."""
    requested = repository(emulator, emulator.upload(tiny_checkpoint, "cut"))
    environment = with_secret(tmp_path, emulator.secret)
    monkeypatch.setattr(downloads, "NUM_TRIES", 1)
    monkeypatch.setattr(downloads, "NUM_THREADS", 1)
    read_part = Store.read_part

    def cut(self: Store, item: Any, start: int, end: int) -> memoryview:
        if item.name == "model.safetensors" and start >= 48 << 10:
            raise StoreUnreachableError("cut")
        return read_part(self, item, start, end)

    monkeypatch.setattr(Store, "read_part", cut)
    with pytest.raises(DownloadError, match="cut"):
        fetch_checkpoint(requested, environment)
    arrived = set(parts)
    assert ("model.safetensors", 0, 16 << 10) in arrived
    monkeypatch.setattr(Store, "read_part", read_part)
    parts.clear()
    folder = fetch_checkpoint(requested, environment)
    assert not arrived & set(parts)
    assert contents(folder)["model.safetensors"] == (tiny_checkpoint / "model.safetensors").read_bytes()


def test_secrets_in_files_and_variables(emulator: Emulator, tiny_checkpoint: Path, tmp_path: Path) -> None:
    url = emulator.upload(tiny_checkpoint, "secrets")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / SECRET).write_text(emulator.secret + "\n")
    assert fetch_checkpoint(repository(emulator, url), environment_in(tmp_path))
    by_variables = environment_in(tmp_path / "other", **emulator.variables)
    for name in ("hf_access_token", "absent"):
        assert fetch_checkpoint(repository(emulator, url, name), by_variables)


def test_wrong_secrets(emulator: Emulator, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """An error names the secret and the source, and shows no value of the secret."""
    url = emulator.upload(tiny_checkpoint, "wrong")
    with pytest.raises((DownloadError, ConfigError), match=rf"secret {SECRET}") as refusal:
        fetch_checkpoint(repository(emulator, url), with_secret(tmp_path, emulator.wrong_secret))
    if emulator.checks_secrets:
        assert url in str(refusal.value)
    for value in json.loads(emulator.wrong_secret).values():
        assert value.startswith("http") or value not in str(refusal.value)


def test_without_a_secret(azure: Emulator, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Access is anonymous; where that is refused, the error says where the secret was looked for."""
    private = azure.upload(tiny_checkpoint, "anonymous")
    public = azure.upload(tiny_checkpoint, f"../{PUBLIC}/anonymous").replace(f"{BUCKET}/../", "")
    environment = environment_in(tmp_path, AZURE_STORAGE_ENDPOINT=azure.endpoint)
    assert fetch_checkpoint(repository(azure, public), environment)
    with pytest.raises(
        DownloadError, match=rf"{private} (cannot be read without|does not exist).*TRUSS_SECRET_{SECRET}"
    ):
        fetch_checkpoint(repository(azure, private), environment)


def test_nothing_there(emulator: Emulator, tmp_path: Path) -> None:
    environment = with_secret(tmp_path, emulator.secret)
    with pytest.raises(DownloadError, match="nothing has no checkpoint files\nhint: check the bucket"):
        fetch_checkpoint(repository(emulator, emulator.url("nothing")), environment)
    absent = emulator.url("x").replace(BUCKET, "no-such-bucket")
    with pytest.raises(DownloadError, match=r"no-such-bucket/x (does not exist|cannot be reached: .* 500)"):
        fetch_checkpoint(repository(emulator, absent), environment)


def test_unreachable(s3: Emulator, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The cache is used, with a warning; without a cache it is an error."""
    url = s3.upload(tiny_checkpoint, "unreachable")
    folder = fetch_checkpoint(repository(s3, url), with_secret(tmp_path, s3.secret))
    nobody = json.dumps({**json.loads(s3.secret), "endpoint": f"http://127.0.0.1:{free_port()}"})
    assert fetch_checkpoint(repository(s3, url), with_secret(tmp_path, nobody)) == folder
    assert "cannot be reached" in caplog.text
    with pytest.raises(DownloadError, match=r"cannot be reached: .*refused\nhint: check the network"):
        fetch_checkpoint(repository(s3, url), with_secret(tmp_path / "other", nobody))
    with pytest.raises(DownloadError, match=r"it is not in the cache .* and this run is offline"):
        fetch_checkpoint(repository(s3, url), with_secret(tmp_path / "other", nobody), is_offline=True)


def test_limits(s3: Emulator, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = repository(s3, s3.upload(tiny_checkpoint, "limits"))
    environment = with_secret(tmp_path, s3.secret)
    monkeypatch.setattr("openbei.checkpoints.limits.MAX_CHECKPOINT_BYTES", 1000)
    with pytest.raises(DownloadError, match=r"limits has [\d,]+ bytes; the limit is 1,000"):
        fetch_checkpoint(requested, environment)
    monkeypatch.setattr("openbei.checkpoints.limits.MAX_FILES", 2)
    with pytest.raises(DownloadError, match=r"limits has \d files that a build reads; the limit is 2"):
        fetch_checkpoint(requested, environment)
    monkeypatch.setattr("openbei.stores.store.MAX_OBJECTS", 3)
    with pytest.raises(DownloadError, match="limits has more than 3 objects"):
        fetch_checkpoint(requested, environment)


def test_an_object_that_changes_during_a_download(
    s3: Emulator, checkpoint_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = repository(s3, s3.upload(checkpoint_copy, "racing"))
    listed = Store.list

    def then_change(self: Store) -> Any:
        found = listed(self)
        s3.put("racing/config.json", b"{}")
        return found

    monkeypatch.setattr(Store, "list", then_change)
    with pytest.raises(DownloadError, match=r"config.json changed while it was downloaded\nhint: run"):
        fetch_checkpoint(requested, with_secret(tmp_path, s3.secret))


def test_names_out_of_the_folder(s3: Emulator, tiny_checkpoint: Path, tmp_path: Path) -> None:
    url = s3.upload(tiny_checkpoint, "names")
    s3.put("names/a\\..\\b.json", b"{}")
    with pytest.raises((DownloadError, StoreError), match="invalid name"):
        fetch_checkpoint(repository(s3, url), with_secret(tmp_path, s3.secret))


def test_a_revision_is_refused(s3: Emulator, environment: Environment) -> None:
    requested = msgspec.structs.replace(repository(s3, s3.url("x")), revision="main")
    with pytest.raises(CheckpointError, match="must not be set for S3"):
        fetch_checkpoint(requested, environment)
