"""A server to measure: its address, and the requests of the API that its URL names."""

import itertools
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from openbei.errors import InputError
from openbei.locations import public_url
from openbei.secrets import Secret

Body = Callable[[Sequence[str]], dict[str, Any]]
"""The body of a request with some texts."""

BODIES: dict[str, Body] = {
    "/embeddings": lambda texts: {"model": "default", "input": texts, "encoding_format": "base64"},
    "/embed": lambda texts: {"inputs": texts, "truncate": True},
    "/v1/rerank": lambda texts: {"model": "default", "query": texts[0], "documents": texts},
    "/v2/rerank": lambda texts: {"model": "default", "query": texts[0], "documents": texts},
    "/rerank": lambda texts: {"query": texts[0], "texts": texts, "truncate": True},
    "/predict": lambda texts: {"inputs": [[text] for text in texts], "truncate": True},
}
"""End of the path → body: OpenAI, TEI, Cohere. The first one that matches applies."""

DEFAULT_PATH = "/v1/embeddings"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server, with a label for reports. `model` is None for the default one. `tls` is None for http."""

    label: str
    host: str
    port: int
    path: str
    model: str | None = None
    key: Secret | None = None
    tls: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        """The address for reports, without a query, which may contain a secret."""
        return f"{'https' if self.tls else 'http'}://{self._host}:{self.port}{self.path.partition('?')[0]}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def requests(self, texts: Sequence[str], texts_per_request: int) -> Iterator[bytes]:
        """Requests with the texts in turn, without end. No two are equal, so that no cache answers them."""
        body = next(body for end, body in BODIES.items() if self.path.partition("?")[0].endswith(end))
        model = {} if self.model is None else {"model": self.model}
        supply = itertools.cycle(texts)
        head = self._head()
        for number in itertools.count():
            chosen = [f"{number} {text}" for text in itertools.islice(supply, texts_per_request)]
            content = msgspec.json.encode(body(chosen) | model)
            yield head + b"Content-Length: %d\r\n\r\n" % len(content) + content

    def _head(self) -> bytes:
        """The head of a request, except for the length."""
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {self._host}:{self.port}", "Content-Type: application/json"]
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def parse_server(given: str, *, model: str | None = None, key: Secret | None = None) -> Server:
    """The server of a URL, or of LABEL=URL. Without a path, or with /v1, requests are sent to OpenAI's /v1/embeddings.

    Raises InputError.
    """
    label, _, url = given.rpartition("=") if "=" in given.partition("://")[0] else ("", "", given)
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise InputError(f"{public_url(url)} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        raise InputError(
            f"{public_url(url)} is not a URL of a server", hint="give http://HOST:PORT or LABEL=http://HOST:PORT"
        )
    if parts.username or parts.password:
        raise InputError("a URL must not contain a password", hint="give a key with --key-file")
    return Server(
        label=label or f"{parts.hostname}:{port}",
        host=parts.hostname,
        port=port,
        path=_path(parts),
        model=model,
        key=key,
        tls=ssl.create_default_context() if parts.scheme == "https" else None,
    )


def _path(parts: SplitResult) -> str:
    path = parts.path.rstrip("/")
    if path in ("", "/v1"):
        path = DEFAULT_PATH
    if not any(path.endswith(end) for end in BODIES):
        raise InputError(
            f"the API of {path} is not known", hint=f"the path must end in one of {', '.join(sorted(BODIES))}"
        )
    return f"{path}?{parts.query}" if parts.query else path
