"""POST /embed, /embed_all, /embed_sparse: TEI's embeddings, bare arrays in the order of the inputs."""

from itertools import accumulate
from typing import cast

import msgspec
import numpy as np

from openbei.api.call import Call, Reply
from openbei.api.embeddings import vectors_of
from openbei.api.encoding import floats
from openbei.api.inference import infer, infer_dense, read
from openbei.api.inputs import check_answer, named_prompt, tokenize_inputs
from openbei.api.service import Service
from openbei.api.truncation import how_cut
from openbei.api.wire import decisions
from openbei.api.wire.tei import EmbedAllRequest, EmbedRequest, EmbedSparseRequest, Term
from openbei.api.wrong_task import require_embedding, require_sparse
from openbei.batch import Sequence, SparseVectors, Vectors
from openbei.tasks.finite import check_finite
from openbei.tasks.sparse import terms

MAX_NUMBERS = 2**25
"""What /embed_all answers at once: 128 MiB of float32, about three times as much as JSON."""

_EMBED = msgspec.json.Decoder(EmbedRequest)
_EMBED_ALL = msgspec.json.Decoder(EmbedAllRequest)
_EMBED_SPARSE = msgspec.json.Decoder(EmbedSparseRequest)


async def embed(service: Service, call: Call) -> Reply:
    """An embedding for each input."""
    request = await read(service, call, _EMBED, decisions.EMBED)
    vectors = await vectors_of(
        service,
        call,
        request.inputs,
        how_cut(service, request),
        prompt=named_prompt(service, request.prompt_name),
        dimensions=request.dimensions,
        normalize=request.normalize is not False,
        param="inputs",
    )
    return Reply([floats(row) for row in vectors])


async def embed_all(service: Service, call: Call) -> Reply:
    """For each input the vectors of all its tokens, special ones included, neither pooled nor normalized."""
    request = await read(service, call, _EMBED_ALL, decisions.EMBED_ALL)
    require_embedding(service.manifest)
    sequences = await _tokenize(service, call, request)
    check_answer(call, sequences, service.manifest.spec.hidden_size, MAX_NUMBERS, "inputs")
    rows = await infer_dense(service, call, sequences, "tokens")
    check_finite(rows)
    return Reply([[floats(row) for row in part] for part in split(rows, sequences)])


async def embed_sparse(service: Service, call: Call) -> Reply:
    """For each input the words of the vocabulary that have a weight."""
    request = await read(service, call, _EMBED_SPARSE, decisions.EMBED_SPARSE)
    require_sparse(service.manifest)
    rows = cast(SparseVectors, await infer(service, call, await _tokenize(service, call, request)))
    check_finite(rows.values)
    manifest = service.manifest
    kept = terms(rows, max_terms=manifest.max_terms, logs_twice=manifest.logs_twice)
    return Reply([[Term(index, value) for index, value in row] for row in kept])


def split(rows: Vectors, sequences: list[Sequence]) -> list[Vectors]:
    """Rows of tokens by sequence."""
    return np.split(rows, list(accumulate(sequence.num_tokens for sequence in sequences))[:-1])


async def _tokenize(service: Service, call: Call, request: EmbedAllRequest) -> list[Sequence]:
    cut, prompt = how_cut(service, request), named_prompt(service, request.prompt_name)
    return await tokenize_inputs(service, call, request.inputs, cut, prompt=prompt, param="inputs")
