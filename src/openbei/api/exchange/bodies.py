"""The limit on the bytes of all request bodies in memory."""

from openbei.errors import OverloadedError

RETRY_AFTER_S = 1.0


class Bodies:
    """Counts the bytes of request bodies, from the first byte of a body to the response."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0

    def take(self, num_bytes: int) -> None:
        """Count received bytes. Raises OverloadedError without counting them if they exceed the limit."""
        if self.num_bytes + num_bytes > self.max_bytes:
            raise OverloadedError(
                f"the bodies of all requests hold {self.num_bytes} bytes (limit {self.max_bytes})",
                retry_after_s=RETRY_AFTER_S,
                hint="retry after the time in Retry-After, or send fewer texts at a time",
            )
        self.num_bytes += num_bytes

    def give_back(self, num_bytes: int) -> None:
        """Stop counting the bytes of a request that has ended."""
        self.num_bytes -= num_bytes
