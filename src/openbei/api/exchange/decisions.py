"""Decisions about the request fields of each dialect: honoured, without effect, or refused by name.

Unknown fields are ignored. A known field that would change the answer never is: it is honoured, or refused with a hint.
The table is `dialects.decisions`.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from openbei.api.exchange.decoding import Fields
from openbei.errors import InputError


class Decision(NamedTuple):
    """The decision about a field: `why` it has no effect, or what to do instead if it is refused.

    A refused field is accepted if its value is one of `unless`, which is what the server does anyway.
    """

    effect: Literal["honoured", "none", "refused"]
    why: str = ""
    unless: tuple[object, ...] = ()


MAX_SHOWN_BYTES = 100
"""How much of a value an error repeats; no longer one can be one of `unless`."""

Dialect = Mapping[str, Decision]
"""Fields of one kind of client."""

Decisions = Mapping[str, Dialect]
"""The same by the name of the dialect."""


def check(given: Fields, decisions: Decisions, within: str = "") -> None:
    """Raise InputError for a field that is refused; `within` is the path of the object that has the fields."""
    for dialect in decisions.values():
        for name in given.keys() & dialect.keys():
            effect, hint, unless = dialect[name]
            raw = bytes(given[name])
            if effect != "refused" or (len(raw) <= MAX_SHOWN_BYTES and _value(raw) in unless):
                continue
            shown = f" is {raw.decode(errors='replace')}" if len(raw) <= MAX_SHOWN_BYTES else " is given"
            param = within + name
            raise InputError(f"{param}{shown}, which this server does not do", param=param, hint=hint)


def _value(raw: bytes) -> object:
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw
    return value
