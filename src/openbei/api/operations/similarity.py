"""Cosine similarity of texts."""

from openbei.api.exchange.call import Call
from openbei.api.operations.inputs import Inputs, Prompt, tokenize_inputs
from openbei.api.operations.wrong_task import require_embedding
from openbei.api.pipeline import run
from openbei.api.service import Service
from openbei.batch import Sequence, Vectors
from openbei.serving.truncation import TruncationOptions
from openbei.tasks.similarity import pairwise


async def cosines(
    service: Service,
    call: Call,
    texts: dict[str, Inputs],
    truncation: TruncationOptions,
    *,
    prompt: Prompt | None = None,
) -> Vectors:
    """Cosine of each text of one field to that of another, or of the only text to each; float32 [n].

    `texts` has both by the names of their fields. Raises WrongTaskError, InputError, and what `run` raises.
    """
    require_embedding(service.model.manifest)
    left, right = (
        tokenize_inputs(service, inputs, truncation, prompt=prompt, param=param) for param, inputs in texts.items()
    )

    def finish(rows: Vectors, _: list[Sequence]) -> Vectors:
        vectors = rows[:, : service.model.manifest.dimensions]
        return pairwise(vectors[: left.num_inputs], vectors[left.num_inputs :])

    return await run(service, call, left + right, finish)
