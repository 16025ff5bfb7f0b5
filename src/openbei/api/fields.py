"""Fields shared by several dialects: texts, token ids, truncation options and usage.

A `bound` names the constraints of a field in /openapi.json (see `pages.bounds`). The handlers check them, with better
errors than the decoder's.
"""

from typing import Annotated, Literal

import msgspec


def bound(name: str) -> msgspec.Meta:
    """A marker that the OpenAPI document replaces with the schema of that name."""
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
    """Truncation options; by default the model's truncation side and limit.

    `truncate_prompt_tokens` is the number of tokens to keep, including special tokens; -1 means the model's limit.
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
    """The usage of a request without generated tokens."""
    return Usage(num_tokens, num_tokens)
