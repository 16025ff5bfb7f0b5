"""What is done with an input that is too long: which tokens are kept, or what is said. Without a tokenizer."""

from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from openbei.errors import InputError

Integer = TypeVar("Integer", bound=np.integer)

Direction = Literal["right", "left"]
"""The side on which tokens are cut off."""

FIXED = -1
"""The part of tokens that are never cut: special tokens and templates."""


def kept(parts: NDArray[np.intp], limit: int, direction: Direction) -> NDArray[np.intp]:
    """Positions to keep, ascending: at most `limit` of them, int [min(n, limit)].

    `parts` is int [n]: FIXED, or 0 or 1 for tokens of the first or second text.
    """
    first, second = np.flatnonzero(parts == 0), np.flatnonzero(parts == 1)
    fixed = np.flatnonzero(parts == FIXED)
    num_first, num_second = shares(len(first), len(second), max(0, limit - len(fixed)))
    texts = one_side(first, num_first, direction), one_side(second, num_second, direction)
    positions: NDArray[np.intp] = np.sort(np.concatenate([fixed, *texts]))
    return positions[:limit]


def shares(num_first: int, num_second: int, room: int) -> tuple[int, int]:
    """How many tokens of each of two texts are kept, if there is room for so many: `longest_first` of transformers.

    Both get half of the room, and the longer one what the shorter one leaves (the second, where they are as long).
    """
    num_shorter = min(num_first, num_second, room // 2)
    share = room - num_shorter if num_first > num_second else num_shorter
    return share, room - share


def one_side(items: NDArray[Integer], count: int, direction: Direction) -> NDArray[Integer]:
    """The `count` items (or all) that are left when the others are cut off on the side `direction`."""
    return items[:count] if direction == "right" else items[max(0, len(items) - count) :]


class Truncation(NamedTuple):
    """How one call cuts: on which side, to how many tokens; or not at all, if it does not `truncate`."""

    truncate: bool
    direction: Direction
    limit: int

    def check(self, num_tokens: int, param: str) -> None:
        """Raise InputError for nothing, and for what is too long and must not be cut."""
        if num_tokens == 0:
            raise InputError(f"{param} has no tokens", param=param)
        if num_tokens > self.limit and not self.truncate:
            raise too_long(param, num_tokens, "tokens", self.limit)


def check_frame(param: str, given: int, unit: str, limit: int) -> None:
    """Raise InputError where what stands around a text leaves no room for it."""
    if given > limit:
        raise too_long(param, given, f"{unit} with the model's template", limit, hint="shorten it")


def too_long(
    param: str, given: int, unit: str, limit: int, *, hint: str = "shorten it, or let it be truncated"
) -> InputError:
    """The error for an input of `given` tokens or characters."""
    return InputError(f"{param} has {given} {unit}, the limit is {limit}", param=param, hint=hint)
