"""Fields that several dialects have: texts, token ids, how to truncate what is too long, the usage of an answer.

A `bound` names what /openapi.json says of a field beyond its type (see `pages.bounds`). The handlers check it, with
errors that say more than a decoder can.
"""

from typing import Annotated, Literal

import msgspec


def bound(name: str) -> msgspec.Meta:
    """A mark that the OpenAPI document replaces by the schema of that name."""
    return msgspec.Meta(extra_json_schema={"x-bound": name})


Text = Annotated[str, bound("text")]
Texts = Annotated[list[Text], bound("texts")]
OneOrMore = Text | Texts
"""A text or a list of texts."""

Inputs = Annotated[str | list[str | int | list[int]], bound("inputs")]
"""A text, a list of texts, a list of token ids, or a list of lists of token ids; not mixed."""

Dimensions = Annotated[int, bound("dimensions")]
PromptName = Annotated[str, bound("prompt_name")]
Instruction = Annotated[str, bound("instruction")]


class TruncationFields(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose texts may be too long: they are cut on the model's side, unless it says otherwise.

    `truncate_prompt_tokens` is how many tokens are kept, special ones among them; -1 is as many as the model reads.
    `truncation_side` is vLLM's name for `truncation_direction`.
    """

    truncate: bool | None = None
    truncation_direction: Literal["Right", "Left", "right", "left"] | None = None
    truncate_prompt_tokens: Annotated[int, bound("max_tokens")] | None = None
    truncation_side: Literal["right", "left"] | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens of all inputs before truncation, special tokens included."""

    prompt_tokens: int
    total_tokens: int


def usage(num_tokens: int) -> Usage:
    """The usage of a request that only reads."""
    return Usage(num_tokens, num_tokens)
