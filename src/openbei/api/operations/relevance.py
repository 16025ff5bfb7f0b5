"""The relevance of texts to queries, by a reranker or by late interaction."""

from openbei.api.exchange.call import Call
from openbei.api.limits import MAX_TOKEN_NUMBERS, check_answer
from openbei.api.operations.wrong_task import require_reranker
from openbei.api.pipeline import Tokenization, run, split_by_sequence
from openbei.api.service import Service
from openbei.batch import Sequence, Vectors
from openbei.serving.late_interaction import Relevance
from openbei.serving.task_inputs import Pairs, check_instruction, encode_relevance
from openbei.serving.truncation import TruncationOptions
from openbei.tasks.rerank import relevance


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

    For a model with a score template, the template is filled with both and `instruction`. Other rerankers read pairs,
    with the default prompt before the query. Late interaction reads queries and texts separately. Raises
    WrongTaskError, InputError, and what `run` raises.
    """
    require_reranker(service.model.manifest)
    template, tokenizer = service.model.manifest.score_template, service.model.tokenizer
    check_instruction(service.model.manifest, instruction)
    prompt, late = service.model.prompts.find(None), service.model.manifest.late_interaction
    scoring = Relevance(service.model.manifest, late, pairs) if late else None

    def tokenize() -> list[Sequence]:
        if scoring:
            return scoring.encode(tokenizer, service.model.prompts, truncation, param=param)
        return encode_relevance(
            tokenizer, template, pairs, truncation, prompt=prompt, instruction=instruction, param=param
        )

    tokenization = Tokenization(
        work=tokenize,
        num_inputs=len(pairs),
        num_characters=sum(len(query) + len(text) for query, text in pairs),
    )
    if scoring:
        return await _max_sims(service, call, tokenization, scoring, param)
    is_raw = raw_scores or service.model.manifest.activation == "none"
    return await run(service, call, tokenization, lambda logits, _: relevance(logits, template, is_raw))


async def _max_sims(
    service: Service, call: Call, tokenization: Tokenization, scoring: Relevance, param: str
) -> Vectors:
    """MaxSim of each pair."""

    def check(sequences: list[Sequence]) -> None:
        check_answer(call.totals, sequences, service.model.manifest.spec.output_width, MAX_TOKEN_NUMBERS, param)

    def finish(rows: Vectors, sequences: list[Sequence]) -> Vectors:
        return scoring.scores(split_by_sequence(rows, sequences), sequences)

    return await run(service, call, tokenization, finish, output="vectors", check_sequences=check)
