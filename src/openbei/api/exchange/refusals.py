"""HTTP errors that no handler raises: unknown path, missing key, unsupported or too large body."""

from openbei.errors import InputError, OpenbeiError

Header = tuple[bytes, bytes]


class RefusedError(OpenbeiError):
    """A request that is refused before any work. `headers` are added to the response."""

    def __init__(self, message: str, *, hint: str | None = None, headers: tuple[Header, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.headers = headers


class UnauthorizedError(RefusedError):
    """A missing or wrong API key."""


class NoRouteError(RefusedError):
    """A path without a route."""


class MethodError(RefusedError):
    """A path that does not support the method."""


class UnknownModelError(InputError):
    """A `model` that this server does not have."""


class BodyEncodingError(RefusedError):
    """A body with an unsupported Content-Encoding."""


class BodyTooLargeError(InputError):
    """A body above the limit, as received or decompressed."""

    def __init__(self, max_bytes: int, *, is_inflated: bool = False) -> None:
        if is_inflated:
            message = f"the body inflates to more than {max_bytes} bytes"
            hint = "send fewer texts at a time, or send it uncompressed"
        else:
            message, hint = f"the body is larger than {max_bytes} bytes", "send fewer texts at a time"
        super().__init__(message, hint=hint)
