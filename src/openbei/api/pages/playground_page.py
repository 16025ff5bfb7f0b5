"""GET / in a browser: a page that runs the models and shows the load. Its files are in `playground/`.

The page is the same for every server and everyone may read it: it knows nothing until it has sent the user's API key.
The path of its scripts and styles contains a digest of all files, so browsers may keep them forever.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.refusals import Header
from openbei.api.service import Handler, Route, Service

FOLDER = Path(__file__).with_name("playground")
HTML = "index.html"
VERSION = b"VERSION"
"""Stands for the digest in the HTML."""

TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
REVALIDATED: Header = (b"cache-control", b"no-cache")
IMMUTABLE: Header = (b"cache-control", b"public, max-age=31536000, immutable")


@dataclass(frozen=True, slots=True)
class Playground:
    """The route of the HTML, and those of its files by path, which share a label in the metrics."""

    html: Route
    files: dict[str, Route]


def read_playground() -> Playground:
    """Read the page's files."""
    contents = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}
    html = contents.pop(HTML)
    digest = hashlib.sha256(html)
    for name, content in contents.items():
        digest.update(name.encode() + b"\0" + content)
    version = digest.hexdigest()[:16]
    files = {f"/page/{version}/{name}": _route("/page", name, content, IMMUTABLE) for name, content in contents.items()}
    return Playground(_route("/", HTML, html.replace(VERSION, version.encode()), REVALIDATED), files)


def _route(label: str, name: str, content: bytes, caching: Header) -> Route:
    reply = Reply(content, headers=(*HEADERS, caching), content_type=TYPES[Path(name).suffix])
    return Route("GET", label, _answering(reply), "The web page", access="open")


def _answering(reply: Reply) -> Handler:
    async def handler(service: Service, call: Call, body: Body) -> Reply:
        return reply

    return handler
