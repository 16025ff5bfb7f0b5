"""What is done with an input that is too long: which tokens are kept, or what is said. Without a tokenizer."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openbei.errors import InputError

Direction = Literal["right", "left"]
"""The side on which tokens are cut off."""

FIXED = -1
"""The part of tokens that are never cut: special tokens and templates."""


def kept(parts: NDArray[np.intp], limit: int, direction: Direction) -> NDArray[np.intp]:
    """Positions to keep, ascending: at most `limit` of them, int [min(n, limit)].

    `parts` is int [n]: FIXED, or 0 or 1 for tokens of the first or second text. Both texts get half of the room, and
    the longer one what the shorter one leaves (the second, where they are as long): `longest_first` of transformers.
    """
    first, second = np.flatnonzero(parts == 0), np.flatnonzero(parts == 1)
    fixed = np.flatnonzero(parts == FIXED)
    room = max(0, limit - len(fixed))
    num_shorter = min(len(first), len(second), room // 2)
    num_first = room - num_shorter if len(first) > len(second) else num_shorter
    texts = _side(first, num_first, direction), _side(second, room - num_first, direction)
    positions: NDArray[np.intp] = np.sort(np.concatenate([fixed, *texts]))
    return positions[:limit]


def _side(positions: NDArray[np.intp], count: int, direction: Direction) -> NDArray[np.intp]:
    return positions[:count] if direction == "right" else positions[max(0, len(positions) - count) :]


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
