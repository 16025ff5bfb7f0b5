"""Locations of checkpoints and artifacts: object stores (s3://, gs://, azure://, az://) and URLs of archives.

A location in messages, manifests and hashes never has a password or a signature.
"""

import re
from pathlib import PurePosixPath
from typing import Literal, get_args
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from openbei.errors import ConfigError

StoreKind = Literal["S3", "GCS", "AZURE"]
STORE_KINDS: tuple[StoreKind, ...] = get_args(StoreKind)

FORMS: dict[StoreKind, str] = {
    "S3": "s3://bucket/path",
    "GCS": "gs://bucket/path",
    "AZURE": "azure://account/container/path, az://container/path or https://account.blob.core.windows.net/…",
}
_SCHEMES: dict[str, StoreKind] = {"s3": "S3", "gs": "GCS", "azure": "AZURE", "az": "AZURE"}
_BLOB_HOST = re.compile(r"([a-z0-9]+)\.blob\.core\.windows\.net")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._$-]*|\$root|\$web")

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")

_SIGNATURE_PARAMETERS = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|token"
    r"|s[eprvt]|sig|spr|sip|sk[a-z]+|srt|ss|sdd",
    re.IGNORECASE,
)
"""Query parameters of presigned URLs (S3, GCS, CloudFront, Azure): they change while the file stays the same."""


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A folder in an object store: `bucket` (Azure: a container), and `path` without slashes at its ends.

    `account` is Azure's storage account, or None if it comes with the credentials.
    """

    kind: StoreKind
    bucket: str
    path: str
    account: str | None = None

    def __str__(self) -> str:
        if self.kind == "AZURE" and self.account:
            start = f"azure://{self.account}/{self.bucket}"
        else:
            start = f"{({'S3': 's3', 'GCS': 'gs', 'AZURE': 'az'})[self.kind]}://{self.bucket}"
        return f"{start}/{self.path}" if self.path else start


def store_kind_of(url: str) -> StoreKind | None:
    """The kind of store that a URL is in, by its scheme, or None."""
    parts = _split(url)
    if parts.scheme == "https" and _BLOB_HOST.fullmatch(parts.hostname or "") and not is_archive(url):
        return "AZURE"
    return _SCHEMES.get(parts.scheme)


def is_archive(url: str) -> bool:
    """Whether a URL is that of a tar archive, by its suffix."""
    parts = _split(url)
    return parts.scheme in ("http", "https") and parts.path.lower().endswith(ARCHIVE_SUFFIXES)


def parse_location(kind: StoreKind, url: str) -> Location:
    """Parse the URL of a folder in an object store. Raises ConfigError."""
    parts = _split(url)
    names = [name for name in unquote(f"{parts.netloc}{parts.path}").split("/") if name]
    if parts.query or parts.fragment:
        hint = "put the SAS token into the secret, as sas_token" if "sig=" in parts.query else None
        raise ConfigError(f"{public_url(url)} has a query string; the form is {FORMS[kind]}", hint=hint)
    account = None
    if kind == "AZURE" and parts.scheme == "https":
        host = _BLOB_HOST.fullmatch(parts.hostname or "")
        account, names = (host[1] if host else None), names[1:]
        is_valid = host is not None
    else:
        is_valid = _SCHEMES.get(parts.scheme) == kind
        if parts.scheme == "azure" and names:
            account, names = names[0], names[1:]
    if not is_valid or not names or not _BUCKET.fullmatch(names[0]) or {".", ".."} & set(names):
        hint = "the scheme is gs://" if parts.scheme == "gcs" else None
        raise ConfigError(f"{public_url(url)} is not a location in {kind}; the form is {FORMS[kind]}", hint=hint)
    return Location(kind=kind, bucket=names[0], path="/".join(names[1:]), account=account)


def check_archive_url(url: str) -> None:
    """Raise ConfigError for anything but an http or https URL."""
    parts = _split(url)
    if "@" in parts.netloc:
        raise ConfigError(
            f"{public_url(url)} must not have a user and a password", hint="use a presigned URL, or download it"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ConfigError(
            f"{public_url(url)!r} is not the URL of an archive", hint="use an http or https URL of a tar.gz file"
        )


def check_hub_id(repo: str) -> None:
    """Raise ConfigError for anything but the id of a repository on the Hub, with or without an owner."""
    parts = repo.split("/")
    is_id = len(parts) <= 2 and len(repo) <= 96 and all(re.fullmatch(r"\b[\w.-]+\b", part) for part in parts)
    if not is_id or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise ConfigError(f"{public_url(repo)[:200]!r} is not a Hub id", hint="Hub ids have the form owner/name")


def check_location(source: str, repo: str) -> None:
    """Raise ConfigError if `repo` does not have the form that the source of a checkpoint requires."""
    for kind in STORE_KINDS:
        if source == kind:
            parse_location(kind, repo)
    if source == "HF":
        check_hub_id(repo)
    if source == "REMOTE_URL":
        check_archive_url(repo)


def public_url(url: str) -> str:
    """A URL without user, password and signature: safe to show, and the same when it is signed again.

    Anything else, such as a Hub id or a folder, is returned as it is.
    """
    parts = _split(url)
    if not parts.scheme or not parts.netloc:
        return url
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not _is_signature(name)]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(kept), ""))


def name_of(url: str) -> str:
    """The last part of a URL's path, without the suffix of an archive; a model's default name."""
    parts = _split(url)
    name = PurePosixPath(unquote(parts.path)).name or parts.netloc.rpartition("@")[2]
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _is_signature(name: str) -> bool:
    return _SIGNATURE_PARAMETERS.fullmatch(name) is not None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", url, "", "")
