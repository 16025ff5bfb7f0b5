"""Credentials: forms of secrets, precedence over variables, and the metadata address of clouds."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openbei.config import Environment
from openbei.errors import ConfigError, StoreError
from openbei.locations import StoreKind, parse_location
from openbei.stores import store as stores
from openbei.stores.credentials import Access, access_to
from openbei.stores.store import open_store

S3 = parse_location("S3", "s3://bucket/path")
AZURE = parse_location("AZURE", "az://box/path")
LOCATIONS = {"S3": S3, "GCS": parse_location("GCS", "gs://bucket/path"), "AZURE": AZURE}


def access(kind: StoreKind, secret: object = None, name: str = "store", **variables: str) -> Access:
    if secret is not None:
        variables[f"TRUSS_SECRET_{name}"] = secret if isinstance(secret, str) else json.dumps(secret)
    return access_to(LOCATIONS[kind], Environment.read(variables).secrets, name)


@pytest.mark.parametrize("prefix", ["", "aws_"])
def test_both_spellings_of_aws(prefix: str) -> None:
    keys = {"access_key_id": "AK", "secret_access_key": "hush", "region": "eu-west-1", "session_token": "ST"}
    found = access("S3", {f"{prefix}{key}": value for key, value in keys.items()}, AWS_SESSION_TOKEN="another")
    assert found.provider
    assert found.provider() == {
        "access_key_id": "AK",
        "secret_access_key": "hush",
        "token": "ST",
        "expires_at": None,
    }
    assert found.options["region"] == "eu-west-1"
    assert "skip_signature" not in found.options
    assert found.described == "with the secret store"
    assert "hush" not in f"{found!r} {found.described} {found.hint}"


def test_a_token_in_the_environment_is_not_used_with_a_secret() -> None:
    found = access("S3", {"access_key_id": "AK", "secret_access_key": "hush"}, AWS_SESSION_TOKEN="another")
    assert found.provider
    assert found.provider()["token"] is None


@pytest.mark.parametrize(
    ("secret", "credential"),
    [
        ({"account_key": "a2V5", "account_name": "me"}, {"access_key": "a2V5"}),
        ({"sas_token": "sv=1&sig=2", "account_name": "me"}, {"sas_token": "sv=1&sig=2"}),
    ],
)
def test_keys_of_azure(secret: dict[str, str], credential: dict[str, str]) -> None:
    found = access("AZURE", secret)
    assert found.provider
    assert found.provider() == {**credential, "expires_at": None}
    assert found.options["account_name"] == "me"


def test_an_account_by_variable() -> None:
    assert access("AZURE", None, AZURE_STORAGE_ACCOUNT_NAME="me").options["skip_signature"] == "true"
    with pytest.raises(ConfigError, match="names no storage account\nhint: use azure://account/container/path"):
        access("AZURE", {"account_key": "a2V5"})


@pytest.mark.parametrize(
    ("kind", "secret", "message"),
    [
        (
            "S3",
            "hf_hush",
            "the secret store is not JSON with text values\nhint: for S3: access_key_id and ",
        ),
        ("S3", ["hush"], "is not JSON with text values"),
        ("S3", {"access_key_id": "hush"}, "lacks keys for S3\nhint: it must have access_key_id and secret_access_key"),
        ("S3", {"access_key_id": "hush", "secret_access_key": ""}, "lacks keys for S3"),
        ("S3", {"access_key": "hush"}, "has an unknown key 'access_key'\nhint: known are access_key_id"),
        ("GCS", {"type": "service_account"}, "lacks keys for GCS\nhint: it must have client_email and private_key"),
        ("AZURE", {"endpoint": "hush"}, "lacks keys for AZURE\nhint: it must have account_key, or sas_token"),
    ],
)
def test_other_forms(kind: StoreKind, secret: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        access(kind, secret)
    assert "hush" not in str(refusal.value)


def test_the_default_name_with_a_token_for_the_hub() -> None:
    """Truss writes it into every config, and it is not for object stores."""
    assert access("S3", "hf_abc", "hf_access_token").described == "without credentials"
    assert access("S3", None, "absent").described.endswith(
        "there is no secret in TRUSS_SECRET_absent and /secrets/absent"
    )


def test_other_variables_of_a_cloud() -> None:
    """Those that obstore does not know are not passed on; AWS_CA_BUNDLE becomes an option of the connection."""
    found = access("S3", None, AWS_PROFILE="me", AWS_CA_BUNDLE="/certificates.pem", AWS_ENDPOINT_URL_S3="https://store")
    assert found.options == {"AWS_ENDPOINT_URL": "https://store", "skip_signature": "true"}
    assert found.ca_bundle == "/certificates.pem"


def test_plain_http_only_for_a_given_endpoint() -> None:
    assert not access("S3", {"access_key_id": "AK", "secret_access_key": "S"}).allows_http
    assert access("S3", None, AWS_ENDPOINT_URL="http://127.0.0.1:9000").allows_http
    assert not access("S3", None, AWS_ENDPOINT_URL="https://store.example").allows_http


@contextlib.contextmanager
def counting_server() -> Iterator[tuple[str, list[str]]]:
    """A server that refuses everything, its URL, and the paths that were requested."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_GET

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("is_allowed", [False, True])
def test_the_metadata_address(is_allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used only if OPENBEI_CLOUD_CREDENTIALS is metadata."""
    monkeypatch.setitem(stores.RETRIES, "max_retries", 0)
    with counting_server() as (store, requested), counting_server() as (metadata, asked):
        variables = {"AWS_ENDPOINT_URL": store, "AWS_METADATA_ENDPOINT": metadata}
        if is_allowed:
            variables["OPENBEI_CLOUD_CREDENTIALS"] = "metadata"
        with pytest.raises(StoreError):
            open_store(S3, Environment.read(variables).secrets).list()
        assert bool(asked) == is_allowed
        assert bool(requested) != is_allowed
