"""The recent speed of an engine."""


class Speed:
    """Recent throughput: an exponentially decayed sum of tokens, divided by that of seconds."""

    def __init__(self, tokens_per_s: float = 20_000.0, decay: float = 0.95) -> None:
        self._num_tokens, self._seconds, self._decay = tokens_per_s, 1.0, decay

    def add(self, num_tokens: int, seconds: float) -> None:
        """Add a batch."""
        self._num_tokens = self._decay * self._num_tokens + num_tokens
        self._seconds = self._decay * self._seconds + max(seconds, 1e-6)

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second."""
        return self._num_tokens / self._seconds
