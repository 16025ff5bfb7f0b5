"""The relevance of texts to queries, for the routes that rank and those that score."""

from openbei.api.call import Call
from openbei.api.inference import infer_dense, tokenize
from openbei.api.service import Service
from openbei.api.wire.fields import How
from openbei.api.wrong_task import require_reranker
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
    how: How,
    *,
    instruction: str | None,
    raw_scores: bool,
    param: str,
) -> Vectors:
    """A number for each pair, float32 [n]; `param` is the field of the texts.

    A model with a score template reads it with both in their places, and `instruction` in place of its own; other
    models read pairs, whose queries begin with the default prompt. Raises WrongTaskError, InputError, and what `infer`
    raises.
    """
    require_reranker(service.manifest)
    template, tokenizer = service.manifest.score_template, service.tokenizer
    refuse_instruction(service.manifest, instruction)

    def work() -> list[Sequence]:
        if template is None:
            prompt = service.manifest.prompts.find(None)
            return tokenizer.encode_pairs([(prompt + query, text) for query, text in pairs], param=param, **how)
        return _templated(tokenizer, template, pairs, instruction, how, param)

    num_characters = sum(len(query) + len(text) for query, text in pairs)
    sequences = await tokenize(service, call, work, num_inputs=len(pairs), num_characters=num_characters)
    is_raw = raw_scores or service.manifest.activation == "none"
    return relevance(await infer_dense(service, call, sequences), template, is_raw)


def refuse_instruction(manifest: Manifest, instruction: str | None) -> None:
    """Raise InputError for an instruction that no score template has a place for: it would do nothing."""
    template = manifest.score_template
    if instruction is not None and not (template and template.is_instructed):
        raise InputError("instruction has no place in what this model reads", param="instruction")


def _templated(
    tokenizer: Tokenizer, template: ScoreTemplate, pairs: Pairs, instruction: str | None, how: How, param: str
) -> list[Sequence]:
    queries = {query for query, _ in pairs}
    if len(queries) == 1:
        prefix = template.render_prefix(queries.pop(), instruction)
        texts = [text.strip() if template.strips else text for _, text in pairs]
        frame = Frame(prefix, template.suffix, template.adds_special_tokens)
        return tokenizer.encode_framed(frame, texts, param=param, blames="query", **how)
    return [
        sequence
        for i, pair in enumerate(pairs)
        for sequence in _templated(tokenizer, template, [pair], instruction, how, f"{param}[{i}]")
    ]
