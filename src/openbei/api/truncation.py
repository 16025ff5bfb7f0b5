"""How a request wants what is too long to be cut: what TEI, vLLM and Cohere call it, as the tokenizer's arguments."""

from typing import Literal

from openbei.api.service import Service
from openbei.api.wire.fields import Cut, How
from openbei.errors import InputError
from openbei.serving.truncation import Direction

SIDES: dict[str, Direction] = {"right": "right", "left": "left", "END": "right", "START": "left"}

CohereSide = Literal["NONE", "START", "END"]


def how_cut(service: Service, request: Cut) -> How:
    """For a request in TEI's or vLLM's words. Raises InputError for fields that contradict each other."""
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
        "truncate": request.truncate is not False,
        "direction": SIDES[chosen.lower()] if chosen else None,
        "max_tokens": max_tokens,
    }


def how_cohere_cuts(service: Service, truncate: CohereSide | None, max_tokens: int | None) -> How:
    """For a request of Cohere's embeddings. Raises InputError for a number of tokens that cannot be kept."""
    return {
        "truncate": truncate != "NONE",
        "direction": None if truncate in (None, "NONE") else SIDES[truncate],
        "max_tokens": None if max_tokens is None else _checked(service, max_tokens, "max_tokens"),
    }


def _checked(service: Service, max_tokens: int | None, param: str) -> int:
    most = service.manifest.max_sequence_tokens
    if max_tokens is None or not 1 <= max_tokens <= most:
        raise InputError(
            f"{param} is {max_tokens}; it must be 1 to {most}, what the model reads",
            param=param,
            hint="leave it out to keep as much as the model reads",
        )
    return max_tokens
