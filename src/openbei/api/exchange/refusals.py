"""Errors of HTTP itself, which no handler raises: no such path, no key, a body that cannot be taken."""

from openbei.errors import InputError, OpenbeiError

Header = tuple[bytes, bytes]


class RefusedError(OpenbeiError):
    """Refused before any work. `headers` go with the answer."""

    def __init__(self, message: str, *, hint: str | None = None, headers: tuple[Header, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.headers = headers


class UnauthorizedError(RefusedError):
    """No key, or none of the server's."""


class NoRouteError(RefusedError):
    """Nothing answers at that path."""


class MethodError(RefusedError):
    """Something answers at that path, but not to that method."""


class BodyEncodingError(RefusedError):
    """A body compressed in a way that is not known here."""


class BodyTooLargeError(InputError):
    """A body above the limit, as received or inflated."""

    def __init__(self, max_bytes: int, *, is_inflated: bool = False) -> None:
        hint = "send fewer texts at a time"
        if is_inflated:
            super().__init__(
                f"the body inflates to more than {max_bytes} bytes", hint=f"{hint}, or send it uncompressed"
            )
        else:
            super().__init__(f"the body is larger than {max_bytes} bytes", hint=hint)
