"""The limits of one request, and the checks that enforce them.

Limits of connections are in `connections.gate`, those of the queue in `serving.scheduler`, and those of /tokenize in
`serving.tokenizer`.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal

from openbei.batch import Sequence
from openbei.errors import EmptyInputError, InputError

RerankOrder = Literal["input", "score"]
"""The order of /rerank's results: that of the texts (BEI), or highest score first (TEI)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of one request, the limit on all bodies together, and defaults of request fields.

    A compressed body may expand to `max_inflated_bytes`, but not above `max_body_bytes`. Inputs that are too long are
    truncated if `auto_truncate`, else refused; a request's `truncate` overrides it.
    """

    max_client_batch_size: int = 2048
    max_body_bytes: int = 100_000_000
    max_inflated_bytes: int = 32_000_000
    max_bodies_bytes: int = 300_000_000
    rerank_order: RerankOrder = "input"
    auto_truncate: bool = True


MAX_ELEMENTS = 1_000_000
"""Maximum number of values in a body, including texts, token ids and lists.

Each becomes an object of 30 to 90 bytes.
"""

MAX_FRAMES = 1_000
"""Maximum number of frames (gzip: members) of a compressed body. Even an empty frame takes time."""

MAX_TOKEN_NUMBERS = 2**25
"""Maximum numbers in the token vectors of a request: 128 MiB of float32, about three times as much as JSON."""

MAX_ENTITY_NUMBERS = 4_000_000
"""Maximum numbers in a response with token labels. A token counts as its raw scores, at least as ENTITY_SIZE."""

ENTITY_SIZE = 16


class Totals:
    """Counts of a whole request. The requests in an envelope add up."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, what: str, count: int) -> int:
        """Add to a count, and return it."""
        self._counts[what] = self._counts.get(what, 0) + count
        return self._counts[what]


def check_count(count: int, limits: Limits, param: str) -> None:
    """Raise EmptyInputError for 0, InputError for more than `max_client_batch_size`."""
    if count == 0:
        raise EmptyInputError(f"{param} is an empty list", param=param)
    if count > limits.max_client_batch_size:
        raise InputError(
            f"batch size {count} > maximum allowed batch size {limits.max_client_batch_size}",
            param=param,
            hint="send it in several requests",
        )


def check_text(text: str, param: str) -> None:
    """Raise InputError for an empty string."""
    if not text:
        raise InputError(f"{param} is an empty string", param=param)


def check_pairs(pairs: Items[tuple[str, str]], param: str) -> None:
    """Raise InputError for a pair of two empty strings; one empty string is allowed."""
    if ("", "") in pairs:
        name = f"{param}[{pairs.index(('', ''))}]"
        raise InputError(f"{name} and the text that it is paired with are empty strings", param=name)


def check_texts(texts: Items[object], limits: Limits, param: str) -> None:
    """Raise EmptyInputError for an empty list, InputError for an empty string or too many."""
    check_count(len(texts), limits, param)
    if "" in texts:
        check_text("", f"{param}[{texts.index('')}]")


def as_texts(value: str | list[str], limits: Limits, param: str) -> list[str]:
    """A text or a list of texts as a list. Raises as `check_texts` does."""
    if isinstance(value, str):
        check_text(value, param)
        return [value]
    check_texts(value, limits, param)
    return value


def check_work(totals: Totals, limits: Limits, *, num_inputs: int, num_characters: int) -> None:
    """Count inputs and characters. Raise InputError for too many characters, or too many inputs in an envelope.

    A query counts once for each of its texts: a small body must not cause more work than the largest one.
    """
    total = totals.add("characters", num_characters)
    if total > limits.max_body_bytes:
        raise InputError(
            f"the request has {total} characters, a query counted once for each text; "
            f"the limit is {limits.max_body_bytes}",
            hint="send fewer texts at a time",
        )
    total, most = totals.add("inputs", num_inputs), limits.max_client_batch_size
    if total > max(most, num_inputs):
        raise InputError(
            f"the instances have at least {total} texts together; the limit is {most}",
            param="instances",
            hint="send them in several requests",
        )


def check_answer(totals: Totals, sequences: list[Sequence], numbers_per_token: int, limit: int, param: str) -> None:
    """Raise InputError if the results of tokens, with `numbers_per_token`, would have more than `limit` numbers."""
    num_tokens = totals.add("tokens answered", sum(sequence.num_tokens for sequence in sequences))
    if num_tokens * numbers_per_token > limit:
        raise InputError(
            f"{param} has {num_tokens} tokens; this server answers up to {limit // numbers_per_token} in one request",
            param=param,
            hint="send it in several requests",
        )
