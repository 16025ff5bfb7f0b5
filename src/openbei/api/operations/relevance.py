"""The relevance of texts to queries, by a reranker."""

from openbei.api.exchange.call import Call
from openbei.api.operations.wrong_task import require_reranker
from openbei.api.pipeline import Tokenization, run
from openbei.api.service import Service
from openbei.batch import Sequence, Vectors
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

    For a model with a score template, the template is filled with both and `instruction`. Other models read pairs, with
    the default prompt before the query. Raises WrongTaskError, InputError, and what `run` raises.
    """
    require_reranker(service.model.manifest)
    template, tokenizer = service.model.manifest.score_template, service.model.tokenizer
    check_instruction(service.model.manifest, instruction)
    prompt = service.model.prompts.find(None)

    def tokenize() -> list[Sequence]:
        return encode_relevance(
            tokenizer, template, pairs, truncation, prompt=prompt, instruction=instruction, param=param
        )

    tokenization = Tokenization(
        work=tokenize,
        num_inputs=len(pairs),
        num_characters=sum(len(query) + len(text) for query, text in pairs),
    )
    is_raw = raw_scores or service.model.manifest.activation == "none"
    return await run(service, call, tokenization, lambda logits, _: relevance(logits, template, is_raw))
