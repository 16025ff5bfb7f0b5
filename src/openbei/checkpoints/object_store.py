"""Sources S3, GCS and AZURE: a folder in an object store."""

import hashlib
import logging
import os
from pathlib import Path

from openbei.checkpoints.containment import is_read
from openbei.checkpoints.limits import check_size
from openbei.checkpoints.source import Progress, check_no_revision
from openbei.config import Environment
from openbei.errors import DownloadError, StoreError, StoreUnreachableError
from openbei.locations import Location, StoreKind, parse_location
from openbei.stores.cache import Current, VersionCache
from openbei.stores.download import download
from openbei.stores.store import Store, StoredObject, open_store
from openbei.truss import CheckpointRepository

_log = logging.getLogger(__name__)


class ObjectStore:
    """A folder in the object stores of one kind, with a cache."""

    def __init__(self, kind: StoreKind) -> None:
        self._kind = kind

    def fetch(
        self, repository: CheckpointRepository, environment: Environment, *, is_offline: bool, progress: Progress
    ) -> Path:
        """See `CheckpointSource`. The folder in the cache, which is used if the store is unreachable."""
        check_no_revision(repository)
        location = parse_location(self._kind, repository.repo)
        cache = VersionCache(environment.cache / "checkpoints", str(location))
        if is_offline:
            return cache.offline()
        try:
            store = open_store(location, environment.secrets, repository.runtime_secret_name)
            with cache.locked():
                return _fetched(store, cache, progress)
        except StoreUnreachableError as error:
            if current := cache.current():
                _log.warning("%s; using the cached version in %s", error.message, current[0])
                return current[0]
            raise DownloadError(error.message, hint=error.hint) from None
        except StoreError as error:
            raise DownloadError(error.message, hint=error.hint) from None
        except OSError as error:
            raise DownloadError(f"{location} cannot be stored in {cache.root}: {error.strerror}") from error

    def fingerprint(self, folder: Path) -> str:
        """See `CheckpointSource`. The folder's name: a hash of the names, sizes and ETags of the files."""
        return folder.name


def _fetched(store: Store, cache: VersionCache, progress: Progress) -> Path:
    """The folder of the version in the store. Requires the cache's lock."""
    items = _checkpoint_objects(store)
    listing = "".join(f"{item.name}\0{item.size}\0{item.version}\n" for item in items)
    version = hashlib.sha256(listing.encode()).hexdigest()[:32]
    current = cache.current()
    if current and current[1].version == version:
        return current[0]
    _log.info("fetching %s %s, cache %s", store.location, store.access.described, cache.root)
    versions = {item.name: item.version for item in items}
    kept = {}
    if current:
        kept = {name: current[0] / name for name, tag in versions.items() if current[1].files.get(name) == tag}
    fetched = download([item for item in items if item.name not in kept], cache.partial, store.read_part, progress)
    with cache.new_version(Current(version, files=versions)) as folder:
        for name, file in {**kept, **fetched}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(file, folder / name)
    return cache.root / version


def _checkpoint_objects(store: Store) -> list[StoredObject]:
    """The objects that a build reads, by name. Raises DownloadError."""
    location = store.location
    items = sorted((item for item in store.list() if is_read(item.name)), key=lambda item: item.name)
    if not items:
        raise DownloadError(f"{location} has no checkpoint files", hint="check the bucket and the path")
    for item in items:
        _check_name(location, item.name)
    check_size(str(location), len(items), sum(item.size for item in items))
    return items


def _check_name(location: Location, name: str) -> None:
    parts = name.split("/")
    if not name.isprintable() or {"", ".", ".."} & set(parts) or "\\" in name:
        raise DownloadError(f"{location} has an object with an invalid name: {name[:200]!r}")
