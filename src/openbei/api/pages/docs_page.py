"""GET /docs: one self-contained page that shows the routes of /openapi.json by group and can send requests."""

import base64
import hashlib
import re
from pathlib import Path

from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.refusals import Header
from openbei.api.service import Service

PAGE = Path(__file__).with_name("docs.html").read_bytes()


def _digest(tag: bytes) -> str:
    """The source expression that allows the page's own inline element, and no other."""
    [text] = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        f"script-src {_digest(b'script')}",
        f"style-src {_digest(b'style')}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


async def docs(service: Service, call: Call, body: Body) -> Reply:
    """The page."""
    return Reply(PAGE, headers=HEADERS, content_type=b"text/html; charset=utf-8")
