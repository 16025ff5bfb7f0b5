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
    """The decision about a field. `why` is the reason that it has no effect, or the hint if it is refused.

    A refused field is accepted if its value is in `unless`: the values that match the server's behaviour.
    """

    effect: Literal["honoured", "none", "refused"]
    why: str = ""
    unless: tuple[object, ...] = ()


MAX_SHOWN_BYTES = 100
"""Values up to this length are shown in errors and compared with `unless`."""

Dialect = Mapping[str, Decision]
"""Fields of one kind of client."""

Decisions = Mapping[str, Dialect]
"""Decisions by the name of the dialect."""


def check(fields: Fields, decisions: Decisions, within: str = "") -> None:
    """Raise InputError for a field that is refused; `within` is the path of the object with the fields."""
    for dialect in decisions.values():
        for name in fields.keys() & dialect.keys():
            effect, hint, unless = dialect[name]
            raw = bytes(fields[name])
            if effect != "refused" or (len(raw) <= MAX_SHOWN_BYTES and _value(raw) in unless):
                continue
            shown = f" is {raw.decode(errors='replace')}" if len(raw) <= MAX_SHOWN_BYTES else " is set"
            param = within + name
            raise InputError(f"{param}{shown}, which this server does not do", param=param, hint=hint)


def _value(raw: bytes) -> object:
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw
    return value
