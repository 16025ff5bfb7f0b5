"""One folder in an object store: list, read and write its objects. obstore's errors become StoreError."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openbei.errors import ConfigError, StoreError, StoreUnreachableError
from openbei.locations import Location
from openbei.secrets import Secrets
from openbei.stores.credentials import CA_BUNDLE, Access, access_to

MAX_OBJECTS = 10_000
"""Maximum objects under a location: more mean that the path is wrong."""

_CLIENT = {"connect_timeout": "10s", "timeout": "180s"}
RETRIES = {"max_retries": 3, "retry_timeout": 60}


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object; `name` is relative to the location, `version` changes with its content."""

    name: str
    size: int
    version: str


@dataclass(frozen=True)
class Store:
    """An opened location. Methods may be called from several threads."""

    location: Location
    access: Access
    _inner: Any = field(repr=False)

    def list(self) -> list[StoredObject]:
        """All objects under the location. Raises StoreError."""
        import obstore

        found: list[StoredObject] = []
        with self._errors(""):
            for batch in obstore.list(self._inner):
                found += (StoredObject(name=meta["path"], size=meta["size"], version=_version(meta)) for meta in batch)
                if len(found) > MAX_OBJECTS:
                    raise StoreError(
                        f"{self.location} has more than {MAX_OBJECTS:,} objects", hint="use the path of one checkpoint"
                    )
        return found

    def read(self, name: str, *, limit: int) -> bytes | None:
        """An object's content of at most `limit` bytes, or None if it does not exist. Raises StoreError."""
        import obstore

        with self._errors(name):
            try:
                result = obstore.get(self._inner, name)
            except FileNotFoundError:
                return None
            if (size := result.meta["size"]) > limit:
                raise StoreError(f"{self.location}/{name} has {size:,} bytes; the limit is {limit:,}")
            return bytes(result.bytes())

    def read_part(self, item: StoredObject, start: int, end: int) -> memoryview:
        """Bytes `start` to `end` of an object. Raises StoreError, also if it has changed since it was listed."""
        import obstore

        where = f"{self.location}/{item.name}"
        with self._errors(item.name):
            result = obstore.get(self._inner, item.name, options={"range": (start, end)})
            if _version(result.meta) != item.version:
                raise StoreError(f"{where} changed while it was downloaded", hint="run the command again")
            content = memoryview(result.bytes())
        if len(content) != end - start:
            raise StoreUnreachableError(f"{where} ended at byte {start + len(content)}")
        return content

    def stat(self, name: str) -> StoredObject | None:
        """An object's size and version, or None if it does not exist. Raises StoreError."""
        import obstore

        with self._errors(name):
            try:
                meta = obstore.head(self._inner, name)
            except FileNotFoundError:
                return None
        return StoredObject(name=name, size=meta["size"], version=_version(meta))

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write an object, atomically. Raises StoreError."""
        import obstore

        with self._errors(name, "written"):
            obstore.put(self._inner, name, content, use_multipart=False)

    @contextlib.contextmanager
    def _errors(self, name: str, verb: str = "read") -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, PermissionError) as error:
            where = f"{self.location}/{name}" if name else str(self.location)
            raise _explained(error, where, self.access, verb) from None


def open_store(location: Location, secrets: Secrets, secret_name: str | None = None) -> Store:
    """Open a location. No request is sent. Raises ConfigError for an invalid secret, and StoreError."""
    from obstore import store as stores
    from obstore.exceptions import BaseError

    access = access_to(location, secrets, secret_name)
    kinds: dict[str, Any] = {"S3": stores.S3Store, "GCS": stores.GCSStore, "AZURE": stores.AzureStore}
    client: dict[str, Any] = {**_CLIENT, "allow_http": access.allows_http}
    if access.ca_bundle:
        client["root_certificate"] = _certificates(access.ca_bundle)
    try:
        inner = kinds[location.kind](
            location.bucket,
            prefix=location.path or None,
            config=access.options,
            client_options=client,
            retry_config=_retry_config(),
            credential_provider=access.provider,
        )
    except (BaseError, ValueError) as error:
        raise _explained(error, str(location), access) from None
    return Store(location, access, inner)


def _certificates(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{CA_BUNDLE} is {path!r}, which cannot be read: {error.strerror}") from error


def _version(meta: Any) -> str:  # noqa: ANN401
    """The ETag, which changes with the content; listings and responses quote it differently."""
    return (meta["e_tag"] or str(meta["last_modified"])).strip('"')


def _retry_config() -> dict[str, Any]:
    from datetime import timedelta

    return {
        "max_retries": RETRIES["max_retries"],
        "retry_timeout": timedelta(seconds=RETRIES["retry_timeout"]),
        "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2},
    }


_STATUS = re.compile(r"status(?: code)?: (\d{3})\b")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_UNREACHABLE = {
    "connection refused": r"Connection refused",
    "the host is unknown": r"dns error|failed to lookup",
    "timed out": r"timed ?out",
    "the connection failed": r"ConnectError|error trying to connect|ConnectionReset|Connection reset|IncompleteMessage"
    r"|network is unreachable|connection closed|error decoding response body|kind: (Body|Request|Decode)",
}
"""Problem in words → pattern of obstore's messages about it."""


def _explained(error: Exception, where: str, access: Access, verb: str = "read") -> StoreError:
    """A StoreError for an error of obstore. Its text may contain keys and signatures, so little of it is shown."""
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    reason = code[1] if code else None
    if isinstance(error, FileNotFoundError) or (status and status[1] == "404"):
        return StoreError(f"{where} does not exist{_in_brackets(reason)}", hint="check the bucket and the path")
    if isinstance(error, PermissionError) or (status and status[1] in ("401", "403")):
        return StoreError(
            f"{where} cannot be {verb} {access.described}: access denied{_in_brackets(reason)}", hint=access.hint
        )
    problem = next((words for words, found in _UNREACHABLE.items() if re.search(found, text, re.IGNORECASE)), None)
    if status and status[1] >= "429":
        problem = f"the server responded with status {status[1]}"
    if problem:
        return StoreUnreachableError(f"{where} cannot be reached: {problem}", hint="check the network and the endpoint")
    if reason in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
        return StoreError(f"{where} is in another region{_in_brackets(reason)}", hint="set the region, or AWS_REGION")
    first_line = re.sub(r"\s+", " ", text.partition("\n")[0])[:200]
    problem = reason or (f"status {status[1]}" if status else access.without_secrets(first_line))
    return StoreError(f"{where} cannot be {verb} {access.described}: {problem}", hint=access.hint)


def _in_brackets(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
