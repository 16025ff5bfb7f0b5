"""Artifacts in object stores."""

import hashlib
import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from openbei.config import Environment
from openbei.digests import CHUNK_BYTES, digest
from openbei.engine_dir import MANIFEST, Manifest, open_engine_dir, parse_manifest
from openbei.errors import StoreError, StoreUnreachableError
from openbei.locations import Location
from openbei.stores.cache import Current, VersionCache
from openbei.stores.download import Counter, Progress, download, in_threads
from openbei.stores.store import Store, StoredObject, open_store

_log = logging.getLogger(__name__)

MAX_MANIFEST_BYTES = 64 << 20

_Chunks = dict[str, tuple[Path, int, int]]
"""Digest of a chunk → a local file that has it, and its first byte and the byte after its last one."""


def push(
    engine_dir: Path, location: Location, environment: Environment, progress: Progress, *, force: bool = False
) -> int:
    """See `openbei.artifacts.push`."""
    manifest = open_engine_dir(engine_dir).manifest
    store = open_store(location, environment.secrets, environment.secret_name)
    chunks = _chunks_of(engine_dir, manifest)
    present = {} if force else {item.name: item.size for item in store.list()}
    missing = {
        name: (path, start, end)
        for name, (path, start, end) in chunks.items()
        if present.get(_chunk(name)) != end - start
    }
    num_bytes = sum(end - start for _, start, end in missing.values())
    counter = Counter(num_bytes, progress)

    def send(name: str) -> None:
        path, start, end = missing[name]
        with _mapped(path, start, end) as content:
            store.write(_chunk(name), content)
        counter.add(end - start)

    in_threads(partial(send, name) for name in missing)
    store.write(MANIFEST, (engine_dir / MANIFEST).read_bytes())
    return num_bytes


def pull(location: Location, environment: Environment, progress: Progress) -> Path | None:
    """See `openbei.artifacts.pull`. Processes that pull the same artifact wait for the first one."""
    cache = VersionCache(environment.cache / "artifacts", str(location))
    current = cache.current()
    if environment.is_offline:
        return current[0] if current else None
    try:
        store = open_store(location, environment.secrets, environment.secret_name)
        content = store.read(MANIFEST, limit=MAX_MANIFEST_BYTES)
        if content is None:
            return None
        manifest = parse_manifest(content, str(location))
        with cache.locked():
            return _pulled(store, content, manifest, cache, progress)
    except StoreUnreachableError as error:
        if current is None:
            raise
        _log.warning("%s; using the cached version in %s", error.message, current[0])
        return current[0]


def _pulled(store: Store, content: bytes, manifest: Manifest, cache: VersionCache, progress: Progress) -> Path:
    """The folder of the manifest's version. Requires the cache's lock."""
    current, version = cache.current(), manifest.digest[:32]
    if current and current[1].version == version:
        return current[0]
    _log.info("fetching %s %s, cache %s", store.location, store.access.described, cache.root)
    local: _Chunks = {}
    if current and (content_before := _read(current[0] / MANIFEST)):
        local = _chunks_of(current[0], parse_manifest(content_before, str(current[0])))

    def read(item: StoredObject, start: int, end: int) -> memoryview:
        name = manifest.files[item.name].chunks[start // CHUNK_BYTES]
        return _local_chunk(local, name) or _stored_chunk(store, name, end - start)

    items = [
        StoredObject(name=name, size=record.bytes, version=hashlib.sha256("".join(record.chunks).encode()).hexdigest())
        for name, record in manifest.files.items()
    ]
    files = download(items, cache.partial, read, progress, part_bytes=CHUNK_BYTES)
    with cache.new_version(Current(version)) as folder:
        for name, path in files.items():
            os.link(path, folder / name)
        (folder / MANIFEST).write_bytes(content)
    return cache.root / version


def _chunk(name: str) -> str:
    return f"chunks/{name}"


def _stored_chunk(store: Store, name: str, num_bytes: int) -> memoryview:
    """A chunk in the store. Raises StoreError if it is missing or damaged."""
    where = f"{store.location}/{_chunk(name)}"
    hint = "push the engine directory again, with --force"
    content = store.read(_chunk(name), limit=CHUNK_BYTES)
    if content is None:
        raise StoreError(f"{where} is missing", hint=hint)
    if len(content) != num_bytes or digest(content) != name:
        raise StoreError(f"{where} is damaged: its hash does not match its name", hint=hint)
    return memoryview(content)


def _local_chunk(chunks: _Chunks, name: str) -> memoryview | None:
    """A chunk of an earlier version in the cache, or None if that lacks the chunk or has it damaged."""
    if name not in chunks:
        return None
    path, start, end = chunks[name]
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(end - start)
    return memoryview(content) if digest(content) == name else None


def _chunks_of(folder: Path, manifest: Manifest) -> _Chunks:
    return {
        name: (folder / file, index * CHUNK_BYTES, min(record.bytes, (index + 1) * CHUNK_BYTES))
        for file, record in manifest.files.items()
        for index, name in enumerate(record.chunks)
    }


@contextmanager
def _mapped(path: Path, start: int, end: int) -> Iterator[memoryview]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as whole,
        whole[start:end] as part,
    ):
        yield part


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
