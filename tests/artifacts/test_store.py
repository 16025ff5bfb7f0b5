"""Engine directories in object stores, on emulators: content, what is sent and fetched, damage, and many at once."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from openbei.artifacts import pull, push
from openbei.artifacts import store as artifact_store
from openbei.config import Environment
from openbei.engine_dir import EngineDir, open_engine_dir
from openbei.errors import ConfigError, EngineDirError, StoreError, StoreUnreachableError
from openbei.stores.store import Store
from tests.checkpoint import build_engine
from tests.emulators import Emulator, free_port

SECRET = "artifacts"


def no_progress(done: int, total: int) -> None:
    """Reports nothing."""


def environment_in(folder: Path, secret: str, **variables: str) -> Environment:
    named = {f"TRUSS_SECRET_{SECRET}": secret, "OPENBEI_SECRET_NAME": SECRET}
    return Environment.read({"XDG_CACHE_HOME": str(folder / "caches"), **named, **variables})


@pytest.fixture
def environment(emulator: Emulator, tmp_path: Path) -> Environment:
    return environment_in(tmp_path, emulator.secret)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects that were written, in order."""
    names: list[str] = []
    write = Store.write

    def recorded(self: Store, name: str, content: Any) -> None:
        write(self, name, content)
        names.append(name)

    monkeypatch.setattr(Store, "write", recorded)
    return names


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the objects that were read."""
    names: list[str] = []
    inner = Store.read

    def recorded(self: Store, name: str, *, limit: int) -> bytes | None:
        names.append(name)
        return inner(self, name, limit=limit)

    monkeypatch.setattr(Store, "read", recorded)
    return names


def contents(folder: Path | None) -> dict[str, bytes]:
    assert folder
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def num_chunks(engine_dir: EngineDir) -> int:
    return sum(len(record.chunks) for record in engine_dir.manifest.files.values())


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("openbei.digests", "openbei.artifacts.store"):
        monkeypatch.setattr(f"{module}.CHUNK_BYTES", 32 << 10)


@pytest.fixture(scope="module")
def engine_dir(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> EngineDir:
    """An engine directory of several chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openbei.digests.CHUNK_BYTES", 32 << 10)
        return build_engine(tiny_checkpoint, tmp_path_factory.mktemp("engine") / "tiny", dtype="bfloat16")


def test_push_and_pull(
    emulator: Emulator, engine_dir: EngineDir, environment: Environment, written: list[str], read: list[str]
) -> None:
    """The copy has the same bytes; what is there already is neither sent nor fetched again."""
    url = emulator.url("artifacts/tiny")
    sizes = sum(record.bytes for record in engine_dir.manifest.files.values())
    steps: list[tuple[int, int]] = []
    assert push(engine_dir.path, url, environment, lambda *step: steps.append(step)) == sizes
    assert steps[-1] == (sizes, sizes)
    assert written[-1] == "engine.json"
    assert len(written) == num_chunks(engine_dir) + 1 > 5
    written.clear()
    assert push(engine_dir.path, url, environment, no_progress) == 0
    assert written == ["engine.json"]
    folder = pull(url, environment, no_progress)
    assert contents(folder) == contents(engine_dir.path)
    read.clear()
    assert pull(url, environment, no_progress) == folder
    assert read == ["engine.json"]


def test_a_new_version_shares_chunks(
    emulator: Emulator,
    engine_dir: EngineDir,
    tiny_checkpoint: Path,
    environment: Environment,
    tmp_path: Path,
    written: list[str],
    read: list[str],
) -> None:
    """Only chunks that changed are sent and fetched. Offline, the version in the cache is used."""
    url = emulator.url("artifacts/versions")
    push(engine_dir.path, url, environment, no_progress)
    first = pull(url, environment, no_progress)
    changed = build_engine(tiny_checkpoint, tmp_path / "changed", dtype="bfloat16")
    weights = bytearray((changed.path / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    manifest = rewritten(changed, bytes(weights))
    written.clear()
    push(changed.path, url, environment, no_progress)
    assert len(written) == 2, "a chunk and the manifest"
    read.clear()
    second = pull(url, environment, no_progress)
    assert second
    assert second != first
    assert open_engine_dir(second).manifest == manifest
    assert len(read) == 2
    assert pull(url, environment_in(tmp_path, emulator.secret, OPENBEI_OFFLINE="1"), no_progress) == second
    assert pull(url, environment_in(tmp_path / "x", emulator.secret, OPENBEI_OFFLINE="1"), no_progress) is None


def rewritten(engine_dir: EngineDir, weights: bytes) -> Any:
    """Replace the weights, and the manifest accordingly."""
    import msgspec

    from openbei.digests import file_digests
    from openbei.engine_dir import FileRecord

    path = engine_dir.path / "weights.safetensors"
    path.unlink()
    path.write_bytes(weights)
    record = FileRecord(bytes=len(weights), chunks=file_digests(path))
    files = {**engine_dir.manifest.files, path.name: record}
    manifest = msgspec.structs.replace(engine_dir.manifest, files=files)
    manifest = msgspec.structs.replace(manifest, digest=manifest.own_digest)
    (engine_dir.path / "engine.json").write_bytes(msgspec.json.encode(manifest))
    return manifest


def test_a_flipped_bit(s3: Emulator, engine_dir: EngineDir, tmp_path: Path) -> None:
    """It is found before the engine directory appears, and --force repairs it."""
    url, environment = s3.url("artifacts/damaged"), environment_in(tmp_path, s3.secret)
    push(engine_dir.path, url, environment, no_progress)
    name = engine_dir.manifest.files["weights.safetensors"].chunks[1]
    content = (engine_dir.path / "weights.safetensors").read_bytes()[32 << 10 : 64 << 10]
    s3.put(f"artifacts/damaged/chunks/{name}", content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match=rf"chunks/{name} is damaged: its hash .*\nhint: .*--force"):
        pull(url, environment, no_progress)
    assert not list((tmp_path / "caches").rglob("engine.json"))
    push(engine_dir.path, url, environment, no_progress, force=True)
    assert contents(pull(url, environment, no_progress)) == contents(engine_dir.path)
    s3.put("artifacts/damaged/engine.json", (engine_dir.path / "engine.json").read_bytes().replace(b"tiny", b"tinx"))
    with pytest.raises(EngineDirError, match=r"damaged/engine.json was modified: its hash does not match"):
        pull(url, environment, no_progress)


def test_a_damaged_directory_is_not_pushed(
    s3: Emulator, tiny_checkpoint: Path, tmp_path: Path, written: list[str]
) -> None:
    engine_dir = build_engine(tiny_checkpoint, tmp_path / "engine", dtype="bfloat16")
    content = bytearray((engine_dir.path / "weights.safetensors").read_bytes())
    content[1000] ^= 1
    (engine_dir.path / "weights.safetensors").write_bytes(content)
    with pytest.raises(EngineDirError, match="was modified"):
        push(engine_dir.path, s3.url("artifacts/never"), environment_in(tmp_path, s3.secret), no_progress)
    assert not written


def test_two_pushes_at_once(s3: Emulator, engine_dir: EngineDir, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The artifact is one of the two, whole."""
    other = build_engine(tiny_checkpoint, tmp_path / "other", dtype="float32")
    url, environment = s3.url("artifacts/race"), environment_in(tmp_path, s3.secret)
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(push, each.path, url, environment, no_progress) for each in (engine_dir, other)]
        assert all(done.result() for done in both)
    assert contents(pull(url, environment, no_progress)) in (contents(engine_dir.path), contents(other.path))


def test_many_replicas_at_once(s3: Emulator, engine_dir: EngineDir, tmp_path: Path, read: list[str]) -> None:
    """They share one cache, and one of them fetches."""
    url, environment = s3.url("artifacts/replicas"), environment_in(tmp_path, s3.secret)
    push(engine_dir.path, url, environment, no_progress)
    start = threading.Barrier(6)

    def replica(_: int) -> Path | None:
        start.wait(20)
        return pull(url, environment, no_progress)

    with ThreadPoolExecutor(6) as threads:
        folders = set(threads.map(replica, range(6)))
    assert len(folders) == 1
    assert contents(folders.pop()) == contents(engine_dir.path)
    assert len([name for name in read if name.startswith("chunks/")]) == num_chunks(engine_dir)


def test_a_pull_that_was_cut_continues(
    s3: Emulator, engine_dir: EngineDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    url, environment = s3.url("artifacts/cut"), environment_in(tmp_path, s3.secret)
    push(engine_dir.path, url, environment, no_progress)
    last = engine_dir.manifest.files["weights.safetensors"].chunks[-1]
    stored_chunk = artifact_store._stored_chunk

    def cut(store: Store, name: str, num_bytes: int) -> memoryview:
        if name == last:
            raise StoreError("cut")
        return stored_chunk(store, name, num_bytes)

    monkeypatch.setattr(artifact_store, "_stored_chunk", cut)
    monkeypatch.setattr("openbei.stores.download.NUM_THREADS", 1)
    with pytest.raises(StoreError, match="cut"):
        pull(url, environment, no_progress)
    monkeypatch.setattr(artifact_store, "_stored_chunk", stored_chunk)
    fetched = set(read)
    read.clear()
    assert contents(pull(url, environment, no_progress)) == contents(engine_dir.path)
    assert set(read) & fetched == {"engine.json"}


def test_not_an_artifact(s3: Emulator, engine_dir: EngineDir, tmp_path: Path) -> None:
    environment = environment_in(tmp_path, s3.secret)
    assert pull(s3.url("artifacts/nothing"), environment, no_progress) is None
    assert pull("owner/name", environment, no_progress) is None
    for url in ("owner/name", "/a/folder", "https://host/x"):
        with pytest.raises(ConfigError, match="is not a URL for an engine directory"):
            push(engine_dir.path, url, environment, no_progress)
    nobody = json.dumps({**json.loads(s3.secret), "endpoint": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(StoreUnreachableError, match="cannot be reached: connection refused"):
        pull(s3.url("artifacts/x"), environment_in(tmp_path, nobody), no_progress)
    with pytest.raises(StoreError, match="cannot be written with the secret artifacts: access denied"):
        push(engine_dir.path, s3.url("artifacts/x"), environment_in(tmp_path, s3.wrong_secret), no_progress, force=True)
