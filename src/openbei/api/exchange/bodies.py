"""How many bytes the bodies of all requests may hold at once."""

from openbei.errors import OverloadedError

RETRY_AFTER_S = 1.0


class Bodies:
    """Counts the bytes that requests hold, from the first byte of a body to its answer."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0

    def take(self, num_bytes: int) -> None:
        """Count received bytes. Raises OverloadedError, and counts nothing, if they exceed the limit."""
        if self.num_bytes + num_bytes > self.max_bytes:
            raise OverloadedError(
                f"the bodies of all requests hold {self.num_bytes} bytes (limit {self.max_bytes})",
                retry_after_s=RETRY_AFTER_S,
                hint="send it again after the time in Retry-After, or fewer texts at a time",
            )
        self.num_bytes += num_bytes

    def give_back(self, num_bytes: int) -> None:
        """A request is over."""
        self.num_bytes -= num_bytes
