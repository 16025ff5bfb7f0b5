"""Truncation of inputs that are too long, and their errors. Does not depend on a tokenizer."""

from typing import Literal, NamedTuple, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from openbei.errors import InputError

Integer = TypeVar("Integer", bound=np.integer)

Direction = Literal["right", "left"]
"""The side from which tokens are removed."""


class TruncationOptions(TypedDict):
    """Arguments of the tokenizer; None means the model's truncation side or limit."""

    truncate: bool
    direction: Direction | None
    max_tokens: int | None


FIXED = -1
"""Part number of tokens that are never removed: special tokens and templates."""


def positions_to_keep(parts: NDArray[np.intp], limit: int, direction: Direction) -> NDArray[np.intp]:
    """The positions of the tokens to keep, ascending, int [min(n, limit)].

    `parts` is int [n]: FIXED, or 0 or 1 for tokens of the first or second text.
    """
    first, second = np.flatnonzero(parts == 0), np.flatnonzero(parts == 1)
    fixed = np.flatnonzero(parts == FIXED)
    num_first, num_second = split_room(len(first), len(second), max(0, limit - len(fixed)))
    texts = truncate(first, num_first, direction), truncate(second, num_second, direction)
    positions: NDArray[np.intp] = np.sort(np.concatenate([fixed, *texts]))
    return positions[:limit]


def split_room(num_first: int, num_second: int, room: int) -> tuple[int, int]:
    """The number of tokens of `room` that each of two texts gets.

    Tokens are removed from the longer text until both have the same length, as with `longest_first` of transformers;
    an odd token goes to the second.
    """
    num_shorter = min(num_first, num_second, room // 2)
    share = room - num_shorter if num_first > num_second else num_shorter
    return share, room - share


def truncate(items: NDArray[Integer], count: int, direction: Direction) -> NDArray[Integer]:
    """The `count` items (or all) that remain after truncation on the side `direction`."""
    return items[:count] if direction == "right" else items[max(0, len(items) - count) :]


class Truncation(NamedTuple):
    """The truncation settings of a request: whether to truncate, from which side, and to how many tokens."""

    truncate: bool
    direction: Direction
    limit: int

    def check(self, num_tokens: int, param: str) -> None:
        """Raise InputError for an empty input, and for one that is too long if `truncate` is false."""
        if num_tokens == 0:
            raise InputError(f"{param} has no tokens", param=param)
        if num_tokens > self.limit and not self.truncate:
            raise too_long(param, num_tokens, "tokens", self.limit)


def check_template_length(param: str, count: int, unit: str, limit: int) -> None:
    """Raise InputError if the template around a text leaves no room for it."""
    if count > limit:
        raise too_long(param, count, f"{unit} with the model's template", limit, hint="shorten it")


def too_long(
    param: str, count: int, unit: str, limit: int, *, hint: str = "shorten it, or allow truncation"
) -> InputError:
    """The error for an input of `count` tokens or characters."""
    return InputError(f"{param} has {count} {unit}; the limit is {limit}", param=param, hint=hint)
