"""Artifacts: engine directories in an object store or on the Hub, to push to and to serve from.

In an object store, an artifact is a folder:

    engine.json          the manifest, written last
    chunks/DIGEST        16 MiB chunks of the other files, named by their BLAKE3 digests in the manifest

A chunk never changes, so a push sends only missing chunks, and simultaneous pushes leave one complete artifact. On the
Hub, an artifact is a repository with the files of the engine directory, and a push is a commit.
"""

from pathlib import Path

from openbei.artifacts import hub, store
from openbei.config import Environment
from openbei.errors import ConfigError
from openbei.locations import FORMS, parse_location, store_kind_of
from openbei.stores.download import Progress


def push(engine_dir: Path, url: str, environment: Environment, progress: Progress, *, force: bool = False) -> int:
    """Push an engine directory; returns the number of bytes sent. `force` also sends chunks that are already stored.

    Raises EngineDirError for a damaged directory, ConfigError for any other URL, and StoreError.
    """
    if hub.is_url(url):
        return hub.push(engine_dir, url, environment)
    if (kind := store_kind_of(url)) is None:
        raise ConfigError(
            f"{url!r} is not a URL for an engine directory",
            hint=f"use {', '.join(FORMS.values())} or hf://owner/name",
        )
    return store.push(engine_dir, parse_location(kind, url), environment, progress, force=force)


def is_url(target: str) -> bool:
    """Whether a TARGET may be the URL of an artifact."""
    return hub.is_url(target) or store_kind_of(target) is not None


def pull(url: str, environment: Environment, progress: Progress) -> Path | None:
    """The engine directory of an artifact in the cache, fetched if necessary; None if the URL has none.

    Raises StoreError, and EngineDirError for a damaged artifact or one of another version.
    """
    if hub.is_url(url):
        return hub.pull(url, environment)
    kind = store_kind_of(url)
    return store.pull(parse_location(kind, url), environment, progress) if kind else None
