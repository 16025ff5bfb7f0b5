"""TEI's /tokenize and /decode: tokens of texts, texts of token ids. They do not use the engine."""

from typing import Annotated

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.fields import OneOrMore, PromptName, bound
from openbei.api.limits import as_texts, check_count
from openbei.api.pipeline import off_loop, read
from openbei.api.service import Service
from openbei.errors import InputError
from openbei.serving.library import INLINE_CHARACTERS


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to be tokenized."""

    inputs: OneOrMore
    add_special_tokens: bool | None = None
    prompt_name: PromptName | None = None


class DecodeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`ids` is a list of token ids, or a list of such lists."""

    ids: Annotated[list[int | list[int]], bound("ids")]
    skip_special_tokens: bool | None = None


_TOKENIZE = msgspec.json.Decoder(TokenizeRequest)
_DECODE = msgspec.json.Decoder(DecodeRequest)


async def tokenize(service: Service, call: Call, body: Body) -> Reply:
    """The tokens of each text, without truncation."""
    request = await read(body, _TOKENIZE, decisions.TOKENIZE)
    texts = as_texts(request.inputs, service.server.limits, "inputs")
    prompt = "" if request.prompt_name is None else service.model.prompts.find(request.prompt_name)
    has_special, tokenizer = request.add_special_tokens is not False, service.model.tokenizer
    num_characters = sum(map(len, texts)) + len(prompt) * len(texts)
    call.check_deadline()
    call.measured.num_characters += num_characters
    call.measured.num_inputs += len(texts)
    tokens = await off_loop(
        call,
        lambda: tokenizer.tokenize(texts, add_special_tokens=has_special, prompt=prompt),
        is_long=num_characters > INLINE_CHARACTERS,
    )
    return Reply(tokens)


async def decode(service: Service, call: Call, body: Body) -> Reply:
    """The text of each list of token ids."""
    request = await read(body, _DECODE, decisions.DECODE)
    is_one = all(isinstance(item, int) for item in request.ids)
    lists = [item for item in request.ids if isinstance(item, list)]
    if lists and len(lists) < len(request.ids):
        raise InputError("ids mixes token ids and lists of token ids", param="ids")
    if is_one:
        lists = [[item for item in request.ids if isinstance(item, int)]] if request.ids else []
    check_count(len(lists), service.server.limits, "ids")
    call.check_deadline()
    keeps_special, tokenizer = request.skip_special_tokens is False, service.model.tokenizer
    texts = await off_loop(
        call,
        lambda: tokenizer.decode(lists, skip_special_tokens=not keeps_special),
        is_long=sum(map(len, lists)) > INLINE_CHARACTERS,
    )
    return Reply(texts)
