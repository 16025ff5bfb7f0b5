"""The relevance of texts to queries, by a reranker."""

from openbei.api.exchange.call import Call
from openbei.api.operations.truncation import TruncationOptions
from openbei.api.operations.wrong_task import require_reranker
from openbei.api.pipeline import Tokenization, run
from openbei.api.service import Service
from openbei.batch import Sequence, Vectors
from openbei.engine_dir import Manifest
from openbei.errors import InputError
from openbei.prompts import ScoreTemplate
from openbei.serving.tokenizer import Frame, Tokenizer
from openbei.tasks.rerank import relevance

Pairs = list[tuple[str, str]]
"""Queries, each with a text."""


async def relevances(
    service: Service,
    call: Call,
    pairs: Pairs,
    truncation: TruncationOptions,
    *,
    instruction: str | None,
    raw_scores: bool,
    param: str,
) -> Vectors:
    """A number for each pair, float32 [n]; `param` is the field of the texts.

    For a model with a score template, the template is filled with both and `instruction`. Other models read pairs, with
    the default prompt before the query. Raises WrongTaskError, InputError, and what `run` raises.
    """
    require_reranker(service.manifest)
    template, tokenizer = service.manifest.score_template, service.tokenizer
    refuse_instruction(service.manifest, instruction)

    def tokenize() -> list[Sequence]:
        if template is None:
            prompt = service.manifest.prompts.find(None)
            prompted = {query: prompt + query for query, _ in pairs}
            prompted_pairs = [(prompted[query], text) for query, text in pairs]
            return tokenizer.encode_pairs(prompted_pairs, param=param, **truncation)
        return _fill(tokenizer, template, pairs, instruction, truncation, param)

    tokenization = Tokenization(
        work=tokenize,
        num_inputs=len(pairs),
        num_characters=sum(len(query) + len(text) for query, text in pairs),
    )
    is_raw = raw_scores or service.manifest.activation == "none"
    return await run(service, call, tokenization, lambda logits, _: relevance(logits, template, is_raw))


def refuse_instruction(manifest: Manifest, instruction: str | None) -> None:
    """Raise InputError for an instruction if the model's template has no place for it."""
    template = manifest.score_template
    if instruction is not None and not (template and template.is_instructed):
        raise InputError("this model's input has no place for an instruction", param="instruction")


def _fill(
    tokenizer: Tokenizer,
    template: ScoreTemplate,
    pairs: Pairs,
    instruction: str | None,
    truncation: TruncationOptions,
    param: str,
) -> list[Sequence]:
    """A sequence for each pair in a template."""
    queries = {query for query, _ in pairs}
    if len(queries) == 1:
        prefix = template.render_prefix(queries.pop(), instruction)
        texts = [text.strip() if template.strips else text for _, text in pairs]
        frame = Frame(prefix, template.suffix, template.adds_special_tokens)
        return tokenizer.encode_framed(frame, texts, param=param, blames="query", **truncation)
    return [
        sequence
        for i, pair in enumerate(pairs)
        for sequence in _fill(tokenizer, template, [pair], instruction, truncation, f"{param}[{i}]")
    ]
