"""Source REMOTE_URL: a tar.gz archive at an http or https URL, such as a presigned one."""

import hashlib
import http.client
import logging
import os
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import msgspec

from openbei.checkpoints.archive import unpack
from openbei.checkpoints.limits import MAX_CHECKPOINT_BYTES
from openbei.checkpoints.source import Progress, check_no_revision
from openbei.config import Environment
from openbei.digests import file_digests
from openbei.errors import DownloadError
from openbei.locations import check_archive_url, public_url
from openbei.stores.cache import Current, VersionCache
from openbei.truss import CheckpointRepository

_log = logging.getLogger(__name__)

TIMEOUT_S = 60
NUM_TRIES = 4
READ_BYTES = 1 << 20


class RemoteUrl:
    """An archive, which is downloaded, unpacked into the cache, and removed."""

    def fetch(
        self, repository: CheckpointRepository, environment: Environment, *, is_offline: bool, progress: Progress
    ) -> Path:
        """See `CheckpointSource`. The folder in the cache, which is used if the server is unreachable."""
        check_no_revision(repository)
        check_archive_url(repository.repo)
        where = public_url(repository.repo)
        cache = VersionCache(environment.cache / "checkpoints", where)
        if is_offline:
            return cache.offline()
        try:
            with cache.locked():
                return _fetched(repository.repo, cache, progress)
        except _UnreachableError as error:
            if current := cache.current():
                _log.warning("%s; using the cached version in %s", error.message, current[0])
                return current[0]
            raise
        except OSError as error:
            raise DownloadError(f"{where} cannot be stored in {cache.root}: {error.strerror}") from error

    def fingerprint(self, folder: Path) -> str:
        """See `CheckpointSource`. The folder's name: a hash of the archive."""
        return folder.name


class _UnreachableError(DownloadError):
    """The server cannot be reached, or the connection was cut too often."""


class _State(msgspec.Struct):
    """The file beside an unfinished archive: the ETag that the rest must have, too."""

    etag: str | None


def _fetched(url: str, cache: VersionCache, progress: Progress) -> Path:
    """The folder of the archive's content. Requires the cache's lock."""
    current = cache.current()
    cache.partial.mkdir(exist_ok=True)
    archive = cache.partial / "archive"
    _log.info("fetching %s, cache %s", public_url(url), cache.root)
    known_etag = current[1].etag if current else None
    for attempt in range(NUM_TRIES):
        try:
            if not _download(url, archive, known_etag, progress) and current:
                return current[0]
            break
        except (URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if attempt == NUM_TRIES - 1:
                reason = getattr(error, "reason", None) or str(error) or type(error).__name__
                raise _UnreachableError(
                    f"{public_url(url)} cannot be downloaded: {reason}", hint="run the command again to continue"
                ) from None
            time.sleep(0.2 * 2**attempt)
    version = hashlib.sha256(" ".join(file_digests(archive)).encode()).hexdigest()[:32]
    etag = _state_of(archive).etag
    if current and current[1].version == version:
        return current[0]
    try:
        with cache.new_version(Current(version, etag)) as folder:
            unpack(archive, folder, public_url(url))
    except DownloadError:
        shutil.rmtree(cache.partial)
        raise
    return cache.root / version


def _download(url: str, archive: Path, known_etag: str | None, progress: Progress) -> bool:
    """Download an archive, or the rest of it. Returns False if the archive on the server still has `known_etag`.

    Raises DownloadError for a refusal, URLError, HTTPException or OSError for a connection that fails.
    """
    done, etag = (archive.stat().st_size, _state_of(archive).etag) if archive.exists() else (0, None)
    headers = {"User-Agent": "openbei", "Accept-Encoding": "identity"}
    if known_etag:
        headers["If-None-Match"] = known_etag
    if done and etag:
        headers |= {"Range": f"bytes={done}-", "If-Range": etag}
    try:
        response = _open(url, headers)
    except HTTPError as error:
        if error.code == 304:
            return False
        if error.code == 416:
            archive.unlink()
            raise ConnectionError("the rest of the archive was refused") from None
        raise _refusal(url, error.code) from None
    with response:
        if response.status != 206:
            done, etag = 0, response.headers["ETag"]
            etag = None if etag is None or etag.startswith("W/") else etag
            _state_path(archive).write_bytes(msgspec.json.encode(_State(etag)))
        _append(response, archive, done, url, progress)
    return True


def _append(response: Any, archive: Path, done: int, url: str, progress: Progress) -> None:  # noqa: ANN401
    length = response.headers["Content-Length"]
    total = done + int(length) if length else None
    _check_size(url, total or done)
    with archive.open("r+b" if done else "wb") as file:
        file.seek(done)
        while done <= MAX_CHECKPOINT_BYTES and (piece := response.read(READ_BYTES)):
            file.write(piece)
            done += len(piece)
            progress(done, total or done)
        file.flush()
        os.fsync(file.fileno())
    _check_size(url, done)
    if total is not None and done != total:
        raise ConnectionError(f"the connection was closed after {done:,} of {total:,} bytes")


def _check_size(url: str, num_bytes: int) -> None:
    if num_bytes > MAX_CHECKPOINT_BYTES:
        raise DownloadError(f"{public_url(url)} has more than {MAX_CHECKPOINT_BYTES:,} bytes, which is the limit")


def _state_path(archive: Path) -> Path:
    return archive.with_name("archive.json")


def _state_of(archive: Path) -> _State:
    try:
        return msgspec.json.decode(_state_path(archive).read_bytes(), type=_State)
    except (OSError, msgspec.MsgspecError):
        return _State(None)


def _refusal(url: str, status: int) -> DownloadError:
    where = public_url(url)
    if status in (401, 403):
        return DownloadError(
            f"{where} cannot be downloaded: access denied (status {status})",
            hint="a presigned URL may have expired: sign it again",
        )
    if status == 404:
        return DownloadError(f"{where} does not exist (status 404)")
    return DownloadError(f"{where} cannot be downloaded: the server responded with status {status}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:  # noqa: ANN401
        """Follow a redirect, but not to another scheme, except from http to https."""
        if not newurl.startswith("https://") and not newurl.startswith(f"{req.type}://"):
            raise DownloadError(f"{public_url(req.full_url)} redirects to {public_url(newurl)[:200]}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: dict[str, str]) -> Any:  # noqa: ANN401
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the opener has only http and https
    return opener.open(request, timeout=TIMEOUT_S)
