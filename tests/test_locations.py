"""URLs of object stores and archives, and what of them may be shown."""

import contextlib

import hypothesis.strategies as st
import pytest
from hypothesis import given

from openbei.errors import ConfigError
from openbei.locations import (
    STORE_KINDS,
    Location,
    StoreKind,
    check_archive_url,
    name_of,
    parse_location,
    public_url,
    store_kind_of,
)


@pytest.mark.parametrize(
    ("kind", "url", "expected"),
    [
        ("S3", "s3://bucket/a/b", Location(kind="S3", bucket="bucket", path="a/b")),
        ("S3", "s3://bucket/a/b/", Location(kind="S3", bucket="bucket", path="a/b")),
        ("S3", "s3://my.bucket-1", Location(kind="S3", bucket="my.bucket-1", path="")),
        ("GCS", "gs://bucket_1/a%20b", Location(kind="GCS", bucket="bucket_1", path="a b")),
        ("AZURE", "azure://account/box/a/b", Location(kind="AZURE", account="account", bucket="box", path="a/b")),
        ("AZURE", "az://box/a", Location(kind="AZURE", bucket="box", path="a")),
        (
            "AZURE",
            "https://account.blob.core.windows.net/box/a",
            Location(kind="AZURE", account="account", bucket="box", path="a"),
        ),
    ],
)
def test_forms(kind: StoreKind, url: str, expected: Location) -> None:
    assert store_kind_of(url) == kind
    assert parse_location(kind, url) == expected
    assert parse_location(kind, str(expected)) == expected


@pytest.mark.parametrize(
    ("kind", "url", "message"),
    [
        ("S3", "s3://", "is not a location in S3; the form is s3://bucket/path"),
        ("S3", "bucket/path", "is not a location in S3"),
        ("S3", "gs://bucket/path", "is not a location in S3"),
        ("S3", "s3://bucket/../x", "is not a location in S3"),
        ("S3", "s3://bucket/%2e%2e/x", "is not a location in S3"),
        ("S3", "s3://bucket/a?b=c", "has a query string"),
        ("GCS", "gcs://bucket/path", "is not a location in GCS.*\nhint: the scheme is gs://"),
        ("AZURE", "azure://account", "the form is azure://account/container/path"),
        ("AZURE", "https://example.org/box/a", "is not a location in AZURE"),
        ("AZURE", "https://account.blob.core.windows.net/box/a?sig=hush", "query string(?s:.*)sas_token"),
        ("S3", "s3://[bad/x", "is not a location in S3"),
    ],
)
def test_refused(kind: StoreKind, url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        parse_location(kind, url)
    assert "hush" not in str(refusal.value)


def test_public_urls() -> None:
    for signed in (
        "https://user:hush@host/a.tar.gz?id=1&X-Amz-Signature=hush&X-Amz-Date=1&X-Amz-Security-Token=hush",
        "https://host/a.tar.gz?X-Goog-Signature=hush&id=1",
        "https://host/a.tar.gz?AWSAccessKeyId=hush&Signature=hush&Expires=1&id=1",
        "https://host/a.tar.gz?sv=2022&se=1&sr=b&sp=r&sig=hush&id=1&spr=https&skoid=1",
        "https://host/a.tar.gz?Policy=hush&Key-Pair-Id=1&Signature=hush&id=1#hush",
    ):
        assert public_url(signed) == "https://host/a.tar.gz?id=1"
    for same in ("owner/name", "/a/folder", "./a", "s3://bucket/a", "C:/x"):
        assert public_url(same) == same


def test_names() -> None:
    assert name_of("s3://bucket/models/mini") == "mini"
    assert name_of("s3://bucket") == "bucket"
    assert name_of("https://host/a/mini-v1.5.tar.gz?X=1") == "mini-v1.5"
    assert name_of("/a/folder.d") == "folder.d"


@given(st.text(max_size=60) | st.builds("s3://{}/{}".format, st.text(max_size=20), st.text(max_size=20)))
def test_any_text(url: str) -> None:
    """It is a location, or an error says why not; what is shown of it stays the same if it is shown again."""
    for kind in STORE_KINDS:
        with contextlib.suppress(ConfigError):
            location = parse_location(kind, url)
            assert ".." not in location.path.split("/")
            assert not location.path.startswith("/")
    with contextlib.suppress(ConfigError):
        check_archive_url(url)
    assert public_url(public_url(url)) == public_url(url)
    name_of(url)
