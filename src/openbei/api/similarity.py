"""POST /similarity: cosines of one sentence to others."""

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.inference import infer_dense, read
from openbei.api.inputs import Inputs, Prompt, check_count, named_prompt, tokenize_inputs
from openbei.api.service import Service
from openbei.api.truncation import how_cut
from openbei.api.wire import decisions
from openbei.api.wire.fields import How
from openbei.api.wire.tei import SimilarityParameters, SimilarityRequest
from openbei.api.wrong_task import require_embedding
from openbei.batch import Vectors
from openbei.tasks.similarity import pairwise

_DECODER = msgspec.json.Decoder(SimilarityRequest)


async def similarity(service: Service, call: Call) -> Reply:
    """A number for each sentence. The source sentence counts as one of the batch."""
    request = await read(service, call, _DECODER, decisions.SIMILARITY)
    parameters = request.parameters or SimilarityParameters()
    check_count(len(request.inputs.sentences) + 1, service.limits, "inputs.sentences")
    cut, prompt = how_cut(service, parameters), named_prompt(service, parameters.prompt_name)
    texts: dict[str, Inputs] = {
        "inputs.source_sentence": request.inputs.source_sentence,
        "inputs.sentences": request.inputs.sentences,
    }
    return Reply((await cosines(service, call, texts, cut, prompt=prompt)).tolist())


async def cosines(
    service: Service, call: Call, texts: dict[str, Inputs], how: How, *, prompt: Prompt | None = None
) -> Vectors:
    """Cosine of each text of one field to that of another, or of the only text to each; float32 [n].

    `texts` has both by the names of their fields. Raises WrongTaskError, InputError, and what `infer` raises.
    """
    require_embedding(service.manifest)
    left, right = [
        await tokenize_inputs(service, call, given, how, prompt=prompt, param=param) for param, given in texts.items()
    ]
    vectors = (await infer_dense(service, call, left + right))[:, : service.manifest.dimensions]
    return pairwise(vectors[: len(left)], vectors[len(left) :])
