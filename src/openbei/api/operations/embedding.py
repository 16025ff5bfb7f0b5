"""Embeddings of texts and token ids, and their encodings."""

from typing import Literal, cast

from openbei.api.exchange.call import Call
from openbei.api.exchange.encoding import base64_text
from openbei.api.operations.wrong_task import require_embedding
from openbei.api.pipeline import Tokenization, run
from openbei.api.service import Context, Service
from openbei.batch import Vectors
from openbei.tasks.embed import check_dimensions, to_embeddings
from openbei.tasks.precision import quantize

EncodingFormat = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]


def check_embedding(service: Context, dimensions: int | None) -> None:
    """Raise WrongTaskError unless the model makes embeddings, InputError for a size that it does not have."""
    require_embedding(service.model.manifest)
    check_dimensions(dimensions, service.model.manifest.spec.output_width)


async def embed(
    service: Service, call: Call, tokenization: Tokenization, *, dimensions: int | None = None, normalize: bool = True
) -> Vectors:
    """Embeddings float32 [inputs, dimensions]. Raises what `run` raises."""
    size = dimensions or service.model.manifest.dimensions
    return await run(
        service, call, tokenization, lambda rows, _: to_embeddings(rows, normalize=normalize, dimensions=size)
    )


def written(vectors: Vectors, encoding: EncodingFormat) -> list[list[float] | str]:
    """Embeddings float32 [n, D] as fields of wire structs. Raises InputError for bits of a D that 8 does not divide."""
    if encoding == "base64":
        return [base64_text(row) for row in vectors]
    return cast(list[list[float] | str], list(quantize(vectors, encoding)))
