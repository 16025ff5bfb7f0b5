"""Tokenization of a request's texts, with a prompt, or of its token ids."""

from collections.abc import Sequence as Items
from typing import NamedTuple

from openbei.api.limits import Limits, as_texts, check_texts
from openbei.api.pipeline import Tokenization
from openbei.api.service import Context, Service
from openbei.batch import Sequence
from openbei.errors import InputError
from openbei.serving.late_interaction import encode_side, side_prompt
from openbei.serving.truncation import TruncationOptions

Inputs = str | Items[str | int | list[int]]


class Prompt(NamedTuple):
    """A prefix of each text, and the field that selected it."""

    text: str
    param: str = "prompt_name"


def named_prompt(service: Service, name: str | None) -> Prompt | None:
    """The prompt of a name; None without one. Raises InputError."""
    return None if name is None else Prompt(service.model.prompts.find(name))


def tokenize_texts(
    service: Context,
    texts: list[str],
    truncation: TruncationOptions,
    *,
    prompt: str = "",
    param: str,
    is_query: bool = False,
) -> Tokenization:
    """A sequence for each text; late interaction reads queries or documents."""
    tokenizer, late = service.model.tokenizer, service.model.manifest.late_interaction

    def work() -> list[Sequence]:
        if late:
            return encode_side(tokenizer, late, texts, truncation, is_query=is_query, prompt=prompt, param=param)
        return tokenizer.encode(texts, prompt=prompt, param=param, **truncation)

    return Tokenization(
        work=work,
        num_inputs=len(texts),
        num_characters=sum(map(len, texts)) + len(prompt) * len(texts),
    )


def tokenize_inputs(
    service: Context,
    inputs: Inputs,
    truncation: TruncationOptions,
    *,
    prompt: Prompt | None,
    param: str,
    is_query: bool = False,
) -> Tokenization:
    """A sequence for each text, with a prompt in front (the default one without `prompt`), or for each list of ids.

    Late interaction reads queries or documents, with their own prompt by default. Token ids are used as they are.

    Raises EmptyInputError, InputError.
    """
    texts, lists = _split(inputs, service.server.limits, param)
    if texts:
        before = prompt.text if prompt else _default_prompt(service, is_query=is_query)
        return tokenize_texts(service, texts, truncation, prompt=before, param=param, is_query=is_query)
    if prompt:
        raise InputError(f"{prompt.param} applies to texts, not to token ids", param=prompt.param)
    from_ids = service.model.tokenizer.from_ids

    def work() -> list[Sequence]:
        return [from_ids(ids, param=name, **truncation) for name, ids in lists.items()]

    return Tokenization(work=work, num_inputs=len(lists), num_ids=sum(map(len, lists.values())))


def _default_prompt(service: Context, *, is_query: bool) -> str:
    prompts = service.model.prompts
    return side_prompt(prompts, is_query=is_query) if service.model.manifest.late_interaction else prompts.find(None)


def _split(inputs: Inputs, limits: Limits, param: str) -> tuple[list[str], dict[str, list[int]]]:
    """The texts, or the lists of token ids by the path of their field; one of the two is empty."""
    if isinstance(inputs, str):
        return as_texts(inputs, limits, param), {}
    kinds = set(map(type, inputs))
    if len(kinds) > 1:
        raise InputError(f"{param} mixes texts, token ids and lists of token ids", param=param)
    if kinds == {int}:
        return [], {param: [item for item in inputs if isinstance(item, int)]}
    check_texts(inputs, limits, param)
    lists = {f"{param}[{i}]": item for i, item in enumerate(inputs) if isinstance(item, list)}
    return [item for item in inputs if isinstance(item, str)], lists
