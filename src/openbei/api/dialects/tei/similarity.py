"""TEI's cosine similarity of a sentence to others."""

from typing import Annotated

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.fields import PromptName, Text, TruncationFields, bound
from openbei.api.limits import check_count
from openbei.api.operations.inputs import Inputs, named_prompt
from openbei.api.operations.similarity import cosines
from openbei.api.operations.truncation import truncation_options
from openbei.api.pipeline import read
from openbei.api.service import Service


class SimilarityInputs(msgspec.Struct, frozen=True):
    """A source sentence, and the sentences it is compared to."""

    source_sentence: Text
    sentences: Annotated[list[Text], bound("sentences")]


class SimilarityParameters(TruncationFields, frozen=True, kw_only=True):
    """Options for tokenizing the sentences."""

    prompt_name: PromptName | None = None


class SimilarityRequest(msgspec.Struct, frozen=True):
    """A request to compare a sentence to others."""

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


_DECODER = msgspec.json.Decoder(SimilarityRequest)


async def similarity(service: Service, call: Call, body: Body) -> Reply:
    """The cosine of each sentence. The source sentence counts towards the batch size."""
    request = await read(body, _DECODER, decisions.SIMILARITY)
    parameters = request.parameters or SimilarityParameters()
    check_count(len(request.inputs.sentences) + 1, service.server.limits, "inputs.sentences")
    truncation, prompt = truncation_options(service, parameters), named_prompt(service, parameters.prompt_name)
    texts: dict[str, Inputs] = {
        "inputs.source_sentence": request.inputs.source_sentence,
        "inputs.sentences": request.inputs.sentences,
    }
    return Reply((await cosines(service, call, texts, truncation, prompt=prompt)).tolist())
