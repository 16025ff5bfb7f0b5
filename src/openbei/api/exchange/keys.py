"""API keys, and which routes need one."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from openbei.api.exchange.refusals import UnauthorizedError
from openbei.errors import ConfigError
from openbei.secrets import Secret

Access = Literal["guarded", "health", "metrics", "open"]
"""Whether a route requires a key: guarded routes always, health and metrics by configuration, open ones never."""

SCHEMES = (b"bearer", b"api-key")


class Guard:
    """Checks API keys. Stores only their digests. Without keys every route is open."""

    def __init__(self, keys: Iterable[str] = (), *, guards_health: bool = False, opens_metrics: bool = False) -> None:
        self._digests = [_digest(key.encode()) for key in dict.fromkeys(keys)]
        self._guarded: set[Access] = {"guarded"}
        if guards_health:
            self._guarded.add("health")
        if not opens_metrics:
            self._guarded.add("metrics")

    @property
    def num_keys(self) -> int:
        """The number of keys; 0 if every route is open."""
        return len(self._digests)

    def check(self, authorization: bytes | None, access: Access) -> None:
        """Raise UnauthorizedError unless the Authorization header has a key, or none is needed."""
        if not self._digests or access not in self._guarded:
            return
        whole = (authorization or b"").strip()
        scheme, _, rest = whole.partition(b" ")
        # Some clients send a key without a scheme, such as LlamaIndex's reranker.
        digest_of_key = _digest(rest.strip() if scheme.lower() in SCHEMES else whole)
        # Compares with all digests, so that the time does not depend on the matching one.
        matches = [hmac.compare_digest(digest_of_key, digest) for digest in self._digests]
        if not any(matches):
            raise UnauthorizedError(
                "the API key is wrong" if authorization else "an API key is needed",
                hint="send it as Authorization: Bearer KEY",
                headers=((b"www-authenticate", b"Bearer"),),
            )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def read_keys(path: Path) -> tuple[Secret, ...]:
    """The keys of a file, one per line; # starts a comment at the start of a line or after a space.

    Raises ConfigError.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the key file {path} is not UTF-8", hint="save it as UTF-8, without a BOM or with") from None
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    keys = tuple(Secret(key) for key in bare if key)
    if not keys:
        raise ConfigError(f"the key file {path} has no key", hint="one a line")
    return keys
