"""What texts and token ids a request may hold, checked in one place, and the way from them to sequences."""

from collections.abc import Sequence as Items
from typing import NamedTuple

from openbei.api.call import Call
from openbei.api.inference import tokenize
from openbei.api.service import Limits, Service
from openbei.api.wire.fields import How
from openbei.batch import Sequence
from openbei.errors import EmptyInputError, InputError


class Prompt(NamedTuple):
    """What goes in front of each text, and the field that chose it."""

    text: str
    param: str = "prompt_name"


Inputs = str | Items[str | int | list[int]]


def check_count(count: int, limits: Limits, param: str) -> None:
    """Raise EmptyInputError for nothing, InputError for more than a request may hold."""
    if count == 0:
        raise EmptyInputError(f"{param} is an empty list", param=param)
    if count > limits.max_client_batch_size:
        raise InputError(
            f"batch size {count} > maximum allowed batch size {limits.max_client_batch_size}",
            param=param,
            hint="send it in several requests",
        )


def check_answer(call: Call, sequences: list[Sequence], numbers_per_token: int, limit: int, param: str) -> None:
    """Raise InputError where an answer about each token would have more than `limit` numbers."""
    num_tokens = call.total("tokens answered", sum(sequence.num_tokens for sequence in sequences))
    if num_tokens * numbers_per_token > limit:
        raise InputError(
            f"{param} has {num_tokens} tokens; this server answers up to {limit // numbers_per_token} in one request",
            param=param,
            hint="send it in several requests",
        )


def check_text(text: str, param: str) -> None:
    """Raise InputError for an empty string."""
    if not text:
        raise InputError(f"{param} is an empty string", param=param)


def check_pairs(pairs: Items[tuple[str, str]], param: str) -> None:
    """Raise InputError for a pair of two empty strings; one of them is read as it is."""
    if ("", "") in pairs:
        name = f"{param}[{pairs.index(('', ''))}]"
        raise InputError(f"{name} is an empty string, and so is what it is paired with", param=name)


def check_texts(texts: Items[object], limits: Limits, param: str) -> None:
    """Raise EmptyInputError for an empty list, InputError for an empty string or too many."""
    check_count(len(texts), limits, param)
    if "" in texts:
        check_text("", f"{param}[{texts.index('')}]")


def as_texts(given: str | list[str], limits: Limits, param: str) -> list[str]:
    """A text or a list of texts as a list. Raises as `check_texts` does."""
    if isinstance(given, str):
        check_text(given, param)
        return [given]
    check_texts(given, limits, param)
    return given


def named_prompt(service: Service, name: str | None) -> Prompt | None:
    """The prompt of a name; None without one. Raises InputError."""
    return None if name is None else Prompt(service.manifest.prompts.find(name))


async def tokenize_texts(
    service: Service, call: Call, texts: list[str], how: How, *, prompt: str = "", param: str
) -> list[Sequence]:
    """A sequence for each text."""
    encode = service.tokenizer.encode
    num_characters = sum(map(len, texts)) + len(prompt) * len(texts)

    def work() -> list[Sequence]:
        return encode(texts, prompt=prompt, param=param, **how)

    return await tokenize(service, call, work, num_inputs=len(texts), num_characters=num_characters)


async def tokenize_inputs(
    service: Service, call: Call, given: Inputs, how: How, *, prompt: Prompt | None, param: str
) -> list[Sequence]:
    """A sequence for each text, with a prompt in front (the default one without `prompt`), or for each list of ids.

    Raises EmptyInputError, InputError.
    """
    texts, lists = _split(given, service.limits, param)
    if texts:
        before = prompt.text if prompt else service.manifest.prompts.find(None)
        return await tokenize_texts(service, call, texts, how, prompt=before, param=param)
    if prompt:
        raise InputError(f"{prompt.param} goes with texts, not with token ids", param=prompt.param)
    from_ids = service.tokenizer.from_ids

    def work() -> list[Sequence]:
        return [from_ids(ids, param=name, **how) for name, ids in lists.items()]

    return await tokenize(service, call, work, num_inputs=len(lists), num_ids=sum(map(len, lists.values())))


def _split(given: Inputs, limits: Limits, param: str) -> tuple[list[str], dict[str, list[int]]]:
    """Texts, or lists of token ids by the name of their field; one of them is empty."""
    if isinstance(given, str):
        return as_texts(given, limits, param), {}
    kinds = set(map(type, given))
    if len(kinds) > 1:
        raise InputError(f"{param} mixes texts, token ids and lists of token ids", param=param)
    if kinds == {int}:
        return [], {param: [item for item in given if isinstance(item, int)]}
    check_texts(given, limits, param)
    lists = {f"{param}[{i}]": item for i, item in enumerate(given) if isinstance(item, list)}
    return [item for item in given if isinstance(item, str)], lists
