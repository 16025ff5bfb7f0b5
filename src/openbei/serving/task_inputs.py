"""How the inputs of rerankers and classifiers become sequences, in every interface."""

from openbei.batch import Sequence
from openbei.engine_dir import Manifest
from openbei.errors import InputError
from openbei.prompts import ScoreTemplate
from openbei.serving.tokenizer import Frame, Tokenizer
from openbei.serving.truncation import TruncationOptions

Pairs = list[tuple[str, str]]
"""Queries, each with a text."""

Item = list[str]
"""A text, or the two of a pair."""


def check_instruction(manifest: Manifest, instruction: str | None) -> None:
    """Raise InputError for an instruction if the model's template has no place for it."""
    template = manifest.score_template
    if instruction is not None and not (template and template.is_instructed):
        raise InputError("this model's input has no place for an instruction", param="instruction")


def encode_relevance(
    tokenizer: Tokenizer,
    template: ScoreTemplate | None,
    pairs: Pairs,
    truncation: TruncationOptions,
    *,
    prompt: str,
    instruction: str | None,
    param: str,
) -> list[Sequence]:
    """A sequence for each query and text; `param` is the field of the texts.

    A template is filled with both and `instruction`. Without one they are a pair, with `prompt` before the query.
    Raises InputError.
    """
    if template is None:
        prompted = {query: prompt + query for query, _ in pairs}
        prompted_pairs = [(prompted[query], text) for query, text in pairs]
        return tokenizer.encode_pairs(prompted_pairs, param=param, **truncation)
    queries = {query for query, _ in pairs}
    if len(queries) == 1:
        prefix = template.render_prefix(queries.pop(), instruction)
        texts = [text.strip() if template.strips else text for _, text in pairs]
        frame = Frame(prefix, template.suffix, template.adds_special_tokens)
        return tokenizer.encode_framed(frame, texts, param=param, blames="query", **truncation)
    return [
        sequence
        for i, pair in enumerate(pairs)
        for sequence in encode_relevance(
            tokenizer, template, [pair], truncation, prompt=prompt, instruction=instruction, param=f"{param}[{i}]"
        )
    ]


def encode_items(
    tokenizer: Tokenizer, items: list[Item], truncation: TruncationOptions, *, param: str
) -> list[Sequence]:
    """A sequence for each text or pair. Raises InputError."""
    lengths = {len(item) for item in items}
    if lengths == {1}:
        return tokenizer.encode([text for [text] in items], param=param, **truncation)
    if lengths == {2}:
        return tokenizer.encode_pairs([(first, second) for first, second in items], param=param, **truncation)
    return [
        sequence
        for i, item in enumerate(items)
        for sequence in encode_items(tokenizer, [item], truncation, param=f"{param}[{i}]")
    ]
