"""Truncation options of TEI, vLLM and Cohere as the tokenizer's arguments."""

from typing import Literal

from openbei.api.fields import TruncationFields
from openbei.api.service import Context
from openbei.errors import InputError
from openbei.serving.truncation import Direction, TruncationOptions

SIDES: dict[str, Direction] = {"right": "right", "left": "left", "END": "right", "START": "left"}

CohereSide = Literal["NONE", "START", "END"]


def truncation_options(service: Context, request: TruncationFields) -> TruncationOptions:
    """Options of a request with TEI's or vLLM's fields. Raises InputError for fields that contradict each other."""
    side, direction = request.truncation_side, request.truncation_direction
    if side and direction and side != direction.lower():
        raise InputError(
            f"truncation_side is {side} and truncation_direction is {direction}",
            param="truncation_side",
            hint="send one of them",
        )
    chosen = side or direction
    most = request.truncate_prompt_tokens
    if most is not None and request.truncate is False:
        raise InputError(
            f"truncate_prompt_tokens is {most} and truncate is false",
            param="truncate_prompt_tokens",
            hint="send one of them",
        )
    max_tokens = None if most in (None, -1) else _checked(service, most, "truncate_prompt_tokens")
    return {
        "truncate": most is not None or _truncates(service, request.truncate),
        "direction": SIDES[chosen.lower()] if chosen else None,
        "max_tokens": max_tokens,
    }


def cohere_truncation_options(
    service: Context, truncate: CohereSide | None, max_tokens: int | None
) -> TruncationOptions:
    """Options of Cohere's embeddings. Raises InputError for `max_tokens` above the model's limit."""
    return {
        "truncate": _truncates(service, None if truncate is None else truncate != "NONE"),
        "direction": None if truncate in (None, "NONE") else SIDES[truncate],
        "max_tokens": None if max_tokens is None else _checked(service, max_tokens, "max_tokens"),
    }


def default_truncation_options(service: Context) -> TruncationOptions:
    """Options of a request without truncation fields."""
    return {"truncate": service.server.limits.auto_truncate, "direction": None, "max_tokens": None}


def _truncates(service: Context, truncate: bool | None) -> bool:
    return service.server.limits.auto_truncate if truncate is None else truncate


def _checked(service: Context, max_tokens: int | None, param: str) -> int:
    most = service.model.manifest.max_sequence_tokens
    if max_tokens is None or not 1 <= max_tokens <= most:
        raise InputError(
            f"{param} is {max_tokens}; it must be 1 to {most}, the model's limit",
            param=param,
            hint="omit it for the model's limit",
        )
    return max_tokens
