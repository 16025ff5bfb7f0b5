"""Which of several models answers a request: the one that its `model` names, or the only one that can."""

from collections.abc import Sequence as Items

import msgspec

from openbei.api.exchange.decoding import Fields
from openbei.api.exchange.refusals import UnknownModelError
from openbei.api.service import ServerState, Service
from openbei.errors import InputError, WrongTaskError

PARAM = "model"


def choose(server: ServerState, candidates: Items[Service], fields: Fields) -> Service:
    """The service for a request with `fields`; `candidates` are those whose models support the route.

    With one model, any name is accepted. Raises UnknownModelError for an unknown name; without a name, InputError if
    there are several candidates, WrongTaskError if there is none.
    """
    if len(server.services) == 1:
        return next(iter(server.services.values()))
    if named := find_named(server, fields):
        return named
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        tasks = ", ".join(f"{name} ({s.model.task.replace('_', ' ')})" for name, s in server.services.items())
        raise WrongTaskError("no model of this server supports this route", hint=f"the models are {tasks}")
    raise InputError(
        "model is not set, and several models support this route",
        param=PARAM,
        hint=f"set model to {' or '.join(service.model.name for service in candidates)}",
    )


def find_named(server: ServerState, fields: Fields) -> Service | None:
    """The service that `model` names, or None without that field. Raises UnknownModelError, InputError."""
    if PARAM not in fields:
        return None
    try:
        name = msgspec.json.decode(fields[PARAM], type=str)
    except (msgspec.ValidationError, UnicodeDecodeError):
        raise InputError(f"{PARAM} must be a string", param=PARAM) from None
    if name not in server.services:
        known = ", ".join(server.services)
        raise UnknownModelError(f"there is no model {name[:200]!r}", param=PARAM, hint=f"the models are {known}")
    return server.services[name]
